package runbook

import (
	"fmt"
	"strings"

	"go.starlark.net/starlark"

	"edgefleet/workflows/contract"
)

// madeCalls is calls(): the calls of actions so far, as records.
func (t *task) madeCalls(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	if err := unpack("calls", args, kwargs); err != nil {
		return nil, err
	}
	if err := t.elements(uint64(len(t.run.test.calls))); err != nil {
		return nil, err
	}
	var list []starlark.Value
	for _, c := range t.run.test.calls {
		list = append(list, newRecord("call", true, "action", starlark.String(c.action), "text", starlark.String(c.text), "line", starlark.MakeInt(c.line)))
	}
	return starlark.NewList(list), nil
}

// expect is expect(condition, message=""): a failure is noted, and the test
// goes on.
func (t *task) expect(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var condition starlark.Value
	var message string
	if err := unpack("expect", args, kwargs, "condition", &condition, "message?", &message); err != nil {
		return nil, err
	}
	if !condition.Truth() {
		if message == "" {
			message = "this was expected to be true"
		}
		t.note(message)
	}
	return starlark.None, nil
}

// note adds a failure at the present line of the test.
func (t *task) note(message string) {
	e := &Error{Type: contract.ErrRunbook, Msg: message, At: t.at()}
	e.Source = strings.TrimSpace(t.run.texts.line(e.At))
	t.run.test.failures = append(t.run.test.failures, e)
}

// expectCalls is expect_calls(list): the calls of actions, in order, by their
// names or as "name(param="value")".
func (t *task) expectCalls(args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var list *starlark.List
	if err := unpack("expect_calls", args, kwargs, "calls", &list); err != nil {
		return nil, err
	}
	var want []string
	for i := range list.Len() {
		text, ok := starlark.AsString(list.Index(i))
		if !ok {
			return nil, fmt.Errorf("expect_calls: got %s, want names of actions", list.Index(i).Type())
		}
		name, _, _ := strings.Cut(text, "(")
		if _, err := actionNamed("expect_calls", name); err != nil {
			return nil, err
		}
		want = append(want, text)
	}
	calls := t.run.test.calls
	if err := t.charge(uint64(len(want)+1) * uint64(len(calls)+1)); err != nil {
		return nil, err
	}
	if diff := callDiff(want, calls); diff != "" {
		t.note("the calls differ (- expected, + made)\n" + diff)
	}
	return starlark.None, nil
}

// matches tells whether a call is what a line of expect_calls names.
func (c madeCall) matches(want string) bool { return want == c.action || want == c.text }

// callDiff compares by the longest common subsequence; "" is no difference.
func callDiff(want []string, got []madeCall) string {
	common := make([][]int, len(want)+1)
	for i := range common {
		common[i] = make([]int, len(got)+1)
	}
	for i := len(want) - 1; i >= 0; i-- {
		for j := len(got) - 1; j >= 0; j-- {
			if got[j].matches(want[i]) {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	if common[0][0] == len(want) && len(want) == len(got) {
		return ""
	}
	var b strings.Builder
	for i, j := 0, 0; i < len(want) || j < len(got); {
		switch {
		case i < len(want) && j < len(got) && got[j].matches(want[i]):
			fmt.Fprintf(&b, "      %s\n", want[i])
			i, j = i+1, j+1
		case j == len(got) || (i < len(want) && common[i+1][j] >= common[i][j+1]):
			fmt.Fprintf(&b, "    - %s\n", want[i])
			i++
		default:
			fmt.Fprintf(&b, "    + %s  (line %d)\n", got[j].text, got[j].line)
			j++
		}
	}
	return strings.TrimRight(b.String(), "\n")
}
