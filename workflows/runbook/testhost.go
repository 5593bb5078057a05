package runbook

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"edgefleet/workflows/contract"
)

// testCase is one test while it runs: what the test said that the world
// answers, and what the runbook did.
type testCase struct {
	clock     clock
	answers   map[string][]canned
	approvals map[string]contract.Decision
	calls     []madeCall
	log       []string
	// failures are those of expect, which do not end the test.
	failures []*Error
	// fault is why the test cannot go on, such as a missing answer; no
	// attempt of the runbook may hide it.
	fault error
}

// canned is one answer of an action.
type canned struct {
	truth  bool
	fields map[string]any
	err    *ActionError
}

// madeCall is one call of an action.
type madeCall struct {
	action string
	text   string
	line   int
}

func newTestCase() *testCase {
	return &testCase{answers: map[string][]canned{}, approvals: map[string]contract.Decision{}}
}

// testHost is the Host of the offline tester: canned answers, virtual time.
type testHost struct{ c *testCase }

var _ Host = testHost{}

// fail ends the test, whatever the runbook does with the error.
func (h testHost) fail(format string, args ...any) error {
	if h.c.fault == nil {
		h.c.fault = fmt.Errorf(format, args...)
	}
	return h.c.fault
}

// Act gives the next canned answer; the last one is given for ever.
func (h testHost) Act(call Call, report any) error {
	name := call.Action.Name
	h.c.calls = append(h.c.calls, madeCall{action: name, text: callText(call), line: call.At.Line})
	queue := h.c.answers[name]
	rep, _ := reportOf(name)
	if len(queue) == 0 {
		if len(call.Action.Answers) > 1 {
			return h.fail(`the test gives no answer for %s, called at %s; add answer("%s", True) or answer("%s", False)`, name, call.At.Origin(), name, name)
		}
		rep.sample(report, true)
		return fillFields(report, map[string]any{"status": call.Args["status"]})
	}
	next := queue[0]
	if len(queue) > 1 {
		h.c.answers[name] = queue[1:]
	}
	if next.err != nil {
		return next.err
	}
	rep.sample(report, next.truth)
	if err := fillFields(report, map[string]any{"device_id": call.DeviceID}); err != nil {
		return err
	}
	return fillFields(report, next.fields)
}

// fillFields sets fields of a report by their JSON names. Empty texts and
// names that the report does not have are left out; the latter are refused
// when the test gives them.
func fillFields(report any, fields map[string]any) error {
	given := map[string]any{}
	for k, v := range fields {
		if v != "" {
			given[k] = v
		}
	}
	text, err := json.Marshal(given)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, report)
}

// callText is a call as expect_calls writes it, without the device.
func callText(call Call) string {
	names := make([]string, 0, len(call.Args))
	for name := range call.Args {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		names[i] = name + "=" + strconv.Quote(call.Args[name])
	}
	return call.Action.Name + "(" + strings.Join(names, ", ") + ")"
}

// Sleep moves the virtual clock.
func (h testHost) Sleep(d time.Duration, _ Position) error { h.c.clock.elapsed += d; return nil }

// Now reads the virtual clock.
func (h testHost) Now() time.Time { return h.c.clock.now() }

// Log keeps the line.
func (h testHost) Log(text string) { h.c.log = append(h.c.log, text) }

// Step does nothing.
func (h testHost) Step(string, Position) {}

// Approve gives the canned decision.
func (h testHost) Approve(g Gate) (contract.Decision, error) {
	d, ok := h.c.approvals[g.ID]
	if !ok {
		return d, h.fail(`the test does not decide the gate %q, opened at %s; add approve(%q) or refuse(%q)`, g.ID, g.At.Origin(), g.ID, g.ID)
	}
	return d, nil
}

// Parallel runs the functions in turn.
func (h testHost) Parallel(n, _ int, failFast bool, stop func(error) bool, body func(h Host, i int) error) []error {
	return inTurn(h, n, failFast, stop, body)
}

// Cleanup returns the same host.
func (h testHost) Cleanup(time.Duration) (Host, func()) { return h, func() {} }

// Cancelled recognises the cancellation of a branch.
func (h testHost) Cancelled(err error) bool { return errors.Is(err, errOfflineCancelled) }

// Stalled ends the test.
func (h testHost) Stalled(err error) error { return err }
