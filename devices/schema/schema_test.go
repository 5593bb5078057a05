package schema_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"edgefleet/devices/schema"
)

var update = flag.Bool("update", false, "write the schema files anew")

// requireKept fails when the file beside this test is not the document.
func requireKept(t *testing.T, file string, d schema.Document) {
	t.Helper()
	text, err := d.JSON()
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile(file, text, 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), string(text), "run go test ./devices/schema -update")
}

// compile compiles the document as any user of the file would.
func compile(t *testing.T, d schema.Document) *jsonschema.Schema {
	t.Helper()
	text, err := d.JSON()
	require.NoError(t, err)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	require.NoError(t, c.AddResource("schema.json", doc))
	s, err := c.Compile("schema.json")
	require.NoError(t, err)
	return s
}

// instance is a YAML document as an editor hands it to a schema; ok is false
// for what is no YAML, or more than one document.
func instance(t *testing.T, data []byte) (value any, ok bool) {
	t.Helper()
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var v any
	if err := decoder.Decode(&v); err != nil {
		return nil, false
	}
	if err := decoder.Decode(new(any)); err == nil {
		return nil, false
	}
	text, err := json.Marshal(named(v))
	require.NoError(t, err)
	value, err = jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	return value, true
}

// named has texts for the names of all mappings, as an editor does: YAML takes
// the 705 of a curve for a number.
func named(v any) any {
	switch x := v.(type) {
	case map[any]any:
		out := make(map[string]any, len(x))
		for k, e := range x {
			out[fmt.Sprint(k)] = named(e)
		}
		return out
	case map[string]any:
		for k, e := range x {
			x[k] = named(e)
		}
	case []any:
		for i, e := range x {
			x[i] = named(e)
		}
	case float64:
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return fmt.Sprint(x)
		}
	}
	return v
}

// requireTaken holds the schema to the files of the patterns.
func requireTaken(t *testing.T, d schema.Document, patterns ...string) {
	t.Helper()
	s := compile(t, d)
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		require.NotEmpty(t, files, pattern)
		for _, file := range files {
			requireValid(t, s, file)
		}
	}
}

func requireValid(t *testing.T, s *jsonschema.Schema, file string) {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	value, ok := instance(t, data)
	require.True(t, ok, file)
	require.NoError(t, s.Validate(value), file)
}

// requireRefused holds the schema to the bad files of a folder, but for those
// that are beyond it, by what it would have to know to refuse them.
func requireRefused(t *testing.T, d schema.Document, folder string, beyond map[string][]string) {
	t.Helper()
	s := compile(t, d)
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	excused, taken := map[string]bool{}, map[string]bool{}
	for _, names := range beyond {
		for _, name := range names {
			excused[name] = true
		}
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		value, ok := instance(t, data)
		if !ok {
			continue // no editor gets as far as the schema
		}
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		if taken[name] = s.Validate(value) == nil; taken[name] && !excused[name] {
			t.Errorf("the schema takes %s", name)
		}
	}
	for name := range excused {
		if !taken[name] {
			t.Errorf("the schema refuses %s, so it is not beyond it", name)
		}
	}
}
