package runbook

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"
	"go.uber.org/goleak"

	"edgefleet/workflows/contract"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testDevice = contract.Device{ID: "edge-001", Region: "us-east-1"}

// seen is what a test workflow tells of its run.
type seen struct {
	Value    string
	Timeline []string
	Steps    []string
	Waiting  []string
	Decided  []contract.Decision
}

// testInput is the input of the test workflow.
type testInput struct {
	Source, Function string
	// ResolveAfter sets the alert's end.
	ResolveAfter time.Duration
	Hash         string
}

// testWorkflow runs a runbook as the remediation does.
func testWorkflow(ctx workflow.Context, in testInput) (seen, error) {
	var s seen
	gates, err := SetupGates(ctx)
	if err != nil {
		return s, err
	}
	resolved := false
	if in.ResolveAfter > 0 {
		workflow.Go(ctx, func(ctx workflow.Context) {
			_ = workflow.Sleep(ctx, in.ResolveAfter)
			resolved = true
		})
	}
	s.Value, err = Run(ctx, Params{
		Name: "auto_remediation.py", Source: in.Source, Hash: in.Hash, Function: in.Function, Device: testDevice,
		Scope: contract.Scope{Actor: contract.Actor{Kind: contract.ActorAlert, Name: "EdgeDeviceOffline"}, LeaseToken: 7, IncidentID: "inc-1"},
		Observer: Observer{
			Timeline: func(text string) { s.Timeline = append(s.Timeline, text) },
			Step:     func(title string) { s.Steps = append(s.Steps, title) },
			Waiting:  func(gate, prompt string) { s.Waiting = append(s.Waiting, gate) },
			Decided: func(_ workflow.Context, d contract.Decision) error {
				s.Decided = append(s.Decided, d)
				return nil
			},
		},
		Gates: gates, Resolved: func() bool { return resolved },
	})
	return s, err
}

// world is a fleet of one device, answering through registered activities.
type world struct {
	env *testsuite.TestWorkflowEnvironment
	// mu guards what follows: activities run in goroutines of their own.
	mu     sync.Mutex
	calls  []string
	inputs []contract.ActionInput
	queues []string
}

// answers of the five actions of the fleet guide: a value, or an error.
type worldAnswers struct {
	reachable, cameBack, drifted, changed bool
	fail                                  map[string]error
}

func newWorld(t *testing.T, a worldAnswers) *world {
	var suite testsuite.WorkflowTestSuite
	w := &world{env: suite.NewTestWorkflowEnvironment()}
	w.env.SetTestTimeout(20 * time.Second)
	w.env.RegisterWorkflow(testWorkflow)
	drift := func(yes bool) []contract.SettingDrift {
		if yes {
			return []contract.SettingDrift{{Setting: "VRef", Want: "230", Got: "231", Unit: "V"}}
		}
		return nil
	}
	for _, action := range contract.Actions() {
		w.env.RegisterActivityWithOptions(func(_ context.Context, in contract.ActionInput) (any, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.calls = append(w.calls, action.Name)
			w.inputs = append(w.inputs, in)
			if err := a.fail[action.Name]; err != nil {
				return nil, err
			}
			switch action.Name {
			case contract.ActionCheckNetwork:
				return contract.NetworkReport{DeviceID: in.DeviceID, Reachable: a.reachable, Verdicts: []contract.Verdict{{Check: "tcp connect", Result: "ok"}}}, nil
			case contract.ActionTriggerNetworkReset:
				return contract.ResetReport{DeviceID: in.DeviceID, CameBack: a.cameBack}, nil
			case contract.ActionDetectConfigDrift:
				return contract.DriftReport{DeviceID: in.DeviceID, Drifted: drift(a.drifted)}, nil
			case contract.ActionApplyBaselineConfig:
				return contract.ApplyReport{DeviceID: in.DeviceID, Changed: drift(a.changed)}, nil
			case contract.ActionUpdateIncidentStatus:
				return contract.IncidentReport{IncidentID: in.IncidentID, Status: "mitigated"}, nil
			}
			return contract.HealthReport{DeviceID: in.DeviceID, Healthy: a.reachable}, nil
		}, activity.RegisterOptions{Name: action.Name})
	}
	w.env.SetOnActivityStartedListener(func(info *activity.Info, _ context.Context, _ converter.EncodedValues) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.queues = append(w.queues, info.TaskQueue)
	})
	return w
}

func (w *world) run(t *testing.T, in testInput) (seen, error) {
	t.Helper()
	w.env.ExecuteWorkflow(testWorkflow, in)
	require.True(t, w.env.IsWorkflowCompleted())
	var s seen
	if err := w.env.GetWorkflowError(); err != nil {
		return s, err
	}
	require.NoError(t, w.env.GetWorkflowResult(&s))
	return s, nil
}

func TestTheFleetGuidesRunbookTakesEveryPath(t *testing.T) {
	source := guideSource(t)
	for _, reachable := range []bool{true, false} {
		for _, cameBack := range []bool{true, false} {
			for _, drifted := range []bool{true, false} {
				for _, changed := range []bool{true, false} {
					t.Run(fmt.Sprintf("reachable=%v cameBack=%v drifted=%v changed=%v", reachable, cameBack, drifted, changed), func(t *testing.T) {
						w := newWorld(t, worldAnswers{reachable: reachable, cameBack: cameBack, drifted: drifted, changed: changed})
						s, err := w.run(t, testInput{Source: source, Function: "handle_device_offline"})
						require.NoError(t, err)
						want := []string{"check_network"}
						if !reachable {
							want = append(want, "trigger_network_reset")
						}
						want = append(want, "detect_config_drift")
						if drifted {
							want = append(want, "apply_baseline_config")
						}
						want = append(want, "update_incident_status")
						require.Equal(t, want, w.calls)
						require.Equal(t, "line 12: update incident: updated", s.Timeline[len(s.Timeline)-1])
					})
				}
			}
		}
	}
}

func TestAnActionCarriesTheScopeItsPlaceInTheRunbookAndItsQueue(t *testing.T) {
	w := newWorld(t, worldAnswers{reachable: true})
	_, err := w.run(t, testInput{Source: guideSource(t), Function: "handle_device_offline"})
	require.NoError(t, err)
	require.Equal(t, contract.ActionInput{Scope: contract.Scope{
		DeviceID: "edge-001", Actor: contract.Actor{Kind: contract.ActorAlert, Name: "EdgeDeviceOffline"}, LeaseToken: 7, IncidentID: "inc-1",
		Origin: "auto_remediation.py:4",
	}}, w.inputs[0])
	require.Equal(t, []string{"edgefleet.us-east-1", "edgefleet.us-east-1", "edgefleet"}, w.queues)
}

func TestActivityOptionsComeFromTheDeclarationAndTheCall(t *testing.T) {
	reset := contract.MustAction(contract.ActionTriggerNetworkReset)
	at := Position{File: "r.py", Line: 5}
	o := activityOptions(Call{Action: reset, DeviceID: "edge-003", Retries: -1, At: at}, "eu")
	require.Equal(t, "reset network, edge-003, line 5", o.Summary)
	require.Equal(t, reset.StartToClose, o.StartToCloseTimeout)
	require.Equal(t, reset.ScheduleToClose, o.ScheduleToCloseTimeout)
	require.Equal(t, reset.Heartbeat, o.HeartbeatTimeout)
	require.Equal(t, reset.MaxAttempts, o.RetryPolicy.MaximumAttempts)
	require.True(t, o.WaitForCancellation)
	o = activityOptions(Call{Action: reset, Retries: 0, Timeout: 20 * time.Minute, Title: "power cycle", At: at}, "eu")
	require.Equal(t, "power cycle", o.Summary)
	require.Equal(t, int32(1), o.RetryPolicy.MaximumAttempts)
	require.Equal(t, 20*time.Minute, o.StartToCloseTimeout)
	require.Equal(t, 20*time.Minute, o.ScheduleToCloseTimeout)
}

func appErr(t *testing.T, err error) *temporal.ApplicationError {
	t.Helper()
	var app *temporal.ApplicationError
	require.ErrorAs(t, err, &app)
	return app
}

func TestAnActionsFailureEndsTheRunWithItsOwnType(t *testing.T) {
	w := newWorld(t, worldAnswers{reachable: true, fail: map[string]error{
		"detect_config_drift": temporal.NewNonRetryableApplicationError("no answer", contract.ErrUnreachable, nil),
	}})
	_, err := w.run(t, testInput{Source: guideSource(t), Function: "handle_device_offline"})
	app := appErr(t, err)
	require.Equal(t, contract.ErrUnreachable, app.Type())
	require.True(t, app.NonRetryable())
	require.Equal(t, "auto_remediation.py:8:27: detect_config_drift: no answer\n    if detect_config_drift(device_id):", app.Message())
}

func TestErrorTypesThatNothingCanMendAreNotRetried(t *testing.T) {
	for _, kind := range nonRetryable {
		w := newWorld(t, worldAnswers{fail: map[string]error{"check_network": temporal.NewApplicationError("no", kind)}})
		_, err := w.run(t, testInput{Source: guideSource(t), Function: "handle_device_offline"})
		require.Equal(t, kind, appErr(t, err).Type())
		require.Len(t, w.calls, 1, kind)
	}
	w := newWorld(t, worldAnswers{fail: map[string]error{"check_network": temporal.NewApplicationError("no", contract.ErrBusy)}})
	_, err := w.run(t, testInput{Source: guideSource(t), Function: "handle_device_offline"})
	require.Equal(t, contract.ErrBusy, appErr(t, err).Type())
	require.Len(t, w.calls, 5)
}

func TestABugAndASpentBudgetHaveTheirOwnTypes(t *testing.T) {
	for _, tt := range []struct{ source, kind, says string }{
		{"def f(d):\n    x = 1 + 'a'\n", contract.ErrRunbook, "auto_remediation.py:2:11: unknown binary op: int + string"},
		{"def f(d):\n    fail('no idea')\n", contract.ErrRunbook, "auto_remediation.py:2:9: no idea"},
		{"def f(d):\n    for i in range(1000000000):\n        pass\n", contract.ErrBudget, "steps"},
		{"def f(d)\n    pass\n", contract.ErrRunbook, "auto_remediation.py:2:1: got newline, want ':'"},
		{"def g(d):\n    pass\n", contract.ErrRunbook, "there is no function f"},
	} {
		w := newWorld(t, worldAnswers{})
		_, err := w.run(t, testInput{Source: tt.source, Function: "f"})
		require.Equal(t, tt.kind, appErr(t, err).Type())
		require.Contains(t, appErr(t, err).Message(), tt.says)
	}
}

func TestASourceThatIsNotTheOneThatWasHashedIsRefused(t *testing.T) {
	w := newWorld(t, worldAnswers{})
	_, err := w.run(t, testInput{Source: guideSource(t), Function: "handle_device_offline", Hash: strings.Repeat("0", 64)})
	require.ErrorContains(t, err, "does not have the SHA-256")
	require.Empty(t, w.calls)
}

func TestTheWatchdogFailsTheTaskAndNotTheRun(t *testing.T) {
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	env.ExecuteWorkflow(func(ctx workflow.Context) error {
		_, err := Run(ctx, Params{Name: "r.py", Source: "def f(d):\n    for i in range(10000000000):\n        pass\n", Function: "f", Device: testDevice,
			Limits: Limits{SegmentSteps: 1 << 40, TotalSteps: 1 << 40, Watchdog: 20 * time.Millisecond}})
		return err
	})
	// The test environment ends a workflow that panics; a worker fails the
	// workflow task and tries again.
	var panicked *temporal.PanicError
	require.ErrorAs(t, env.GetWorkflowError(), &panicked)
	require.ErrorContains(t, panicked, "r.py: the runbook kept the worker busy")
}

func TestParallelRunsAtMostItsLimitAtOnceAndKeepsTheOrder(t *testing.T) {
	w := newWorld(t, worldAnswers{})
	began := w.env.Now()
	s, err := w.run(t, testInput{Function: "f", Source: `
def nap(n):
    sleep(n)
    return n

def f(d):
    start = now().unix
    out = parallel(lambda: nap(30), lambda: nap(10), lambda: nap(20), lambda: nap(10), limit=2)
    return "%s after %d" % (out, now().unix - start)
`})
	require.NoError(t, err)
	require.Equal(t, "[30, 10, 20, 10] after 40", s.Value)
	require.Equal(t, 40*time.Second, w.env.Now().Sub(began).Round(time.Second))
}

func TestParallelFailFastCancelsTheOthersAndReportsTheFailure(t *testing.T) {
	w := newWorld(t, worldAnswers{fail: map[string]error{"check_network": temporal.NewNonRetryableApplicationError("dark", contract.ErrUnreachable, nil)}})
	s, err := w.run(t, testInput{Function: "f", Source: `
def f(d):
    start = now().unix
    out = attempt(parallel, lambda: sleep("1h"), lambda: check_network(d), fail_fast=True)
    return "%s %s %d" % (out.kind, out.error, now().unix - start)
`})
	require.NoError(t, err)
	require.Equal(t, "unreachable check_network: dark 0", s.Value)
}

func TestABugInABranchOfParallelEndsTheRun(t *testing.T) {
	w := newWorld(t, worldAnswers{})
	_, err := w.run(t, testInput{Function: "f", Source: "def f(d):\n    attempt(parallel, lambda: sleep('1h'), lambda: 1 + 'a')\n"})
	require.ErrorContains(t, err, "auto_remediation.py:2:54: unknown binary op: int + string")
}

func TestOnExitRunsInReverseAlsoWhenTheRunIsCancelled(t *testing.T) {
	w := newWorld(t, worldAnswers{})
	w.env.RegisterDelayedCallback(w.env.CancelWorkflow, time.Minute)
	_, err := w.run(t, testInput{Function: "f", Source: `
def f(d):
    on_exit(update_incident_status, d, note="first")
    on_exit(lambda: update_incident_status(d, note="second"))
    attempt(sleep, "1h")
    fail("not reached: attempt does not catch a cancellation")
`})
	require.True(t, temporal.IsCanceledError(err), "%v", err)
	require.Equal(t, []string{"second", "first"}, []string{w.inputs[0].Args["note"], w.inputs[1].Args["note"]})
}

func TestOnExitHasABoundedTime(t *testing.T) {
	w := newWorld(t, worldAnswers{})
	began := w.env.Now()
	_, err := w.run(t, testInput{Function: "f", Source: "def f(d):\n    on_exit(sleep, '20h')\n"})
	require.Equal(t, contract.ErrBudget, appErr(t, err).Type())
	require.ErrorContains(t, err, "did not end within 10m0s")
	require.Equal(t, DefaultLimits().ExitTime, w.env.Now().Sub(began).Round(time.Second))
}

func TestASpentBudgetLeavesEnoughForOnExit(t *testing.T) {
	w := newWorld(t, worldAnswers{})
	_, err := w.run(t, testInput{Function: "f", Source: "def f(d):\n    on_exit(update_incident_status, d)\n    for i in range(1000000000):\n        pass\n"})
	require.Equal(t, contract.ErrBudget, appErr(t, err).Type())
	require.Equal(t, []string{"update_incident_status"}, w.calls)
}

func TestARunIsTheSameEveryTime(t *testing.T) {
	source := `
def probe(d, i):
    sleep(i % 3)
    print("probe", i)
    return attempt(check_network, d).ok

def f(d):
    step("look around")
    out = parallel(limit=3, *[(lambda i=i: probe(d, i)) for i in range(12)])
    return "%s %s" % (out, {k: v for k, v in zip(["b", "a"], out)})
`
	var first seen
	for i := range 5 {
		s, err := newWorld(t, worldAnswers{reachable: true}).run(t, testInput{Source: source, Function: "f"})
		require.NoError(t, err)
		if i == 0 {
			first = s
		}
		require.Equal(t, first, s)
	}
	require.True(t, slices.Contains(first.Timeline, "probe 11"))
	require.Equal(t, []string{"look around"}, first.Steps)
}

func TestAnActionThatPanicsIsIndeterminateAndNoCancellation(t *testing.T) {
	h := &temporalHost{}
	err := actionError(Call{Action: contract.MustAction(contract.ActionCheckNetwork)}, temporal.NewCanceledError())
	require.False(t, h.Cancelled(err))
	kind, _, ok := catchable(err)
	require.True(t, ok)
	require.Equal(t, contract.ErrIndeterminate, kind)
	require.True(t, h.Cancelled(fmt.Errorf("wrapped: %w", temporal.NewCanceledError())))
}

func TestTimeOutsSayWhichTimeRanOut(t *testing.T) {
	w := newWorld(t, worldAnswers{})
	w.env.OnActivity(contract.ActionCheckNetwork, mock.Anything, mock.Anything).Return(nil, temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_START_TO_CLOSE, nil))
	s, err := w.run(t, testInput{Function: "f", Source: "def f(d):\n    out = attempt(check_network, d, timeout='7s', retries=0)\n    return out.kind + ': ' + out.error\n"})
	require.NoError(t, err)
	require.Equal(t, "timeout: check_network: it did not end within 7s", s.Value)
}
