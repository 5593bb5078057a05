// Package sim simulates devices on loopback sockets. It has those that speak
// Modbus by registers of their own: a feeder RTU, the switched outlet that can
// cut its power, and a controller. SunSpec devices are in
// devices/sunspec/sunspecsim, OPC UA servers in opcuasim, Linux gateways in
// sshsim; what all of them have in common, faults and power among it, is in
// chassis.
//
// A simulated device speaks the real protocol through
// github.com/simonvetter/modbus, a library other than the one that the driver
// uses, so that a misreading of the protocol cannot hide on both sides. It has
// the register map of the built-in profile of the same name, refuses what a
// device would refuse (exception 2 for an illegal or read-only address, 3 for
// a value out of range), and counts every write to every address.
//
// A test here loads every built-in profile and drives the simulator that it
// has; a new profile brings its simulator.
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
