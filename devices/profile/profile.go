package profile

import (
	"fmt"
	"slices"
	"time"

	"edgefleet/devices"
)

// The names of the protocols, as the drivers have them.
const (
	ModbusTCP = "modbus-tcp"
	OPCUA     = "opcua"
	SSH       = "ssh"
)

// Defaults of what a profile need not say.
const (
	DefaultSettleWait    = 500 * time.Millisecond
	DefaultSettleUpTo    = 10 * time.Second
	DefaultBackWithin    = 90 * time.Second
	DefaultConfirmWithin = 10 * time.Second
	DefaultGap           = 20 * time.Millisecond
)

// defaultFirmware is the identity point that is the firmware's version where
// the profile names no other.
const defaultFirmware = "firmware"

// Classes returns the classes of devices, in the order of the manual.
func Classes() []string { return []string{"plc", "rtu", "gateway"} }

// Protocols returns the protocols that a profile can name.
func Protocols() []string { return []string{ModbusTCP, OPCUA, SSH} }

// Plain says whether a protocol sends everything unencrypted and without
// authentication, so that a fleet with enable_encryption needs an exception.
func Plain(protocol string) bool { return protocol == ModbusTCP }

// Profile is one device model. It is not changed after it was loaded.
type Profile struct {
	Name, Description string
	// Protocol is the name of the driver, Class one of Classes.
	Protocol, Class string
	// SunSpec says that the points are those of SunSpec models, which are
	// mapped on each device.
	SunSpec bool
	// Identity says what the device has to be, in the order of the file.
	Identity []Identity
	// Settings are writable, Measurements are not; those of registers are in
	// the order of addresses, all others in that of the file, with the parts
	// of curves last.
	Settings, Measurements []devices.Point
	// Health holds when all its conditions do.
	Health []Condition
	// Interlock refuses writes while any of its conditions holds.
	Interlock []Interlock
	Actions   []Action
	Settle    Settle
	// BackWithin bounds the wait for the device after a reset or restart.
	BackWithin time.Duration
	// RestartAction is the action that restarts the device, or "".
	RestartAction string
	// Firmware is the identity point that is the firmware's version, or "".
	Firmware string
	// Install says how software is installed on the model; nil is not at all.
	Install *devices.Installation
	Quirks  Quirks
	// File is where the profile stands.
	File string
}

// Identity is a point that says what a device is.
type Identity struct {
	Point devices.Point
	// Equals is what it has to be; nil where it is only informational.
	Equals devices.Value
}

// Interlock is a condition under which nothing is written.
type Interlock struct {
	Condition
	// Tell says to the operator what to do about it.
	Tell string
}

// Action is one thing that a device can be told to do, by one write.
type Action struct {
	Name, Description string
	// Pulse is the write that does it: of a value, or of devices.RunValue to a
	// point that calls a method (Point.Method) or runs a command (HostRun).
	Pulse devices.Setting
	// Confirm is an unsigned counter of how often it was done, or nil when
	// the device has none: then a lost answer stays indeterminate.
	Confirm *devices.Point
	// ConfirmWithin bounds the wait for the counter.
	ConfirmWithin time.Duration
}

// Settle says when a written value can be read back.
type Settle struct {
	// Wait passes before the first reading, UpTo before the last.
	Wait, UpTo time.Duration
}

// Quirks is what a model does differently from its protocol's standard.
type Quirks struct {
	// OnlyWriteMultiple: the device has no single-register write.
	OnlyWriteMultiple bool
	// Gap is the pause between two requests.
	Gap time.Duration
}

// Setting returns the setting of that name.
func (p *Profile) Setting(name string) (devices.Point, bool) { return find(p.Settings, name) }

// Point returns the setting, measurement or identity point of that name.
func (p *Profile) Point(name string) (devices.Point, bool) {
	if pt, ok := find(p.Settings, name); ok {
		return pt, true
	}
	if pt, ok := find(p.Measurements, name); ok {
		return pt, true
	}
	for _, id := range p.Identity {
		if id.Point.Name == name {
			return id.Point, true
		}
	}
	return devices.Point{}, false
}

// Action returns the action of that name.
func (p *Profile) Action(name string) (Action, bool) {
	i := slices.IndexFunc(p.Actions, func(a Action) bool { return a.Name == name })
	if i < 0 {
		return Action{}, false
	}
	return p.Actions[i], true
}

// ActionNames returns the names of the actions, in the order of the file.
func (p *Profile) ActionNames() []string {
	names := make([]string, len(p.Actions))
	for i, a := range p.Actions {
		names[i] = a.Name
	}
	return names
}

func find(points []devices.Point, name string) (devices.Point, bool) {
	i := slices.IndexFunc(points, func(p devices.Point) bool { return p.Name == name })
	if i < 0 {
		return devices.Point{}, false
	}
	return points[i], true
}

// Op is how a condition compares.
type Op string

// The comparisons.
const (
	Equals  Op = "=="
	Not     Op = "!="
	AtLeast Op = ">="
	AtMost  Op = "<="
)

// Condition compares a point with a value.
type Condition struct {
	Point devices.Point
	Op    Op
	Value devices.Value
}

// Holds says whether the condition holds for the value that was read.
func (c Condition) Holds(got devices.Value) bool {
	switch c.Op {
	case Equals:
		return got == c.Value
	case Not:
		return got != c.Value
	case AtLeast:
		return number(got) >= number(c.Value)
	case AtMost:
		return number(got) <= number(c.Value)
	}
	return false
}

// String returns "state == running".
func (c Condition) String() string {
	return fmt.Sprintf("%s %s %s", c.Point.Name, c.Op, c.Point.Text(c.Value))
}

func number(v devices.Value) float64 {
	switch n := v.(type) {
	case int64:
		return float64(n)
	case uint64:
		return float64(n)
	case float64:
		return n
	}
	return 0
}
