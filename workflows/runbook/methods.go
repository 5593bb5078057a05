package runbook

import (
	"fmt"
	"strings"
	"unicode"

	"go.starlark.net/starlark"
)

// addMethods puts the guard of attributes into env: x.name, for every name
// that is a method of one of Starlark's own types.
func addMethods(env starlark.StringDict, names map[string]bool) {
	bound := map[string]*starlark.Builtin{}
	//workflowcheck:ignore
	for name := range names {
		bound[name] = starlark.NewBuiltin(name, func(th *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
			return taskOf(th).method(b.Receiver().(starlark.HasAttrs), b.Name(), args, kwargs)
		})
	}
	attr := func(x starlark.Value, name string) (starlark.Value, error) {
		switch x.(type) {
		case starlark.String, starlark.Bytes, *starlark.List, *starlark.Dict:
			if b := bound[name]; b != nil {
				if v, err := x.(starlark.HasAttrs).Attr(name); v != nil && err == nil {
					return b.BindReceiver(x), nil
				}
			}
		}
		if x, ok := x.(starlark.HasAttrs); ok {
			if v, err := x.Attr(name); v != nil || err != nil {
				return v, err
			}
		}
		return nil, starlark.NoSuchAttrError(fmt.Sprintf("%s has no .%s field or method", x.Type(), name))
	}
	env[guardAttr] = starlark.NewBuiltin(guardAttr, func(_ *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		return attr(args[0], string(args[1].(starlark.String)))
	})
	env["getattr"] = starlark.NewBuiltin("getattr", func(th *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		var x, otherwise starlark.Value
		var name string
		if err := starlark.UnpackPositionalArgs("getattr", args, kwargs, 2, &x, &name, &otherwise); err != nil {
			return nil, err
		}
		if err := taskOf(th).charge(uint64(len(name)) / 64); err != nil {
			return nil, err
		}
		v, err := attr(x, name)
		if err != nil && otherwise != nil {
			return otherwise, nil
		}
		return v, err
	})
}

// method calls a method of a text, list or dict within the limits.
func (t *task) method(recv starlark.HasAttrs, name string, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var err error
	switch x := recv.(type) {
	case starlark.String:
		err = t.admitText(string(x), name, args, kwargs)
	case starlark.Bytes:
		err = t.charge(uint64(len(x)) / 64)
	case *starlark.List:
		err = t.admitList(x, name, args)
	case *starlark.Dict:
		err = t.admitDict(x, name, args, kwargs)
	}
	if err != nil {
		return nil, err
	}
	fn, err := recv.Attr(name)
	if err != nil {
		return nil, err
	}
	if fn == nil {
		return nil, starlark.NoSuchAttrError(fmt.Sprintf("%s has no .%s field or method", recv.Type(), name))
	}
	return fn.(*starlark.Builtin).CallInternal(t.thread, args, kwargs)
}

func (t *task) admitText(s, name string, args starlark.Tuple, kwargs []starlark.Tuple) error {
	if err := t.charge(uint64(len(s)) / 64); err != nil {
		return err
	}
	for _, a := range args {
		if err := t.charge(textSteps(a)); err != nil {
			return err
		}
	}
	switch name {
	case "join":
		return t.admitJoin(s, args)
	case "replace":
		return t.admitReplace(s, args)
	case "format":
		return t.admitFormat(s, args, kwargs)
	case "split", "rsplit", "splitlines":
		return t.elements(uint64(pieces(s, name, args)))
	case "lower", "upper", "title", "capitalize":
		// One letter can become a longer one, or three.
		return t.alloc(3 * uint64(len(s)))
	case "startswith", "endswith":
		if len(args) > 0 {
			if prefixes, ok := args[0].(starlark.Tuple); ok {
				return t.charge(uint64(len(prefixes)) * (1 + uint64(len(s))/64))
			}
		}
	}
	return nil
}

// pieces is how many texts a split gives at most.
func pieces(s, method string, args starlark.Tuple) int {
	if method == "splitlines" {
		return strings.Count(s, "\n") + 1
	}
	if len(args) > 0 {
		if sep, ok := args[0].(starlark.String); ok && sep != "" {
			return strings.Count(s, string(sep)) + 1
		}
	}
	n, in := 0, false
	for _, r := range s {
		if space := unicode.IsSpace(r); space == in {
			if in = !space; in {
				n++
			}
		}
	}
	return n
}

func (t *task) admitJoin(sep string, args starlark.Tuple) error {
	if len(args) != 1 {
		return nil
	}
	var total uint64
	err := t.iterate(args[0], func(v starlark.Value) error {
		total += uint64(len(sep))
		if s, ok := v.(starlark.String); ok {
			total += uint64(len(s))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return t.text(total)
}

// iterate calls fn for each element of v and charges a step for each. A value
// that cannot be iterated over is left to who uses it.
func (t *task) iterate(v starlark.Value, fn func(starlark.Value) error) error {
	it := starlark.Iterate(v)
	if it == nil {
		return nil
	}
	defer it.Done()
	var x starlark.Value
	for it.Next(&x) {
		if err := t.charge(1); err != nil {
			return err
		}
		if err := fn(x); err != nil {
			return err
		}
	}
	return nil
}

func (t *task) admitReplace(s string, args starlark.Tuple) error {
	if len(args) < 2 {
		return nil
	}
	from, ok := args[0].(starlark.String)
	if !ok {
		return nil
	}
	to, ok := args[1].(starlark.String)
	if !ok {
		return nil
	}
	return t.text(uint64(len(s)) + uint64(strings.Count(s, string(from)))*uint64(len(to)))
}

// admitFormat bounds s.format(...): every field may name the largest value.
func (t *task) admitFormat(s string, args starlark.Tuple, kwargs []starlark.Tuple) error {
	var largest uint64
	look := func(v starlark.Value) error {
		n, err := t.measure(v, intoAll)
		largest = max(largest, n.bytes)
		return err
	}
	for _, a := range args {
		if err := look(a); err != nil {
			return err
		}
	}
	for _, kv := range kwargs {
		if err := look(kv[1]); err != nil {
			return err
		}
	}
	return t.text(uint64(len(s)) + uint64(strings.Count(s, "{"))*largest)
}

func (t *task) admitList(l *starlark.List, name string, args starlark.Tuple) error {
	switch name {
	case "append":
		// A list that grows one by one was paid for by the steps of its loop.
		if l.Len() >= t.run.used.limits.Elements {
			return t.elements(uint64(l.Len()) + 1)
		}
		return t.alloc(bytesPerElement)
	case "extend":
		if len(args) == 1 {
			if n := starlark.Len(args[0]); n > 0 {
				if uint64(l.Len())+uint64(n) > uint64(t.run.used.limits.Elements) {
					return t.elements(uint64(l.Len()) + uint64(n))
				}
				return t.elements(uint64(n))
			}
		}
	case "insert", "pop":
		if err := t.charge(uint64(l.Len()) / 64); err != nil {
			return err
		}
		if name == "insert" && l.Len() >= t.run.used.limits.Elements {
			return t.elements(uint64(l.Len()) + 1)
		}
	case "index", "remove":
		if len(args) > 0 {
			return t.admitSearch(args[0], l)
		}
	}
	return nil
}

func (t *task) admitDict(d *starlark.Dict, name string, args starlark.Tuple, kwargs []starlark.Tuple) error {
	switch name {
	case "get", "pop", "setdefault":
		if len(args) > 0 {
			return t.key(args[0])
		}
	case "keys", "values":
		return t.elements(uint64(d.Len()))
	case "items":
		if err := t.elements(uint64(d.Len())); err != nil {
			return err
		}
		return t.alloc(uint64(d.Len()) * 2 * bytesPerElement)
	case "update":
		return t.admitPairs(d.Len(), args, kwargs)
	}
	return nil
}

// admitPairs admits the entries that dict(...) and dict.update(...) insert
// into a dict of n entries.
func (t *task) admitPairs(n int, args starlark.Tuple, kwargs []starlark.Tuple) error {
	total := uint64(n) + uint64(len(kwargs))
	if len(args) > 0 {
		if m, ok := args[0].(*starlark.Dict); ok {
			if err := t.admitKeys(m); err != nil {
				return err
			}
			total += uint64(m.Len())
		} else {
			err := t.iterate(args[0], func(pair starlark.Value) error {
				total++
				if p, ok := pair.(starlark.Indexable); ok && p.Len() > 0 {
					return t.key(p.Index(0))
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return t.elements(total)
}
