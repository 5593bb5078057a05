package prometheus_test

import (
	"io/fs"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"edgefleet/dev/tools/toolchain"
	"edgefleet/integration/prometheus"
)

func promtool(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), toolchain.ForTest(t, "promtool"), args...).CombinedOutput()
	require.NoError(t, err, "promtool %v:\n%s", args, out)
}

func TestPrometheusAcceptsTheConfiguration(t *testing.T) {
	promtool(t, "check", "config", "--lint=all", "--lint-fatal", prometheus.ConfigFile)
}

func TestPrometheusAcceptsTheRules(t *testing.T) {
	promtool(t, append([]string{"check", "rules", "--lint=all", "--lint-fatal"}, prometheus.RuleFiles()...)...)
}

func TestTheRulesFireWhenTheyShould(t *testing.T) {
	for _, file := range []string{"rules_test.yml", "drift_test.yml", "patch_test.yml", "slo_test.yml"} {
		promtool(t, "test", "rules", filepath.Join("testdata", file))
	}
}

func TestEveryRuleFileIsDeliveredAndLoaded(t *testing.T) {
	onDisk, err := filepath.Glob("rules/*")
	require.NoError(t, err)
	require.Equal(t, prometheus.RuleFiles(), onDisk)
	embedded, err := fs.Glob(prometheus.Files, "rules/*")
	require.NoError(t, err)
	require.Equal(t, prometheus.RuleFiles(), embedded)
}

// The alert is the fleet guide's, word for word; only a label is added.
func TestEdgeDeviceOfflineIsTheFleetGuidesAlert(t *testing.T) {
	raw, err := prometheus.Files.ReadFile("rules/edge-fleet.rules.yml")
	require.NoError(t, err)
	var file struct {
		Groups []struct {
			Name  string
			Rules []map[string]any
		}
	}
	require.NoError(t, yaml.Unmarshal(raw, &file))
	require.Equal(t, "edge-fleet", file.Groups[0].Name)
	require.Equal(t, map[string]any{
		"alert":       "EdgeDeviceOffline",
		"expr":        `up{job="edge-fleet"} == 0`,
		"for":         "5m",
		"labels":      map[string]any{"severity": "critical"},
		"annotations": map[string]any{"summary": "Edge device {{ $labels.device_id }} offline"},
	}, file.Groups[0].Rules[0])
}
