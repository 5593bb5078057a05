package sim

import (
	"cmp"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"github.com/simonvetter/modbus"

	"edgefleet/devices"
	"edgefleet/devices/sim/chassis"
)

type cellKey struct {
	table   devices.ModbusTable
	address uint16
}

func compareKeys(a, b cellKey) int {
	return cmp.Or(cmp.Compare(a.table, b.table), cmp.Compare(a.address, b.address))
}

// cell is one address: the word of the register that stands there.
type cell struct {
	reg    *Register
	offset int
	value  uint16
}

// memory is the address space of a device. Each request is answered in one
// piece: no reader sees half of a write.
type memory struct {
	now  func() time.Time
	seed uint64
	regs []Register

	mu        sync.Mutex
	cells     map[cellKey]*cell
	before    map[cellKey]uint16 // what FaultDrift replaced, until a client rewrites it
	stuck     bool               // the drift is stuck
	counters  map[cellKey]*Counter
	log       []Write
	total     uint64
	upSince   time.Time
	runningAt time.Time
}

func newMemory(id string, m Model, now func() time.Time) *memory {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id))
	mem := &memory{
		now: now, seed: h.Sum64(), regs: m.Registers,
		cells: map[cellKey]*cell{}, before: map[cellKey]uint16{}, counters: map[cellKey]*Counter{},
	}
	for i := range mem.regs {
		r := &mem.regs[i]
		for offset, word := range r.Initial {
			k := cellKey{r.Table, r.Address + uint16(offset)}
			mem.cells[k] = &cell{reg: r, offset: offset}
			mem.store(k, word, now())
		}
	}
	mem.upSince = now()
	mem.runningAt = mem.upSince
	return mem
}

// boot begins the device's uptime, and the time until it is running.
func (m *memory) boot(starting time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.upSince = m.now()
	m.runningAt = m.upSince.Add(starting)
}

func (m *memory) moment() Moment {
	now := m.now()
	return Moment{Now: now, Up: now.Sub(m.upSince), Starting: now.Before(m.runningAt), Seed: m.seed}
}

func (r *Register) ticks(now time.Time) uint16 {
	if r.CountsEvery == 0 {
		return 0
	}
	return uint16(now.UnixNano() / int64(r.CountsEvery))
}

// word returns what a reader finds at a cell, store makes that happen. What
// counts by itself is kept as its distance from the clock.
func (m *memory) word(c *cell, at Moment) uint16 {
	if c.reg.Live != nil {
		return c.reg.Live(at)[c.offset]
	}
	return c.value + c.reg.ticks(at.Now)
}

func (m *memory) store(k cellKey, word uint16, now time.Time) {
	c := m.cells[k]
	c.value = word - c.reg.ticks(now)
}

// read returns n words, or exception 2 when one of them does not exist.
func (m *memory) read(table devices.ModbusTable, address, n uint16) ([]uint16, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := m.moment()
	out := make([]uint16, n)
	for i := range n {
		c, ok := m.cells[cellKey{table, address + i}]
		if !ok || address+i < address {
			return nil, modbus.ErrIllegalDataAddress
		}
		out[i] = m.word(c, at)
	}
	return out, nil
}

// write is a client's write: all of it is done and counted, or none. allowed
// is asked under the lock, so that whoever makes it say no knows that nothing
// is written afterwards.
func (m *memory) write(table devices.ModbusTable, address uint16, words []uint16, allowed func() bool) ([]Write, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !allowed() {
		return nil, modbus.ErrServerDeviceFailure
	}
	at := m.moment()
	// The registers as they would be afterwards: a value of two words is
	// judged as a whole, even when a client writes only one of them.
	staged := map[*Register][]uint16{}
	var order []*Register
	for i, word := range words {
		k := cellKey{table, address + uint16(i)}
		c, ok := m.cells[k]
		if !ok || k.address < address || c.reg.Accepts == nil {
			return nil, modbus.ErrIllegalDataAddress
		}
		if staged[c.reg] == nil {
			staged[c.reg] = m.words(c.reg, at)
			order = append(order, c.reg)
		}
		staged[c.reg][c.offset] = word
	}
	for _, r := range order {
		if !r.Accepts(staged[r]) {
			return nil, modbus.ErrIllegalDataValue
		}
	}
	writes := make([]Write, len(words))
	for i, word := range words {
		k := cellKey{table, address + uint16(i)}
		c := m.cells[k]
		writes[i] = Write{At: at.Now, Table: table, Address: k.address, Name: c.reg.Name, Old: m.word(c, at), New: word}
		m.count(k, writes[i])
		if _, drifted := m.before[k]; drifted && m.stuck {
			continue
		}
		delete(m.before, k)
		m.store(k, word, at.Now)
	}
	return writes, nil
}

func (m *memory) words(r *Register, at Moment) []uint16 {
	out := make([]uint16, len(r.Initial))
	for i := range out {
		out[i] = m.word(m.cells[cellKey{r.Table, r.Address + uint16(i)}], at)
	}
	return out
}

func (m *memory) count(k cellKey, w Write) {
	c := m.counters[k]
	if c == nil {
		c = &Counter{}
		m.counters[k] = c
	}
	c.Write = w
	c.Count++
	m.total++
	if len(m.log) == chassis.LogLength {
		m.log = append(m.log[:0], m.log[1:]...)
	}
	m.log = append(m.log, w)
}

// poke puts words where they stand without a client: neither counted nor
// checked. It says no when an address does not exist or cannot be stored to.
func (m *memory) poke(table devices.ModbusTable, address uint16, words ...uint16) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range words {
		c, ok := m.cells[cellKey{table, address + uint16(i)}]
		if !ok || c.reg.Live != nil {
			return false
		}
	}
	for i, word := range words {
		m.store(cellKey{table, address + uint16(i)}, word, m.now())
	}
	return true
}

// add counts a stored word up by one.
func (m *memory) add(table devices.ModbusTable, address uint16) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cells[cellKey{table, address}].value++
}

// drift changes every register that can drift and has not yet. It says no
// when the model has none.
func (m *memory) drift(stuck bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := m.moment()
	found := false
	for i := range m.regs {
		r := &m.regs[i]
		found = found || len(r.Drifts) > 0
		present := m.words(r, at)
		for _, to := range r.Drifts {
			if m.driftedLocked(r) || slices.Equal(present, to) {
				continue
			}
			for offset, word := range to {
				k := cellKey{r.Table, r.Address + uint16(offset)}
				m.before[k] = present[offset]
				m.store(k, word, at.Now)
			}
		}
	}
	m.stuck = found && stuck
	return found
}

// restore undoes what is left of a drift.
func (m *memory) restore() {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	for k, word := range m.before {
		m.store(k, word, now)
	}
	clear(m.before)
	m.stuck = false
}

func (m *memory) driftedLocked(r *Register) bool {
	for offset := range r.Initial {
		if _, ok := m.before[cellKey{r.Table, r.Address + uint16(offset)}]; ok {
			return true
		}
	}
	return false
}

// drifted returns the names of the registers that a drift changed and that no
// client has rewritten since, by address, and whether the drift is stuck.
func (m *memory) drifted() ([]string, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for i := range m.regs {
		if m.driftedLocked(&m.regs[i]) {
			names = append(names, m.regs[i].Name)
		}
	}
	return names, m.stuck && len(names) > 0
}

func (m *memory) countersByAddress() []Counter {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.countersLocked()
}

func (m *memory) countersLocked() []Counter {
	out := make([]Counter, 0, len(m.counters))
	for _, c := range m.counters {
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b Counter) int {
		return compareKeys(cellKey{a.Table, a.Address}, cellKey{b.Table, b.Address})
	})
	return out
}
