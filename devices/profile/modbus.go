package profile

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"edgefleet/devices"
	"edgefleet/devices/profile/strictyaml"
)

// maxText is the longest text in registers: what one read can return.
const maxText = 100

// span is a range of addresses that a point occupies.
type span struct {
	table       devices.ModbusTable
	first, last int
	what        string
	line        int
}

func tables() []string { return []string{"coil", "discrete", "holding", "input"} }

func registerTypes() []string {
	return types(devices.Int16, devices.Uint16, devices.Int32, devices.Uint32, devices.Int64, devices.Uint64, devices.Float32, devices.Float64, devices.String)
}

func modbusQuirks() *strictyaml.Shape {
	s := strictyaml.MappingOf("What the model does differently from the standard",
		strictyaml.May("only_write_multiple", strictyaml.FlagOf("The device has no single-register write (function 6)")),
		gapField())
	return &s
}

func gapField() strictyaml.Field {
	return strictyaml.May("gap", strictyaml.DurationOf("The pause between two requests, 20ms unless stated", 0, 10*time.Second))
}

func sunSpecFlag() strictyaml.Field {
	return strictyaml.May("sunspec", strictyaml.FlagOf("The points are those of SunSpec models, which the device says where they stand"))
}

// modbusPlaceFields say where a point stands in a device.
func modbusPlaceFields() []strictyaml.Field {
	return []strictyaml.Field{
		strictyaml.Need("table", strictyaml.WordOf("Which of the four tables of Modbus it stands in", tables()...)),
		strictyaml.Need("address", strictyaml.WholeOf("Counts from zero, as on the wire", 0, math.MaxUint16)),
		strictyaml.May("length", strictyaml.WholeOf("The number of registers of a string", 1, maxText)),
		strictyaml.May("type", strictyaml.WordOf("How it stands in the registers; coils and discrete inputs are bool", append(registerTypes(), "bool")...)),
		strictyaml.May("word_order", strictyaml.WordOf("Of numbers of several registers; high-first unless stated", "high-first", "low-first")),
	}
}

func modbusFile() strictyaml.Shape {
	point := strictyaml.MappingOf("A point of a Modbus device", pointName()...).With(modbusPlaceFields()...).With(scaleField(), unitField(), enumField()).
		Where(typeRules()...).Where(registerRules()...)
	return file(modbusQuirks(), sections{
		identity: point.With(equalsField()),
		setting: point.With(boundFields()...).With(volatileField(), secretField()).
			Where(strictyaml.Rule{If: "table", Only: []strictyaml.Field{strictyaml.May("table", strictyaml.WordOf("", "coil", "holding"))}}),
		measurement: point,
		action:      modbusAction(),
	}, sunSpecFlag(), mailboxField())
}

// registerRules say what points in bits and in registers state.
func registerRules() []strictyaml.Rule {
	bits := []strictyaml.Field{strictyaml.May("type", strictyaml.WordOf("", "bool"))}
	words := []strictyaml.Field{strictyaml.May("type", strictyaml.WordOf("", registerTypes()...))}
	numbers := slices.DeleteFunc(registerTypes(), func(t string) bool { return t == string(devices.String) })
	return []strictyaml.Rule{
		{If: "table", Is: []string{"coil", "discrete"}, Not: []string{"length", "word_order", "scale", "enum", "min", "max"}, Only: bits},
		{If: "table", Is: []string{"holding", "input"}, Need: []string{"type"}, Only: words},
		{If: "type", Is: types(devices.String), Need: []string{"length"}, Not: []string{"word_order"}},
		{If: "type", Is: numbers, Not: []string{"length"}},
		{If: "type", Is: types(devices.Int16, devices.Uint16), Not: []string{"word_order"}},
	}
}

func modbusAction() strictyaml.Shape {
	pulse := strictyaml.MappingOf("The one write that does it",
		strictyaml.Need("table", strictyaml.WordOf("Which table it is written to", tables()...)),
		strictyaml.Need("address", strictyaml.WholeOf("Counts from zero, as on the wire", 0, math.MaxUint16)),
		strictyaml.May("type", strictyaml.WordOf("How the value is written; coils are bool", append(registerTypes(), "bool")...)),
		strictyaml.Need("value", strictyaml.ScalarOf("What is written"))).Where(registerRules()...)
	return strictyaml.MappingOf("What the device can be told to do", actionName()...).
		With(strictyaml.Need("pulse", pulse)).With(confirmFields()...)
}

// registers reads the points of plain Modbus devices.
type registers struct{ *reader }

func readRegisters(r *reader, _ strictyaml.Map) protocol { return registers{r} }

func (r registers) more(strictyaml.Map) {}

func (r registers) action(m strictyaml.Map, a *Action) {
	if _, ok := m.Get("pulse"); !ok {
		m.Missing("pulse", "say what to write, for example pulse: {table: coil, address: 0, value: true}")
		return
	}
	r.pulse(m, a, r.place)
}

func (r registers) place(m strictyaml.Map, pt *devices.Point, s section) {
	before := len(r.f.Problems())
	addr := &devices.ModbusAddress{Table: devices.ModbusTable(m.NeedText("table", "give one of "+join(tables())))}
	pt.Modbus = addr
	bit := addr.Table == devices.Coil || addr.Table == devices.Discrete
	if addr.Table != "" && !slices.Contains(tables(), string(addr.Table)) {
		r.f.Add(m.KeyLine("table"), "unknown table "+strictyaml.Quote(string(addr.Table)), "use one of "+join(tables()))
	}
	if n, ok := m.Get("address"); !ok {
		m.Missing("address", "give the zero-based address")
	} else if a, ok := n.Int(0, math.MaxUint16); ok {
		addr.Address = uint16(a)
	}
	r.registerType(m, pt, bit)
	if len(r.f.Problems()) > before {
		return
	}
	if s == settingSection && (addr.Table == devices.Input || addr.Table == devices.Discrete) {
		r.f.Add(m.KeyLine("table"), fmt.Sprintf("setting %s stands in the %s table, which cannot be written", pt.Name, addr.Table), "make it a measurement, or correct the table")
	}
	last := int(addr.Address) + int(addr.Length) - 1
	if last > math.MaxUint16 {
		r.f.Add(m.KeyLine("address"), fmt.Sprintf("%s ends at address %d", pt.Name, last), "the last address is 65535")
		return
	}
	r.spans = append(r.spans, span{table: addr.Table, first: int(addr.Address), last: last, what: string(s) + " " + pt.Name, line: m.Line})
}

func (r registers) registerType(m strictyaml.Map, pt *devices.Point, bit bool) {
	text := m.Text("type")
	switch {
	case bit && (text == "" || text == "bool"):
		pt.Type, pt.Modbus.Length = devices.Bool, 1
	case bit:
		r.f.Add(m.KeyLine("type"), fmt.Sprintf("type %s in the %s table", strictyaml.Quote(text), pt.Modbus.Table), "coils and discrete inputs are bool; leave type out")
	case text == "bool":
		r.f.Add(m.KeyLine("type"), "type bool in a register", "use uint16 with an enum such as {off: 0, on: 1}")
	default:
		r.pointType(m, pt, registerTypes())
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

// byAddress orders the points of registers; all others stay as they stand in
// the file.
func byAddress(a, b devices.Point) int {
	if a.Modbus == nil || b.Modbus == nil {
		return 0
	}
	return cmp.Or(strings.Compare(string(a.Modbus.Table), string(b.Modbus.Table)), cmp.Compare(a.Modbus.Address, b.Modbus.Address))
}
