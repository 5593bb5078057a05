package modbus

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"edgefleet/devices"
)

// What one request reads or writes at most. The protocol allows some more
// registers; some gateways do not.
const (
	maxReadRegisters  = 100
	maxReadBits       = 2000
	maxWriteRegisters = 100
	maxWriteCoils     = 1968
)

// span is a contiguous part of a table that one request covers.
type span struct {
	table   devices.ModbusTable
	address uint16
	count   int // registers or bits
	// points are indices into the caller's list, in ascending address order.
	points []int
	// wire is what to write: two bytes per register, one per coil.
	wire []byte
}

// String is "holding 40000+10".
func (s span) String() string { return fmt.Sprintf("%s %d+%d", s.table, s.address, s.count) }

func (s span) end() int { return int(s.address) + s.count }

// place is a point with the width that it takes.
type place struct {
	index int
	at    *devices.ModbusAddress
	width int
}

// places checks the points and returns them in the order of the tables and
// addresses.
func places(n int, point func(i int) devices.Point) ([]place, error) {
	all := make([]place, n)
	for i := range all {
		p := point(i)
		w, err := width(p)
		if err != nil {
			return nil, err
		}
		all[i] = place{i, p.Modbus, w}
	}
	slices.SortStableFunc(all, func(a, b place) int {
		return cmp.Or(cmp.Compare(tableOrder(a.at.Table), tableOrder(b.at.Table)), cmp.Compare(a.at.Address, b.at.Address))
	})
	return all, nil
}

func tableOrder(t devices.ModbusTable) int {
	return slices.Index([]devices.ModbusTable{devices.Holding, devices.Input, devices.Coil, devices.Discrete}, t)
}

// planReads covers the points by as few spans as there can be without reading
// an address that no point has asked for: devices refuse a read that touches a
// hole. No point is divided between two requests, so that none is torn.
func planReads(points []devices.Point) ([]span, error) {
	all, err := places(len(points), func(i int) devices.Point { return points[i] })
	if err != nil {
		return nil, err
	}
	var spans []span
	for _, p := range all {
		if n := len(spans) - 1; n >= 0 {
			last := &spans[n]
			end := max(last.end(), int(p.at.Address)+p.width)
			limit := maxReadRegisters
			if isBits(p.at.Table) {
				limit = maxReadBits
			}
			if last.table == p.at.Table && int(p.at.Address) <= last.end() && end-int(last.address) <= limit {
				last.count = end - int(last.address)
				last.points = append(last.points, p.index)
				continue
			}
		}
		spans = append(spans, span{table: p.at.Table, address: p.at.Address, count: p.width, points: []int{p.index}})
	}
	return spans, nil
}

// refusal is a write that is not begun.
type refusal struct {
	kind devices.Kind
	err  error
}

// planWrites encodes the settings and joins those that stand side by side.
// Everything that can be wrong is found here, before anything is sent.
func planWrites(settings []devices.Setting) ([]span, *refusal) {
	for _, s := range settings {
		if m := s.Point.Modbus; m != nil && (m.Table == devices.Input || m.Table == devices.Discrete) {
			return nil, &refusal{devices.Unsupported, fmt.Errorf("%s is in table %s, which Modbus cannot write", s.Point.Name, m.Table)}
		}
	}
	all, err := places(len(settings), func(i int) devices.Point { return settings[i].Point })
	if err != nil {
		return nil, &refusal{devices.Unsupported, err}
	}
	var spans []span
	for _, p := range all {
		s := settings[p.index]
		wire, err := encode(s.Point, s.Value)
		if err != nil {
			return nil, &refusal{devices.Rejected, err}
		}
		if n := len(spans) - 1; n >= 0 && spans[n].table == p.at.Table {
			last := &spans[n]
			if int(p.at.Address) < last.end() {
				before := settings[last.points[len(last.points)-1]].Point
				return nil, &refusal{devices.Rejected, fmt.Errorf("%s and %s overlap at %s %d", before.Name, s.Point.Name, p.at.Table, p.at.Address)}
			}
			limit := maxWriteRegisters
			if isBits(p.at.Table) {
				limit = maxWriteCoils
			}
			if int(p.at.Address) == last.end() && last.count+p.width <= limit {
				last.count += p.width
				last.wire = append(last.wire, wire...)
				last.points = append(last.points, p.index)
				continue
			}
		}
		spans = append(spans, span{p.at.Table, p.at.Address, p.width, []int{p.index}, wire})
	}
	return spans, nil
}

// names lists the points of a span.
func (s span) names(settings []devices.Setting) string {
	names := make([]string, len(s.points))
	for i, index := range s.points {
		names[i] = settings[index].Point.Name
	}
	return strings.Join(names, ", ")
}
