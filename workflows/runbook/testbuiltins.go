package runbook

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"edgefleet/workflows/contract"
)

// addTestBuiltins puts the builtins of test files into env.
func addTestBuiltins(env starlark.StringDict) {
	add := func(name string, fn func(*task, starlark.Tuple, []starlark.Tuple) (starlark.Value, error)) {
		env[name] = starlark.NewBuiltin(name, func(th *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
			t := taskOf(th)
			if t.run.phase == loading || t.run.test == nil {
				return nil, fmt.Errorf("%s is called by a test, inside a function whose name begins with test_", name)
			}
			return fn(t, args, kwargs)
		})
	}
	add("answer", (*task).answer)
	add("answer_error", (*task).answerError)
	add("approve", func(t *task, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		return t.decide("approve", true, args, kwargs)
	})
	add("refuse", func(t *task, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		return t.decide("refuse", false, args, kwargs)
	})
	add("run", func(t *task, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		out, err := t.runFunction("run", args, kwargs)
		if err == nil && !out.truth {
			msg, _ := out.Attr("error")
			text, _ := starlark.AsString(msg)
			return nil, fmt.Errorf("the runbook failed: %s", text)
		}
		return out, err
	})
	add("run_error", func(t *task, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		out, err := t.runFunction("run_error", args, kwargs)
		if err == nil && out.truth {
			return nil, fmt.Errorf("the runbook came to its end, but was expected to fail")
		}
		return out, err
	})
	add("calls", (*task).madeCalls)
	add("expect", (*task).expect)
	add("expect_calls", (*task).expectCalls)
	add("elapsed", func(t *task, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		return starlark.Float(t.run.test.clock.elapsed.Seconds()), unpack("elapsed", args, kwargs)
	})
	add("printed", func(t *task, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		var list []starlark.Value
		for _, line := range t.run.test.log {
			list = append(list, starlark.String(line))
		}
		return starlark.NewList(list), unpack("printed", args, kwargs)
	})
	env["print"] = starlark.NewBuiltin("print", func(th *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		t := taskOf(th)
		if t.run.test == nil {
			return starlark.None, nil
		}
		return t.print(args, kwargs)
	})
}

// actionNamed returns an action, or an error that names the nearest.
func actionNamed(fn, name string) (contract.Action, error) {
	var names []string
	for _, a := range contract.Actions() {
		if a.Name == name {
			return a, nil
		}
		names = append(names, a.Name)
	}
	hint := "the actions are " + strings.Join(names, ", ")
	if near := nearest(name, names); near != "" {
		hint = "did you mean " + near + "?"
	}
	return contract.Action{}, fmt.Errorf("%s: there is no action %q; %s", fn, clip(name, 80), hint)
}

// answer is answer(action, *truths, **fields): the next answers of an action,
// in order; the last of them is given for ever.
func (t *task) answer(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	if len(args) < 2 {
		return nil, fmt.Errorf("answer: want an action and at least one answer, True or False")
	}
	name, _ := starlark.AsString(args[0])
	action, err := actionNamed("answer", name)
	if err != nil {
		return nil, err
	}
	fields := map[string]any{}
	for _, kv := range kwargs {
		key := string(kv[0].(starlark.String))
		if _, err := t.printable(kv[1]); err != nil {
			return nil, err
		}
		if fields[key], err = toJSON(kv[1]); err != nil {
			return nil, fmt.Errorf("answer: for field %s: %w", key, err)
		}
	}
	if err := checkFields(action, fields); err != nil {
		return nil, err
	}
	for _, a := range args[1:] {
		truth, ok := a.(starlark.Bool)
		if !ok {
			return nil, fmt.Errorf("answer: got %s, want True or False", a.Type())
		}
		t.run.test.answers[name] = append(t.run.test.answers[name], canned{truth: bool(truth), fields: fields})
	}
	return starlark.None, nil
}

// checkFields refuses fields that the action's report does not have, or that
// have another type there.
func checkFields(action contract.Action, fields map[string]any) error {
	rep, _ := reportOf(action.Name)
	filled := rep.fresh()
	known := rep.value(filled).fields
	for _, name := range sortedKeys(fields) {
		if !slices.Contains(known, name) {
			return fmt.Errorf("answer: the report of %s has no field %s; it has %s", action.Name, name, strings.Join(known, ", "))
		}
	}
	text, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, filled); err != nil {
		return fmt.Errorf("answer: %s does not take these fields: %w", reflect.TypeOf(filled).Elem().Name(), err)
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	//workflowcheck:ignore
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// toJSON turns a value of a test into what encoding/json writes. The caller
// has bounded its depth.
func toJSON(v starlark.Value) (any, error) {
	switch v := v.(type) {
	case starlark.NoneType:
		return nil, nil
	case starlark.Bool:
		return bool(v), nil
	case starlark.Int:
		return json.Number(v.String()), nil
	case starlark.Float:
		return float64(v), nil
	case starlark.String:
		return string(v), nil
	case *starlark.List, starlark.Tuple:
		list := []any{}
		seq := v.(starlark.Indexable)
		for i := range seq.Len() {
			e, err := toJSON(seq.Index(i))
			if err != nil {
				return nil, err
			}
			list = append(list, e)
		}
		return list, nil
	case *starlark.Dict:
		m := map[string]any{}
		for k, e := range v.Entries() {
			key, ok := starlark.AsString(k)
			if !ok {
				return nil, fmt.Errorf("got a key of type %s, want string", k.Type())
			}
			var err error
			if m[key], err = toJSON(e); err != nil {
				return nil, err
			}
		}
		return m, nil
	}
	return nil, fmt.Errorf("got %s, want a text, number, list or dict", v.Type())
}

// answerError is answer_error(action, kind, message="").
func (t *task) answerError(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var name, kind, message string
	if err := unpack("answer_error", args, kwargs, "action", &name, "kind", &kind, "message?", &message); err != nil {
		return nil, err
	}
	if _, err := actionNamed("answer_error", name); err != nil {
		return nil, err
	}
	if message == "" {
		message = name + ": " + kind
	}
	t.run.test.answers[name] = append(t.run.test.answers[name], canned{err: &ActionError{Kind: kind, Msg: message}})
	return starlark.None, nil
}

// decide is approve(id, by=, note=) and refuse(id, by=, note=).
func (t *task) decide(fn string, approved bool, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	d := contract.Decision{Approved: approved, By: "tester"}
	if err := unpack(fn, args, kwargs, "id", &d.Gate, "by?", &d.By, "note?", &d.Note); err != nil {
		return nil, err
	}
	t.run.test.approvals[d.Gate] = d
	return starlark.None, nil
}

// runFunction runs a function of a runbook as a run of its own.
func (t *task) runFunction(name string, args starlark.Tuple, kwargs []starlark.Tuple) (*record, error) {
	var fn starlark.Callable
	var device string
	if err := unpack(name, args, kwargs, "fn", &fn, "device_id", &device); err != nil {
		return nil, err
	}
	if t.run.phase != inTestFile {
		return nil, fmt.Errorf("%s cannot be called by a runbook", name)
	}
	if err := contract.ValidDeviceID(device); err != nil {
		return nil, err
	}
	if err := t.charge(coroutineSteps); err != nil {
		return nil, err
	}
	inner := newRun(device, t.run.used.limits, t.run.texts)
	inner.test = t.run.test
	var text string
	var runErr error
	err := t.outside(func() error {
		text, runErr = inner.call(testHost{t.run.test}, fn, starlark.Tuple{starlark.String(device)})
		return nil
	})
	if err == nil {
		err = t.run.test.fault
	}
	if err != nil {
		return nil, err
	}
	if runErr != nil {
		kind, msg, ok := catchable(runErr)
		var e *Error
		if errors.As(runErr, &e) && !ok {
			kind = e.Type
		}
		if !ok || kind != kindFail {
			msg = runErr.Error()
		}
		return failedOutcome(kind, msg), nil
	}
	return outcome(textOrNone(text)), nil
}
