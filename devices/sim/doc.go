// Package sim simulates Modbus devices on loopback sockets: a feeder RTU, and
// the switched outlet that can cut its power.
//
// A simulated device speaks the real protocol through
// github.com/simonvetter/modbus, a library other than the one that the driver
// uses, so that a misreading of the protocol cannot hide on both sides. It has
// the register map of the built-in profile of the same name, refuses what a
// device would refuse (exception 2 for an illegal or read-only address, 3 for
// a value out of range), and counts every write to every address.
//
// Rules of this package:
//   - A device keeps its address for life: through faults, power cycles and,
//     where the caller gives the address back to Start, restarts.
//   - A fault changes what stands at that address and nothing else: its
//     settings, counters and log are those of the device.
//   - Once a call that darkens a device has returned (Break, PowerOff), no
//     request that arrived before can change it any more.
//   - Connections are cut whenever what stands at the address changes.
//   - A device without a fault costs one goroutine; values that move are
//     computed when they are read.
package sim
