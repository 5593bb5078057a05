package runbook

import (
	"go.temporal.io/sdk/workflow"

	"edgefleet/workflows/contract"
)

// Params is one run of a runbook inside a workflow.
type Params struct {
	// Name is what errors call the source: its path in the runbooks folder.
	Name string
	// Source is the text and Hash its SHA-256 in hexadecimal; both come from
	// history. An empty Hash is not checked.
	Source, Hash string
	// Function is called with the device's ID as its one argument.
	Function string
	Device   contract.Device
	// Scope is passed on to every action; Run sets its Origin.
	Scope    contract.Scope
	Observer Observer
	// Gates is what SetupGates returned, or nil when the workflow has no
	// approval gates; then wait_for_approval fails.
	Gates *Gates
	// Resolved tells whether the alert has ended; nil is never. It is asked
	// whenever the workflow makes progress, and ends an open gate.
	Resolved func() bool
	Limits   Limits
}

// Observer is told what a run does. Each field may be nil. None of the
// functions may block, except Decided.
type Observer struct {
	// Timeline gets one line of text for the workflow's timeline: what print
	// says, and the begin and end of every action.
	Timeline func(text string)
	// Step gets the title of the current step.
	Step func(title string)
	// Waiting gets the ID and prompt of the gate that opened; both are empty
	// when none is open any more.
	Waiting func(gate, prompt string)
	// Decided gets what a gate ended with, before the runbook goes on, in the
	// runbook's own coroutine: the place to append it to the ledger. An error
	// fails the run.
	Decided func(ctx workflow.Context, decision contract.Decision) error
}

// Gates are the approval gates of one workflow run.
type Gates struct {
	gates map[string]*gate
}

// gate is one call of wait_for_approval.
type gate struct {
	open    bool
	decided *contract.Decision
}

// SetupGates registers the handler of contract.UpdateDecide. The workflow
// calls it first thing, so that an early Update is answered and not lost.
func SetupGates(ctx workflow.Context) (*Gates, error) {
	return &Gates{gates: map[string]*gate{}}, nil
}

// Run runs a runbook to its end, and returns what its function returned, as
// text ("" for None). Its errors are non-retryable application errors of type
// contract.ErrRunbook, contract.ErrBudget or of the action that failed; a
// cancellation stays a cancellation (temporal.IsCanceledError).
func Run(ctx workflow.Context, p Params) (string, error) {
	return "", nil
}
