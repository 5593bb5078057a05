package declare_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/devices/fleetdir"
	"edgefleet/integration/terraform/declare"
)

func fleet() declare.Fleet {
	return declare.Fleet{Name: "edge-fleet", Regions: map[string]declare.Region{"east": {}}, Security: declare.Security{AllowedNetworks: []string{"10.0.0.0/8"}}}
}

func device(id, address string) declare.Device {
	return declare.Device{ID: id, Site: "s1", Region: "east", Profile: "feeder-rtu", Address: address}
}

func open(t testing.TB, root, owner string) *declare.Dir {
	t.Helper()
	d, err := declare.Open(root, owner)
	require.NoError(t, err)
	return d
}

// apply requires that all changes are made.
func apply(t testing.TB, d *declare.Dir, changes ...declare.Change) {
	t.Helper()
	for _, a := range d.Apply(changes) {
		require.NoError(t, a.Err)
	}
}

func refused(t testing.TB, d *declare.Dir, c declare.Change) string {
	t.Helper()
	out := d.Apply([]declare.Change{c})
	require.Error(t, out[0].Err)
	return out[0].Err.Error()
}

func write(t testing.TB, root, file, text string) {
	t.Helper()
	full := filepath.Join(root, filepath.FromSlash(file))
	require.NoError(t, os.MkdirAll(filepath.Dir(full), 0o755))
	require.NoError(t, os.WriteFile(full, []byte(text), 0o644))
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	root := t.TempDir()
	d := open(t, root, "terraform")
	unit, serial := int64(7), true
	outlet := declare.Device{ID: "switch-01", Site: "s1", Region: "east", Profile: "switched-outlet", Address: "10.0.0.1:502"}
	feeder := device("edge-001", "10.0.0.2:502")
	feeder.Unit, feeder.NetworkReset, feeder.Labels = &unit, &declare.Reset{Device: "switch-01", Action: "cycle-port-1"}, map[string]declare.Text{"feeder": "F1"}
	feeder.Modbus, feeder.PlaintextException = &declare.Modbus{Framing: "rtu", SerialGateway: &serial}, "own VLAN: no encryption # none"
	base := declare.Baseline{Name: "feeder-standard", Version: "2026.11.1", Profile: "feeder-rtu", Select: &declare.Select{Site: []string{"s1"}},
		Settings:  declare.Settings{"undervoltage_trip": "85", "reclose_enabled": "on", "overcurrent_pickup": "630.5"},
		Overrides: &declare.Overrides{Devices: map[string]declare.Settings{"edge-001": {"reclose_delay": "10"}}}}
	apply(t, d, declare.Change{After: base}, declare.Change{After: feeder}, declare.Change{After: outlet}, declare.Change{After: fleet()})

	loaded, err := fleetdir.Load(root)
	require.NoError(t, err)
	got, _, err := loaded.Device("edge-001")
	require.NoError(t, err)
	desired, ok := loaded.Baseline(got)
	require.True(t, ok)
	require.Len(t, desired.Settings, 4)

	readFeeder, err := d.Device("edge-001")
	require.NoError(t, err)
	require.Equal(t, feeder, readFeeder)
	readBase, err := d.Baseline("feeder-standard")
	require.NoError(t, err)
	require.Equal(t, base, readBase)
	readFleet, err := d.Fleet()
	require.NoError(t, err)
	require.Equal(t, fleet(), readFleet)
	apply(t, d, declare.Change{Before: feeder, After: feeder})
}

func TestAFileOfSomebodyElseIsNeitherWrittenNorRemoved(t *testing.T) {
	for name, c := range map[string]struct{ head, says string }{
		"a person's":          {"", "devices/terraform-edge-001.yaml is not Terraform's"},
		"another owner's":     {"# edgefleet-owner: west\n", `belongs to the owner "west"`},
		"a marker further on": {"\n# edgefleet-owner: terraform\n", "is not Terraform's"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			d := open(t, root, "terraform")
			apply(t, d, declare.Change{After: fleet()})
			const file = "devices/terraform-edge-001.yaml"
			text := c.head + "devices:\n  - {id: edge-001, site: s1, region: east, profile: feeder-rtu, address: \"10.0.0.2:502\"}\n"
			write(t, root, file, text)
			mine := device("edge-001", "10.0.0.3:502")
			require.Contains(t, refused(t, d, declare.Change{After: mine}), c.says)
			require.Contains(t, refused(t, d, declare.Change{Before: mine, After: mine}), c.says)
			require.Contains(t, refused(t, d, declare.Change{Before: mine}), c.says)
			_, err := d.Device("edge-001")
			require.ErrorContains(t, err, c.says)
			after, err := os.ReadFile(filepath.Join(root, file))
			require.NoError(t, err)
			require.Equal(t, text, string(after))
		})
	}
}

func TestAFileIsComparedBeforeItIsReplaced(t *testing.T) {
	root := t.TempDir()
	d := open(t, root, "terraform")
	before, after := device("edge-001", "10.0.0.2:502"), device("edge-001", "10.0.0.3:502")
	apply(t, d, declare.Change{After: fleet()}, declare.Change{After: before})

	t.Run("another content is refused", func(t *testing.T) {
		require.Contains(t, refused(t, d, declare.Change{Before: device("edge-001", "10.0.0.9:502"), After: after}), "has changed since the plan")
		require.Contains(t, refused(t, d, declare.Change{Before: device("edge-001", "10.0.0.9:502")}), "has changed since the plan")
	})
	t.Run("one that is there is not declared anew", func(t *testing.T) {
		require.Contains(t, refused(t, d, declare.Change{After: after}), "import it")
	})
	t.Run("the very same one is adopted", func(t *testing.T) {
		out := d.Apply([]declare.Change{{After: before}})
		require.Equal(t, []declare.Applied{{Adopted: true}}, out)
	})
	t.Run("a comment makes no difference", func(t *testing.T) {
		full := filepath.Join(root, before.File())
		text, err := os.ReadFile(full)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(full, append(text, "# checked by ann\n"...), 0o644))
		apply(t, d, declare.Change{Before: before, After: after})
	})
	t.Run("a field that the provider does not know is not dropped", func(t *testing.T) {
		full := filepath.Join(root, before.File())
		text, err := os.ReadFile(full)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(full, append(text, "    serial: 7\n"...), 0o644))
		require.Contains(t, refused(t, d, declare.Change{Before: after, After: before}), "field serial not found")
		require.NoError(t, os.WriteFile(full, text, 0o644))
	})
	t.Run("one that is gone is written again", func(t *testing.T) {
		require.NoError(t, os.Remove(filepath.Join(root, before.File())))
		apply(t, d, declare.Change{Before: after, After: after})
	})
	t.Run("one that is gone is as good as removed", func(t *testing.T) {
		require.NoError(t, os.Remove(filepath.Join(root, before.File())))
		apply(t, d, declare.Change{Before: after})
	})
}

func TestNothingIsWrittenThatDoesNotLoad(t *testing.T) {
	root := t.TempDir()
	d := open(t, root, "terraform")
	require.Contains(t, refused(t, d, declare.Change{After: device("edge-001", "10.0.0.2:502")}), "has no fleet.yaml yet; declare an edgefleet_fleet")
	apply(t, d, declare.Change{After: fleet()})
	bad := device("edge-001", "192.0.2.1:502")
	out := d.Apply([]declare.Change{{After: bad}, {After: device("edge-002", "10.0.0.2:502")}})
	require.ErrorContains(t, out[0].Err, "devices/terraform-edge-001.yaml:9: address 192.0.2.1:502 is outside allowed_networks")
	require.NoError(t, out[1].Err, "the good one of the moment is not held up")

	t.Run("two that declare one file", func(t *testing.T) {
		out := d.Apply([]declare.Change{{After: device("edge-005", "10.0.0.5:502")}, {After: device("edge-005", "10.0.0.6:502")}})
		require.NoError(t, out[0].Err)
		require.ErrorContains(t, out[1].Err, "two resources declare devices/terraform-edge-005.yaml")
	})
	t.Run("what another file needs is not removed", func(t *testing.T) {
		write(t, root, "edge-configs/ours.yaml", "name: ours\nversion: v1\nprofile: feeder-rtu\nselect: {ids: [edge-002]}\nsettings: {reclose_delay: 5}\n")
		require.Contains(t, refused(t, d, declare.Change{Before: device("edge-002", "10.0.0.2:502")}), `edge-configs/ours.yaml:4: unknown device "edge-002"`)
	})
	t.Run("the fleet file goes last", func(t *testing.T) {
		require.NoError(t, os.Remove(filepath.Join(root, "edge-configs", "ours.yaml")))
		require.Contains(t, refused(t, d, declare.Change{Before: fleet()}), "devices/terraform-edge-002.yaml, devices/terraform-edge-005.yaml need it")
		apply(t, d, declare.Change{Before: device("edge-002", "10.0.0.2:502")}, declare.Change{Before: device("edge-005", "10.0.0.5:502")})
		const baseline = "name: b\nversion: v1\nprofile: feeder-rtu\nsettings: {reclose_delay: 5}\n"
		write(t, root, "edge-configs/other.yaml", "# edgefleet-owner: other\n"+baseline)
		require.Contains(t, refused(t, d, declare.Change{Before: fleet()}), "edge-configs/other.yaml need it")
	})
	t.Run("and is not held by a baseline that is somebody's own", func(t *testing.T) {
		require.NoError(t, os.Remove(filepath.Join(root, "edge-configs", "other.yaml")))
		write(t, root, "edge-configs/ours.yaml", "name: ours\nversion: v1\nprofile: feeder-rtu\nsettings: {reclose_delay: 5}\n")
		apply(t, d, declare.Change{Before: fleet()})
		require.FileExists(t, filepath.Join(root, "edge-configs", "ours.yaml"))
	})
}

func TestTemplatesAreReadWhereBaselinesNameThem(t *testing.T) {
	root := t.TempDir()
	d := open(t, root, "terraform")
	apply(t, d, declare.Change{After: fleet()})
	write(t, root, "edge-configs/templates/unused.tmpl", "{{ .device.id }}\n")
	apply(t, d, declare.Change{After: device("edge-001", "10.0.0.2:502")})
}

func TestADeviceIsFoundWhereverItIsDeclared(t *testing.T) {
	root := t.TempDir()
	d := open(t, root, "terraform")
	apply(t, d, declare.Change{After: fleet()}, declare.Change{After: device("edge-001", "10.0.0.2:502")})
	places, err := d.Elsewhere("edge-001")
	require.NoError(t, err)
	require.Empty(t, places)
	write(t, root, "devices/hand.yaml", "devices:\n  - site: s1\n    id: edge-001\n  - id: edge-002\n")
	write(t, root, "devices/broken.yaml", "devices: [")
	places, err = d.Elsewhere("edge-001")
	require.NoError(t, err)
	require.Equal(t, []declare.Place{{File: "devices/hand.yaml", Line: 3}}, places)
}
