package sim

import (
	"math"
	"sync/atomic"
	"time"

	"edgefleet/devices"
)

// Where the controller's restart stands: the coil that asks for it, and the
// counter of how often it was done.
const (
	plcRestartCoil    = 100
	plcRestartCounter = 1
)

// Values of the controller's state register.
const (
	plcStopped = 0
	plcRunning = 1
)

// RegisterPLC returns the map of a Northline PLC-100: a controller whose
// registers are all of its interface, with values of every type, and of both
// word orders, because what it passes on from its drive has the low word first.
func RegisterPLC(id string) (Model, error) {
	regs, err := identity(id, "PLC-100")
	if err != nil {
		return Model{}, err
	}
	regs = append(regs, plcSettings()...)
	return Model{Profile: "register-plc", Registers: append(regs, plcMeasurements()...)}, nil
}

func plcSettings() []Register {
	holding := func(name string, address uint16, initial []uint16, accepts func([]uint16) bool, drifts ...[]uint16) Register {
		return Register{Name: name, Table: devices.Holding, Address: address, Initial: initial, Accepts: accepts, Drifts: drifts}
	}
	coil := func(name string, address, initial uint16) Register {
		return Register{Name: name, Table: devices.Coil, Address: address, Initial: []uint16{initial}, Accepts: oneOf[uint16](0, 1)}
	}
	float := func(words func([]uint16) float64, lo, hi float64) func([]uint16) bool {
		// Written so that NaN, which is in no range, is refused.
		return func(w []uint16) bool { v := words(w); return v >= lo && v <= hi }
	}
	single := func(w []uint16) float64 { return float64(math.Float32frombits(join32(w))) }
	return []Register{
		coil("alarm_enabled", 0, 1),
		coil("remote_start_enabled", 1, 0),
		{Name: "restart", Table: devices.Coil, Address: plcRestartCoil, Initial: []uint16{0}, Accepts: oneOf[uint16](0, 1), Transient: true},
		holding("flow_setpoint", 100, []uint16{250}, oneOf[uint16](0, 500), []uint16{310}, []uint16{180}),
		holding("drive_ramp", 101, swapped(words32(12000)), func(w []uint16) bool { return join32(swapped(w)) <= 600000 }),
		holding("drive_torque_limit", 103, swapped(words32(math.Float32bits(120))),
			float(func(w []uint16) float64 { return single(swapped(w)) }, 0, 250)),
		holding("pressure_limit", 105, words32(math.Float32bits(8.5)), float(single, 0, 25),
			words32(math.Float32bits(12.25)), words32(math.Float32bits(3.125))),
		holding("volume_limit", 107, words64(5_000_000_000), func(w []uint16) bool { return join64(w) <= 1_000_000_000_000 }),
		holding("level_offset", 111, []uint16{0xFFF6}, oneOf[int16](-1000, 1000)),
		holding("mode", 112, []uint16{0}, func(w []uint16) bool { return w[0] == 0 || w[0] == 1 || w[0] == 5 }),
		holding("batch_size", 113, words32(1200), func(w []uint16) bool { v := int32(join32(w)); return v >= -1 && v <= 1000000 }),
		holding("controller_gain", 115, words64(math.Float64bits(1.25)),
			float(func(w []uint16) float64 { return math.Float64frombits(join64(w)) }, 0, 10)),
		holding("station_name", 119, text("Pump station 7", 8), func([]uint16) bool { return true }),
		holding("run_hours", 127, words32(8123), func([]uint16) bool { return true }),
	}
}

func plcMeasurements() []Register {
	input := func(name string, address uint16, words int, live func(Moment) []uint16) Register {
		return Register{Name: name, Table: devices.Input, Address: address, Initial: make([]uint16, words), Live: live}
	}
	return []Register{
		input("state", 0, 1, func(m Moment) []uint16 {
			if m.Starting {
				return []uint16{plcStopped}
			}
			return []uint16{plcRunning}
		}),
		{Name: "restarts", Table: devices.Input, Address: plcRestartCounter, Initial: []uint16{0}},
		input("flow", 2, 1, func(m Moment) []uint16 { return []uint16{uint16(math.Round(m.around(1, 250, 8, 3*time.Minute)))} }),
		input("drive_torque", 3, 2, func(m Moment) []uint16 {
			return swapped(words32(math.Float32bits(float32(m.around(2, 84, 6, time.Minute)))))
		}),
		input("pressure", 5, 2, func(m Moment) []uint16 {
			return words32(math.Float32bits(float32(m.around(3, 6.2, 0.3, 7*time.Minute))))
		}),
		input("uptime", 7, 2, func(m Moment) []uint16 { return words32(uint32(m.Up / time.Second)) }),
		{Name: "selector_local", Table: devices.Discrete, Address: 0, Initial: []uint16{0}},
		{Name: "door_open", Table: devices.Discrete, Address: 1, Initial: []uint16{0}},
	}
}

// PLC is a simulated controller. A client that writes ON to its restart coil
// starts its program anew: the state is stopped until the program runs, the
// counter counts the restart, and the coil clears itself. Its firmware comes
// through a mailbox of registers.
type PLC struct {
	*Device
	box mailbox
	// sick says that the firmware is not well.
	sick atomic.Bool
}

// StartPLC makes a controller; cfg.Model is not looked at.
func StartPLC(cfg Config) (*PLC, error) {
	model, err := RegisterPLC(cfg.ID)
	if err != nil {
		return nil, err
	}
	p := &PLC{}
	told := cfg.OnWrite
	model.Registers = append(model.Registers, mailboxRegisters()...)
	for i := range model.Registers {
		if r := &model.Registers[i]; r.Name == "state" {
			r.Live = p.state(r.Live)
		}
	}
	cfg.Model = model
	// A client may find the socket before Start has returned.
	ready := make(chan struct{})
	defer close(ready)
	cfg.OnWrite = func(w Write) {
		<-ready
		switch {
		case p.Device == nil:
		case w.Table == devices.Coil && w.Address == plcRestartCoil:
			p.restart(w.New != 0)
		case w.Table == devices.Holding && w.Address == boxCommand:
			p.command(w.New)
		}
		if told != nil {
			told(w)
		}
	}
	p.Device, err = Start(cfg)
	if err != nil {
		return nil, err
	}
	p.sick.Store(p.words(devices.Input, previousAddress+firmwareWords, 1)[0] == 0)
	return p, nil
}

// state is stopped for as long as the firmware is not well.
func (p *PLC) state(running func(Moment) []uint16) func(Moment) []uint16 {
	return func(m Moment) []uint16 {
		if p.sick.Load() {
			return []uint16{plcStopped}
		}
		return running(m)
	}
}

func (p *PLC) restart(wanted bool) {
	if wanted {
		p.mem.boot(p.cfg.Init)
		p.mem.add(devices.Input, plcRestartCounter)
	}
	p.mem.poke(devices.Coil, plcRestartCoil, 0)
}

// swapped exchanges the order of words.
func swapped(w []uint16) []uint16 {
	out := make([]uint16, len(w))
	for i := range w {
		out[i] = w[len(w)-1-i]
	}
	return out
}

func words64(v uint64) []uint16 { return append(words32(uint32(v>>32)), words32(uint32(v))...) }

func join64(w []uint16) uint64 { return uint64(join32(w))<<32 | uint64(join32(w[2:])) }
