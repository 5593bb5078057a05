// Package fleet is what edgefleet does to the devices of a loaded fleet
// directory, over whatever protocol each device speaks.
//
// An Operator does the operations: Probe, Drift, ApplyBaseline, Reset, Verify,
// Onboard, and Fingerprints; of what was planned, PlanChanges, ApplyPlanned and
// Restore, and of patches PlanPatch, ApplyPatch and RevertPatch.
//
// Rules of the operations:
//   - A device that can prove who it is has to, before anything is said to it:
//     one of the fingerprints that the fleet file states, or else, where the
//     fleet trusts what a device shows first, one of those that were pinned when
//     it was onboarded. Credentials are read at each use, and are never shown.
//   - That we lack a pin or credentials is kind Auth, and says nothing about the
//     device: Probe calls it reachable when it answers. That somebody else
//     answers is kind Auth as well, and is neither reachable nor dark.
//   - "Unreachable" is a value of Probe and Verify; "could not find out" is an
//     error. When the region's reference target is dark as well, the error has
//     kind OwnPath.
//   - A write goes: identity, interlock, read, compare, Intent with what it
//     replaces, write, read back, Result. Equal values are not written. When
//     the journal cannot take the intent, nothing is written.
//   - Changes and reports have the digest of a file or a secret, and captures
//     its content, from which alone it is put back.
//   - A write whose answer was lost is resolved by reading back. An operation
//     that died is called again with the same journal and goes on from what
//     the journal and the device say; it has its effect once.
//   - A patch is opened only when it is as declared and signed. Whether it was
//     installed is decided by the version on the device, and what is not well
//     with it goes back, under an intent of its own.
//   - Errors have the kinds of package devices. Unreachable, Busy, OwnPath and
//     Indeterminate may be tried again with the same journal; the others need
//     a person.
package fleet
