// Package strictyaml reads YAML by node, so that every mistake in a file can
// be reported with its line and a remedy, all of them at once.
//
// It is stricter than YAML: unknown and duplicate fields, anchors, aliases,
// merge keys and a second document are refused. A fleet file decides what is
// written to plant equipment; nothing in it may be ignored silently, and
// nothing may stand elsewhere than where a reviewer reads it.
//
// What fields a mapping has is declared as a Shape, from which both the reader
// and the JSON Schema for editors take it.
package strictyaml
