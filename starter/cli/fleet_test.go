package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// fleetFolder makes the working directory one with a copy of a good fleet
// directory, "fleet", checked out at a commit.
func fleetFolder(t *testing.T, files map[string]string) {
	t.Helper()
	source, err := filepath.Abs("../../devices/fleetdir/testdata/good")
	require.NoError(t, err)
	t.Chdir(t.TempDir())
	require.NoError(t, os.CopyFS("fleet", os.DirFS(source)))
	all := map[string]string{
		".git/HEAD":                          strings.Repeat("c0ffee00", 5) + "\n",
		"fleet/runbooks/auto_remediation.py": "def handle_device_offline(device_id):\n    check_network(device_id)\n",
	}
	for name, text := range files {
		all[name] = text
	}
	for name, text := range all {
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o700))
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	}
}

func TestAFleetDirectoryIsCheckedOffline(t *testing.T) {
	broken := map[string]string{
		"fleet/devices/west.yaml":            "devices:\n  - {id: edge-100, site: s, region: mars, profile: capacitor-bank, address: 10.9.9.9:502, plaintext_exception: lab}\n",
		"fleet/edge-configs/capacitors.yaml": "name: capacitors\nversion: 1\nprofile: capacitor-bank\nsettings: {target_power_factor: 2}\n",
		"fleet/edge-configs/more.yml":        "",
		"fleet/runbooks/broken.py":           "def heal(device_id):\n    if not check_network(device):\n        pass\n",
		"fleet/runbooks/large.py":            strings.Repeat("#", 256<<10+1),
	}
	brokenRunbook := map[string]string{"fleet/runbooks/broken.py": "def heal(device_id):\n    reset_network(device_id)\n"}
	for _, c := range []struct {
		name, args string
		files      map[string]string
	}{
		{"valid", "fleet validate fleet", nil},
		{"valid-json", "fleet validate fleet -o json", nil},
		{"broken", "fleet validate fleet", broken},
		{"broken-json", "fleet validate --output json fleet", broken},
		{"broken-runbook", "fleet validate fleet", brokenRunbook},
		{"routes", "fleet validate fleet", map[string]string{"fleet/routes.yaml": "routes:\n  - matchers: ['alertname=\"EdgeDeviceOffline\"']\n    runbook: auto_remediation.py\n    function: handle_device_offline\n"}},
		{"broken-routes", "fleet validate fleet", map[string]string{"fleet/routes.yaml": "routes:\n  - matchers: []\n    runbook: auto_remediation.py\n    function: f\n"}},
		{"routes-to-nowhere", "fleet validate fleet", map[string]string{"fleet/routes.yaml": "routes:\n" +
			"  - {matchers: [alertname=A], runbook: auto_remediation.py, function: heal}\n  - {matchers: [alertname=B], runbook: gone.py, function: heal}\n"}},
		{"absent", "fleet validate nowhere", nil},
		{"absent-here", "fleet validate", nil},
		{"two", "fleet validate fleet nowhere", nil},
		{"bad-output", "fleet validate fleet -o yaml", nil},
		{"what-is-no-runbook-is-not-linted", "fleet validate fleet", map[string]string{
			"fleet/runbooks/auto_remediation_test.py": "load(\"auto_remediation.py\", \"handle_device_offline\")\n",
			"fleet/runbooks/README.md":                "Runbooks.\n",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			fleetFolder(t, c.files)
			f := &fakeTemporal{}
			newSession(t, f).golden("fleet-validate-"+c.name, strings.Fields(c.args)...)
			require.Empty(t, f.dialled, "nobody has to be asked")
		})
	}
	t.Run("the fleet directory is the working directory unless one is named", func(t *testing.T) {
		fleetFolder(t, nil)
		t.Chdir("fleet")
		s := newSession(t, nil)
		require.Zero(t, s.run("fleet", "validate"), s.err.String())
		require.Contains(t, s.out.String(), "edge-fleet")
	})
}

func TestManyDevicesWithoutABaselineAreCounted(t *testing.T) {
	var text strings.Builder
	text.WriteString("devices:\n")
	for i := range 15 {
		text.WriteString("  - {id: sw-" + string(rune('a'+i)) + ", site: s, region: us-west-2, profile: switched-outlet, address: \"10.9.9." + string(rune('1'+i%9)) + ":50" + string(rune('1'+i/9)) + "\", plaintext_exception: lab}\n")
	}
	fleetFolder(t, map[string]string{"fleet/devices/more.yaml": text.String()})
	s := newSession(t, nil)
	require.Zero(t, s.run("fleet", "validate", "fleet"), s.err.String()+s.out.String())
	require.Contains(t, s.out.String(), "without baseline  sw-a, sw-b, sw-c, sw-d, sw-e, sw-f, sw-g, sw-h, sw-i, sw-j and 6 more\n")
}

func TestDevicesWithoutAFingerprintAreNamed(t *testing.T) {
	fleetFolder(t, map[string]string{"fleet/devices/more.yaml": `devices:
  - {id: gw-1, site: s, region: us-west-2, profile: linux-gateway, address: "10.9.9.1:22", credentials: gateways, ssh: {host_keys: [unknown]}}
  - {id: plc-1, site: s, region: us-west-2, profile: opcua-plc, address: "10.9.9.2:4840", credentials: plant-ops, opcua: {thumbprint: unknown}}
`})
	s := newSession(t, nil)
	require.Zero(t, s.run("fleet", "validate", "fleet"), s.err.String()+s.out.String())
	require.Contains(t, s.out.String(), "without fingerprint  gw-1, plc-1\n")
}
