// Package sunspecsim simulates SunSpec devices on loopback sockets, on top of
// package sim: a PV inverter with the models of IEEE 1547-2018, one with the
// older models, and a battery.
//
// A device has the register map of its models from address 40000 on, as the
// definitions of package sunspec list the points; the addresses are counted
// here anew, and a test holds some of them against the specification. What a
// device does not implement reads as its type's pattern for that, and cannot be
// written. Settings take what their type can hold, and enums their symbols.
// Curve 1 of models 705 to 712 is the one in force and is read-only; a write to
// AdptCrvReq (AdptCtlReq in model 711) makes the device busy for a while, and
// then copies the curve that was asked for, or says that it failed.
//
//	cfg := sunspecsim.Inverter("PV-000123")
//	cfg.Sim = sim.Config{ID: "edge-017"}
//	device, err := sunspecsim.Start(cfg)
package sunspecsim
