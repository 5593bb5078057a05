// Package fleet is what edgefleet does to the devices of a loaded fleet
// directory, over whatever protocol each device speaks.
//
// An Operator does the operations: Probe, Drift, ApplyBaseline, Reset, Verify.
//
// Rules of the operations:
//   - "Unreachable" is a value of Probe and Verify; "could not find out" is an
//     error. When the region's reference target is dark as well, the error has
//     kind OwnPath.
//   - A write goes: identity, interlock, read, compare, Capture, Intent, write,
//     read back, Result. Equal values are not written. When the journal cannot
//     take the intent, nothing is written.
//   - A write whose answer was lost is resolved by reading back. An operation
//     that died is called again with the same journal and goes on from what
//     the journal and the device say; it has its effect once.
//   - Errors have the kinds of package devices. Unreachable, Busy, OwnPath and
//     Indeterminate may be tried again with the same journal; the others need
//     a person.
package fleet
