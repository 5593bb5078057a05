package sunspec

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"edgefleet/devices"
)

// Link makes a link of a Modbus link whose points may be those of SunSpec
// models (devices.Point.SunSpec); inner may be nothing but a Modbus link, and
// device is its name in errors. Points without a SunSpec name are passed on to
// inner, and so are Ping and Close.
//
// A point is "121.WMax" or "802#2.SoC", or a part of the curve in force:
// "705.curve.DeptRef", and "705.curve.points" or "707.curve.MustTrip" for a
// table, whose value is the text of its rows (devices.FormatRows). Values are
// canonical for the given point, whose Type, Enum, Min and Max are what a
// baseline is written in; the address and the scale factor are the device's.
//
// The models of the device are looked for at the first Read or Write, with a
// request per model and two, and remembered. Every reading of a model confirms
// that it stands where it was found; after any error they are looked for anew.
//
// Read makes one request for each model that it reads, with the scale factors
// (of more than 98 registers one for each 100, and one more), and for each model
// of which parts of the curve are read one more. Nothing that depends on a scale
// factor is remembered between two calls. Points that the device does not
// implement, and those of models that it lacks, are an error of kind Unsupported
// around a *Missing, which names all of them; a curve where none is in force is
// Rejected.
//
// Write checks everything before it writes anything, and then goes in this
// order: plain settings, of which those that disable a function with curves
// are some; the curve of each model, all of its settings as one (PlanCurve,
// Apply); and what enables such functions. It reads each model that it writes
// to just before. Only what the models call a setting is written: a control is
// refused with kind Unsupported. A value outside the given point's range is
// Rejected, and so is one that the device cannot hold exactly: the error says
// its step. The curve in force changes by adoption alone, which takes up to 10 s
// for each model; one that the device has not ended by then makes the Write
// Indeterminate.
func (c *Catalog) Link(inner devices.Link, device string) devices.Link {
	return c.LinkWith(inner, device, AdoptOptions{})
}

// LinkWith is Link with other bounds of an adoption.
func (c *Catalog) LinkWith(inner devices.Link, device string, adopt AdoptOptions) devices.Link {
	return &link{inner: inner, catalog: c, device: device, adopt: adopt.complete(), turn: make(chan struct{}, 1)}
}

type link struct {
	inner   devices.Link
	catalog *Catalog
	device  string
	adopt   AdoptOptions

	// turn is held, by having put something in, by the one who may use chain.
	turn  chan struct{}
	chain *Chain // nil: to be discovered
}

var _ devices.Link = (*link)(nil)

// Missing are points that the device does not implement.
type Missing struct {
	// Names are those of the points, in the order in which they were asked for.
	Names []string
	// Models are the models that the device lacks as a whole, and Has those
	// that it has where it lacks any.
	Models []string
	Has    []uint16
}

func (m *Missing) Error() string {
	text := "the device does not implement " + strings.Join(m.Names, ", ")
	if len(m.Models) > 0 {
		text += fmt.Sprintf(": it has no model %s; it has %s", strings.Join(m.Models, ", "), joinIDs(m.Has))
	}
	return text
}

// Ping asks the inner link.
func (l *link) Ping(ctx context.Context) error { return l.inner.Ping(ctx) }

// Close closes the inner link.
func (l *link) Close() { l.inner.Close() }

func (l *link) fail(kind devices.Kind, op string, err error) error {
	return &devices.Error{Kind: kind, Device: l.device, Op: op, Err: err}
}

// with does something with the models of the device, which it forgets when
// that fails: whatever was wrong, the next call looks for itself.
func (l *link) with(ctx context.Context, op string, use func(*Chain) error) error {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("%s: %s: waiting for another call: %w", l.device, op, ctx.Err())
	}
	defer func() { <-l.turn }()
	if l.chain == nil {
		chain, err := l.catalog.Discover(ctx, l.inner, l.device)
		if err != nil {
			return err
		}
		l.chain = chain
	}
	err := use(l.chain)
	if err != nil {
		l.chain = nil
	}
	return err
}

// named is a point of a call that stands in a model.
type named struct {
	index int // in the call
	given devices.Point
	// model is the reference of the model, and ref that of the point.
	model, ref ref
	// def is the point's definition, or nil where part names what it is of the
	// curve in force.
	def  *PointDef
	part string
}

// sort divides points into those of models and the indices of all others.
func (l *link) sort(n int, point func(i int) devices.Point) (own []named, others []int, err error) {
	for i := range n {
		p := point(i)
		if p.SunSpec == "" {
			others = append(others, i)
			continue
		}
		r, err := parseRef(p.SunSpec)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", p.Name, err)
		}
		it := named{index: i, given: p, model: ref{r.model, r.nth, ""}, ref: r}
		if part, ok := r.curvePart(); ok {
			it.part = part
			_, err = l.catalog.lookupCurve(r, part)
		} else {
			_, it.def, err = l.catalog.resolve(r)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", p.Name, err)
		}
		own = append(own, it)
	}
	return own, others, nil
}

// byModel groups points, in the order in which their models are first named.
func byModel(points []named) [][]named {
	var groups [][]named
	for _, p := range points {
		at := slices.IndexFunc(groups, func(g []named) bool { return g[0].model == p.model })
		if at < 0 {
			at = len(groups)
			groups = append(groups, nil)
		}
		groups[at] = append(groups[at], p)
	}
	return groups
}

// Read returns the values of the points, in order.
func (l *link) Read(ctx context.Context, points []devices.Point) ([]devices.Value, error) {
	own, others, err := l.sort(len(points), func(i int) devices.Point { return points[i] })
	if err != nil {
		return nil, l.fail(devices.Unsupported, "read", err)
	}
	values := make([]devices.Value, len(points))
	if len(others) > 0 || len(own) == 0 {
		plain := make([]devices.Point, len(others))
		for i, at := range others {
			plain[i] = points[at]
		}
		got, err := l.inner.Read(ctx, plain)
		if err != nil {
			return nil, err
		}
		for i, at := range others {
			values[at] = got[i]
		}
	}
	if len(own) == 0 {
		return values, nil
	}
	var absent Missing
	err = l.with(ctx, "read", func(chain *Chain) error {
		var lacking []named
		for _, group := range byModel(own) {
			if model := group[0].model; !chain.has(model) {
				absent.Models, absent.Has = append(absent.Models, model.String()), chain.ids()
				lacking = append(lacking, group...)
				continue
			}
			missing, err := l.readModel(ctx, chain, group, values)
			if err != nil {
				return err
			}
			lacking = append(lacking, missing...)
		}
		slices.SortFunc(lacking, func(a, b named) int { return a.index - b.index })
		for _, p := range lacking {
			absent.Names = append(absent.Names, p.label())
		}
		if len(lacking) > 0 {
			return l.fail(devices.Unsupported, "read", &absent)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return values, nil
}

// label is the name of a point, with where it stands when that is not the same.
func (p named) label() string {
	if p.given.Name == p.given.SunSpec {
		return p.given.Name
	}
	return p.given.Name + " (" + p.given.SunSpec + ")"
}

// readModel puts the values of points of one model into values, and returns the
// points that the device does not implement.
func (l *link) readModel(ctx context.Context, chain *Chain, points []named, values []devices.Value) (missing []named, err error) {
	model := points[0].model
	op := "read SunSpec model " + model.String()
	at, m, err := chain.find(op, model)
	if err != nil {
		return nil, err
	}
	var b block
	var curves *Curves
	if slices.ContainsFunc(points, func(p named) bool { return p.def == nil }) {
		if curves, err = chain.Curves(ctx, l.inner, model.String()); err == nil {
			b = curves.points
		}
	} else {
		b, err = chain.readPoints(ctx, l.inner, op, at, m)
	}
	if err != nil {
		return nil, err
	}
	for _, p := range points {
		var v Value
		if p.def != nil {
			v, err = m.raw(p.def, b)
		} else {
			v, err = curves.inForce(p.part)
		}
		if v == (NotImplemented{}) {
			missing = append(missing, p)
			continue
		}
		if err == nil {
			values[p.index], err = canonical(p.given, v)
		}
		if err != nil {
			return nil, l.fail(devices.Rejected, "read "+p.label(), err)
		}
	}
	return missing, nil
}

// raw is the value of a point as the shared types have it, in which a bitfield
// is a number, or NotImplemented.
func (m *Model) raw(p *PointDef, b block) (Value, error) {
	if p.Type.missing(b.of(p)) {
		return NotImplemented{}, nil
	}
	scale, err := m.scale(p, b)
	if err != nil {
		return nil, err
	}
	return p.point(p.Name, 0, scale).FromRaw(p.Type.raw(b.of(p)))
}

// inForce is a part of the curve in force: a setting, or the text of a table.
func (cs *Curves) inForce(part string) (Value, error) {
	now, ok := cs.InForce()
	if !ok {
		return nil, errors.New("no curve is in force; put one in force on the device")
	}
	if t := cs.def.Curves.table(part); t != nil {
		return devices.FormatRows(now.Tables[t.Name]), nil
	}
	return now.Settings[part], nil
}

// canonical gives a value of the device the form of the given point. What is
// outside its range is a value too: that it should not be there is drift.
func canonical(given devices.Point, v devices.Value) (devices.Value, error) {
	if text, ok := v.(string); ok && given.Type == devices.String {
		return text, nil
	}
	given.Min, given.Max = nil, nil
	return given.Canonical(v)
}
