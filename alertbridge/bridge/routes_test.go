package bridge_test

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"edgefleet/alertbridge/bridge"
)

func TestTheFirstRouteThatMatchesWins(t *testing.T) {
	routes, err := bridge.ParseRoutes("routes.yaml", []byte(`
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
			got, ok := routes.Match(tc.labels)
			require.Equal(t, tc.want != "", ok)
			require.Equal(t, tc.want, got.Function)
		})
	}
	first, _ := routes.Match(map[string]string{"alertname": "EdgeDeviceOffline", "severity": "warning"})
	require.Equal(t, "instance", first.DeviceLabel)
	require.Equal(t, 3, first.Line)
	require.Equal(t, `{alertname="EdgeDeviceOffline",severity=~"critical|warning"} -> sites/urgent.py:urgent`, first.String())
	second, _ := routes.Match(map[string]string{"alertname": "EdgeDeviceOffline"})
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
			_, err := bridge.ParseRoutes("r.yaml", []byte(tc.text))
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, err.Error(), "\n", "one mistake, one line")
		})
	}
}

func TestEveryMistakeOfARoutesFileIsToldAtOnce(t *testing.T) {
	_, err := bridge.ParseRoutes("r.yaml", []byte("routes:\n- matchers: [a]\n  runbook: /x\n- {}\nother: 1\n"))
	require.Error(t, err)
	var places []string
	for line := range strings.Lines(err.Error()) {
		place, _, _ := strings.Cut(line, ": ")
		places = append(places, place)
	}
	require.Equal(t, []string{"r.yaml:2:3", "r.yaml:2:14", "r.yaml:3:12", "r.yaml:4:3", "r.yaml:4:3", "r.yaml:4:3", "r.yaml:5:1"}, places)
}

func TestTheDefaultRoutesAnswerTheTwoAlertsOfTheFleetGuide(t *testing.T) {
	routes, err := bridge.LoadRoutes("")
	require.NoError(t, err)
	offline, ok := routes.Match(map[string]string{"alertname": "EdgeDeviceOffline"})
	require.True(t, ok)
	require.Equal(t, "auto_remediation.py:handle_device_offline", offline.Runbook+":"+offline.Function)
	drift, ok := routes.Match(map[string]string{"alertname": "EdgeConfigDrift"})
	require.True(t, ok)
	require.Equal(t, "config_drift.py:handle_config_drift", drift.Runbook+":"+drift.Function)
}

func TestAReloadIsAllOrNothing(t *testing.T) {
	file := writeFile(t, "routes.yaml", "routes: [{matchers: [alertname=EdgeDeviceOffline], runbook: old.py, function: f}]\n")
	f, r := &fakeTemporal{}, prometheus.NewRegistry()
	b := run(t, bridge.Options{Temporal: f, Registry: r, RoutesFile: file})
	c := client(t)
	runbook := func(device string) string {
		require.Equal(t, http.StatusOK, post(t, c, b, message(t, offline(device))).code)
		return f.starts[len(f.starts)-1].input.Runbook.Path
	}
	require.Equal(t, "old.py", runbook("a"))

	require.NoError(t, os.WriteFile(file, []byte("routes: [{matchers: [alertname=EdgeDeviceOffline], runbook: new.py, function: f}, {}]\n"), 0o600))
	require.ErrorContains(t, b.Reload(), "no matchers")
	require.Equal(t, "old.py", runbook("bb"))
	require.EqualValues(t, 1, value(t, r, "edgefleet_bridge_routes_reloads_total", map[string]string{"result": "failed"}))
	require.EqualValues(t, 0, value(t, r, "edgefleet_bridge_routes_last_reload_successful", nil))

	require.NoError(t, os.WriteFile(file, []byte("routes: [{matchers: [alertname=EdgeDeviceOffline], runbook: new.py, function: f}]\n"), 0o600))
	require.NoError(t, b.Reload())
	require.Equal(t, "new.py", runbook("ccc"))
	require.EqualValues(t, 1, value(t, r, "edgefleet_bridge_routes_reloads_total", map[string]string{"result": "success"}))
	require.EqualValues(t, 1, value(t, r, "edgefleet_bridge_routes_last_reload_successful", nil))
}

func FuzzParseRoutes(f *testing.F) {
	f.Add([]byte(bridge.DefaultRoutes))
	f.Add([]byte("routes: [{matchers: [a=b], runbook: &x r.py, function: *x}]"))
	f.Add([]byte("a: &a [*a]\nroutes: *a"))
	f.Add([]byte("--- \n---\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		routes, err := bridge.ParseRoutes("r.yaml", data)
		if err != nil {
			require.Nil(t, routes)
			require.True(t, strings.HasPrefix(err.Error(), "r.yaml:"), err)
			return
		}
		require.NotEmpty(t, routes)
		for _, r := range routes {
			require.NotEmpty(t, r.Matchers)
			require.NotEmpty(t, r.Runbook)
			require.NotEmpty(t, r.Function)
			require.NotEmpty(t, r.DeviceLabel)
		}
	})
}
