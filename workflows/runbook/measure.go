package runbook

import (
	"go.starlark.net/starlark"
)

// walk is how far measure looks into a value.
type walk int

const (
	// intoAll enters everything that printing, hashing or comparing enters.
	intoAll walk = iota
	// intoFreeze enters what freezing enters: also the variables that a
	// function captured, but a list or dict only once.
	intoFreeze
)

// size is the size of a value as a tree: a part that is reached twice counts
// twice, because that is what printing, hashing and comparing do with it.
type size struct {
	nodes, bytes uint64
}

// measure walks v without recursion, because the Go stack of a deep value can
// overflow, which ends the process. It charges for what it visits and fails
// when v is deeper than Limits.Depth, which a value that contains itself is.
func (t *task) measure(v starlark.Value, how walk) (size, error) {
	var s size
	switch x := v.(type) {
	case starlark.NoneType, starlark.Bool, starlark.Int, starlark.Float:
		return size{nodes: 1, bytes: leafBytes(v)}, nil
	case starlark.String:
		return size{nodes: 1, bytes: leafBytes(x)}, t.charge(uint64(len(x)) / 64)
	}
	type item struct {
		value starlark.Value
		depth int
	}
	limit := t.run.used.limits.Depth
	seen := map[any]bool{}
	stack := []item{{v, 1}}
	for len(stack) > 0 {
		top := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		s.nodes++
		s.bytes += leafBytes(top.value) + 2
		if err := t.charge(1 + textSteps(top.value)); err != nil {
			return s, err
		}
		if top.depth > limit {
			return s, t.run.used.over("a value nests deeper than %d, or contains itself", limit)
		}
		if how == intoFreeze {
			switch top.value.(type) {
			case *starlark.List, *starlark.Dict:
				if seen[top.value] {
					continue
				}
				seen[top.value] = true
			}
		}
		// The stack holds at most all direct parts of the values on one path,
		// and each of those was admitted when it was built.
		each(top.value, how, func(part starlark.Value) { stack = append(stack, item{part, top.depth + 1}) })
	}
	return s, nil
}

// each calls fn for the direct parts of v.
func each(v starlark.Value, how walk, fn func(starlark.Value)) {
	switch x := v.(type) {
	case *starlark.List:
		for i := range x.Len() {
			fn(x.Index(i))
		}
	case starlark.Tuple:
		for _, e := range x {
			fn(e)
		}
	case *starlark.Dict:
		for k, e := range x.Entries() {
			fn(k)
			fn(e)
		}
	case *record:
		for _, e := range x.values {
			fn(e)
		}
	case *starlark.Function:
		if how != intoFreeze {
			return
		}
		for i := range x.NumParams() {
			if d := x.ParamDefault(i); d != nil {
				fn(d)
			}
		}
		for i := range x.NumFreeVars() {
			if _, captured := x.FreeVar(i); captured != nil {
				fn(captured)
			}
		}
	case *starlark.Builtin:
		if recv := x.Receiver(); recv != nil && how == intoFreeze {
			fn(recv)
		}
	}
}

// leafBytes bounds what v adds to a printed text by itself, without its parts.
func leafBytes(v starlark.Value) uint64 {
	switch x := v.(type) {
	case starlark.String:
		return quotedBytes(string(x))
	case starlark.Bytes:
		return quotedBytes(string(x)) + 1
	case starlark.Int:
		if small, ok := x.Int64(); ok && small > -1000 && small < 1000 {
			return 4
		}
		return intBits(x)/3 + 2
	case *record:
		n := uint64(len(x.kind) + 2)
		for _, f := range x.fields {
			n += uint64(len(f)) + 3
		}
		return n
	case *starlark.Function:
		return uint64(len(x.Name())) + 16
	case *starlark.Builtin:
		return uint64(len(x.Name())) + 48
	}
	// The views of a text, such as text.elems(), print that text.
	if v.Type() != "range" {
		if n := starlark.Len(v); n > 0 {
			return 5*uint64(n) + 24
		}
	}
	return 64
}

// quotedBytes bounds the length of s between quotes.
func quotedBytes(s string) uint64 {
	n := uint64(len(s)) + 2
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c > '~':
			n += 5
		case c == '"' || c == '\\':
			n++
		}
	}
	return n
}

// textSteps is the charge for looking at all of v once, when it is a text.
func textSteps(v starlark.Value) uint64 {
	switch x := v.(type) {
	case starlark.String:
		return uint64(len(x)) / 64
	case starlark.Bytes:
		return uint64(len(x)) / 64
	case starlark.NoneType, starlark.Bool, starlark.Int, starlark.Float, *starlark.List, starlark.Tuple, *starlark.Dict, *record:
		return 0
	}
	return leafBytes(v) / 64
}

func intBits(x starlark.Int) uint64 {
	if _, ok := x.Int64(); ok {
		return 64
	}
	return uint64(x.BigInt().BitLen())
}

// printable admits v as str or repr would print it, and bounds its length.
func (t *task) printable(v starlark.Value) (uint64, error) {
	s, err := t.measure(v, intoAll)
	if err != nil {
		return 0, err
	}
	return s.bytes, t.text(s.bytes)
}
