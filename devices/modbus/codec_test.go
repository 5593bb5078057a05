package modbus

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"edgefleet/devices"
)

func drawPoint(t *rapid.T) devices.Point {
	p := devices.Point{
		Name: "point",
		Type: rapid.SampledFrom([]devices.Type{devices.Bool, devices.Int16, devices.Uint16, devices.Int32, devices.Uint32,
			devices.Int64, devices.Uint64, devices.Float32, devices.Float64, devices.String}).Draw(t, "type"),
		Modbus: &devices.ModbusAddress{Table: devices.Holding, WordSwap: rapid.Bool().Draw(t, "swap"),
			Length: uint16(rapid.IntRange(1, 20).Draw(t, "length"))},
	}
	switch p.Type {
	case devices.Int16, devices.Uint16, devices.Int32, devices.Uint32:
		p.Scale = rapid.SampledFrom([]float64{0, 1, 0.1, 0.01, 0.001, 10}).Draw(t, "scale")
	}
	return p
}

// TestWhatIsWrittenReadsBack: a value that the device can hold comes back as
// itself, and writing what was read changes no register that a number uses.
func TestWhatIsWrittenReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPoint(t)
		wire := rapid.SliceOfN(rapid.Byte(), 2*registers(p), 2*registers(p)).Draw(t, "wire")
		value, err := decode(p, wire)
		if err != nil {
			return // Not a number, or a bool that is neither.
		}
		again, err := encode(p, value)
		if err != nil {
			// A device's text may have control characters, or grow when it is
			// made valid UTF-8; neither is ever written.
			require.Equal(t, devices.String, p.Type, "%v: %v", value, err)
			return
		}
		require.Len(t, again, len(wire))
		back, err := decode(p, again)
		require.NoError(t, err)
		require.Equal(t, value, back)
		if p.Type != devices.String && p.Type != devices.Float32 && p.Type != devices.Float64 {
			require.Equal(t, wire, again)
		}
	})
}

// TestWordSwapTurnsTheRegistersAround: it is an order of registers, and
// nothing else.
func TestWordSwapTurnsTheRegistersAround(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPoint(t)
		if p.Type == devices.String {
			return
		}
		wire := rapid.SliceOfN(rapid.Byte(), 2*registers(p), 2*registers(p)).Draw(t, "wire")
		turned := make([]byte, 0, len(wire))
		for i := len(wire) - 2; i >= 0; i -= 2 {
			turned = append(turned, wire[i], wire[i+1])
		}
		plain, swappedPoint := p, p
		plainAt, swappedAt := *p.Modbus, *p.Modbus
		plainAt.WordSwap, swappedAt.WordSwap = false, true
		plain.Modbus, swappedPoint.Modbus = &plainAt, &swappedAt
		a, errA := decode(plain, wire)
		b, errB := decode(swappedPoint, turned)
		require.Equal(t, errA == nil, errB == nil)
		require.Equal(t, a, b)
	})
}

// TestPlanCoversEveryPointOnce: whatever is asked, each point is in exactly
// one span, whole, and no span goes over the limits or reads a hole.
func TestPlanCoversEveryPointOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		points := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) devices.Point {
			p := drawPoint(t)
			p.Modbus.Table = rapid.SampledFrom([]devices.ModbusTable{devices.Holding, devices.Input, devices.Coil, devices.Discrete}).Draw(t, "table")
			if isBits(p.Modbus.Table) {
				p.Type = devices.Bool
			}
			p.Modbus.Address = uint16(rapid.IntRange(0, 300).Draw(t, "address"))
			return p
		}), 0, 200).Draw(t, "points")
		spans, err := planReads(points)
		require.NoError(t, err)
		covered := map[int]int{}
		for _, s := range spans {
			require.Positive(t, s.count)
			limit := maxReadRegisters
			if isBits(s.table) {
				limit = maxReadBits
			}
			require.LessOrEqual(t, s.count, limit)
			asked := map[int]bool{}
			for _, i := range s.points {
				covered[i]++
				n, err := width(points[i])
				require.NoError(t, err)
				from := int(points[i].Modbus.Address)
				require.Equal(t, s.table, points[i].Modbus.Table)
				require.GreaterOrEqual(t, from, int(s.address))
				require.LessOrEqual(t, from+n, s.end())
				for a := from; a < from+n; a++ {
					asked[a] = true
				}
			}
			require.Len(t, asked, s.count, "no hole is read")
		}
		require.Len(t, covered, len(points))
		for i, n := range covered {
			require.Equal(t, 1, n, "point %d", i)
		}
	})
}

func TestWhatCannotBeUnderstoodIsNoValue(t *testing.T) {
	float := func(f float32) []byte {
		b := math.Float32bits(f)
		return []byte{byte(b >> 24), byte(b >> 16), byte(b >> 8), byte(b)}
	}
	for _, c := range []struct {
		name  string
		point devices.Point
		wire  []byte
		words string
	}{
		{"a bool that is neither", at(devices.Holding, 0, devices.Bool), []byte{0, 2}, "the register holds 2, which is neither 0 nor 1"},
		{"not a number", at(devices.Holding, 0, devices.Float32), float(float32(math.NaN())), "not a number"},
		{"infinite", at(devices.Holding, 0, devices.Float32), float(float32(math.Inf(1))), "not a number"},
		{"an integer without a name", devices.Point{Name: "mode", Type: devices.Uint16, Enum: map[string]int64{"off": 0}, Modbus: &devices.ModbusAddress{}}, []byte{0, 7}, "mode: the device has 7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := decode(c.point, c.wire)
			require.ErrorContains(t, err, c.words)
		})
	}
}

func TestText(t *testing.T) {
	for _, c := range []struct{ name, wire, want string }{
		{"padded with NUL", "FR-200\x00\x00", "FR-200"},
		{"padded with spaces", "FR-200  ", "FR-200"},
		{"full", "FR-200/A", "FR-200/A"},
		{"empty", "\x00\x00\x00\x00\x00\x00\x00\x00", ""},
		{"left-overs behind the end do not count", "FR\x00old\x00\x00", "FR"},
		{"what is not UTF-8 is marked, and stays printable", "FR-\xFC\x00\x00\x00\x00", "FR-\uFFFD"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := decode(at(devices.Holding, 0, devices.String, 4), []byte(c.wire))
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}
