package sunspec

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"edgefleet/devices"
)

// Names that the curve models share, and the ways in which they put a curve in
// force.
const (
	readOnly       = "ReadOnly"
	activePoints   = "ActPt"
	numberOfRows   = "NPt"
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
	// 126, 705, 706 and 712, and MustTrip, MayTrip and MomCess in 707 to 710.
	// A row has one number per field, in the order of the model: voltage,
	// frequency or power, then the dependent value or the time in seconds. The
	// controls of model 711 have no tables.
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
	l := curveLayout{count: number(m.Curves.Count)}
	if len(m.Curves.Tables) > 0 {
		l.rows = number(numberOfRows)
	}
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
	if l.count < 1 || l.rows < 1 && len(m.Curves.Tables) > 0 || m.size+l.count*l.length != int(at.Length) {
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
		cs.Active = int(b.of(m.point(m.Curves.Request))[0])
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

// requested is the curve that the device was last asked to adopt, 0 for none.
func (cs *Curves) requested() int {
	p := cs.def.point(cs.def.Curves.Request)
	if p.Type.missing(cs.points.of(p)) {
		return 0
	}
	return cs.number(p.Name)
}

// result is what the device says of the last adoption; one that does not
// implement that has completed it.
func (cs *Curves) result() int {
	name := cs.def.Curves.Result
	if name == "" || Enum16.missing(cs.points.of(cs.def.point(name))) {
		return adoptCompleted
	}
	return cs.number(name)
}

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
