package sunspec

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"edgefleet/devices"
)

// Scale factors are powers of ten from 10^-10 to 10^10.
const (
	minFactor = -10
	maxFactor = 10
)

// oneRequest is how many registers the driver reads in one request.
const oneRequest = 100

// block is a part of a device's registers with what it was read as: the points
// of a model, from the register behind its length on.
type block struct {
	address uint16
	words   []uint16
}

// of returns the words of a point of the block.
func (b block) of(p *PointDef) []uint16 { return b.words[p.offset : p.offset+p.Size] }

// scale returns the factor of a point: 1 for one without. Whether the point
// itself is implemented is not looked at.
func (m *Model) scale(p *PointDef, b block) (float64, error) {
	if p.SF == "" {
		return 1, nil
	}
	sf := m.point(p.SF)
	words := b.of(sf)
	power := int16(words[0])
	switch {
	case sf.Type.missing(words):
		return 0, fmt.Errorf("%s: the device does not implement its scale factor %s", p.Name, p.SF)
	case power < minFactor || power > maxFactor:
		return 0, fmt.Errorf("%s: its scale factor %s is %d, and a power of ten from %d to %d is allowed", p.Name, p.SF, power, minFactor, maxFactor)
	}
	return math.Pow10(int(power)), nil
}

// decode returns the value of a point: NotImplemented, a number in engineering
// units, an enum's name (its number where the model has no name for it), the
// names of a bitfield's bits, or a text.
func (p *PointDef) decode(words []uint16, scale float64) (Value, error) {
	if p.Type.missing(words) {
		return NotImplemented{}, nil
	}
	raw := p.Type.raw(words)
	switch {
	case p.Type.isEnum():
		for name, n := range p.Symbols {
			if n == raw.Int {
				return name, nil
			}
		}
		return raw.Int, nil
	case p.Type.isBits():
		return bitNames(uint64(raw.Int), p.Symbols), nil
	}
	return devices.Point{Name: p.Name, Type: p.Type.device(), Scale: scale}.FromRaw(raw)
}

// value decodes a point of the model. A point without a valid scale factor has
// no value, so that is an error, unless the point is not implemented itself.
func (m *Model) value(p *PointDef, b block) (Value, error) {
	if p.Type.missing(b.of(p)) {
		return NotImplemented{}, nil
	}
	scale, err := m.scale(p, b)
	if err != nil {
		return nil, err
	}
	return p.decode(b.of(p), scale)
}

// units lists the sizes of points in order, for readUnits.
func units(points []PointDef) []int {
	sizes := make([]int, len(points))
	for i, p := range points {
		sizes[i] = p.Size
	}
	return sizes
}

// readPoints reads the points of a model, without its curves.
func (c *Chain) readPoints(ctx context.Context, link devices.Link, op string, at Instance, m *Model) (block, error) {
	if err := c.checkLength(op, at, m); err != nil {
		return block{}, err
	}
	own := units(m.Points)
	if int(at.Length) < m.size {
		// Some devices leave the pad at the end of a model out.
		own = own[:len(own)-1]
	}
	return c.readBlock(ctx, link, op, at, m, own)
}

// readBlock reads a model's head and first units. Values and their scale factors
// come in one request where these fit into one. Where they do not, the factors
// are read again afterwards, and have to be what they were. A device that has
// another model there has another chain than it had.
func (c *Chain) readBlock(ctx context.Context, link devices.Link, op string, at Instance, m *Model, units []int) (block, error) {
	words, err := readUnits(ctx, link, at.Address-headLen, append([]int{1, 1}, units...))
	if err != nil {
		return block{}, err
	}
	if words[0] != at.ID || words[1] != at.Length {
		return block{}, c.fail(devices.Rejected, op, fmt.Errorf("model %d with %d registers was at %d, and now there is model %d with %d: the device was exchanged, or has other models since it started anew",
			at.ID, at.Length, at.Address, words[0], words[1]))
	}
	whole := len(words) <= oneRequest
	words = words[headLen:]
	b := block{at.Address, append(words, make([]uint16, max(0, m.size-len(words)))...)}
	if !whole {
		if err := c.sameFactors(ctx, link, op, m, b); err != nil {
			return block{}, err
		}
	}
	if m.Curves == nil {
		return b, nil
	}
	if _, err := m.curveLayout(at, b); err != nil {
		return block{}, c.fail(devices.Unsupported, op, err)
	}
	return b, nil
}

// checkLength refuses a model whose length is not that of its definition: it is
// another version of the model, and its points stand elsewhere.
func (c *Chain) checkLength(op string, at Instance, m *Model) error {
	if m.Curves == nil && slices.Contains(m.Lengths, int(at.Length)) || m.Curves != nil && int(at.Length) > m.size {
		return nil
	}
	return c.fail(devices.Unsupported, op, fmt.Errorf("model %d at %d has %d registers, and its definition %d: it is another version of the model",
		at.ID, at.Address, at.Length, m.size))
}

func (c *Chain) sameFactors(ctx context.Context, link devices.Link, op string, m *Model, b block) error {
	first, last := len(b.words), 0
	for i := range m.Points {
		if p := &m.Points[i]; p.Type == SunSSF {
			first, last = min(first, p.offset), max(last, p.offset)
		}
	}
	if first > last {
		return nil
	}
	again, err := readRegisters(ctx, link, b.address+uint16(first), last-first+1)
	if err != nil {
		return err
	}
	for i := range m.Points {
		if p := &m.Points[i]; p.Type == SunSSF && again[p.offset-first] != b.of(p)[0] {
			return c.fail(devices.Busy, op, fmt.Errorf("the scale factor %s changed while the model was read", p.Name))
		}
	}
	return nil
}

// Reading is the value of one point.
type Reading struct {
	// Name is the point's, as in "103.W".
	Name  string
	Value Value
	Unit  string
}

// Read reads all points of a model ("103", or "802#2" for the second one),
// without scale factors, pads and curves, in one request for each 100
// registers. A model that the device does not have, or has in another version,
// is an error of kind Unsupported; a scale factor that is none, Rejected.
func (c *Chain) Read(ctx context.Context, link devices.Link, model string) ([]Reading, error) {
	op := "read SunSpec model " + model
	r, err := parseRef(model)
	if err != nil || r.point != "" {
		return nil, c.fail(devices.Unsupported, op, errors.New("want a model's number, as in 103, or 802#2"))
	}
	at, m, err := c.find(op, r)
	if err != nil {
		return nil, err
	}
	b, err := c.readPoints(ctx, link, op, at, m)
	if err != nil {
		return nil, err
	}
	var out []Reading
	for i := range m.Points {
		p := &m.Points[i]
		if p.Type == SunSSF || p.Type == Pad {
			continue
		}
		v, err := m.value(p, b)
		if err != nil {
			return nil, c.fail(devices.Rejected, op, err)
		}
		out = append(out, Reading{ref{r.model, r.nth, p.Name}.String(), v, p.Unit})
	}
	return out, nil
}

// Identity is who a device says that it is (SunSpec model 1: Mn, Md, Opt, Vr
// and SN). What it does not state is empty.
type Identity struct {
	Manufacturer, Model, Options, Version, Serial string
}

// Identify reads model 1, in one request.
func (c *Chain) Identify(ctx context.Context, link devices.Link) (Identity, error) {
	readings, err := c.Read(ctx, link, "1")
	if err != nil {
		return Identity{}, err
	}
	texts := map[string]string{}
	for _, r := range readings {
		if s, ok := r.Value.(string); ok {
			texts[strings.TrimPrefix(r.Name, "1.")] = s
		}
	}
	return Identity{texts["Mn"], texts["Md"], texts["Opt"], texts["Vr"], texts["SN"]}, nil
}
