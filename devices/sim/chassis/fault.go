package chassis

import (
	"fmt"
	"strings"
)

// Fault is a way in which a simulated device can be broken.
type Fault string

// The faults. Offline, hang and reset-only are faults of the device's network
// side, of which it has at most one at a time. A power cycle cures them,
// unless they are stuck. Drift is beside them: it outlives a power cycle and
// ends for each setting that is written again, unless it is stuck.
const (
	// FaultOffline closes the socket: connections are refused.
	FaultOffline Fault = "offline"
	// FaultDrift changes some settings, as somebody at the front panel would.
	// A stuck drift acknowledges later writes and forgets them.
	FaultDrift Fault = "drift"
	// FaultHang accepts connections and never answers.
	FaultHang Fault = "hang"
	// FaultResetOnly accepts connections and resets them at once.
	FaultResetOnly Fault = "reset-only"
)

// Faults returns all faults, in the order in which help texts list them.
func Faults() []Fault {
	return []Fault{FaultOffline, FaultDrift, FaultHang, FaultResetOnly}
}

// ParseFault returns the fault of that name; the error lists the names.
func ParseFault(name string) (Fault, error) {
	names := make([]string, 0, len(Faults()))
	for _, f := range Faults() {
		if string(f) == name {
			return f, nil
		}
		names = append(names, string(f))
	}
	return "", fmt.Errorf("unknown fault %q: want one of %s", name, strings.Join(names, ", "))
}
