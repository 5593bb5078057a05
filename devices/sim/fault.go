package sim

import "edgefleet/devices/sim/chassis"

// Fault is a way in which a simulated device can be broken; package chassis
// says what each of them does.
type Fault = chassis.Fault

// The faults.
const (
	FaultOffline   = chassis.FaultOffline
	FaultDrift     = chassis.FaultDrift
	FaultHang      = chassis.FaultHang
	FaultResetOnly = chassis.FaultResetOnly
)

// Faults returns all faults, in the order in which help texts list them.
func Faults() []Fault { return chassis.Faults() }

// ParseFault returns the fault of that name; the error lists the names.
func ParseFault(name string) (Fault, error) { return chassis.ParseFault(name) }

// Write is one word or coil that a client wrote.
type Write = chassis.Write

// Counter says how often clients wrote to one address; its Write is the last.
type Counter = chassis.Counter
