package workflows

import (
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"edgefleet/workflows/contract"
)

// maxHistory is when a workflow that works through a list continues as new: a
// good way below the 10,000 events that a history may have.
const maxHistory = 8000

// fanout works through a list of devices, one activity each, as many at once
// as the bounds allow. Sites take turns in the order in which the list names
// them, each in the order of its devices.
type fanout struct {
	bounds contract.Bounds
	// start starts the work on a device; done is told when its future is
	// ready.
	start func(ctx workflow.Context, d contract.DeviceRef) workflow.Future
	done  func(ctx workflow.Context, d contract.DeviceRef, f workflow.Future)

	sites     []*siteQueue
	bySite    map[string]*siteQueue
	running   []contract.DeviceRef
	perRegion map[string]int
	// waiting are the devices that done gave to again, and alarm is when the
	// next timer for them rings; it is zero when there is none.
	waiting []waiting
	alarm   time.Time
}

// waiting is a device whose turn came to nothing, and that is due for another.
type waiting struct {
	device contract.DeviceRef
	due    time.Time
}

// siteQueue is what is left to do at one site, and how much of it runs.
type siteQueue struct {
	pending []contract.DeviceRef
	running int
}

// run works through the list. It returns when nothing runs any more: because
// everything is done, because the context was cancelled, or because the
// history is long; then what it returns is left.
func (f *fanout) run(ctx workflow.Context, devices []contract.DeviceRef) (left []contract.DeviceRef) {
	f.perRegion = map[string]int{}
	f.bySite = map[string]*siteQueue{}
	for _, d := range devices {
		q := f.bySite[d.Site]
		if q == nil {
			q = &siteQueue{}
			f.bySite[d.Site] = q
			f.sites = append(f.sites, q)
		}
		q.pending = append(q.pending, d)
	}
	selector := workflow.NewSelector(ctx)
	for {
		goesOn := ctx.Err() == nil && !long(ctx)
		if goesOn {
			f.recall(ctx)
			f.fill(ctx, selector)
			f.ring(ctx, selector)
		}
		if len(f.running) == 0 && (!goesOn || len(f.waiting) == 0) {
			break
		}
		selector.Select(ctx)
	}
	for _, q := range f.sites {
		left = append(left, q.pending...)
	}
	for _, w := range f.waiting {
		left = append(left, w.device)
	}
	return left
}

// again gives a device another turn, after some time and behind the devices of
// its site that had none yet. It is called by done, whose device has no place
// any more: what cannot be worked on does not hold up the others.
func (f *fanout) again(ctx workflow.Context, d contract.DeviceRef, after time.Duration) {
	f.waiting = append(f.waiting, waiting{device: d, due: workflow.Now(ctx).Add(after)})
}

// recall puts the devices that are due back into the queues of their sites.
func (f *fanout) recall(ctx workflow.Context) {
	now := workflow.Now(ctx)
	f.waiting = slices.DeleteFunc(f.waiting, func(w waiting) bool {
		if w.due.After(now) {
			return false
		}
		q := f.bySite[w.device.Site]
		q.pending = append(q.pending, w.device)
		return true
	})
}

// ring sets a timer for the device that is due first. One timer serves all that
// are due by then, so that many dark devices cost little history.
func (f *fanout) ring(ctx workflow.Context, selector workflow.Selector) {
	var first time.Time
	for _, w := range f.waiting {
		if first.IsZero() || w.due.Before(first) {
			first = w.due
		}
	}
	if first.IsZero() || !f.alarm.IsZero() && !first.Before(f.alarm) {
		return
	}
	f.alarm = first
	timer := workflow.NewTimer(ctx, first.Sub(workflow.Now(ctx)))
	selector.AddFuture(timer, func(workflow.Future) {
		if f.alarm.Equal(first) {
			f.alarm = time.Time{}
		}
	})
}

// long says that this run has enough history.
func long(ctx workflow.Context) bool {
	info := workflow.GetInfo(ctx)
	return info.GetContinueAsNewSuggested() || info.GetCurrentHistoryLength() > maxHistory
}

// fill starts what there is room for, one device of each site in turn.
func (f *fanout) fill(ctx workflow.Context, selector workflow.Selector) {
	for started := true; started; {
		started = false
		for _, q := range f.sites {
			if len(f.running) >= f.bounds.Total {
				return
			}
			if len(q.pending) == 0 || q.running >= f.bounds.PerSite || f.perRegion[q.pending[0].Region] >= f.bounds.PerRegion {
				continue
			}
			d := q.pending[0]
			q.pending = q.pending[1:]
			q.running++
			f.perRegion[d.Region]++
			f.running = append(f.running, d)
			selector.AddFuture(f.start(ctx, d), func(future workflow.Future) {
				f.leave(q, d)
				f.done(ctx, d, future)
			})
			started = true
		}
	}
}

func (f *fanout) leave(q *siteQueue, d contract.DeviceRef) {
	q.running--
	f.perRegion[d.Region]--
	f.running = slices.DeleteFunc(f.running, func(r contract.DeviceRef) bool { return r.ID == d.ID })
}
