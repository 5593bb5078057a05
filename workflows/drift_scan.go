package workflows

import (
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"edgefleet/workflows/contract"
)

const (
	// maxFindings bounds the drifted, and the unreadable, devices that a
	// progress names.
	maxFindings = 50
	// regionBatches and allBatches bound the batches in work at once. No two
	// of them share a site, so that what an activity holds to at a site holds
	// for the scan.
	regionBatches = 4
	allBatches    = 16
)

// DriftScan compares the selected devices with their baselines, in batches. A
// device that cannot be read is counted and does not stop the others.
func DriftScan(ctx workflow.Context, in contract.DriftScanInput) (contract.DriftScanProgress, error) {
	s := &driftScan{in: in, progress: contract.DriftScanProgress{Began: workflow.Now(ctx)}}
	if err := workflow.SetQueryHandler(ctx, contract.QueryProgress, func() (contract.DriftScanProgress, error) {
		p := s.progress
		p.Running = len(s.running)
		return p, nil
	}); err != nil {
		return contract.DriftScanProgress{}, err
	}
	return s.run(ctx)
}

type driftScan struct {
	in       contract.DriftScanInput
	pending  []contract.DriftBatch
	running  []contract.DriftBatch
	progress contract.DriftScanProgress
	// waits says that a timer for the next batch that is due runs.
	waits bool
}

func (s *driftScan) run(ctx workflow.Context) (contract.DriftScanProgress, error) {
	if s.in.Resume != nil {
		s.pending, s.progress = s.in.Resume.Pending, s.in.Resume.Progress
	} else if err := s.choose(ctx); err != nil {
		return contract.DriftScanProgress{}, err
	}
	s.show(ctx)
	s.work(ctx)
	if err := ctx.Err(); err != nil {
		return s.progress, err
	}
	if len(s.pending) > 0 {
		next := s.in
		next.Resume = &contract.DriftScanState{Pending: s.pending, Progress: s.progress}
		return s.progress, workflow.NewContinueAsNewError(ctx, contract.WorkflowDriftScan, next)
	}
	return s.progress, nil
}

func (s *driftScan) choose(ctx workflow.Context) error {
	ctx = workflow.WithActivityOptions(ctx, recordOptions("select devices"))
	// Whether a device is onboarded as it is declared is another question than
	// whether it is as its baseline says.
	selection := s.in.Selection
	selection.Again = true
	var selected contract.Selected
	if err := workflow.ExecuteActivity(ctx, contract.ActivitySelect, selection).Get(ctx, &selected); err != nil {
		return err
	}
	s.pending = batchesOf(selected.Devices)
	s.progress.Total, s.progress.Batches, s.progress.Revision = len(selected.Devices), len(s.pending), selected.Revision
	return nil
}

// batchesOf cuts devices into batches of one region and of as few sites as can
// be. Regions take turns, so that a scan that is spread asks all of them all
// the time.
func batchesOf(devices []contract.DeviceRef) []contract.DriftBatch {
	devices = slices.Clone(devices)
	slices.SortStableFunc(devices, func(a, b contract.DeviceRef) int {
		if c := strings.Compare(a.Region, b.Region); c != 0 {
			return c
		}
		return strings.Compare(a.Site, b.Site)
	})
	var regions [][]contract.DriftBatch
	for i, d := range devices {
		if i == 0 || devices[i-1].Region != d.Region {
			regions = append(regions, nil)
		}
		list := &regions[len(regions)-1]
		if n := len(*list); n == 0 || len((*list)[n-1].IDs) == contract.MaxScanBatch {
			*list = append(*list, contract.DriftBatch{Region: d.Region})
		}
		b := &(*list)[len(*list)-1]
		b.IDs = append(b.IDs, d.ID)
		if !slices.Contains(b.Sites, d.Site) {
			b.Sites = append(b.Sites, d.Site)
		}
	}
	var out []contract.DriftBatch
	for turn, more := 0, true; more; turn++ {
		more = false
		for _, list := range regions {
			if turn < len(list) {
				more = true
				list[turn].Number = len(out)
				out = append(out, list[turn])
			}
		}
	}
	return out
}

// due is how long it is until a batch may begin.
func (s *driftScan) due(ctx workflow.Context, b contract.DriftBatch) time.Duration {
	// Floats keep the product of a month and many batches from overflowing.
	part := float64(b.Number) / float64(max(s.progress.Batches, 1))
	at := s.progress.Began.Add(time.Duration(part * float64(s.in.Spread)))
	return at.Sub(workflow.Now(ctx))
}

// work returns when nothing runs any more: because everything is done, because
// the context was cancelled, or because the history is long.
func (s *driftScan) work(ctx workflow.Context) {
	selector := workflow.NewSelector(ctx)
	timers, stopTimers := workflow.WithCancel(ctx)
	defer stopTimers()
	for {
		if ctx.Err() == nil && !long(ctx) {
			s.fill(ctx, timers, selector)
		}
		if len(s.running) == 0 && (!s.waits || ctx.Err() != nil || long(ctx)) {
			return
		}
		selector.Select(ctx)
	}
}

// fill begins the batches that are due and for which there is room, and waits
// for the next one that is not due yet.
func (s *driftScan) fill(ctx, timers workflow.Context, selector workflow.Selector) {
	for i := 0; i < len(s.pending) && len(s.running) < allBatches; {
		b := s.pending[i]
		if wait := s.due(ctx, b); wait > 0 {
			// Batches are due in their order.
			if !s.waits {
				s.waits = true
				selector.AddFuture(workflow.NewTimer(timers, wait), func(workflow.Future) { s.waits = false })
			}
			return
		}
		if !s.room(b) {
			i++
			continue
		}
		s.pending = slices.Delete(s.pending, i, i+1)
		s.running = append(s.running, b)
		selector.AddFuture(s.start(ctx, b), func(f workflow.Future) {
			s.running = slices.DeleteFunc(s.running, func(r contract.DriftBatch) bool { return r.Number == b.Number })
			s.done(ctx, b, f)
		})
	}
}

// room says whether a batch can run beside those that run.
func (s *driftScan) room(b contract.DriftBatch) bool {
	same := 0
	for _, r := range s.running {
		if r.Region != b.Region {
			continue
		}
		same++
		if same >= regionBatches || slices.ContainsFunc(r.Sites, func(site string) bool { return slices.Contains(b.Sites, site) }) {
			return false
		}
	}
	return true
}

// start begins a batch. Devices that do not answer cost their time-outs; the
// half hour is for a region without a worker.
func (s *driftScan) start(ctx workflow.Context, b contract.DriftBatch) workflow.Future {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              contract.RegionQueue(b.Region),
		StartToCloseTimeout:    10 * time.Minute,
		ScheduleToCloseTimeout: 30 * time.Minute,
		HeartbeatTimeout:       20 * time.Second,
		WaitForCancellation:    true,
		Summary:                "look for drift, " + b.IDs[0] + " to " + b.IDs[len(b.IDs)-1],
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval: 500 * time.Millisecond, MaximumInterval: 30 * time.Second,
		},
	})
	return workflow.ExecuteActivity(ctx, contract.ActivityScanDrift, contract.ScanDriftInput{Region: b.Region, IDs: b.IDs})
}

func (s *driftScan) done(ctx workflow.Context, b contract.DriftBatch, f workflow.Future) {
	var result contract.ScanDriftResult
	switch err := f.Get(ctx, &result); {
	case err != nil && ctx.Err() != nil:
		return
	case err != nil:
		// Nobody looked, so nobody can say that these are in sync.
		result = contract.ScanDriftResult{DriftCounts: contract.DriftCounts{Unreadable: len(b.IDs)}}
		for _, id := range b.IDs {
			result.Found = append(result.Found, contract.DriftFinding{DeviceID: id, Region: b.Region, At: workflow.Now(ctx),
				Outcome: contract.DriftUnreadable, Detail: "not looked at: " + rootMessage(err)})
		}
	}
	s.add(result)
	s.show(ctx)
}

func (s *driftScan) add(r contract.ScanDriftResult) {
	p := &s.progress
	p.InSync += r.InSync
	p.Drifted += r.Drifted
	p.Unreadable += r.Unreadable
	p.UnderChange += r.UnderChange
	p.NoBaseline += r.NoBaseline
	for _, d := range r.Found {
		list := &p.Missed
		if d.Outcome == contract.DriftDrifted {
			list = &p.Found
		}
		if d.Unauthorised {
			p.Unauthorised++
		}
		if len(*list) < maxFindings {
			*list = append(*list, d)
		}
	}
}

func (s *driftScan) show(ctx workflow.Context) {
	p := s.progress
	var b page
	b.printf("**%d of %d** devices: %d in sync, %d drifted (%d unauthorised), %d unreadable, %d under change, %d without a baseline\n\n",
		p.Done(), p.Total, p.InSync, p.Drifted, p.Unauthorised, p.Unreadable, p.UnderChange, p.NoBaseline)
	for _, d := range p.Found {
		b.printf("- %s, %d settings: %s\n", d.DeviceID, d.Drifted, d.Detail)
	}
	if more := p.Drifted - len(p.Found); more > 0 {
		b.printf("- and %d more\n", more)
	}
	workflow.SetCurrentDetails(ctx, b.String())
}
