package baseline

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"

	"edgefleet/devices"
	"edgefleet/devices/profile/strictyaml"
	"edgefleet/devices/template"
)

// curveInfix stands between a model and a part of its curve in the name of a
// setting: "705.curve.RspTms".
const curveInfix = ".curve."

var valuePattern = regexp.MustCompile(valueText)

// maxDepth bounds lists and mappings inside each other.
const maxDepth = 16

// part reads values, settings and curves.
func (r *reader) part(m strictyaml.Map) Part {
	var p Part
	if n, ok := m.Get(valuesKey); ok {
		p.Values = r.values(n)
	}
	if n, ok := m.Get(settingsKey); ok {
		sm, _ := n.Map()
		for _, name := range sm.Keys {
			sn, _ := sm.Get(name)
			r.setting(name, sn, &p)
		}
	}
	if n, ok := m.Get(curvesKey); ok {
		r.curves(n, &p)
	}
	return p
}

func (r *reader) values(n strictyaml.Node) map[string]any {
	m, ok := n.Map()
	if !ok {
		return nil
	}
	out := make(map[string]any, len(m.Keys))
	for _, name := range m.Keys {
		vn, _ := m.Get(name)
		if !valuePattern.MatchString(name) {
			vn.Add(fmt.Sprintf("%s is not the name of a value", strictyaml.Quote(name)), "use letters, digits and underscores, beginning with a letter, so that a template can name it")
			continue
		}
		if v, ok := anything(vn, 0); ok {
			out[name] = v
		}
	}
	return out
}

// anything reads scalars, lists and mappings of these.
func anything(n strictyaml.Node, depth int) (any, bool) {
	if depth > maxDepth {
		n.Add(fmt.Sprintf("values stand deeper than %d inside each other", maxDepth), "make them flatter")
		return nil, false
	}
	switch n.Kind() {
	case strictyaml.Mapping:
		m, ok := n.Map()
		out := make(map[string]any, len(m.Keys))
		for _, key := range m.Keys {
			vn, _ := m.Get(key)
			v, fine := anything(vn, depth+1)
			out[key], ok = v, ok && fine
		}
		return out, ok
	case strictyaml.List:
		entries, ok := n.List()
		out := make([]any, 0, len(entries))
		for _, e := range entries {
			v, fine := anything(e, depth+1)
			out, ok = append(out, v), ok && fine
		}
		return out, ok
	}
	v, ok := n.Value()
	if f, isFloat := v.(float64); isFloat && (math.IsNaN(f) || math.IsInf(f, 0)) {
		n.Add(fmt.Sprintf("%v is not a number", f), "write a number, or put it in quotes")
		return nil, false
	}
	return v, ok
}

// setting reads what one setting of the profile shall be.
func (r *reader) setting(name string, n strictyaml.Node, into *Part) {
	if r.b.Profile == nil {
		return
	}
	pt, known := r.b.Profile.Setting(name)
	switch {
	case !known:
		n.Add(fmt.Sprintf("%s has no setting %s", r.b.Profile.Name, strictyaml.Quote(name)), "use one of "+r.names())
		return
	case pt.Volatile:
		n.Add(name+" is volatile: it changes by itself", "remove it")
		return
	case pt.Method != nil || pt.Host != nil && pt.Host.Kind == devices.HostRun:
		n.Add(name+" does something, and has no value to compare", "make it an action of the profile")
		return
	}
	if other, twice := into.Settings[name]; twice {
		n.Add(fmt.Sprintf("%s is set here and in line %d", name, other.Line), "keep one of them")
		return
	}
	s := Setting{Line: n.Line()}
	v, ok := r.value(pt, n, &s)
	if !ok {
		return
	}
	if s.Template == "" {
		var err error
		if s.Value, err = pt.Canonical(v); err != nil {
			n.Add(err.Error(), remedy(pt))
			return
		}
	}
	if into.Settings == nil {
		into.Settings = map[string]Setting{}
	}
	into.Settings[name] = s
	r.sets = true
}

// value reads a value in any of the forms that the point takes. Of a template
// it notes the path in s, and reads the template.
func (r *reader) value(pt devices.Point, n strictyaml.Node, s *Setting) (any, bool) {
	switch kind := n.Kind(); {
	case kind == strictyaml.List && len(pt.Columns) > 0:
		return rowsText(pt, n)
	case kind == strictyaml.Mapping && pt.Type == devices.String && len(pt.Columns) == 0:
		before := len(r.f.Problems())
		m, ok := n.MapOf(textShape())
		if !ok || len(r.f.Problems()) > before {
			return nil, false
		}
		content, hasContent := m.Get("content")
		tn, hasTemplate := m.Get("template")
		switch {
		case hasContent == hasTemplate:
			n.Add(pt.Name+" has to be given as one of template and content", "write {template: templates/FILE}, or {content: TEXT}, or the text alone")
			return nil, false
		case hasContent:
			return content.Value()
		}
		s.Template, ok = r.template(tn)
		return nil, ok
	}
	return n.Value()
}

// rowsText reads the rows of a table in the one text that points have for it.
func rowsText(pt devices.Point, n strictyaml.Node) (any, bool) {
	entries, ok := n.List()
	if ok && len(entries) == 0 {
		n.Add(pt.Name+" has no rows", "write at least one, or remove it")
		return nil, false
	}
	table := make([][]float64, 0, len(entries))
	for i, e := range entries {
		cells, fine := e.List()
		row := make([]float64, 0, len(cells))
		for _, c := range cells {
			f, isNumber := c.Float()
			row, fine = append(row, f), fine && isNumber
		}
		if fine && len(row) != len(pt.Columns) {
			e.Add(fmt.Sprintf("%s: row %d has %d numbers, want %d: %s", pt.Name, i+1, len(row), len(pt.Columns), strings.Join(pt.Columns, ", ")), "write one number for each")
			fine = false
		}
		table, ok = append(table, row), ok && fine
	}
	if !ok {
		return nil, false
	}
	return devices.FormatRows(table), true
}

// template reads the template that n names, once for all settings.
func (r *reader) template(n strictyaml.Node) (string, bool) {
	name, ok := n.Text()
	if !ok {
		return "", false
	}
	if _, known := r.b.templates[name]; known {
		return name, true
	}
	file, there := r.templates[name]
	switch {
	case !there:
		n.Add("there is no template "+strictyaml.Quote(name)+" below edge-configs", knownTemplates(r.templates))
		return "", false
	case file.Wrong != "":
		n.Add(file.File+" "+file.Wrong, file.Remedy)
		return "", false
	}
	parsed, err := template.Parse(file.File, file.Text)
	var wrong *template.Error
	if errors.As(err, &wrong) {
		r.wrong = append(r.wrong, strictyaml.Problem{File: wrong.File, Line: wrong.Line, What: wrong.What, Remedy: wrong.Remedy})
	}
	// A broken one is kept as well, so that it is reported once.
	r.b.templates[name] = parsed
	return name, true
}

// maxTemplates bounds how many templates a remedy names.
const maxTemplates = 10

func knownTemplates(templates Templates) string {
	names := slices.Sorted(maps.Keys(templates))
	switch {
	case len(names) == 0:
		return "put it there, as edge-configs/templates/NAME"
	case len(names) > maxTemplates:
		names = append(names[:maxTemplates], "...")
	}
	return "use one of " + strings.Join(names, ", ") + ", or put it there"
}

// curves reads the sugar for the settings of SunSpec curves.
func (r *reader) curves(n strictyaml.Node, into *Part) {
	models, ok := n.Map()
	if !ok || r.b.Profile == nil {
		return
	}
	if !r.b.Profile.SunSpec {
		n.Add("curves in a baseline for "+r.b.Profile.Name+", which is not a SunSpec profile", "remove them")
		return
	}
	for _, model := range models.Keys {
		mn, _ := models.Get(model)
		own := r.curveNames(model)
		if len(own) == 0 {
			mn.Add(fmt.Sprintf("%s has no curves of the model %s", r.b.Profile.Name, strictyaml.Quote(model)), "name it under curves: in the profile, or remove it here")
			continue
		}
		m, ok := mn.Map()
		if !ok {
			continue
		}
		for _, name := range m.Keys {
			sn, _ := m.Get(name)
			if !slices.Contains(own, name) {
				sn.Add(fmt.Sprintf("a curve of the model %s has no %s", model, strictyaml.Quote(name)), "use one of "+strings.Join(own, ", "))
				continue
			}
			r.setting(model+curveInfix+name, sn, into)
		}
	}
}

// curveNames are what the profile has of a model's curves, in its order.
func (r *reader) curveNames(model string) []string {
	var names []string
	for _, pt := range r.b.Profile.Settings {
		if name, ok := strings.CutPrefix(pt.Name, model+curveInfix); ok {
			names = append(names, name)
		}
	}
	return names
}

func remedy(pt devices.Point) string {
	switch {
	case pt.Type == devices.Bool:
		return "write true or false"
	case len(pt.Columns) > 0:
		return "write rows of numbers, as in [[92, 44], [98, 0]]"
	case pt.Host != nil && pt.Host.Kind != devices.HostFile:
		return "write a text that the setting can have"
	case pt.Type == devices.String:
		return "write a shorter or plainer text"
	case len(pt.Enum) > 0:
		return "write one of the names"
	case pt.Scale != 0 && pt.Scale != 1:
		return fmt.Sprintf("write a number in that range, in steps of %v", pt.Scale)
	}
	return "write a number that the setting can have"
}
