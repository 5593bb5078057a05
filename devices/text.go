package devices

import (
	"fmt"
	"math"
	"strconv"
)

// Text renders a canonical value of the point without loss, in the shortest
// form: 50.1, 4500, on, true. It is what journals and reports hold.
func (p Point) Text(v Value) string {
	f, ok := v.(float64)
	if !ok {
		return FormatValue(v)
	}
	bits := 64
	if p.Type == Float32 && p.scale() == 1 {
		bits = 32
	}
	if size := math.Abs(f); size != 0 && (size < 1e-4 || size >= 1e15) {
		return strconv.FormatFloat(f, 'g', -1, bits)
	}
	return strconv.FormatFloat(f, 'f', -1, bits)
}

// ParseText is the inverse of Text: the canonical value of a rendered one. It
// fails as Canonical does, so a text from elsewhere is checked as well.
func (p Point) ParseText(s string) (Value, error) {
	if p.Type == String || len(p.Enum) > 0 {
		return p.Canonical(s)
	}
	if p.Type == Bool {
		switch s {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
		return nil, fmt.Errorf("%s: %q is not true or false", p.Name, s)
	}
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return p.Canonical(i)
	}
	if u, err := strconv.ParseUint(s, 10, 64); err == nil {
		return p.Canonical(u)
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return nil, fmt.Errorf("%s: %q is not a number", p.Name, s)
	}
	return p.Canonical(f)
}
