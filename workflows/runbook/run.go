package runbook

import (
	"errors"
	"fmt"

	"go.starlark.net/starlark"

	"edgefleet/workflows/contract"
)

// phase is what a run is doing, which decides what its builtins may do.
type phase int

const (
	loading    phase = iota // the statements at the top of the file
	running                 // the function
	leaving                 // the functions of on_exit
	inTestFile              // a test file's own statements
)

// run is one run of a runbook: what its coroutines share.
type run struct {
	deviceID string
	phase    phase
	used     *usage
	texts    sources
	// gates are the approval IDs that were used, and where.
	gates map[string]Position
	exits []exit
	// load is the thread's handler of load; nil refuses it.
	load func(*starlark.Thread, string) (starlark.StringDict, error)
	// test is the test that the run belongs to, or nil.
	test *testCase
}

// exit is one call of on_exit.
type exit struct {
	fn     starlark.Callable
	args   starlark.Tuple
	kwargs []starlark.Tuple
}

func newRun(deviceID string, limits Limits, texts sources) *run {
	return &run{deviceID: deviceID, used: &usage{limits: limits.withDefaults()}, texts: texts, gates: map[string]Position{}}
}

// task returns a new coroutine of r, not yet begun.
func (r *run) task(host Host, name string) *task {
	t := &task{run: r, host: host}
	t.newThread(name)
	return t
}

// execute loads p and runs its function for a device.
func execute(p *program, function, deviceID string, host Host, limits Limits) (string, error) {
	if err := p.entry(function); err != nil {
		return "", err
	}
	return newRun(deviceID, limits, sources{p.name: p.source}).main(p, function, host)
}

// main loads p and calls its function with the device's ID.
func (r *run) main(p *program, function string, host Host) (string, error) {
	globals, err := r.loadModule(p, host)
	if err != nil {
		return "", err
	}
	return r.call(host, globals[function], starlark.Tuple{starlark.String(r.deviceID)})
}

// loadModule runs the statements at the top of p and freezes its globals.
func (r *run) loadModule(p *program, host Host) (starlark.StringDict, error) {
	before := r.phase
	r.phase = loading
	defer func() { r.phase = before }()
	t := r.task(host, p.name)
	t.begin()
	// The interpreter is a function of its program and of our builtins, which
	// the checker sees through a probe in the tests.
	//workflowcheck:ignore
	globals, err := p.compiled.Init(t.thread, p.env)
	if err == nil {
		err = t.freeze(p, globals)
	}
	return globals, t.ended(err)
}

// freeze makes globals immutable. It looks at each value first, because
// freezing recurses, and on some values without end.
func (t *task) freeze(p *program, globals starlark.StringDict) error {
	//workflowcheck:ignore
	names := globals.Keys() // sorted
	for _, name := range names {
		if _, err := t.measure(globals[name], intoFreeze); err != nil {
			return t.run.texts.describe(&Error{Type: contract.ErrBudget, Msg: err.Error(), At: Position{File: p.name, Line: p.lines[name]}, Cause: err})
		}
		globals[name].Freeze()
	}
	return nil
}

// ended closes the last segment of t and turns what ended it into the error
// of the run.
func (t *task) ended(err error) error {
	if stalled := t.pause(); stalled != nil {
		return t.host.Stalled(stalled)
	}
	if err == nil {
		err = t.run.used.spent
	}
	if err == nil || t.host.Cancelled(err) {
		return err
	}
	located := t.run.texts.located(err)
	var e *Error
	if spent := t.run.used.spent; spent != nil && errors.As(located, &e) {
		e.Type, e.Msg, e.Hint = contract.ErrBudget, spent.Error(), ""
	}
	return located
}

// call runs fn and then the functions of on_exit, whatever fn ended with.
func (r *run) call(host Host, fn starlark.Value, args starlark.Tuple) (string, error) {
	r.phase = running
	t := r.task(host, "main")
	t.begin()
	//workflowcheck:ignore
	v, err := starlark.Call(t.thread, fn, args, nil)
	var text string
	if err == nil && v != starlark.None {
		if text, err = t.show(v); err != nil {
			err = r.returned(fn, err)
		}
	}
	err = t.ended(err)
	if exitErr := r.leave(host); err == nil {
		err = exitErr
	}
	return clip(text, maxMessage), err
}

// returned says of what a function returned that it is too large.
func (r *run) returned(fn starlark.Value, err error) error {
	e := &Error{Type: contract.ErrBudget, Msg: err.Error(), Cause: err}
	if fn, ok := fn.(*starlark.Function); ok {
		e.At = positionOf(fn.Position())
	}
	return r.texts.describe(e)
}

// leave runs the functions of on_exit, the last one first. Each of them runs
// even if another failed, with a budget that the run itself could not spend.
func (r *run) leave(host Host) error {
	if len(r.exits) == 0 {
		return nil
	}
	r.phase = leaving
	limits := r.used.limits
	limits.TotalSteps = limits.SegmentSteps
	r.used = &usage{limits: limits}
	cleanup, done := host.Cleanup(limits.ExitTime)
	defer done()
	var first error
	for i := len(r.exits) - 1; i >= 0; i-- {
		t := r.task(cleanup, "on_exit")
		t.begin()
		//workflowcheck:ignore
		_, err := starlark.Call(t.thread, r.exits[i].fn, r.exits[i].args, r.exits[i].kwargs)
		if err = t.ended(err); err != nil {
			if cleanup.Cancelled(err) {
				err = &Error{Type: contract.ErrBudget, Msg: fmt.Sprintf("the functions of on_exit did not end within %v", limits.ExitTime)}
			}
			cleanup.Log(fmt.Sprintf("on_exit failed: %s", clip(err.Error(), 300)))
			if first == nil {
				first = err
			}
		}
	}
	return first
}
