package profile

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"edgefleet/devices"
	"edgefleet/devices/profile/strictyaml"
)

var pointPattern = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)

// maxText is the longest text in registers: what one read can return.
const maxText = 100

// span is a range of addresses that a point occupies.
type span struct {
	table       devices.ModbusTable
	first, last int
	what        string
	line        int
}

func (r *reader) points(root strictyaml.Map) {
	base := []string{"name", "description", "table", "address", "length", "type", "word_order", "scale", "unit", "enum"}
	before := len(r.f.Problems())
	for _, n := range list(root, "identity") {
		m, ok := n.Map(append(slices.Clone(base), "equals")...)
		if !ok {
			continue
		}
		pt, ok := r.point(m, "", "identity point")
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
	for _, n := range list(root, "settings") {
		m, ok := n.Map(append(slices.Clone(base), "min", "max", "volatile")...)
		if !ok {
			continue
		}
		if pt, ok := r.point(m, "", "setting"); ok {
			r.bounds(m, &pt)
			pt.Writable = true
			if t := pt.Modbus.Table; t == devices.Input || t == devices.Discrete {
				r.f.Add(m.KeyLine("table"), fmt.Sprintf("setting %s stands in the %s table, which cannot be written", pt.Name, t), "make it a measurement, or correct the table")
			}
			r.p.Settings = append(r.p.Settings, pt)
		}
	}
	for _, n := range list(root, "measurements") {
		m, ok := n.Map(base...)
		if !ok {
			continue
		}
		if pt, ok := r.point(m, "", "measurement"); ok {
			r.p.Measurements = append(r.p.Measurements, pt)
		}
	}
}

// point reads what all points have. A name that is given is not read from
// the mapping, which then is an action's pulse.
func (r *reader) point(m strictyaml.Map, name, what string) (devices.Point, bool) {
	before := len(r.f.Problems())
	pt := devices.Point{Name: name}
	if name == "" && what != "action" {
		pt.Name = m.NeedText("name", "name the "+what)
		if pt.Name != "" && !pointPattern.MatchString(pt.Name) {
			r.f.Add(m.KeyLine("name"), fmt.Sprintf("name %s is not a point's name", strictyaml.Quote(pt.Name)), "use lower-case letters, digits and underscores, beginning with a letter, at most 63")
		}
		if line, twice := r.names[pt.Name]; twice {
			r.f.Add(m.KeyLine("name"), fmt.Sprintf("a second point is named %s; the first stands in line %d", pt.Name, line), "give each its own name")
		}
		r.names[pt.Name] = m.KeyLine("name")
	}
	pt.Unit = m.Text("unit")
	addr := &devices.ModbusAddress{Table: devices.ModbusTable(m.NeedText("table", "give one of coil, discrete, holding, input"))}
	pt.Modbus = addr
	bit := addr.Table == devices.Coil || addr.Table == devices.Discrete
	if !bit && addr.Table != "" && addr.Table != devices.Holding && addr.Table != devices.Input {
		r.f.Add(m.KeyLine("table"), "unknown table "+strictyaml.Quote(string(addr.Table)), "use one of coil, discrete, holding, input")
	}
	if n, ok := m.Get("address"); !ok {
		m.Missing("address", "give the zero-based address")
	} else if a, ok := n.Int(0, math.MaxUint16); ok {
		addr.Address = uint16(a)
	}
	r.pointType(m, &pt, bit)
	r.scale(m, &pt)
	r.enum(m, &pt)
	if len(r.f.Problems()) > before {
		return pt, false
	}
	last := int(addr.Address) + int(addr.Length) - 1
	if last > math.MaxUint16 {
		r.f.Add(m.KeyLine("address"), fmt.Sprintf("%s ends at address %d", pt.Name, last), "the last address is 65535")
		return pt, false
	}
	label := what + " " + pt.Name
	r.spans = append(r.spans, span{table: addr.Table, first: int(addr.Address), last: last, what: label, line: m.Line})
	return pt, true
}

func (r *reader) pointType(m strictyaml.Map, pt *devices.Point, bit bool) {
	types := []string{"int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64", "string"}
	text := m.Text("type")
	switch {
	case bit && (text == "" || text == "bool"):
		pt.Type, pt.Modbus.Length = devices.Bool, 1
	case bit:
		r.f.Add(m.KeyLine("type"), fmt.Sprintf("type %s in the %s table", strictyaml.Quote(text), pt.Modbus.Table), "coils and discrete inputs are bool; leave type out")
	case text == "":
		m.Missing("type", "give one of "+strings.Join(types, ", "))
	case text == "bool":
		r.f.Add(m.KeyLine("type"), "type bool in a register", "use uint16 with an enum such as {off: 0, on: 1}")
	case !slices.Contains(types, text):
		r.f.Add(m.KeyLine("type"), "unknown type "+strictyaml.Quote(text), "use one of "+strings.Join(types, ", "))
	default:
		pt.Type = devices.Type(text)
	}
	n, has := m.Get("length")
	switch {
	case pt.Type == devices.String && !has:
		m.Missing("length", "give the number of registers of the text")
	case pt.Type == devices.String:
		if l, ok := n.Int(1, maxText); ok {
			pt.Modbus.Length = uint16(l)
		}
	case has && pt.Type != "":
		n.Add(fmt.Sprintf("length on a %s", pt.Type), "remove it; only a string states its length")
	}
	switch pt.Type {
	case devices.Int16, devices.Uint16:
		pt.Modbus.Length = 1
	case devices.Int32, devices.Uint32, devices.Float32:
		pt.Modbus.Length = 2
	case devices.Int64, devices.Uint64, devices.Float64:
		pt.Modbus.Length = 4
	}
	if n, ok := m.Get("word_order"); ok {
		order, _ := n.Text()
		switch {
		case order != "high-first" && order != "low-first":
			n.Add("unknown word_order "+strictyaml.Quote(order), "use high-first or low-first")
		case pt.Modbus.Length == 1 || pt.Type == devices.String:
			n.Add(fmt.Sprintf("word_order on a %s", pt.Type), "remove it; only numbers of several registers have one")
		}
		pt.Modbus.WordSwap = order == "low-first"
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
	case s < 1e-9 || s > 1e9:
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

func (r *reader) bounds(m strictyaml.Map, pt *devices.Point) {
	if n, ok := m.Get("volatile"); ok {
		pt.Volatile, _ = n.Bool()
	}
	for _, bound := range []struct {
		key  string
		into **float64
	}{{"min", &pt.Min}, {"max", &pt.Max}} {
		key := bound.key
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
		free := *pt
		free.Min, free.Max = nil, nil
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

// overlaps refuses two points on one address: a write to one would silently
// change the other.
func (r *reader) overlaps() {
	slices.SortStableFunc(r.spans, func(a, b span) int {
		return cmp.Or(strings.Compare(string(a.table), string(b.table)), cmp.Compare(a.first, b.first))
	})
	for i := 1; i < len(r.spans); i++ {
		a, b := r.spans[i-1], r.spans[i]
		if a.table == b.table && b.first <= a.last {
			r.f.Add(max(a.line, b.line), fmt.Sprintf("%s and %s overlap at %s %d", a.what, b.what, b.table, b.first), "correct an address or a length")
		}
		// The longer of two overlapping ones goes on to be compared.
		if a.table == b.table && a.last > b.last {
			r.spans[i].last, r.spans[i].what = a.last, a.what
		}
	}
}

func byAddress(a, b devices.Point) int {
	return cmp.Or(strings.Compare(string(a.Modbus.Table), string(b.Modbus.Table)), cmp.Compare(a.Modbus.Address, b.Modbus.Address))
}
