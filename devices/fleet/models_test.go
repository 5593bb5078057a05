package fleet_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/devices/modbus"
	"edgefleet/devices/profile"
	"edgefleet/devices/sim"
)

// TestTheProfilesOfThisPlantDriveTheirSimulators reads all points of the
// profiles that the tests here are made of from the simulators of that name,
// checks the identity, and writes both ends of every setting's range. All other
// built-in profiles are driven where their simulators are.
func TestTheProfilesOfThisPlantDriveTheirSimulators(t *testing.T) {
	models := map[string]func(string) (sim.Model, error){"feeder-rtu": sim.FeederRTU, "switched-outlet": sim.SwitchedOutlet}
	profiles, err := profile.Builtin()
	require.NoError(t, err)
	driver := modbus.New(modbus.Options{})
	defer driver.Close()
	for name, simulated := range models {
		t.Run(name, func(t *testing.T) {
			p := profiles[name]
			model, err := simulated("unit-1")
			require.NoError(t, err)
			device, err := sim.Start(sim.Config{ID: "unit-1", Model: model, Init: time.Millisecond})
			require.NoError(t, err)
			defer func() { require.NoError(t, device.Close()) }()
			link, err := driver.Open(t.Context(), devices.Endpoint{DeviceID: "unit-1", Address: device.Addr(), Unit: 255,
				Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
			require.NoError(t, err)
			defer link.Close()

			for _, id := range p.Identity {
				got, err := link.Read(t.Context(), []devices.Point{id.Point})
				require.NoError(t, err)
				require.NotEmpty(t, got[0])
				if id.Equals != nil {
					require.Equal(t, id.Equals, got[0])
				}
			}
			_, err = link.Read(t.Context(), p.Measurements)
			require.NoError(t, err)
			for _, pt := range p.Settings {
				if pt.Volatile {
					continue
				}
				for _, v := range ends(pt) {
					value, err := pt.Canonical(v)
					require.NoError(t, err)
					require.NoError(t, link.Write(t.Context(), []devices.Setting{{Point: pt, Value: value}}))
					got, err := link.Read(t.Context(), []devices.Point{pt})
					require.NoError(t, err)
					require.Equal(t, value, got[0], "%s", pt.Name)
				}
			}
		})
	}
}

// ends returns both ends of a setting's range, or all names of its enum.
func ends(pt devices.Point) []any {
	if len(pt.Enum) == 0 {
		return []any{*pt.Min, *pt.Max}
	}
	var out []any
	for name := range pt.Enum {
		out = append(out, name)
	}
	return out
}
