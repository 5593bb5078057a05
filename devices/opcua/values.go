package opcua

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/gopcua/opcua/ua"

	"edgefleet/devices"
)

// builtin is one of the types that every value is made of (OPC 10000-6, table
// 1); 0 is no value.
type builtin byte

const (
	typeBoolean builtin = iota + 1
	typeSByte
	typeByte
	typeInt16
	typeUInt16
	typeInt32
	typeUInt32
	typeInt64
	typeUInt64
	typeFloat
	typeDouble
	typeString
	typeDateTime
	typeGUID
	typeByteString
	typeXMLElement
	typeNodeID
	typeExpandedNodeID
	typeStatusCode
	typeQualifiedName
	typeLocalizedText
	typeStructure
	typeDataValue
	typeVariant
	typeDiagnosticInfo
)

var builtinNames = []string{"no value", "Boolean", "SByte", "Byte", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64",
	"Float", "Double", "String", "DateTime", "Guid", "ByteString", "XmlElement", "NodeId", "ExpandedNodeId", "StatusCode",
	"QualifiedName", "LocalizedText", "Structure", "DataValue", "Variant", "DiagnosticInfo"}

func (b builtin) String() string {
	if int(b) < len(builtinNames) {
		return builtinNames[b]
	}
	return fmt.Sprintf("type %d", byte(b))
}

// writable says that settings of the type can be written.
func (b builtin) writable() bool { return b >= typeBoolean && b <= typeString }

// parseBuiltin is the inverse of String for the types that can be written; no
// text is 0.
func parseBuiltin(text string) (builtin, error) {
	if text == "" {
		return 0, nil
	}
	if b := builtin(max(0, slices.Index(builtinNames, text))); b.writable() {
		return b, nil
	}
	return 0, fmt.Errorf("the type %q: want one of Boolean, SByte, Byte, Int16, UInt16, Int32, UInt32, Int64, UInt64, Float, Double, String", text)
}

// intRanges are the integer types that fit in an int64.
var intRanges = map[builtin][2]int64{
	typeSByte: {math.MinInt8, math.MaxInt8}, typeByte: {0, math.MaxUint8},
	typeInt16: {math.MinInt16, math.MaxInt16}, typeUInt16: {0, math.MaxUint16},
	typeInt32: {math.MinInt32, math.MaxInt32}, typeUInt32: {0, math.MaxUint32},
	typeInt64: {math.MinInt64, math.MaxInt64},
}

// ofPoint is the built-in type that a point's type is.
var ofPoint = map[devices.Type]builtin{
	devices.Bool: typeBoolean, devices.Int16: typeInt16, devices.Uint16: typeUInt16, devices.Int32: typeInt32,
	devices.Uint32: typeUInt32, devices.Int64: typeInt64, devices.Uint64: typeUInt64, devices.Float32: typeFloat,
	devices.Float64: typeDouble, devices.String: typeString,
}

// number is an integer of any type: negative ones in i, the others in u.
type number struct {
	i int64
	u uint64
}

// fits says whether the number is in the range of the integer type.
func (n number) fits(b builtin) bool {
	if b == typeUInt64 {
		return n.i >= 0
	}
	limits, ok := intRanges[b]
	if n.i < 0 {
		return ok && n.i >= limits[0]
	}
	return ok && n.u <= uint64(limits[1])
}

// within says whether a type that counts in ones up to the limit holds it.
func (n number) within(limit int64) bool { return n.i >= -limit && n.u <= uint64(limit) }

func (n number) float() float64 {
	if n.i < 0 {
		return float64(n.i)
	}
	return float64(n.u)
}

func signed(i int64) number {
	if i < 0 {
		return number{i: i}
	}
	return number{u: uint64(i)}
}

func integer(v any) (number, bool) {
	switch x := v.(type) {
	case int8:
		return signed(int64(x)), true
	case int16:
		return signed(int64(x)), true
	case int32:
		return signed(int64(x)), true
	case int64:
		return signed(x), true
	case uint8:
		return number{u: uint64(x)}, true
	case uint16:
		return number{u: uint64(x)}, true
	case uint32:
		return number{u: uint64(x)}, true
	case uint64:
		return number{u: x}, true
	}
	return number{}, false
}

// fromServer returns the canonical value of a point. It fails when the value
// is not a scalar that the point's type holds without loss: a value that is
// bent to fit would be written back bent.
func fromServer(p devices.Point, v variant) (devices.Value, error) {
	raw, ok := rawOf(p, v)
	if v.array || v.value == nil {
		ok = false
	}
	if !ok {
		return nil, fmt.Errorf("%s: the server has %s, which is not a %s", p.Name, v, p.Type)
	}
	return p.FromRaw(raw)
}

func (v variant) String() string {
	switch {
	case v.array:
		return "an array of " + v.kind.String()
	case v.value == nil || v.kind == typeStructure:
		return v.kind.String()
	}
	return clip(fmt.Sprintf("%v (%s)", v.value, v.kind))
}

func rawOf(p devices.Point, v variant) (devices.Raw, bool) {
	n, isInteger := integer(v.value)
	if n2, ok := whole(v.value); ok && p.Type != devices.Float32 && p.Type != devices.Float64 {
		n, isInteger = n2, true
	}
	switch p.Type {
	case devices.Bool:
		b, ok := v.value.(bool)
		return devices.Raw{Bool: b}, ok
	case devices.String:
		if t, ok := v.value.(time.Time); ok {
			return devices.Raw{Text: t.Format(time.RFC3339Nano)}, true
		}
		text, ok := v.value.(string)
		return devices.Raw{Text: text}, ok
	case devices.Float32, devices.Float64:
		f, ok := v.value.(float64)
		if single, is := v.value.(float32); is {
			f, ok = float64(single), true
		}
		if isInteger {
			f, ok = n.float(), n.within(1<<53)
		}
		if p.Type == devices.Float32 && float64(float32(f)) != f && !math.IsNaN(f) {
			ok = false
		}
		return devices.Raw{Float: f}, ok
	case devices.Uint64:
		return devices.Raw{Uint: n.u}, isInteger && n.fits(typeUInt64)
	}
	return devices.Raw{Int: n.i + int64(n.u)}, isInteger && n.fits(ofPoint[p.Type])
}

// whole is the integer that a float is, when it is one and a float64 still
// counts in ones there.
func whole(v any) (number, bool) {
	f, ok := v.(float64)
	if single, is := v.(float32); is {
		f, ok = float64(single), true
	}
	if !ok || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return number{}, false
	}
	return signed(int64(f)), true
}

// toServer returns the value of a setting in the node's exact type. It fails
// when the type does not hold it without loss.
func toServer(p devices.Point, v devices.Value, kind builtin) (*ua.Variant, error) {
	raw, err := p.ToRaw(v)
	if err != nil {
		return nil, err
	}
	value, ok := exact(p.Type, raw, kind)
	if !ok {
		return nil, fmt.Errorf("%s: %s does not fit the node's type %s", p.Name, devices.FormatValue(v), kind)
	}
	return ua.NewVariant(value)
}

// exact converts what shall stand on the device to the Go type that is encoded
// as kind.
func exact(from devices.Type, raw devices.Raw, kind builtin) (any, bool) {
	switch from {
	case devices.Bool:
		return raw.Bool, kind == typeBoolean
	case devices.String:
		return raw.Text, kind == typeString
	case devices.Float32, devices.Float64:
		switch {
		case kind == typeDouble:
			return raw.Float, true
		case kind == typeFloat && float64(float32(raw.Float)) == raw.Float:
			return float32(raw.Float), true
		}
		n, ok := whole(raw.Float)
		return sized(n, kind), ok && n.fits(kind)
	}
	n := signed(raw.Int)
	if from == devices.Uint64 {
		n = number{u: raw.Uint}
	}
	switch kind {
	case typeFloat:
		return float32(n.float()), n.within(1 << 24)
	case typeDouble:
		return n.float(), n.within(1 << 53)
	}
	return sized(n, kind), n.fits(kind)
}

func sized(n number, kind builtin) any {
	i := n.i + int64(n.u)
	switch kind {
	case typeSByte:
		return int8(i)
	case typeByte:
		return uint8(i)
	case typeInt16:
		return int16(i)
	case typeUInt16:
		return uint16(i)
	case typeInt32:
		return int32(i)
	case typeUInt32:
		return uint32(i)
	case typeInt64:
		return i
	}
	return n.u
}
