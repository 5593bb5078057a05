package runbook

import (
	"fmt"

	"go.starlark.net/starlark"

	"edgefleet/workflows/contract"
)

// attempt is attempt(fn, *args, **kwargs): fn's value, or its failure, as an
// outcome. It catches the failures of actions and of fail; a bug of the
// script, a spent budget and a cancellation pass through.
func (t *task) attempt(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	fn, rest, err := callee("attempt", args)
	if err != nil {
		return nil, err
	}
	if t.attempts >= maxAttempts {
		return nil, fmt.Errorf("attempt: nests deeper than %d", maxAttempts)
	}
	t.attempts++
	//workflowcheck:ignore
	v, err := starlark.Call(t.thread, fn, rest, kwargs)
	t.attempts--
	if err == nil {
		return outcome(v), nil
	}
	kind, msg, ok := catchable(err)
	if !ok || t.run.used.spent != nil || t.host.Cancelled(err) {
		return nil, err
	}
	return failedOutcome(kind, msg), nil
}

func outcome(v starlark.Value) *record {
	return newRecord("outcome", true, "ok", starlark.True, "value", v, "error", starlark.None, "kind", starlark.None)
}

func failedOutcome(kind, msg string) *record {
	return newRecord("outcome", false, "ok", starlark.False, "value", starlark.None,
		"error", starlark.String(clip(msg, maxMessage)), "kind", starlark.String(kind))
}

// parallel is parallel(*fns, limit=8, fail_fast=False): it calls functions
// without arguments in coroutines, and returns their values in order.
func (t *task) parallel(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	limit, failFast := parallelLimit, false
	if err := unpack("parallel", nil, kwargs, "limit?", &limit, "fail_fast?", &failFast); err != nil {
		return nil, err
	}
	most := t.run.used.limits.Parallel
	if len(args) > most {
		return nil, fmt.Errorf("parallel: got %d functions, want at most %d", len(args), most)
	}
	if limit < 1 || limit > most {
		return nil, fmt.Errorf("parallel: for parameter limit: want a number from 1 to %d", most)
	}
	if t.depth >= maxNesting {
		return nil, fmt.Errorf("parallel: nests deeper than %d", maxNesting)
	}
	for _, fn := range args {
		if _, ok := fn.(starlark.Callable); !ok {
			return nil, fmt.Errorf("parallel: got %s, want functions without arguments; write parallel(lambda: fn(argument))", fn.Type())
		}
	}
	if len(args) == 0 {
		return starlark.NewList(nil), nil
	}
	if err := t.charge(coroutineSteps * uint64(len(args)+1)); err != nil {
		return nil, err
	}
	values := make([]starlark.Value, len(args))
	var errs []error
	err := t.outside(func() error {
		errs = t.host.Parallel(len(args), limit, failFast, t.fatal, func(h Host, i int) error {
			var err error
			values[i], err = t.branch(h, args[i])
			return err
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := t.worst(errs); err != nil {
		return nil, err
	}
	return starlark.NewList(values), nil
}

// branch runs one function of parallel in a coroutine of its own.
func (t *task) branch(h Host, fn starlark.Value) (starlark.Value, error) {
	child := t.run.task(h, "parallel")
	child.depth, child.attempts = t.depth+1, t.attempts
	child.begin()
	//workflowcheck:ignore
	v, err := starlark.Call(child.thread, fn, nil, nil)
	if stalled := child.pause(); stalled != nil {
		return nil, h.Stalled(stalled)
	}
	return v, err
}

// fatal tells whether an error ends the run whatever the other branches do.
func (t *task) fatal(err error) bool {
	_, _, ok := catchable(err)
	return !ok
}

// worst picks the error that parallel fails with: a bug or a spent budget
// before a failure, a failure before the cancellations that it caused, and
// among equals the one of the first function.
func (t *task) worst(errs []error) error {
	var worst error
	rank := 0
	for _, err := range errs {
		r := 3
		switch {
		case err == nil:
			continue
		case t.host.Cancelled(err):
			r = 1
		case !t.fatal(err):
			r = 2
		}
		if r > rank {
			worst, rank = err, r
		}
	}
	return worst
}

// approval is wait_for_approval(id, prompt, timeout="1h").
func (t *task) approval(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var id, prompt string
	var timeout starlark.Value
	if err := unpack("wait_for_approval", args, kwargs, "id", &id, "prompt", &prompt, "timeout?", &timeout); err != nil {
		return nil, err
	}
	gate := Gate{ID: id, Prompt: clip(prompt, maxMessage), Timeout: approvalWait, At: t.at()}
	if t.run.phase == leaving {
		return nil, fmt.Errorf("wait_for_approval cannot be called by a function of on_exit")
	}
	if id == "" || len(id) > maxGateID || oneLine(id) != id {
		return nil, fmt.Errorf("wait_for_approval: for parameter id: want 1 to %d characters on one line", maxGateID)
	}
	if before, used := t.run.gates[id]; used {
		return nil, fmt.Errorf("wait_for_approval: the ID %q was used before, at %s; every gate of a run needs its own", id, before.Origin())
	}
	if timeout != nil && timeout != starlark.None {
		var err error
		if gate.Timeout, err = duration("wait_for_approval", "timeout", timeout, minTimeout, maxApprovalWait); err != nil {
			return nil, err
		}
	}
	if err := t.waits(); err != nil {
		return nil, err
	}
	t.run.gates[id] = gate.At
	t.host.Log(fmt.Sprintf("%s: waiting for approval %s: %s", gate.At.lineText(), id, clip(gate.Prompt, 300)))
	var decision contract.Decision
	err := t.outside(func() error {
		var err error
		decision, err = t.host.Approve(gate)
		return err
	})
	if err != nil {
		return nil, err
	}
	t.host.Log(fmt.Sprintf("%s: approval %s: %s", gate.At.lineText(), id, decisionText(decision)))
	return newRecord("approval", decision.Approved, "approved", starlark.Bool(decision.Approved),
		"by", textOrNone(decision.By), "note", textOrNone(decision.Note)), nil
}

// decisionText is a decision in words.
func decisionText(d contract.Decision) string {
	text := "refused"
	if d.Approved {
		text = "approved"
	}
	if d.By != "" {
		text += " by " + clip(d.By, 80)
	}
	if d.Note != "" {
		text += ": " + clip(d.Note, 300)
	}
	return text
}

// unpack is starlark.UnpackArgs, which is deterministic, and which the checker
// cannot see through.
func unpack(fn string, args starlark.Tuple, kwargs []starlark.Tuple, pairs ...any) error {
	//workflowcheck:ignore
	return starlark.UnpackArgs(fn, args, kwargs, pairs...)
}
