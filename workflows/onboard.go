package workflows

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"edgefleet/workflows/contract"
)

// maxFailures bounds the failures that a progress names.
const maxFailures = 50

// waits are the times between the tries of a device that cannot be reached, or
// is another workflow's: it may be restarting. After the last it has failed.
func waits() []time.Duration {
	return []time.Duration{5 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute}
}

// Onboard takes the selected devices into service, many at once within the
// bounds, one activity each. A device that cannot be onboarded is left as it
// was found, counted, and named; it does not stop the others.
func Onboard(ctx workflow.Context, in contract.OnboardInput) (contract.OnboardProgress, error) {
	o := &onboarding{in: in, progress: contract.OnboardProgress{Began: workflow.Now(ctx)}}
	if err := workflow.SetQueryHandler(ctx, contract.QueryProgress, func() (contract.OnboardProgress, error) {
		return o.seen(), nil
	}); err != nil {
		return contract.OnboardProgress{}, err
	}
	return o.run(ctx)
}

type onboarding struct {
	in       contract.OnboardInput
	pending  []contract.DeviceRef
	work     fanout
	progress contract.OnboardProgress
	// tries counts, by device ID, the tries that came to nothing.
	tries map[string]int
}

func (o *onboarding) run(ctx workflow.Context) (contract.OnboardProgress, error) {
	o.work = fanout{bounds: o.in.Bounds.WithDefaults(), start: o.start, done: o.done}
	o.tries = map[string]int{}
	if o.in.Resume != nil {
		o.pending, o.progress = o.in.Resume.Pending, o.in.Resume.Progress
		for _, d := range o.in.Resume.Tried {
			o.tries[d.ID] = d.Tries
		}
	} else if err := o.choose(ctx); err != nil {
		return contract.OnboardProgress{}, err
	}
	o.show(ctx)
	left := o.work.run(ctx, o.pending)
	if err := ctx.Err(); err != nil {
		return o.progress, err
	}
	if len(left) > 0 {
		next := o.in
		next.Resume = &contract.OnboardState{Pending: left, Progress: o.progress, Tried: o.tried(left)}
		return o.progress, workflow.NewContinueAsNewError(ctx, contract.WorkflowOnboard, next)
	}
	if o.progress.Failed > 0 {
		return o.progress, temporal.NewNonRetryableApplicationError(
			fmt.Sprintf("%d of %d devices were not onboarded", o.progress.Failed, o.progress.Total), contract.ErrNotHealthy, nil, o.progress)
	}
	return o.progress, nil
}

func (o *onboarding) choose(ctx workflow.Context) error {
	ctx = workflow.WithActivityOptions(ctx, recordOptions("select devices"))
	var selected contract.Selected
	if err := workflow.ExecuteActivity(ctx, contract.ActivitySelect, o.in.Selection).Get(ctx, &selected); err != nil {
		return err
	}
	o.pending = selected.Devices
	o.progress.Total, o.progress.Skipped, o.progress.Revision = len(selected.Devices), selected.Skipped, selected.Revision
	return nil
}

// tried are the tries of those devices that had any.
func (o *onboarding) tried(devices []contract.DeviceRef) (out []contract.TriedDevice) {
	for _, d := range devices {
		if n := o.tries[d.ID]; n > 0 {
			out = append(out, contract.TriedDevice{ID: d.ID, Tries: n})
		}
	}
	return out
}

// start begins the onboarding of one device. A device that cannot be had yet
// comes back as a result, and gets another turn from done; what went wrong
// after that is retried in place, because the journal of what was begun is the
// activity's. One attempt may write twice, there and back, and a write to a
// host takes minutes when its services restart slowly: the attempts are spread
// over nine, because a device is nobody's until the deadline of a write whose
// fate is not known. The rest of the time is for a region without a worker.
func (o *onboarding) start(ctx workflow.Context, d contract.DeviceRef) workflow.Future {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              contract.RegionQueue(d.Region),
		StartToCloseTimeout:    20 * time.Minute,
		ScheduleToCloseTimeout: 45 * time.Minute,
		HeartbeatTimeout:       15 * time.Second,
		WaitForCancellation:    true,
		Summary:                "onboard " + d.ID,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval: 500 * time.Millisecond, MaximumInterval: 30 * time.Second, MaximumAttempts: 25,
		},
	})
	return workflow.ExecuteActivity(ctx, contract.ActivityOnboard, contract.OnboardDeviceInput{
		Scope: contract.Scope{DeviceID: d.ID, Actor: o.in.Actor, Reason: o.in.Reason},
		Trust: o.in.Trust, Yield: true, Final: o.tries[d.ID] == len(waits()),
	})
}

func (o *onboarding) done(ctx workflow.Context, d contract.DeviceRef, f workflow.Future) {
	var result contract.OnboardDeviceResult
	if err := f.Get(ctx, &result); err != nil {
		result.Failure = failureOf(d, err)
	}
	// Only activities that were asked to yield answer with Later, so that this
	// needs no change ID: no history of an earlier version has one.
	if result.Later && result.Failure != nil {
		o.tries[d.ID]++
		if n := o.tries[d.ID]; n <= len(waits()) && ctx.Err() == nil {
			o.work.again(ctx, d, waits()[n-1])
			o.show(ctx)
			return
		}
		result.Failure.Detail += fmt.Sprintf("; tried %d times", o.tries[d.ID])
	}
	for _, p := range result.Phases {
		o.addPhase(p)
	}
	if result.Failure == nil {
		o.progress.Done++
	} else {
		o.progress.Failed++
		if len(o.progress.Failures) < maxFailures {
			o.progress.Failures = append(o.progress.Failures, *result.Failure)
		}
	}
	o.show(ctx)
}

// failureOf is why the activity of a device ended with an error.
func failureOf(d contract.DeviceRef, err error) *contract.OnboardFailure {
	out := contract.OnboardFailure{}
	var app *temporal.ApplicationError
	switch {
	case temporal.IsCanceledError(err):
		return &contract.OnboardFailure{DeviceID: d.ID, Reason: contract.OutcomeCancelled, Detail: "the onboarding was cancelled"}
	case errors.As(err, &app) && app.HasDetails() && app.Details(&out) == nil:
		// The activity said how far it came.
	default:
		out = contract.OnboardFailure{Detail: rootMessage(err)}
	}
	out.DeviceID, out.Reason = d.ID, reasonOf(err)
	return &out
}

func (o *onboarding) addPhase(p contract.PhaseTime) {
	for i := range o.progress.Phases {
		if o.progress.Phases[i].Phase == p.Phase {
			o.progress.Phases[i].Took += p.Took
			o.progress.Phases[i].Devices++
			return
		}
	}
	p.Devices = 1
	o.progress.Phases = append(o.progress.Phases, p)
	// Devices that prove who they are have a phase more than others.
	order := contract.Phases()
	slices.SortStableFunc(o.progress.Phases, func(a, b contract.PhaseTime) int {
		return slices.Index(order, a.Phase) - slices.Index(order, b.Phase)
	})
}

// seen is the progress with what runs at this moment.
func (o *onboarding) seen() contract.OnboardProgress {
	p := o.progress
	p.Running = nil
	for _, d := range o.work.running {
		p.Running = append(p.Running, d.ID)
	}
	slices.Sort(p.Running)
	p.Waiting = len(o.work.waiting)
	return p
}

func (o *onboarding) show(ctx workflow.Context) {
	var b page
	b.printf("**%d of %d** devices onboarded, %d failed, %d were already\n\n",
		o.progress.Done, o.progress.Total, o.progress.Failed, o.progress.Skipped)
	if n := len(o.work.waiting); n > 0 {
		b.printf("%d cannot be reached so far, and wait for another try\n\n", n)
	}
	for _, f := range o.progress.Failures {
		b.printf("- %s, %s: %s\n", f.DeviceID, cmp.Or(f.Phase, f.Reason), f.Detail)
	}
	if more := o.progress.Failed - len(o.progress.Failures); more > 0 {
		b.printf("- and %d more\n", more)
	}
	workflow.SetCurrentDetails(ctx, b.String())
}

// reasonOf is the type of the error that an activity ended with.
func reasonOf(err error) string {
	var app *temporal.ApplicationError
	if errors.As(err, &app) && app.Type() != "" {
		return app.Type()
	}
	var timeout *temporal.TimeoutError
	if errors.As(err, &timeout) {
		return contract.ErrTimeout
	}
	return contract.ErrInternal
}
