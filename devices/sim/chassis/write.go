package chassis

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"edgefleet/devices"
)

// LogLength is how many of a device's last writes are kept one by one.
const LogLength = 256

// Write is one thing that a client wrote: a word or coil of a Modbus device,
// which stands in a table at an address, or anything else, which is a text at
// a place.
type Write struct {
	At      time.Time           `json:"at"`
	Table   devices.ModbusTable `json:"table,omitempty"`
	Address uint16              `json:"address"`
	// Name is the setting that was written.
	Name string `json:"name"`
	// Old stood there before, New is what the client wrote: raw words.
	Old uint16 `json:"old"`
	New uint16 `json:"new"`
	// Place is the node or path of what has no table: "s=Pump.Ramp",
	// "/etc/edge/config.yaml"; Before and After are its texts.
	Place  string `json:"place,omitempty"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// Counter says how often clients wrote to one address or place; its Write is
// the last.
type Counter struct {
	Write
	Count uint64 `json:"count"`
}

// Journal records what clients wrote to places. It is safe for concurrent use.
type Journal struct {
	now func() time.Time

	mu       sync.Mutex
	counters map[string]*Counter // by place and name
	log      []Write
	total    uint64
}

// NewJournal returns a journal that continues an earlier one.
func NewJournal(now func() time.Time, counters []Counter, log []Write) *Journal {
	j := &Journal{now: now, counters: map[string]*Counter{}}
	for _, c := range counters {
		j.counters[c.key()] = &c
		j.total += c.Count
	}
	j.log = slices.Clone(log[max(0, len(log)-LogLength):])
	return j
}

func (w Write) key() string { return w.Place + "\x00" + w.Name }

// maxText bounds the texts of a write, which may be whole files.
const maxText = 2048

func clip(s string) string {
	if len(s) > maxText {
		return s[:maxText] + "..."
	}
	return s
}

// Add records that a client wrote to the setting name at the place.
func (j *Journal) Add(name, place, before, after string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	w := Write{At: j.now(), Name: name, Place: place, Before: clip(before), After: clip(after)}
	c := j.counters[w.key()]
	if c == nil {
		c = &Counter{}
		j.counters[w.key()] = c
	}
	c.Write = w
	c.Count++
	j.total++
	if len(j.log) == LogLength {
		j.log = append(j.log[:0], j.log[1:]...)
	}
	j.log = append(j.log, w)
}

// Counters returns a counter for each place that clients wrote to, by place.
func (j *Journal) Counters() []Counter {
	j.mu.Lock()
	defer j.mu.Unlock()
	out := make([]Counter, 0, len(j.counters))
	for _, c := range j.counters {
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b Counter) int { return cmp.Compare(a.key(), b.key()) })
	return out
}

// Log returns the last writes, oldest first.
func (j *Journal) Log() []Write {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.log)
}

// Total is how many writes there were.
func (j *Journal) Total() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.total
}
