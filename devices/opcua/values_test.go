package opcua

import (
	"math"
	"testing"
	"time"

	"github.com/gopcua/opcua/ua"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"edgefleet/devices"
)

var integers = []builtin{typeSByte, typeByte, typeInt16, typeUInt16, typeInt32, typeUInt32, typeInt64, typeUInt64}

// decoded is what the server would give back.
func decoded(t require.TestingT, v *ua.Variant) variant {
	b, err := v.Encode()
	require.NoError(t, err)
	r := &reader{b: b}
	out := r.variant(0)
	require.NoError(t, r.err)
	require.Empty(t, r.b)
	return out
}

func TestWhatIsWrittenIsReadBackTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := devices.Point{Name: "p", Type: rapid.SampledFrom([]devices.Type{devices.Bool, devices.Int16, devices.Uint16, devices.Int32, devices.Uint32,
			devices.Int64, devices.Uint64, devices.Float32, devices.Float64, devices.String}).Draw(t, "type")}
		kind := rapid.SampledFrom(append([]builtin{typeBoolean, typeFloat, typeDouble, typeString}, integers...)).Draw(t, "kind")
		var in any
		switch p.Type {
		case devices.Bool:
			in = rapid.Bool().Draw(t, "in")
		case devices.String:
			in = rapid.StringMatching(`[ -~]{0,40}`).Draw(t, "in")
		default:
			in = rapid.OneOf(rapid.Int64().AsAny(), rapid.Uint64().AsAny(), rapid.Float64().AsAny(), rapid.Int64Range(-300, 70000).AsAny()).Draw(t, "in")
		}
		want, err := p.Canonical(in)
		if err != nil {
			return
		}
		encoded, err := toServer(p, want, kind)
		if err != nil {
			return
		}
		require.Equal(t, ua.TypeID(kind), encoded.Type(), "the exact type")
		got, err := fromServer(p, decoded(t, encoded))
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
}

func TestToServerRefusesWhatTheNodesTypeDoesNotHold(t *testing.T) {
	for name, c := range map[string]struct {
		typ   devices.Type
		value devices.Value
		kind  builtin
		words string
	}{
		"a number over the type":             {devices.Uint16, int64(256), typeByte, "p: 256 does not fit the node's type Byte"},
		"a negative number for an unsigned":  {devices.Int16, int64(-1), typeUInt16, "p: -1 does not fit the node's type UInt16"},
		"more than an Int64":                 {devices.Uint64, uint64(math.MaxUint64), typeInt64, "does not fit the node's type Int64"},
		"less than an SByte":                 {devices.Int16, int64(-129), typeSByte, "does not fit the node's type SByte"},
		"a double that a Float rounds":       {devices.Float64, 50.1, typeFloat, "does not fit the node's type Float"},
		"a fraction for an integer":          {devices.Float64, 50.1, typeInt32, "does not fit the node's type Int32"},
		"an integer that a Float rounds":     {devices.Int32, int64(1<<24 + 1), typeFloat, "does not fit the node's type Float"},
		"an integer that a Double rounds":    {devices.Int64, int64(1<<53 + 1), typeDouble, "does not fit the node's type Double"},
		"a text for a number":                {devices.String, "5", typeInt32, "does not fit the node's type Int32"},
		"a bool for a number":                {devices.Bool, true, typeByte, "does not fit the node's type Byte"},
		"a time":                             {devices.String, "2026-01-01", typeDateTime, "does not fit the node's type DateTime"},
		"what is not in the point's own set": {devices.Uint16, int64(-1), typeInt64, "p: -1 does not fit uint16"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := toServer(devices.Point{Name: "p", Type: c.typ}, c.value, c.kind)
			require.ErrorContains(t, err, c.words)
		})
	}
}

func TestFromServerRefusesWhatThePointsTypeDoesNotHold(t *testing.T) {
	for name, c := range map[string]struct {
		typ   devices.Type
		value variant
		words string
	}{
		"too large":            {devices.Uint16, variant{kind: typeInt32, value: int32(65536)}, "p: the server has 65536 (Int32), which is not a uint16"},
		"negative":             {devices.Uint64, variant{kind: typeSByte, value: int8(-1)}, "which is not a uint64"},
		"a fraction":           {devices.Int16, variant{kind: typeDouble, value: 0.5}, "which is not a int16"},
		"an array":             {devices.Int16, variant{kind: typeInt16, array: true}, "an array of Int16"},
		"an array of texts":    {devices.String, variant{kind: typeString, array: true, value: []string{"a"}}, "an array of String"},
		"no value":             {devices.Int16, variant{}, "no value"},
		"a structure":          {devices.String, variant{kind: typeStructure, value: structure{}}, "Structure"},
		"a number for a bool":  {devices.Bool, variant{kind: typeByte, value: byte(1)}, "which is not a bool"},
		"a double for a float": {devices.Float32, variant{kind: typeDouble, value: 50.1}, "which is not a float32"},
		"not a number":         {devices.Float64, variant{kind: typeDouble, value: math.NaN()}, "NaN"},
		"infinity":             {devices.Float32, variant{kind: typeFloat, value: float32(math.Inf(1))}, "+Inf"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := fromServer(devices.Point{Name: "p", Type: c.typ}, c.value)
			require.ErrorContains(t, err, c.words)
		})
	}
}

func TestTimesAndTextsAreTexts(t *testing.T) {
	p := devices.Point{Name: "p", Type: devices.String}
	for want, in := range map[string]any{
		"2026-11-23T12:00:00.5Z":               time.Date(2026, 11, 23, 12, 0, 0, 5e8, time.UTC),
		"Pumpe":                                ua.NewLocalizedText("Pumpe"),
		"6AF09250-F3B1-4B7A-9F43-00155D0A0B0C": ua.NewGUID("6AF09250-F3B1-4B7A-9F43-00155D0A0B0C"),
	} {
		got, err := fromServer(p, decoded(t, ua.MustVariant(in)))
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

func TestEnumsAndScalesWorkAsWithEveryProtocol(t *testing.T) {
	mode := devices.Point{Name: "mode", Type: devices.Int32, Enum: map[string]int64{"off": 0, "auto": 2}}
	v, err := toServer(mode, "auto", typeInt32)
	require.NoError(t, err)
	require.Equal(t, int32(2), v.Value())
	got, err := fromServer(mode, decoded(t, v))
	require.NoError(t, err)
	require.Equal(t, "auto", got)
	tenths := devices.Point{Name: "u", Type: devices.Uint16, Scale: 0.1}
	v, err = toServer(tenths, 50.1, typeUInt32)
	require.NoError(t, err)
	require.Equal(t, uint32(501), v.Value())
}

// FuzzReader gives arbitrary bytes to everything that takes answers apart.
func FuzzReader(f *testing.F) {
	for _, v := range []any{true, int8(1), "text", 1.5, []string{"a", "b"}, ua.NewGUID("6AF09250-F3B1-4B7A-9F43-00155D0A0B0C"), ua.NewStringNodeID(2, "x"),
		time.Now(), ua.NewLocalizedText("x"), &ua.QualifiedName{Name: "q"}, &ua.ExtensionObject{TypeID: ua.NewTwoByteExpandedNodeID(1)}, [][]int32{{1, 2}, {3, 4}}} {
		b, err := ua.MustVariant(v).Encode()
		require.NoError(f, err)
		f.Add(b)
	}
	b, err := ua.Encode(&ua.EndpointDescription{Server: &ua.ApplicationDescription{ApplicationName: ua.NewLocalizedText("x")}, UserIdentityTokens: []*ua.UserTokenPolicy{{}}})
	require.NoError(f, err)
	f.Add(append([]byte{1, 0, 0, 0}, b...))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, take := range []func(r *reader){
			func(r *reader) { r.header() }, func(r *reader) { r.offers() }, func(r *reader) { r.created() },
			func(r *reader) { r.values(1) }, func(r *reader) { r.statuses() }, func(r *reader) { r.browsed(1) },
			func(r *reader) { r.called() }, func(r *reader) { r.identification() }, func(r *reader) { r.nodeID(true) },
			func(r *reader) { _ = r.variant(0).String() },
		} {
			take(&reader{b: b})
		}
		r := &reader{b: b}
		v := r.variant(0)
		if r.err != nil || v.array || v.value == nil {
			return
		}
		// What is understood is what the library says it is.
		theirs := new(ua.Variant)
		if n, err := theirs.Decode(b); err == nil && v.kind < typeString {
			require.Equal(t, len(b)-len(r.b), n)
			require.Equal(t, ua.TypeID(v.kind), theirs.Type())
			require.Equal(t, decoded(t, theirs).kind, v.kind)
		}
	})
}
