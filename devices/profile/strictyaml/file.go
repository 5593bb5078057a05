package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// File is one YAML document being read; it collects what is wrong with it.
type File struct {
	name     string
	root     *yaml.Node
	problems Problems
}

var syntaxLine = regexp.MustCompile(`line (\d+): `)

// Parse reads the one document in data. What is wrong already at this level
// (syntax, aliases, several documents) stands in Problems.
func Parse(name string, data []byte) *File {
	f := &File{name: name}
	if len(bytes.TrimSpace(data)) == 0 {
		f.Add(0, "the file is empty", "fill it or remove it")
		return f
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		f.addSyntax(err)
		return f
	}
	var second yaml.Node
	switch err := dec.Decode(&second); {
	case err == nil:
		f.Add(second.Line, "a second YAML document begins here", "keep one document per file")
	case !errors.Is(err, io.EOF):
		f.addSyntax(err)
		return f
	}
	if doc.Kind == yaml.DocumentNode && len(doc.Content) == 1 && f.plain(doc.Content[0]) {
		f.root = doc.Content[0]
	} else if len(f.problems) == 0 {
		f.Add(0, "the file holds no data", "fill it or remove it")
	}
	return f
}

func (f *File) addSyntax(err error) {
	if errors.Is(err, io.EOF) {
		f.Add(0, "the file holds no data", "fill it or remove it")
		return
	}
	text, line := strings.TrimPrefix(err.Error(), "yaml: "), 0
	if m := syntaxLine.FindStringSubmatchIndex(text); m != nil {
		line, _ = strconv.Atoi(text[m[2]:m[3]])
		text = text[:m[0]] + text[m[1]:]
	}
	f.Add(line, "not YAML: "+text, "correct the syntax")
}

// plain refuses aliases, whose target stands elsewhere than what it changes,
// and which can make a small file huge.
func (f *File) plain(n *yaml.Node) bool {
	ok := true
	if n.Kind == yaml.AliasNode || n.Anchor != "" || n.Tag == "!!merge" {
		f.Add(n.Line, "anchors, aliases and merge keys are not supported", "write the value out")
		return false
	}
	if n.Style&yaml.TaggedStyle != 0 {
		f.Add(n.Line, "tags such as "+Quote(n.Tag)+" are not supported", "remove the tag, and quote the value if it is a text")
		return false
	}
	for _, c := range n.Content {
		ok = f.plain(c) && ok
	}
	return ok
}

// Name is the file's name, as given to Parse.
func (f *File) Name() string { return f.name }

// Add records a problem; line 0 stands for the whole file.
func (f *File) Add(line int, what, remedy string) {
	f.problems = append(f.problems, Problem{File: f.name, Line: line, What: what, Remedy: remedy})
}

// Problems returns what was found wrong so far.
func (f *File) Problems() Problems { return f.problems }

// Root returns the document as a mapping with the known fields; ok is false
// when there is nothing to read.
func (f *File) Root(known ...string) (m Map, ok bool) {
	if f.root == nil {
		return Map{f: f}, false
	}
	return Node{f: f, n: f.root, what: "the file"}.Map(known...)
}

// Map is a mapping of which each field is known, or any when it was read
// without known fields.
type Map struct {
	f    *File
	Line int
	// Keys are the fields present, in the order of the file.
	Keys   []string
	values map[string]Node
	// keyLines are where the names stand, which may be above their values.
	keyLines map[string]int
	// shape is set on mappings that were read as one.
	shape Shape
}

func (m Map) unknown(key string, known []string) {
	m.f.Add(m.keyLines[key], fmt.Sprintf("unknown field %q", key), useOneOf(known))
}

// Get returns a field's value, if it is present.
func (m Map) Get(key string) (Node, bool) {
	n, ok := m.values[key]
	return n, ok
}

// KeyLine returns the line of a present field, or that of the mapping.
func (m Map) KeyLine(key string) int {
	if n, ok := m.values[key]; ok {
		return n.Line()
	}
	return m.Line
}

// Missing records that a field that has to be there is not.
func (m Map) Missing(key, remedy string) {
	m.f.Add(m.Line, key+" is missing", remedy)
}

// Text returns a field as text, or "" when it is absent or not a scalar; the
// latter is a problem.
func (m Map) Text(key string) string {
	n, ok := m.Get(key)
	if !ok {
		return ""
	}
	s, _ := n.Text()
	return s
}

// NeedText is Text for a field that has to be there, and not be empty: ""
// always comes with a problem.
func (m Map) NeedText(key, remedy string) string {
	if _, ok := m.Get(key); !ok {
		m.Missing(key, remedy)
		return ""
	}
	s := m.Text(key)
	if n, _ := m.Get(key); s == "" && n.n.Kind == yaml.ScalarNode && !n.null() {
		n.Add(key+" is empty", remedy)
	}
	return s
}

// Texts returns a mapping of texts, such as labels; nil when it is absent.
func (m Map) Texts(key string) map[string]string {
	n, ok := m.Get(key)
	if !ok {
		return nil
	}
	inner, ok := n.Map()
	if !ok {
		return nil
	}
	out := make(map[string]string, len(inner.Keys))
	for _, k := range inner.Keys {
		out[k] = inner.Text(k)
	}
	return out
}

func useOneOf(known []string) string {
	return fmt.Sprintf("use one of %s, or remove it", strings.Join(known, ", "))
}
