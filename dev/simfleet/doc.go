// Package simfleet runs a simulated fleet in a process of its own, so that the
// devices stay as they are when the engine beside them is killed, as real ones
// would.
//
// One process serves devices edge-001, edge-002 and so on, and the switched
// outlets that they hang on, eight to an outlet: device i on port (i-1)%8+1 of
// outlet (i-1)/8+1. They are feeder RTUs, or of all kinds where a Mix says so;
// then one in twelve has settings from the start that somebody has changed.
// What they are and how they break is package devices/sim's; this package
// gives them a life across processes.
//
// Beside the state file, whose name the caller chooses, stand:
//
//	STATE         pid, address and token of the living process, mode 0600
//	STATE.lock    held by the living process; it says who lives, whatever STATE says
//	STATE.memory  addresses, settings, faults and counters, for the next start;
//	              host keys among it, mode 0600
//	STATE.identity  the certificate and key of all OPC UA servers, mode 0600
//	STATE.log     output of a process that Spawn started
//
// A mixed fleet takes the log-ins that stand in the credentials folder, in the
// layout of package devices/credentials, and makes them when they are not
// there: plant-ops for OPC UA, gateways for SSH.
//
// The memory is written when a fault begins or ends, at most a second after
// anything else has changed, and on stop.
//
// The control API listens on loopback. A caller proves itself with the token;
// the process first proves to the caller that it knows the token, so that
// nothing is ever said to a stranger who has got the same port.
package simfleet
