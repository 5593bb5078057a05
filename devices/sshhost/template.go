package sshhost

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/template"
	"text/template/parse"
	"unicode/utf8"

	"edgefleet/devices"
)

// TemplateData is what a template can name.
type TemplateData struct {
	DeviceID, Site, Region, Class string
	// Labels are the device's, Settings those of its baseline, with the types
	// that they have there.
	Labels   map[string]string
	Settings map[string]any
}

// maxSteps bounds the rounds of all loops and the calls of all templates.
const maxSteps = 100_000

// Render renders a template to the text of a file. The name is the template's
// file; errors begin with "name:line: ". What is not defined is an error, never
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
func Render(name, text string, data TemplateData) (string, error) {
	steps := 0
	functions := template.FuncMap{
		"quote":   quoted,
		"default": func(fallback, value any) any { return orElse(value, fallback) },
		"upper":   strings.ToUpper,
		"lower":   strings.ToLower,
		"trim":    strings.TrimSpace,
		"replace": func(from, to, s string) string { return strings.ReplaceAll(s, from, to) },
		"edgefleet_step": func() (string, error) {
			if steps++; steps > maxSteps {
				return "", fmt.Errorf("more than %d rounds; bound the loop", maxSteps)
			}
			return "", nil
		},
	}
	t, err := template.New(name).Option("missingkey=error").Funcs(functions).Parse(text)
	if err != nil {
		return "", located(name, err)
	}
	if err := countSteps(t); err != nil {
		return "", located(name, err)
	}
	out := &limited{limit: devices.MaxHostFile}
	if err := t.Execute(out, data.values()); err != nil {
		return "", located(name, err)
	}
	result := out.String()
	if !utf8.ValidString(result) || strings.ContainsRune(result, 0) {
		return "", fmt.Errorf("%s:1: the result is not a text in UTF-8", name)
	}
	return result, nil
}

// values are the names that a template sees. Maps that are nil would hide that
// a key is missing.
func (d TemplateData) values() map[string]any {
	labels, settings := d.Labels, d.Settings
	if labels == nil {
		labels = map[string]string{}
	}
	if settings == nil {
		settings = map[string]any{}
	}
	return map[string]any{"device_id": d.DeviceID, "site": d.Site, "region": d.Region, "class": d.Class, "labels": labels, "settings": settings}
}

// quoted renders any value so that YAML and JSON read it back as it is.
func quoted(v any) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "", err
	}
	var out strings.Builder
	for _, r := range strings.TrimSuffix(b.String(), "\n") {
		// JSON lets these stand, and YAML does not.
		if r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0xfeff || r == 0xfffe || r == 0xffff {
			fmt.Fprintf(&out, "\\u%04x", r)
			continue
		}
		out.WriteRune(r)
	}
	return out.String(), nil
}

func orElse(value, fallback any) any {
	if value == nil || value == "" {
		return fallback
	}
	return value
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

// located gives an error of a template the form "file:line: what".
func located(name string, err error) error {
	text := strings.TrimPrefix(err.Error(), "template: ")
	rest, ok := strings.CutPrefix(text, name+":")
	if !ok {
		return fmt.Errorf("%s:1: %s", name, text)
	}
	line, what, ok := strings.Cut(rest, ":")
	if !ok {
		return errors.New(text)
	}
	// The column and the template's name again say nothing to its author.
	if column, after, ok := strings.Cut(what, ":"); ok && isNumber(column) {
		what = after
	}
	what = strings.TrimSpace(what)
	what = strings.TrimPrefix(what, fmt.Sprintf("executing %q ", name))
	switch {
	case strings.Contains(what, "map has no entry for key"):
		what += "; define it, or use default with index"
	case strings.Contains(what, "function") && strings.Contains(what, "not defined"):
		what += "; names begin with a dot: .device_id, .labels.NAME, .settings.NAME"
	}
	return fmt.Errorf("%s:%s: %s", name, line, what)
}

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
