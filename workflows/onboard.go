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
}

func (o *onboarding) run(ctx workflow.Context) (contract.OnboardProgress, error) {
	o.work = fanout{bounds: o.in.Bounds.WithDefaults(), start: o.start, done: o.done}
	if o.in.Resume != nil {
		o.pending, o.progress = o.in.Resume.Pending, o.in.Resume.Progress
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
		next.Resume = &contract.OnboardState{Pending: left, Progress: o.progress}
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

// start begins the onboarding of one device. The attempts are spread over two
// minutes: the device may be restarting, or its lease may be another's. The
// half hour is for a region without a worker.
func (o *onboarding) start(ctx workflow.Context, d contract.DeviceRef) workflow.Future {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              contract.RegionQueue(d.Region),
		StartToCloseTimeout:    10 * time.Minute,
		ScheduleToCloseTimeout: 30 * time.Minute,
		HeartbeatTimeout:       15 * time.Second,
		WaitForCancellation:    true,
		Summary:                "onboard " + d.ID,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval: 500 * time.Millisecond, MaximumInterval: 30 * time.Second, MaximumAttempts: 10,
		},
	})
	return workflow.ExecuteActivity(ctx, contract.ActivityOnboard, contract.OnboardDeviceInput{
		Scope: contract.Scope{DeviceID: d.ID, Actor: o.in.Actor, Reason: o.in.Reason},
	})
}

func (o *onboarding) done(ctx workflow.Context, d contract.DeviceRef, f workflow.Future) {
	var result contract.OnboardDeviceResult
	if err := f.Get(ctx, &result); err != nil {
		result.Failure = failureOf(d, err)
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
}

// seen is the progress with what runs at this moment.
func (o *onboarding) seen() contract.OnboardProgress {
	p := o.progress
	p.Running = nil
	for _, d := range o.work.running {
		p.Running = append(p.Running, d.ID)
	}
	slices.Sort(p.Running)
	return p
}

func (o *onboarding) show(ctx workflow.Context) {
	var b page
	b.printf("**%d of %d** devices onboarded, %d failed, %d were already\n\n",
		o.progress.Done, o.progress.Total, o.progress.Failed, o.progress.Skipped)
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
