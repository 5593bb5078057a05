package strictyaml

import (
	"slices"
	"time"
)

// Shape says what may stand at a place of a file. It is the one list of the
// fields that are known there: the reader refuses all others by it, and the
// JSON Schema that editors use is made of it, so an editor never knows another
// file than the reader does. What the reader checks beyond (ranges that depend
// on another field, names that have to be declared) stands in its code only.
type Shape struct {
	Kind Kind
	// Doc is what an editor shows.
	Doc string
	// Fields are those of a Mapping.
	Fields []Field
	// ExactlyOne lists fields of a Mapping of which one and only one is there.
	ExactlyOne []string
	// Rules narrow a Mapping by what one of its fields is.
	Rules []Rule
	// Of is an entry of a List, or a value of Pairs.
	Of *Shape
	// Some says that a List or Pairs must not be empty.
	Some bool
	// Unique says that no two entries of a List are equal.
	Unique bool
	// Holding is a field that at least one of a List's mappings has.
	Holding string
	// Pattern is a regular expression for a Text, or for the names of Pairs;
	// empty is any.
	Pattern string
	// Words are the only texts that a Text can be; none is any.
	Words []string
	// Min and Max bound a Whole or Number.
	Min, Max *float64
	// Either lists the alternatives of a Choice.
	Either []Shape
}

// Kind is what sort of value a shape is.
type Kind string

// The kinds.
const (
	// Mapping has known fields, Pairs has any names.
	Mapping Kind = "mapping"
	Pairs   Kind = "pairs"
	List    Kind = "list"
	// Text is any single value, as it is written.
	Text     Kind = "text"
	Flag     Kind = "true or false"
	Whole    Kind = "whole number"
	Number   Kind = "number"
	Duration Kind = "duration"
	// Scalar is one value of any type; Anything may hold lists and mappings.
	Scalar   Kind = "scalar"
	Anything Kind = "anything"
	Choice   Kind = "choice"
)

// Rule says what else holds of a mapping when a field is there, and has one of
// some texts. The readers check it in code of their own, with better words.
type Rule struct {
	If string
	// Is lists texts; nil is any value.
	Is []string
	// Need lists fields that then have to be there, Not those that must not.
	Need, Not []string
	// Only are fields that then are narrower, if they are there.
	Only []Field
}

// Field is a field of a mapping.
type Field struct {
	Name string
	// Need says that it always has to be there.
	Need bool
	Shape
}

// May and Need name a field.
func May(name string, s Shape) Field  { return Field{Name: name, Shape: s} }
func Need(name string, s Shape) Field { return Field{Name: name, Need: true, Shape: s} }

// MappingOf is a mapping with these fields only.
func MappingOf(doc string, fields ...Field) Shape {
	return Shape{Kind: Mapping, Doc: doc, Fields: fields}
}

// PairsOf is a mapping with any names.
func PairsOf(doc string, of Shape) Shape { return Shape{Kind: Pairs, Doc: doc, Of: &of} }

// ListOf is a list.
func ListOf(doc string, of Shape) Shape { return Shape{Kind: List, Doc: doc, Of: &of} }

// TextOf is a text, WordOf one of some words, and Matching a text that a
// regular expression describes.
func TextOf(doc string) Shape                  { return Shape{Kind: Text, Doc: doc} }
func WordOf(doc string, words ...string) Shape { return Shape{Kind: Text, Doc: doc, Words: words} }
func Matching(doc, pattern string) Shape       { return Shape{Kind: Text, Doc: doc, Pattern: pattern} }

// FlagOf is true or false.
func FlagOf(doc string) Shape { return Shape{Kind: Flag, Doc: doc} }

// WholeOf is a whole number in a range, NumberOf any number, and NumberIn one in
// a range.
func WholeOf(doc string, lo, hi float64) Shape {
	return Shape{Kind: Whole, Doc: doc, Min: &lo, Max: &hi}
}
func NumberOf(doc string) Shape { return Shape{Kind: Number, Doc: doc} }
func NumberIn(doc string, lo, hi float64) Shape {
	return Shape{Kind: Number, Doc: doc, Min: &lo, Max: &hi}
}

// DurationOf is a duration such as 500ms; the range stands in the doc only.
func DurationOf(doc string, lo, hi time.Duration) Shape {
	return Shape{Kind: Duration, Doc: doc + " (" + ShortDuration(lo) + " to " + ShortDuration(hi) + ")"}
}

// ScalarOf is one value of any type, and AnythingOf any value.
func ScalarOf(doc string) Shape   { return Shape{Kind: Scalar, Doc: doc} }
func AnythingOf(doc string) Shape { return Shape{Kind: Anything, Doc: doc} }

// ChoiceOf is what one of the shapes is.
func ChoiceOf(doc string, either ...Shape) Shape {
	return Shape{Kind: Choice, Doc: doc, Either: either}
}

// Names returns the names of a mapping's fields, in their order.
func (s Shape) Names() []string {
	names := make([]string, len(s.Fields))
	for i, f := range s.Fields {
		names[i] = f.Name
	}
	return names
}

// Field returns the field of that name.
func (s Shape) Field(name string) (Field, bool) {
	i := slices.IndexFunc(s.Fields, func(f Field) bool { return f.Name == name })
	if i < 0 {
		return Field{}, false
	}
	return s.Fields[i], true
}

// With returns the mapping with more fields behind its own.
func (s Shape) With(fields ...Field) Shape {
	s.Fields = slices.Concat(s.Fields, fields)
	return s
}

// One returns the mapping with fields of which exactly one has to be there.
func (s Shape) One(names ...string) Shape {
	s.ExactlyOne = names
	return s
}

// Where returns the mapping with more rules behind its own.
func (s Shape) Where(rules ...Rule) Shape {
	s.Rules = slices.Concat(s.Rules, rules)
	return s
}

// RootOf reads the document as a mapping of the shape; ok is false when there
// is nothing to read.
func (f *File) RootOf(s Shape) (Map, bool) {
	m, ok := f.Root()
	return m.As(s), ok
}

// MapOf reads the value as a mapping of the shape: fields that it does not have
// are problems. What Need and ExactlyOne say is left to the reader, who knows
// the better words.
func (n Node) MapOf(s Shape) (Map, bool) {
	m, ok := n.Map()
	return m.As(s), ok
}

// As is the mapping, read without known fields, as one of the shape.
func (m Map) As(s Shape) Map {
	out := Map{f: m.f, Line: m.Line, values: map[string]Node{}, keyLines: m.keyLines, shape: s}
	for _, key := range m.Keys {
		if _, ok := s.Field(key); !ok {
			m.unknown(key, s.Names())
			continue
		}
		out.Keys = append(out.Keys, key)
		out.values[key] = m.values[key]
	}
	return out
}

// Shape is what the mapping was read as; it has no fields when that was nothing.
func (m Map) Shape() Shape { return m.shape }

// Mapping reads a field as a mapping of the shape that the mapping's own shape
// states for it; ok is false when it is absent or none.
func (m Map) Mapping(key string) (Map, bool) {
	n, ok := m.Get(key)
	f, known := m.shape.Field(key)
	if !ok || !known {
		return Map{f: m.f}, false
	}
	return n.MapOf(f.Shape)
}

// Mappings reads a field as a list of mappings of the shape that the mapping's
// own shape states for its entries. What is none is a problem and left out.
func (m Map) Mappings(key string) []Map {
	n, ok := m.Get(key)
	f, known := m.shape.Field(key)
	if !ok || !known || f.Of == nil {
		return nil
	}
	entries, _ := n.List()
	var out []Map
	for _, e := range entries {
		if em, ok := e.MapOf(*f.Of); ok {
			out = append(out, em)
		}
	}
	return out
}
