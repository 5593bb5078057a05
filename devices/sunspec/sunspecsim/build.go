package sunspecsim

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"edgefleet/devices"
	"edgefleet/devices/sim"
	"edgefleet/devices/sunspec"
)

// firstRegister is where the marker stands.
const firstRegister = 40000

// part is one model of a device.
type part struct {
	id uint16
	// raw has the numbers as they stand in the registers; what is named in
	// neither raw nor text is not implemented.
	raw  map[string]int64
	text map[string]string
	// drifts are what FaultDrift puts into settings.
	drifts map[string]int64
	live   map[string]func(sim.Moment) int64
	curves []curve
	// rows is how many points a table of a curve has room for.
	rows int
}

// curve is the content of a stored curve.
type curve struct {
	raw    map[string]int64
	tables map[string][][]int64
}

// builder lays the registers of a device out.
type builder struct {
	catalog *sunspec.Catalog
	at      int
	regs    []sim.Register
	adopts  []adoption
}

// adoption is what the device needs to know of a model with curves.
type adoption struct {
	request, result uint16
	// first is where curve 1 begins, length the registers of a curve, and
	// own those of a curve that are copied, counted from its start.
	first, length uint16
	count         int
	keep          uint16 // ReadOnly, which is not copied
}

func build(profile string, parts []part) (sim.Model, []adoption, error) {
	catalog, err := sunspec.NewCatalog()
	if err != nil {
		return sim.Model{}, nil, err
	}
	b := &builder{catalog: catalog, at: firstRegister}
	b.word("SunS", 0x5375, 0x6E53)
	seen := map[uint16]int{}
	for _, p := range parts {
		seen[p.id]++
		name := strconv.Itoa(int(p.id))
		if n := seen[p.id]; n > 1 {
			name += "#" + strconv.Itoa(n)
		}
		if err := b.model(name, p); err != nil {
			return sim.Model{}, nil, fmt.Errorf("model %s: %w", name, err)
		}
	}
	b.word("end", 0xFFFF, 0)
	return sim.Model{Profile: profile, Registers: b.regs}, b.adopts, nil
}

// word adds a constant.
func (b *builder) word(name string, words ...uint16) {
	b.add(sim.Register{Name: name, Initial: words})
}

func (b *builder) add(r sim.Register) {
	r.Table, r.Address = devices.Holding, uint16(b.at)
	b.at += len(r.Initial)
	b.regs = append(b.regs, r)
}

func (b *builder) model(name string, p part) error {
	def, ok := b.catalog.Model(p.id)
	if !ok {
		return fmt.Errorf("there is no model %d", p.id)
	}
	head := len(b.regs)
	b.word(name+" head", p.id, 0)
	start := b.at
	var a adoption
	for i := range def.Points {
		d := &def.Points[i]
		adoption := def.Curves != nil && def.Curves.Result != "" && (d.Name == def.Curves.Request || d.Name == def.Curves.Result)
		switch {
		case adoption && d.Name == def.Curves.Request:
			a.request = uint16(b.at)
		case adoption:
			a.result = uint16(b.at)
		}
		if err := b.point(name+"."+d.Name, d, p.raw, p.text, p.drifts[d.Name], p.live[d.Name], d.Use != sunspec.Measurement); err != nil {
			return err
		}
		// A device that starts anew has forgotten what it was asked to adopt.
		b.regs[len(b.regs)-1].Transient = adoption
	}
	if def.Curves != nil {
		a.first, a.count = uint16(b.at), len(p.curves)
		for i, c := range p.curves {
			before := b.at
			// Where ActCrv says which curve is in force, all can be written.
			writable := i > 0 || def.Curves.Adopt == "index"
			if err := b.curve(fmt.Sprintf("%s.Crv%d", name, i+1), def.Curves, c, p.rows, writable, &a); err != nil {
				return err
			}
			a.length = uint16(b.at - before)
		}
		if a.request != 0 {
			b.adopts = append(b.adopts, a)
		}
	}
	b.regs[head].Initial[1] = uint16(b.at - start)
	return nil
}

func (b *builder) curve(name string, def *sunspec.CurveDef, c curve, rows int, writable bool, a *adoption) error {
	start := b.at
	raw := map[string]int64{"ReadOnly": 1, "ActPt": int64(len(c.tables[""]))}
	for k, v := range c.raw {
		raw[k] = v
	}
	if writable {
		raw["ReadOnly"] = 0
	}
	points := func(defs []sunspec.PointDef) error {
		for i := range defs {
			d := &defs[i]
			if d.Name == "ReadOnly" {
				a.keep = uint16(b.at - start)
			}
			if err := b.point(name+"."+d.Name, d, raw, nil, 0, nil, writable && d.Use == sunspec.SettingUse); err != nil {
				return err
			}
		}
		return nil
	}
	if err := points(def.Before); err != nil {
		return err
	}
	for _, t := range def.Tables {
		room := rows
		if n, err := strconv.Atoi(t.Rows); err == nil {
			room = n
		}
		content := c.tables[t.Name]
		if t.Counter != "" {
			counter := &sunspec.PointDef{Name: t.Counter, Type: sunspec.Uint16, Size: 1}
			if err := b.point(name+"."+t.Name+"."+t.Counter, counter, map[string]int64{t.Counter: int64(len(content))}, nil, 0, nil, writable); err != nil {
				return err
			}
		}
		for row := range room {
			for j := range t.Fields {
				f := &t.Fields[j]
				value := map[string]int64{f.Name: 0}
				if row < len(content) {
					value[f.Name] = content[row][j]
				}
				if err := b.point(fmt.Sprintf("%s.%s%s%d", name, t.Name, f.Name, row+1), f, value, nil, 0, nil, writable); err != nil {
					return err
				}
			}
		}
	}
	return points(def.After)
}

// point adds the register of a point.
func (b *builder) point(name string, d *sunspec.PointDef, raw map[string]int64, texts map[string]string, drift int64, live func(sim.Moment) int64, writable bool) error {
	r := sim.Register{Name: name}
	if d.Type == sunspec.String {
		r.Initial = make([]uint16, d.Size)
		s := texts[d.Name]
		if len(s) > 2*d.Size {
			return fmt.Errorf("%s: %q is longer than %d bytes", name, s, 2*d.Size)
		}
		for i := range len(s) {
			r.Initial[i/2] |= uint16(s[i]) << (8 * (1 - i%2))
		}
		if writable {
			r.Accepts = func([]uint16) bool { return true }
		}
		b.add(r)
		return nil
	}
	value, has := raw[d.Name]
	if !has && live == nil {
		r.Initial = missing(d.Type, d.Size)
		b.add(r)
		return nil
	}
	r.Initial = words(value, d.Size)
	if live != nil {
		r.Live = func(m sim.Moment) []uint16 { return words(live(m), d.Size) }
	}
	if drift != 0 {
		r.Drifts = [][]uint16{words(drift, d.Size)}
	}
	if writable {
		r.Accepts = accepts(d)
	}
	b.add(r)
	return nil
}

// accepts takes what the type of a point can hold, and of an enum its symbols.
func accepts(d *sunspec.PointDef) func([]uint16) bool {
	none := missing(d.Type, d.Size)
	enum := (d.Type == sunspec.Enum16 || d.Type == sunspec.Enum32) && len(d.Symbols) > 0
	return func(w []uint16) bool {
		if enum {
			for _, n := range d.Symbols {
				if int64(w[len(w)-1]) == n {
					return true
				}
			}
			return false
		}
		for i := range w {
			if w[i] != none[i] {
				return true
			}
		}
		return false
	}
}

// missing is a type's pattern for "not implemented".
func missing(t sunspec.Type, size int) []uint16 {
	out := make([]uint16, size)
	switch t {
	case sunspec.Int16, sunspec.Int32, sunspec.Int64, sunspec.SunSSF:
		out[0] = 0x8000
	case sunspec.Uint16, sunspec.Uint32, sunspec.Uint64, sunspec.Enum16, sunspec.Enum32, sunspec.Bitfield16, sunspec.Bitfield32:
		for i := range out {
			out[i] = 0xFFFF
		}
	case sunspec.Float32:
		out[0] = 0x7FC0
	case sunspec.Float64:
		out[0] = 0x7FF8
	}
	return out
}

// words are the two's complement of a number in size registers.
func words(v int64, size int) []uint16 {
	out := make([]uint16, size)
	for i := range out {
		out[size-1-i] = uint16(v >> (16 * i))
	}
	return out
}

// wave wanders about base, at most swing away from it.
func wave(base, swing float64, period time.Duration) func(sim.Moment) int64 {
	return func(m sim.Moment) int64 {
		phase := float64(m.Seed%1000) / 1000
		turn := float64(m.Now.UnixMilli()%period.Milliseconds()) / float64(period.Milliseconds())
		return int64(math.Round(base + swing*math.Sin(2*math.Pi*(turn+phase))))
	}
}
