// Package workflows holds the durable part of edgefleet: what happens in which
// order, whatever crashes in between.
//
// Rules of this layer:
//   - Workflow code has no clock, randomness, map order, I/O or goroutine of
//     its own; time comes from workflow.Now, work happens in activities.
//   - It imports the contract and the runbook engine, never a driver or the
//     store. Activities are called by the names in the contract.
//   - An exported workflow is thin: it builds a state struct, sets up its
//     handlers, and runs.
//   - Behaviour changes go through a named change ID, with a new recorded
//     history in testdata/replay.
package workflows
