package template

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"text/template"

	"edgefleet/devices"
)

// maxFormat bounds the format of a printf, in bytes: each of its verbs can
// repeat an argument.
const maxFormat = 256

// functions are what a template can call beside the comparisons of
// text/template. Those that can make a text longer are bounded here, also the
// ones that text/template brings: a text that doubles in each round of a loop
// would otherwise take the memory of the process.
func functions(steps *int) template.FuncMap {
	return template.FuncMap{
		"quote":   func(v any) (string, error) { return bounded(quoted(v)) },
		"default": func(fallback, value any) any { return orElse(value, fallback) },
		"upper":   func(s string) (string, error) { return bounded(strings.ToUpper(s), nil) },
		"lower":   func(s string) (string, error) { return bounded(strings.ToLower(s), nil) },
		"trim":    strings.TrimSpace,
		"replace": replaced,
		"print":   func(args ...any) (string, error) { return bounded(fmt.Sprint(args...), nil) },
		"println": func(args ...any) (string, error) { return bounded(fmt.Sprintln(args...), nil) },
		"printf": func(format string, args ...any) (string, error) {
			if len(format) > maxFormat {
				return "", fmt.Errorf("the format of a printf has %d bytes, at most %d are allowed", len(format), maxFormat)
			}
			return bounded(fmt.Sprintf(format, args...), nil)
		},
		"html":     func(args ...any) (string, error) { return bounded(template.HTMLEscaper(args...), nil) },
		"js":       func(args ...any) (string, error) { return bounded(template.JSEscaper(args...), nil) },
		"urlquery": func(args ...any) (string, error) { return bounded(template.URLQueryEscaper(args...), nil) },
		"edgefleet_step": func() (string, error) {
			if *steps++; *steps > maxSteps {
				return "", fmt.Errorf("more than %d rounds; bound the loop", maxSteps)
			}
			return "", nil
		},
	}
}

// bounded refuses a text that could not stand in the result anyway.
func bounded(s string, err error) (string, error) {
	if err == nil && len(s) > devices.MaxHostFile {
		return "", fmt.Errorf("a text has %d bytes, at most %d are allowed", len(s), devices.MaxHostFile)
	}
	return s, err
}

// replaced knows the length of its result before it makes it.
func replaced(from, to, s string) (string, error) {
	if n := len(s) + strings.Count(s, from)*(len(to)-len(from)); n > devices.MaxHostFile {
		return "", fmt.Errorf("a text has %d bytes, at most %d are allowed", n, devices.MaxHostFile)
	}
	return strings.ReplaceAll(s, from, to), nil
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
