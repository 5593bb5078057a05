package sunspec

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// inCurve begins the names of the parts of the curve in force, behind the
// model's number, and rowsName is what a model's only table is called there.
const (
	inCurve  = "curve."
	rowsName = "points"
)

// Info is what is known of a point without asking a device.
type Info struct {
	// Name is the point's, as in "121.WMax".
	Name string
	Type Type
	Unit string
	Use  Use
	// ScaleFactor says that the device states the power of ten by which its
	// integer is multiplied, so that fractions are possible.
	ScaleFactor bool
	// Symbols names the values of an enum or the bits of a bitfield, by number.
	Symbols []string
	// Numbers are the values of the symbols of an enum, or the places of the
	// bits of a bitfield, by name. It is a copy.
	Numbers map[string]int64
	// Columns names the numbers of a row, for a table of a curve, and is nil
	// for everything else. A table has Type String: its value is the text of
	// its rows (devices.FormatRows).
	Columns []string
}

// Lookup returns what the models say of a point: "121.WMax", or "802#2.SoC" for
// the second model 802 of a device. It knows the parts of the curve in force as
// well, all of which are settings: "705.curve.DeptRef" and "705.curve.points",
// "707.curve.MustTrip". It fails for a name that no model has; the error says
// what there is.
func (c *Catalog) Lookup(name string) (Info, error) {
	r, err := parseRef(name)
	if err != nil {
		return Info{}, err
	}
	if part, ok := r.curvePart(); ok {
		return c.lookupCurve(r, part)
	}
	_, p, err := c.resolve(r)
	if err != nil {
		return Info{}, err
	}
	return p.info(r.String()), nil
}

// CurveNames returns the names of all parts of a model's curve, in the order of
// the model, settings before tables: "705.curve.DeptRef" ...
// "705.curve.points". The model is "705", or "705#2" for a device's second one.
func (c *Catalog) CurveNames(model string) ([]string, error) {
	r, err := parseRef(model)
	if err == nil && r.point != "" {
		err = fmt.Errorf("%.80q is not a SunSpec model: want its number, as in 705", model)
	}
	if err != nil {
		return nil, err
	}
	m, err := c.withCurves(r)
	if err != nil {
		return nil, err
	}
	parts := m.Curves.parts()
	for i := range parts {
		parts[i] = ref{r.model, r.nth, inCurve + parts[i]}.String()
	}
	return parts, nil
}

func (c *Catalog) withCurves(r ref) (*Model, error) {
	m, ok := c.models[r.model]
	if !ok {
		return nil, c.unknownModel(r)
	}
	if m.Curves == nil {
		return nil, fmt.Errorf("%s: model %d (%s) has no curves", r, r.model, m.Name)
	}
	return m, nil
}

func (c *Catalog) lookupCurve(r ref, part string) (Info, error) {
	m, err := c.withCurves(r)
	if err != nil {
		return Info{}, err
	}
	if p := m.Curves.setting(part); p != nil {
		return p.info(r.String()), nil
	}
	if t := m.Curves.table(part); t != nil {
		info := Info{Name: r.String(), Type: String, Use: SettingUse}
		for _, f := range t.Fields {
			info.Columns = append(info.Columns, f.Name)
		}
		return info, nil
	}
	return Info{}, fmt.Errorf("%s: a curve of model %d (%s) has no %q; it has %s", r, r.model, m.Name, part, strings.Join(m.Curves.parts(), ", "))
}

// info is what Lookup tells of a point.
func (p *PointDef) info(name string) Info {
	return Info{Name: name, Type: p.Type, Unit: p.Unit, Use: p.Use, ScaleFactor: p.SF != "",
		Symbols: symbolNames(p.Symbols), Numbers: maps.Clone(p.Symbols)}
}

// settings are the points beside the tables that a curve is written with. The
// number of points in use is none of them: it follows from the table.
func (d *CurveDef) settings() []*PointDef {
	var out []*PointDef
	for _, block := range [][]PointDef{d.Before, d.After} {
		for i := range block {
			if block[i].Use == SettingUse && block[i].Name != activePoints {
				out = append(out, &block[i])
			}
		}
	}
	return out
}

// setting returns one of settings, or nil.
func (d *CurveDef) setting(name string) *PointDef {
	all := d.settings()
	if i := slices.IndexFunc(all, func(p *PointDef) bool { return p.Name == name }); i >= 0 {
		return all[i]
	}
	return nil
}

// title is what a table is called in the name of a point.
func (t *TableDef) title() string {
	if t.Name == "" {
		return rowsName
	}
	return t.Name
}

// table returns the table of that title, or nil.
func (d *CurveDef) table(title string) *TableDef {
	i := slices.IndexFunc(d.Tables, func(t TableDef) bool { return t.title() == title })
	if i < 0 {
		return nil
	}
	return &d.Tables[i]
}

// parts are the names of settings and tables.
func (d *CurveDef) parts() []string {
	var out []string
	for _, p := range d.settings() {
		out = append(out, p.Name)
	}
	for i := range d.Tables {
		out = append(out, d.Tables[i].title())
	}
	return out
}

func (c *Catalog) resolve(r ref) (*Model, *PointDef, error) {
	m, ok := c.models[r.model]
	if !ok {
		return nil, nil, c.unknownModel(r)
	}
	p := m.point(r.point)
	if p == nil || p.Type == Pad {
		return nil, nil, fmt.Errorf("%s: model %d (%s) has no point %q", r, r.model, m.Name, r.point)
	}
	return m, p, nil
}

func (c *Catalog) unknownModel(r ref) error {
	return fmt.Errorf("%s: model %d is not one of %s", r, r.model, joinIDs(c.Models()))
}

func joinIDs(ids []uint16) string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = strconv.Itoa(int(id))
	}
	return strings.Join(texts, ", ")
}

// ref is a reference to a model or to a point of it.
type ref struct {
	model uint16
	nth   int // from 1
	point string
}

// String is the inverse of parseRef.
func (r ref) String() string {
	s := strconv.Itoa(int(r.model))
	if r.nth > 1 {
		s += "#" + strconv.Itoa(r.nth)
	}
	if r.point != "" {
		s += "." + r.point
	}
	return s
}

// curvePart returns what the reference names of a curve, if it does.
func (r ref) curvePart() (string, bool) { return strings.CutPrefix(r.point, inCurve) }

// parseRef reads "121", "121.WMax", "802#2.SoC" and "704.PFWInj.PF".
func parseRef(name string) (ref, error) {
	left, point, dotted := strings.Cut(name, ".")
	left, nth, numbered := strings.Cut(left, "#")
	r := ref{nth: 1, point: point}
	id, err := strconv.ParseUint(left, 10, 16)
	if err == nil && numbered {
		r.nth, err = strconv.Atoi(nth)
	}
	if err != nil || id == 0 || r.nth < 1 || dotted && point == "" {
		return ref{}, fmt.Errorf("%.80q is not a SunSpec point: want MODEL.POINT, as in 121.WMax, or 802#2.SoC for the second model 802", name)
	}
	r.model = uint16(id)
	return r, nil
}
