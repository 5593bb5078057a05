package workflows

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"edgefleet/workflows/contract"
)

const gateRunbook = `def handle_device_offline(d):
    if wait_for_approval("reset", "May I reset it?", timeout="1h"):
        trigger_network_reset(d)
`

func ended() time.Time { return time.Unix(1_700_000_100, 0).UTC() }

func TestAnAlertThatEndedWhileTheLeaseWasTakenIsClearedIfTheDeviceAgrees(t *testing.T) {
	signalled := func(w *world) func(string, int) error {
		return func(name string, n int) error {
			if name == contract.ActivityBegin && n == 1 {
				w.env.SignalWorkflow(contract.SignalAlertResolved, ended())
				// Alertmanager repeats itself.
				w.env.SignalWorkflow(contract.SignalAlertResolved, ended())
				return temporal.NewApplicationError("held", contract.ErrLeaseHeld)
			}
			return nil
		}
	}
	t.Run("a healthy device is left alone", func(t *testing.T) {
		w := newWorld(t)
		w.before = signalled(w)
		out, err := w.remediate(theInput())
		require.NoError(t, err)
		require.Equal(t, contract.RemediateResult{Outcome: contract.OutcomeCleared, IncidentID: "inc-1",
			Detail: "the alert ended before anything was done; edge-001 is well."}, out)
		require.Equal(t, []string{contract.ActivityBegin, contract.ActivityBegin, contract.ActionVerifyDevice, contract.ActivityFinish}, w.names())
		w.requireEnd(contract.OutcomeCleared)
		require.Equal(t, ended(), *w.progress().ResolvedAt)
		require.Equal(t, "Alertmanager says that the alert has ended", w.timeline()[0])
		require.Len(t, w.timeline(), 3, "the repeated word is no news")
	})
	t.Run("a device that is not healthy gets its runbook", func(t *testing.T) {
		w := newWorld(t)
		w.notWell = true
		w.before = signalled(w)
		_, err := w.remediate(theInput())
		requireType(t, contract.ErrNotHealthy, err)
		require.Equal(t, []string{contract.ActionVerifyDevice, contract.ActionCheckNetwork, contract.ActionDetectConfigDrift,
			contract.ActionUpdateIncidentStatus, contract.ActionVerifyDevice, contract.ActivityFinish, contract.ActivityEscalate}, w.names()[2:])
	})
	t.Run("a device of which nothing can be said gets its runbook", func(t *testing.T) {
		w := newWorld(t)
		first := signalled(w)
		w.before = func(name string, n int) error {
			if name == contract.ActionVerifyDevice && n == 1 {
				return temporal.NewNonRetryableApplicationError("no", contract.ErrAuth, nil)
			}
			return first(name, n)
		}
		out, err := w.remediate(theInput())
		require.NoError(t, err)
		require.Equal(t, contract.OutcomeResolved, out.Outcome)
		require.Contains(t, w.names(), contract.ActionCheckNetwork)
	})
}

func TestAnAlertThatEndsDuringTheRunbookDoesNotEndIt(t *testing.T) {
	w := newWorld(t)
	w.drifted = true
	w.before = func(name string, _ int) error {
		if name == contract.ActionCheckNetwork {
			w.env.SignalWorkflow(contract.SignalAlertResolved, ended())
		}
		return nil
	}
	out, err := w.remediate(theInput())
	require.NoError(t, err)
	require.Equal(t, contract.OutcomeResolved, out.Outcome)
	require.Contains(t, w.names(), contract.ActionApplyBaselineConfig)
}

func TestAnApprovalGateShowsItselfAndIsRecordedBeforeTheRunbookActs(t *testing.T) {
	decide := func(w *world, approved bool, note string) func() {
		return func() {
			p := w.progress()
			require.Equal(t, "reset", p.Waiting)
			require.Contains(t, currentDetails(t, w), "waits for approval: `reset`")
			w.env.UpdateWorkflow(contract.UpdateDecide, "u1", &testsuite.TestUpdateCallback{
				OnReject: func(err error) { require.NoError(t, err) }, OnAccept: func() {}, OnComplete: func(_ any, err error) { require.NoError(t, err) },
			}, contract.Decision{Gate: "reset", Approved: approved, By: "ann", Note: note})
		}
	}
	scope := contract.Scope{DeviceID: "edge-001", Actor: theInput().Actor, Reason: theInput().Reason, LeaseToken: 7, IncidentID: "inc-1"}
	for _, tt := range []struct {
		name   string
		answer func(w *world) func()
		record contract.RecordInput
		acts   bool
		line   string
	}{
		{"approved", func(w *world) func() { return decide(w, true, "go on") },
			contract.RecordInput{Scope: scope, Event: "approval reset", By: "ann", Outcome: "approved", Detail: "go on"}, true, `approved "reset" by ann go on`},
		{"refused", func(w *world) func() { return decide(w, false, "") },
			contract.RecordInput{Scope: scope, Event: "approval reset", By: "ann", Outcome: "refused"}, false, `refused "reset" by ann`},
		{"the alert ends first", func(w *world) func() {
			return func() { w.env.SignalWorkflow(contract.SignalAlertResolved, ended()) }
		}, contract.RecordInput{Scope: scope, Event: "approval reset", Outcome: "refused", Detail: "the alert has resolved"}, false,
			`refused "reset" by nobody the alert has resolved`},
		{"nobody answers", func(w *world) func() { return func() {} },
			contract.RecordInput{Scope: scope, Event: "approval reset", Outcome: "refused", Detail: "no decision within 1h0m0s"}, false,
			`refused "reset" by nobody no decision within 1h0m0s`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.source = gateRunbook
			w.env.RegisterDelayedCallback(tt.answer(w), time.Minute)
			_, err := w.remediate(theInput())
			require.NoError(t, err)
			require.Equal(t, []contract.RecordInput{tt.record}, inputs[contract.RecordInput](w, contract.ActivityRecord))
			want := []string{contract.ActivityBegin, contract.ActivityRecord}
			if tt.acts {
				want = append(want, contract.ActionTriggerNetworkReset)
			}
			require.Equal(t, append(want, contract.ActionVerifyDevice, contract.ActivityFinish), w.names())
			require.Contains(t, w.timeline(), tt.line)
			require.Empty(t, w.progress().Waiting)
		})
	}
}

func TestAnApprovalThatCannotBeRecordedIsNotActedOn(t *testing.T) {
	w := newWorld(t)
	w.source = gateRunbook
	w.before = func(name string, _ int) error {
		if name == contract.ActivityRecord {
			return temporal.NewNonRetryableApplicationError("the ledger is damaged", contract.ErrStore, nil)
		}
		return nil
	}
	w.env.RegisterDelayedCallback(func() {
		w.env.UpdateWorkflowNoRejection(contract.UpdateDecide, "u1", t, contract.Decision{Gate: "reset", Approved: true, By: "ann"})
	}, time.Minute)
	_, err := w.remediate(theInput())
	require.ErrorContains(t, err, "the ledger is damaged")
	w.requireEnd(contract.OutcomeEscalated)
	require.NotContains(t, w.names(), contract.ActionTriggerNetworkReset)
}
