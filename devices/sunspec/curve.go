package sunspec

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"edgefleet/devices"
)

// Names that the curve models share, and the ways in which they put a curve in
// force.
const (
	readOnly       = "ReadOnly"
	activePoints   = "ActPt"
	adoptByRequest = "request"
	adoptByIndex   = "index"

	// firstCurve is the curve in force where curves are adopted by request.
	firstCurve = 1
)

// Curve is one of a device's stored curves.
type Curve struct {
	// Index counts from 1.
	Index int
	// ReadOnly curves cannot be written.
	ReadOnly bool
	// Settings are the values beside the points, such as DeptRef and RspTms:
	// numbers, names of enums, or NotImplemented.
	Settings map[string]Value
	// Tables has the rows in use by the name of their table: "" in models
	// 126, 705 and 706, and MustTrip, MayTrip and MomCess in 707 to 710. A
	// row has one number per field, in the order of the model: voltage or
	// frequency, then the dependent value or the time in seconds.
	Tables map[string][][]float64
}

// Curves is what a model with curves holds.
type Curves struct {
	// Model is the reference that it was read by: "705".
	Model string
	// Active is the index of the curve in force, 0 for none.
	Active int
	// Rows is how many points a table of a curve can have.
	Rows   int
	Curves []Curve

	def    *Model
	at     Instance
	points block
	layout curveLayout
}

// curveLayout says where the curves of a device stand; it follows from the
// numbers of curves and rows that the device reports.
type curveLayout struct {
	count, rows int
	tables      []tableLayout
	after       int // registers from the start of a curve to After
	length      int
}

// tableLayout counts from the start of a curve.
type tableLayout struct {
	counter int // -1: ActPt of the curve
	first   int
	rows    int // that there is room for
	width   int // registers of a row
}

// curveLayout fails when the device's numbers do not give the length that it
// reports.
func (m *Model) curveLayout(at Instance, b block) (curveLayout, error) {
	number := func(name string) int {
		p := m.point(name)
		if p.Type.missing(b.of(p)) {
			return 0
		}
		return int(b.of(p)[0])
	}
	l := curveLayout{count: number(m.Curves.Count), rows: number("NPt")}
	offset := blockSize(m.Curves.Before)
	for _, t := range m.Curves.Tables {
		rows := l.rows
		if n, err := strconv.Atoi(t.Rows); err == nil {
			rows = n
		}
		tl := tableLayout{counter: -1, rows: rows, width: blockSize(t.Fields)}
		if t.Counter != "" {
			tl.counter = offset
			offset++
		}
		tl.first = offset
		offset += tl.rows * tl.width
		l.tables = append(l.tables, tl)
		l.rows = min(l.rows, rows)
	}
	l.after = offset
	l.length = offset + blockSize(m.Curves.After)
	if l.count < 1 || l.rows < 1 || m.size+l.count*l.length != int(at.Length) {
		return l, fmt.Errorf("model %d at %d has %d registers, and %d curves of %d points would not take as many: it is another version of the model",
			at.ID, at.Address, at.Length, l.count, l.rows)
	}
	return l, nil
}

// units lists the sizes of all points of all curves in order, for readUnits.
func (l curveLayout) units(d *CurveDef) []int {
	own := units(d.Before)
	for i, t := range d.Tables {
		if l.tables[i].counter >= 0 {
			own = append(own, 1)
		}
		own = append(own, slices.Repeat(units(t.Fields), l.tables[i].rows)...)
	}
	own = append(own, units(d.After)...)
	return slices.Repeat(own, l.count)
}

func blockSize(points []PointDef) int {
	n := 0
	for _, p := range points {
		n += p.Size
	}
	return n
}

// start is the address of the first register of a curve.
func (cs *Curves) start(index int) uint16 {
	return cs.at.Address + uint16(cs.def.size+(index-1)*cs.layout.length)
}

// beside are the points of a curve beside its tables, by their offset from the
// start of a curve.
func (cs *Curves) beside() map[int]*PointDef {
	out := map[int]*PointDef{}
	d := cs.def.Curves
	for i := range d.Before {
		out[d.Before[i].offset] = &d.Before[i]
	}
	for i := range d.After {
		out[cs.layout.after+d.After[i].offset] = &d.After[i]
	}
	return out
}

// Curves reads a model with curves ("705"): its points, and then the model as a
// whole, in one request for each 100 registers.
func (c *Chain) Curves(ctx context.Context, link devices.Link, model string) (*Curves, error) {
	op := "read the curves of SunSpec model " + model
	r, err := parseRef(model)
	if err != nil || r.point != "" {
		return nil, c.fail(devices.Unsupported, op, errors.New("want a model's number, as in 705"))
	}
	at, m, err := c.find(op, r)
	if err != nil {
		return nil, err
	}
	if m.Curves == nil {
		return nil, c.fail(devices.Unsupported, op, fmt.Errorf("model %d (%s) has no curves", r.model, m.Name))
	}
	b, err := c.readPoints(ctx, link, op, at, m)
	if err != nil {
		return nil, err
	}
	// The numbers of curves and points say where a number of two registers
	// begins. Then all is read as a whole, so that the curves and their
	// factors are of one moment where they fit into one request.
	layout, err := m.curveLayout(at, b)
	if err != nil {
		return nil, c.fail(devices.Unsupported, op, err)
	}
	if b, err = c.readBlock(ctx, link, op, at, m, append(units(m.Points), layout.units(m.Curves)...)); err != nil {
		return nil, err
	}
	cs := &Curves{Model: r.String(), def: m, at: at, points: b}
	if cs.layout, err = m.curveLayout(at, b); err != nil || cs.layout.count != layout.count || cs.layout.rows != layout.rows {
		return nil, c.fail(devices.Busy, op, errors.New("the layout of the curves changed while they were read"))
	}
	cs.Rows = cs.layout.rows
	words := b.words[m.size:]
	for i := range cs.layout.count {
		curve, err := cs.decode(i+1, words[i*cs.layout.length:][:cs.layout.length])
		if err != nil {
			return nil, c.fail(devices.Rejected, op, fmt.Errorf("curve %d: %w", i+1, err))
		}
		cs.Curves = append(cs.Curves, curve)
	}
	cs.Active = firstCurve
	if m.Curves.Adopt == adoptByIndex {
		cs.Active = int(b.of(m.point("ActCrv"))[0])
	}
	if cs.Active > len(cs.Curves) {
		return nil, c.fail(devices.Rejected, op, fmt.Errorf("the curve in force is number %d of %d", cs.Active, len(cs.Curves)))
	}
	return cs, nil
}

// InForce returns the active curve, or false when there is none.
func (cs *Curves) InForce() (Curve, bool) {
	if cs.Active == 0 {
		return Curve{}, false
	}
	return cs.Curves[cs.Active-1], true
}

// number returns a register of the model's points.
func (cs *Curves) number(name string) int { return int(cs.points.of(cs.def.point(name))[0]) }

func (cs *Curves) decode(index int, words []uint16) (Curve, error) {
	out := Curve{Index: index, ReadOnly: true, Settings: map[string]Value{}, Tables: map[string][][]float64{}}
	rows := 0
	for offset, p := range cs.beside() {
		own := words[offset : offset+p.Size]
		switch p.Name {
		case readOnly:
			out.ReadOnly = own[0] != 0
			continue
		case activePoints:
			rows = int(own[0])
			continue
		}
		if p.Use != SettingUse {
			continue
		}
		v, err := cs.value(p, own)
		if err != nil {
			return out, err
		}
		out.Settings[p.Name] = v
	}
	for i, t := range cs.def.Curves.Tables {
		l := cs.layout.tables[i]
		n := rows
		if l.counter >= 0 {
			n = int(words[l.counter])
		}
		if (Uint16).missing([]uint16{uint16(n)}) {
			n = 0
		}
		if n > l.rows {
			return out, fmt.Errorf("it says that it has %d points, and there is room for %d", n, l.rows)
		}
		table := make([][]float64, n)
		for row := range table {
			for j := range t.Fields {
				f := &t.Fields[j]
				at := l.first + row*l.width + f.offset
				v, err := cs.value(f, words[at:at+f.Size])
				if err != nil {
					return out, err
				}
				number, ok := asFloat(v)
				if !ok {
					return out, fmt.Errorf("%s of point %d is %v", f.Name, row+1, v)
				}
				table[row] = append(table[row], number)
			}
		}
		out.Tables[t.Name] = table
	}
	return out, nil
}

// value decodes a point of a curve, whose factor stands among the points of
// the model.
func (cs *Curves) value(p *PointDef, words []uint16) (Value, error) {
	if p.Type.missing(words) {
		return NotImplemented{}, nil
	}
	scale, err := cs.def.scale(p, cs.points)
	if err != nil {
		return nil, err
	}
	return p.decode(words, scale)
}

func asFloat(v Value) (float64, bool) {
	switch n := v.(type) {
	case float64:
		return n, true
	case int64:
		return float64(n), true
	case uint64:
		return float64(n), true
	}
	return 0, false
}

// Wanted is what a curve shall be. What it does not name stays as it is on the
// curve in force.
type Wanted struct {
	// Settings by name: numbers, or names of enums.
	Settings map[string]any
	// Tables by name, as in Curve.
	Tables map[string][][]float64
}

// Change is a difference between two curves.
type Change struct {
	// What is "RspTms", "point 2 V", or "MustTrip point 1 Tms"; a point that
	// one of them lacks is "-" there.
	What, Before, After string
}

// target returns the curve that is wanted, as this device can hold it: numbers
// are the nearest multiples of their scale factors.
func (cs *Curves) target(want Wanted) (Curve, error) {
	base, ok := cs.InForce()
	if !ok {
		// Without a curve in force there is nothing to go by but a stored one.
		base = cs.Curves[0]
	}
	out := Curve{Index: base.Index, Settings: maps.Clone(base.Settings), Tables: map[string][][]float64{}}
	for _, name := range slices.Sorted(maps.Keys(want.Settings)) {
		p := cs.setting(name)
		if p == nil {
			return out, fmt.Errorf("a curve of model %s has no setting %q; it has %v", cs.Model, name, slices.Sorted(maps.Keys(base.Settings)))
		}
		if base.Settings[name] == (NotImplemented{}) {
			return out, fmt.Errorf("the device does not implement %s", name)
		}
		v, err := cs.quantise(p, want.Settings[name])
		if err != nil {
			return out, err
		}
		out.Settings[name] = v
	}
	for name := range want.Tables {
		if !slices.ContainsFunc(cs.def.Curves.Tables, func(t TableDef) bool { return t.Name == name }) {
			return out, fmt.Errorf("a curve of model %s has no table %q", cs.Model, name)
		}
	}
	for _, t := range cs.def.Curves.Tables {
		rows, named := want.Tables[t.Name]
		if !named {
			out.Tables[t.Name] = base.Tables[t.Name]
			continue
		}
		if len(rows) > cs.layout.rows {
			return out, fmt.Errorf("%d points are wanted, and a curve of the device has room for %d", len(rows), cs.layout.rows)
		}
		table := make([][]float64, len(rows))
		for i, row := range rows {
			if len(row) != len(t.Fields) {
				return out, fmt.Errorf("point %d has %d numbers, and the model %d: %s", i+1, len(row), len(t.Fields), fieldNames(t))
			}
			for j := range row {
				v, err := cs.quantise(&t.Fields[j], row[j])
				if err != nil {
					return out, fmt.Errorf("point %d: %w", i+1, err)
				}
				number, _ := asFloat(v)
				table[i] = append(table[i], number)
			}
		}
		out.Tables[t.Name] = table
	}
	return out, nil
}

func fieldNames(t TableDef) string {
	names := ""
	for i, f := range t.Fields {
		if i > 0 {
			names += ", "
		}
		names += f.Name
	}
	return names
}

// setting returns a point that is written with a curve, or nil.
func (cs *Curves) setting(name string) *PointDef {
	for _, p := range cs.beside() {
		if p.Name == name && p.Use == SettingUse && name != activePoints {
			return p
		}
	}
	return nil
}

// quantise returns the value nearest to v that the device can hold.
func (cs *Curves) quantise(p *PointDef, v any) (Value, error) {
	scale, err := cs.def.scale(p, cs.points)
	if err != nil {
		return nil, err
	}
	point := p.point(p.Name, 0, scale)
	f, isNumber := asFloat(v)
	if n, ok := v.(int); ok {
		f, isNumber = float64(n), true
	}
	if !isNumber || point.Type == devices.String || len(point.Enum) > 0 {
		return point.Canonical(v)
	}
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, fmt.Errorf("%s: %v is not a number", p.Name, f)
	}
	return point.Canonical(math.Round(f/scale) * scale)
}

// Diff compares the curve in force with a wanted one. Numbers are equal when
// they differ by no more than half of what the device can tell apart.
func (cs *Curves) Diff(want Wanted) ([]Change, error) {
	target, err := cs.target(want)
	if err != nil {
		return nil, err
	}
	now, _ := cs.InForce()
	return cs.differ(now, target), nil
}

// differ lists what makes b another curve than a. Both hold what the device
// can hold, so equal is equal.
func (cs *Curves) differ(a, b Curve) []Change {
	var out []Change
	for _, name := range slices.Sorted(maps.Keys(b.Settings)) {
		if a.Settings[name] != b.Settings[name] {
			out = append(out, Change{name, devices.FormatValue(a.Settings[name]), devices.FormatValue(b.Settings[name])})
		}
	}
	for _, t := range cs.def.Curves.Tables {
		before, after := a.Tables[t.Name], b.Tables[t.Name]
		for i := range max(len(before), len(after)) {
			for j, f := range t.Fields {
				x, y := cell(before, i, j), cell(after, i, j)
				if x == y {
					continue
				}
				what := fmt.Sprintf("point %d %s", i+1, f.Name)
				if t.Name != "" {
					what = t.Name + " " + what
				}
				out = append(out, Change{what, devices.FormatValue(x), devices.FormatValue(y)})
			}
		}
	}
	return out
}

// cell is nil where a table has no such row.
func cell(table [][]float64, i, j int) any {
	if i >= len(table) {
		return nil
	}
	return table[i][j]
}
