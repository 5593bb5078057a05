package profile

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"edgefleet/devices"
	"edgefleet/devices/profile/strictyaml"
)

func (r *reader) actions(root strictyaml.Map) {
	for _, m := range root.Mappings("actions") {
		a := Action{Description: m.Text("description"), ConfirmWithin: DefaultConfirmWithin}
		a.Name = m.NeedText("name", "name the action, for example cycle-port-1")
		if a.Name != "" && !namePattern.MatchString(a.Name) {
			r.f.Add(m.KeyLine("name"), fmt.Sprintf("name %s is not an action's name", strictyaml.Quote(a.Name)), "use lower-case letters, digits and dashes, at most 63")
		}
		if _, twice := r.p.Action(a.Name); twice {
			r.f.Add(m.KeyLine("name"), fmt.Sprintf("a second action is named %q", a.Name), "give each its own name")
		}
		r.protocol.action(m, &a)
		r.confirm(m, &a)
		duration(m, "confirm_within", 0, time.Minute, &a.ConfirmWithin)
		r.p.Actions = append(r.p.Actions, a)
	}
}

// pulse reads an action that writes one value.
func (r *reader) pulse(m strictyaml.Map, a *Action, place func(strictyaml.Map, *devices.Point, section)) {
	pm, ok := m.Mapping("pulse")
	if !ok {
		return
	}
	pt, ok := r.point(pm, a.Name, pulseSection, place)
	if !ok {
		return
	}
	pt.Writable = true
	vn, ok := pm.Get("value")
	if !ok {
		pm.Missing("value", "say what to write")
		return
	}
	if v, ok := vn.Value(); ok {
		value, err := pt.Canonical(v)
		if err != nil {
			vn.Add(err.Error(), "write a value that the point can have")
			return
		}
		a.Pulse = devices.Setting{Point: pt, Value: value}
	}
}

// run is the setting of an action that has no value.
func run(a *Action, pt devices.Point) {
	pt.Name, pt.Type, pt.Writable = a.Name, devices.String, true
	a.Pulse = devices.Setting{Point: pt, Value: devices.RunValue}
}

func (r *reader) confirm(m strictyaml.Map, a *Action) {
	name := m.Text("confirm")
	if name == "" {
		return
	}
	i := slices.IndexFunc(r.p.Measurements, func(p devices.Point) bool { return p.Name == name })
	if _, point := r.p.Point(name); i < 0 && !point && r.names[name] > 0 {
		return // reported where the measurement is declared
	}
	if i < 0 {
		r.f.Add(m.KeyLine("confirm"), "unknown measurement "+strictyaml.Quote(name), "name a measurement of this profile that counts how often it was done")
		return
	}
	pt := r.p.Measurements[i]
	unsigned := pt.Type == devices.Uint16 || pt.Type == devices.Uint32
	if !unsigned || len(pt.Enum) > 0 || (pt.Scale != 0 && pt.Scale != 1) {
		r.f.Add(m.KeyLine("confirm"), name+" is not a counter", "confirm by an unscaled uint16 or uint32")
		return
	}
	a.Confirm = &pt
}

// only returns which one the mapping has of the fields of which its shape wants
// exactly one, or "" with a problem.
func (r *reader) only(m strictyaml.Map, what string) string {
	fields := m.Shape().ExactlyOne
	var found []string
	for _, f := range fields {
		if _, ok := m.Get(f); ok {
			found = append(found, f)
		}
	}
	switch len(found) {
	case 1:
		return found[0]
	case 0:
		r.f.Add(m.Line, fmt.Sprintf("%s has none of %s", what, strings.Join(fields, ", ")), "give exactly one of them")
	default:
		r.f.Add(m.KeyLine(found[1]), fmt.Sprintf("%s has %s", what, strings.Join(found, " and ")), "keep one of them")
	}
	return ""
}
