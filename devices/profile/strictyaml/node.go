package strictyaml

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Node is a value in a file, with the name of the field it belongs to.
type Node struct {
	f    *File
	n    *yaml.Node
	what string
}

// Line is where the value stands, from 1.
func (n Node) Line() int { return n.n.Line }

// Add records a problem at the value's line.
func (n Node) Add(what, remedy string) { n.f.Add(n.n.Line, what, remedy) }

func (n Node) null() bool { return n.n.Kind == yaml.ScalarNode && n.n.ShortTag() == "!!null" }

// Map reads the value as a mapping. Fields that are not known are problems,
// unless none is given: then any are. An empty value is an empty mapping.
func (n Node) Map(known ...string) (Map, bool) {
	m := Map{f: n.f, Line: n.n.Line, values: map[string]Node{}, keyLines: map[string]int{}}
	if n.null() {
		return m, true
	}
	if n.n.Kind != yaml.MappingNode {
		n.Add(n.what+" is not a mapping", "write it as name: value pairs")
		return m, false
	}
	for i := 0; i+1 < len(n.n.Content); i += 2 {
		k, v := n.n.Content[i], n.n.Content[i+1]
		if k.Kind != yaml.ScalarNode || k.ShortTag() == "!!null" {
			n.f.Add(k.Line, "a field's name is not a text", "name the field")
			continue
		}
		key := k.Value
		if _, twice := m.values[key]; twice {
			n.f.Add(k.Line, fmt.Sprintf("%q stands here twice", key), "keep one of them")
			continue
		}
		m.keyLines[key] = k.Line
		if len(known) > 0 && !slices.Contains(known, key) {
			m.unknown(key, known)
			continue
		}
		m.Keys = append(m.Keys, key)
		m.values[key] = Node{f: n.f, n: v, what: key}
	}
	return m, true
}

// List reads the value as a list. An empty value is an empty list.
func (n Node) List() ([]Node, bool) {
	if n.null() {
		return nil, true
	}
	if n.n.Kind != yaml.SequenceNode {
		n.Add(n.what+" is not a list", "write it as a list, one - per entry")
		return nil, false
	}
	out := make([]Node, len(n.n.Content))
	for i, c := range n.n.Content {
		out[i] = Node{f: n.f, n: c, what: fmt.Sprintf("entry %d of %s", i+1, n.what)}
	}
	return out, true
}

// Texts reads the value as a list of texts, or as one text alone.
func (n Node) Texts() ([]string, bool) {
	if n.n.Kind == yaml.ScalarNode && !n.null() {
		s, ok := n.Text()
		return []string{s}, ok
	}
	entries, ok := n.List()
	if !ok {
		return nil, false
	}
	out := make([]string, 0, len(entries))
	for _, e := range entries {
		s, fine := e.Text()
		ok = ok && fine
		out = append(out, s)
	}
	return out, ok
}

func (n Node) scalar() bool {
	switch {
	case n.null():
		n.Add(n.what+" is empty", "give a value, or remove it")
		return false
	case n.n.Kind != yaml.ScalarNode:
		n.Add(n.what+" is not a single value", "write one value")
		return false
	}
	return true
}

// Single says that the value is one scalar, and no list or mapping.
func (n Node) Single() bool { return n.n.Kind == yaml.ScalarNode }

// Text returns any scalar as it is written, so that version: 1.10 is "1.10".
func (n Node) Text() (string, bool) {
	if !n.scalar() {
		return "", false
	}
	return n.n.Value, true
}

// Bool reads true or false.
func (n Node) Bool() (bool, bool) {
	if !n.scalar() {
		return false, false
	}
	v, ok := n.decode().(bool)
	if !ok {
		n.Add(fmt.Sprintf("%s: %q is not true or false", n.what, n.n.Value), "write true or false")
	}
	return v, ok
}

// Int reads a whole number from lo to hi.
func (n Node) Int(lo, hi int64) (int64, bool) {
	if !n.scalar() {
		return 0, false
	}
	var v int64
	switch x := n.decode().(type) {
	case int:
		v = int64(x)
	case int64:
		v = x
	default:
		n.Add(fmt.Sprintf("%s: %q is not a whole number", n.what, n.n.Value), fmt.Sprintf("write a number from %d to %d", lo, hi))
		return 0, false
	}
	if v < lo || v > hi {
		n.Add(fmt.Sprintf("%s: %d is out of range", n.what, v), fmt.Sprintf("write a number from %d to %d", lo, hi))
		return 0, false
	}
	return v, true
}

// Float reads a finite number.
func (n Node) Float() (float64, bool) {
	if !n.scalar() {
		return 0, false
	}
	var v float64
	switch x := n.decode().(type) {
	case int:
		v = float64(x)
	case int64:
		v = float64(x)
	case uint64:
		v = float64(x)
	case float64:
		v = x
	default:
		v = math.NaN()
	}
	if math.IsNaN(v) || math.IsInf(v, 0) {
		n.Add(fmt.Sprintf("%s: %q is not a number", n.what, n.n.Value), "write a number")
		return 0, false
	}
	return v, true
}

// Duration reads "500ms", "72h" and the like, from lo to hi.
func (n Node) Duration(lo, hi time.Duration) (time.Duration, bool) {
	if !n.scalar() {
		return 0, false
	}
	remedy := fmt.Sprintf("write a duration from %s to %s, such as 500ms, 10s or 72h", ShortDuration(lo), ShortDuration(hi))
	d, err := time.ParseDuration(n.n.Value)
	if err != nil {
		n.Add(fmt.Sprintf("%s: %q is not a duration", n.what, n.n.Value), remedy)
		return 0, false
	}
	if d < lo || d > hi {
		n.Add(fmt.Sprintf("%s: %s is out of range", n.what, n.n.Value), remedy)
		return 0, false
	}
	return d, true
}

// Value returns a scalar as a bool, int, int64, uint64, float64 or string,
// which is what devices.Point.Canonical takes.
func (n Node) Value() (any, bool) {
	if !n.scalar() {
		return nil, false
	}
	v := n.decode()
	switch v.(type) {
	case bool, int, int64, uint64, float64, string:
		return v, true
	}
	return n.n.Value, true
}

// decode never fails loudly: a scalar that its tag does not fit is its text.
func (n Node) decode() any {
	var v any
	if err := n.n.Decode(&v); err != nil {
		return n.n.Value
	}
	return v
}

// ShortDuration renders a duration without its zero parts: 72h, not 72h0m0s.
func ShortDuration(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Quote quotes a text of a file for an error, cut to a bounded length.
func Quote(s string) string {
	if len(s) > 80 {
		s = s[:80] + "..."
	}
	return strconv.Quote(s)
}
