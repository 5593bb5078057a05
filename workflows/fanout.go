package workflows

import (
	"slices"

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
	running   []contract.DeviceRef
	perRegion map[string]int
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
	bySite := map[string]*siteQueue{}
	for _, d := range devices {
		q := bySite[d.Site]
		if q == nil {
			q = &siteQueue{}
			bySite[d.Site] = q
			f.sites = append(f.sites, q)
		}
		q.pending = append(q.pending, d)
	}
	selector := workflow.NewSelector(ctx)
	for {
		if ctx.Err() == nil && !long(ctx) {
			f.fill(ctx, selector)
		}
		if len(f.running) == 0 {
			break
		}
		selector.Select(ctx)
	}
	for _, q := range f.sites {
		left = append(left, q.pending...)
	}
	return left
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
