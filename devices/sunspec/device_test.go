package sunspec_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"edgefleet/devices"
	"edgefleet/devices/modbus"
	"edgefleet/devices/sim"
	"edgefleet/devices/sunspec"
	"edgefleet/devices/sunspec/sunspecsim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// plant is a simulated device with a link to it.
type plant struct {
	*sunspecsim.Device
	link  devices.Link
	chain *sunspec.Chain
}

func start(t *testing.T, cfg sunspecsim.Config) *plant {
	t.Helper()
	cfg.Sim.ID = "inv-07"
	device, err := sunspecsim.Start(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, device.Close()) })
	driver := modbus.New(modbus.Options{})
	t.Cleanup(driver.Close)
	link, err := driver.Open(t.Context(), devices.Endpoint{DeviceID: "inv-07", Address: device.Addr(), Unit: 1,
		Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, ConnectTimeout: 10 * time.Second, ResponseTimeout: 10 * time.Second})
	require.NoError(t, err)
	catalog, err := sunspec.NewCatalog()
	require.NoError(t, err)
	chain, err := catalog.Discover(t.Context(), link, "inv-07")
	require.NoError(t, err)
	return &plant{device, link, chain}
}

func (p *plant) address(t *testing.T, name string) uint16 {
	t.Helper()
	mapping, err := p.chain.Map(t.Context(), p.link, []string{name})
	require.NoError(t, err)
	return mapping.Points[0].Modbus.Address
}

func (p *plant) peek(t *testing.T, address uint16) uint16 {
	t.Helper()
	words, err := p.Peek(devices.Holding, address, 1)
	require.NoError(t, err)
	return words[0]
}

// written lists the addresses that were written, once each.
func (p *plant) written() map[uint16]bool {
	out := map[uint16]bool{}
	for _, c := range p.Writes() {
		out[c.Address] = true
	}
	return out
}

func ids(chain *sunspec.Chain) []uint16 {
	var out []uint16
	for _, m := range chain.Models {
		out = append(out, m.ID)
	}
	return out
}

func TestASimulatedDeviceIsFoundAndIdentified(t *testing.T) {
	for _, c := range []struct {
		kind   sunspecsim.Kind
		models []uint16
		model  string
	}{
		{sunspecsim.KindInverter, []uint16{1, 103, 120, 121, 123, 701, 702, 703, 704, 705, 706, 707, 708, 709, 710, 711, 712}, "PV-50"},
		{sunspecsim.KindLegacyInverter, []uint16{1, 101, 120, 121, 123, 126}, "PV-5"},
		{sunspecsim.KindBattery, []uint16{1, 124, 802}, "BT-100"},
	} {
		t.Run(string(c.kind), func(t *testing.T) {
			p := start(t, sunspecsim.Config{Kind: c.kind})
			require.Equal(t, c.models, ids(p.chain))
			who, err := p.chain.Identify(t.Context(), p.link)
			require.NoError(t, err)
			require.Equal(t, sunspec.Identity{Manufacturer: "Northline", Model: c.model, Version: "3.2.1", Serial: "NL-inv-07"}, who)
			for _, id := range c.models {
				readings, err := p.chain.Read(t.Context(), p.link, sunspecRef(id))
				require.NoError(t, err)
				require.NotEmpty(t, readings)
			}
			// Where the specification puts the registers of a chain that begins
			// at 40000, in plain numbers.
			require.Equal(t, uint16(0x5375), p.peek(t, 40000))
			require.Equal(t, uint16(1), p.peek(t, 40002))
			require.Equal(t, c.models[1], p.peek(t, 40070))
		})
	}
}

func sunspecRef(id uint16) string { return devices.FormatValue(int64(id)) }

func TestAModelReadsInEngineeringUnits(t *testing.T) {
	p := start(t, sunspecsim.Config{Kind: sunspecsim.KindInverter})
	require.NoError(t, p.Poke(devices.Holding, p.address(t, "103.Evt1")+1, 0x81))
	got := map[string]sunspec.Value{}
	for _, model := range []string{"103", "121", "701"} {
		readings, err := p.chain.Read(t.Context(), p.link, model)
		require.NoError(t, err)
		for _, r := range readings {
			got[r.Name] = r.Value
		}
	}
	for name, want := range map[string]sunspec.Value{
		"103.PhVphA": 230.9, "103.A": 58.0, "103.VAr": -300.0, "103.PF": 99.9, "103.WH": int64(123456789), "103.St": "MPPT",
		"103.Evt1": "GROUND_FAULT|OVER_TEMP", "103.DCA": sunspec.NotImplemented{}, "103.StVnd": sunspec.NotImplemented{},
		"121.WMax": 50000.0, "121.VMax": sunspec.NotImplemented{}, "121.PFMinQ3": -0.8,
		"701.TotWhInj": uint64(123456789), "701.ACType": "THREE_PHASE", "701.MnAlrmInfo": sunspec.NotImplemented{}, "701.LNV": 231.0,
	} {
		require.Equal(t, want, got[name], name)
	}
	require.NotContains(t, got, "103.W_SF", "a scale factor is not a reading")
	require.NotContains(t, got, "120.Pad")
	for _, model := range []string{"103.W", "", "power"} {
		_, err := p.chain.Read(t.Context(), p.link, model)
		require.Equal(t, devices.Unsupported, devices.KindOf(err))
	}
	_, err := p.chain.Read(t.Context(), p.link, "802")
	require.Equal(t, devices.Unsupported, devices.KindOf(err))
	require.ErrorContains(t, err, "the device has no model 802; it has 1, 103, 120")
	_, err = p.chain.Read(t.Context(), p.link, "103#2")
	require.ErrorContains(t, err, "the device has no model 103#2")
	_, err = p.chain.Read(t.Context(), p.link, "9")
	require.ErrorContains(t, err, "model 9 is not one of")
}

// TestMappedSettingsWorkWithTheSharedTypes goes the way of drift and of a safe
// write: read, compare, write, read back.
func TestMappedSettingsWorkWithTheSharedTypes(t *testing.T) {
	p := start(t, sunspecsim.Config{Kind: sunspecsim.KindInverter})
	names := []string{"121.WMax", "121.PFMinQ1", "121.VArAct", "703.ESHzHi", "703.ESDlyTms"}
	mapping, err := p.chain.Map(t.Context(), p.link, names)
	require.NoError(t, err)
	require.Equal(t, uint16(40002+68+52+28+2), mapping.Points[0].Modbus.Address, "1, 103 and 120 stand before 121")
	want := []devices.Value{50000.0, 0.8, "SWITCH", 50.1, int64(300)}
	got, err := p.link.Read(t.Context(), mapping.Points)
	require.NoError(t, err)
	require.Equal(t, want, got)

	require.NoError(t, p.Break(sim.FaultDrift, false))
	got, err = p.link.Read(t.Context(), mapping.Points)
	require.NoError(t, err)
	require.Equal(t, []devices.Value{42000.0, 0.95, "SWITCH", 70.0, int64(60)}, got)
	var fix []devices.Setting
	for i, point := range mapping.Points {
		require.Equal(t, names[i], point.Name)
		require.True(t, point.Writable)
		if got[i] != want[i] {
			fix = append(fix, devices.Setting{Point: point, Value: want[i]})
		}
	}
	require.NoError(t, mapping.Check(t.Context(), p.link))
	require.NoError(t, p.link.Write(t.Context(), fix))
	got, err = p.link.Read(t.Context(), mapping.Points)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.Equal(t, uint16(5000), p.peek(t, mapping.Points[0].Modbus.Address))

	t.Run("a value is in the resolution of the device, and never its pattern for not implemented", func(t *testing.T) {
		_, err := mapping.Points[0].Canonical(42005)
		require.ErrorContains(t, err, "121.WMax: 42005 is not a multiple of 10")
		_, err = mapping.Points[0].Canonical(655350)
		require.ErrorContains(t, err, "121.WMax: 655350 is outside 0 to 655340 W")
		_, err = mapping.Points[2].Canonical("VECTOR")
		require.ErrorContains(t, err, "not one of SWITCH, MAINTAIN")
	})
	t.Run("what the device does not implement cannot be mapped, and all of it is named", func(t *testing.T) {
		_, err := p.chain.Map(t.Context(), p.link, []string{"121.WMax", "121.VMax", "121.ConnPh", "121.VMin"})
		require.Equal(t, devices.Unsupported, devices.KindOf(err))
		require.ErrorContains(t, err, "inv-07: map SunSpec points: unsupported: the device does not implement 121.VMax, 121.ConnPh, 121.VMin")
	})
	t.Run("controls and measurements can be read, and are not writable", func(t *testing.T) {
		mapping, err := p.chain.Map(t.Context(), p.link, []string{"123.Conn", "703.ES", "704.WMaxLimPct", "103.St", "1.SN", "705.AdptCrvReq"})
		require.NoError(t, err)
		for _, point := range mapping.Points {
			require.False(t, point.Writable, point.Name)
		}
		values, err := p.link.Read(t.Context(), mapping.Points[:5])
		require.NoError(t, err)
		require.Equal(t, []devices.Value{"CONNECT", "ENABLED", 100.0, "MPPT", "NL-inv-07"}, values)
	})
	t.Run("a scale factor that changed makes the mapping void", func(t *testing.T) {
		sf := p.address(t, "121.WMax_SF")
		require.NoError(t, p.Poke(devices.Holding, sf, 2))
		err := mapping.Check(t.Context(), p.link)
		require.Equal(t, devices.Rejected, devices.KindOf(err))
		require.ErrorContains(t, err, "121.WMax_SF was 1 and is 2; map the points again")
		require.NoError(t, p.Poke(devices.Holding, sf, 1))
	})
	t.Run("a scale factor that is none is refused", func(t *testing.T) {
		sf := p.address(t, "121.WMax_SF")
		for _, c := range []struct {
			word  uint16
			words string
		}{{11, "WMax: its scale factor WMax_SF is 11, and a power of ten from -10 to 10"}, {0xFFF5, "WMax_SF is -11"}, {0x8000, "does not implement its scale factor WMax_SF"}} {
			require.NoError(t, p.Poke(devices.Holding, sf, c.word))
			_, err := p.chain.Map(t.Context(), p.link, []string{"121.WMax"})
			require.Equal(t, devices.Rejected, devices.KindOf(err))
			require.ErrorContains(t, err, c.words)
			_, err = p.chain.Read(t.Context(), p.link, "121")
			require.Equal(t, devices.Rejected, devices.KindOf(err))
		}
		require.NoError(t, p.Poke(devices.Holding, sf, 1))
	})
	t.Run("a point that no model has is refused", func(t *testing.T) {
		_, err := p.chain.Map(t.Context(), p.link, []string{"121.Power"})
		require.Equal(t, devices.Unsupported, devices.KindOf(err))
		_, err = p.chain.Map(t.Context(), p.link, []string{"Power"})
		require.Equal(t, devices.Unsupported, devices.KindOf(err))
	})
	t.Run("another version of a model is refused", func(t *testing.T) {
		at, ok := p.chain.Find(121, 1)
		require.True(t, ok)
		other := *p.chain
		other.Models = append([]sunspec.Instance(nil), p.chain.Models...)
		for i := range other.Models {
			if other.Models[i] == at {
				other.Models[i].Length = 28
			}
		}
		_, err := other.Map(t.Context(), p.link, []string{"121.WMax"})
		require.Equal(t, devices.Unsupported, devices.KindOf(err))
		require.ErrorContains(t, err, "has 28 registers, and its definition 30: it is another version of the model")
	})
}

// interruptedLink calls something before the nth read.
type interruptedLink struct {
	devices.Link
	before func(read int)
	reads  int
}

func (l *interruptedLink) Read(ctx context.Context, points []devices.Point) ([]devices.Value, error) {
	l.reads++
	l.before(l.reads)
	return l.Link.Read(ctx, points)
}

// TestALongModelIsReadWithItsFactors: model 701 has 153 registers, so its
// factors can change between the two requests that it takes.
func TestALongModelIsReadWithItsFactors(t *testing.T) {
	p := start(t, sunspecsim.Config{Kind: sunspecsim.KindInverter})
	sf := p.address(t, "701.W_SF")
	link := &interruptedLink{Link: p.link, before: func(read int) {
		if read == 2 {
			require.NoError(t, p.Poke(devices.Holding, sf, 0))
		}
	}}
	_, err := p.chain.Read(t.Context(), link, "701")
	require.Equal(t, devices.Busy, devices.KindOf(err))
	require.ErrorContains(t, err, "the scale factor W_SF changed while the model was read")
	_, err = p.chain.Read(t.Context(), link, "701")
	require.NoError(t, err)
	short := &interruptedLink{Link: p.link, before: func(int) {}}
	_, err = p.chain.Map(t.Context(), short, []string{"121.WMax", "121.VRef"})
	require.NoError(t, err)
	require.Equal(t, 1, short.reads, "values and factors of a short model are one request")
}

// askingLink keeps what was asked for.
type askingLink struct {
	devices.Link
	asked []devices.Point
}

func (l *askingLink) Read(ctx context.Context, points []devices.Point) ([]devices.Value, error) {
	l.asked = append(l.asked, points...)
	return l.Link.Read(ctx, points)
}

// TestNoNumberIsReadInTwoMoments: a number of several registers is asked for as
// one, which the driver does not divide between two requests.
func TestNoNumberIsReadInTwoMoments(t *testing.T) {
	p := start(t, sunspecsim.Config{Kind: sunspecsim.KindInverter})
	asked := func(model string, curves bool) map[uint16]devices.Type {
		link := &askingLink{Link: p.link}
		var err error
		if curves {
			_, err = p.chain.Curves(t.Context(), link, model)
		} else {
			_, err = p.chain.Read(t.Context(), link, model)
		}
		require.NoError(t, err)
		out := map[uint16]devices.Type{}
		for _, point := range link.asked {
			out[point.Modbus.Address] = point.Type
		}
		return out
	}
	at, _ := p.chain.Find(701, 1)
	types := asked("701", false)
	require.Equal(t, devices.Uint32, types[at.Address+15], "Hz")
	require.Equal(t, devices.Uint64, types[at.Address+100], "TotVarhInjL3")
	at, _ = p.chain.Find(709, 1)
	types = asked("709", true)
	for set := range uint16(3) {
		for table := range uint16(3) {
			for row := range uint16(3) {
				hz := at.Address + 7 + set*(1+3*13) + 1 + table*13 + 1 + row*4
				require.Equal(t, devices.Uint32, types[hz])
				require.Equal(t, devices.Uint32, types[hz+2])
			}
		}
	}
}
