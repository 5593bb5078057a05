package baseline

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"edgefleet/devices/profile"
	"edgefleet/devices/profile/strictyaml"
	"edgefleet/devices/template"
)

var namePattern = regexp.MustCompile(nameText)

// TemplateFile is a file that baselines can name as a template.
type TemplateFile struct {
	// File is its name for messages.
	File string
	Text string
	// Wrong says in words why there is no text, and is empty where there is;
	// Remedy is what to do about it.
	Wrong, Remedy string
}

// Templates are the files that baselines can name, by their paths below
// edge-configs: "templates/device-config.tmpl".
type Templates map[string]TemplateFile

// Parse reads one baseline in the terms of the profiles, with the templates
// that it can name. It is nil when there is any problem; then all of the file's
// problems are returned, and those of the templates that it names.
func Parse(file string, data []byte, profiles map[string]*profile.Profile, templates Templates) (*Baseline, strictyaml.Problems) {
	f := strictyaml.Parse(file, data)
	root, ok := f.RootOf(Shape())
	if !ok {
		return nil, f.Problems()
	}
	r := &reader{f: f, templates: templates, b: &Baseline{File: file, Sites: map[string]Part{}, ByDevice: map[string]Part{}, templates: map[string]*template.Template{}}}
	r.head(root, profiles)
	if m, ok := root.Mapping("select"); ok {
		r.selects(m)
	}
	r.b.Part = r.part(root)
	r.ignore(root, &r.b.Part)
	if m, ok := root.Mapping("overrides"); ok {
		r.overrides(m)
	}
	if !r.sets && len(f.Problems()) == 0 {
		f.Add(root.Line, "the baseline sets nothing", "give at least one entry under settings")
	}
	if problems := append(f.Problems(), r.wrong...); len(problems) > 0 {
		return nil, problems
	}
	return r.b, nil
}

type reader struct {
	f         *strictyaml.File
	b         *Baseline
	templates Templates
	// wrong is what is wrong in the templates that are named.
	wrong strictyaml.Problems
	// sets says that anything is set, anywhere in the file.
	sets bool
}

func (r *reader) head(root strictyaml.Map, profiles map[string]*profile.Profile) {
	r.b.Name = root.NeedText("name", "name the baseline, for example name: feeder-standard")
	if r.b.Name != "" && !namePattern.MatchString(r.b.Name) {
		r.f.Add(root.KeyLine("name"), fmt.Sprintf("name %s is not a baseline's name", strictyaml.Quote(r.b.Name)), "use lower-case letters, digits and dashes, at most 63")
	}
	r.b.Version = root.NeedText("version", "give a version, for example version: 2026.11.1")
	known := strings.Join(slices.Sorted(maps.Keys(profiles)), ", ")
	name := root.NeedText("profile", "name the profile: "+known)
	if r.b.Profile = profiles[name]; name != "" && r.b.Profile == nil {
		r.f.Add(root.KeyLine("profile"), "unknown profile "+strictyaml.Quote(name), "use one of "+known)
	}
}

func (r *reader) selects(m strictyaml.Map) {
	r.b.Select = ReadSelect(m)
	if n, ok := m.Get("ids"); ok {
		for _, id := range r.b.Select.IDs {
			r.b.refs = append(r.b.refs, reference{name: id, line: n.Line()})
		}
	}
}

// ReadSelect reads a mapping of SelectShape. Whether there are such devices is
// the caller's to find out.
func ReadSelect(m strictyaml.Map) Select {
	var s Select
	for _, field := range []struct {
		key  string
		into *[]string
	}{{"class", &s.Class}, {"site", &s.Site}, {"region", &s.Region}, {"ids", &s.IDs}} {
		if n, ok := m.Get(field.key); ok {
			*field.into = anyOf(field.key, n)
		}
	}
	if n, ok := m.Get("labels"); ok {
		lm, _ := n.Map()
		s.Labels = make(map[string][]string, len(lm.Keys))
		for _, key := range lm.Keys {
			ln, _ := lm.Get(key)
			s.Labels[key] = anyOf("label "+key, ln)
		}
	}
	return s
}

// anyOf refuses an empty list, which would select every device where its
// author meant none.
func anyOf(what string, n strictyaml.Node) []string {
	list, ok := n.Texts()
	if ok && len(list) == 0 {
		n.Add("select: "+what+" has no values", "name at least one, or remove it")
	}
	return list
}

func (r *reader) overrides(m strictyaml.Map) {
	for _, field := range []struct {
		key  string
		site bool
		into map[string]Part
	}{{"sites", true, r.b.Sites}, {"devices", false, r.b.ByDevice}} {
		n, ok := m.Get(field.key)
		if !ok {
			continue
		}
		fm, _ := n.Map()
		for _, name := range fm.Keys {
			on, _ := fm.Get(name)
			r.b.refs = append(r.b.refs, reference{site: field.site, name: name, line: on.Line()})
			if om, ok := on.Map(); ok {
				field.into[name] = r.override(om)
			}
		}
	}
}

// override reads a part whose settings may also stand beside the words values,
// settings, curves and ignore.
func (r *reader) override(m strictyaml.Map) Part {
	p := r.part(m)
	if r.b.Profile == nil {
		return p
	}
	for _, name := range m.Keys {
		if name == valuesKey || name == settingsKey || name == curvesKey || name == ignoreKey {
			continue
		}
		n, _ := m.Get(name)
		if _, known := r.b.Profile.Setting(name); !known {
			n.Add(fmt.Sprintf("%s has no setting %s", r.b.Profile.Name, strictyaml.Quote(name)), "use one of "+r.names()+", or values, settings, curves and ignore")
			continue
		}
		r.setting(name, n, &p)
	}
	r.ignore(m, &p)
	return p
}

// ignore reads the settings that a part leaves alone. It goes last, because what
// the part sets it cannot ignore.
func (r *reader) ignore(m strictyaml.Map, into *Part) {
	n, ok := m.Get(ignoreKey)
	if !ok || r.b.Profile == nil {
		return
	}
	entries, ok := n.List()
	if !ok {
		return
	}
	if len(entries) == 0 {
		n.Add("ignore has no settings", "name at least one, or remove it")
	}
	for _, e := range entries {
		name, ok := e.Text()
		if !ok {
			continue
		}
		own, set := into.Settings[name]
		switch _, known := r.b.Profile.Setting(name); {
		case !known:
			e.Add(fmt.Sprintf("%s has no setting %s", r.b.Profile.Name, strictyaml.Quote(name)), "use one of "+r.names())
		case set:
			e.Add(fmt.Sprintf("%s is ignored, and set in line %d", name, own.Line), "keep one of them")
		case slices.Contains(into.Ignore, name):
			e.Add(name+" stands here twice", "keep one of them")
		default:
			into.Ignore = append(into.Ignore, name)
		}
	}
}

// names are the settings that a baseline may set, but for those of curves,
// which are many.
func (r *reader) names() string {
	var names []string
	for _, p := range r.b.Profile.Settings {
		if !p.Volatile && !strings.Contains(p.Name, curveInfix) {
			names = append(names, p.Name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
