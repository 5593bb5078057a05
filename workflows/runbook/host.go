package runbook

import (
	"time"

	"edgefleet/workflows/contract"
)

// Host is everything that a runbook can reach: the world of one coroutine of
// one run. Its methods are called one at a time per Host, and all but Now, Log
// and Step may wait.
type Host interface {
	// Act performs an action and fills report, a pointer to the contract's
	// report type of that action. A failure of the action is an *ActionError;
	// a cancellation is whatever Cancelled recognises.
	Act(call Call, report any) error
	// Sleep waits; at is the position of the call.
	Sleep(d time.Duration, at Position) error
	// Now is the host's present time, the same on every replay.
	Now() time.Time
	// Approve opens a gate and waits for its end.
	Approve(gate Gate) (contract.Decision, error)
	// Parallel calls body for 0 to n-1, at most limit at a time and begun in
	// that order, each with a Host of its own, and waits for all. With
	// failFast, or when stop says so of an error, the others are cancelled at
	// the first error. The errors come back by index.
	Parallel(n, limit int, failFast bool, stop func(error) bool, body func(h Host, i int) error) []error
	// Log adds a line to the run's timeline.
	Log(text string)
	// Step names the current step.
	Step(title string, at Position)
	// Cleanup returns the Host for the functions of on_exit, which a
	// cancellation of the run does not reach and which ends after bound, and
	// a function that gives up what it holds.
	Cleanup(bound time.Duration) (Host, func())
	// Cancelled tells whether err is the cancellation of the run.
	Cancelled(err error) bool
	// Stalled is called when the watchdog ended a segment. It may panic; the
	// error that it returns ends the run.
	Stalled(err error) error
}

// Call is one call of an action.
type Call struct {
	Action contract.Action
	// DeviceID is always the device that the run is for.
	DeviceID string
	// Args holds the parameters after device_id that the runbook gave.
	Args map[string]string
	// Timeout bounds one attempt; zero is the action's own.
	Timeout time.Duration
	// Retries is how often a failed attempt is repeated; -1 is the action's
	// own number.
	Retries int
	// Title replaces the summary, when it is not empty.
	Title string
	At    Position
	// Attempted says that the call stands inside attempt, so that a failure
	// does not end the run.
	Attempted bool
}

// Summary is the call in words: "reset network, edge-003, line 5".
func (c Call) Summary() string {
	if c.Title != "" {
		return c.Title
	}
	return c.Action.Verb + ", " + c.DeviceID + ", " + c.At.lineText()
}

// Gate is one call of wait_for_approval.
type Gate struct {
	ID, Prompt string
	Timeout    time.Duration
	At         Position
}
