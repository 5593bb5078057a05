package runbook

import (
	"go.starlark.net/starlark"
	"go.temporal.io/sdk/workflow"

	"edgefleet/workflows/contract"
)

// probe is never run. It has the shape of a workflow and calls the builtins
// directly, because workflowcheck, which looks for clocks, goroutines,
// randomness and the order of maps, does not see what the interpreter calls
// for a runbook.
func probe(ctx workflow.Context, t *task, v starlark.Value, args starlark.Tuple, kwargs []starlark.Tuple) error {
	t.host = &temporalHost{ctx: ctx, p: &Params{}}
	_, _ = t.act(contract.Action{}, args, kwargs)
	_, _ = t.attempt(args, kwargs)
	_, _ = t.parallel(args, kwargs)
	_, _ = t.branch(t.host, v)
	_, _ = t.sleep(args, kwargs)
	_, _ = t.now(args, kwargs)
	_, _ = t.step(args, kwargs)
	_, _ = t.print(args, kwargs)
	_, _ = t.approval(args, kwargs)
	_, _ = t.onExit(args, kwargs)
	_, _ = t.binary(0, v, v)
	_, _ = t.inPlaceAdd(v, v)
	_, _ = t.inPlaceOr(v, v)
	_, _ = t.slice(args)
	_, _ = t.method(starlark.String(""), "", args, kwargs)
	_ = t.admitPairs(0, args, kwargs)
	_, _ = t.printable(v)
	_, _ = t.measure(v, intoFreeze)
	_, _ = sorted(t.thread, nil, args, kwargs)
	_, _ = extreme(0)(t.thread, nil, args, kwargs)
	_, _ = fail(t.thread, nil, args, kwargs)
	_ = t.ended(nil)
	return t.freeze(nil, nil)
}

var _ = probe
