package sunspec

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"edgefleet/devices"
)

// Type is the type of a point in a SunSpec model (SunSpec Device Information
// Model Specification, section "Point types").
type Type string

// The types that the models use. SunSSF is the power of ten of a scale factor.
const (
	Int16      Type = "int16"
	Int32      Type = "int32"
	Int64      Type = "int64"
	Uint16     Type = "uint16"
	Uint32     Type = "uint32"
	Uint64     Type = "uint64"
	Acc16      Type = "acc16"
	Acc32      Type = "acc32"
	Acc64      Type = "acc64"
	Enum16     Type = "enum16"
	Enum32     Type = "enum32"
	Bitfield16 Type = "bitfield16"
	Bitfield32 Type = "bitfield32"
	Float32    Type = "float32"
	Float64    Type = "float64"
	SunSSF     Type = "sunssf"
	String     Type = "string"
	Pad        Type = "pad"
)

// NotImplemented is the value of a point that the device does not have. Each
// type has a pattern of bits that says so, and that is never a number here.
type NotImplemented struct{}

// String returns "not implemented".
func (NotImplemented) String() string { return "not implemented" }

// Value is a devices.Value, or NotImplemented.
type Value = devices.Value

// device returns how the shared types name a type, or "" for one that is none.
func (t Type) device() devices.Type {
	switch t {
	case Int16, SunSSF:
		return devices.Int16
	case Uint16, Acc16, Enum16, Bitfield16, Pad:
		return devices.Uint16
	case Int32:
		return devices.Int32
	case Uint32, Acc32, Enum32, Bitfield32:
		return devices.Uint32
	case Int64:
		return devices.Int64
	case Uint64, Acc64:
		return devices.Uint64
	case Float32:
		return devices.Float32
	case Float64:
		return devices.Float64
	case String:
		return devices.String
	}
	return ""
}

// registers returns how many registers a number of the type takes; 0 for a
// string, which states it, and for what is no type.
func (t Type) registers() int {
	switch t.device() {
	case devices.Int16, devices.Uint16:
		return 1
	case devices.Int32, devices.Uint32, devices.Float32:
		return 2
	case devices.Int64, devices.Uint64, devices.Float64:
		return 4
	}
	return 0
}

// isEnum and isBits say what the symbols of a type name: values, or bits.
func (t Type) isEnum() bool { return t == Enum16 || t == Enum32 }
func (t Type) isBits() bool { return t == Bitfield16 || t == Bitfield32 }

// scalable says whether a type can have a scale factor.
func (t Type) scalable() bool {
	switch t.device() {
	case "", devices.String, devices.Float32, devices.Float64:
		return false
	}
	return !t.isEnum() && !t.isBits() && t != SunSSF && t != Pad
}

// missing says whether the words are the type's pattern for "not implemented".
func (t Type) missing(words []uint16) bool {
	n := join(words)
	switch t {
	case Int16, SunSSF:
		return n == 1<<15
	case Int32:
		return n == 1<<31
	case Int64:
		return n == 1<<63
	case Uint16, Enum16, Bitfield16:
		return n == math.MaxUint16
	case Uint32, Enum32, Bitfield32:
		return n == math.MaxUint32
	case Uint64:
		return n == math.MaxUint64
	case Acc16, Acc32, Acc64, Pad:
		return n == 0
	case Float32:
		return math.IsNaN(float64(math.Float32frombits(uint32(n))))
	case Float64:
		return math.IsNaN(math.Float64frombits(n))
	}
	for _, w := range words {
		if w != 0 {
			return false
		}
	}
	return true
}

// raw is the number or text in the words.
func (t Type) raw(words []uint16) devices.Raw {
	n := join(words)
	switch t {
	case Int16, SunSSF:
		return devices.Raw{Int: int64(int16(n))}
	case Int32:
		return devices.Raw{Int: int64(int32(n))}
	case Uint64, Acc64:
		return devices.Raw{Uint: n}
	case Float32:
		return devices.Raw{Float: float64(math.Float32frombits(uint32(n)))}
	case Float64:
		return devices.Raw{Float: math.Float64frombits(n)}
	case String:
		return devices.Raw{Text: text(words)}
	}
	return devices.Raw{Int: int64(n)}
}

// join is the words as one number, the first of them the highest: SunSpec has
// no other order.
func join(words []uint16) uint64 {
	var n uint64
	for _, w := range words {
		n = n<<16 | uint64(w)
	}
	return n
}

// text is what stands in the words before the first NUL.
func text(words []uint16) string {
	b := make([]byte, 0, 2*len(words))
	for _, w := range words {
		b = append(b, byte(w>>8), byte(w))
	}
	s, _, _ := strings.Cut(string(b), "\x00")
	return strings.ToValidUTF8(s, "\uFFFD")
}

// bitNames lists the bits of a bitfield by name, lowest first: "A|B", with
// "bit 7" for one without a name, and "" for none.
func bitNames(bits uint64, symbols map[string]int64) string {
	names := map[int64]string{}
	for name, bit := range symbols {
		names[bit] = name
	}
	var set []string
	for i := range int64(64) {
		if bits>>i&1 == 0 {
			continue
		}
		if name, ok := names[i]; ok {
			set = append(set, name)
		} else {
			set = append(set, fmt.Sprintf("bit %d", i))
		}
	}
	return strings.Join(set, "|")
}

// symbolNames lists the names of an enum or bitfield by number.
func symbolNames(symbols map[string]int64) []string {
	return slices.SortedFunc(maps.Keys(symbols), func(a, b string) int { return cmp.Compare(symbols[a], symbols[b]) })
}
