package runbook

import (
	"errors"
	"sync"
	"time"

	"go.starlark.net/starlark"
)

// usage is what a run has used of its limits, over all its coroutines.
type usage struct {
	limits Limits
	// steps counts the segments that have ended.
	steps, alloc   uint64
	calls          int
	prints, spoken int
	// spent is the first limit that was exceeded; nothing goes on after it.
	spent error
}

// over marks the run as spent and returns why.
func (u *usage) over(format string, args ...any) error {
	if u.spent == nil {
		u.spent = overBudget(format, args...)
	}
	return u.spent
}

// task is one coroutine of a run: a Starlark thread, its Host, and its share
// of the meters.
type task struct {
	run    *run
	host   Host
	thread *starlark.Thread
	// began and end are the steps of the thread where the segment began and
	// where it has to end.
	began, end uint64
	watch      *watchdog
	// attempts counts the calls of attempt on the stack, depth those of
	// parallel.
	attempts, depth int
}

const taskKey = "task"

// taskOf returns the task of a thread; every thread that we make has one.
func taskOf(th *starlark.Thread) *task { return th.Local(taskKey).(*task) }

// begin opens a segment: the work between two calls that wait.
func (t *task) begin() {
	u := t.run.used
	t.began = t.thread.Steps
	t.end = t.began + min(u.limits.SegmentSteps, u.limits.TotalSteps-min(u.steps, u.limits.TotalSteps)) + 1
	t.thread.SetMaxExecutionSteps(t.end)
	t.watch = startWatchdog(t.thread, u.limits.Watchdog)
}

// pause closes the segment. It returns the error of a watchdog that barked.
func (t *task) pause() error {
	t.run.used.steps += t.thread.Steps - t.began
	t.began = t.thread.Steps
	if t.watch.stop() {
		return errStalled
	}
	return nil
}

// outside runs fn, which may wait, between two segments.
func (t *task) outside(fn func() error) error {
	if err := t.pause(); err != nil {
		return t.host.Stalled(err)
	}
	err := fn()
	t.begin()
	if err == nil {
		err = t.run.used.spent
	}
	return err
}

// charge adds n steps for work that the interpreter does not count.
func (t *task) charge(n uint64) error {
	u := t.run.used
	if u.spent != nil {
		return u.spent
	}
	if left := t.end - min(t.thread.Steps, t.end); n >= left {
		return t.exhausted()
	}
	t.thread.Steps += n
	return nil
}

// exhausted says which of the two budgets of steps is gone.
func (t *task) exhausted() error {
	u := t.run.used
	if t.end-t.began > u.limits.SegmentSteps {
		return u.over("the runbook spent its budget of %d steps between two calls that wait; is there a loop that does not end?", u.limits.SegmentSteps)
	}
	return u.over("the runbook spent its budget of %d steps for the whole run", u.limits.TotalSteps)
}

// alloc adds n bytes that a guarded operation is about to build.
func (t *task) alloc(n uint64) error {
	u := t.run.used
	if u.spent != nil {
		return u.spent
	}
	if u.alloc += n; u.alloc > u.limits.AllocBytes {
		return u.over("the runbook spent its budget of %d MiB of memory", u.limits.AllocBytes>>20)
	}
	return nil
}

// text admits a text of n bytes that an operation is about to build.
func (t *task) text(n uint64) error {
	if limit := uint64(t.run.used.limits.TextBytes); n > limit {
		return t.run.used.over("a text would have %d bytes, more than %d", n, limit)
	}
	if err := t.charge(n / 64); err != nil {
		return err
	}
	return t.alloc(n)
}

// bytesPerElement is what an element of a list costs: a Go interface, twice,
// for the slack of a slice that grew.
const bytesPerElement = 32

// elements admits a list, tuple or dict of n elements.
func (t *task) elements(n uint64) error {
	if limit := uint64(t.run.used.limits.Elements); n > limit {
		return t.run.used.over("a value would have %d elements, more than %d", n, limit)
	}
	if err := t.charge(n); err != nil {
		return err
	}
	return t.alloc(n * bytesPerElement)
}

// newThread gives t a thread of its own. Only the thread that it belongs to
// ever runs on it.
func (t *task) newThread(name string) {
	t.thread = &starlark.Thread{
		Name: name,
		Load: t.run.load,
		OnMaxSteps: func(th *starlark.Thread) {
			_ = t.exhausted()
			th.Cancel("budget")
		},
	}
	t.thread.SetLocal(taskKey, t)
}

// errStalled is the error of a segment that took longer than Limits.Watchdog.
var errStalled = errors.New("the runbook kept the worker busy for longer than its watchdog allows")

// watchdog cancels a thread after a time of the real clock, which is outside
// of determinism by design: what it ends is a workflow task, which is then
// tried again, and never a run.
type watchdog struct {
	mu           sync.Mutex
	timer        *time.Timer
	done, barked bool
}

func startWatchdog(th *starlark.Thread, after time.Duration) *watchdog {
	w := &watchdog{}
	w.mu.Lock()
	defer w.mu.Unlock()
	//workflowcheck:ignore
	w.timer = time.AfterFunc(after, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.done {
			w.barked = true
			th.Cancel("watchdog")
		}
	})
	return w
}

// stop ends the watch and tells whether the thread was cancelled. After it,
// the thread is not touched any more.
func (w *watchdog) stop() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done = true
	w.timer.Stop()
	return w.barked
}
