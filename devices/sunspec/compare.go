package sunspec

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"edgefleet/devices"
)

// Wanted is what a curve shall be. What it does not name stays as it is on the
// curve in force.
type Wanted struct {
	// Settings by name: numbers, or names of enums.
	Settings map[string]any
	// Tables by name, as in Curve.
	Tables map[string][][]float64
	// Exact refuses a number that the device cannot hold, with kind Rejected
	// and its step, where the nearest one would be taken otherwise.
	Exact bool
}

// unfit is a value that the device cannot hold.
type unfit struct{ err error }

func (u *unfit) Error() string { return u.err.Error() }
func (u *unfit) Unwrap() error { return u.err }

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
		p := cs.def.Curves.setting(name)
		if p == nil {
			return out, fmt.Errorf("a curve of model %s has no setting %q; it has %v", cs.Model, name, slices.Sorted(maps.Keys(base.Settings)))
		}
		if base.Settings[name] == (NotImplemented{}) {
			return out, fmt.Errorf("the device does not implement %s", name)
		}
		v, err := cs.quantise(p, want.Settings[name], want.Exact)
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
				v, err := cs.quantise(&t.Fields[j], row[j], want.Exact)
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
	names := make([]string, len(t.Fields))
	for i, f := range t.Fields {
		names[i] = f.Name
	}
	return strings.Join(names, ", ")
}

// quantise returns the value nearest to v that the device can hold, or v itself
// when it has to be exact.
func (cs *Curves) quantise(p *PointDef, v any, exact bool) (Value, error) {
	scale, err := cs.def.scale(p, cs.points)
	if err != nil {
		return nil, err
	}
	point := p.point(p.Name, 0, scale)
	if exact {
		got, err := fits(point, v)
		if err != nil {
			return nil, &unfit{err}
		}
		return got, nil
	}
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

// fits returns v as the device would give it back, and fails unless that is v
// and nothing near it: what is read back is compared with what was wanted.
func fits(p devices.Point, v any) (devices.Value, error) {
	got, err := p.Canonical(v)
	if err != nil {
		return nil, err
	}
	a, isNumber := asFloat(got)
	b, wasNumber := asFloat(v)
	if isNumber && wasNumber && a != b {
		return nil, fmt.Errorf("%s: %v would be %v on the device, which has steps of %v", p.Name, v, a, cmp.Or(p.Scale, 1))
	}
	return got, nil
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
