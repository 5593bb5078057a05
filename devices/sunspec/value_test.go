package sunspec

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"edgefleet/devices"
)

func words(n uint64, size int) []uint16 {
	out := make([]uint16, size)
	for i := range out {
		out[size-1-i] = uint16(n >> (16 * i))
	}
	return out
}

// TestAScaledValueComesBackAsItsRegisters: for every type with a factor, every
// factor and every content but the pattern for "not implemented", the value is
// a number that gives the same registers when it is written, and the decimal
// number that a person would write down gives them as well.
func TestAScaledValueComesBackAsItsRegisters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		def := PointDef{Name: "P", Use: SettingUse, Type: rapid.SampledFrom([]Type{Int16, Uint16, Int32, Uint32}).Draw(t, "type")}
		def.Size = def.Type.registers()
		power := rapid.IntRange(minFactor, maxFactor).Draw(t, "power")
		own := rapid.SliceOfN(rapid.Uint16(), def.Size, def.Size).Draw(t, "words")
		if def.Type.missing(own) {
			return
		}
		scale := math.Pow10(power)
		v, err := def.decode(own, scale)
		require.NoError(t, err)
		point := def.point("P", 0, scale)
		raw, err := point.ToRaw(v)
		require.NoError(t, err)
		require.Equal(t, own, words(uint64(raw.Int), def.Size))
		back, err := point.ParseExact(point.Text(v))
		require.NoError(t, err)
		require.Equal(t, v, back)
	})
}

// TestThePatternForNotImplementedIsNoValue: no type gives it as a number, and
// none can be written by way of a number.
func TestThePatternForNotImplementedIsNoValue(t *testing.T) {
	for _, c := range []struct {
		typ     Type
		pattern uint64
	}{
		{Int16, 0x8000}, {SunSSF, 0x8000}, {Int32, 0x80000000}, {Int64, 0x8000000000000000},
		{Uint16, 0xFFFF}, {Enum16, 0xFFFF}, {Bitfield16, 0xFFFF},
		{Uint32, 0xFFFFFFFF}, {Enum32, 0xFFFFFFFF}, {Bitfield32, 0xFFFFFFFF}, {Uint64, 0xFFFFFFFFFFFFFFFF},
		{Acc16, 0}, {Acc32, 0}, {Acc64, 0}, {Float32, 0x7FC00000}, {Float64, 0x7FF8000000000000}, {Pad, 0},
	} {
		t.Run(string(c.typ), func(t *testing.T) {
			def := PointDef{Name: "P", Type: c.typ, Size: c.typ.registers(), Use: SettingUse}
			for _, scale := range []float64{1, 0.01, 100} {
				v, err := def.decode(words(c.pattern, def.Size), scale)
				require.NoError(t, err)
				require.Equal(t, NotImplemented{}, v)
			}
			if c.typ == Float32 || c.typ == Float64 {
				_, err := def.point("P", 0, 1).Canonical(math.NaN())
				require.Error(t, err)
				return
			}
			lo, hi := c.typ.bounds(def.point("P", 0, 1))
			if lo == nil {
				return // 64 bits and counters, of which no model has a setting.
			}
			n := devices.Point{Type: c.typ.device()}
			v, err := n.FromRaw(c.typ.raw(words(c.pattern, def.Size)))
			require.NoError(t, err)
			_, err = def.point("P", 0, 1).ToRaw(v)
			require.ErrorContains(t, err, "is outside")
			for _, bound := range []float64{*lo, *hi} {
				_, err = def.point("P", 0, 1).ToRaw(bound)
				require.NoError(t, err)
			}
		})
	}
	text := PointDef{Name: "P", Type: String, Size: 3}
	v, err := text.decode(make([]uint16, 3), 1)
	require.NoError(t, err)
	require.Equal(t, NotImplemented{}, v)
	require.Equal(t, "not implemented", devices.FormatValue(v))
}

func TestValues(t *testing.T) {
	state := PointDef{Name: "St", Type: Enum16, Size: 1, Symbols: map[string]int64{"OFF": 1, "MPPT": 4}}
	events := PointDef{Name: "Evt", Type: Bitfield32, Size: 2, Symbols: map[string]int64{"GROUND_FAULT": 0, "OVER_TEMP": 7}}
	for _, c := range []struct {
		name  string
		def   PointDef
		words []uint16
		scale float64
		want  Value
	}{
		{"an enum has its name", state, []uint16{4}, 1, "MPPT"},
		{"an enum that the model does not name has its number", state, []uint16{77}, 1, int64(77)},
		{"bits have their names, lowest first", events, []uint16{0, 0x81}, 1, "GROUND_FAULT|OVER_TEMP"},
		{"a bit without a name has its number", events, []uint16{0x8000, 1}, 1, "GROUND_FAULT|bit 31"},
		{"no bits are none", events, []uint16{0, 0}, 1, ""},
		{"a number without a factor is whole", PointDef{Type: Int16, Size: 1}, []uint16{0xFFFE}, 1, int64(-2)},
		{"a factor below one divides exactly", PointDef{Type: Uint16, Size: 1}, []uint16{3}, 0.1, 0.3},
		{"a factor above one multiplies", PointDef{Type: Int16, Size: 1}, []uint16{0xFFFD}, 100, -300.0},
		{"the first register is the highest", PointDef{Type: Uint32, Size: 2}, []uint16{1, 2}, 1, int64(65538)},
		{"64 bits", PointDef{Type: Uint64, Size: 4}, []uint16{0x8000, 0, 0, 1}, 1, uint64(1<<63 + 1)},
		{"a float", PointDef{Type: Float32, Size: 2}, []uint16{0x3FC0, 0}, 1, 1.5},
		{"a double", PointDef{Type: Float64, Size: 4}, []uint16{0x3FF8, 0, 0, 0}, 1, 1.5},
		{"a text ends with NUL", PointDef{Type: String, Size: 3}, []uint16{0x5056, 0x2D00, 0x5858}, 1, "PV-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.def.decode(c.words, c.scale)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}
