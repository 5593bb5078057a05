package runbook

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"edgefleet/workflows/contract"
)

func TestAGateWaitsForItsDecision(t *testing.T) {
	source := `
def f(d):
    gate = wait_for_approval("reset", "Reset %s?" % d, timeout="2h")
    if gate:
        trigger_network_reset(d)
    return "%s %s %s" % (gate.approved, gate.by, gate.note)
`
	w := newWorld(t, worldAnswers{})
	refusals := map[string]string{}
	send := func(name string, d contract.Decision) {
		w.env.UpdateWorkflow(contract.UpdateDecide, name, &testsuite.TestUpdateCallback{
			OnReject:   func(err error) { refusals[name] = err.Error() },
			OnAccept:   func() {},
			OnComplete: func(_ any, err error) { require.NoError(t, err) },
		}, d)
	}
	w.env.RegisterDelayedCallback(func() {
		send("nobody", contract.Decision{Gate: "reset", Approved: true, By: " "})
		send("unknown", contract.Decision{Gate: "rset", Approved: true, By: "ann"})
		send("first", contract.Decision{Gate: "reset", Approved: true, By: "ann", Note: "go"})
		send("second", contract.Decision{Gate: "reset", Approved: false, By: "bob"})
	}, time.Hour)
	s, err := w.run(t, testInput{Source: source, Function: "f"})
	require.NoError(t, err)
	require.Equal(t, "True ann go", s.Value)
	require.Equal(t, []string{"reset", ""}, s.Waiting)
	require.Equal(t, []contract.Decision{{Gate: "reset", Approved: true, By: "ann", Note: "go"}}, s.Decided)
	require.Equal(t, map[string]string{
		"nobody":  "who decides? the name is empty",
		"unknown": `gate "rset" is not open; waiting: reset`,
		"second":  `gate "reset" was decided before: approved by ann: go`,
	}, refusals)
	require.Equal(t, []string{"trigger_network_reset"}, w.calls)
}

func TestADecisionBeforeItsGateIsOpenIsRefused(t *testing.T) {
	w := newWorld(t, worldAnswers{})
	var refusal string
	w.env.RegisterDelayedCallback(func() {
		w.env.UpdateWorkflow(contract.UpdateDecide, "early", &testsuite.TestUpdateCallback{
			OnReject: func(err error) { refusal = err.Error() }, OnAccept: func() {}, OnComplete: func(any, error) {},
		}, contract.Decision{Gate: "reset", Approved: true, By: "ann"})
	}, 0)
	s, err := w.run(t, testInput{Function: "f", Source: "def f(d):\n    sleep(60)\n    return str(bool(wait_for_approval('reset', 'go?')))\n"})
	require.NoError(t, err)
	require.Equal(t, `gate "reset" is not open; none is`, refusal)
	require.Equal(t, "False", s.Value)
}

func TestAGateEndsRefusedByTimeOutAndByTheAlertsEnd(t *testing.T) {
	source := "def f(d):\n    gate = wait_for_approval('reset', 'go?', '30m')\n    return '%s %s' % (gate.approved, gate.note)\n"
	s, err := newWorld(t, worldAnswers{}).run(t, testInput{Source: source, Function: "f"})
	require.NoError(t, err)
	require.Equal(t, "False no decision within 30m0s", s.Value)
	s, err = newWorld(t, worldAnswers{}).run(t, testInput{Source: source, Function: "f", ResolveAfter: 10 * time.Minute})
	require.NoError(t, err)
	require.Equal(t, "False the alert has resolved", s.Value)
	require.Equal(t, []contract.Decision{{Gate: "reset", Note: "the alert has resolved"}}, s.Decided)
}

func TestADecisionThatCannotBeRecordedEndsTheRun(t *testing.T) {
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	env.ExecuteWorkflow(func(ctx workflow.Context) error {
		gates, err := SetupGates(ctx)
		if err != nil {
			return err
		}
		_, err = Run(ctx, Params{Name: "r.py", Source: "def f(d):\n    wait_for_approval('a', 'b', 60)\n", Function: "f", Device: testDevice, Gates: gates,
			Observer: Observer{Decided: func(workflow.Context, contract.Decision) error { return errors.New("the ledger is closed") }}})
		return err
	})
	require.ErrorContains(t, env.GetWorkflowError(), "the ledger is closed")
}
