package modbus

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"

	"edgefleet/devices"
)

// isBits says whether a table holds bits; the others hold registers of 16.
func isBits(t devices.ModbusTable) bool { return t == devices.Coil || t == devices.Discrete }

// width returns how many registers, or bits, a point takes, or says what is
// wrong with the point.
func width(p devices.Point) (int, error) {
	m := p.Modbus
	if m == nil {
		return 0, fmt.Errorf("%s has no Modbus address", p.Name)
	}
	var n int
	switch m.Table {
	case devices.Coil, devices.Discrete:
		if p.Type != devices.Bool {
			return 0, fmt.Errorf("%s is a %s, and table %s holds only bool", p.Name, p.Type, m.Table)
		}
		n = 1
	case devices.Holding, devices.Input:
		n = registers(p)
	default:
		return 0, fmt.Errorf("%s is in table %q, which is not one of holding, input, coil and discrete", p.Name, m.Table)
	}
	switch {
	case n == 0 && p.Type == devices.String:
		return 0, fmt.Errorf("%s is a text and states no length", p.Name)
	case n == 0:
		return 0, fmt.Errorf("%s has type %q, which is not one", p.Name, p.Type)
	case n > maxReadRegisters:
		return 0, fmt.Errorf("%s takes %d registers, and one request holds %d", p.Name, n, maxReadRegisters)
	case int(m.Address)+n > 1<<16:
		return 0, fmt.Errorf("%s ends behind address 65535", p.Name)
	}
	return n, nil
}

// registers returns 0 for a type that is none.
func registers(p devices.Point) int {
	switch p.Type {
	case devices.Bool, devices.Int16, devices.Uint16:
		return 1
	case devices.Int32, devices.Uint32, devices.Float32:
		return 2
	case devices.Int64, devices.Uint64, devices.Float64:
		return 4
	case devices.String:
		return int(p.Modbus.Length)
	}
	return 0
}

// decode returns the canonical value of a point from its registers, two bytes
// each as they came over the wire.
func decode(p devices.Point, wire []byte) (devices.Value, error) {
	if p.Type == devices.String {
		// What stands behind the first NUL is what a longer text left there.
		text, _, _ := strings.Cut(string(wire), "\x00")
		return p.FromRaw(devices.Raw{Text: strings.ToValidUTF8(text, "\uFFFD")})
	}
	n := number(swapped(p, wire))
	var raw devices.Raw
	switch p.Type {
	case devices.Bool:
		if n > 1 {
			return nil, fmt.Errorf("%s: the register holds %d, which is neither 0 nor 1", p.Name, n)
		}
		raw.Bool = n == 1
	case devices.Int16:
		raw.Int = int64(int16(n))
	case devices.Int32:
		raw.Int = int64(int32(n))
	case devices.Uint16, devices.Uint32, devices.Int64:
		raw.Int = int64(n)
	case devices.Uint64:
		raw.Uint = n
	case devices.Float32:
		raw.Float = float64(math.Float32frombits(uint32(n)))
	case devices.Float64:
		raw.Float = math.Float64frombits(n)
	}
	return p.FromRaw(raw)
}

// encode returns the registers of a point for a value, two bytes each as they
// go over the wire, or one byte, 0 or 1, for a coil.
func encode(p devices.Point, v devices.Value) ([]byte, error) {
	raw, err := p.ToRaw(v)
	if err != nil {
		return nil, err
	}
	if isBits(p.Modbus.Table) {
		return []byte{bit(raw.Bool)}, nil
	}
	wire := make([]byte, 2*registers(p))
	if p.Type == devices.String {
		copy(wire, raw.Text)
		return wire, nil
	}
	var n uint64
	switch p.Type {
	case devices.Bool:
		n = uint64(bit(raw.Bool))
	case devices.Uint64:
		n = raw.Uint
	case devices.Float32:
		n = uint64(math.Float32bits(float32(raw.Float)))
	case devices.Float64:
		n = math.Float64bits(raw.Float)
	default:
		n = uint64(raw.Int)
	}
	// The bytes of the number, of which the registers take the lower ones.
	var eight [8]byte
	binary.BigEndian.PutUint64(eight[:], n)
	copy(wire, eight[8-len(wire):])
	wire = swapped(p, wire)
	// An enum can name an integer that the register has no room for, and
	// truncating it would write something else.
	want, err := p.FromRaw(raw)
	if err != nil {
		return nil, err
	}
	if back, err := decode(p, wire); err != nil || back != want {
		return nil, fmt.Errorf("%s: %s does not fit %s", p.Name, devices.FormatValue(v), p.Type)
	}
	return wire, nil
}

// swapped turns the order of the registers around for points that have their
// least significant register first. It is its own inverse.
func swapped(p devices.Point, wire []byte) []byte {
	if !p.Modbus.WordSwap {
		return wire
	}
	out := make([]byte, 0, len(wire))
	for pair := range slices.Chunk(wire, 2) {
		out = append(out, pair...)
	}
	for i, j := 0, len(out)-2; i < j; i, j = i+2, j-2 {
		out[i], out[i+1], out[j], out[j+1] = out[j], out[j+1], out[i], out[i+1]
	}
	return out
}

func number(wire []byte) uint64 {
	var n uint64
	for _, b := range wire {
		n = n<<8 | uint64(b)
	}
	return n
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// packBits packs one byte per bit into bits, the first in the lowest.
func packBits(bits []byte) []byte {
	packed := make([]byte, (len(bits)+7)/8)
	for i, b := range bits {
		packed[i/8] |= b << (i % 8)
	}
	return packed
}
