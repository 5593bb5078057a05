package devices

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func ptr(f float64) *float64 { return &f }

func drawPoint(t *rapid.T) Point {
	p := Point{Name: "p", Type: rapid.SampledFrom([]Type{Bool, Int16, Uint16, Int32, Uint32, Int64, Uint64, Float32, Float64, String}).Draw(t, "type")}
	if _, _, isInt := p.Type.intRange(); isInt {
		p.Scale = rapid.SampledFrom([]float64{0, 1, 0.1, 0.01, 0.001, 0.5, 0.3, 10, 100}).Draw(t, "scale")
		if p.Scale == 0 && rapid.Bool().Draw(t, "enum") {
			p.Enum = map[string]int64{"off": 0, "on": 1, "auto": 7}
		}
	}
	if p.Type == Float32 {
		p.Scale = rapid.SampledFrom([]float64{0, 0.1, 0.001, 1000}).Draw(t, "scale")
	}
	if p.Type == String {
		p.Modbus = &ModbusAddress{Table: Holding, Length: 8}
	}
	return p
}

// drawRaw draws what a device of that type can hold. Scaled 64-bit integers
// stay where float64 counts in ones.
func drawRaw(t *rapid.T, p Point) Raw {
	switch {
	case p.Type == Bool:
		return Raw{Bool: rapid.Bool().Draw(t, "bool")}
	case p.Type == String:
		return Raw{Text: rapid.StringMatching(`[ -~]{0,16}`).Draw(t, "text")}
	case p.Type == Float32:
		return Raw{Float: float64(rapid.Float32Range(-1e30, 1e30).Draw(t, "float"))}
	case p.Type == Float64:
		return Raw{Float: rapid.Float64().Draw(t, "float")}
	case p.Type == Uint64:
		return Raw{Uint: rapid.Uint64().Draw(t, "uint")}
	case len(p.Enum) > 0:
		return Raw{Int: rapid.SampledFrom([]int64{0, 1, 7}).Draw(t, "int")}
	}
	lo, hi, _ := p.Type.intRange()
	if p.Scale != 0 && p.Scale != 1 {
		lo, hi = max(lo, -1<<48), min(hi, 1<<48)
	}
	return Raw{Int: rapid.Int64Range(lo, hi).Draw(t, "int")}
}

func TestWhatADeviceHoldsSurvivesTheWayThroughItsValue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPoint(t)
		raw := drawRaw(t, p)
		v, err := p.FromRaw(raw)
		require.NoError(t, err)
		back, err := p.ToRaw(v)
		require.NoError(t, err)
		again, err := p.FromRaw(back)
		require.NoError(t, err)
		require.Equal(t, v, again)
		if p.Type != String {
			require.Equal(t, raw, back)
		}
	})
}

func TestCanonicalOfACanonicalValueIsItself(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPoint(t)
		var in any
		switch {
		case p.Type == Bool:
			in = rapid.Bool().Draw(t, "in")
		case p.Type == String:
			in = rapid.StringMatching(`[ -~]{0,16}`).Draw(t, "in")
		case len(p.Enum) > 0:
			in = rapid.SampledFrom([]string{"off", "on", "auto"}).Draw(t, "in")
		default:
			in = rapid.OneOf(rapid.Float64Range(-1e6, 1e6).AsAny(), rapid.Int64().AsAny(), rapid.Uint64().AsAny(),
				rapid.Map(rapid.Int64Range(-100000, 100000), func(i int64) float64 { return float64(i) / 100 }).AsAny()).Draw(t, "in")
		}
		v, err := p.Canonical(in)
		if err != nil {
			return
		}
		again, err := p.Canonical(v)
		require.NoError(t, err)
		require.Equal(t, v, again)
	})
}

func TestTextOfAValueReadsBackAsTheSameValue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPoint(t)
		v, err := p.FromRaw(drawRaw(t, p))
		require.NoError(t, err)
		back, err := p.ParseExact(p.Text(v))
		require.NoError(t, err)
		require.Equal(t, v, back)
	})
}

func TestDecimalOfABaselineEqualsTheScaledRegister(t *testing.T) {
	for raw := int64(0); raw <= 65535; raw++ {
		tenths := Point{Name: "u", Type: Uint16, Scale: 0.1}
		v, err := tenths.FromRaw(Raw{Int: raw})
		require.NoError(t, err)
		require.Equal(t, float64(raw)/10, v)
	}
}

func TestToRawRefuses(t *testing.T) {
	tests := map[string]struct {
		point Point
		value any
		want  string
	}{
		"a number for a bool":                {Point{Name: "b", Type: Bool}, 1, "b: 1 is not true or false"},
		"a bool for a number":                {Point{Name: "n", Type: Uint16}, true, "n: true is not a number"},
		"a fraction for an integer":          {Point{Name: "n", Type: Uint16}, 1.5, "n: 1.5 is not a whole number"},
		"more than the type holds":           {Point{Name: "n", Type: Uint16}, 65536, "n: 65536 does not fit uint16"},
		"less than the type holds":           {Point{Name: "n", Type: Uint64}, -1, "n: -1 does not fit uint64"},
		"2^63 for a scaled int64":            {Point{Name: "n", Type: Int64, Scale: 10}, float64(1<<63) * 10, "n: 9.22337204e+19 does not fit int64"},
		"uint64 above int64":                 {Point{Name: "n", Type: Int64}, uint64(math.MaxUint64), "n: 18446744073709551615 does not fit int64"},
		"what is between two steps":          {Point{Name: "n", Type: Uint16, Scale: 0.1}, 50.15, "n: 50.15 is not a multiple of 0.1"},
		"below the range, with the unit":     {Point{Name: "n", Type: Uint16, Scale: 0.1, Unit: "kV", Min: ptr(1), Max: ptr(40)}, 0.9, "n: 0.9 is outside 1 to 40 kV"},
		"above the range":                    {Point{Name: "n", Type: Uint16, Max: ptr(40)}, 41, "n: 41 is outside -inf to 40"},
		"infinity":                           {Point{Name: "n", Type: Float64}, math.Inf(1), "n: +Inf is not a number"},
		"more than a float32 holds":          {Point{Name: "n", Type: Float32}, 1e300, "n: 1e+300 does not fit float32"},
		"a name that the enum has not":       {Point{Name: "e", Type: Uint16, Enum: map[string]int64{"on": 1, "off": 0}}, "auto", "e: auto is not one of off, on"},
		"a number for an enum":               {Point{Name: "e", Type: Uint16, Enum: map[string]int64{"on": 1, "off": 0}}, 1, "e: 1 is not one of off, on"},
		"a text longer than its registers":   {Point{Name: "s", Type: String, Modbus: &ModbusAddress{Length: 2}}, "abcde", `s: "abcde" is longer than 4 bytes`},
		"a text with a control character":    {Point{Name: "s", Type: String}, "a\nb", `s: "a\nb" has a control character`},
		"a number for a text":                {Point{Name: "s", Type: String}, 5, "s: 5 is not a text"},
		"not a number, as YAML can say .nan": {Point{Name: "n", Type: Float32}, math.NaN(), "n: NaN is not a number"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := tt.point.ToRaw(tt.value)
			require.EqualError(t, err, tt.want)
		})
	}
}

func TestFromRawRefuses(t *testing.T) {
	_, err := Point{Name: "e", Type: Uint16, Enum: map[string]int64{"on": 1}}.FromRaw(Raw{Int: 7})
	require.EqualError(t, err, "e: the device has 7, which the profile does not name")
	_, err = Point{Name: "f", Type: Float32}.FromRaw(Raw{Float: math.NaN()})
	require.EqualError(t, err, "f: the device has NaN, which is not a number")
}

func TestEndsOfTheRangeAreInside(t *testing.T) {
	for _, p := range []Point{
		{Name: "tenths", Type: Uint16, Scale: 0.1, Min: ptr(0.3), Max: ptr(0.7)},
		{Name: "float32", Type: Float32, Min: ptr(0.3), Max: ptr(0.7)},
	} {
		for _, end := range []float64{0.3, 0.7} {
			v, err := p.Canonical(end)
			require.NoError(t, err)
			again, err := p.Canonical(v)
			require.NoError(t, err)
			require.Equal(t, v, again)
			require.Equal(t, FormatValue(end), p.Text(v))
		}
	}
}

func TestValidID(t *testing.T) {
	for _, id := range []string{"edge-001", "a", "A.b_c-9"} {
		require.NoError(t, ValidID(id))
	}
	for _, id := range []string{"", "-a", "a/b", "a b", "ä", string(make([]byte, 64))} {
		require.Error(t, ValidID(id), "%q", id)
	}
}
