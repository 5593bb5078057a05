package routes

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/alertmanager/matcher/parse"
	"github.com/prometheus/alertmanager/pkg/labels"
	"go.yaml.in/yaml/v3"
)

var (
	functionPattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	labelPattern    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	yamlLinePattern = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)
)

// Parse reads the text of a routes file that errors call name. What is wrong
// in the file is a Mistakes.
func Parse(name string, data []byte) (List, error) {
	p := &parser{name: name}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	switch err := decoder.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, Mistakes{{name, 1, 1, "the file is empty: want routes, a list"}}
	case err != nil:
		return nil, p.syntax(err)
	}
	var more yaml.Node
	if err := decoder.Decode(&more); err == nil {
		p.errorf(&more, "a second YAML document: want one")
	} else if !errors.Is(err, io.EOF) {
		return nil, p.syntax(err)
	}
	routes := p.file(doc.Content[0])
	p.shadowed(routes)
	if len(p.mistakes) > 0 {
		return nil, p.inOrder()
	}
	return routes, nil
}

// parser walks the nodes of a routes file and collects everything that
// is wrong, so that one run tells all.
type parser struct {
	name     string
	mistakes Mistakes
}

// Mistake is one thing that is wrong in a routes file.
type Mistake struct {
	File string
	// Line and Column count from 1; Column 0 stands for the line as a whole.
	Line, Column int
	// Text says what is wrong, and the remedy.
	Text string
}

// String returns "file:line:column: text".
func (m Mistake) String() string {
	if m.Column == 0 {
		return fmt.Sprintf("%s:%d: %s", m.File, m.Line, m.Text)
	}
	return fmt.Sprintf("%s:%d:%d: %s", m.File, m.Line, m.Column, m.Text)
}

// Mistakes is all that is wrong in a routes file, in the order of the file.
type Mistakes []Mistake

// Error returns one mistake per line.
func (ms Mistakes) Error() string {
	lines := make([]string, len(ms))
	for i, m := range ms {
		lines[i] = m.String()
	}
	return strings.Join(lines, "\n")
}

func (p *parser) errorf(at *yaml.Node, format string, args ...any) {
	p.mistakes = append(p.mistakes, Mistake{p.name, at.Line, at.Column, fmt.Sprintf(format, args...)})
}

// inOrder returns the mistakes in the order of the file.
func (p *parser) inOrder() Mistakes {
	slices.SortStableFunc(p.mistakes, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return p.mistakes
}

// syntax gives a YAML error the form of the others.
func (p *parser) syntax(err error) error {
	text := err.Error()
	line := 1
	if m := yamlLinePattern.FindStringSubmatch(text); m != nil {
		text = strings.TrimPrefix(text, m[0])
		if m[1] != "" {
			line, _ = strconv.Atoi(m[1])
		}
	}
	return Mistakes{{p.name, line, 0, "not YAML: " + text}}
}

func (p *parser) file(root *yaml.Node) List {
	fields := p.fields(root, "the file", "routes")
	if fields == nil {
		return nil
	}
	list, ok := fields["routes"]
	if !ok {
		p.errorf(root, "no routes: want routes, a list")
		return nil
	}
	if list.Kind != yaml.SequenceNode || len(list.Content) == 0 {
		p.errorf(list, "routes: want a list of at least one route; to start nothing, do not run the bridge")
		return nil
	}
	routes := make(List, 0, len(list.Content))
	for _, item := range list.Content {
		routes = append(routes, p.route(resolve(item)))
	}
	return routes
}

func (p *parser) route(n *yaml.Node) Route {
	r := Route{DeviceLabel: DefaultDeviceLabel, Line: n.Line}
	fields := p.fields(n, "a route", "matchers", "runbook", "function", "device_label")
	if fields == nil {
		return r
	}
	r.Matchers = p.matchers(n, fields["matchers"])
	r.Runbook = p.text(n, fields["runbook"], "runbook", "a path below the runbooks folder, as in auto_remediation.py", validRunbook)
	r.Function = p.text(n, fields["function"], "function", "the name of a function, as in handle_device_offline", functionPattern.MatchString)
	if label, ok := fields["device_label"]; ok {
		r.DeviceLabel = p.text(n, label, "device_label", "the name of a label, as in device_id", labelPattern.MatchString)
	}
	return r
}

// matchers reads the list of matchers in Alertmanager's own syntax.
func (p *parser) matchers(route, n *yaml.Node) labels.Matchers {
	const example = `a list as in ['alertname="EdgeDeviceOffline"', 'severity=~"critical|warning"']`
	if n == nil {
		p.errorf(route, "no matchers: want %s", example)
		return nil
	}
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
		// Without matchers a route would answer every alert there is.
		p.errorf(n, "matchers: want %s", example)
		return nil
	}
	ms := make(labels.Matchers, 0, len(n.Content))
	for _, item := range n.Content {
		item = resolve(item)
		if !isText(item) {
			p.errorf(item, "matchers: want text, as in 'alertname=\"EdgeDeviceOffline\"'")
			continue
		}
		m, err := parse.Matcher(item.Value)
		if err != nil {
			p.errorf(item, "matcher %q: %v; want label=\"value\", or !=, =~, !~ in place of =", item.Value, err)
			continue
		}
		ms = append(ms, m)
	}
	return ms
}

// shadowed finds routes that an earlier one with the same matchers hides.
func (p *parser) shadowed(routes List) {
	seen := map[string]int{}
	for _, r := range routes {
		if len(r.Matchers) == 0 {
			continue
		}
		words := make([]string, len(r.Matchers))
		for i, m := range r.Matchers {
			words[i] = m.String()
		}
		slices.Sort(words)
		key := strings.Join(slices.Compact(words), ",")
		if line, ok := seen[key]; ok {
			p.mistakes = append(p.mistakes, Mistake{p.name, r.Line, 1, fmt.Sprintf("this route never matches: the one in line %d has the same matchers and comes first; remove one", line)})
			continue
		}
		seen[key] = r.Line
	}
}

// fields returns the members of a mapping, and complains of every name that is
// not known or comes twice. It is nil when n is no mapping.
func (p *parser) fields(n *yaml.Node, what string, known ...string) map[string]*yaml.Node {
	if n.Kind != yaml.MappingNode {
		p.errorf(n, "%s: want a mapping with %s", what, strings.Join(known, ", "))
		return nil
	}
	fields := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], resolve(n.Content[i+1])
		switch _, twice := fields[key.Value]; {
		case !slices.Contains(known, key.Value):
			p.errorf(key, "unknown field %q: %s has %s", key.Value, what, strings.Join(known, ", "))
		case twice:
			p.errorf(key, "field %q stands twice: remove one", key.Value)
		default:
			fields[key.Value] = value
		}
	}
	return fields
}

// text reads a field that has to be there and to hold text that is valid.
func (p *parser) text(route, n *yaml.Node, name, want string, valid func(string) bool) string {
	switch {
	case n == nil:
		p.errorf(route, "no %s: want %s", name, want)
	case !isText(n):
		p.errorf(n, "%s: want %s", name, want)
	case !valid(n.Value):
		p.errorf(n, "%s %q: want %s", name, n.Value, want)
	default:
		return n.Value
	}
	return ""
}

func isText(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!str" }

func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// validRunbook holds a path to the runbooks folder: relative, clean, with
// forward slashes on every system.
func validRunbook(s string) bool {
	return s != "" && s != "." && path.Clean(s) == s && !path.IsAbs(s) && s != ".." && !strings.HasPrefix(s, "../") && !strings.Contains(s, `\`)
}
