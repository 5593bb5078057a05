package devices

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Type is the type of a point on the device.
type Type string

// The types of points.
const (
	Bool    Type = "bool"
	Int16   Type = "int16"
	Uint16  Type = "uint16"
	Int32   Type = "int32"
	Uint32  Type = "uint32"
	Int64   Type = "int64"
	Uint64  Type = "uint64"
	Float32 Type = "float32"
	Float64 Type = "float64"
	String  Type = "string"
)

// Value is a canonical engineering value: a bool, int64, uint64, float64 or
// string. Two values of the same point are equal when they are == to each
// other; values only come from Point.Canonical and Point.FromRaw, so that a
// baseline's 50.1 and a register's 5010 x 0.01 are the same float64.
type Value any

// Point is one value on a device: where it is, and how to read it.
type Point struct {
	Name string
	Unit string
	Type Type
	// Scale multiplies the raw integer to give the engineering value; 0 is 1.
	// Points with a scale other than 1 have float64 values.
	Scale float64
	// Min and Max bound writable numbers, in engineering units.
	Min, Max *float64
	// Enum names raw integers; such a point has string values.
	Enum map[string]int64
	// Writable points are settings; Volatile ones change by themselves and
	// are never compared.
	Writable, Volatile bool
	// Modbus is set on points of Modbus profiles.
	Modbus *ModbusAddress
	// OPCUA is set on points of OPC UA profiles.
	OPCUA *NodeAddress
	// Host is set on points of Linux hosts; all of them are texts.
	Host *HostAddress
	// Method is set on the points of OPC UA profiles that call a method: they
	// are texts, are done when RunValue is written, and cannot be read.
	Method *MethodAddress
	// SunSpec is the name of a point of a SunSpec model, "121.WMax", or of a
	// part of the curve in force, "705.curve.points". Where it stands and its
	// scale are found out on the device, so Type and Scale are what a baseline
	// is written in: float64 where the model has a scale factor.
	SunSpec string
	// Columns names the numbers of a row where the value is a table, and Type
	// String: its values are the texts that FormatRows makes.
	Columns []string
	// Secret says that the value must not be shown: Text gives a digest.
	Secret bool
}

// RunValue is what is written to a point that does something and has no value.
const RunValue = "run"

// ModbusTable is one of the four tables of the Modbus data model.
type ModbusTable string

// The tables (Modbus Application Protocol V1.1b3, section 4.3).
const (
	Holding  ModbusTable = "holding"
	Input    ModbusTable = "input"
	Coil     ModbusTable = "coil"
	Discrete ModbusTable = "discrete"
)

// ModbusAddress is where a point stands in a Modbus device.
type ModbusAddress struct {
	Table ModbusTable
	// Address is zero-based, as on the wire.
	Address uint16
	// Length is the number of registers; only strings have to state it.
	Length uint16
	// WordSwap says that the least significant register comes first.
	WordSwap bool
}

// Raw is the integer or text that stands on the device: exactly one of the
// fields counts, by the point's type.
type Raw struct {
	Bool  bool
	Int   int64 // all signed and unsigned types but uint64
	Uint  uint64
	Float float64
	Text  string
}

func (p Point) scale() float64 {
	if p.Scale == 0 {
		return 1
	}
	return p.Scale
}

// scaled returns raw x scale. A scale such as 0.1 has no exact float64, its
// inverse has: dividing by that gives the float64 nearest to the decimal
// number that people write, so that raw 3 is 0.3 and not 0.30000000000000004,
// and the end of a range is inside the range.
func (p Point) scaled(raw float64) float64 {
	s := p.scale()
	if inverse := math.Round(1 / s); inverse > 1 && math.Abs(inverse*s-1) < 1e-12 {
		return raw / inverse
	}
	return raw * s
}

// intRange returns the range of the integer types that fit in an int64.
func (t Type) intRange() (lo, hi int64, ok bool) {
	switch t {
	case Int16:
		return math.MinInt16, math.MaxInt16, true
	case Uint16:
		return 0, math.MaxUint16, true
	case Int32:
		return math.MinInt32, math.MaxInt32, true
	case Uint32:
		return 0, math.MaxUint32, true
	case Int64:
		return math.MinInt64, math.MaxInt64, true
	}
	return 0, 0, false
}

// FromRaw returns the engineering value of what stands on the device. It
// fails for an integer that the point's enum does not name.
func (p Point) FromRaw(r Raw) (Value, error) {
	switch p.Type {
	case Bool:
		return r.Bool, nil
	case String:
		if p.Host != nil {
			return r.Text, nil
		}
		return trimText(r.Text), nil
	case Float32, Float64:
		// NaN differs from itself: as a value it would be drift for ever.
		if f := p.scaled(r.Float); !math.IsNaN(f) && !math.IsInf(f, 0) {
			return f, nil
		}
		return nil, fmt.Errorf("%s: the device has %v, which is not a number", p.Name, r.Float)
	case Uint64:
		if p.scale() != 1 {
			return p.scaled(float64(r.Uint)), nil
		}
		return r.Uint, nil
	}
	if len(p.Enum) > 0 {
		for _, name := range p.enumNames() {
			if p.Enum[name] == r.Int {
				return name, nil
			}
		}
		return nil, fmt.Errorf("%s: the device has %d, which the profile does not name", p.Name, r.Int)
	}
	if p.scale() != 1 {
		return p.scaled(float64(r.Int)), nil
	}
	return r.Int, nil
}

// ToRaw returns what has to stand on the device for an engineering value. It
// fails when the value has another type, does not fit, or is out of the
// point's range; the error names the point and what it takes.
func (p Point) ToRaw(v any) (Raw, error) {
	switch p.Type {
	case Bool:
		b, ok := v.(bool)
		if !ok {
			return Raw{}, fmt.Errorf("%s: %v is not true or false", p.Name, v)
		}
		return Raw{Bool: b}, nil
	case String:
		if p.Host != nil {
			return p.hostToRaw(v)
		}
		if len(p.Columns) > 0 {
			return p.rowsToRaw(v)
		}
		s, ok := v.(string)
		if !ok {
			return Raw{}, fmt.Errorf("%s: %v is not a text", p.Name, v)
		}
		s = trimText(s)
		if strings.ContainsFunc(s, unicode.IsControl) {
			return Raw{}, fmt.Errorf("%s: %q has a control character", p.Name, s)
		}
		if p.Modbus != nil && len(s) > 2*int(p.Modbus.Length) {
			return Raw{}, fmt.Errorf("%s: %q is longer than %d bytes", p.Name, s, 2*int(p.Modbus.Length))
		}
		return Raw{Text: s}, nil
	}
	if len(p.Enum) > 0 {
		s, ok := v.(string)
		n, known := p.Enum[s]
		if !ok || !known {
			return Raw{}, fmt.Errorf("%s: %v is not one of %s", p.Name, v, strings.Join(p.enumNames(), ", "))
		}
		return Raw{Int: n}, nil
	}
	return p.numberToRaw(v)
}

func (p Point) numberToRaw(v any) (Raw, error) {
	f, err := toFloat(v)
	if err != nil {
		return Raw{}, fmt.Errorf("%s: %w", p.Name, err)
	}
	if (p.Min != nil && p.below(f, *p.Min)) || (p.Max != nil && p.below(*p.Max, f)) {
		return Raw{}, fmt.Errorf("%s: %s is outside %s", p.Name, FormatValue(v), p.rangeText())
	}
	if p.Type == Float32 || p.Type == Float64 {
		raw := p.unscaled(f)
		if p.Type == Float32 {
			raw = float64(float32(raw))
		}
		if math.IsInf(raw, 0) || math.IsNaN(raw) {
			return Raw{}, fmt.Errorf("%s: %v does not fit %s", p.Name, v, p.Type)
		}
		return Raw{Float: raw}, nil
	}
	if p.scale() == 1 {
		return p.wholeToRaw(v, f)
	}
	n := math.Round(p.unscaled(f))
	if d := math.Abs(p.scaled(n) - f); d > math.Abs(p.scale())*1e-6 && d > math.Abs(f)*1e-15 {
		return Raw{}, fmt.Errorf("%s: %s is not a multiple of %v", p.Name, FormatValue(v), p.scale())
	}
	// float64(MaxInt64) is 2^63, which is one too many; so is MaxUint64's.
	lo, hi, ok := p.Type.intRange()
	if ok && (n < float64(lo) || n > float64(hi) || n >= 1<<63) || !ok && (n < 0 || n >= 1<<64) {
		return Raw{}, fmt.Errorf("%s: %s does not fit %s", p.Name, FormatValue(v), p.Type)
	}
	if !ok {
		return Raw{Uint: uint64(n)}, nil
	}
	return Raw{Int: int64(n)}, nil
}

// unscaled is the inverse of scaled.
func (p Point) unscaled(f float64) float64 {
	s := p.scale()
	if inverse := math.Round(1 / s); inverse > 1 && math.Abs(inverse*s-1) < 1e-12 {
		return f * inverse
	}
	return f / s
}

// below compares in the resolution of the device: a bound of 0.1 on a float32
// includes the float32 that 0.1 becomes.
func (p Point) below(a, b float64) bool {
	if p.Type == Float32 {
		return float32(p.unscaled(a)) < float32(p.unscaled(b))
	}
	return a < b
}

// trimText removes what registers pad a text with.
func trimText(s string) string { return strings.Trim(s, "\x00 ") }

// wholeToRaw handles unscaled integers without a detour over float64.
func (p Point) wholeToRaw(v any, f float64) (Raw, error) {
	var i int64
	var u uint64
	switch n := v.(type) {
	case int:
		i, u = int64(n), uint64(n)
	case int64:
		i, u = n, uint64(n)
	case uint64:
		i, u = int64(n), n
	default:
		if f != math.Trunc(f) || math.Abs(f) >= 1<<53 {
			return Raw{}, fmt.Errorf("%s: %s is not a whole number", p.Name, FormatValue(v))
		}
		i, u = int64(f), uint64(math.Max(f, 0))
	}
	if p.Type == Uint64 {
		if f < 0 {
			return Raw{}, fmt.Errorf("%s: %s does not fit %s", p.Name, FormatValue(v), p.Type)
		}
		return Raw{Uint: u}, nil
	}
	lo, hi, _ := p.Type.intRange()
	if big, isUint := v.(uint64); i < lo || i > hi || isUint && big > math.MaxInt64 {
		return Raw{}, fmt.Errorf("%s: %s does not fit %s", p.Name, FormatValue(v), p.Type)
	}
	return Raw{Int: i}, nil
}

// Canonical returns v, as YAML or an earlier reading gave it, in the form in
// which the device would give it back: the canonical value of a canonical
// value is itself.
func (p Point) Canonical(v any) (Value, error) {
	r, err := p.ToRaw(v)
	if err != nil {
		return nil, err
	}
	return p.FromRaw(r)
}

func (p Point) enumNames() []string {
	names := make([]string, 0, len(p.Enum))
	for name := range p.Enum {
		names = append(names, name)
	}
	// Sorted by the integer, which is the order of the device's manual.
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(p.Enum[a], p.Enum[b]), strings.Compare(a, b))
	})
	return names
}

func (p Point) rangeText() string {
	lo, hi := "-inf", "inf"
	if p.Min != nil {
		lo = FormatValue(*p.Min)
	}
	if p.Max != nil {
		hi = FormatValue(*p.Max)
	}
	return strings.TrimSpace(fmt.Sprintf("%s to %s %s", lo, hi, p.Unit))
}

func toFloat(v any) (float64, error) {
	switch n := v.(type) {
	case int:
		return float64(n), nil
	case int64:
		return float64(n), nil
	case uint64:
		return float64(n), nil
	case float64:
		if math.IsNaN(n) || math.IsInf(n, 0) {
			return 0, fmt.Errorf("%v is not a number", n)
		}
		return n, nil
	}
	return 0, fmt.Errorf("%v is not a number", v)
}

// FormatValue renders a value for people: floats with at most nine significant
// digits, so that 5010 x 0.01 reads 50.1.
func FormatValue(v any) string {
	switch x := v.(type) {
	case nil:
		return "-"
	case float64:
		return strconv.FormatFloat(x, 'g', 9, 64)
	}
	return fmt.Sprint(v)
}
