package monitor

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

func TestAValueThatWeDoNotShipCanNotBeReplaced(t *testing.T) {
	raw := []byte("jobs:\n  - {name: a, every: 30s}\n")
	for name, c := range map[string]struct{ at, want string }{
		"a key":                    {"jabs[0].every", `file.yml has no jabs[0].every: found nothing at "jabs[0]"`},
		"an element by its number": {"jobs[1].every", `file.yml has no jobs[1].every: found nothing at "jobs[1]"`},
		"an element by its name":   {"jobs[name=b].every", `file.yml has no jobs[name=b].every: found nothing at "jobs[name=b]"`},
		"a key of an element":      {"jobs[name=a].ever", `file.yml has no jobs[name=a].ever: found nothing at "ever"`},
	} {
		t.Run(name, func(t *testing.T) {
			d := parse("file.yml", raw)
			d.set(c.at, "1s")
			_, err := d.bytes()
			require.EqualError(t, err, c.want)
		})
	}
}

func TestOnlyTheValueIsReplacedAndCommentsStay(t *testing.T) {
	d := parse("file.yml", []byte("# first\njobs:\n  # why\n  - name: a\n    every: 30s # often\n  - name: b\n    every: 30s\n"))
	d.set("jobs[name=a].every", "1s")
	got, err := d.bytes()
	require.NoError(t, err)
	require.Equal(t, "# first\njobs:\n  # why\n  - name: a\n    every: 1s # often\n  - name: b\n    every: 30s\n", string(got))
}

func TestTheRenderedConfigurationDiffersInAddressesAndTimesOnly(t *testing.T) {
	dir := t.TempDir()
	_, err := renderPrometheus(filepath.Join(dir, "prometheus"), PrometheusOptions{
		WorkerAddr: "127.0.0.1:1", BridgeAddr: "127.0.0.1:2", AlertmanagerAddr: "127.0.0.1:3",
	}.withDefaults())
	require.NoError(t, err)
	_, err = renderAlertmanager(filepath.Join(dir, "alertmanager"), AlertmanagerOptions{BridgeURL: "http://127.0.0.1:2/api/v1/alertmanager"}.withDefaults())
	require.NoError(t, err)

	read := func(name string) (out map[string]any) {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Contains(t, string(raw), "# Rendered by the dev stack at every start from integration/"+name+": edit that one.\n")
		require.NoError(t, yaml.Unmarshal(raw, &out))
		return out
	}
	for _, c := range []struct {
		name string
		want map[string]bool
	}{
		{"prometheus/prometheus.yml", map[string]bool{"1s": true, "127.0.0.1:1": true, "127.0.0.1:2": true, "127.0.0.1:3": true, "http://127.0.0.1:1/sd": true, "http://127.0.0.1:1/sd?exporters=probe": true}},
		{"prometheus/rules/edge-fleet.rules.yml", map[string]bool{"1s": true, "3s": true, "30s": true}},
		{"prometheus/rules/edgefleet.rules.yml", map[string]bool{"1s": true, "3s": true, "30s": true}},
		{"prometheus/rules/edge-slos.rules.yml", map[string]bool{"3s": true}},
		{"alertmanager/alertmanager.yml", map[string]bool{"1s": true, "2s": true, "60s": true, "http://127.0.0.1:2/api/v1/alertmanager": true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw, err := os.ReadFile(filepath.Join("..", "..", "integration", c.name))
			require.NoError(t, err)
			var shipped map[string]any
			require.NoError(t, yaml.Unmarshal(raw, &shipped))
			changed := map[string]bool{}
			difference(t, "", shipped, read(c.name), changed)
			require.Equal(t, c.want, changed)
		})
	}
}

// difference collects the scalars that differ, and fails on any difference of
// structure.
func difference(t *testing.T, at string, shipped, rendered any, changed map[string]bool) {
	t.Helper()
	switch shipped := shipped.(type) {
	case map[string]any:
		require.IsType(t, shipped, rendered, at)
		require.Len(t, rendered, len(shipped), at)
		for key, value := range shipped {
			require.Contains(t, rendered, key, at)
			difference(t, at+"."+key, value, rendered.(map[string]any)[key], changed)
		}
	case []any:
		require.IsType(t, shipped, rendered, at)
		require.Len(t, rendered, len(shipped), at)
		for i, value := range shipped {
			difference(t, at, value, rendered.([]any)[i], changed)
		}
	default:
		if shipped != rendered {
			require.IsType(t, "", rendered, at)
			changed[rendered.(string)] = true
		}
	}
}

func TestDurationsAreWrittenAsPrometheusReadsThem(t *testing.T) {
	require.Equal(t, "90s", duration(90*time.Second))
	require.Equal(t, "250ms", duration(250*time.Millisecond))
	require.Equal(t, "0s", duration(0))
}
