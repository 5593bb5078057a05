package runbook

import (
	"fmt"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// builtinFunc is the Go signature of a builtin.
type builtinFunc = func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error)

// addOperators puts the guards of the operators into env.
func addOperators(env starlark.StringDict) {
	add := func(name string, fn func(t *task, args starlark.Tuple) (starlark.Value, error)) {
		env[name] = starlark.NewBuiltin(name, func(th *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			return fn(taskOf(th), args)
		})
	}
	for _, op := range guardedOps {
		add(opGuard(op), func(t *task, args starlark.Tuple) (starlark.Value, error) { return t.binary(op, args[0], args[1]) })
	}
	add(guardIAdd, func(t *task, args starlark.Tuple) (starlark.Value, error) { return t.inPlaceAdd(args[0], args[1]) })
	add(guardIOr, func(t *task, args starlark.Tuple) (starlark.Value, error) { return t.inPlaceOr(args[0], args[1]) })
	add(guardKey, func(t *task, args starlark.Tuple) (starlark.Value, error) { return args[0], t.key(args[0]) })
	add(guardSlice, func(t *task, args starlark.Tuple) (starlark.Value, error) { return t.slice(args) })
	add(guardSpread, func(t *task, args starlark.Tuple) (starlark.Value, error) {
		if d, ok := args[0].(*starlark.Dict); ok {
			if err := t.admitKeys(d); err != nil {
				return nil, err
			}
		}
		// A mapping given with ** has a length too; what has none is refused
		// by the call itself.
		if n := starlark.Len(args[0]); n > 0 {
			return args[0], t.elements(uint64(n))
		}
		return args[0], nil
	})
	env[noneName] = starlark.None
}

// binary is x op y within the limits.
func (t *task) binary(op syntax.Token, x, y starlark.Value) (starlark.Value, error) {
	var err error
	switch op {
	case syntax.EQL, syntax.NEQ, syntax.LT, syntax.LE, syntax.GT, syntax.GE:
		if err := t.admitCompare(x, y); err != nil {
			return nil, err
		}
		ok, err := starlark.Compare(op, x, y)
		return starlark.Bool(ok), err
	case syntax.IN, syntax.NOT_IN:
		err = t.admitIn(x, y)
	case syntax.PLUS:
		err = t.admitPlus(x, y)
	case syntax.STAR:
		err = t.admitTimes(x, y)
	case syntax.MINUS:
		err = t.admitInts(x, y, 0)
	case syntax.LTLT:
		err = t.admitShift(x, y)
	case syntax.PERCENT:
		if format, ok := x.(starlark.String); ok {
			err = t.admitPercent(string(format), y)
		}
	case syntax.PIPE:
		err = t.admitUnion(x, y)
	}
	if err != nil {
		return nil, err
	}
	//workflowcheck:ignore
	return starlark.Binary(op, x, y)
}

// admitCompare charges for a comparison, which looks at no more than all of
// one side.
func (t *task) admitCompare(x, y starlark.Value) error {
	if _, ok := x.(starlark.Int); ok {
		return nil
	}
	if isContainer(x) && isContainer(y) {
		_, err := t.measure(x, intoAll)
		return err
	}
	return t.charge(min(textSteps(x), textSteps(y)))
}

// isContainer tells whether v has parts that are compared one by one.
func isContainer(v starlark.Value) bool {
	switch v.(type) {
	case *starlark.List, starlark.Tuple, *starlark.Dict, *record:
		return true
	}
	return false
}

func (t *task) admitIn(x, y starlark.Value) error {
	switch y := y.(type) {
	case *starlark.Dict:
		return t.key(x)
	case *starlark.List, starlark.Tuple:
		return t.admitSearch(x, y)
	case starlark.String:
		return t.charge(textSteps(y))
	case starlark.Bytes:
		return t.charge(textSteps(y))
	}
	return nil
}

// admitSearch charges for comparing x with each element of list.
func (t *task) admitSearch(x, list starlark.Value) error {
	each, err := t.measure(x, intoAll)
	if err != nil {
		return err
	}
	return t.charge(uint64(starlark.Len(list)) * (each.nodes + each.bytes/64))
}

func (t *task) admitPlus(x, y starlark.Value) error {
	switch x := x.(type) {
	case starlark.String:
		if y, ok := y.(starlark.String); ok {
			return t.text(uint64(len(x)) + uint64(len(y)))
		}
	case starlark.Bytes:
		if y, ok := y.(starlark.Bytes); ok {
			return t.text(uint64(len(x)) + uint64(len(y)))
		}
	case *starlark.List, starlark.Tuple:
		if x.Type() == y.Type() {
			return t.elements(uint64(starlark.Len(x)) + uint64(starlark.Len(y)))
		}
	}
	return t.admitInts(x, y, 0)
}

// admitInts admits an integer of at most one bit more than the larger of x
// and y, and extra bits.
func (t *task) admitInts(x, y starlark.Value, extra uint64) error {
	a, ok := x.(starlark.Int)
	if !ok {
		return nil
	}
	b, ok := y.(starlark.Int)
	if !ok {
		return nil
	}
	return t.bits(max(intBits(a), intBits(b)) + extra)
}

func (t *task) bits(n uint64) error {
	limit := uint64(t.run.used.limits.IntBits)
	if n > limit {
		return t.run.used.over("an integer would have %d bits, more than %d", n, limit)
	}
	return t.charge(n / 256)
}

func (t *task) admitTimes(x, y starlark.Value) error {
	a, aInt := x.(starlark.Int)
	b, bInt := y.(starlark.Int)
	switch {
	case aInt && bInt:
		return t.bits(intBits(a) + intBits(b))
	case aInt:
		return t.admitRepeat(y, a)
	case bInt:
		return t.admitRepeat(x, b)
	}
	return nil
}

func (t *task) admitRepeat(x starlark.Value, times starlark.Int) error {
	n := starlark.Len(x)
	if n <= 0 || times.Sign() <= 0 {
		return nil
	}
	// A count that does not fit exceeds every limit.
	count, ok := times.Uint64()
	if !ok || count > 1<<40 {
		count = 1 << 40
	}
	switch x.(type) {
	case starlark.String, starlark.Bytes:
		return t.text(uint64(n) * count)
	case *starlark.List, starlark.Tuple:
		return t.elements(uint64(n) * count)
	}
	return nil
}

func (t *task) admitShift(x, y starlark.Value) error {
	a, ok := x.(starlark.Int)
	if !ok {
		return nil
	}
	b, ok := y.(starlark.Int)
	if !ok || b.Sign() < 0 {
		return nil
	}
	n, ok := b.Uint64()
	if !ok {
		n = 1 << 40
	}
	return t.bits(intBits(a) + min(n, 1<<40))
}

// admitPercent bounds format % args: the format once, and each argument as
// often as the format can name it.
func (t *task) admitPercent(format string, args starlark.Value) error {
	s, err := t.measure(args, intoAll)
	if err != nil {
		return err
	}
	if _, mapping := args.(*starlark.Dict); mapping {
		s.bytes *= uint64(strings.Count(format, "%"))
	}
	return t.text(uint64(len(format)) + s.bytes)
}

func (t *task) admitUnion(x, y starlark.Value) error {
	if a, ok := x.(*starlark.Dict); ok {
		if b, ok := y.(*starlark.Dict); ok {
			for _, d := range []*starlark.Dict{a, b} {
				if err := t.admitKeys(d); err != nil {
					return err
				}
			}
			return t.elements(uint64(a.Len()) + uint64(b.Len()))
		}
	}
	return nil
}

// inPlaceAdd is x += y, which extends a list.
func (t *task) inPlaceAdd(x, y starlark.Value) (starlark.Value, error) {
	list, ok := x.(*starlark.List)
	if !ok {
		return t.binary(syntax.PLUS, x, y)
	}
	if _, ok := y.(starlark.Iterable); !ok {
		return t.binary(syntax.PLUS, x, y)
	}
	if _, err := t.method(list, "extend", starlark.Tuple{y}, nil); err != nil {
		return nil, err
	}
	return list, nil
}

// inPlaceOr is x |= y, which updates a dict.
func (t *task) inPlaceOr(x, y starlark.Value) (starlark.Value, error) {
	dict, ok := x.(*starlark.Dict)
	if _, both := y.(*starlark.Dict); !ok || !both {
		return t.binary(syntax.PIPE, x, y)
	}
	if _, err := t.method(dict, "update", starlark.Tuple{y}, nil); err != nil {
		return nil, err
	}
	return dict, nil
}

// exoticKey is the charge for a key whose hash a source can choose: without
// it, a dict of equal hashes costs the square of its size.
const exoticKey = 300

// key charges for hashing k, and refuses one that cannot be printed, because
// the error about a missing key prints it.
func (t *task) key(k starlark.Value) error {
	switch k := k.(type) {
	case starlark.String:
		return t.charge(uint64(len(k)) / 64)
	case starlark.Bool, starlark.NoneType:
		return nil
	case starlark.Int:
		if small, ok := k.Int64(); ok && small == int64(int32(small)) {
			return nil
		}
		return t.charge(exoticKey)
	}
	if err := t.charge(exoticKey); err != nil {
		return err
	}
	s, err := t.measure(k, intoAll)
	if err != nil {
		return err
	}
	if limit := uint64(t.run.used.limits.TextBytes); s.bytes > limit {
		return t.run.used.over("a key would print as %d bytes, more than %d", s.bytes, limit)
	}
	return nil
}

// admitKeys charges for inserting the keys of d into another dict.
func (t *task) admitKeys(d *starlark.Dict) error {
	for k := range d.Entries() {
		if err := t.key(k); err != nil {
			return err
		}
	}
	return nil
}

// slice is x[lo:hi:step]. The sequence admits the elements that it can copy
// at most, and the slice itself is taken by the interpreter's rules.
func (t *task) slice(args starlark.Tuple) (starlark.Value, error) {
	x, ok := args[0].(starlark.Sliceable)
	if !ok {
		return nil, fmt.Errorf("invalid slice operand %s", args[0].Type())
	}
	n := x.Len()
	step := 1
	if args[3] != starlark.None {
		var err error
		if step, err = starlark.AsInt32(args[3]); err != nil {
			return nil, fmt.Errorf("invalid slice step: %w", err)
		}
		if step == 0 {
			return nil, fmt.Errorf("zero is not a valid slice step")
		}
	}
	lo, hi, err := sliceBounds(args[1], args[2], n, step)
	if err != nil {
		return nil, err
	}
	count := uint64(0)
	if step > 0 && hi > lo {
		count = uint64((hi-lo-1)/step + 1)
	} else if step < 0 && lo > hi {
		count = uint64((lo-hi-1)/-step + 1)
	}
	switch args[0].(type) {
	case starlark.String, starlark.Bytes:
		if step != 1 {
			err = t.text(count)
		}
	case *starlark.List, starlark.Tuple:
		err = t.elements(count)
	}
	if err != nil {
		return nil, err
	}
	return x.Slice(lo, hi, step), nil
}

// sliceBounds gives the bounds that x[lo:hi:step] has for a sequence of n
// elements, as Python defines them.
func sliceBounds(loV, hiV starlark.Value, n, step int) (lo, hi int, err error) {
	bound := func(v starlark.Value, otherwise, least, most int, what string) (int, error) {
		if v == starlark.None {
			return otherwise, nil
		}
		i, err := starlark.AsInt32(v)
		if err != nil {
			return 0, fmt.Errorf("invalid %s index: %w", what, err)
		}
		if i < 0 {
			i += n
		}
		return min(max(i, least), most), nil
	}
	if step > 0 {
		if lo, err = bound(loV, 0, 0, n, "start"); err != nil {
			return
		}
		if hi, err = bound(hiV, n, 0, n, "end"); err != nil {
			return
		}
		return lo, max(lo, hi), nil
	}
	if lo, err = bound(loV, n-1, -1, n-1, "start"); err != nil {
		return
	}
	if hi, err = bound(hiV, -1, -1, n-1, "end"); err != nil {
		return
	}
	return max(lo, hi), hi, nil
}
