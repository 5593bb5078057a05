package profile

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"edgefleet/devices"
	"edgefleet/devices/profile/strictyaml"
)

func join(words []string) string { return strings.Join(words, ", ") }

// Bounds of scales.
const (
	leastScale = 1e-9
	mostScale  = 1e9
)

var pointPattern = regexp.MustCompile(pointText)

// section is what a point is in the profile, in the words of errors.
type section string

const (
	identitySection    section = "identity point"
	settingSection     section = "setting"
	measurementSection section = "measurement"
	pulseSection       section = "action"
)

func (r *reader) points(root strictyaml.Map) {
	before := len(r.f.Problems())
	for _, m := range root.Mappings("identity") {
		pt, ok := r.point(m, "", identitySection, r.protocol.place)
		if !ok {
			continue
		}
		id := Identity{Point: pt}
		if en, ok := m.Get("equals"); ok {
			if v, ok := en.Value(); ok {
				value, err := pt.Canonical(v)
				if err != nil {
					en.Add(err.Error(), "expect a value that the point can have")
				}
				id.Equals = value
			}
		}
		r.p.Identity = append(r.p.Identity, id)
	}
	if len(r.f.Problems()) == before && !slices.ContainsFunc(r.p.Identity, func(id Identity) bool { return id.Equals != nil }) {
		r.f.Add(root.KeyLine("identity"), "nothing says what the device has to be", "give at least one identity point with equals")
	}
	for _, m := range root.Mappings("settings") {
		pt, ok := r.point(m, "", settingSection, r.protocol.place)
		if !ok {
			continue
		}
		r.bounds(m, &pt)
		r.flags(m, &pt)
		r.setting(pt, m.Line)
	}
	r.protocol.more(root)
	for _, m := range root.Mappings("measurements") {
		if pt, ok := r.point(m, "", measurementSection, r.protocol.place); ok {
			r.p.Measurements = append(r.p.Measurements, pt)
		}
	}
}

// setting takes a point in as a setting. Two of one place would change each
// other for ever; those of registers are found by their addresses.
func (r *reader) setting(pt devices.Point, line int) {
	pt.Writable = true
	if place := placeOf(pt); place != "" {
		if first, twice := r.places[place]; twice {
			r.f.Add(line, fmt.Sprintf("settings %s and %s are both %s", first, pt.Name, place), "keep one of them")
		}
		r.places[place] = pt.Name
	}
	r.p.Settings = append(r.p.Settings, pt)
}

func placeOf(pt devices.Point) string {
	switch {
	case pt.SunSpec != "":
		return "the SunSpec point " + pt.SunSpec
	case pt.OPCUA != nil:
		return fmt.Sprintf("the node %s of namespace %q", pt.OPCUA.ID, pt.OPCUA.Namespace)
	case pt.Host != nil:
		return hostPlace(pt.Host)
	}
	return ""
}

// named registers the name of a point.
func (r *reader) named(name string, line int) {
	if first, twice := r.names[name]; twice {
		r.f.Add(line, fmt.Sprintf("a second point is named %s; the first stands in line %d", name, first), "give each its own name")
	}
	r.names[name] = line
}

// point reads what all points have. A pulse has the name of its action.
func (r *reader) point(m strictyaml.Map, name string, s section, place func(strictyaml.Map, *devices.Point, section)) (devices.Point, bool) {
	before := len(r.f.Problems())
	pt := devices.Point{Name: name}
	if s != pulseSection {
		pt.Name = m.NeedText("name", "name the "+string(s))
		fine := pointPattern.MatchString(pt.Name) || r.p.SunSpec && sunSpecPattern.MatchString(pt.Name)
		if pt.Name != "" && !fine {
			r.f.Add(m.KeyLine("name"), fmt.Sprintf("name %s is not a point's name", strictyaml.Quote(pt.Name)), "use lower-case letters, digits and underscores, beginning with a letter, at most 63")
		}
		r.named(pt.Name, m.KeyLine("name"))
	}
	pt.Unit = m.Text("unit")
	place(m, &pt, s)
	r.scale(m, &pt)
	r.enum(m, &pt)
	return pt, len(r.f.Problems()) == before
}

// pointType reads the type of a point that states it, one of names.
func (r *reader) pointType(m strictyaml.Map, pt *devices.Point, names []string) {
	text := m.NeedText("type", "give one of "+join(names))
	switch {
	case text == "":
	case !slices.Contains(names, text):
		r.f.Add(m.KeyLine("type"), "unknown type "+strictyaml.Quote(text), "use one of "+join(names))
	default:
		pt.Type = devices.Type(text)
	}
}

func (r *reader) scale(m strictyaml.Map, pt *devices.Point) {
	n, ok := m.Get("scale")
	if !ok {
		return
	}
	s, ok := n.Float()
	switch {
	case !ok:
	case s < leastScale || s > mostScale:
		n.Add(fmt.Sprintf("scale %v is out of range", s), "give a factor from 1e-9 to 1e9")
	case pt.Type == devices.Bool || pt.Type == devices.String || pt.Type == devices.Float64:
		n.Add(fmt.Sprintf("scale on a %s", pt.Type), "remove it; a scale is for integers and float32")
	default:
		pt.Scale = s
	}
}

func (r *reader) enum(m strictyaml.Map, pt *devices.Point) {
	n, ok := m.Get("enum")
	if !ok {
		return
	}
	em, ok := n.Map()
	if !ok {
		return
	}
	limits := map[devices.Type][2]int64{
		devices.Int16: {math.MinInt16, math.MaxInt16}, devices.Uint16: {0, math.MaxUint16},
		devices.Int32: {math.MinInt32, math.MaxInt32}, devices.Uint32: {0, math.MaxUint32},
	}
	limit, fits := limits[pt.Type]
	if lo, hi, narrow := nodeRange(pt.OPCUA); narrow {
		limit = [2]int64{lo, hi}
	}
	switch {
	case pt.Type == "":
		return
	case !fits:
		n.Add(fmt.Sprintf("enum on a %s", pt.Type), "name the values of a 16- or 32-bit integer only")
		return
	case pt.Scale != 0:
		n.Add("enum beside a scale", "keep one of them")
		return
	case len(em.Keys) == 0:
		n.Add("the enum is empty", "name its values, or remove it")
		return
	}
	pt.Enum = make(map[string]int64, len(em.Keys))
	byNumber := map[int64]string{}
	for _, name := range em.Keys {
		vn, _ := em.Get(name)
		v, ok := vn.Int(limit[0], limit[1])
		if !ok {
			continue
		}
		if other, twice := byNumber[v]; twice {
			vn.Add(fmt.Sprintf("%s and %s are both %d", other, name, v), "give each value one name")
		}
		byNumber[v], pt.Enum[name] = name, v
	}
}

func (r *reader) flags(m strictyaml.Map, pt *devices.Point) {
	if n, ok := m.Get("volatile"); ok {
		pt.Volatile, _ = n.Bool()
	}
	if n, ok := m.Get("secret"); ok {
		pt.Secret, _ = n.Bool()
	}
}

func (r *reader) bounds(m strictyaml.Map, pt *devices.Point) {
	free := *pt
	// What the type of the node holds is less than what ours does.
	lo, hi := nodeBounds(pt)
	free.Min, free.Max = lo, hi
	for _, bound := range []struct {
		key  string
		into **float64
		end  *float64
	}{{"min", &pt.Min, lo}, {"max", &pt.Max, hi}} {
		key := bound.key
		*bound.into = bound.end
		n, ok := m.Get(key)
		if !ok {
			continue
		}
		if pt.Type == devices.Bool || pt.Type == devices.String || len(pt.Enum) > 0 {
			n.Add(fmt.Sprintf("%s on %s, which is not a number", key, pt.Name), "remove it")
			continue
		}
		v, ok := n.Float()
		if !ok {
			continue
		}
		if _, err := free.Canonical(v); err != nil {
			n.Add(fmt.Sprintf("%s: %v", key, err), "give a bound that the point can have")
			continue
		}
		*bound.into = &v
	}
	if pt.Min != nil && pt.Max != nil && *pt.Min > *pt.Max {
		r.f.Add(m.KeyLine("min"), fmt.Sprintf("%s: min is above max", pt.Name), "exchange them")
	}
}
