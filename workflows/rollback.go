package workflows

import (
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"edgefleet/workflows/contract"
)

// rollbackPage is how many devices a rollback is told of at once.
const rollbackPage = 500

const (
	// rollbackWithin bounds the work on one device, rollbackDeadline all of it
	// with the wait for its lease, which is what is left.
	rollbackWithin   = 10 * time.Minute
	rollbackDeadline = 30 * time.Minute
	rollbackWait     = rollbackDeadline - rollbackWithin
)

// Rollback gives the devices to which a rollout may have written something back
// what they had, many at once within the bounds. A device that cannot go back
// by itself is counted and named, and stops no other.
func Rollback(ctx workflow.Context, in contract.RollbackInput) (contract.RollbackProgress, error) {
	b := &rollback{in: in, progress: contract.RollbackProgress{RolloutID: in.RolloutID, Began: workflow.Now(ctx)}}
	if in.Resume != nil {
		b.progress, b.after = in.Resume.Progress, in.Resume.After
	}
	if err := workflow.SetQueryHandler(ctx, contract.QueryProgress, func() (contract.RollbackProgress, error) {
		return b.seen(), nil
	}); err != nil {
		return contract.RollbackProgress{}, err
	}
	return b.run(ctx)
}

type rollback struct {
	in     contract.RollbackInput
	after  string
	work   *fanout
	missed []contract.SettleDeviceInput
	// yields says that the rollback waits for leases by itself; waits are the
	// devices that do.
	yields   bool
	waits    []contract.LeaseWait
	progress contract.RollbackProgress
}

func (b *rollback) run(ctx workflow.Context) (contract.RollbackProgress, error) {
	b.yields = awaitsLeases(ctx)
	if b.in.Own && b.in.Resume == nil {
		if err := b.note(ctx, contract.RolloutRollingBack, b.in.Reason, "rollback begun", false); err != nil {
			return b.progress, err
		}
	}
	for more := true; more; {
		var left contract.RolloutLeft
		records := workflow.WithActivityOptions(ctx, recordOptions("what is left to take back"))
		err := workflow.ExecuteActivity(records, contract.ActivityRollbackLeft, contract.RolloutLeftInput{
			RolloutID: b.in.RolloutID, After: b.after, Limit: rollbackPage}).Get(ctx, &left)
		if err != nil {
			return b.progress, err
		}
		refs := make([]contract.DeviceRef, len(left.Devices))
		for i, d := range left.Devices {
			refs[i] = d.DeviceRef
		}
		b.work = &fanout{bounds: b.in.Bounds.WithDefaults(), start: b.start, done: b.done}
		rest := b.work.run(ctx, refs)
		if err := b.settle(ctx); err != nil {
			return b.progress, err
		}
		if err := ctx.Err(); err != nil {
			return b.progress, err
		}
		if len(rest) > 0 {
			// The page is asked for again: what is done is not in it any more.
			return b.progress, b.continued(ctx)
		}
		b.after, more = left.Next, left.Next != ""
		if more && long(ctx) {
			return b.progress, b.continued(ctx)
		}
	}
	b.show(ctx)
	if !b.in.Own {
		return b.progress, nil
	}
	state, detail := rolledBack(b.progress)
	return b.progress, b.note(ctx, state, detail, state, true)
}

func (b *rollback) continued(ctx workflow.Context) error {
	next := b.in
	next.Resume = &contract.RollbackState{After: b.after, Progress: b.progress}
	return workflow.NewContinueAsNewError(ctx, contract.WorkflowRollback, next)
}

// rolledBack says what a rollback came to.
func rolledBack(p contract.RollbackProgress) (state, detail string) {
	if p.Kept == 0 {
		return contract.RolloutRolledBack, areNow(p.Back, "as before")
	}
	return contract.RolloutPartlyBack, fmt.Sprintf("%d devices are as before, %d are not and need a person", p.Back, p.Kept)
}

// start begins the work on a device, which keeps its place while it waits for
// its lease.
func (b *rollback) start(ctx workflow.Context, d contract.DeviceRef) workflow.Future {
	if !b.yields {
		return b.turn(ctx, d)
	}
	future, settable := workflow.NewFuture(ctx)
	workflow.Go(ctx, func(ctx workflow.Context) { settable.Set(b.patiently(ctx, d)) })
	return future
}

// turn is one try at a device.
func (b *rollback) turn(ctx workflow.Context, d contract.DeviceRef) workflow.Future {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              contract.RegionQueue(d.Region),
		StartToCloseTimeout:    rollbackWithin,
		ScheduleToCloseTimeout: rollbackDeadline,
		HeartbeatTimeout:       15 * time.Second,
		WaitForCancellation:    true,
		Summary:                "roll back, " + d.ID,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval: 500 * time.Millisecond, MaximumInterval: 30 * time.Second, MaximumAttempts: 10,
		},
	})
	return workflow.ExecuteActivity(ctx, contract.ActivityRollBackDevice, contract.RollBackDeviceInput{
		Scope:     contract.Scope{DeviceID: d.ID, Actor: b.in.Actor, Reason: b.in.Reason},
		RolloutID: b.in.RolloutID, Silence: b.in.Silence, Deadline: rollbackWithin, Yield: b.yields,
	})
}

func (b *rollback) done(ctx workflow.Context, d contract.DeviceRef, f workflow.Future) {
	var v contract.DeviceVerdict
	if err := f.Get(ctx, &v); err != nil {
		b.missed = append(b.missed, contract.SettleDeviceInput{RolloutID: b.in.RolloutID, DeviceID: d.ID,
			State: contract.DeviceKept, Reason: reasonOf(err), Detail: rootMessage(err)})
		return
	}
	b.count(v)
	b.show(ctx)
}

func (b *rollback) count(v contract.DeviceVerdict) {
	if v.State == contract.DeviceBack && !v.Unsafe {
		b.progress.Back++
		return
	}
	if v.State == contract.DeviceBack {
		// It has what it had, and is not well with it.
		b.progress.Back++
	} else {
		b.progress.Kept++
	}
	if len(b.progress.Findings) < maxFindings {
		b.progress.Findings = append(b.progress.Findings, v.Finding())
	}
}

// settle notes of devices whose activity came to no end that they are not as
// before, as far as anybody knows; also when it is cancelled.
func (b *rollback) settle(ctx workflow.Context) error {
	after, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	for _, in := range b.missed {
		var v contract.DeviceVerdict
		ctx := workflow.WithActivityOptions(after, recordOptions("verdict on "+in.DeviceID))
		if err := workflow.ExecuteActivity(ctx, contract.ActivitySettleDevice, in).Get(ctx, &v); err != nil {
			return err
		}
		b.count(v)
	}
	b.missed = nil
	return nil
}

func (b *rollback) note(ctx workflow.Context, state, detail, event string, ended bool) error {
	ctx = workflow.WithActivityOptions(ctx, recordOptions("note: "+state))
	return workflow.ExecuteActivity(ctx, contract.ActivityNoteRollout, contract.NoteRolloutInput{
		RolloutID: b.in.RolloutID, State: state, Detail: detail, Event: event, Actor: b.in.Actor, Ended: ended}).Get(ctx, nil)
}

// seen is the progress with what runs at this moment.
func (b *rollback) seen() contract.RollbackProgress {
	p := b.progress
	p.Running = nil
	if b.work != nil {
		for _, d := range b.work.running {
			p.Running = append(p.Running, d.ID)
		}
	}
	slices.Sort(p.Running)
	p.LeaseWaits, p.Held = slices.Clone(b.waits[:min(len(b.waits), maxFindings)]), len(b.waits)
	return p
}

func (b *rollback) show(ctx workflow.Context) {
	var out page
	out.printf("**%d** devices are as before, %d are not\n\n", b.progress.Back, b.progress.Kept)
	out.showWaits(b.waits[:min(len(b.waits), maxFindings)], len(b.waits))
	for _, f := range b.progress.Findings {
		out.printf("- %s, %s: %s\n", f.DeviceID, f.State, f.Detail)
	}
	workflow.SetCurrentDetails(ctx, out.String())
}
