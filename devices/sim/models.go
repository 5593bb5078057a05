package sim

import (
	"fmt"
	"math"
	"time"

	"edgefleet/devices"
)

// Ports is the number of ports of a switched outlet.
const Ports = 8

// Where the outlet's ports stand in its tables; port n is at the base + n - 1.
const (
	outletCoilBase    = 0
	outletStateBase   = 0
	outletCounterBase = 100
)

// Values of the feeder's state register.
const (
	stateInit    = 0
	stateRunning = 1
)

// FeederRTU returns the map of a Northline FR-200 feeder protection unit:
// identity and settings in holding registers, measurements in input registers.
func FeederRTU(id string) (Model, error) {
	identity, err := identity(id, "FR-200")
	if err != nil {
		return Model{}, err
	}
	regs := append(identity, feederSettings()...)
	return Model{Profile: "feeder-rtu", Registers: append(regs, feederMeasurements()...)}, nil
}

// SwitchedOutlet returns the map of a Northline PDU-8: a coil per port that
// cycles it, a counter of completed cycles, and the port's power state.
func SwitchedOutlet(id string) (Model, error) {
	regs, err := identity(id, "PDU-8")
	if err != nil {
		return Model{}, err
	}
	for n := uint16(1); n <= Ports; n++ {
		regs = append(regs,
			Register{Name: fmt.Sprintf("cycle-port-%d", n), Table: devices.Coil, Address: outletCoilBase + n - 1,
				Initial: []uint16{0}, Accepts: oneOf[uint16](0, 1), Transient: true},
			Register{Name: fmt.Sprintf("port_%d_cycles", n), Table: devices.Input, Address: outletCounterBase + n - 1,
				Initial: []uint16{0}},
			Register{Name: fmt.Sprintf("port_%d_power", n), Table: devices.Discrete, Address: outletStateBase + n - 1,
				Initial: []uint16{1}, Transient: true})
	}
	return Model{Profile: "switched-outlet", Registers: regs}, nil
}

func identity(id, model string) ([]Register, error) {
	const serialWords = 8
	serial := "NL-" + id
	if id == "" || len(serial) > 2*serialWords {
		return nil, fmt.Errorf("simulated device %q: its serial %q has to fit %d bytes; use an ID of 1 to %d bytes",
			id, serial, 2*serialWords, 2*serialWords-len("NL-"))
	}
	return []Register{
		{Name: "maker", Table: devices.Holding, Address: 0, Initial: text("Northline", 8)},
		{Name: "model", Table: devices.Holding, Address: 8, Initial: text(model, 8)},
		{Name: "serial", Table: devices.Holding, Address: 16, Initial: text(serial, serialWords)},
		{Name: "firmware", Table: devices.Holding, Address: 24, Initial: text("3.2.1", 4)},
	}, nil
}

func feederSettings() []Register {
	// Raw numbers, as they stand in the device: the scale is the profile's
	// business, and a copy of it here could only hide a mistake there.
	u16 := func(name string, address, initial, lo, hi uint16, drifts ...uint16) Register {
		r := Register{Name: name, Table: devices.Holding, Address: address,
			Initial: []uint16{initial}, Accepts: oneOf(lo, hi)}
		for _, d := range drifts {
			r.Drifts = append(r.Drifts, []uint16{d})
		}
		return r
	}
	return []Register{
		u16("nominal_voltage", 100, 200, 10, 400),
		u16("nominal_frequency", 101, 5000, 4500, 6500),
		u16("undervoltage_trip", 102, 850, 500, 1000, 800, 900),
		u16("undervoltage_delay", 103, 1500, 0, 60000),
		u16("overvoltage_trip", 104, 1100, 1000, 1300),
		u16("overvoltage_delay", 105, 500, 0, 60000),
		{Name: "overcurrent_pickup", Table: devices.Holding, Address: 106, Initial: words32(63000),
			Accepts: func(w []uint16) bool { v := join32(w); return v >= 1000 && v <= 500000 },
			// Both words of both values differ from the factory's, so that a
			// client that rewrites half of them is found out.
			Drifts: [][]uint16{words32(80000), words32(140000)}},
		u16("reclose_enabled", 108, 1, 0, 1),
		u16("reclose_delay", 109, 5, 1, 300),
		{Name: "active_power_limit", Table: devices.Holding, Address: 110, Initial: words32(math.Float32bits(4500)),
			Accepts: func(w []uint16) bool { v := math.Float32frombits(join32(w)); return v >= 0 && v <= 50000 }},
		u16("report_interval", 112, 60, 1, 3600, 300, 600),
		u16("comm_timeout", 113, 30, 1, 600),
		{Name: "timezone_offset", Table: devices.Holding, Address: 114, Initial: []uint16{60}, Accepts: oneOf[int16](-720, 840)},
		{Name: "event_counter", Table: devices.Holding, Address: 115, Initial: []uint16{0},
			Accepts: func([]uint16) bool { return true }, CountsEvery: time.Second},
	}
}

func feederMeasurements() []Register {
	input := func(name string, address uint16, words int, live func(Moment) []uint16) Register {
		return Register{Name: name, Table: devices.Input, Address: address, Initial: make([]uint16, words), Live: live}
	}
	one := func(v float64) []uint16 { return []uint16{uint16(int16(math.Round(v)))} }
	return []Register{
		input("voltage", 0, 1, func(m Moment) []uint16 { return one(m.around(1, 200, 2, 5*time.Minute)) }),
		input("current", 1, 1, func(m Moment) []uint16 { return one(m.around(2, 1800, 250, 9*time.Minute)) }),
		input("frequency", 2, 1, func(m Moment) []uint16 { return one(m.around(3, 5000, 3, time.Minute)) }),
		input("temperature", 3, 1, func(m Moment) []uint16 { return one(m.around(4, 315, 25, time.Hour)) }),
		input("uptime", 10, 2, func(m Moment) []uint16 { return words32(uint32(m.Up / time.Second)) }),
		input("state", 12, 1, func(m Moment) []uint16 {
			if m.Starting {
				return []uint16{stateInit}
			}
			return []uint16{stateRunning}
		}),
		{Name: "local_control", Table: devices.Discrete, Address: 0, Initial: []uint16{0}},
	}
}
