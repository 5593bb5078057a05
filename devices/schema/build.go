package schema

import (
	"bytes"
	"encoding/json"
	"fmt"

	"edgefleet/devices/profile/strictyaml"
)

// dialect is the JSON Schema that the documents are written in.
const dialect = "https://json-schema.org/draft/2020-12/schema"

// durationPattern is what time.ParseDuration takes and is not below zero.
const durationPattern = `^\+?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$`

// Document is a JSON Schema.
type Document map[string]any

// JSON renders the document, indented and with sorted names, so that equal
// documents are equal texts. It ends with a newline.
func (d Document) JSON() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(d); err != nil {
		return nil, fmt.Errorf("render a JSON Schema: %w", err)
	}
	return b.Bytes(), nil
}

// document is the schema of a whole file. The name is "profile", "fleet" or
// "baseline".
func document(name, title string, body map[string]any) Document {
	d := Document{"$schema": dialect, "$id": "urn:edgefleet:schema:" + name, "title": title}
	for k, v := range body {
		d[k] = v
	}
	return d
}

// of is the schema of a shape.
func of(s strictyaml.Shape) map[string]any {
	out := map[string]any{}
	if s.Doc != "" {
		out["description"] = s.Doc
	}
	switch s.Kind {
	case strictyaml.Mapping:
		mapping(s, out)
	case strictyaml.Pairs:
		out["type"], out["additionalProperties"] = maybeEmpty("object", s.Some), of(*s.Of)
		if s.Pattern != "" {
			out["propertyNames"] = map[string]any{"pattern": s.Pattern}
		}
		if s.Some {
			out["minProperties"] = 1
		}
	case strictyaml.List:
		out["type"], out["items"] = maybeEmpty("array", s.Some), of(*s.Of)
		if s.Some {
			out["minItems"] = 1
		}
		if s.Unique {
			out["uniqueItems"] = true
		}
		if s.Holding != "" {
			out["contains"] = map[string]any{"required": []string{s.Holding}}
		}
	case strictyaml.Text:
		text(s, out)
	case strictyaml.Flag:
		out["type"] = "boolean"
	case strictyaml.Whole, strictyaml.Number:
		out["type"] = map[strictyaml.Kind]string{strictyaml.Whole: "integer", strictyaml.Number: "number"}[s.Kind]
		if s.Min != nil {
			out["minimum"] = *s.Min
		}
		if s.Max != nil {
			out["maximum"] = *s.Max
		}
	case strictyaml.Duration:
		// A bare 0 is a duration as well.
		out["anyOf"] = []any{map[string]any{"type": "string", "pattern": durationPattern}, map[string]any{"const": 0}}
	case strictyaml.Scalar:
		out["type"] = scalar()
	case strictyaml.Choice:
		var either []any
		for _, e := range s.Either {
			either = append(either, of(e))
		}
		out["anyOf"] = either
	}
	return out
}

func mapping(s strictyaml.Shape, out map[string]any) {
	properties := map[string]any{}
	var required []string
	for _, f := range s.Fields {
		properties[f.Name] = of(f.Shape)
		if f.Need {
			required = append(required, f.Name)
		}
	}
	out["type"] = maybeEmpty("object", len(required)+len(s.ExactlyOne) > 0)
	out["properties"], out["additionalProperties"] = properties, false
	if required != nil {
		out["required"] = required
	}
	if len(s.ExactlyOne) > 0 {
		var one []any
		for _, name := range s.ExactlyOne {
			one = append(one, map[string]any{"required": []string{name}})
		}
		out["oneOf"] = one
	}
	var rules []any
	for _, r := range s.Rules {
		rules = append(rules, rule(r))
	}
	if rules != nil {
		out["allOf"] = rules
	}
}

func rule(r strictyaml.Rule) map[string]any {
	condition := map[string]any{"required": []string{r.If}}
	if r.Is != nil {
		condition["properties"] = map[string]any{r.If: map[string]any{"enum": r.Is}}
	}
	properties := map[string]any{}
	for _, name := range r.Not {
		properties[name] = false
	}
	for _, f := range r.Only {
		properties[f.Name] = of(f.Shape)
	}
	then := map[string]any{"properties": properties}
	if r.Need != nil {
		then["required"] = r.Need
	}
	return map[string]any{"if": condition, "then": then}
}

// text is any single value where nothing is said of it: the readers take a text
// as it is written, so that version: 1.10 needs no quotes.
func text(s strictyaml.Shape, out map[string]any) {
	out["type"] = scalar()
	if s.Pattern != "" {
		out["type"], out["pattern"] = "string", s.Pattern
	}
	if len(s.Words) > 0 {
		out["type"], out["enum"] = "string", s.Words
	}
}

func scalar() []string { return []string{"string", "number", "boolean"} }

// maybeEmpty lets null stand for an empty mapping or list, as the readers do,
// where it may be empty.
func maybeEmpty(kind string, some bool) any {
	if some {
		return kind
	}
	return []string{kind, "null"}
}
