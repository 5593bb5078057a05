package runbook

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"edgefleet/workflows/contract"
)

// Bounds of the builtins' arguments.
const (
	maxSleep        = 24 * time.Hour
	maxApprovalWait = 7 * 24 * time.Hour
	approvalWait    = time.Hour
	minTimeout      = time.Second
	maxTimeout      = time.Hour
	maxRetries      = 100
	parallelLimit   = 8
	maxNesting      = 3  // of parallel in parallel
	maxAttempts     = 50 // of attempt in attempt
	maxExits        = 100
	maxGateID       = 64
	maxTitle        = 200
	// coroutineSteps is the charge for starting a coroutine, which waits and
	// so begins a new segment each time.
	coroutineSteps = 1000
)

// addActions puts one builtin per action into env.
func addActions(env starlark.StringDict) {
	for _, action := range contract.Actions() {
		env[action.Name] = hosted(action.Name, func(t *task, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
			return t.act(action, args, kwargs)
		})
	}
}

// addBuiltins puts the other builtins of runbooks into env.
func addBuiltins(env starlark.StringDict) {
	//workflowcheck:ignore
	for name, fn := range map[string]func(*task, starlark.Tuple, []starlark.Tuple) (starlark.Value, error){
		"attempt": (*task).attempt, "parallel": (*task).parallel,
		"sleep": (*task).sleep, "now": (*task).now, "step": (*task).step, "print": (*task).print,
		"wait_for_approval": (*task).approval, "on_exit": (*task).onExit,
	} {
		env[name] = hosted(name, fn)
	}
}

// hosted is a builtin that reaches the host, which only a function that runs
// may do.
func hosted(name string, fn func(*task, starlark.Tuple, []starlark.Tuple) (starlark.Value, error)) *starlark.Builtin {
	return starlark.NewBuiltin(name, func(th *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		t := taskOf(th)
		switch t.run.phase {
		case loading:
			return nil, fmt.Errorf("%s cannot be called at the top of the file, while it loads; call it inside a function", name)
		case inTestFile:
			return nil, fmt.Errorf("%s cannot be called by a test itself; use run(function, device_id)", name)
		}
		return fn(t, args, kwargs)
	})
}

// at is the position in the runbook of the builtin that is being called.
func (t *task) at() Position {
	at, _ := t.run.texts.innermost(t.thread.CallStack())
	return at
}

// waits counts a call that grows the history.
func (t *task) waits() error {
	u := t.run.used
	if u.spent != nil {
		return u.spent
	}
	if u.calls++; u.calls > u.limits.Calls {
		return u.over("the runbook made more than %d calls that wait", u.limits.Calls)
	}
	return nil
}

// act calls an action.
func (t *task) act(action contract.Action, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	call, err := t.parseCall(action, args, kwargs)
	if err != nil {
		return nil, err
	}
	if err := t.waits(); err != nil {
		return nil, err
	}
	rep, ok := reportOf(action.Name)
	if !ok {
		return nil, fmt.Errorf("%s: the runbook engine does not know the action's report", action.Name)
	}
	if action.Kind == contract.KindChange {
		t.host.Log(fmt.Sprintf("%s: %s begins", call.At.lineText(), action.Verb))
	}
	filled := rep.fresh()
	if err := t.outside(func() error { return t.host.Act(call, filled) }); err != nil {
		if kind, msg, ok := catchable(err); ok {
			t.host.Log(fmt.Sprintf("%s: %s failed: %s (%s)", call.At.lineText(), action.Verb, clip(msg, 300), kind))
		}
		return nil, err
	}
	value := rep.value(filled)
	if err := t.charge(100); err != nil {
		return nil, err
	}
	t.host.Log(fmt.Sprintf("%s: %s: %s", call.At.lineText(), action.Verb, answerName(action, value.truth)))
	return value, nil
}

// parseCall reads the arguments of an action.
func (t *task) parseCall(action contract.Action, args starlark.Tuple, kwargs []starlark.Tuple) (Call, error) {
	call := Call{Action: action, DeviceID: t.run.deviceID, Retries: -1, At: t.at(), Attempted: t.attempts > 0}
	if most := 1 + len(action.Params); len(args) > most {
		return call, fmt.Errorf("%s: got %d positional arguments, want at most %d (timeout, retries and title are given by name)", action.Name, len(args), most)
	}
	var device string
	var timeout, retries, title starlark.Value
	values := make([]starlark.Value, len(action.Params))
	pairs := []any{"device_id", &device}
	for i, p := range action.Params {
		pairs = append(pairs, p.Name+"?", &values[i])
	}
	pairs = append(pairs, "timeout?", &timeout, "retries?", &retries, "title?", &title)
	if err := unpack(action.Name, args, kwargs, pairs...); err != nil {
		return call, err
	}
	if device != t.run.deviceID {
		return call, fmt.Errorf("%s: this run holds the lease of %q alone and cannot act on %q", action.Name, t.run.deviceID, clip(device, 80))
	}
	for i, p := range action.Params {
		if values[i] == nil || values[i] == starlark.None {
			continue
		}
		text, ok := starlark.AsString(values[i])
		if !ok {
			return call, fmt.Errorf("%s: for parameter %s: got %s, want string", action.Name, p.Name, values[i].Type())
		}
		if len(p.OneOf) > 0 && !slices.Contains(p.OneOf, text) {
			return call, fmt.Errorf("%s: for parameter %s: got %q, want one of %s", action.Name, p.Name, clip(text, 80), strings.Join(p.OneOf, ", "))
		}
		if len(text) > maxMessage {
			return call, fmt.Errorf("%s: for parameter %s: the text has %d bytes, more than %d", action.Name, p.Name, len(text), maxMessage)
		}
		if call.Args == nil {
			call.Args = map[string]string{}
		}
		call.Args[p.Name] = text
	}
	var err error
	if timeout != nil && timeout != starlark.None {
		if call.Timeout, err = duration(action.Name, "timeout", timeout, minTimeout, maxTimeout); err != nil {
			return call, err
		}
	}
	if retries != nil && retries != starlark.None {
		n, err := starlark.AsInt32(retries)
		if err != nil || n < 0 || n > maxRetries {
			return call, fmt.Errorf("%s: for parameter retries: want a number from 0 to %d", action.Name, maxRetries)
		}
		call.Retries = n
	}
	if title != nil && title != starlark.None {
		text, ok := starlark.AsString(title)
		if !ok {
			return call, fmt.Errorf("%s: for parameter title: got %s, want string", action.Name, title.Type())
		}
		call.Title = clip(text, maxTitle)
	}
	return call, nil
}

// duration reads seconds as a number, or a text such as "90s" or "1h30m".
func duration(fn, param string, v starlark.Value, least, most time.Duration) (time.Duration, error) {
	var d time.Duration
	switch v := v.(type) {
	case starlark.Int, starlark.Float:
		seconds, _ := starlark.AsFloat(v)
		// Above the bound, the product could overflow.
		if !(seconds >= 0 && seconds <= most.Seconds()) {
			return 0, fmt.Errorf("%s: for parameter %s: want %v to %v", fn, param, least, most)
		}
		d = time.Duration(seconds * float64(time.Second))
	case starlark.String:
		var err error
		if d, err = time.ParseDuration(string(v)); err != nil {
			return 0, fmt.Errorf(`%s: for parameter %s: %q is not a duration; write seconds, or a text such as "90s", "5m" or "1h30m"`, fn, param, clip(string(v), 40))
		}
	default:
		return 0, fmt.Errorf(`%s: for parameter %s: got %s, want seconds or a text such as "5m"`, fn, param, v.Type())
	}
	if d < least || d > most {
		return 0, fmt.Errorf("%s: for parameter %s: want %v to %v", fn, param, least, most)
	}
	return d, nil
}

// sleep is sleep(duration).
func (t *task) sleep(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var v starlark.Value
	if err := unpack("sleep", args, kwargs, "duration", &v); err != nil {
		return nil, err
	}
	d, err := duration("sleep", "duration", v, 0, maxSleep)
	if err != nil {
		return nil, err
	}
	if d == 0 {
		// It would not wait, and so must not begin a new segment.
		return starlark.None, nil
	}
	if err := t.waits(); err != nil {
		return nil, err
	}
	at := t.at()
	return starlark.None, t.outside(func() error { return t.host.Sleep(d, at) })
}

// now is now().
func (t *task) now(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	if err := unpack("now", args, kwargs); err != nil {
		return nil, err
	}
	return timeValue(t.host.Now()), t.charge(50)
}

// step is step(title).
func (t *task) step(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var title string
	if err := unpack("step", args, kwargs, "title", &title); err != nil {
		return nil, err
	}
	title = oneLine(clip(title, maxTitle))
	t.host.Step(title, t.at())
	t.say("step: " + title)
	return starlark.None, t.charge(50)
}

// print is print(*args, sep=" ").
func (t *task) print(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	sep := " "
	if err := unpack("print", nil, kwargs, "sep?", &sep); err != nil {
		return nil, err
	}
	var b strings.Builder
	for i, a := range args {
		text, err := t.show(a)
		if err != nil {
			return nil, err
		}
		if err := t.text(uint64(b.Len() + len(sep) + len(text))); err != nil {
			return nil, err
		}
		if i > 0 {
			b.WriteString(sep)
		}
		b.WriteString(text)
	}
	t.say(clip(b.String(), maxMessage))
	return starlark.None, t.charge(50)
}

// say adds what a runbook says to the timeline. Beyond the limits it is
// dropped, and the last line says so: a talkative runbook still does its work.
func (t *task) say(text string) {
	u := t.run.used
	if u.prints > u.limits.Prints {
		return
	}
	u.prints++
	u.spoken += len(text)
	if u.prints > u.limits.Prints || u.spoken > u.limits.PrintBytes {
		u.prints = u.limits.Prints + 1
		text = "(the runbook prints more than its limit; the rest is dropped)"
	}
	t.host.Log(text)
}

// oneLine replaces what would break a line.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, s)
}

// onExit is on_exit(fn, *args, **kwargs).
func (t *task) onExit(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	if t.run.phase == leaving {
		return nil, fmt.Errorf("on_exit cannot be called by a function of on_exit")
	}
	fn, rest, err := callee("on_exit", args)
	if err != nil {
		return nil, err
	}
	if len(t.run.exits) >= maxExits {
		return nil, fmt.Errorf("on_exit: more than %d functions", maxExits)
	}
	t.run.exits = append(t.run.exits, exit{fn, rest, kwargs})
	return starlark.None, nil
}

// callee splits (fn, *args).
func callee(name string, args starlark.Tuple) (starlark.Callable, starlark.Tuple, error) {
	if len(args) == 0 {
		return nil, nil, fmt.Errorf("%s: missing argument for fn", name)
	}
	fn, ok := args[0].(starlark.Callable)
	if !ok {
		return nil, nil, fmt.Errorf("%s: got %s, want a function; write %s(fn, argument), not %s(fn(argument))", name, args[0].Type(), name, name)
	}
	return fn, args[1:], nil
}
