package inventory_test

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/devices/inventory"
	"edgefleet/devices/profile"
)

var update = flag.Bool("update", false, "write the messages of bad fixtures anew")

func builtin(t testing.TB) map[string]*profile.Profile {
	t.Helper()
	profiles, err := profile.Builtin()
	require.NoError(t, err)
	return profiles
}

func TestBadFleetFileIsRefusedWithItsMessage(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(strings.TrimSuffix(name, ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			inv, problems := inventory.Parse(inventory.Source{Name: name, Data: data}, nil, builtin(t))
			require.Nil(t, inv)
			require.Error(t, problems.Err())
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			got := problems.Err().Error() + "\n"
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), got)
		})
	}
}

func TestGoodFleetFile(t *testing.T) {
	data, err := os.ReadFile("testdata/good.yaml")
	require.NoError(t, err)
	inv, problems := inventory.Parse(inventory.Source{Name: "good.yaml", Data: data}, nil, builtin(t))
	require.NoError(t, problems.Err())
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, inv.Security.AllowedNetworks)
	d, ok := inv.Device("edge-1")
	require.True(t, ok)
	require.Equal(t, inventory.Device{ID: "edge-1", Site: "s1", Region: "east", Class: "rtu", Profile: "feeder-rtu", Address: "10.0.0.7:502",
		Unit: 255, NetworkReset: &inventory.NetworkReset{Device: "switch-1", Action: "cycle-port-1"}, PlaintextException: "own VLAN",
		File: "good.yaml", Line: 8}, d)
	_, ok = inv.Device("edge-2")
	require.False(t, ok)
}

func TestFleetWithoutEncryptionNeedsNoException(t *testing.T) {
	data, err := os.ReadFile("testdata/good.yaml")
	require.NoError(t, err)
	text := strings.NewReplacer("enable_encryption: true", "enable_encryption: false", "    plaintext_exception: own VLAN\n", "").Replace(string(data))
	_, problems := inventory.Parse(inventory.Source{Name: "good.yaml", Data: []byte(text)}, nil, builtin(t))
	require.NoError(t, problems.Err())
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	require.NoError(f, err)
	for _, file := range append(files, "testdata/good.yaml") {
		data, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(data, []byte("devices: []"))
	}
	profiles := builtin(f)
	f.Fuzz(func(t *testing.T, data, more []byte) {
		inv, problems := inventory.Parse(inventory.Source{Name: "f.yaml", Data: data}, []inventory.Source{{Name: "g.yaml", Data: more}}, profiles)
		if (inv == nil) == (problems.Err() == nil) {
			t.Fatalf("either an inventory or problems: %v, %v", inv, problems)
		}
		if inv == nil {
			return
		}
		for _, d := range inv.Devices {
			if err := devices.ValidID(d.ID); err != nil {
				t.Fatal(err)
			}
			if got, ok := inv.Device(d.ID); !ok || got.Line != d.Line {
				t.Fatalf("%s is not found again", d.ID)
			}
			if d.Unit == 0 || profiles[d.Profile] == nil || inv.Regions[d.Region].Name != d.Region {
				t.Fatalf("accepted %+v", d)
			}
		}
	})
}
