// Package activities implements the action catalogue that the contract
// declares: each thing that can be done to or asked of a device, an incident
// or the ledger.
//
// Rules of this layer:
//   - One activity per entry of the catalogue, registered under its wire name.
//   - Every change to a device passes the journal: the ledger has the intent,
//     under the caller's lease, before anything is sent.
//   - An activity may be run again at any point; its second run finds what
//     the first one did by workflow, run and activity ID, and never doubles it.
//   - toTemporal is the one border where errors become Temporal errors.
package activities
