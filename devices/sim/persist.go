package sim

import (
	"slices"
	"time"

	"edgefleet/devices"
	"edgefleet/devices/sim/chassis"
)

// Memory is all of a device that outlives its process: it goes into the next
// Start. It is made to be kept as JSON.
type Memory struct {
	// Values holds the words of the stored registers that differ from the
	// factory's, by name. Names that the model does not know are ignored.
	Values map[string][]uint16 `json:"values,omitempty"`
	// Replaced holds what a drift replaced, as far as it still stands.
	Replaced   []Replaced    `json:"replaced,omitempty"`
	DriftStuck bool          `json:"drift_stuck,omitempty"`
	Fault      Fault         `json:"fault,omitempty"`
	Stuck      bool          `json:"stuck,omitempty"`
	Latency    time.Duration `json:"latency_ns,omitempty"`
	Counters   []Counter     `json:"counters,omitempty"`
	Log        []Write       `json:"log,omitempty"`
}

// Replaced is a word that a drift replaced.
type Replaced struct {
	Table   devices.ModbusTable `json:"table"`
	Address uint16              `json:"address"`
	Before  uint16              `json:"before"`
}

// snapshot returns what the memory contributes to Memory.
func (m *memory) snapshot() Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := Memory{Values: map[string][]uint16{}, Counters: m.countersLocked(), Log: slices.Clone(m.log)}
	for _, r := range m.regs {
		if r.Live != nil || r.Transient {
			continue
		}
		stored := make([]uint16, len(r.Initial))
		for i := range stored {
			stored[i] = m.cells[cellKey{r.Table, r.Address + uint16(i)}].value
		}
		// What counts by itself is kept always: its stored word is a distance
		// from the clock, which says nothing beside the factory's word.
		if r.CountsEvery != 0 || !slices.Equal(stored, r.Initial) {
			out.Values[r.Name] = stored
		}
	}
	for k, word := range m.before {
		out.Replaced = append(out.Replaced, Replaced{Table: k.table, Address: k.address, Before: word})
	}
	slices.SortFunc(out.Replaced, func(a, b Replaced) int {
		return compareKeys(cellKey{a.Table, a.Address}, cellKey{b.Table, b.Address})
	})
	out.DriftStuck = m.stuck && len(m.before) > 0
	return out
}

// recall is the inverse of snapshot, for a memory just made.
func (m *memory) recall(from Memory) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.regs {
		r := &m.regs[i]
		stored, ok := from.Values[r.Name]
		if !ok || len(stored) != len(r.Initial) || r.Live != nil {
			continue
		}
		for offset, word := range stored {
			m.cells[cellKey{r.Table, r.Address + uint16(offset)}].value = word
		}
	}
	for _, x := range from.Replaced {
		k := cellKey{x.Table, x.Address}
		if c, ok := m.cells[k]; ok && len(c.reg.Drifts) > 0 {
			m.before[k] = x.Before
		}
	}
	m.stuck = from.DriftStuck
	for _, c := range from.Counters {
		k := cellKey{c.Table, c.Address}
		if _, ok := m.cells[k]; ok {
			m.counters[k] = &c
			m.total += c.Count
		}
	}
	m.log = slices.Clone(from.Log[max(0, len(from.Log)-chassis.LogLength):])
}
