package strictyaml_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/devices/profile/strictyaml"
)

func TestValuesAreReadAsTheyAreMeant(t *testing.T) {
	f := strictyaml.Parse("f.yaml", []byte("version: 1.10\non: on\nhex: 0x10\nbig: 18446744073709551615\nhalf: 0.5\nyes: true\nwait: 90s\none: a\nmany: [a, b]\nnothing:\n"))
	m, ok := f.Root()
	require.True(t, ok)
	require.Equal(t, "1.10", m.Text("version"), "a version is not a number")
	value := func(key string) any {
		n, ok := m.Get(key)
		require.True(t, ok)
		v, ok := n.Value()
		require.True(t, ok)
		return v
	}
	require.Equal(t, "on", value("on"), "on is a text, as in YAML 1.2")
	require.Equal(t, 16, value("hex"))
	require.Equal(t, uint64(18446744073709551615), value("big"))
	require.Equal(t, 0.5, value("half"))
	require.Equal(t, true, value("yes"))
	n, _ := m.Get("wait")
	d, ok := n.Duration(time.Second, time.Hour)
	require.True(t, ok)
	require.Equal(t, 90*time.Second, d)
	n, _ = m.Get("one")
	list, ok := n.Texts()
	require.True(t, ok)
	require.Equal(t, []string{"a"}, list, "one text is a list of one")
	n, _ = m.Get("many")
	list, _ = n.Texts()
	require.Equal(t, []string{"a", "b"}, list)
	n, _ = m.Get("nothing")
	list, ok = n.Texts()
	require.True(t, ok)
	require.Empty(t, list)
	require.NoError(t, f.Problems().Err())
}

func TestProblemsComeInTheOrderOfFilesAndLines(t *testing.T) {
	ps := strictyaml.Problems{
		{File: "b", Line: 1, What: "w", Remedy: "r"}, {File: "a", Line: 9, What: "w", Remedy: "r"},
		{File: "a", Line: 2, What: "w", Remedy: "r"}, {File: "a", What: "whole", Remedy: "r"},
	}
	require.EqualError(t, ps.Err(), "a: whole; r\na:2: w; r\na:9: w; r\nb:1: w; r")
	require.NoError(t, strictyaml.Problems{}.Err())
}

func TestDurationsAreShort(t *testing.T) {
	for want, d := range map[string]time.Duration{"0s": 0, "72h": 72 * time.Hour, "10m": 10 * time.Minute, "1m30s": 90 * time.Second, "500ms": 500 * time.Millisecond, "20s": 20 * time.Second, "1h5m": 65 * time.Minute} {
		require.Equal(t, want, strictyaml.ShortDuration(d))
	}
}

func TestAShapeIsTheListOfKnownFields(t *testing.T) {
	inner := strictyaml.MappingOf("an entry", strictyaml.Need("name", strictyaml.TextOf("its name")), strictyaml.May("size", strictyaml.NumberOf("its size")))
	shape := strictyaml.MappingOf("a file", strictyaml.May("entries", strictyaml.ListOf("all", inner))).
		With(strictyaml.May("one", inner)).One("entries", "one")
	require.Equal(t, []string{"entries", "one"}, shape.Names())
	f := strictyaml.Parse("f.yaml", []byte("entries:\n  - {name: a, color: red}\n  - 5\n  - {size: 2}\none: {name: b, weight: 3}\nother:\n  a: b\n"))
	root, ok := f.RootOf(shape)
	require.True(t, ok)
	require.Equal(t, []string{"entries", "one"}, root.Keys)
	require.Equal(t, []string{"entries", "one"}, root.Shape().ExactlyOne)
	entries := root.Mappings("entries")
	require.Len(t, entries, 2, "what is no mapping is left out")
	require.Equal(t, "a", entries[0].Text("name"))
	one, ok := root.Mapping("one")
	require.True(t, ok)
	require.Equal(t, "b", one.Text("name"))
	_, ok = one.Mapping("size")
	require.False(t, ok, "a field that is absent")
	require.Empty(t, one.Mappings("size"))
	require.EqualError(t, f.Problems().Err(), `f.yaml:2: unknown field "color"; use one of name, size, or remove it
f.yaml:3: entry 2 of entries is not a mapping; write it as name: value pairs
f.yaml:5: unknown field "weight"; use one of name, size, or remove it
f.yaml:6: unknown field "other"; use one of entries, one, or remove it`)
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"a: 1", "a: &x [*x]", "a: !t b", "- a", "? {a: b}\n: c", "a: 1\n---\nb: 2", "\xff", "a: {b: [c, {d: e}]}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file := strictyaml.Parse("f.yaml", data)
		m, ok := file.Root()
		if !ok && file.Problems().Err() == nil {
			t.Fatal("neither a document nor a problem")
		}
		for _, key := range m.Keys {
			n, _ := m.Get(key)
			n.Line()
			n.Value()
			n.Texts()
			n.Bool()
			n.Float()
			n.Int(0, 10)
			n.Duration(0, time.Hour)
			m.Texts(key)
			if s := m.NeedText(key, "r"); s == "" && file.Problems().Err() == nil {
				t.Fatal("an empty text without a problem")
			}
		}
	})
}
