// Package runbook runs runbooks: Starlark text, in the default dialect, whose
// builtins are the actions of the contract.
//
// The core knows nothing of Temporal. It compiles a source, guards it, and
// drives it against a Host, which is everything that a runbook can reach.
// There are three hosts: Run drives a runbook inside a Temporal workflow, Plan
// walks every path that a runbook can take without doing anything, and Test
// runs a test file against canned answers and virtual time.
//
// Rules of this layer:
//
//   - A run is a function of its source, its arguments and the answers of its
//     Host. No builtin reads a clock, starts a goroutine or shows the order of
//     a Go map. The one exception is the watchdog, which ends a workflow task
//     and never a workflow.
//   - Every operation whose cost is not bounded by one step of the
//     interpreter goes through a guard that charges for it beforehand. The
//     guards are put in by rewriting the syntax tree, so that nothing in a
//     source can get around them.
//   - It imports go.starlark.net, the Temporal SDK and workflows/contract, for
//     the command line links it.
package runbook
