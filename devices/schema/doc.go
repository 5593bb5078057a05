// Package schema makes the JSON Schemas (draft 2020-12) of the files of a fleet
// directory, for editors and for checks that do not link edgefleet.
//
// They are made of the shapes that the strict readers take their known fields
// from (strictyaml.Shape), so they cannot know other fields than these. They
// refuse less than the readers: what depends on another field or another file
// is the reader's to say, with the line and a remedy.
//
// The generated files stand beside this one and are kept in step by a test:
//
//	go test ./devices/schema -update
//
// An editor with the YAML language server takes one by the first line of a file:
//
//	# yaml-language-server: $schema=profile.schema.json
package schema
