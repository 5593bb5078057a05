package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"edgefleet/internal/temporalx"
	"edgefleet/workflows/contract"
)

// Outcome is what came of one device.
type Outcome struct {
	// Registered is what the registry has of it afterwards; nil when that is
	// nothing, or nobody could find out.
	Registered *contract.RegisteredDevice
	Err        error
	// Running names the workflow that is still at work on the device when the
	// caller left.
	Running string
}

type kind int

const (
	kindOnboard kind = iota
	kindAgain
	kindDecommission
	kinds
)

// work has devices onboarded and decommissioned, many to a workflow. The
// bounds hold over all of its workflows together: each alone would allow its
// own devices as many.
type work struct {
	ctx     context.Context
	station *station
	o       Options
	running sync.WaitGroup
	// registry shares one look at the registry among all who need a fresh one.
	registry once1[*Registry]

	mu        sync.Mutex
	queue     []*task
	gathering bool
	total     int
	site      map[string]int
	region    map[string]int
}

// task is one device that waits for its turn, or is in work.
type task struct {
	kind kind
	ref  contract.DeviceRef
	done chan Outcome
	// workflow is the ID of the workflow that has it.
	workflow string
}

func newWork(ctx context.Context, s *station, o Options) *work {
	return &work{ctx: ctx, station: s, o: o, site: map[string]int{}, region: map[string]int{}}
}

// wait returns when nothing is followed any more; the context has to be over.
func (w *work) wait() { w.running.Wait() }

func (w *work) do(ctx context.Context, k kind, refs []contract.DeviceRef) map[string]Outcome {
	tasks := make([]*task, len(refs))
	for i, ref := range refs {
		tasks[i] = &task{kind: k, ref: ref, done: make(chan Outcome, 1)}
	}
	w.mu.Lock()
	w.queue = append(w.queue, tasks...)
	w.dispatchSoon()
	w.mu.Unlock()
	out := make(map[string]Outcome, len(refs))
	for _, t := range tasks {
		select {
		case out[t.ref.ID] = <-t.done:
		case <-ctx.Done():
			out[t.ref.ID] = w.leave(t, ctx.Err())
		}
	}
	return out
}

// leave takes back a task that was not begun; one that was goes on.
func (w *work) leave(t *task, why error) Outcome {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, q := range w.queue {
		if q == t {
			w.queue = append(w.queue[:i:i], w.queue[i+1:]...)
			break
		}
	}
	return Outcome{Err: why, Running: t.workflow}
}

// dispatchSoon begins what may be begun, after those have come who come at the
// same moment. The lock is held.
func (w *work) dispatchSoon() {
	if w.gathering || len(w.queue) == 0 || w.ctx.Err() != nil {
		return
	}
	w.gathering = true
	w.running.Go(func() {
		_ = pause(w.ctx, w.o.Gather)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.gathering = false
		w.dispatch()
	})
}

// dispatch begins every task for which there is room, in the order in which
// they came. The lock is held.
func (w *work) dispatch() {
	var batches [kinds][]*task
	left := w.queue[:0:0]
	b := w.o.Bounds
	for _, t := range w.queue {
		if w.total >= b.Total || w.site[t.ref.Site] >= b.PerSite || w.region[t.ref.Region] >= b.PerRegion {
			left = append(left, t)
			continue
		}
		w.count(t, 1)
		batches[t.kind] = append(batches[t.kind], t)
	}
	w.queue = left
	for k, batch := range batches {
		if len(batch) > 0 {
			w.running.Go(func() { w.run(kind(k), batch) })
		}
	}
}

func (w *work) count(t *task, by int) {
	w.total += by
	w.site[t.ref.Site] += by
	w.region[t.ref.Region] += by
}

// finish gives tasks their outcomes, and their room to others.
func (w *work) finish(tasks []*task, outcome func(*task) Outcome) {
	for _, t := range tasks {
		t.done <- outcome(t)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range tasks {
		w.count(t, -1)
	}
	w.dispatchSoon()
}

// run has a batch done by one workflow, and follows it. A device has its
// outcome as soon as the workflow is through with it: a dark one, which is
// tried for minutes, keeps nobody else waiting.
func (w *work) run(k kind, batch []*task) {
	run, err := w.begin(k, batch)
	if err != nil {
		w.finish(batch, func(*task) Outcome { return Outcome{Err: err} })
		return
	}
	w.mu.Lock()
	for _, t := range batch {
		t.workflow = run.GetID()
	}
	w.mu.Unlock()
	ended := make(chan end, 1)
	w.running.Go(func() { ended <- w.end(k, run) })
	left := batch
	for {
		timer := time.NewTimer(w.o.Poll)
		select {
		case e := <-ended:
			timer.Stop()
			w.deliver(k, run, left, e.progress, e.err)
			return
		case <-timer.C:
			p, through := w.look(run, len(left))
			if !through {
				continue
			}
			var finished []*task
			left, finished = split(left, p)
			if len(finished) > 0 {
				w.deliver(k, run, finished, p, nil)
			}
		}
	}
}

func (w *work) begin(k kind, batch []*task) (client.WorkflowRun, error) {
	refs := make([]contract.DeviceRef, len(batch))
	ids := make([]string, len(batch))
	for i, t := range batch {
		refs[i], ids[i] = t.ref, t.ref.ID
	}
	text := fmt.Sprintf("%d devices", len(ids))
	if len(ids) == 1 {
		text = ids[0]
	}
	const reason = "a Terraform apply"
	if k == kindDecommission {
		return w.station.start(w.ctx, contract.DecommissionID(w.station.nonce()), "decommission "+text+": "+reason, contract.WorkflowDecommission, workTimeout,
			contract.DecommissionInput{Devices: refs, Actor: w.station.actor(), Reason: reason, Bounds: w.o.Bounds})
	}
	return w.station.start(w.ctx, contract.OnboardID(w.station.nonce()), "onboard "+text+": "+reason, contract.WorkflowOnboard, workTimeout,
		contract.OnboardInput{Selection: contract.Selection{IDs: ids, Again: k == kindAgain}, Actor: w.station.actor(), Reason: reason, Bounds: w.o.Bounds})
}

// end is how a workflow ended. A failed one that says of which devices has its
// progress and no error.
type end struct {
	progress contract.OnboardProgress
	err      error
}

// end waits for the end of a run. While Temporal is away it waits: the run
// goes on without it, or after it. The progress of a decommissioning has the
// fields of an onboarding's.
func (w *work) end(k kind, run client.WorkflowRun) (e end) {
	failure := contract.ErrNotHealthy
	if k == kindDecommission {
		failure = contract.ErrRejected
	}
	for {
		err := run.Get(w.ctx, &e.progress)
		if err != nil && w.ctx.Err() == nil && temporalx.Away(err) && pause(w.ctx, w.o.Poll) == nil {
			continue
		}
		var app *temporal.ApplicationError
		if errors.As(err, &app) && app.Type() == failure && app.HasDetails() && app.Details(&e.progress) == nil {
			return e
		}
		e.err = w.station.plain(w.ctx, err)
		return e
	}
}

// look asks how far a workflow is. Only when all of its devices were begun is
// one that does not run through.
func (w *work) look(run client.WorkflowRun, left int) (p contract.OnboardProgress, through bool) {
	ctx, cancel := context.WithTimeout(w.ctx, grace)
	defer cancel()
	value, err := w.station.temporal.QueryWorkflow(ctx, run.GetID(), "", contract.QueryProgress)
	if err != nil || value.Get(&p) != nil {
		return p, false
	}
	begun := p.Total > 0 && p.Done+p.Failed+len(p.Running) == p.Total
	return p, begun && len(p.Running) < left
}

func split(tasks []*task, p contract.OnboardProgress) (left, finished []*task) {
	running := make(map[string]bool, len(p.Running))
	for _, id := range p.Running {
		running[id] = true
	}
	for _, t := range tasks {
		if running[t.ref.ID] {
			left = append(left, t)
		} else {
			finished = append(finished, t)
		}
	}
	return left, finished
}

// deliver tells of each device what became of it. What counts is the registry:
// it says what is in service, whatever a progress has room for.
func (w *work) deliver(k kind, run client.WorkflowRun, tasks []*task, p contract.OnboardProgress, failed error) {
	failures := map[string]contract.OnboardFailure{}
	for _, f := range p.Failures {
		failures[f.DeviceID] = f
	}
	want := contract.RegistryOnboarded
	if k == kindDecommission {
		want = contract.RegistryDecommissioned
	}
	registry, err := w.registry.share(w.ctx, w.station.registry)
	w.finish(tasks, func(t *task) Outcome {
		out := Outcome{}
		if err == nil {
			if r, ok := registry.Devices[t.ref.ID]; ok {
				out.Registered = &r
			}
		}
		f, named := failures[t.ref.ID]
		switch {
		case named:
			out.Err = failureError(f)
		case failed != nil:
			out.Err = fmt.Errorf("%s: %w", run.GetID(), failed)
		case err != nil:
			out.Err = fmt.Errorf("%s has ended, and the registry could not be read: %w", run.GetID(), err)
		case out.Registered == nil:
			out.Err = fmt.Errorf("%s has ended, and the registry does not have the device", run.GetID())
		case out.Registered.State != want:
			out.Err = fmt.Errorf("the registry has it as %s: %s", out.Registered.State, cmp.Or(out.Registered.Detail, "without a reason"))
		}
		return out
	})
}

// failureError says in which phase a device failed, and why.
func failureError(f contract.OnboardFailure) error {
	place := f.Reason
	if f.Phase != "" {
		place = fmt.Sprintf("phase %q, %s", f.Phase, f.Reason)
	}
	return fmt.Errorf("%s: %s", place, f.Detail)
}
