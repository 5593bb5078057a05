package workflows

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"edgefleet/workflows/contract"
)

// planBounds bound the batches in work at once. No two of them share a site, so
// that what an activity holds to at a site holds for the planning.
func planBounds() contract.Bounds {
	return contract.Bounds{PerSite: 1, PerRegion: regionBatches, Total: allBatches}
}

// PlanRollout finds out what a rollout would do, and freezes it. Devices are
// read by the workers of their regions, and what was read goes into the store;
// a device that cannot be read is left out of the plan, with the reason.
func PlanRollout(ctx workflow.Context, in contract.PlanRolloutInput) (contract.PlanProgress, error) {
	p := &planning{in: in, progress: contract.PlanProgress{Began: workflow.Now(ctx)}}
	if err := workflow.SetQueryHandler(ctx, contract.QueryProgress, func() (contract.PlanProgress, error) {
		return p.progress, nil
	}); err != nil {
		return contract.PlanProgress{}, err
	}
	return p.run(ctx)
}

type planning struct {
	in       contract.PlanRolloutInput
	progress contract.PlanProgress
	begun    contract.BegunPlan
	missed   []contract.PlanBatchInput
	// refused is why there is to be no plan at all, and stop ends the looking.
	refused error
	stop    func()
}

func (p *planning) run(ctx workflow.Context) (contract.PlanProgress, error) {
	begin := workflow.WithActivityOptions(ctx, planOptions("select the devices of "+p.in.File))
	if err := workflow.ExecuteActivity(begin, contract.ActivityBeginPlan, p.in).Get(ctx, &p.begun); err != nil {
		return p.progress, err
	}
	p.progress.PlanID, p.progress.Devices = p.begun.PlanID, p.begun.Devices
	p.show(ctx)
	var refs []contract.DeviceRef
	for _, b := range p.begun.Batches {
		refs = append(refs, contract.DeviceRef{ID: strconv.Itoa(b.Number), Site: b.Group, Region: b.Region})
	}
	looking, stop := workflow.WithCancel(ctx)
	defer stop()
	p.stop = stop
	work := fanout{bounds: planBounds(), start: p.start, done: p.done}
	for _, left := range work.run(looking, refs) {
		p.miss(left, "the plan has more devices than one planning can look at")
	}
	if err := ctx.Err(); err != nil {
		return p.progress, err
	}
	if p.refused != nil {
		return p.progress, p.refused
	}
	for _, m := range p.missed {
		ctx := workflow.WithActivityOptions(ctx, planOptions(fmt.Sprintf("leave out batch %d", m.Batch)))
		if err := workflow.ExecuteActivity(ctx, contract.ActivityPlanMissed, m).Get(ctx, nil); err != nil {
			return p.progress, err
		}
	}
	freeze := workflow.WithActivityOptions(ctx, planOptions("freeze the plan"))
	var plan contract.RolloutPlan
	if err := workflow.ExecuteActivity(freeze, contract.ActivityFreezePlan, contract.FreezePlanInput{PlanID: p.begun.PlanID}).Get(ctx, &plan); err != nil {
		return p.progress, err
	}
	p.progress.Plan = &plan
	p.show(ctx)
	return p.progress, nil
}

// planOptions are for the planning's own records. A person waits for them.
func planOptions(summary string) workflow.ActivityOptions {
	return workflow.ActivityOptions{
		StartToCloseTimeout:    2 * time.Minute,
		ScheduleToCloseTimeout: 30 * time.Minute,
		Summary:                summary,
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: 200 * time.Millisecond, MaximumInterval: 30 * time.Second},
	}
}

// start begins a batch. A plan is made for a person who waits: a region without
// a worker is left out after two minutes.
func (p *planning) start(ctx workflow.Context, d contract.DeviceRef) workflow.Future {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              contract.RegionQueue(d.Region),
		ScheduleToStartTimeout: 2 * time.Minute,
		StartToCloseTimeout:    15 * time.Minute,
		ScheduleToCloseTimeout: 30 * time.Minute,
		HeartbeatTimeout:       15 * time.Second,
		WaitForCancellation:    true,
		Summary:                fmt.Sprintf("read batch %s, %s", d.ID, d.Site),
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: 500 * time.Millisecond, MaximumInterval: 30 * time.Second, MaximumAttempts: 10},
	})
	return workflow.ExecuteActivity(ctx, contract.ActivityPlanDevices, contract.PlanBatchInput{PlanID: p.begun.PlanID, Batch: batchNumber(d)})
}

// batchNumber is the number of a batch that goes as a device through the
// fan-out.
func batchNumber(d contract.DeviceRef) int {
	n, err := strconv.Atoi(d.ID)
	if err != nil {
		// It was made by Itoa.
		panic(err)
	}
	return n
}

func (p *planning) done(ctx workflow.Context, d contract.DeviceRef, f workflow.Future) {
	var result contract.PlanBatchResult
	if err := f.Get(ctx, &result); err != nil {
		if refuses(err) && p.refused == nil {
			p.refused = err
			p.stop()
		}
		p.miss(d, rootMessage(err))
		return
	}
	p.progress.Looked += result.Devices
	p.progress.Changing += result.Changing
	p.show(ctx)
}

// refuses says that what is to be brought to devices cannot be: an artifact that
// is not as declared, or whose signature does not hold, or a fleet directory that
// is another by now. That is nothing about the devices of a batch, and must not
// read as if they were left out.
func refuses(err error) bool {
	var app *temporal.ApplicationError
	return errors.As(err, &app) && app.NonRetryable() && (app.Type() == contract.ErrConfig || app.Type() == contract.ErrFleetChanged)
}

func (p *planning) miss(d contract.DeviceRef, why string) {
	n := batchNumber(d)
	p.progress.Looked += p.begun.Batches[n].Devices
	p.missed = append(p.missed, contract.PlanBatchInput{PlanID: p.begun.PlanID, Batch: n, Why: why})
}

func (p *planning) show(ctx workflow.Context) {
	var b page
	b.printf("**%d of %d** devices looked at, %d would be changed\n\n", p.progress.Looked, p.progress.Devices, p.progress.Changing)
	if plan := p.progress.Plan; plan != nil {
		b.printf("plan `%s` of %s %s\n\n", plan.Hash, plan.Baseline, plan.Version)
		for _, w := range plan.Waves {
			b.printf("- wave %d, %s: %d devices\n", w.Number, w.Name, w.Devices)
		}
		for _, e := range plan.Excluded {
			b.printf("- left out, %s: %d devices\n", e.Reason, e.Devices)
		}
	}
	workflow.SetCurrentDetails(ctx, b.String())
}
