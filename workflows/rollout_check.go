package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"edgefleet/workflows/contract"
	"edgefleet/workflows/runbook"
)

// checkBatch is how many devices one activity of a check looks at.
const checkBatch = 50

// check looks at the wave when all of its devices had their turn: after a while,
// until enough looks in a row found everything healthy, or the time is over.
// Without a verdict it is to be gone on with after the workflow continued as
// new.
func (w *wave) check(ctx workflow.Context, selector workflow.Selector) error {
	c := w.in.Strategy.Checks
	if !w.state.Soaked {
		w.progress.Phase = contract.WaveSoaking
		w.show(ctx)
		if err := w.rest(ctx, selector, "soak", c.Soak); err != nil {
			return err
		}
		w.state.Soaked = true
	}
	w.progress.Phase = contract.WaveChecking
	w.show(ctx)
	if w.state.CheckUntil == nil {
		until := workflow.Now(ctx).Add(c.Within)
		w.state.CheckUntil = &until
	}
	for !w.control.Stopped {
		verdict, detail, err := w.look(ctx)
		if err != nil {
			return err
		}
		w.progress.Detail = detail
		if verdict == contract.VerdictHealthy {
			if w.state.Passed++; w.state.Passed >= c.Passes {
				w.progress.Verdict = verdict
				return nil
			}
		} else {
			w.state.Passed = 0
			if !workflow.Now(ctx).Add(c.Every).Before(*w.state.CheckUntil) {
				w.progress.Verdict, w.progress.Breach = verdict, fmt.Sprintf("wave %d is %s: %s", w.in.Wave.Number, verdict, detail)
				return nil
			}
		}
		if long(ctx) {
			return nil
		}
		if err := w.rest(ctx, selector, "the next check", c.Every); err != nil {
			return err
		}
	}
	return nil
}

// rest waits, unless the wave is told to stop.
func (w *wave) rest(ctx workflow.Context, selector workflow.Selector, what string, d time.Duration) error {
	if d <= 0 || w.control.Stopped {
		return ctx.Err()
	}
	timers, stop := workflow.WithCancel(ctx)
	defer stop()
	over := false
	timer := workflow.NewTimerWithOptions(timers, d, workflow.TimerOptions{Summary: what})
	selector.AddFuture(timer, func(workflow.Future) { over = true })
	for !over && !w.control.Stopped && ctx.Err() == nil {
		selector.Select(ctx)
	}
	return ctx.Err()
}

// look is one look at everything that the strategy names.
func (w *wave) look(ctx workflow.Context) (verdict, detail string, err error) {
	found, err := w.lookAtDevices(ctx)
	if err != nil {
		return "", "", err
	}
	verdict, detail = contract.VerdictHealthy, areNow(found.healthy, "healthy")
	if text := w.breach(found.last); text != "" {
		verdict, detail = contract.VerdictFailed, text
		if found.unknown > 0 && found.failed == 0 {
			verdict = contract.VerdictUnknown
		}
	}
	for _, more := range []func() (string, string, error){
		func() (string, string, error) { return w.lookAtMetric(ctx) },
		func() (string, string, error) { return w.lookByRunbook(ctx, found.first) },
	} {
		v, text, err := more()
		if err != nil {
			return "", "", err
		}
		if text != "" {
			detail += "; " + text
		}
		// What failed says more than what could not be found out.
		if v == contract.VerdictFailed || v == contract.VerdictUnknown && verdict == contract.VerdictHealthy {
			verdict = v
		}
	}
	return verdict, detail, nil
}

// looked is what came of a look at the devices.
type looked struct {
	healthy, failed, unknown int
	// first is the first healthy one.
	first string
	last  contract.DeviceVerdict
}

// lookAtDevices asks the devices of the wave that count as healthy, and those
// that this wave found otherwise when it looked before, whether they are.
func (w *wave) lookAtDevices(ctx workflow.Context) (looked, error) {
	var out looked
	records := workflow.WithActivityOptions(ctx, recordOptions("the healthy devices"))
	for after, more := "", true; more; {
		var left contract.RolloutLeft
		err := workflow.ExecuteActivity(records, contract.ActivityRolloutLeft, contract.RolloutLeftInput{
			RolloutID: w.in.RolloutID, UpTo: w.in.Wave.Number, After: after, Limit: leftPage, Healthy: true}).Get(ctx, &left)
		if err != nil {
			return out, err
		}
		if err := w.lookAt(ctx, left.Devices, &out); err != nil {
			return out, err
		}
		after, more = left.Next, left.Next != ""
	}
	tally, err := tallyOf(ctx, w.in.RolloutID)
	if err != nil {
		return out, err
	}
	for _, t := range tally.Waves {
		if t.Wave == w.in.Wave.Number {
			w.progress.RolloutCounts = t.RolloutCounts
		}
	}
	return out, nil
}

// lookAt asks a page of devices, in batches of their regions side by side.
func (w *wave) lookAt(ctx workflow.Context, refs []contract.RolloutRef, out *looked) error {
	var batches []contract.CheckRolloutInput
	var regions []string
	for _, d := range refs {
		n := -1
		for i := range batches {
			if regions[i] == d.Region && len(batches[i].IDs) < checkBatch {
				n = i
			}
		}
		if n < 0 {
			n = len(batches)
			batches, regions = append(batches, contract.CheckRolloutInput{RolloutID: w.in.RolloutID}), append(regions, d.Region)
		}
		batches[n].IDs = append(batches[n].IDs, d.ID)
	}
	futures := make([]workflow.Future, len(batches))
	for i, b := range batches {
		ctx := workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
			TaskQueue:              contract.RegionQueue(regions[i]),
			StartToCloseTimeout:    10 * time.Minute,
			ScheduleToCloseTimeout: 30 * time.Minute,
			HeartbeatTimeout:       15 * time.Second,
			WaitForCancellation:    true,
			Summary:                fmt.Sprintf("check %s of %s", countOf(len(b.IDs), "device"), regions[i]),
			RetryPolicy:            &temporal.RetryPolicy{InitialInterval: 500 * time.Millisecond, MaximumInterval: 30 * time.Second},
		})
		futures[i] = workflow.ExecuteActivity(ctx, contract.ActivityCheckRollout, b)
	}
	for i, f := range futures {
		var result contract.CheckRolloutResult
		if err := f.Get(ctx, &result); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			// Nobody looked, so nobody can say that these are healthy.
			return fmt.Errorf("check the devices of %s: %w", regions[i], err)
		}
		for _, v := range result.Verdicts {
			w.judge(v, out)
		}
	}
	return nil
}

func (w *wave) judge(v contract.DeviceVerdict, out *looked) {
	switch v.State {
	case contract.DeviceHealthy, contract.DeviceAlready:
		if out.healthy++; out.healthy == 1 {
			out.first = v.DeviceID
		}
		return
	case contract.DeviceFailed:
		out.failed++
	default:
		out.unknown++
	}
	out.last = v
	for _, f := range w.progress.Findings {
		if f.DeviceID == v.DeviceID {
			return
		}
	}
	w.find(v.Finding())
}

// lookAtMetric evaluates the strategy's PromQL expression.
func (w *wave) lookAtMetric(ctx workflow.Context) (verdict, detail string, err error) {
	expression := w.in.Strategy.Checks.Metric
	if expression == "" {
		return contract.VerdictHealthy, "", nil
	}
	options := recordOptions("evaluate the metric")
	options.StartToCloseTimeout, options.ScheduleToCloseTimeout = 30*time.Second, 5*time.Minute
	var v contract.MetricVerdict
	err = workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, options), contract.ActivityCheckMetric, contract.CheckMetricInput{Expression: expression}).Get(ctx, &v)
	switch {
	case ctx.Err() != nil:
		return "", "", ctx.Err()
	case err != nil:
		return contract.VerdictUnknown, "the metric: " + rootMessage(err), nil
	}
	return v.Verdict, "the metric: " + v.Detail, nil
}

// tallyOf counts what became of the devices of a rollout.
func tallyOf(ctx workflow.Context, rolloutID string) (contract.RolloutTally, error) {
	ctx = workflow.WithActivityOptions(ctx, recordOptions("count the devices"))
	var out contract.RolloutTally
	err := workflow.ExecuteActivity(ctx, contract.ActivityRolloutTally, contract.RolloutTallyInput{RolloutID: rolloutID}).Get(ctx, &out)
	return out, err
}

// lookByRunbook has a runbook's word on a device of the wave: it is fine when
// the runbook comes to its end. The runbook has no lease on the device, so what
// it tries to change is refused.
func (w *wave) lookByRunbook(ctx workflow.Context, deviceID string) (verdict, detail string, err error) {
	ref := w.in.Strategy.Checks.Runbook
	if ref == nil {
		return contract.VerdictHealthy, "", nil
	}
	if deviceID == "" {
		return contract.VerdictUnknown, "the runbook has no healthy device to look at", nil
	}
	var read contract.BeginResult
	options := workflow.WithActivityOptions(ctx, planOptions("read runbook "+ref.Path))
	err = workflow.ExecuteActivity(options, contract.ActivityReadRunbook, contract.ReadRunbookInput{DeviceID: deviceID, Runbook: *ref}).Get(ctx, &read)
	if err == nil {
		_, err = runbook.Run(ctx, runbook.Params{
			Name: ref.Path, Source: read.Source, Hash: read.Hash, Function: ref.Function, Device: read.Device,
			Scope: contract.Scope{DeviceID: deviceID, Actor: w.in.Actor, Reason: w.in.Reason},
			Gates: w.gates, Cache: w.programs,
		})
	}
	name := "the runbook " + ref.Path + " for " + deviceID
	switch {
	case ctx.Err() != nil:
		return "", "", ctx.Err()
	case err == nil:
		return contract.VerdictHealthy, name + " is content", nil
	case reasonOf(err) == contract.ErrRunbook:
		return contract.VerdictFailed, name + ": " + rootMessage(err), nil
	}
	return contract.VerdictUnknown, name + ": " + rootMessage(err), nil
}
