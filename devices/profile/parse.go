package profile

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"edgefleet/devices"
	"edgefleet/devices/profile/strictyaml"
)

var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// Parse reads a profile. The profile is nil when there is any problem; then
// all problems of the file are returned.
func Parse(file string, data []byte) (*Profile, strictyaml.Problems) {
	f := strictyaml.Parse(file, data)
	root, ok := f.Root("name", "description", "protocol", "class", "quirks", "settle", "restart",
		"identity", "settings", "measurements", "health", "interlock", "actions")
	if !ok {
		return nil, f.Problems()
	}
	r := &reader{f: f, p: &Profile{
		File: file, Settle: Settle{Wait: DefaultSettleWait, UpTo: DefaultSettleUpTo},
		BackWithin: DefaultBackWithin, Quirks: Quirks{Gap: DefaultGap},
	}, names: map[string]int{}}
	r.head(root)
	r.timing(root)
	r.points(root)
	r.conditions(root)
	r.actions(root)
	r.overlaps()
	if len(f.Problems()) > 0 {
		return nil, f.Problems()
	}
	slices.SortStableFunc(r.p.Settings, byAddress)
	slices.SortStableFunc(r.p.Measurements, byAddress)
	return r.p, nil
}

// reader carries what the parts of a profile have to know of each other.
type reader struct {
	f *strictyaml.File
	p *Profile
	// names has the line of every point's name.
	names map[string]int
	spans []span
}

func (r *reader) head(root strictyaml.Map) {
	p := r.p
	p.Name = root.NeedText("name", "name the profile, for example name: feeder-rtu")
	if p.Name != "" && !namePattern.MatchString(p.Name) {
		r.f.Add(root.KeyLine("name"), fmt.Sprintf("name %s is not a profile's name", strictyaml.Quote(p.Name)),
			"use lower-case letters, digits and dashes, at most 63")
	}
	p.Description = root.Text("description")
	p.Protocol = root.NeedText("protocol", "name the protocol: "+strings.Join(Protocols(), ", "))
	if p.Protocol != "" && !slices.Contains(Protocols(), p.Protocol) {
		r.f.Add(root.KeyLine("protocol"), "unknown protocol "+strictyaml.Quote(p.Protocol), "use one of "+strings.Join(Protocols(), ", "))
	}
	p.Class = root.NeedText("class", "give one of "+strings.Join(Classes(), ", "))
	if p.Class != "" && !slices.Contains(Classes(), p.Class) {
		r.f.Add(root.KeyLine("class"), "unknown class "+strictyaml.Quote(p.Class), "use one of "+strings.Join(Classes(), ", "))
	}
}

func (r *reader) timing(root strictyaml.Map) {
	if n, ok := root.Get("quirks"); ok {
		if m, ok := n.Map("only_write_multiple", "gap"); ok {
			if n, ok := m.Get("only_write_multiple"); ok {
				r.p.Quirks.OnlyWriteMultiple, _ = n.Bool()
			}
			duration(m, "gap", 0, 10*time.Second, &r.p.Quirks.Gap)
		}
	}
	if n, ok := root.Get("settle"); ok {
		if m, ok := n.Map("wait", "up_to"); ok {
			duration(m, "wait", 0, time.Minute, &r.p.Settle.Wait)
			duration(m, "up_to", 0, time.Minute, &r.p.Settle.UpTo)
			if r.p.Settle.Wait > r.p.Settle.UpTo {
				n.Add("settle: wait is longer than up_to", "make up_to the longer one")
			}
		}
	}
	if n, ok := root.Get("restart"); ok {
		if m, ok := n.Map("back_within"); ok {
			duration(m, "back_within", time.Second, 2*time.Minute, &r.p.BackWithin)
		}
	}
}

func duration(m strictyaml.Map, key string, lo, hi time.Duration, into *time.Duration) {
	if n, ok := m.Get(key); ok {
		if d, ok := n.Duration(lo, hi); ok {
			*into = d
		}
	}
}

// conditions reads health and interlock, whose points have been read before.
func (r *reader) conditions(root strictyaml.Map) {
	for _, n := range list(root, "health") {
		m, ok := n.Map("point", "equals", "not", "at_least", "at_most")
		if !ok {
			continue
		}
		if c, ok := r.condition(m); ok {
			r.p.Health = append(r.p.Health, c)
		}
	}
	for _, n := range list(root, "interlock") {
		m, ok := n.Map("point", "equals", "not", "at_least", "at_most", "tell")
		if !ok {
			continue
		}
		tell := m.NeedText("tell", "say to the operator what to do about it")
		if c, ok := r.condition(m); ok {
			r.p.Interlock = append(r.p.Interlock, Interlock{Condition: c, Tell: tell})
		}
	}
}

func (r *reader) condition(m strictyaml.Map) (Condition, bool) {
	name := m.NeedText("point", "name a setting, a measurement or an identity point")
	if name == "" {
		return Condition{}, false
	}
	pt, ok := r.p.Point(name)
	if _, broken := r.names[name]; !ok && broken {
		return Condition{}, false // reported where the point is declared
	}
	if !ok {
		r.f.Add(m.KeyLine("point"), "unknown point "+strictyaml.Quote(name), "name a setting, a measurement or an identity point of this profile")
		return Condition{}, false
	}
	ops := []struct {
		key string
		op  Op
	}{{"equals", Equals}, {"not", Not}, {"at_least", AtLeast}, {"at_most", AtMost}}
	var found []Condition
	for _, o := range ops {
		n, ok := m.Get(o.key)
		if !ok {
			continue
		}
		v, ok := n.Value()
		if !ok {
			return Condition{}, false
		}
		if (o.op == AtLeast || o.op == AtMost) && (pt.Type == devices.Bool || pt.Type == devices.String || len(pt.Enum) > 0) {
			n.Add(fmt.Sprintf("%s needs a number, and %s has none", o.key, name), "use equals or not")
			return Condition{}, false
		}
		value, err := pt.Canonical(v)
		if err != nil {
			n.Add(err.Error(), "compare with a value that the point can have")
			return Condition{}, false
		}
		found = append(found, Condition{Point: pt, Op: o.op, Value: value})
	}
	if len(found) != 1 {
		r.f.Add(m.Line, fmt.Sprintf("the condition on %s has %d comparisons", name, len(found)), "give exactly one of equals, not, at_least, at_most")
		return Condition{}, false
	}
	return found[0], true
}

func (r *reader) actions(root strictyaml.Map) {
	for _, n := range list(root, "actions") {
		m, ok := n.Map("name", "description", "pulse", "confirm", "confirm_within")
		if !ok {
			continue
		}
		a := Action{Description: m.Text("description"), ConfirmWithin: DefaultConfirmWithin}
		a.Name = m.NeedText("name", "name the action, for example cycle-port-1")
		if a.Name != "" && !namePattern.MatchString(a.Name) {
			r.f.Add(m.KeyLine("name"), fmt.Sprintf("name %s is not an action's name", strictyaml.Quote(a.Name)), "use lower-case letters, digits and dashes, at most 63")
		}
		if _, twice := r.p.Action(a.Name); twice {
			r.f.Add(m.KeyLine("name"), fmt.Sprintf("a second action is named %q", a.Name), "give each its own name")
		}
		r.pulse(m, &a)
		r.confirm(m, &a)
		duration(m, "confirm_within", 0, time.Minute, &a.ConfirmWithin)
		r.p.Actions = append(r.p.Actions, a)
	}
}

func (r *reader) pulse(m strictyaml.Map, a *Action) {
	n, ok := m.Get("pulse")
	if !ok {
		m.Missing("pulse", "say what to write, for example pulse: {table: coil, address: 0, value: true}")
		return
	}
	pm, ok := n.Map("table", "address", "type", "value")
	if !ok {
		return
	}
	pt, ok := r.point(pm, a.Name, "action")
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

func list(root strictyaml.Map, key string) []strictyaml.Node {
	n, ok := root.Get(key)
	if !ok {
		return nil
	}
	entries, _ := n.List()
	return entries
}
