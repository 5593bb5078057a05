package sim_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/goburrow/modbus"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"edgefleet/devices"
	"edgefleet/devices/sim"
)

func readText(t *testing.T, c modbus.Client, address, n uint16) string {
	t.Helper()
	b, err := c.ReadHoldingRegisters(address, n)
	require.NoError(t, err)
	return strings.TrimRight(string(b), "\x00")
}

func TestIdentityIsTextInHoldingRegisters(t *testing.T) {
	for _, tc := range []struct{ model, addr, serial string }{
		{"FR-200", startFeeder(t).Addr(), "NL-edge-001"},
		{"PDU-8", startOutlet(t).Addr(), "NL-switch-01"},
	} {
		t.Run(tc.model, func(t *testing.T) {
			c, _ := dial(t, tc.addr)
			require.Equal(t, "Northline", readText(t, c, 0, 8))
			require.Equal(t, tc.model, readText(t, c, 8, 8))
			require.Equal(t, tc.serial, readText(t, c, 16, 8))
			require.Equal(t, "3.2.1", readText(t, c, 24, 4))
			for address := range uint16(28) {
				_, err := c.WriteSingleRegister(address, 1)
				requireException(t, 2, err)
			}
		})
	}
}

// setting is one row of the feeder's map, in raw words.
type setting struct {
	name    string
	address uint16
	factory []uint16
	good    [][]uint16 // both ends of the range
	bad     [][]uint16 // just outside
}

func float(f float32) []uint16 {
	b := math.Float32bits(f)
	return []uint16{uint16(b >> 16), uint16(b)}
}

func feederSettings() []setting {
	one := func(w ...uint16) [][]uint16 {
		out := make([][]uint16, len(w))
		for i, v := range w {
			out[i] = []uint16{v}
		}
		return out
	}
	negative := func(i int16) uint16 { return uint16(i) }
	return []setting{
		{"nominal_voltage", 100, []uint16{200}, one(10, 400), one(9, 401)},
		{"nominal_frequency", 101, []uint16{5000}, one(4500, 6500), one(4499, 6501)},
		{"undervoltage_trip", 102, []uint16{850}, one(500, 1000), one(499, 1001)},
		{"undervoltage_delay", 103, []uint16{1500}, one(0, 60000), one(60001)},
		{"overvoltage_trip", 104, []uint16{1100}, one(1000, 1300), one(999, 1301)},
		{"overvoltage_delay", 105, []uint16{500}, one(0, 60000), one(60001)},
		{"overcurrent_pickup", 106, []uint16{0, 63000}, [][]uint16{{0, 1000}, {7, 41248}}, [][]uint16{{0, 999}, {7, 41249}}},
		{"reclose_enabled", 108, []uint16{1}, one(0, 1), one(2)},
		{"reclose_delay", 109, []uint16{5}, one(1, 300), one(0, 301)},
		{"active_power_limit", 110, float(4500), [][]uint16{float(0), float(50000)},
			[][]uint16{float(-1), float(50001), float(float32(math.NaN())), float(float32(math.Inf(1)))}},
		{"report_interval", 112, []uint16{60}, one(1, 3600), one(0, 3601)},
		{"comm_timeout", 113, []uint16{30}, one(1, 600), one(0, 601)},
		{"timezone_offset", 114, []uint16{60}, one(negative(-720), 840), one(negative(-721), 841)},
		{"event_counter", 115, []uint16{0}, one(0, 65535), nil},
	}
}

func TestEverySettingHasItsFactoryValueRangeAndCount(t *testing.T) {
	at := newClock()
	d := startFeeder(t, func(c *sim.Config) { c.Now = at.now })
	c, _ := dial(t, d.Addr())
	for _, s := range feederSettings() {
		t.Run(s.name, func(t *testing.T) {
			n := uint16(len(s.factory))
			read := func() []uint16 {
				b, err := c.ReadHoldingRegisters(s.address, n)
				require.NoError(t, err)
				return words(b)
			}
			require.Equal(t, s.factory, read())
			last := s.factory
			for _, w := range s.good {
				_, err := c.WriteMultipleRegisters(s.address, n, payload(w...))
				require.NoError(t, err)
				require.Equal(t, w, read())
				last = w
			}
			for _, w := range s.bad {
				_, err := c.WriteMultipleRegisters(s.address, n, payload(w...))
				requireException(t, 3, err)
				if n == 1 {
					_, err = c.WriteSingleRegister(s.address, w[0])
					requireException(t, 3, err)
				}
				require.Equal(t, last, read())
			}
			_, err := c.WriteSingleRegister(s.address, last[0])
			require.NoError(t, err)
		})
	}
	counters := d.Writes()
	require.Len(t, counters, 16, "every address of every setting, and no other")
	for i, counter := range counters {
		require.EqualValues(t, 100+i, counter.Address)
	}
	// Two good values by FC16 and one by FC06; only the first word of a wide
	// value got the last one; the refused ones do not count.
	require.EqualValues(t, 3, counters[0].Count)
	require.EqualValues(t, 3, counters[6].Count)
	require.EqualValues(t, 2, counters[7].Count)
	require.Equal(t, sim.Write{At: at.now(), Table: devices.Holding, Address: 107, Name: "overcurrent_pickup", Old: 1000, New: 41248},
		counters[7].Write)
}

func TestIllegalAddressesAnswerException2AndChangeNothing(t *testing.T) {
	feeder, _ := dial(t, startFeeder(t).Addr())
	d := startOutlet(t)
	outlet, _ := dial(t, d.Addr())
	for name, ask := range map[string]func() ([]byte, error){
		"holding between identity and settings": func() ([]byte, error) { return feeder.ReadHoldingRegisters(28, 1) },
		"holding across the end of settings":    func() ([]byte, error) { return feeder.ReadHoldingRegisters(115, 2) },
		"holding at the end of addresses":       func() ([]byte, error) { return feeder.ReadHoldingRegisters(65535, 1) },
		"input in a gap":                        func() ([]byte, error) { return feeder.ReadInputRegisters(0, 5) },
		"input after state":                     func() ([]byte, error) { return feeder.ReadInputRegisters(13, 1) },
		"a coil of a feeder":                    func() ([]byte, error) { return feeder.ReadCoils(0, 1) },
		"discrete 1 of a feeder":                func() ([]byte, error) { return feeder.ReadDiscreteInputs(1, 1) },
		"write across the end of settings":      func() ([]byte, error) { return feeder.WriteMultipleRegisters(115, 2, payload(1, 1)) },
		"write of a coil of a feeder":           func() ([]byte, error) { return feeder.WriteSingleCoil(0, 0xff00) },
		"coil 8 of an outlet":                   func() ([]byte, error) { return outlet.WriteSingleCoil(8, 0xff00) },
		"coils 7 and 8 of an outlet":            func() ([]byte, error) { return outlet.WriteMultipleCoils(7, 2, []byte{3}) },
		"settings of an outlet":                 func() ([]byte, error) { return outlet.WriteSingleRegister(100, 1) },
		"counter 108 of an outlet":              func() ([]byte, error) { return outlet.ReadInputRegisters(100, 9) },
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ask()
			requireException(t, 2, err)
		})
	}
	require.Empty(t, d.Writes())
}

func TestAWriteOverSeveralSettingsIsDoneAsAWholeOrNotAtAll(t *testing.T) {
	d := startFeeder(t)
	c, _ := dial(t, d.Addr())
	_, err := c.WriteMultipleRegisters(102, 3, payload(860, 1600, 1400))
	requireException(t, 3, err)
	require.Empty(t, d.Writes())
	_, err = c.WriteMultipleRegisters(102, 3, payload(860, 1600, 1200))
	require.NoError(t, err)
	b, err := c.ReadHoldingRegisters(102, 3)
	require.NoError(t, err)
	require.Equal(t, []uint16{860, 1600, 1200}, words(b))
	log := d.Log()
	require.Len(t, log, 3)
	require.EqualValues(t, 850, log[0].Old)
	require.EqualValues(t, 860, log[0].New)
}

func TestHalfOfAWideValueIsJudgedByTheWhole(t *testing.T) {
	c, _ := dial(t, startFeeder(t).Addr())
	_, err := c.WriteSingleRegister(106, 7) // 7*65536 + 63000 > 500000
	requireException(t, 3, err)
	_, err = c.WriteSingleRegister(106, 1)
	require.NoError(t, err)
}

func TestMeasurementsMoveALittleAndStayPlausible(t *testing.T) {
	at := newClock()
	d := startFeeder(t, func(c *sim.Config) { c.Now = at.now })
	c, _ := dial(t, d.Addr())
	bounds := []struct{ lo, hi uint16 }{{198, 202}, {1550, 2050}, {4997, 5003}, {290, 340}}
	seen := make([]map[uint16]bool, len(bounds))
	for i := range seen {
		seen[i] = map[uint16]bool{}
	}
	for range 200 {
		b, err := c.ReadInputRegisters(0, 4)
		require.NoError(t, err)
		for i, w := range words(b) {
			require.GreaterOrEqual(t, w, bounds[i].lo, "input %d", i)
			require.LessOrEqual(t, w, bounds[i].hi, "input %d", i)
			seen[i][w] = true
		}
		at.move(17 * time.Second)
	}
	for i := range seen {
		require.Greater(t, len(seen[i]), 3, "input %d moves", i)
	}
	b, err := c.ReadDiscreteInputs(0, 1)
	require.NoError(t, err)
	require.Equal(t, []byte{0}, b, "local_control is off")
	b, err = c.ReadInputRegisters(10, 3)
	require.NoError(t, err)
	require.Equal(t, []uint16{0, 200 * 17, 1}, words(b), "uptime in seconds, and running")
}

func TestTheEventCounterCountsByItselfAndOnFromWhatWasWritten(t *testing.T) {
	at := newClock()
	d := startFeeder(t, func(c *sim.Config) { c.Now = at.now })
	c, _ := dial(t, d.Addr())
	read := func() uint16 {
		b, err := c.ReadHoldingRegisters(115, 1)
		require.NoError(t, err)
		return words(b)[0]
	}
	at.move(7 * time.Second)
	require.EqualValues(t, 7, read())
	require.Empty(t, d.Writes())
	_, err := c.WriteSingleRegister(115, 65534)
	require.NoError(t, err)
	at.move(3 * time.Second)
	require.EqualValues(t, 1, read(), "it wraps")
}

func TestModelsThatCannotBeServedAreRefused(t *testing.T) {
	accept := func([]uint16) bool { return true }
	word := []uint16{0}
	for rule, tc := range map[string]struct {
		regs []sim.Register
		want string
	}{
		"two registers at one address": {[]sim.Register{
			{Name: "a", Table: devices.Holding, Address: 5, Initial: []uint16{0, 0}},
			{Name: "b", Table: devices.Holding, Address: 6, Initial: word},
		}, "model m: a and b both claim holding 6"},
		"a name twice": {[]sim.Register{
			{Name: "a", Table: devices.Holding, Address: 5, Initial: word},
			{Name: "a", Table: devices.Holding, Address: 6, Initial: word},
		}, `model m: register name "a" is empty or used twice`},
		"a writable input":   {[]sim.Register{{Name: "a", Table: devices.Input, Initial: word, Accepts: accept}}, "model m: a: clients cannot write to the input table"},
		"an unknown table":   {[]sim.Register{{Name: "a", Table: "file", Initial: word}}, `model m: a: unknown table "file"`},
		"past the end":       {[]sim.Register{{Name: "a", Table: devices.Input, Address: 65535, Initial: []uint16{0, 0}}}, "model m: a has no words, or words past address 65535"},
		"a counter too wide": {[]sim.Register{{Name: "a", Table: devices.Input, Initial: []uint16{0, 0}, CountsEvery: 1}}, "model m: a: only a stored register of one word can count"},
		"none at all":        {nil, "a simulated device needs an ID and a model"},
	} {
		t.Run(rule, func(t *testing.T) {
			_, err := sim.Start(sim.Config{ID: "x", Model: sim.Model{Profile: "m", Registers: tc.regs}})
			require.EqualError(t, err, tc.want)
		})
	}
	_, err := sim.FeederRTU("a-very-long-id")
	require.EqualError(t, err, `simulated device "a-very-long-id": its serial "NL-a-very-long-id" has to fit 16 bytes; use an ID of 1 to 13 bytes`)
}

// Whatever clients write: what is read is what was last accepted, and the
// counters add up to the accepted words.
func TestAcceptedWritesAreWhatIsReadAndCounted(t *testing.T) {
	d := startFeeder(t)
	c, _ := dial(t, d.Addr())
	expect, err := d.Peek(devices.Holding, 100, 15)
	require.NoError(t, err)
	var accepted uint64
	rapid.Check(t, func(rt *rapid.T) {
		address := rapid.Uint16Range(98, 116).Draw(rt, "address")
		values := rapid.SliceOfN(rapid.OneOf(rapid.Uint16(), rapid.Uint16Range(0, 1300)), 1, 4).Draw(rt, "values")
		_, err := c.WriteMultipleRegisters(address, uint16(len(values)), payload(values...))
		if err == nil {
			accepted += uint64(len(values))
			for i, v := range values {
				if at := int(address) - 100 + i; at < len(expect) {
					expect[at] = v
				}
			}
		}
		b, err := c.ReadHoldingRegisters(100, 15)
		if err != nil {
			rt.Fatal(err)
		}
		require.Equal(rt, expect, words(b))
		var counted uint64
		for _, counter := range d.Writes() {
			counted += counter.Count
		}
		require.Equal(rt, accepted, counted)
		require.Equal(rt, accepted, d.Status().Writes)
	})
}
