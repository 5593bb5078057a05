package sim

import (
	"fmt"
	"math"
	"time"

	"edgefleet/devices"
)

// Register is one value in the address space of a simulated device. Its words
// are as on the wire; coils and discrete inputs have one word each, 0 or 1.
type Register struct {
	// Name is the name that the profile gives the value.
	Name string
	// Table and Address (zero-based) say where its first word stands.
	Table   devices.ModbusTable
	Address uint16
	// Initial is what the device leaves the factory with; its length is the
	// register's.
	Initial []uint16
	// Accepts says whether a client may write these words. Nil means that a
	// client can only read: a write gets exception 2, as an illegal address.
	Accepts func(words []uint16) bool
	// Live computes what is read, for measurements; nothing is stored then.
	Live func(Moment) []uint16
	// CountsEvery makes a stored register of one word count up by one for
	// every period that passes; a write sets where it counts on from.
	CountsEvery time.Duration
	// Transient words are not remembered: they are as in Initial after a start.
	Transient bool
	// Drifts lists what FaultDrift puts here: the first that differs from
	// what stands there. It is empty for registers that do not drift.
	Drifts [][]uint16
}

// Model is the register map of a kind of device.
type Model struct {
	// Profile is the name of the built-in profile with the same map.
	Profile   string
	Registers []Register
}

// Moment is what a live register is computed from.
type Moment struct {
	Now time.Time
	// Up is the time since the device last booted.
	Up time.Duration
	// Starting is true while a device that booted is not yet running.
	Starting bool
	// Seed differs from device to device.
	Seed uint64
}

// around returns a value that wanders about base, at most swing away from it,
// with the period; salt makes the values of one device independent.
func (m Moment) around(salt uint64, base, swing float64, period time.Duration) float64 {
	phase := float64((m.Seed^salt*0x9e3779b97f4a7c15)%1000) / 1000
	turn := float64(m.Now.UnixMilli()%period.Milliseconds()) / float64(period.Milliseconds())
	// A slow wave and a small fast one together do not look like a test tone.
	wave := 0.8*math.Sin(2*math.Pi*(turn+phase)) + 0.2*math.Sin(2*math.Pi*(7*turn+phase))
	return base + swing*wave
}

// validate finds the mistakes that would make a model unusable.
func (m Model) validate() error {
	taken := map[cellKey]string{}
	names := map[string]bool{}
	for _, r := range m.Registers {
		if r.Name == "" || names[r.Name] {
			return fmt.Errorf("model %s: register name %q is empty or used twice", m.Profile, r.Name)
		}
		names[r.Name] = true
		if len(r.Initial) == 0 || int(r.Address)+len(r.Initial) > 1<<16 {
			return fmt.Errorf("model %s: %s has no words, or words past address 65535", m.Profile, r.Name)
		}
		switch r.Table {
		case devices.Holding, devices.Coil:
		case devices.Input, devices.Discrete:
			if r.Accepts != nil {
				return fmt.Errorf("model %s: %s: clients cannot write to the %s table", m.Profile, r.Name, r.Table)
			}
		default:
			return fmt.Errorf("model %s: %s: unknown table %q", m.Profile, r.Name, r.Table)
		}
		if r.CountsEvery != 0 && (r.CountsEvery < 0 || len(r.Initial) != 1 || r.Live != nil) {
			return fmt.Errorf("model %s: %s: only a stored register of one word can count", m.Profile, r.Name)
		}
		for i := range r.Initial {
			k := cellKey{r.Table, r.Address + uint16(i)}
			if other, ok := taken[k]; ok {
				return fmt.Errorf("model %s: %s and %s both claim %s %d", m.Profile, other, r.Name, k.table, k.address)
			}
			taken[k] = r.Name
		}
	}
	return nil
}

// text returns s as words of two bytes, big endian, padded with NUL.
func text(s string, words int) []uint16 {
	out := make([]uint16, words)
	for i := range len(s) {
		out[i/2] |= uint16(s[i]) << (8 * (1 - i%2))
	}
	return out
}

func words32(v uint32) []uint16 { return []uint16{uint16(v >> 16), uint16(v)} }

func join32(w []uint16) uint32 { return uint32(w[0])<<16 | uint32(w[1]) }

func oneOf[T uint16 | int16](lo, hi T) func([]uint16) bool {
	return func(w []uint16) bool { return T(w[0]) >= lo && T(w[0]) <= hi }
}
