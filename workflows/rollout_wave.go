package workflows

import (
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"edgefleet/workflows/contract"
	"edgefleet/workflows/runbook"
)

// leftPage is how many devices a wave is told of at once.
const leftPage = 500

// RolloutWave carries out what is left of a rollout up to a wave, one activity
// for each device within the bounds, and looks at the devices afterwards. It
// ends early, with what is left to do, when a limit is passed or it is told to
// stop: what is in work then comes to its end. Programs keeps compiled runbooks.
func RolloutWave(ctx workflow.Context, in contract.RolloutWaveInput, programs *runbook.Cache) (contract.WaveProgress, error) {
	w := &wave{in: in, programs: programs, control: in.Control, calendars: map[string]contract.Opening{}, waited: map[string]time.Duration{},
		progress: contract.WaveProgress{Wave: in.Wave.Number, Phase: contract.WaveRolling, RolloutCounts: in.Mine, Began: workflow.Now(ctx)}}
	if r := in.Resume; r != nil {
		w.progress, w.idle, w.state = r.Progress, r.Idle, *r
		for _, l := range r.Waited {
			w.waited[l.DeviceID] = l.Waited
		}
	}
	if err := workflow.SetQueryHandler(ctx, contract.QueryProgress, func() (contract.WaveProgress, error) {
		return w.seen(), nil
	}); err != nil {
		return contract.WaveProgress{}, err
	}
	if in.Strategy.Checks.Runbook != nil {
		gates, err := runbook.SetupGates(ctx)
		if err != nil {
			return contract.WaveProgress{}, err
		}
		w.gates = gates
	}
	return w.run(ctx)
}

// wave is one run of a wave.
type wave struct {
	in       contract.RolloutWaveInput
	programs *runbook.Cache
	gates    *runbook.Gates
	control  contract.RolloutControl
	progress contract.WaveProgress
	// state is what goes along when it continues as new.
	state contract.WaveState

	work waveWork
	// yields says that the wave waits for leases by itself; waits are the
	// devices that do, and waited how long each has so far.
	yields    bool
	waits     []*leaseWait
	waited    map[string]time.Duration
	calendars map[string]contract.Opening
	// nextStart is when the rate lets the next device begin.
	nextStart time.Time
	// idle is the time that does not count for the deadline, idleSince when the
	// present one began, or zero.
	idle      time.Duration
	idleSince time.Time
	// wakes are the timers that run, by what they are for.
	wakes map[string]time.Time
}

func (w *wave) run(ctx workflow.Context) (contract.WaveProgress, error) {
	w.yields = awaitsLeases(ctx)
	selector := w.listen(ctx)
	if !w.state.Soaked {
		w.show(ctx)
		if err := w.roll(ctx, selector); err != nil {
			return w.progress, err
		}
	}
	if w.progress.Breach == "" && !w.control.Stopped && ctx.Err() == nil && !long(ctx) {
		if err := w.check(ctx, selector); err != nil {
			return w.progress, err
		}
	}
	if err := ctx.Err(); err != nil {
		return w.progress, err
	}
	if w.progress.Verdict == "" && w.progress.Breach == "" && !w.control.Stopped {
		return w.again(ctx, selector)
	}
	w.progress.Phase, w.progress.Running, w.progress.Opens = contract.WaveOver, nil, nil
	w.progress.Left = max(0, w.in.Wave.Devices-w.progress.Ended())
	w.show(ctx)
	return w.progress, nil
}

// listen takes up what the rollout is told, for as long as the wave runs.
func (w *wave) listen(ctx workflow.Context) workflow.Selector {
	w.wakes = map[string]time.Time{}
	selector := workflow.NewSelector(ctx)
	selector.AddReceive(workflow.GetSignalChannel(ctx, contract.SignalRolloutControl), func(c workflow.ReceiveChannel, _ bool) {
		c.Receive(ctx, &w.control)
	})
	return selector
}

// again continues as new: the history is long. What was told meanwhile goes
// along.
func (w *wave) again(ctx workflow.Context, selector workflow.Selector) (contract.WaveProgress, error) {
	for selector.HasPending() {
		selector.Select(ctx)
	}
	next := w.in
	if !w.idleSince.IsZero() {
		// The time in which it could do nothing goes on in the next run.
		w.idle += workflow.Now(ctx).Sub(w.idleSince)
	}
	w.state.Progress, w.state.Idle, w.state.Waited = w.progress, w.idle, w.waitedFor()
	next.Control, next.Resume = w.control, &w.state
	return w.progress, workflow.NewContinueAsNewError(ctx, contract.WorkflowRolloutWave, next)
}

// roll brings every device that is left to its verdict. It returns when nothing
// runs any more: because everything is done, because it is to stop, or because
// the history is long.
func (w *wave) roll(ctx workflow.Context, selector workflow.Selector) error {
	w.work = waveWork{bounds: w.in.Strategy.Bounds.WithDefaults(), perSite: map[string]int{}, perRegion: map[string]int{}, perGroup: map[string]int{}}
	timers, stopTimers := workflow.WithCancel(ctx)
	defer stopTimers()
	for {
		if w.goesOn(ctx) {
			if err := w.refill(ctx); err != nil {
				return err
			}
			if w.work.empty() && w.atRest() {
				w.progress.Phase = contract.WaveSoaking
				return nil
			}
			if err := w.lookAtCalendars(ctx); err != nil {
				return err
			}
			w.overdue(ctx)
		}
		w.fill(ctx, timers, selector)
		w.phase(ctx)
		if ctx.Err() != nil || w.stops() || long(ctx) {
			w.leaveWaits()
			if w.atRest() {
				return nil
			}
		}
		selector.Select(ctx)
	}
}

// atRest says that no device is in work, and none waits for its lease.
func (w *wave) atRest() bool { return len(w.work.running) == 0 && len(w.waits) == 0 }

// goesOn says that devices may begin.
func (w *wave) goesOn(ctx workflow.Context) bool {
	return ctx.Err() == nil && !w.stops() && !w.control.Paused && !long(ctx)
}

// stops says that nothing more begins.
func (w *wave) stops() bool { return w.control.Stopped || w.progress.Breach != "" }

// refill asks for more to do before it runs out.
func (w *wave) refill(ctx workflow.Context) error {
	for !w.work.asked && w.work.waiting() < 2*w.work.bounds.Total {
		var page contract.RolloutLeft
		ctx := workflow.WithActivityOptions(ctx, recordOptions(fmt.Sprintf("what is left up to wave %d", w.in.Wave.Number)))
		err := workflow.ExecuteActivity(ctx, contract.ActivityRolloutLeft, contract.RolloutLeftInput{
			RolloutID: w.in.RolloutID, UpTo: w.in.Wave.Number, After: w.work.after, Limit: leftPage}).Get(ctx, &page)
		if err != nil {
			return err
		}
		w.work.add(page.Devices)
		w.work.after, w.work.asked = page.Next, page.Next == ""
	}
	return nil
}

// fill starts what there is room for, one device of each site in turn.
func (w *wave) fill(ctx, timers workflow.Context, selector workflow.Selector) {
	for started := true; started; {
		started = false
		for _, site := range w.work.sites {
			if !w.goesOn(ctx) || !w.work.room(site) || w.full() {
				continue
			}
			now := workflow.Now(ctx)
			i := slices.IndexFunc(site.pending, func(d contract.RolloutRef) bool { return w.open(d, now) && w.work.apart(d) })
			if i < 0 {
				continue
			}
			if wait := w.nextStart.Sub(now); wait > 0 {
				w.wake(timers, selector, "the rate", wait)
				return
			}
			w.begin(ctx, selector, w.work.take(site, i))
			started = true
		}
	}
	if w.goesOn(ctx) {
		w.wakeForWindow(ctx, timers, selector)
		w.wake(timers, selector, "the deadline of the wave", w.remaining(ctx))
	}
}

// wake makes sure that the selector wakes up after a while.
func (w *wave) wake(timers workflow.Context, selector workflow.Selector, what string, wait time.Duration) {
	if _, runs := w.wakes[what]; runs {
		return
	}
	w.wakes[what] = workflow.Now(timers).Add(wait)
	timer := workflow.NewTimerWithOptions(timers, max(wait, time.Millisecond), workflow.TimerOptions{Summary: what})
	selector.AddFuture(timer, func(workflow.Future) { delete(w.wakes, what) })
}

func (w *wave) begin(ctx workflow.Context, selector workflow.Selector, d contract.RolloutRef) {
	if w.in.Rate > 0 {
		w.nextStart = workflow.Now(ctx).Add(time.Duration(float64(time.Minute) / w.in.Rate))
	}
	selector.AddFuture(w.start(ctx, d), func(f workflow.Future) {
		var v contract.DeviceVerdict
		err := f.Get(ctx, &v)
		switch {
		case err == nil && v.State == contract.DeviceNotInTime:
			// Its turn comes again when the window opens.
			w.work.leave(d)
			w.work.add([]contract.RolloutRef{d})
			w.closed(ctx, d)
		case err == nil && v.State == contract.DeviceHeld && v.Holder != nil:
			w.await(ctx, selector, d, *v.Holder)
		case err == nil:
			w.done(ctx, d, v)
		default:
			w.settle(ctx, selector, d, err)
		}
	})
}

// start begins the work on one device.
func (w *wave) start(ctx workflow.Context, d contract.RolloutRef) workflow.Future {
	s := w.in.Strategy
	// What it has waited for its lease is gone.
	deadline := max(s.DeviceDeadline-w.waited[d.ID], w.forWork(d))
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              contract.RegionQueue(d.Region),
		StartToCloseTimeout:    deadline,
		ScheduleToCloseTimeout: deadline,
		HeartbeatTimeout:       15 * time.Second,
		WaitForCancellation:    true,
		Summary:                "roll out, " + d.ID,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval: 500 * time.Millisecond, MaximumInterval: 30 * time.Second, MaximumAttempts: 10,
		},
	})
	in := contract.RollOutDeviceInput{
		Scope:     contract.Scope{DeviceID: d.ID, Actor: w.in.Actor, Reason: w.in.Reason},
		RolloutID: w.in.RolloutID, Takes: max(s.Takes, d.Takes), Silence: !s.NoSilences, Deadline: deadline, Yield: w.yields,
	}
	if o, ok := w.calendars[d.Calendar]; ok {
		in.Until = o.Until
	}
	return workflow.ExecuteActivity(ctx, contract.ActivityRollOutDevice, in)
}

// settle gives a device a verdict whose own activity did not come to one, also
// when the wave is cancelled.
func (w *wave) settle(ctx workflow.Context, selector workflow.Selector, d contract.RolloutRef, cause error) {
	state, reason := contract.DeviceUnknown, reasonOf(cause)
	var detail string
	switch {
	case temporal.IsCanceledError(cause):
		state, reason, detail = contract.DeviceNotBegun, contract.OutcomeCancelled, "the rollout was cancelled"
	case reason == contract.ErrLeaseHeld, reason == contract.ErrTimeout:
		// Another workflow has it, or no worker took it up: if anything was
		// written, the settling knows.
		state, detail = contract.DeviceNotBegun, rootMessage(cause)
	default:
		detail = rootMessage(cause)
	}
	after, _ := workflow.NewDisconnectedContext(ctx)
	after = workflow.WithActivityOptions(after, recordOptions("verdict on "+d.ID))
	settled := workflow.ExecuteActivity(after, contract.ActivitySettleDevice, contract.SettleDeviceInput{
		RolloutID: w.in.RolloutID, DeviceID: d.ID, State: state, Reason: reason, Detail: detail})
	selector.AddFuture(settled, func(f workflow.Future) {
		var v contract.DeviceVerdict
		if err := f.Get(after, &v); err != nil {
			v = contract.DeviceVerdict{DeviceID: d.ID, State: contract.DeviceUnknown, Unsafe: true, Reason: reason, Detail: detail + "; " + rootMessage(err)}
		}
		w.done(ctx, d, v)
	})
}

// done takes a verdict into account.
func (w *wave) done(ctx workflow.Context, d contract.RolloutRef, v contract.DeviceVerdict) {
	w.work.leave(d)
	w.endWait(d)
	w.progress.Count(v.State, v.Unsafe)
	if v.State != contract.DeviceHealthy && v.State != contract.DeviceAlready && v.State != contract.DeviceSkipped {
		w.find(v.Finding())
	}
	if w.progress.Breach == "" {
		w.progress.Breach = w.breach(v)
	}
}

func (w *wave) find(f contract.RolloutFinding) {
	if len(w.progress.Findings) < maxFindings {
		w.progress.Findings = append(w.progress.Findings, f)
	}
}

// breach says which limit is passed, or "".
func (w *wave) breach(last contract.DeviceVerdict) string {
	s, mine, all := w.in.Strategy, w.progress.RolloutCounts, w.in.Before
	all.Sum(mine)
	if !s.AllowUnsafe && all.Unsafe > w.in.Accepted.Unsafe {
		text := fmt.Sprintf("%d devices may be neither as planned nor as before", all.Unsafe-w.in.Accepted.Unsafe)
		if last.Unsafe {
			text = fmt.Sprintf("%s may be neither as planned nor as before: %s", last.DeviceID, last.Detail)
		}
		return text
	}
	if text := s.WaveLimit.Breach(mine.Bad()-w.in.AcceptedMine.Bad(), w.in.Wave.Devices); text != "" {
		return fmt.Sprintf("wave %d: %s", w.in.Wave.Number, text)
	}
	if text := s.TotalLimit.Breach(all.Bad()-w.in.Accepted.Bad(), w.in.Total); text != "" {
		return "the rollout: " + text
	}
	return ""
}

// remaining is what is left of the deadline.
func (w *wave) remaining(ctx workflow.Context) time.Duration {
	idle := w.idle
	if !w.idleSince.IsZero() {
		idle += workflow.Now(ctx).Sub(w.idleSince)
	}
	return w.in.Strategy.WaveDeadline - workflow.Now(ctx).Sub(w.progress.Began) + idle
}

// overdue ends a wave that takes too long.
func (w *wave) overdue(ctx workflow.Context) {
	if w.remaining(ctx) > 0 {
		return
	}
	left := max(0, w.in.Wave.Devices-w.progress.Ended()-len(w.work.running))
	w.progress.Breach = fmt.Sprintf("wave %d did not end within %v; %d devices were not started", w.in.Wave.Number, w.in.Strategy.WaveDeadline, left)
}

// phase says what the wave is about, and counts the time in which it can do
// nothing.
func (w *wave) phase(ctx workflow.Context) {
	was := w.progress.Phase
	w.progress.Phase, w.progress.Opens = contract.WaveRolling, nil
	now := workflow.Now(ctx)
	idle := false
	switch {
	case w.control.Paused && !w.stops():
		w.progress.Phase, idle = contract.WavePaused, len(w.work.running) == 0
	case len(w.work.running) == 0 && !w.work.empty() && w.goesOn(ctx) && !w.full():
		if w.opens() != nil {
			w.progress.Phase, w.progress.Opens, idle = contract.WaveWaiting, w.next(), true
		}
	case len(w.work.running) == 0 && len(w.waits) > 0 && !w.stops():
		w.progress.Phase = contract.WaveHeld
	}
	switch {
	case idle && w.idleSince.IsZero():
		w.idleSince = now
	case !idle && !w.idleSince.IsZero():
		w.idle += now.Sub(w.idleSince)
		w.idleSince = time.Time{}
	}
	if was != w.progress.Phase || w.progress.Ended()%10 == 0 {
		w.show(ctx)
	}
}

// seen is the progress with what runs at this moment.
func (w *wave) seen() contract.WaveProgress {
	p := w.progress
	p.Running = nil
	for _, d := range w.work.running {
		p.Running = append(p.Running, d.ID)
	}
	slices.Sort(p.Running)
	p.LeaseWaits, p.Held = w.leaseWaits()
	p.Left = max(0, w.in.Wave.Devices-p.Ended())
	return p
}

func (w *wave) show(ctx workflow.Context) {
	p := w.progress
	var b page
	b.printf("**wave %d, %s** — %s\n\n%d of %d devices: %s\n\n", w.in.Wave.Number, w.in.Wave.Name, p.Phase, p.Ended(), w.in.Wave.Devices, p.Words())
	if p.Opens != nil {
		b.printf("the next window opens at %s\n\n", p.Opens.Format(time.RFC3339))
	}
	if p.Breach != "" {
		b.printf("**stopped**: %s\n\n", p.Breach)
	}
	b.showWaits(w.leaseWaits())
	for _, f := range p.Findings {
		b.printf("- %s, %s: %s\n", f.DeviceID, f.State, f.Detail)
	}
	workflow.SetCurrentDetails(ctx, b.String())
}
