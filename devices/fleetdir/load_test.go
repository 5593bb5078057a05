package fleetdir_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/devices/fleetdir"
	"edgefleet/devices/profile"
)

func TestGoodDirectoryLoadsWithEveryKindOfFile(t *testing.T) {
	f, err := fleetdir.Load("testdata/good")
	require.NoError(t, err)
	require.Equal(t, "edge-fleet", f.Inventory.Name)
	require.Len(t, f.Inventory.Devices, 3)
	require.Contains(t, f.Profiles, "capacitor-bank")
	require.Contains(t, f.Profiles, "feeder-rtu")

	d, p, err := f.Device("edge-001")
	require.NoError(t, err)
	require.Equal(t, "rtu", p.Class)
	require.Equal(t, uint8(1), d.Unit)
	require.Equal(t, "switch-07 cycle-port-3", d.NetworkReset.String())

	d, _, err = f.Device("switch-07")
	require.NoError(t, err)
	require.Equal(t, uint8(255), d.Unit, "a device at its own address has unit 255")
	require.Equal(t, "gateway", d.Class, "the class is the profile's when the file gives none")
	_, ok := f.Baseline(d)
	require.False(t, ok)
}

func TestDeviceOverrideGoesBeforeSiteOverrideInAddressOrder(t *testing.T) {
	f, err := fleetdir.Load("testdata/good")
	require.NoError(t, err)
	d, _, err := f.Device("edge-001")
	require.NoError(t, err)
	desired, ok := f.Baseline(d)
	require.True(t, ok)
	require.Equal(t, "feeder-standard", desired.Baseline)
	require.Equal(t, "2026.10", desired.Version, "a version is the text as it is written")
	var names []string
	values := map[string]devices.Value{}
	for _, s := range desired.Settings {
		names = append(names, s.Point.Name)
		values[s.Point.Name] = s.Value
	}
	require.Equal(t, []string{"nominal_frequency", "undervoltage_trip", "overcurrent_pickup", "reclose_enabled", "active_power_limit"}, names)
	require.Equal(t, map[string]devices.Value{"nominal_frequency": 50.0, "undervoltage_trip": 86.0, "overcurrent_pickup": 630.0, "reclose_enabled": "on", "active_power_limit": 3000.5}, values)
}

func TestUnknownDeviceIsASentinelWithARemedy(t *testing.T) {
	f, err := fleetdir.Load("testdata/good")
	require.NoError(t, err)
	_, _, err = f.Device("edge-999")
	require.ErrorIs(t, err, fleetdir.ErrUnknownDevice)
	require.EqualError(t, err, `unknown device: "edge-999" is not in fleet.yaml; declare it, or correct the name`)
}

// copyGood returns a copy of the good directory that the test may change.
func copyGood(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS("testdata/good")))
	return dir
}

func TestRevisionFollowsContentAndPathOfEveryFileThatCounts(t *testing.T) {
	load := func(dir string) string {
		f, err := fleetdir.Load(dir)
		require.NoError(t, err)
		return f.Revision()
	}
	dir := copyGood(t)
	first := load(dir)
	require.Len(t, first, 64)
	require.Equal(t, first, load(copyGood(t)), "the place does not count")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "README.md"), []byte("hello"), 0o600))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "runbooks", ".git"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "runbooks", ".git", "HEAD"), []byte("x"), 0o600))
	require.Equal(t, first, load(dir), "what is not read does not count")

	seen := map[string]bool{first: true}
	for _, name := range []string{"fleet.yaml", "devices/west.yaml", "profiles/capacitor-bank.yaml", "edge-configs/capacitors.yaml", "runbooks/auto_remediation.py"} {
		file := filepath.Join(dir, name)
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, append(data, "\n# changed\n"...), 0o600))
		revision := load(dir)
		require.False(t, seen[revision], "%s counts", name)
		seen[revision] = true
	}
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "runbooks", "lib"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "runbooks", "lib", "more.py"), nil, 0o600))
	require.False(t, seen[load(dir)], "a new runbook counts")
}

func TestLoadRefuses(t *testing.T) {
	profiles, err := profile.Builtin()
	require.NoError(t, err)
	known := strings.Join(slices.Sorted(maps.Keys(profiles)), ", ")
	write := func(name, text string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
		}
	}
	tests := map[string]struct {
		change func(t *testing.T, dir string)
		want   string
	}{
		"a .yml that would be ignored silently": {write("edge-configs/x.yml", "name: x"), "edge-configs/x.yml: ends in .yml and would not be read; rename it to .yaml"},
		"a .yml that hides nothing else": {
			func(t *testing.T, dir string) {
				write("edge-configs/x.yml", "name: x")(t, dir)
				write("devices/west.yaml", "devices:\n  - {id: edge-100, site: s, region: mars, profile: capacitor-bank, address: 10.9.9.9:502, plaintext_exception: lab}\n")(t, dir)
			},
			"devices/west.yaml:2: unknown region \"mars\"; use one of us-east-1, us-west-2, or declare it under fleet.regions\nedge-configs/x.yml: ends in .yml and would not be read; rename it to .yaml"},
		"a profile with the name of a built-in one": {
			write("profiles/feeder.yaml", "name: feeder-rtu\nprotocol: modbus-tcp\nclass: rtu\nidentity:\n  - {name: maker, table: holding, address: 0, type: uint16, equals: 1}\n"),
			"profiles/feeder.yaml:1: a second profile is named feeder-rtu; the first is builtin/feeder-rtu.yaml; give each its own name"},
		"two baselines for one device, naming both": {
			write("edge-configs/zz.yaml", "name: zz\nversion: 1\nprofile: feeder-rtu\nsettings: {nominal_frequency: 60}\n"),
			"edge-configs/zz.yaml: edge-001 is selected by feeder-standard (edge-configs/feeder-standard.yaml) and by zz (edge-configs/zz.yaml); narrow the select of one of them"},
		"two baselines of one name": {
			write("edge-configs/zz.yaml", "name: capacitors\nversion: 1\nprofile: feeder-rtu\nselect: {class: gateway}\nsettings: {nominal_frequency: 60}\n"),
			"edge-configs/zz.yaml: a second baseline is named capacitors; the first is edge-configs/capacitors.yaml; give each its own name"},
		"a device declared in two files": {
			write("devices/zz.yaml", "devices:\n  - {id: edge-001, site: s, region: us-west-2, profile: feeder-rtu, address: 10.9.9.9:502, plaintext_exception: lab}\n"),
			"devices/zz.yaml:2: a second device has the ID edge-001; the first stands in fleet.yaml:13; give each its own ID"},
		"everything at once, over all files": {
			func(t *testing.T, dir string) {
				write("devices/west.yaml", "devices:\n  - {id: edge-100, site: s, region: mars, profile: capacitor-bank, address: 10.9.9.9:502, plaintext_exception: lab}\n  - {id: x, site: s, region: us-west-2, profile: nope, address: 10.9.9.8:502}\n")(t, dir)
				write("edge-configs/capacitors.yaml", "name: capacitors\nversion: 1\nprofile: capacitor-bank\nsettings: {target_power_factor: 2}\n")(t, dir)
			},
			`devices/west.yaml:2: unknown region "mars"; use one of us-east-1, us-west-2, or declare it under fleet.regions
devices/west.yaml:3: unknown profile "nope"; use one of capacitor-bank, ` + known + `, or add profiles/nope.yaml
edge-configs/capacitors.yaml:4: target_power_factor: 2 is outside -1 to 1; write a number in that range, in steps of 0.001`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := copyGood(t)
			tt.change(t, dir)
			f, err := fleetdir.Load(dir)
			require.Nil(t, f, "all or nothing")
			require.EqualError(t, err, tt.want)
		})
	}
}

func TestDirectoryWithoutFleetFileSaysWhatIsMissing(t *testing.T) {
	dir := t.TempDir()
	_, err := fleetdir.Load(dir)
	require.ErrorContains(t, err, "fleet.yaml is not there; a fleet directory has a fleet.yaml")
}
