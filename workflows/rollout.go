package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"edgefleet/workflows/contract"
)

// Rollout carries out a frozen plan, wave by wave, each in a workflow of its
// own. It stops where a limit is passed, and goes on, is aborted or taken back
// as its strategy or an operator says.
func Rollout(ctx workflow.Context, in contract.RolloutInput) (contract.RolloutProgress, error) {
	r := &rollout{in: in, progress: contract.RolloutProgress{PlanHash: in.PlanHash, State: contract.RolloutRunning,
		Waves: []contract.WaveStatus{}, Began: workflow.Now(ctx)}}
	if s := in.Resume; s != nil {
		r.begun, r.progress, r.passes, r.approved, r.paused = s.Begun, s.Progress, s.Passes, s.Approved, s.Paused
		r.accepted, r.acceptedMine = s.Accepted, s.AcceptedMine
		r.want, r.wanted = s.Want, s.Wanted
	}
	if err := r.setup(ctx); err != nil {
		return contract.RolloutProgress{}, err
	}
	return r.run(ctx)
}

// rollout is one run of the workflow.
type rollout struct {
	in       contract.RolloutInput
	begun    contract.BegunRollout
	progress contract.RolloutProgress
	// passes counts the waves that were begun, those that went on after a
	// pause included.
	passes                 int
	accepted, acceptedMine contract.RolloutCounts
	// approved is the last wave that was approved; decision answers the gate
	// that is open.
	approved int
	decision *contract.RolloutDecision

	paused bool
	// want is what is to become of the rollout instead of its next wave:
	// RolloutAborting or RolloutRollingBack, as wanted says.
	want   string
	wanted string
	// again says that devices are to come to their turn again.
	again bool
	child workflow.ChildWorkflowFuture
}

// run is the order of things. Every way out after the plan was begun goes
// through end.
func (r *rollout) run(ctx workflow.Context) (contract.RolloutProgress, error) {
	if r.begun.RolloutID == "" {
		if err := r.begin(ctx); err != nil {
			// Who asks how it stands has to hear that it does not run.
			r.progress.State, r.progress.Detail = contract.RolloutFailed, rootMessage(err)
			return r.progress, err
		}
	}
	workflow.Go(ctx, r.watchDeadline)
	state, detail, err := r.waves(ctx)
	if temporal.IsCanceledError(err) || ctx.Err() != nil {
		state, detail = contract.RolloutCancelled, "it was cancelled; what had been written stays until it is rolled back"
	} else if err != nil && !workflow.IsContinueAsNewError(err) {
		state, detail = contract.RolloutFailed, rootMessage(err)
	}
	// An operator who was told that his word is taken has to have his answer.
	after, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	if waitErr := r.answered(after); waitErr != nil {
		return r.progress, waitErr
	}
	if err == nil && state == contract.RolloutDone && r.want != "" {
		// His word came while another was answered, behind the last wave.
		if state, detail, err = r.leave(ctx); err != nil {
			state, detail = contract.RolloutFailed, rootMessage(err)
		}
		if waitErr := r.answered(after); waitErr != nil {
			return r.progress, waitErr
		}
	}
	if workflow.IsContinueAsNewError(err) {
		return r.progress, r.continued(ctx)
	}
	if endErr := r.end(after, state, detail); endErr != nil {
		return r.progress, endErr
	}
	return r.progress, err
}

// answered waits until everybody who told the rollout something has his answer.
func (r *rollout) answered(ctx workflow.Context) error {
	return workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) })
}

// begin starts the plan, once.
func (r *rollout) begin(ctx workflow.Context) error {
	begin := workflow.WithActivityOptions(ctx, planOptions("begin the plan "+r.in.PlanHash))
	err := workflow.ExecuteActivity(begin, contract.ActivityBeginRollout, contract.BeginRolloutInput{
		PlanHash: r.in.PlanHash, Actor: r.in.Actor, Reason: r.in.Reason}).Get(ctx, &r.begun)
	if err != nil {
		return err
	}
	p := &r.progress
	p.RolloutID, p.Baseline, p.Version = r.begun.RolloutID, r.begun.Baseline, r.begun.Version
	for _, w := range r.begun.Waves {
		p.Waves = append(p.Waves, contract.WaveStatus{PlanWave: w})
		p.Total += w.Devices
	}
	r.say(ctx, "begun: %s %s for %s in %s", p.Baseline, p.Version, countOf(p.Total, "device"), countOf(len(p.Waves), "wave"))
	return r.note(ctx, "begun", "", "")
}

// waves carries the waves out, one after the other, and says how the rollout
// ended.
func (r *rollout) waves(ctx workflow.Context) (state, detail string, err error) {
	for i := range r.progress.Waves {
		w := &r.progress.Waves[i]
		for w.Verdict == "" {
			if long(ctx) {
				return "", "", r.continued(ctx)
			}
			if refused, err := r.approval(ctx, i); err != nil || refused != "" {
				return contract.RolloutRefused, refused, err
			}
			if err := r.holdOn(ctx); err != nil {
				return "", "", err
			}
			if r.want == "" {
				if err := r.wave(ctx, w); err != nil {
					return "", "", err
				}
			}
			if r.want != "" {
				return r.leave(ctx)
			}
		}
		r.acceptedMine = contract.RolloutCounts{}
	}
	return contract.RolloutDone, r.progress.Words(), nil
}

// wave carries out what is left up to a wave, and decides what its end means.
func (r *rollout) wave(ctx workflow.Context, w *contract.WaveStatus) error {
	if w.Began == nil {
		now := workflow.Now(ctx)
		w.Began = &now
		r.say(ctx, "wave %d (%s, %s) begins", w.Number, w.Name, countOf(w.Devices, "device"))
	}
	r.again = false
	out, err := r.carryOut(ctx, *w)
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	if err := r.tally(ctx); err != nil {
		return err
	}
	breach := out.Breach
	if err != nil {
		breach = fmt.Sprintf("wave %d came to no end: %s", w.Number, rootMessage(err))
	}
	w.Detail = out.Detail
	switch {
	case breach != "":
		return r.breached(ctx, w, out, breach)
	case out.Verdict == "" || r.again:
		// It was stopped, or there is more to do for it.
		return nil
	}
	r.over(ctx, w, out.Verdict)
	return nil
}

// over gives a wave its verdict.
func (r *rollout) over(ctx workflow.Context, w *contract.WaveStatus, verdict string) {
	now := workflow.Now(ctx)
	w.Verdict, w.Ended = verdict, &now
	r.say(ctx, "wave %d is %s: %s", w.Number, verdict, w.Words())
}

// carryOut runs the child of a wave to its end.
func (r *rollout) carryOut(ctx workflow.Context, w contract.WaveStatus) (contract.WaveProgress, error) {
	r.passes++
	s := r.begun.Strategy
	id := contract.RolloutWaveID(r.begun.RolloutID, w.Number, r.passes)
	rate := s.Rate
	for range w.Number - 1 {
		rate *= s.RateGrowth
	}
	before := r.progress.RolloutCounts
	for _, c := range []struct {
		state  string
		n      int
		unsafe bool
	}{
		{contract.DeviceHealthy, w.Healthy, false}, {contract.DeviceAlready, w.Already, false}, {contract.DeviceChanged, w.Changed, false},
		{contract.DeviceFailed, w.Failed, false}, {contract.DeviceUnknown, w.Unknown, false}, {contract.DeviceNotBegun, w.NotBegun, false},
		{contract.DeviceSkipped, w.Skipped, false}, {contract.DeviceBack, w.Back, false},
	} {
		before.Add(c.state, c.unsafe, -c.n)
	}
	before.Unsafe -= w.Unsafe
	childCtx := workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID: id, WaitForCancellation: true, ParentClosePolicy: parentCloses,
		StaticSummary:         fmt.Sprintf("wave %d (%s) of rollout %s, %s %s", w.Number, w.Name, r.begun.RolloutID, r.begun.Baseline, r.begun.Version),
		TypedSearchAttributes: rolloutAttributes(r.begun.RolloutID),
	})
	r.child = workflow.ExecuteChildWorkflow(childCtx, contract.WorkflowRolloutWave, contract.RolloutWaveInput{
		RolloutID: r.begun.RolloutID, PlanHash: r.begun.PlanHash, Wave: w.PlanWave, Strategy: s, Actor: r.in.Actor, Reason: r.in.Reason,
		Rate: rate, Total: r.progress.Total, Before: before, Mine: w.RolloutCounts, Accepted: r.accepted, AcceptedMine: r.acceptedMine,
		Control: r.control(),
	})
	r.progress.WaveID = id
	r.show(ctx)
	var out contract.WaveProgress
	err := r.child.Get(ctx, &out)
	r.child, r.progress.WaveID = nil, ""
	return out, err
}

// tally takes over what became of the devices.
func (r *rollout) tally(ctx workflow.Context) error {
	tally, err := tallyOf(ctx, r.begun.RolloutID)
	if err != nil {
		return err
	}
	r.progress.RolloutCounts = contract.RolloutCounts{}
	for _, t := range tally.Waves {
		r.progress.Sum(t.RolloutCounts)
		for i := range r.progress.Waves {
			if r.progress.Waves[i].Number == t.Wave {
				r.progress.Waves[i].RolloutCounts = t.RolloutCounts
			}
		}
	}
	r.show(ctx)
	return nil
}

// breached does what the strategy says when a limit is passed.
func (r *rollout) breached(ctx workflow.Context, w *contract.WaveStatus, out contract.WaveProgress, why string) error {
	r.say(ctx, "%s", why)
	for i, f := range out.Findings {
		if i == 3 {
			break
		}
		r.say(ctx, "%s is %s: %s", f.DeviceID, f.State, f.Detail)
	}
	switch r.begun.Strategy.OnBreach {
	case contract.BreachAbort:
		r.wish(contract.RolloutAborting, why)
		return nil
	case contract.BreachRollBack:
		r.wish(contract.RolloutRollingBack, why)
		return nil
	}
	if r.want != "" {
		return nil
	}
	r.paused = true
	r.stand(ctx, contract.RolloutPaused, why)
	if err := r.note(ctx, "paused", "", ""); err != nil {
		return err
	}
	if err := r.holdOn(ctx); err != nil || r.want != "" {
		return err
	}
	// Whoever lets it go on has accepted what there was until then.
	if err := r.tally(ctx); err != nil {
		return err
	}
	r.accepted, r.acceptedMine = r.progress.RolloutCounts, w.RolloutCounts
	if left := w.Devices - w.RolloutCounts.Ended(); left <= 0 && !r.again {
		// Its devices had their turn; what was not healthy was accepted.
		verdict := out.Verdict
		if verdict == "" {
			verdict = contract.VerdictFailed
		}
		w.Detail = why + " (accepted)"
		r.over(ctx, w, verdict)
	}
	return nil
}

// holdOn waits while the rollout is paused.
func (r *rollout) holdOn(ctx workflow.Context) error {
	if !r.paused || r.want != "" {
		return ctx.Err()
	}
	if r.progress.State != contract.RolloutPaused {
		r.stand(ctx, contract.RolloutPaused, "paused")
	}
	return workflow.Await(ctx, func() bool { return !r.paused || r.want != "" })
}

// approvalName is what has to be approved before a wave, or "".
func (r *rollout) approvalName(i int) string {
	w := r.progress.Waves[i]
	name := fmt.Sprintf("wave %d (%s, %s)", w.Number, w.Name, countOf(w.Devices, "device"))
	first := i == 0
	switch r.begun.Strategy.Approval.Before {
	case contract.ApproveStart:
		if first {
			return "the rollout"
		}
	case contract.ApproveFleet:
		if canary := r.progress.Waves[0].Name == canaryName; canary && i == 1 || !canary && first {
			return name
		}
	case contract.ApproveWaves:
		return name
	}
	return ""
}

// canaryName is what a plan calls its canary wave.
const canaryName = "canary"

// approval waits for the approval that a wave needs. It returns why the rollout
// is not to go on, or "".
func (r *rollout) approval(ctx workflow.Context, i int) (refused string, err error) {
	name, number := r.approvalName(i), r.progress.Waves[i].Number
	if name == "" || r.approved >= number || r.want != "" {
		return "", nil
	}
	within := r.begun.Strategy.Approval.Within
	by := workflow.Now(ctx).Add(within)
	r.decision = nil
	r.progress.Waiting, r.progress.ApproveBy = name, &by
	r.stand(ctx, contract.RolloutWaiting, name)
	if err := r.note(ctx, "", "", ""); err != nil {
		return "", err
	}
	_, err = workflow.AwaitWithOptions(ctx, workflow.AwaitOptions{Timeout: within, TimerOptions: workflow.TimerOptions{Summary: "approval of " + name}},
		func() bool { return r.decision != nil || r.want != "" })
	d := r.decision
	r.decision, r.progress.Waiting, r.progress.ApproveBy = nil, "", nil
	if err != nil {
		return "", err
	}
	switch {
	case r.want != "":
		return "", nil
	case d == nil:
		return fmt.Sprintf("nobody approved %s within %v", name, within), nil
	case !d.Approved:
		return fmt.Sprintf("%s refused %s: %s", d.By, name, orNoReason(d.Note)), nil
	}
	r.approved = number
	r.stand(ctx, contract.RolloutRunning, "")
	return "", nil
}

func orNoReason(note string) string {
	if note == "" {
		return "no reason was given"
	}
	return note
}

// leave ends a rollout as it was wished.
func (r *rollout) leave(ctx workflow.Context) (state, detail string, err error) {
	if r.want != contract.RolloutRollingBack {
		return contract.RolloutAborted, r.wanted, nil
	}
	r.stand(ctx, contract.RolloutRollingBack, r.wanted)
	if err := r.note(ctx, "rollback begun", "", ""); err != nil {
		return "", "", err
	}
	childCtx := workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID: contract.RollbackID(r.begun.RolloutID), WaitForCancellation: true, ParentClosePolicy: parentCloses,
		StaticSummary:         "take back rollout " + r.begun.RolloutID + ": " + r.wanted,
		TypedSearchAttributes: rolloutAttributes(r.begun.RolloutID),
	})
	var out contract.RollbackProgress
	err = workflow.ExecuteChildWorkflow(childCtx, contract.WorkflowRollback, contract.RollbackInput{
		RolloutID: r.begun.RolloutID, Actor: r.in.Actor, Reason: r.wanted, Bounds: r.begun.Strategy.Bounds, Silence: !r.begun.Strategy.NoSilences,
	}).Get(ctx, &out)
	if err != nil {
		return "", "", err
	}
	r.progress.Rollback = &out
	if err := r.tally(ctx); err != nil {
		return "", "", err
	}
	state, detail = rolledBack(out)
	return state, r.wanted + "; " + detail, nil
}

// watchDeadline aborts a rollout that takes too long.
func (r *rollout) watchDeadline(ctx workflow.Context) {
	left := r.begun.Strategy.Deadline - workflow.Now(ctx).Sub(r.progress.Began)
	if err := workflow.NewTimerWithOptions(ctx, max(left, time.Second), workflow.TimerOptions{Summary: "the deadline of the rollout"}).Get(ctx, nil); err != nil {
		return
	}
	if r.want == "" && !r.progress.Over() {
		r.wish(contract.RolloutAborting, fmt.Sprintf("it did not end within %v", r.begun.Strategy.Deadline))
		r.tell(ctx)
	}
}

// continued takes the rollout along into a new run. It happens between waves,
// when no handler runs; what was wished while the last of them ran goes along.
func (r *rollout) continued(ctx workflow.Context) error {
	next := r.in
	next.Resume = &contract.RolloutState{Begun: r.begun, Progress: r.progress, Passes: r.passes, Approved: r.approved, Paused: r.paused,
		Accepted: r.accepted, AcceptedMine: r.acceptedMine, Want: r.want, Wanted: r.wanted}
	return workflow.NewContinueAsNewError(ctx, contract.WorkflowRollout, next)
}
