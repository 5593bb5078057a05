// Package control brings devices to what a fleet directory declares, for a
// caller that changes many things side by side and waits for each, as
// Terraform does.
//
// A change goes: its file is written, with others that come at the same
// moment; the workers run a revision that has it; its devices are onboarded or
// decommissioned. Everything is asked and started over Temporal, as the
// command line does it.
//
// Rules of this layer:
//   - The bounds of an onboarding hold over all devices that this process has
//     in work, however many changes they came with.
//   - What is begun goes on when the caller leaves: a workflow is never
//     cancelled from here.
//   - What nobody could find out is an error, and never an absence.
package control
