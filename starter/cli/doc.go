// Package cli is the edgefleet command line.
//
// Rules of this layer:
//   - Data goes to stdout, progress and errors to stderr.
//   - Exit code 0 is done, 1 is failed (a dark device, a drifted one, a broken
//     ledger are failures too), 2 is bad usage or bad input.
//   - Everything that lists takes --output table|json.
//   - Nothing is asked on a terminal: a prompt never blocks a script.
//   - It talks to Temporal only; no driver and no database is linked. A fleet
//     directory is read through devices/fleetdir, which dials nothing.
package cli
