package workflows

import (
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"edgefleet/workflows/contract"
)

// changeAwaitLease has waves and rollbacks wait for the lease of a device until
// the device's own deadline, by an activity of its own. Without it the work on
// the device was tried ten times, which was over after two minutes.
const changeAwaitLease = "await-lease-until-the-deadline"

// awaitsLeases says whether this run waits for leases by itself.
func awaitsLeases(ctx workflow.Context) bool {
	return workflow.GetVersion(ctx, changeAwaitLease, workflow.DefaultVersion, 1) >= 1
}

// leaseWait is a device of a wave that waits for another workflow's lease. It has
// no place meanwhile: others of its site come to their turn.
type leaseWait struct {
	contract.LeaseWait
	device contract.RolloutRef
	cancel func()
	// settling says that it has given up, and its verdict is on the way.
	settling bool
}

// leastWork is the least time that the work on a device is given.
const leastWork = 30 * time.Second

// forWork is what a device's deadline leaves for the work on it: as long as that
// is expected to take, and never more than half of the deadline. A lease that is
// had at the last moment would be a write that is cut off.
func (w *wave) forWork(d contract.RolloutRef) time.Duration {
	return min(max(w.in.Strategy.Takes, d.Takes, leastWork), w.in.Strategy.DeviceDeadline/2)
}

// await has a device wait until it is to be had: then its turn comes again. When
// its deadline leaves no time for the work any more, it is over without one.
func (w *wave) await(ctx workflow.Context, selector workflow.Selector, d contract.RolloutRef, holder contract.LeaseHolder) {
	w.work.leave(d)
	now := workflow.Now(ctx)
	left := w.in.Strategy.DeviceDeadline - w.waited[d.ID] - w.forWork(d)
	waiting, cancel := workflow.WithCancel(ctx)
	wait := &leaseWait{device: d, cancel: cancel,
		LeaseWait: contract.LeaseWait{DeviceID: d.ID, Holder: holder, Since: now.Add(-w.waited[d.ID]), Until: now.Add(max(left, 0))}}
	w.waits = append(w.waits, wait)
	w.show(ctx)
	_, again := w.waited[d.ID]
	selector.AddFuture(awaitLease(waiting, left, again, d.ID, holder), func(f workflow.Future) {
		var found contract.AwaitLeaseResult
		err := f.Get(ctx, &found)
		w.waited[d.ID] += workflow.Now(ctx).Sub(now)
		switch {
		case err == nil && found.Holder != nil && !w.stops():
			w.endWait(d)
			w.await(ctx, selector, d, *found.Holder)
		case err == nil, temporal.IsCanceledError(err) && ctx.Err() == nil:
			// It is one of those that are left again.
			w.endWait(d)
			w.work.add([]contract.RolloutRef{d})
		default:
			wait.settling = true
			w.settle(ctx, selector, d, err)
		}
	})
}

// heldAgain is the pause before a device is waited for that was to be had, and
// was another's all the same: a history is not to be filled with that.
const heldAgain = 10 * time.Second

// awaitLease waits for a device for up to left.
func awaitLease(ctx workflow.Context, left time.Duration, again bool, deviceID string, holder contract.LeaseHolder) workflow.Future {
	future, settable := workflow.NewFuture(ctx)
	if again && left > 0 {
		left -= heldAgain
	}
	if left <= 0 {
		settable.SetError(temporal.NewApplicationError(holderText(deviceID, holder), contract.ErrLeaseHeld))
		return future
	}
	workflow.Go(ctx, func(ctx workflow.Context) {
		var found contract.AwaitLeaseResult
		var err error
		if again {
			err = workflow.Sleep(ctx, heldAgain)
		}
		if err == nil {
			ctx = workflow.WithActivityOptions(ctx, awaitLeaseOptions(left, deviceID))
			err = workflow.ExecuteActivity(ctx, contract.ActivityAwaitLease, contract.AwaitLeaseInput{DeviceID: deviceID, Holder: holder}).Get(ctx, &found)
		}
		settable.Set(found, err)
	})
	return future
}

// holderText says who has a device, or the partner that it waits for.
func holderText(deviceID string, h contract.LeaseHolder) string {
	text := h.DeviceID + " is held by " + h.WorkflowID + " since " + h.Since.UTC().Format(time.RFC3339)
	if h.DeviceID != deviceID {
		return deviceID + " waits for its partner: " + text
	}
	return text
}

// full says that no more may be under way at once, those that wait included.
func (w *wave) full() bool { return len(w.waits)+len(w.work.running) >= contract.MaxAtOnce }

func (w *wave) endWait(d contract.RolloutRef) {
	w.waits = slices.DeleteFunc(w.waits, func(l *leaseWait) bool { return l.device.ID == d.ID })
}

// leaveWaits has no device wait any more: nothing more is to begin in this run.
func (w *wave) leaveWaits() {
	for _, l := range w.waits {
		l.cancel()
	}
}

// leaseWaits are the first devices that wait, by ID, and how many there are.
func (w *wave) leaseWaits() (first []contract.LeaseWait, all int) {
	for _, l := range w.waits {
		if !l.settling {
			first = append(first, l.LeaseWait)
		}
	}
	slices.SortFunc(first, func(x, y contract.LeaseWait) int { return strings.Compare(x.DeviceID, y.DeviceID) })
	return first[:min(len(first), maxFindings)], len(first)
}

// waitedFor is what goes along of the waits when the wave continues as new.
func (w *wave) waitedFor() (out []contract.LeaseWaited) {
	for _, s := range w.work.sites {
		for _, d := range s.pending {
			if t := w.waited[d.ID]; t > 0 {
				out = append(out, contract.LeaseWaited{DeviceID: d.ID, Waited: t})
			}
		}
	}
	return out
}

// patiently takes a device back, and waits for it while another workflow has it.
func (b *rollback) patiently(ctx workflow.Context, d contract.DeviceRef) (v contract.DeviceVerdict, err error) {
	var waited time.Duration
	again := false
	defer b.endWait(d.ID)
	for {
		v = contract.DeviceVerdict{}
		if err = b.turn(ctx, d).Get(ctx, &v); err != nil || v.State != contract.DeviceHeld || v.Holder == nil {
			return v, err
		}
		for holder := v.Holder; holder != nil; {
			now := workflow.Now(ctx)
			left := rollbackWait - waited
			b.endWait(d.ID)
			b.waits = append(b.waits, contract.LeaseWait{DeviceID: d.ID, Holder: *holder, Since: now.Add(-waited), Until: now.Add(max(left, 0))})
			b.show(ctx)
			var found contract.AwaitLeaseResult
			if err = awaitLease(ctx, left, again, d.ID, *holder).Get(ctx, &found); err != nil {
				return v, err
			}
			waited += workflow.Now(ctx).Sub(now)
			holder, again = found.Holder, true
		}
		b.endWait(d.ID)
	}
}

func (b *rollback) endWait(id string) {
	b.waits = slices.DeleteFunc(b.waits, func(l contract.LeaseWait) bool { return l.DeviceID == id })
}

// showWaits writes who waits for whom.
func (p *page) showWaits(first []contract.LeaseWait, all int) {
	if all == 0 {
		return
	}
	p.printf("**%d** wait for another workflow's lease:\n\n", all)
	for _, l := range first {
		p.printf("- %s: %s\n", l.DeviceID, holderText(l.DeviceID, l.Holder))
	}
	p.printf("\n")
}
