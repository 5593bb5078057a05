package routes_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/internal/routes"
)

func TestTheFirstRouteThatMatchesWins(t *testing.T) {
	list, err := routes.Parse("routes.yaml", []byte(`
routes:
  - matchers: ['alertname="EdgeDeviceOffline"', 'severity=~"critical|warning"']
    runbook: sites/urgent.py
    function: urgent
    device_label: instance
  - matchers: [alertname="EdgeDeviceOffline", team!~"lab.*"]
    runbook: later.py
    function: later
  - &drift
    matchers: ['alertname=EdgeConfigDrift']
    runbook: drift.py
    function: _drift2
`))
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		labels map[string]string
		want   string
	}{
		"all matchers of the first hold":      {map[string]string{"alertname": "EdgeDeviceOffline", "severity": "critical"}, "urgent"},
		"a pattern holds the whole value":     {map[string]string{"alertname": "EdgeDeviceOffline", "severity": "critical!"}, "later"},
		"a label that is missing is empty":    {map[string]string{"alertname": "EdgeDeviceOffline"}, "later"},
		"a negative matcher keeps others out": {map[string]string{"alertname": "EdgeDeviceOffline", "team": "lab-2"}, ""},
		"quotes may be left out":              {map[string]string{"alertname": "EdgeConfigDrift"}, "_drift2"},
		"nothing matches":                     {map[string]string{"alertname": "DiskFull"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := list.Match(tc.labels)
			require.Equal(t, tc.want != "", ok)
			require.Equal(t, tc.want, got.Function)
		})
	}
	first, _ := list.Match(map[string]string{"alertname": "EdgeDeviceOffline", "severity": "warning"})
	require.Equal(t, "instance", first.DeviceLabel)
	require.Equal(t, 3, first.Line)
	require.Equal(t, `{alertname="EdgeDeviceOffline",severity=~"critical|warning"} -> sites/urgent.py:urgent`, first.String())
	second, _ := list.Match(map[string]string{"alertname": "EdgeDeviceOffline"})
	require.Equal(t, "device_id", second.DeviceLabel)
}

func TestARoutesFileIsRefusedWithThePlaceAndTheRemedy(t *testing.T) {
	const good = "runbook: r.py, function: f"
	for name, tc := range map[string]struct{ text, want string }{
		"empty":                {"", "r.yaml:1:1: the file is empty: want routes, a list"},
		"only a comment":       {"# nothing\n", "r.yaml:1:1: the file is empty: want routes, a list"},
		"no YAML":              {"routes:\n  - [\n", "r.yaml:2: not YAML: "},
		"no mapping":           {"- a\n", "r.yaml:1:1: the file: want a mapping with routes"},
		"no routes":            {"{}\n", "r.yaml:1:1: no routes: want routes, a list"},
		"routes is no list":    {"routes: 5\n", "r.yaml:1:9: routes: want a list of at least one route; to start nothing, do not run the bridge"},
		"routes is empty":      {"routes: []\n", "r.yaml:1:9: routes: want a list of at least one route; to start nothing, do not run the bridge"},
		"two documents":        {"routes: [{matchers: [a=b], " + good + "}]\n---\nroutes: []\n", "r.yaml:2:1: a second YAML document: want one"},
		"a route is text":      {"routes: [x]\n", "r.yaml:1:10: a route: want a mapping with matchers, runbook, function, device_label"},
		"an unknown field":     {"routes: [{match: x, matchers: [a=b], " + good + "}]\n", `r.yaml:1:11: unknown field "match": a route has matchers, runbook, function, device_label`},
		"a field twice":        {"routes: [{matchers: [a=b], function: g, " + good + "}]\n", `r.yaml:1:56: field "function" stands twice: remove one`},
		"no matchers":          {"routes: [{" + good + "}]\n", `r.yaml:1:10: no matchers: want a list as in ['alertname="EdgeDeviceOffline"', 'severity=~"critical|warning"']`},
		"matchers is empty":    {"routes: [{matchers: [], " + good + "}]\n", `r.yaml:1:21: matchers: want a list as in ['alertname="EdgeDeviceOffline"', 'severity=~"critical|warning"']`},
		"matchers is text":     {"routes: [{matchers: a=b, " + good + "}]\n", `r.yaml:1:21: matchers: want a list as in ['alertname="EdgeDeviceOffline"', 'severity=~"critical|warning"']`},
		"a matcher is no text": {"routes: [{matchers: [5], " + good + "}]\n", `r.yaml:1:22: matchers: want text, as in 'alertname="EdgeDeviceOffline"'`},
		"a bad matcher":        {"routes: [{matchers: ['a'], " + good + "}]\n", `r.yaml:1:22: matcher "a": `},
		"a bad pattern":        {"routes: [{matchers: ['a=~\"(\"'], " + good + "}]\n", `missing closing )`},
		"no runbook":           {"routes: [{matchers: [a=b], function: f}]\n", "r.yaml:1:10: no runbook: want a path below the runbooks folder, as in auto_remediation.py"},
		"a runbook elsewhere":  {"routes: [{matchers: [a=b], runbook: ../../etc/passwd, function: f}]\n", `r.yaml:1:37: runbook "../../etc/passwd": want a path below`},
		"an absolute runbook":  {"routes: [{matchers: [a=b], runbook: /r.py, function: f}]\n", `runbook "/r.py": want a path below`},
		"an unclean runbook":   {"routes: [{matchers: [a=b], runbook: a/../r.py, function: f}]\n", `runbook "a/../r.py": want a path below`},
		"a runbook number":     {"routes: [{matchers: [a=b], runbook: 5, function: f}]\n", "r.yaml:1:37: runbook: want a path below"},
		"no function":          {"routes: [{matchers: [a=b], runbook: r.py}]\n", "r.yaml:1:10: no function: want the name of a function, as in handle_device_offline"},
		"a bad function":       {"routes: [{matchers: [a=b], runbook: r.py, function: f()}]\n", `r.yaml:1:53: function "f()": want the name of a function`},
		"a bad label":          {"routes: [{matchers: [a=b], device_label: a b, " + good + "}]\n", `r.yaml:1:42: device_label "a b": want the name of a label, as in device_id`},
		"a route that is hidden": {"routes:\n- {matchers: [a=b, c=d], " + good + "}\n- {matchers: [c=d, 'a=\"b\"'], " + good + "}\n",
			"r.yaml:3:1: this route never matches: the one in line 2 has the same matchers and comes first; remove one"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := routes.Parse("r.yaml", []byte(tc.text))
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, err.Error(), "\n", "one mistake, one line")
		})
	}
}

func TestEveryMistakeOfARoutesFileIsToldAtOnce(t *testing.T) {
	_, err := routes.Parse("r.yaml", []byte("routes:\n- matchers: [a]\n  runbook: /x\n- {}\nother: 1\n"))
	require.Error(t, err)
	var places []string
	for line := range strings.Lines(err.Error()) {
		place, _, _ := strings.Cut(line, ": ")
		places = append(places, place)
	}
	require.Equal(t, []string{"r.yaml:2:3", "r.yaml:2:14", "r.yaml:3:12", "r.yaml:4:3", "r.yaml:4:3", "r.yaml:4:3", "r.yaml:5:1"}, places)
}

func TestTheDefaultRoutesAnswerTheTwoAlertsOfTheFleetGuide(t *testing.T) {
	list, err := routes.Parse("the default routes", []byte(routes.Default))
	require.NoError(t, err)
	offline, ok := list.Match(map[string]string{"alertname": "EdgeDeviceOffline"})
	require.True(t, ok)
	require.Equal(t, "auto_remediation.py:handle_device_offline", offline.Runbook+":"+offline.Function)
	drift, ok := list.Match(map[string]string{"alertname": "EdgeConfigDrift"})
	require.True(t, ok)
	require.Equal(t, "config_drift.py:handle_config_drift", drift.Runbook+":"+drift.Function)
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(routes.Default))
	f.Add([]byte("routes: [{matchers: [a=b], runbook: &x r.py, function: *x}]"))
	f.Add([]byte("a: &a [*a]\nroutes: *a"))
	f.Add([]byte("--- \n---\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := routes.Parse("r.yaml", data)
		if err != nil {
			require.Nil(t, list)
			require.True(t, strings.HasPrefix(err.Error(), "r.yaml:"), err)
			return
		}
		require.NotEmpty(t, list)
		for _, r := range list {
			require.NotEmpty(t, r.Matchers)
			require.NotEmpty(t, r.Runbook)
			require.NotEmpty(t, r.Function)
			require.NotEmpty(t, r.DeviceLabel)
		}
	})
}
