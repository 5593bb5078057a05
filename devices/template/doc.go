// Package template renders the texts of files that edgefleet puts on devices:
// what the role of the fleet guide does with Jinja, in the language of Go's
// text/template.
//
// Rules of this package:
//   - Equal input gives equal output: there is no clock, no environment, no
//     lookup and no other file in it.
//   - What is not defined is an error with the template's file and line, never
//     an empty place.
//   - Time, depth and memory of a rendering are bounded, whoever wrote the
//     template.
package template
