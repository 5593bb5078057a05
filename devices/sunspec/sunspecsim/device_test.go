package sunspecsim

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"edgefleet/devices"
	"edgefleet/devices/sim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func startOne(t *testing.T, cfg Config) *Device {
	t.Helper()
	d, err := Start(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

// TestTheRegistersStandWhereTheSpecificationPutsThem counts the addresses of
// an inverter by hand: the marker, then each model behind its ID and length.
func TestTheRegistersStandWhereTheSpecificationPutsThem(t *testing.T) {
	d := startOne(t, Config{Kind: KindInverter, Sim: sim.Config{ID: "a"}})
	const (
		m1   = 40002
		m103 = m1 + 2 + 66
		m120 = m103 + 2 + 50
		m121 = m120 + 2 + 26
		m123 = m121 + 2 + 30
		m701 = m123 + 2 + 24
		m702 = m701 + 2 + 153
		m703 = m702 + 2 + 50
		m704 = m703 + 2 + 17
		m705 = m704 + 2 + 65
		m706 = m705 + 2 + 13 + 3*(10+6*2)
		m707 = m706 + 2 + 13 + 3*(5+2*2)
		m708 = m707 + 2 + 7 + 3*(1+3*(1+3*3))
		m709 = m708 + 2 + 7 + 3*(1+3*(1+3*3))
		m710 = m709 + 2 + 7 + 3*(1+3*(1+3*4))
		m711 = m710 + 2 + 7 + 3*(1+3*(1+3*4))
		m712 = m711 + 2 + 12 + 3*10
		end  = m712 + 2 + 12 + 3*(4+6*2)
	)
	for address, want := range map[uint16]uint16{
		40000: 0x5375, 40001: 0x6E53,
		m1: 1, m1 + 1: 66, m103: 103, m103 + 1: 50, m120: 120, m121: 121, m121 + 1: 30, m123: 123, m701: 701, m701 + 1: 153, m702: 702, m703: 703,
		m704: 704, m704 + 1: 65, m705: 705, m705 + 1: 13 + 66, m706: 706, m707: 707, m708: 708, m709: 709, m710: 710, m711: 711, m711 + 1: 12 + 30, m712: 712, m712 + 1: 12 + 48, end: 0xFFFF, end + 1: 0,
		m1 + 2: 'N'<<8 | 'o', m121 + 2: 5000, m121 + 2 + 3: 0xFFFF, m121 + 2 + 20: 1, m121 + 2 + 12: 80, m121 + 2 + 14: 0xFFB0,
		m705 + 2 + 13: 4, m705 + 2 + 13 + 9: 1, m705 + 2 + 13 + 10: 920, m705 + 2 + 13 + 22 + 9: 0,
	} {
		words, err := d.Peek(devices.Holding, address, 1)
		require.NoError(t, err)
		require.Equal(t, want, words[0], "register %d", address)
	}
	_, err := d.Peek(devices.Holding, end+2, 1)
	require.Error(t, err)
}

func TestStartRefuses(t *testing.T) {
	for name, cfg := range map[string]Config{
		"an unknown kind":   {Kind: "meter", Sim: sim.Config{ID: "a"}},
		"no ID":             {Kind: KindBattery},
		"too long a serial": {Kind: KindBattery, Serial: "a-serial-number-of-thirty-three-b", Sim: sim.Config{ID: "a"}},
		"too long an ID":    {Kind: KindInverter, Sim: sim.Config{ID: "a-very-long-name-of-thirty-chars"}},
		"too long, legacy":  {Kind: KindLegacyInverter, Sim: sim.Config{ID: "a-very-long-name-of-thirty-chars"}},
		"a public address":  {Kind: KindBattery, Sim: sim.Config{ID: "a", Address: "192.0.2.1:502"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Start(cfg)
			require.Error(t, err)
		})
	}
}

// TestEveryKindRemembersAndDrifts: on top of package sim, a device keeps its
// settings over a restart, and each kind has settings that drift.
func TestEveryKindRemembersAndDrifts(t *testing.T) {
	for _, kind := range []Kind{KindInverter, KindLegacyInverter, KindBattery} {
		t.Run(string(kind), func(t *testing.T) {
			d := startOne(t, Config{Kind: kind, Sim: sim.Config{ID: "a"}})
			require.NoError(t, d.Break(sim.FaultDrift, false))
			require.NotEmpty(t, d.Status().Drifted)
			require.NoError(t, d.Close())
			again := startOne(t, Config{Kind: kind, Sim: sim.Config{ID: "a", Memory: d.Memory()}})
			require.Equal(t, d.Status().Drifted, again.Status().Drifted)
			require.Equal(t, string(kind), again.Status().Profile)
		})
	}
}

// TestAnEndedDeviceAdoptsNothing closes a device while it is adopting.
func TestAnEndedDeviceAdoptsNothing(t *testing.T) {
	d, err := Start(Config{Kind: KindInverter, Sim: sim.Config{ID: "a"}, AdoptDelay: time.Hour})
	require.NoError(t, err)
	a := d.adopts[0]
	d.wrote(sim.Write{Address: a.request, New: 2})
	require.NoError(t, d.Close())
	d.wrote(sim.Write{Address: a.request, New: 2})
	before, err := d.Peek(devices.Holding, a.result, 1)
	require.NoError(t, err)
	d.adopt(a, 2)
	after, err := d.Peek(devices.Holding, a.result, 1)
	require.NoError(t, err)
	require.Equal(t, before, after)
}

func TestTheConstructorsGiveADeviceItsSerialNumber(t *testing.T) {
	for model, cfg := range map[string]Config{"PV-50": Inverter("PV-000123"), "BT-100": Battery("BT-000123")} {
		cfg.Sim.ID = "site-7"
		d := startOne(t, cfg)
		text := func(address uint16) string {
			words, err := d.Peek(devices.Holding, address, 16)
			require.NoError(t, err)
			var b []byte
			for _, w := range words {
				b = append(b, byte(w>>8), byte(w))
			}
			return strings.TrimRight(string(b), "\x00")
		}
		require.Equal(t, model, text(40004+16))
		require.Equal(t, model[:2]+"-000123", text(40004+48))
	}
}

func TestACurveThatIsNoneFails(t *testing.T) {
	d := startOne(t, Config{Kind: KindInverter, Sim: sim.Config{ID: "a"}})
	for _, index := range []int{0, 1, 4} {
		d.adopt(d.adopts[0], index)
		words, err := d.Peek(devices.Holding, d.adopts[0].result, 1)
		require.NoError(t, err)
		require.Equal(t, uint16(failed), words[0])
	}
}
