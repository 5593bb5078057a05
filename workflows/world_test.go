package workflows

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.uber.org/goleak"

	"edgefleet/workflows/contract"
)

// The suite leaves what it plays an activity with when the workflow does not wait
// for that any more.
func TestMain(m *testing.M) {
	const suite = "go.temporal.io/sdk/internal.(*testWorkflowEnvironmentImpl)."
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction(suite+"ExecuteActivity.func2"), goleak.IgnoreAnyFunction(suite+"runBeforeMockCallReturns"))
}

const guideRunbook = `def handle_device_offline(device_id):
    if not check_network(device_id):
        trigger_network_reset(device_id)
    if detect_config_drift(device_id):
        apply_baseline_config(device_id)
    update_incident_status(device_id)
`

// call is one attempt of an activity, as the activity saw it.
type call struct {
	name  string
	info  activity.Info
	input any
}

// world is one workflow run with every activity of the catalogue, each of
// which answers as its field says. The default world is a healthy device.
type world struct {
	t   *testing.T
	env *testsuite.TestWorkflowEnvironment
	// gone is closed when the test ends: an activity that waits, waits for it.
	gone chan struct{}

	source                                string
	reachable, cameBack, drifted, notWell bool

	// before is asked first by every activity; n counts the attempts of that
	// activity from 1. An error is the activity's.
	before func(name string, n int) error

	// mu guards what follows: activities run in goroutines of their own.
	mu       sync.Mutex
	calls    []call
	attempts map[string]int
	attrs    []map[string]string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	w := &world{t: t, env: suite.NewTestWorkflowEnvironment(), gone: make(chan struct{}), attempts: map[string]int{},
		source: guideRunbook, reachable: true, cameBack: true}
	w.env.SetTestTimeout(20 * time.Second)
	t.Cleanup(func() { close(w.gone) })
	Register(w.env)
	w.env.OnUpsertTypedSearchAttributes(mock.Anything).Return(nil).Run(func(args mock.Arguments) {
		set := map[string]string{}
		for key, value := range args.Get(0).(temporal.SearchAttributes).GetUntypedValues() {
			set[key.GetName()] = value.(string)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.attrs = append(w.attrs, set)
	}).Maybe()

	serve(w, contract.ActivityBegin, func(contract.BeginInput) any {
		hash := sha256.Sum256([]byte(w.source))
		return contract.BeginResult{Device: theDevice(), LeaseToken: 7, IncidentID: "inc-1", Source: w.source,
			Hash: hex.EncodeToString(hash[:]), Revision: "r1"}
	})
	serve(w, contract.ActivityFinish, func(in contract.FinishInput) any {
		return contract.IncidentReport{IncidentID: in.IncidentID, Status: in.Outcome}
	})
	serve(w, contract.ActivityEscalate, func(contract.EscalateInput) any { return true })
	serve(w, contract.ActivityRecord, func(contract.RecordInput) any { return int64(1) })
	drift := []contract.SettingDrift{{Setting: "undervoltage_trip", Want: "85", Got: "60", Unit: "%"}}
	for name, answer := range map[string]func() any{
		contract.ActionCheckNetwork:        func() any { return contract.NetworkReport{Reachable: w.reachable} },
		contract.ActionTriggerNetworkReset: func() any { return contract.ResetReport{CameBack: w.cameBack, Outcome: "done"} },
		contract.ActionDetectConfigDrift: func() any {
			if !w.drifted {
				return contract.DriftReport{}
			}
			return contract.DriftReport{Drifted: drift}
		},
		contract.ActionApplyBaselineConfig:  func() any { return contract.ApplyReport{Changed: drift} },
		contract.ActionUpdateIncidentStatus: func() any { return contract.IncidentReport{IncidentID: "inc-1", Status: "mitigated"} },
		contract.ActionVerifyDevice: func() any {
			if w.notWell {
				return contract.HealthReport{Detail: "edge-001 is not healthy: state is fault."}
			}
			return contract.HealthReport{Healthy: true, Detail: "edge-001 is well."}
		},
	} {
		serve(w, name, func(contract.ActionInput) any { return answer() })
	}
	return w
}

func serve[In any](w *world, name string, answer func(In) any) {
	w.env.RegisterActivityWithOptions(func(ctx context.Context, in In) (any, error) {
		w.mu.Lock()
		w.attempts[name]++
		n := w.attempts[name]
		w.calls = append(w.calls, call{name: name, info: activity.GetInfo(ctx), input: in})
		w.mu.Unlock()
		if w.before != nil {
			if err := w.before(name, n); err != nil {
				return nil, err
			}
		}
		return answer(in), nil
	}, activity.RegisterOptions{Name: name})
}

func theDevice() contract.Device {
	return contract.Device{ID: "edge-001", Site: "substation-7", Region: "north", Class: "rtu", Profile: "feeder-rtu", Address: "10.1.2.3:502"}
}

func theAlert() *contract.Alert {
	return &contract.Alert{Name: "EdgeDeviceOffline", Fingerprint: "f00d", StartsAt: time.Unix(1_700_000_000, 0).UTC(),
		Labels: map[string]string{"site": "substation-7", "region": "north"}}
}

func theInput() contract.RemediateInput {
	return contract.RemediateInput{
		DeviceID: "edge-001", Alert: theAlert(), Reason: "it does not answer",
		Actor:   contract.Actor{Kind: contract.ActorAlert, Name: "EdgeDeviceOffline"},
		Runbook: contract.RunbookRef{Path: "auto_remediation.py", Function: "handle_device_offline"},
	}
}

// remediate runs the workflow to its end.
func (w *world) remediate(in contract.RemediateInput) (contract.RemediateResult, error) {
	w.t.Helper()
	w.env.ExecuteWorkflow(contract.WorkflowRemediate, in)
	require.True(w.t, w.env.IsWorkflowCompleted())
	var out contract.RemediateResult
	if err := w.env.GetWorkflowError(); err != nil {
		return out, err
	}
	require.NoError(w.t, w.env.GetWorkflowResult(&out))
	return out, nil
}

// names returns the activities in the order of their attempts.
func (w *world) names() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := []string{}
	for _, c := range w.calls {
		out = append(out, c.name)
	}
	return out
}

// inputs returns what the attempts of one activity were given.
func inputs[In any](w *world, name string) []In {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []In
	for _, c := range w.calls {
		if c.name == name {
			out = append(out, c.input.(In))
		}
	}
	return out
}

func (w *world) info(name string) activity.Info {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.calls {
		if c.name == name {
			return c.info
		}
	}
	w.t.Fatalf("%s was not called", name)
	return activity.Info{}
}

// requireEnd wants exactly one attempt at the end of the incident, with the
// outcome, and the outcome as the last search attributes.
func (w *world) requireEnd(outcome string) contract.FinishInput {
	w.t.Helper()
	ends := inputs[contract.FinishInput](w, contract.ActivityFinish)
	require.Len(w.t, ends, 1)
	require.Equal(w.t, outcome, ends[0].Outcome)
	require.NotEmpty(w.t, w.attrs)
	require.Equal(w.t, outcome, w.attrs[len(w.attrs)-1][contract.AttrOutcome])
	return ends[0]
}

func (w *world) progress() contract.Progress {
	w.t.Helper()
	value, err := w.env.QueryWorkflow(contract.QueryProgress)
	require.NoError(w.t, err)
	var p contract.Progress
	require.NoError(w.t, value.Get(&p))
	return p
}

// timeline is the text of the progress's lines.
func (w *world) timeline() []string {
	w.t.Helper()
	out := []string{}
	for _, m := range w.progress().Timeline {
		out = append(out, m.Text)
	}
	return out
}

// requireType wants an application error of the type, and returns its message.
func requireType(t *testing.T, kind string, err error) string {
	t.Helper()
	var app *temporal.ApplicationError
	require.ErrorAs(t, err, &app)
	require.Equal(t, kind, app.Type())
	return app.Message()
}
