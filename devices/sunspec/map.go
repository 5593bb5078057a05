package sunspec

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"edgefleet/devices"
)

// Mapping is a device's points in the shared types: with the addresses and the
// scale factors of this one device.
type Mapping struct {
	// Points are in the order of the names that were asked for, and are named
	// so. Settings are writable; measurements and controls are not. A
	// bitfield is a number.
	Points []devices.Point
	// Factors are the scale factors that Points were made with. Points mean
	// what they say only as long as these hold.
	Factors []Factor

	chain *Chain
}

// Factor is a scale factor as it was read.
type Factor struct {
	// Point reads the power of ten.
	Point devices.Point
	Value devices.Value
}

// Map turns names such as "121.WMax" into points of this device. It reads the
// models of these names once, each in one request where it fits into one, so a
// value's factor is never of another moment than the pattern that says that it
// is not implemented.
//
// The device has to have every point that is named: one that it does not
// implement is an error of kind Unsupported around a *Missing. Ask for what a
// baseline wants, not for all that a profile allows.
func (c *Chain) Map(ctx context.Context, link devices.Link, names []string) (*Mapping, error) {
	const op = "map SunSpec points"
	out := &Mapping{chain: c}
	blocks := map[ref]block{}
	factors := map[ref]bool{}
	var missing []string
	for _, name := range names {
		r, err := parseRef(name)
		if err != nil {
			return nil, c.fail(devices.Unsupported, op, err)
		}
		if _, _, err = c.catalog.resolve(r); err != nil {
			return nil, c.fail(devices.Unsupported, op, err)
		}
		at, m, err := c.find(op, r)
		if err != nil {
			return nil, err
		}
		model := ref{r.model, r.nth, ""}
		b, read := blocks[model]
		if !read {
			if b, err = c.readPoints(ctx, link, op, at, m); err != nil {
				return nil, err
			}
			blocks[model] = b
		}
		p := m.point(r.point)
		if p.Type.missing(b.of(p)) {
			missing = append(missing, r.String())
			continue
		}
		scale, err := m.scale(p, b)
		if err != nil {
			return nil, c.fail(devices.Rejected, op, err)
		}
		out.Points = append(out.Points, p.point(r.String(), b.address+uint16(p.offset), scale))
		if sf := (ref{r.model, r.nth, p.SF}); p.SF != "" && !factors[sf] {
			factors[sf] = true
			def := m.point(p.SF)
			out.Factors = append(out.Factors, Factor{
				Point: def.point(sf.String(), b.address+uint16(def.offset), 1),
				Value: def.Type.raw(b.of(def)).Int,
			})
		}
	}
	if len(missing) > 0 {
		return nil, c.fail(devices.Unsupported, op, &Missing{Names: missing})
	}
	return out, nil
}

// Check reads the scale factors again. It fails with kind Rejected when one has
// changed, as it can when a device is exchanged or its ratings are set anew:
// then the points have to be mapped again.
func (m *Mapping) Check(ctx context.Context, link devices.Link) error {
	const op = "check SunSpec scale factors"
	if len(m.Factors) == 0 {
		return ctx.Err()
	}
	points := make([]devices.Point, len(m.Factors))
	for i, f := range m.Factors {
		points[i] = f.Point
	}
	got, err := link.Read(ctx, points)
	if err != nil {
		return err
	}
	var changed []string
	for i, f := range m.Factors {
		if got[i] != f.Value {
			changed = append(changed, fmt.Sprintf("%s was %v and is %v", f.Point.Name, f.Value, got[i]))
		}
	}
	if len(changed) > 0 {
		return m.chain.fail(devices.Rejected, op, errors.New(strings.Join(changed, ", ")+"; map the points again"))
	}
	return nil
}

// point is the point in the shared types. Its range leaves out the pattern for
// "not implemented", so that this can't be written by way of a number.
func (p *PointDef) point(name string, address uint16, scale float64) devices.Point {
	out := devices.Point{Name: name, Unit: p.Unit, Type: p.Type.device(), Writable: p.Use == SettingUse,
		Modbus: &devices.ModbusAddress{Table: devices.Holding, Address: address, Length: uint16(p.Size)}}
	if scale != 1 {
		out.Scale = scale
	}
	if p.Type.isEnum() && len(p.Symbols) > 0 {
		out.Enum = p.Symbols
		return out
	}
	out.Min, out.Max = p.Type.bounds(out)
	return out
}

// bounds returns the smallest and largest number of a type beside its pattern
// for "not implemented", in the engineering units of a point. Types whose
// pattern is no end of their range have none.
func (t Type) bounds(p devices.Point) (lo, hi *float64) {
	bound := func(raw int64) *float64 {
		v, err := p.FromRaw(devices.Raw{Int: raw})
		if err != nil {
			return nil
		}
		var f float64
		switch n := v.(type) {
		case int64:
			f = float64(n)
		case float64:
			f = n
		}
		return &f
	}
	switch t {
	case Int16:
		return bound(-1<<15 + 1), bound(1<<15 - 1)
	case Int32:
		return bound(-1<<31 + 1), bound(1<<31 - 1)
	case Uint16, Enum16, Bitfield16:
		return bound(0), bound(1<<16 - 2)
	case Uint32, Enum32, Bitfield32:
		return bound(0), bound(1<<32 - 2)
	}
	return nil, nil
}
