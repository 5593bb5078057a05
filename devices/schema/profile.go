package schema

import (
	"edgefleet/devices/profile"
)

// Profile is the schema of a file in the folder profiles: which fields there
// are follows from the protocol, and on Modbus from sunspec.
func Profile() Document {
	definitions := map[string]any{}
	properties := map[string]any{}
	var cases []any
	for _, f := range profile.Flavours() {
		definitions[f.Name] = of(f.File)
		// What an editor offers before the protocol is written.
		for _, field := range f.File.Fields {
			properties[field.Name] = true
		}
		cases = append(cases, map[string]any{
			"if":   flavour(f),
			"then": map[string]any{"$ref": "#/$defs/" + f.Name},
		})
	}
	// With a wrong protocol none of the cases holds, and this says so.
	properties["protocol"] = map[string]any{"enum": profile.Protocols()}
	return document("profile", "edgefleet device profile", map[string]any{
		"type": "object", "properties": properties, "required": []string{"protocol"}, "allOf": cases, "$defs": definitions,
	})
}

// flavour is the condition under which a file is of the flavour.
func flavour(f profile.Flavour) map[string]any {
	stated := map[string]any{"properties": map[string]any{"sunspec": map[string]any{"const": true}}, "required": []string{"sunspec"}}
	out := map[string]any{
		"properties": map[string]any{"protocol": map[string]any{"const": f.Protocol}},
		"required":   []string{"protocol"},
	}
	switch {
	case f.SunSpec:
		out["allOf"] = []any{stated}
	case f.Protocol == profile.ModbusTCP:
		out["not"] = stated
	}
	return out
}
