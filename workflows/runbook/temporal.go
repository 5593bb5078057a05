package runbook

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
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
	// Cache keeps the compiled program for the next run; nil compiles anew.
	Cache  *Cache
	Limits Limits
}

// Observer is told what a run does. Each field may be nil. None of the
// functions may block, except Decided.
type Observer struct {
	// Timeline gets one line of text for the workflow's timeline: what print
	// says, the begin of every change, and the end of every action.
	Timeline func(text string)
	// Step gets the title of the current step.
	Step func(title string)
	// Waiting gets the ID and prompt of the gate that opened; both are empty
	// when none is open any more.
	Waiting func(gate, prompt string)
	// Decided gets what a gate ended with, before the runbook goes on, in the
	// runbook's own coroutine: the place to append it to the ledger. A gate
	// that nobody decided ends refused, with an empty By. An error fails the
	// run.
	Decided func(ctx workflow.Context, decision contract.Decision) error
}

// Run runs a runbook to its end, and returns what its function returned, as
// text ("" for None). Its errors are non-retryable application errors of type
// contract.ErrRunbook, contract.ErrBudget or of the action that failed; a
// cancellation stays a cancellation (temporal.IsCanceledError). It panics when
// the watchdog barks, so that the workflow task fails and is tried again.
func Run(ctx workflow.Context, p Params) (string, error) {
	if sum := sha256.Sum256([]byte(p.Source)); p.Hash != "" && p.Hash != hex.EncodeToString(sum[:]) {
		return "", temporal.NewNonRetryableApplicationError(fmt.Sprintf("%s: the source does not have the SHA-256 %.80s", p.Name, p.Hash), contract.ErrRunbook, nil)
	}
	prog, err := p.Cache.compile(p.Name, p.Source, inRunbook)
	if err != nil {
		return "", applicationError(err)
	}
	text, err := execute(prog, p.Function, p.Device.ID, &temporalHost{ctx: ctx, p: &p}, p.Limits)
	if err != nil {
		return "", applicationError(err)
	}
	return text, nil
}

// applicationError turns the error of a run into what a workflow returns.
func applicationError(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		var cancelled *temporal.CanceledError
		if errors.As(err, &cancelled) {
			return cancelled
		}
		return temporal.NewNonRetryableApplicationError(err.Error(), contract.ErrRunbook, nil)
	}
	var cause error
	var action *ActionError
	if errors.As(err, &action) {
		cause = action.Cause
	}
	return temporal.NewNonRetryableApplicationError(e.Error(), e.Type, cause)
}

// temporalHost runs actions as activities. One exists per coroutine.
type temporalHost struct {
	ctx workflow.Context
	p   *Params
}

var _ Host = (*temporalHost)(nil)

// nonRetryable are the error types that a second attempt cannot mend.
var nonRetryable = []string{
	contract.ErrRejected, contract.ErrAuth, contract.ErrUnsupported, contract.ErrUnknownDevice,
	contract.ErrConfig, contract.ErrLeaseLost, contract.ErrNotFound,
}

// Act executes the activity of the action's name.
func (h *temporalHost) Act(call Call, report any) error {
	scope := h.p.Scope
	scope.DeviceID = h.p.Device.ID
	scope.Origin = call.At.Origin()
	ctx := workflow.WithActivityOptions(h.ctx, activityOptions(call, h.p.Device.Region))
	err := workflow.ExecuteActivity(ctx, call.Action.Name, contract.ActionInput{Scope: scope, Args: call.Args}).Get(ctx, report)
	if err == nil || (h.ctx.Err() != nil && temporal.IsCanceledError(err)) {
		return err
	}
	return actionError(call, err)
}

// activityOptions are those of the declaration, with what the call changes.
func activityOptions(call Call, region string) workflow.ActivityOptions {
	a := call.Action
	o := workflow.ActivityOptions{
		TaskQueue:              contract.RegionQueue(region),
		StartToCloseTimeout:    a.StartToClose,
		ScheduleToCloseTimeout: a.ScheduleToClose,
		HeartbeatTimeout:       a.Heartbeat,
		// A change that is being cancelled is waited for: the lease must not
		// be given back while the device is still written to. It learns of
		// the cancellation by its heartbeat.
		WaitForCancellation: a.Kind == contract.KindChange,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: 30 * time.Second,
			MaximumAttempts: a.MaxAttempts, NonRetryableErrorTypes: nonRetryable,
		},
		Summary: clip(call.Summary(), maxTitle),
	}
	if a.Central {
		o.TaskQueue = contract.TaskQueue
	}
	if call.Timeout > 0 {
		o.StartToCloseTimeout = call.Timeout
		o.ScheduleToCloseTimeout = max(o.ScheduleToCloseTimeout, call.Timeout)
	}
	if call.Retries >= 0 {
		o.RetryPolicy.MaximumAttempts = int32(call.Retries) + 1
	}
	return o
}

// actionError names the kind of an activity's failure. Of an activity that
// ended in another way, such as a panic, nobody can tell what it has done.
func actionError(call Call, err error) error {
	out := &ActionError{Kind: contract.ErrIndeterminate, Msg: fmt.Sprintf("%s: %v", call.Action.Name, err), Cause: err}
	var app *temporal.ApplicationError
	var timeout *temporal.TimeoutError
	switch {
	case errors.As(err, &app):
		out.Kind, out.Msg = app.Type(), fmt.Sprintf("%s: %s", call.Action.Name, app.Message())
	case errors.As(err, &timeout):
		out.Kind, out.Msg = contract.ErrTimeout, fmt.Sprintf("%s: %s", call.Action.Name, timeoutText(call, timeout.TimeoutType()))
	}
	return out
}

// timeoutText says which time ran out, and what that usually means.
func timeoutText(call Call, kind enumspb.TimeoutType) string {
	switch kind {
	case enumspb.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE:
		return fmt.Sprintf("no attempt succeeded within %v", call.Action.ScheduleToClose)
	case enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START:
		return "no worker took it up"
	case enumspb.TIMEOUT_TYPE_HEARTBEAT:
		return fmt.Sprintf("the worker that ran it was silent for %v", call.Action.Heartbeat)
	}
	limit := call.Action.StartToClose
	if call.Timeout > 0 {
		limit = call.Timeout
	}
	return fmt.Sprintf("it did not end within %v", limit)
}

// Sleep waits on a durable timer.
func (h *temporalHost) Sleep(d time.Duration, at Position) error {
	return workflow.NewTimerWithOptions(h.ctx, d, workflow.TimerOptions{Summary: "sleep, " + at.lineText()}).Get(h.ctx, nil)
}

// Now is the workflow's time.
func (h *temporalHost) Now() time.Time { return workflow.Now(h.ctx) }

// Log passes a line to the observer.
func (h *temporalHost) Log(text string) {
	if h.p.Observer.Timeline != nil {
		h.p.Observer.Timeline(text)
	}
}

// Step passes a title to the observer.
func (h *temporalHost) Step(title string, _ Position) {
	if h.p.Observer.Step != nil {
		h.p.Observer.Step(title)
	}
}

// Approve opens a gate and waits for a decision, the end of the alert, or the
// time-out.
func (h *temporalHost) Approve(g Gate) (contract.Decision, error) {
	if h.p.Gates == nil {
		return contract.Decision{}, &ActionError{Kind: contract.ErrUnsupported, Msg: "wait_for_approval: this workflow has no approval gates"}
	}
	return h.p.Gates.wait(h.ctx, g, h.p)
}

// Parallel runs body in workflow coroutines.
func (h *temporalHost) Parallel(n, limit int, failFast bool, stop func(error) bool, body func(h Host, i int) error) []error {
	ctx, cancel := workflow.WithCancel(h.ctx)
	defer cancel()
	errs := make([]error, n)
	next := 0
	wg := workflow.NewWaitGroup(ctx)
	for w := range min(n, limit) {
		wg.Add(1)
		workflow.GoNamed(ctx, fmt.Sprintf("parallel-%d", w), func(ctx workflow.Context) {
			defer wg.Done()
			for next < n && ctx.Err() == nil {
				i := next
				next++
				errs[i] = body(&temporalHost{ctx: ctx, p: h.p}, i)
				if err := errs[i]; err != nil && (failFast || (stop(err) && !h.Cancelled(err))) {
					cancel()
				}
			}
		})
	}
	wg.Wait(h.ctx)
	for i := next; i < n; i++ {
		errs[i] = workflow.ErrCanceled
	}
	return errs
}

// Cleanup detaches from the workflow's cancellation, with a time limit.
func (h *temporalHost) Cleanup(bound time.Duration) (Host, func()) {
	ctx, _ := workflow.NewDisconnectedContext(h.ctx)
	ctx, cancel := workflow.WithCancel(ctx)
	timerCtx, stopTimer := workflow.WithCancel(ctx)
	timer := workflow.NewTimerWithOptions(timerCtx, bound, workflow.TimerOptions{Summary: "limit of on_exit"})
	workflow.GoNamed(ctx, "on-exit-limit", func(ctx workflow.Context) {
		if timer.Get(ctx, nil) == nil {
			cancel()
		}
	})
	return &temporalHost{ctx: ctx, p: h.p}, func() { stopTimer(); cancel() }
}

// Cancelled recognises the SDK's cancellation. The failure of an action is
// never one, whatever its cause.
func (h *temporalHost) Cancelled(err error) bool {
	var action *ActionError
	return !errors.As(err, &action) && temporal.IsCanceledError(err)
}

// Stalled fails the workflow task, and not the workflow: how long a segment
// takes depends on the machine, so it must not become part of the history.
func (h *temporalHost) Stalled(err error) error {
	panic(fmt.Sprintf("%s: %v (the workflow task is tried again)", h.p.Name, err))
}
