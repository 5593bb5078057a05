package workflows

import (
	"fmt"
	"slices"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"edgefleet/workflows/contract"
)

// Decommission takes devices out of service, many at once within the bounds,
// one activity each. A device that another workflow holds is waited for; one
// that stays in service is counted and named, and stops no other.
func Decommission(ctx workflow.Context, in contract.DecommissionInput) (contract.DecommissionProgress, error) {
	d := &decommissioning{in: in, pending: in.Devices,
		progress: contract.DecommissionProgress{Total: len(in.Devices), Began: workflow.Now(ctx)}}
	if in.Resume != nil {
		d.pending, d.progress = in.Resume.Pending, in.Resume.Progress
	}
	if err := workflow.SetQueryHandler(ctx, contract.QueryProgress, func() (contract.DecommissionProgress, error) {
		return d.seen(), nil
	}); err != nil {
		return contract.DecommissionProgress{}, err
	}
	return d.run(ctx)
}

type decommissioning struct {
	in       contract.DecommissionInput
	pending  []contract.DeviceRef
	work     fanout
	progress contract.DecommissionProgress
}

func (d *decommissioning) run(ctx workflow.Context) (contract.DecommissionProgress, error) {
	d.work = fanout{bounds: d.in.Bounds.WithDefaults(), start: d.start, done: d.done}
	d.show(ctx)
	left := d.work.run(ctx, d.pending)
	if err := ctx.Err(); err != nil {
		return d.progress, err
	}
	if len(left) > 0 {
		next := d.in
		next.Devices, next.Resume = nil, &contract.DecommissionState{Pending: left, Progress: d.progress}
		return d.progress, workflow.NewContinueAsNewError(ctx, contract.WorkflowDecommission, next)
	}
	if d.progress.Failed > 0 {
		return d.progress, temporal.NewNonRetryableApplicationError(
			fmt.Sprintf("%d of %d devices are still in service", d.progress.Failed, d.progress.Total), contract.ErrRejected, nil, d.progress)
	}
	return d.progress, nil
}

func (d *decommissioning) start(ctx workflow.Context, ref contract.DeviceRef) workflow.Future {
	return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, decommissionOptions(ref.ID)), contract.ActivityDecommission,
		contract.DecommissionDeviceInput{Scope: contract.Scope{DeviceID: ref.ID, Actor: d.in.Actor, Reason: d.in.Reason}})
}

func (d *decommissioning) done(ctx workflow.Context, ref contract.DeviceRef, f workflow.Future) {
	if err := f.Get(ctx, nil); err == nil {
		d.progress.Done++
	} else {
		d.progress.Failed++
		failure := contract.DecommissionFailure{DeviceID: ref.ID, Reason: reasonOf(err), Detail: rootMessage(err)}
		if temporal.IsCanceledError(err) {
			failure.Reason, failure.Detail = contract.OutcomeCancelled, "the decommissioning was cancelled"
		}
		if len(d.progress.Failures) < maxFailures {
			d.progress.Failures = append(d.progress.Failures, failure)
		}
	}
	d.show(ctx)
}

// seen is the progress with what runs at this moment.
func (d *decommissioning) seen() contract.DecommissionProgress {
	p := d.progress
	p.Running = nil
	for _, ref := range d.work.running {
		p.Running = append(p.Running, ref.ID)
	}
	slices.Sort(p.Running)
	return p
}

func (d *decommissioning) show(ctx workflow.Context) {
	var b page
	b.printf("**%d of %d** devices decommissioned, %d failed\n\n", d.progress.Done, d.progress.Total, d.progress.Failed)
	for _, f := range d.progress.Failures {
		b.printf("- %s, %s: %s\n", f.DeviceID, f.Reason, f.Detail)
	}
	if more := d.progress.Failed - len(d.progress.Failures); more > 0 {
		b.printf("- and %d more\n", more)
	}
	workflow.SetCurrentDetails(ctx, b.String())
}
