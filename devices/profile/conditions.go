package profile

import (
	"fmt"

	"edgefleet/devices"
	"edgefleet/devices/profile/strictyaml"
)

// conditions reads health and interlock, whose points have been read before.
func (r *reader) conditions(root strictyaml.Map) {
	for _, m := range root.Mappings("health") {
		if c, ok := r.condition(m); ok {
			r.p.Health = append(r.p.Health, c)
		}
	}
	for _, m := range root.Mappings("interlock") {
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
