package sim_test

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

// place is where a value stands.
type place struct {
	table   devices.ModbusTable
	address uint16
	words   int
}

func places(points ...devices.Point) map[string]place {
	out := map[string]place{}
	for _, p := range points {
		words := 1
		switch p.Type {
		case devices.Int32, devices.Uint32, devices.Float32:
			words = 2
		case devices.Int64, devices.Uint64, devices.Float64:
			words = 4
		case devices.String:
			words = int(p.Modbus.Length)
		}
		out[p.Name] = place{p.Modbus.Table, p.Modbus.Address, words}
	}
	return out
}

// The maps were written down twice, here in raw words and in the profiles in
// engineering units; they have to tell of the same device.
func TestTheMapIsThatOfTheBuiltInProfile(t *testing.T) {
	profiles, err := profile.Builtin()
	require.NoError(t, err)
	for _, build := range []func(string) (sim.Model, error){sim.FeederRTU, sim.SwitchedOutlet, sim.RegisterPLC} {
		model, err := build("some-id")
		require.NoError(t, err)
		t.Run(model.Profile, func(t *testing.T) {
			p := profiles[model.Profile]
			require.NotNil(t, p)
			points := append(append([]devices.Point{}, p.Settings...), p.Measurements...)
			for _, id := range p.Identity {
				points = append(points, id.Point)
			}
			want := places(points...)
			for _, action := range p.Actions {
				pulse := action.Pulse.Point.Modbus
				want[action.Name] = place{pulse.Table, pulse.Address, 1}
			}
			got := map[string]place{}
			for _, r := range model.Registers {
				got[r.Name] = place{r.Table, r.Address, len(r.Initial)}
			}
			require.Equal(t, want, got)
		})
	}
}

func openLink(t *testing.T, addr string) devices.Link {
	t.Helper()
	driver := modbus.New(modbus.Options{})
	t.Cleanup(driver.Close)
	link, err := driver.Open(t.Context(), devices.Endpoint{
		DeviceID: "edge-001", Address: addr, Unit: 255, Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	require.NoError(t, err)
	t.Cleanup(link.Close)
	return link
}

func TestTheDriverReadsEveryPointAndWritesEverySettingOverItsWholeRange(t *testing.T) {
	profiles, err := profile.Builtin()
	require.NoError(t, err)
	p := profiles["feeder-rtu"]
	at := newClock()
	d := startFeeder(t, func(c *sim.Config) { c.Now = at.now })
	link := openLink(t, d.Addr())
	at.move(90 * time.Second)

	read := func(points ...devices.Point) map[string]devices.Value {
		values, err := link.Read(t.Context(), points)
		require.NoError(t, err)
		out := map[string]devices.Value{}
		for i, v := range values {
			out[points[i].Name] = v
		}
		return out
	}
	for _, id := range p.Identity {
		if id.Equals != nil {
			require.Equal(t, id.Equals, read(id.Point)[id.Point.Name])
		}
	}
	factory := map[string]any{
		"nominal_voltage": 20.0, "nominal_frequency": 50.0, "undervoltage_trip": 85.0, "undervoltage_delay": int64(1500),
		"overvoltage_trip": 110.0, "overvoltage_delay": int64(500), "overcurrent_pickup": 630.0, "reclose_enabled": "on",
		"reclose_delay": int64(5), "active_power_limit": 4500.0, "report_interval": int64(60), "comm_timeout": int64(30),
		"timezone_offset": int64(60), "event_counter": int64(90),
	}
	settings := read(p.Settings...)
	require.Len(t, settings, len(factory))
	for name, want := range factory {
		require.Equal(t, want, settings[name], name)
	}
	measured := read(p.Measurements...)
	require.InDelta(t, 20, measured["voltage"], 0.3)
	require.InDelta(t, 50, measured["frequency"], 0.04)
	require.InDelta(t, 31.5, measured["temperature"], 2.6)
	require.Equal(t, int64(90), measured["uptime"])
	require.Equal(t, "running", measured["state"])
	require.Equal(t, false, measured["local_control"])

	for _, s := range p.Settings {
		var ends []any
		switch {
		case s.Volatile:
			continue
		case s.Enum != nil:
			for name := range s.Enum {
				ends = append(ends, name)
			}
		default:
			require.NotNil(t, s.Min, s.Name)
			ends = []any{*s.Min, *s.Max}
		}
		for _, end := range ends {
			v, err := s.Canonical(end)
			require.NoError(t, err)
			require.NoError(t, link.Write(t.Context(), []devices.Setting{{Point: s, Value: v}}))
			require.Equal(t, v, read(s)[s.Name], s.Name)
		}
		if s.Enum != nil {
			continue
		}
		// Past the range, with a point that knows of none.
		wide := s
		wide.Min, wide.Max = nil, nil
		step := max(s.Scale, 0.01)
		if s.Scale == 0 {
			step = 1
		}
		v, err := wide.Canonical(*s.Max + step)
		require.NoError(t, err)
		err = link.Write(t.Context(), []devices.Setting{{Point: wide, Value: v}})
		require.Equal(t, devices.Rejected, devices.KindOf(err), "%s: %v", s.Name, err)
	}
}

func TestTheDriverGivesEachFaultItsKind(t *testing.T) {
	d := startFeeder(t)
	driver := modbus.New(modbus.Options{})
	t.Cleanup(driver.Close)
	link, err := driver.Open(t.Context(), devices.Endpoint{
		DeviceID: "edge-001", Address: d.Addr(), Unit: 255, Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		ResponseTimeout: time.Second,
	})
	require.NoError(t, err)
	t.Cleanup(link.Close)
	for _, f := range []sim.Fault{sim.FaultOffline, sim.FaultHang, sim.FaultResetOnly} {
		require.NoError(t, link.Ping(t.Context()))
		require.NoError(t, d.Break(f, false))
		require.Equal(t, devices.Unreachable, devices.KindOf(link.Ping(t.Context())), f)
		require.NoError(t, d.Heal())
	}
	require.NoError(t, link.Ping(t.Context()))
}
