package runbook

import (
	"fmt"
	"math/bits"
	"sort"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// maxNumberText bounds the text that int and float read.
const maxNumberText = 5000

// addUniverse puts guarded forms of Starlark's own builtins into env, under
// their own names. Those that are not here do a bounded amount of work.
func addUniverse(env starlark.StringDict) {
	wrap := func(name string, admit func(t *task, args starlark.Tuple, kwargs []starlark.Tuple) error) {
		original := starlark.Universe[name].(*starlark.Builtin)
		env[name] = starlark.NewBuiltin(name, func(th *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
			if err := admit(taskOf(th), args, kwargs); err != nil {
				return nil, err
			}
			return original.CallInternal(th, args, kwargs)
		})
	}
	sequence := func(t *task, args starlark.Tuple, _ []starlark.Tuple) error { return t.admitSequences(args) }
	for _, name := range []string{"list", "tuple", "reversed", "enumerate", "zip"} {
		wrap(name, sequence)
	}
	for _, name := range []string{"any", "all"} {
		wrap(name, func(t *task, args starlark.Tuple, _ []starlark.Tuple) error {
			if len(args) == 0 {
				return nil
			}
			return t.charge(uint64(max(starlark.Len(args[0]), 0)))
		})
	}
	for _, name := range []string{"hasattr", "ord"} {
		wrap(name, func(t *task, args starlark.Tuple, _ []starlark.Tuple) error {
			var total uint64
			for _, a := range args {
				total += textSteps(a)
			}
			return t.charge(total)
		})
	}
	wrap("dict", func(t *task, args starlark.Tuple, kwargs []starlark.Tuple) error {
		return t.admitPairs(0, args, kwargs)
	})
	printed := func(t *task, args starlark.Tuple, _ []starlark.Tuple) error {
		if len(args) == 0 {
			return nil
		}
		_, err := t.printable(args[0])
		return err
	}
	wrap("str", printed)
	wrap("repr", printed)
	wrap("bytes", func(t *task, args starlark.Tuple, _ []starlark.Tuple) error {
		if len(args) == 0 {
			return nil
		}
		n := uint64(max(starlark.Len(args[0]), 0))
		if err := t.charge(n); err != nil {
			return err
		}
		return t.text(3 * n) // bytes that are not UTF-8 become longer
	})
	number := func(t *task, args starlark.Tuple, _ []starlark.Tuple) error {
		if len(args) == 0 {
			return nil
		}
		if s, ok := args[0].(starlark.String); ok && len(s) > maxNumberText {
			return fmt.Errorf("a number of %d characters is too long", len(s))
		}
		return nil
	}
	wrap("float", number)
	env["int"] = starlark.NewBuiltin("int", func(th *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		t := taskOf(th)
		if err := number(t, args, nil); err != nil {
			return nil, err
		}
		v, err := starlark.Universe["int"].(*starlark.Builtin).CallInternal(th, args, kwargs)
		if n, ok := v.(starlark.Int); ok && err == nil {
			err = t.bits(intBits(n))
		}
		return v, err
	})
	wrap("hash", func(t *task, args starlark.Tuple, _ []starlark.Tuple) error {
		if len(args) == 0 {
			return nil
		}
		return t.charge(uint64(max(starlark.Len(args[0]), 0)) / 8)
	})
	env["sorted"] = starlark.NewBuiltin("sorted", sorted)
	env["min"] = starlark.NewBuiltin("min", extreme(syntax.LT))
	env["max"] = starlark.NewBuiltin("max", extreme(syntax.GT))
	env["fail"] = starlark.NewBuiltin("fail", fail)
}

// admitSequences admits one copy of each argument that has a length.
func (t *task) admitSequences(args starlark.Tuple) error {
	for _, a := range args {
		if n := starlark.Len(a); n > 0 {
			if err := t.elements(uint64(n)); err != nil {
				return err
			}
		}
	}
	return nil
}

// collect returns the elements of v, admitted.
func (t *task) collect(v starlark.Value) ([]starlark.Value, error) {
	if err := t.admitSequences(starlark.Tuple{v}); err != nil {
		return nil, err
	}
	var out []starlark.Value
	err := t.iterate(v, func(x starlark.Value) error { out = append(out, x); return nil })
	return out, err
}

// keys returns what a list is ordered by: its elements, or what key makes of
// each.
func (t *task) keys(list []starlark.Value, key starlark.Callable) ([]starlark.Value, error) {
	if key == nil {
		return list, nil
	}
	out := make([]starlark.Value, len(list))
	for i, x := range list {
		var err error
		//workflowcheck:ignore
		if out[i], err = starlark.Call(t.thread, key, starlark.Tuple{x}, nil); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// sorted is sorted(iterable, key=None, reverse=False), stable as in Python. It
// charges for the comparisons beforehand, because nothing can stop a sort.
func sorted(th *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	t := taskOf(th)
	var iterable starlark.Iterable
	var keyArg starlark.Value = starlark.None
	var reverse bool
	if err := unpack("sorted", args, kwargs, "iterable", &iterable, "key?", &keyArg, "reverse?", &reverse); err != nil {
		return nil, err
	}
	key, err := callableOrNone("sorted", keyArg)
	if err != nil {
		return nil, err
	}
	list, err := t.collect(iterable)
	if err != nil {
		return nil, err
	}
	keys, err := t.keys(list, key)
	if err != nil {
		return nil, err
	}
	rounds := uint64(bits.Len(uint(len(list))))
	for _, k := range keys {
		s, err := t.measure(k, intoAll)
		if err == nil {
			err = t.charge(rounds * (s.nodes + s.bytes/64))
		}
		if err != nil {
			return nil, err
		}
	}
	order := make([]int, len(list))
	for i := range order {
		order[i] = i
	}
	var failed error
	sort.SliceStable(order, func(i, j int) bool {
		x, y := keys[order[i]], keys[order[j]]
		if reverse {
			x, y = y, x
		}
		less, err := starlark.Compare(syntax.LT, x, y)
		if err != nil && failed == nil {
			failed = err
		}
		return less
	})
	if failed != nil {
		return nil, failed
	}
	out := make([]starlark.Value, len(list))
	for i, at := range order {
		out[i] = list[at]
	}
	return starlark.NewList(out), nil
}

func callableOrNone(name string, v starlark.Value) (starlark.Callable, error) {
	if v == starlark.None {
		return nil, nil
	}
	fn, ok := v.(starlark.Callable)
	if !ok {
		return nil, fmt.Errorf("%s: for parameter key: got %s, want callable", name, v.Type())
	}
	return fn, nil
}

// extreme is min and max: the first element whose key is op all others.
func extreme(op syntax.Token) builtinFunc {
	return func(th *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		t := taskOf(th)
		if len(args) == 0 {
			return nil, fmt.Errorf("%s requires at least one positional argument", b.Name())
		}
		var keyArg starlark.Value = starlark.None
		if err := unpack(b.Name(), nil, kwargs, "key?", &keyArg); err != nil {
			return nil, err
		}
		key, err := callableOrNone(b.Name(), keyArg)
		if err != nil {
			return nil, err
		}
		list := []starlark.Value(args)
		if len(args) == 1 {
			if _, ok := args[0].(starlark.Iterable); !ok {
				return nil, fmt.Errorf("%s: %s value is not iterable", b.Name(), args[0].Type())
			}
			if list, err = t.collect(args[0]); err != nil {
				return nil, err
			}
		}
		if len(list) == 0 {
			return nil, fmt.Errorf("%s: argument is an empty sequence", b.Name())
		}
		keys, err := t.keys(list, key)
		if err != nil {
			return nil, err
		}
		best := 0
		for i := 1; i < len(list); i++ {
			better, err := t.binary(op, keys[i], keys[best])
			if err != nil {
				return nil, err
			}
			if better.Truth() {
				best = i
			}
		}
		return list[best], nil
	}
}

// fail is fail(msg): the runbook gives up, with a reason.
func fail(th *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var msg starlark.Value
	if err := unpack("fail", args, kwargs, "msg", &msg); err != nil {
		return nil, err
	}
	text, err := taskOf(th).show(msg)
	if err != nil {
		return nil, err
	}
	return nil, &failure{clip(text, maxMessage)}
}

// show is str(v), within the limits.
func (t *task) show(v starlark.Value) (string, error) {
	if s, ok := starlark.AsString(v); ok {
		return s, nil
	}
	if _, err := t.printable(v); err != nil {
		return "", err
	}
	return v.String(), nil
}
