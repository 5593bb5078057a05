package baseline

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"edgefleet/devices"
	"edgefleet/devices/profile"
	"edgefleet/devices/profile/strictyaml"
)

var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// Parse reads one baseline in the terms of the profiles. It is nil when there
// is any problem; then all of the file's problems are returned.
func Parse(file string, data []byte, profiles map[string]*profile.Profile) (*Baseline, strictyaml.Problems) {
	f := strictyaml.Parse(file, data)
	root, ok := f.Root("name", "version", "profile", "select", "settings", "overrides")
	if !ok {
		return nil, f.Problems()
	}
	r := &reader{f: f, b: &Baseline{File: file, Sites: map[string]map[string]devices.Value{}, ByDevice: map[string]map[string]devices.Value{}}}
	r.head(root, profiles)
	if n, ok := root.Get("select"); ok {
		r.selects(n)
	}
	if n, ok := root.Get("settings"); ok {
		r.b.Settings = r.settings(n)
	}
	if n, ok := root.Get("overrides"); ok {
		r.overrides(n)
	}
	if len(r.b.Settings)+len(r.b.Sites)+len(r.b.ByDevice) == 0 && len(f.Problems()) == 0 {
		f.Add(root.Line, "the baseline sets nothing", "give at least one entry under settings")
	}
	if len(f.Problems()) > 0 {
		return nil, f.Problems()
	}
	if r.b.Settings == nil {
		r.b.Settings = map[string]devices.Value{}
	}
	return r.b, nil
}

type reader struct {
	f *strictyaml.File
	b *Baseline
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

func (r *reader) selects(n strictyaml.Node) {
	m, ok := n.Map("labels", "class", "site", "region", "ids")
	if !ok {
		return
	}
	s := &r.b.Select
	for _, field := range []struct {
		key  string
		into *[]string
	}{{"class", &s.Class}, {"site", &s.Site}, {"region", &s.Region}, {"ids", &s.IDs}} {
		if n, ok := m.Get(field.key); ok {
			*field.into = r.texts(field.key, n)
		}
	}
	if n, ok := m.Get("ids"); ok {
		for _, id := range s.IDs {
			r.b.refs = append(r.b.refs, reference{name: id, line: n.Line()})
		}
	}
	if n, ok := m.Get("labels"); ok {
		lm, _ := n.Map()
		s.Labels = make(map[string][]string, len(lm.Keys))
		for _, key := range lm.Keys {
			ln, _ := lm.Get(key)
			s.Labels[key] = r.texts("label "+key, ln)
		}
	}
}

// texts refuses an empty list, which would select every device where its
// author meant none.
func (r *reader) texts(what string, n strictyaml.Node) []string {
	list, ok := n.Texts()
	if ok && len(list) == 0 {
		n.Add("select: "+what+" has no values", "name at least one, or remove it")
	}
	return list
}

func (r *reader) settings(n strictyaml.Node) map[string]devices.Value {
	m, ok := n.Map()
	if !ok || r.b.Profile == nil {
		return nil
	}
	out := make(map[string]devices.Value, len(m.Keys))
	for _, name := range m.Keys {
		vn, _ := m.Get(name)
		pt, known := r.b.Profile.Setting(name)
		if !known {
			vn.Add(fmt.Sprintf("%s has no setting %s", r.b.Profile.Name, strictyaml.Quote(name)), "use one of "+r.names())
			continue
		}
		if pt.Volatile {
			vn.Add(name+" is volatile: it changes by itself", "remove it")
			continue
		}
		v, ok := vn.Value()
		if !ok {
			continue
		}
		value, err := pt.Canonical(v)
		if err != nil {
			vn.Add(err.Error(), remedy(pt))
			continue
		}
		out[name] = value
	}
	return out
}

func (r *reader) names() string {
	var names []string
	for _, p := range r.b.Profile.Settings {
		if !p.Volatile {
			names = append(names, p.Name)
		}
	}
	return strings.Join(names, ", ")
}

func remedy(pt devices.Point) string {
	switch {
	case pt.Type == devices.Bool:
		return "write true or false"
	case pt.Type == devices.String:
		return "write a shorter or plainer text"
	case len(pt.Enum) > 0:
		return "write one of the names"
	case pt.Scale != 0 && pt.Scale != 1:
		return fmt.Sprintf("write a number in that range, in steps of %v", pt.Scale)
	}
	return "write a number that the setting can have"
}

func (r *reader) overrides(n strictyaml.Node) {
	m, ok := n.Map("sites", "devices")
	if !ok {
		return
	}
	for _, field := range []struct {
		key  string
		site bool
		into map[string]map[string]devices.Value
	}{{"sites", true, r.b.Sites}, {"devices", false, r.b.ByDevice}} {
		n, ok := m.Get(field.key)
		if !ok {
			continue
		}
		fm, _ := n.Map()
		for _, name := range fm.Keys {
			vn, _ := fm.Get(name)
			r.b.refs = append(r.b.refs, reference{site: field.site, name: name, line: vn.Line()})
			field.into[name] = r.settings(vn)
		}
	}
}
