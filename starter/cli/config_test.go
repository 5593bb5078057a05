package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const someFleet = `fleet:
  name: plant
  regions: {north: {}}
  security: {allowed_networks: [127.0.0.0/8]}
devices:
  - {id: edge-001, site: s1, region: north, class: rtu, profile: feeder-rtu, address: "127.0.0.1:502"}
  - {id: edge-002, site: s2, region: north, class: rtu, profile: feeder-rtu, address: "127.0.0.1:503"}
`

const someBaseline = `name: feeders
version: 2
profile: feeder-rtu
settings:
  report_interval: 60
`

// inFleet is a working directory with a fleet directory in it.
func inFleet(t *testing.T, files map[string]string) {
	t.Helper()
	t.Chdir(t.TempDir())
	files["fleet/fleet.yaml"] = someFleet
	for name, text := range files {
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o700))
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	}
}

func TestABaselineIsCheckedOffline(t *testing.T) {
	broken := strings.ReplaceAll(someBaseline, "report_interval: 60", "report_interval: 9999999\n  warp_factor: 9")
	for _, c := range []struct {
		name, args string
		files      map[string]string
	}{
		{"config-validate", "config validate fleet/edge-configs/feeders.yaml", map[string]string{"fleet/edge-configs/feeders.yaml": someBaseline}},
		{"config-validate-json", "config validate fleet/edge-configs/feeders.yaml --select site!=s1 -o json", map[string]string{"fleet/edge-configs/feeders.yaml": someBaseline}},
		{"config-validate-elsewhere", "config validate new.yaml --fleet fleet", map[string]string{"fleet/edge-configs/feeders.yaml": someBaseline,
			"new.yaml": strings.Replace(someBaseline, "name: feeders", "name: others", 1)}},
		{"config-validate-broken", "config validate fleet/edge-configs/feeders.yaml", map[string]string{"fleet/edge-configs/feeders.yaml": broken}},
		{"config-validate-broken-elsewhere", "config validate new.yaml --fleet fleet", map[string]string{"new.yaml": broken}},
		{"config-validate-broken-fleet", "config validate new.yaml --fleet fleet", map[string]string{"new.yaml": someBaseline, "fleet/edge-configs/feeders.yaml": broken}},
		{"config-validate-absent", "config validate absent.yaml --fleet fleet", map[string]string{}},
		{"config-validate-nothing", "config validate", map[string]string{}},
		{"config-validate-bad-selector", "config validate new.yaml --select site", map[string]string{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inFleet(t, c.files)
			f := &fakeTemporal{}
			newSession(t, f).golden(c.name, strings.Fields(c.args)...)
			require.Empty(t, f.options, "nobody is asked")
		})
	}
}
