package devices

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
)

// Text renders a canonical value of the point for people, in the shortest
// form without loss: 50.1, 4500, on, true. It is what ledgers and reports
// hold. Of a file's content and of a secret of any type it is the digest and
// the size, "sha256:<64 hexadecimal digits> (1234 bytes)", by which values are
// compared and not restored.
func (p Point) Text(v Value) string {
	s := p.Exact(v)
	if !p.digested() || v == HostAbsent {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return fmt.Sprintf("sha256:%s (%d bytes)", hex.EncodeToString(sum[:]), len(s))
}

// Keyed is Text, but of a secret it is "hmac-sha256:<64 hexadecimal digits>"
// of the point's name and the value: whoever has not the key can neither find
// a value by trying likely ones, nor see that two settings have the same, nor
// how long it is. Without a key it is Text.
func (p Point) Keyed(key []byte, v Value) string {
	if !p.Secret || len(key) == 0 || v == HostAbsent {
		return p.Text(v)
	}
	h := hmac.New(sha256.New, key)
	h.Write([]byte(p.Name + "\x00" + p.Exact(v)))
	return "hmac-sha256:" + hex.EncodeToString(h.Sum(nil))
}

// digested says that Text does not show the value.
func (p Point) digested() bool {
	return p.Secret || p.Host != nil && p.Host.Kind == HostFile
}

// Exact renders a canonical value of the point without loss: Text, but for
// what Text does not show. It is what captures hold, from which a device is
// restored.
func (p Point) Exact(v Value) string {
	f, ok := v.(float64)
	if !ok {
		return FormatValue(v)
	}
	bits := 64
	if p.Type == Float32 && p.scale() == 1 {
		bits = 32
	}
	return shortest(f, bits)
}

// ParseExact is the inverse of Exact: the canonical value of a rendered one. It
// fails as Canonical does, so a text from elsewhere is checked as well.
func (p Point) ParseExact(s string) (Value, error) {
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
