package template

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"
	"unicode/utf8"

	"edgefleet/devices"
)

// Data is what a template can name.
type Data struct {
	DeviceID, Site, Region, Class string
	// Labels are the device's, Settings those of its baseline, with the types
	// that they have there.
	Labels   map[string]string
	Settings map[string]any
}

// maxSteps bounds the rounds of all loops and the calls of all templates.
const maxSteps = 100_000

// Render renders a template to the text of a file. The name is the template's
// file; errors are of type *Error. What is not defined is an error, never
// an empty place; the output has at most devices.MaxHostFile bytes. Equal input
// gives equal output: there is no clock, no environment and no file in it.
//
// The language is that of text/template. For those who come from Jinja:
//
//	{{ device_id }} {{ site }}          {{ .device_id }} {{ .site }} {{ .region }} {{ .class }}
//	{{ labels.feeder }}                 {{ .labels.feeder }}
//	{{ settings.rate }}                 {{ .settings.rate }}
//	{{ labels.feeder | default('F0') }} {{ default "F0" (index .labels "feeder") }}
//	{{ name | to_json }}                {{ quote .name }}, which is YAML and JSON
//	{{ site | upper }}                  {{ upper .site }}, lower, trim, replace "a" "b"
//	{% if a == b %} {% elif %} {% endif %}  {{ if eq .a .b }} {{ else if }} {{ end }}
//	{% if a is defined %}               {{ if index .labels "a" }}
//	{% for k, v in labels.items() %}    {{ range $k, $v := .labels }}, ordered by key
//	{%- trimming -%}                    {{- trimming -}}
//	{# comment #}                       {{/* comment */}}
//
// There are no filters with side effects, no lookups and no includes of other
// files.
func Render(name, text string, data Data) (string, error) {
	t, err := Parse(name, text)
	if err != nil {
		return "", err
	}
	return t.Render(data)
}

// Template is a parsed template. It is safe for concurrent use.
type Template struct {
	name string
	t    *template.Template
}

// Parse reads a template that is rendered for many devices. Its errors are
// those of Render.
func Parse(name, text string) (*Template, error) {
	steps := 0
	t, err := template.New(name).Option("missingkey=error").Funcs(functions(&steps)).Parse(text)
	if err != nil {
		return nil, located(name, err)
	}
	if err := countSteps(t); err != nil {
		return nil, located(name, err)
	}
	return &Template{name: name, t: t}, nil
}

// Render is the function Render for a template that was parsed before.
func (t *Template) Render(data Data) (string, error) {
	// Each rendering has a count of its own, and so functions of its own.
	own, err := t.t.Clone()
	if err != nil {
		return "", located(t.name, err)
	}
	steps := 0
	own.Funcs(functions(&steps))
	out := &limited{limit: devices.MaxHostFile}
	if err := own.Execute(out, data.values()); err != nil {
		return "", located(t.name, err)
	}
	result := out.String()
	if !utf8.ValidString(result) || strings.ContainsRune(result, 0) {
		return "", &Error{File: t.name, Line: 1, What: "the result is not a text in UTF-8", Remedy: "correct the template"}
	}
	return result, nil
}

// values are the names that a template sees. Maps that are nil would hide that
// a key is missing.
func (d Data) values() map[string]any {
	labels, settings := d.Labels, d.Settings
	if labels == nil {
		labels = map[string]string{}
	}
	if settings == nil {
		settings = map[string]any{}
	}
	return map[string]any{"device_id": d.DeviceID, "site": d.Site, "region": d.Region, "class": d.Class, "labels": labels, "settings": settings}
}

// countSteps puts a step into every loop and every template, so that none can
// go on without an end.
func countSteps(t *template.Template) error {
	step, err := template.New(t.Name()).Funcs(template.FuncMap{"edgefleet_step": func() string { return "" }}).Parse("{{edgefleet_step}}")
	if err != nil {
		return err
	}
	node := step.Root.Nodes[0]
	for _, each := range t.Templates() {
		if each.Tree == nil || each.Root == nil {
			continue
		}
		count(each.Root, node)
		each.Root.Nodes = append([]parse.Node{node.Copy()}, each.Root.Nodes...)
	}
	return nil
}

func count(n parse.Node, step parse.Node) {
	branch := func(b *parse.BranchNode) {
		count(b.List, step)
		if b.ElseList != nil {
			count(b.ElseList, step)
		}
	}
	switch n := n.(type) {
	case *parse.ListNode:
		if n == nil {
			return
		}
		for _, child := range n.Nodes {
			count(child, step)
		}
	case *parse.IfNode:
		branch(&n.BranchNode)
	case *parse.WithNode:
		branch(&n.BranchNode)
	case *parse.RangeNode:
		branch(&n.BranchNode)
		n.List.Nodes = append([]parse.Node{step.Copy()}, n.List.Nodes...)
	}
}

// limited refuses to grow over its limit.
type limited struct {
	strings.Builder
	limit int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > l.limit {
		return 0, fmt.Errorf("the result is longer than %d bytes", l.limit)
	}
	return l.Builder.Write(p)
}

// Error is what is wrong with a template, or with a rendering of it.
type Error struct {
	// File is the template's name, Line counts from 1.
	File string
	Line int
	// What is wrong, and the Remedy in the imperative.
	What, Remedy string
}

// Error returns "file:line: what; remedy".
func (e *Error) Error() string { return fmt.Sprintf("%s:%d: %s; %s", e.File, e.Line, e.What, e.Remedy) }

// calling is how text/template says that a function failed.
var calling = regexp.MustCompile(`(?s)^at <.*?>: error calling (\w+): (.*)$`)

// located makes an *Error of what text/template says.
func located(name string, err error) error {
	out := &Error{File: name, Line: 1, What: strings.TrimPrefix(err.Error(), "template: "), Remedy: "correct the template"}
	if rest, ok := strings.CutPrefix(out.What, name+":"); ok {
		if line, what, ok := strings.Cut(rest, ":"); ok && isNumber(line) {
			out.Line, _ = strconv.Atoi(line)
			out.What = what
		}
		// The column and the template's name again say nothing to its author.
		if column, after, ok := strings.Cut(out.What, ":"); ok && isNumber(column) {
			out.What = after
		}
		out.What = strings.TrimPrefix(strings.TrimSpace(out.What), fmt.Sprintf("executing %q ", name))
	}
	if m := calling.FindStringSubmatch(out.What); m != nil {
		// The count of steps is nothing that the author has written.
		out.What = strings.TrimPrefix(m[1]+": "+m[2], "edgefleet_step: ")
	}
	switch {
	case strings.Contains(out.What, "map has no entry for key"):
		out.Remedy = "define it, or use default with index"
	case strings.Contains(out.What, "function") && strings.Contains(out.What, "not defined"):
		out.Remedy = "names begin with a dot: .device_id, .labels.NAME, .settings.NAME"
	case strings.Contains(out.What, "rounds; bound the loop"):
		out.What, out.Remedy = strings.ReplaceAll(out.What, "rounds; bound the loop", "rounds"), "bound the loop"
	}
	return out
}

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
