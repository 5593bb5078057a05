package workflows

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	workflowpb "go.temporal.io/api/sdk/v1"
	"go.temporal.io/sdk/temporal"

	"edgefleet/workflows/contract"
)

func TestAHealedDeviceResolvesItsIncident(t *testing.T) {
	for _, tt := range []struct {
		name               string
		reachable, drifted bool
		acts               []string
	}{
		{"a device that answers and is in sync is only verified", true, false, nil},
		{"a dark device has its network path reset", false, false, []string{contract.ActionTriggerNetworkReset}},
		{"a drifted device gets its baseline", true, true, []string{contract.ActionApplyBaselineConfig}},
		{"a dark and drifted device gets both", false, true, []string{contract.ActionTriggerNetworkReset, contract.ActionApplyBaselineConfig}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.reachable, w.drifted = tt.reachable, tt.drifted
			out, err := w.remediate(theInput())
			require.NoError(t, err)
			require.Equal(t, contract.RemediateResult{Outcome: contract.OutcomeResolved, IncidentID: "inc-1", Detail: "edge-001 is well."}, out)

			want := []string{contract.ActivityBegin, contract.ActionCheckNetwork}
			if !tt.reachable {
				want = append(want, contract.ActionTriggerNetworkReset)
			}
			want = append(want, contract.ActionDetectConfigDrift)
			if tt.drifted {
				want = append(want, contract.ActionApplyBaselineConfig)
			}
			want = append(want, contract.ActionUpdateIncidentStatus, contract.ActionVerifyDevice, contract.ActivityFinish)
			require.Equal(t, want, w.names(), "and nobody is paged")
			w.requireEnd(contract.OutcomeResolved)
		})
	}
}

func TestEveryActivityIsToldOfTheLeaseTheIncidentAndTheActor(t *testing.T) {
	w := newWorld(t)
	w.reachable, w.drifted, w.notWell = false, true, true
	_, err := w.remediate(theInput())
	require.Error(t, err)
	in := theInput()
	require.Equal(t, []contract.BeginInput{{DeviceID: in.DeviceID, Actor: in.Actor, Reason: in.Reason, Alert: in.Alert, Runbook: in.Runbook}},
		inputs[contract.BeginInput](w, contract.ActivityBegin))
	scope := contract.Scope{DeviceID: "edge-001", Actor: in.Actor, Reason: in.Reason, LeaseToken: 7, IncidentID: "inc-1"}
	for _, a := range contract.Actions() {
		for _, got := range inputs[contract.ActionInput](w, a.Name) {
			if a.Name != contract.ActionVerifyDevice {
				require.True(t, strings.HasPrefix(got.Origin, "auto_remediation.py:"), got.Origin)
			}
			got.Origin = ""
			require.Equal(t, scope, got.Scope, a.Name)
		}
	}
	detail := "not healthy after the runbook: edge-001 is not healthy: state is fault."
	require.Equal(t, contract.FinishInput{Scope: scope, Outcome: contract.OutcomeEscalated, Detail: detail}, w.requireEnd(contract.OutcomeEscalated))
	require.Equal(t, []contract.EscalateInput{{Scope: scope, Device: theDevice(), Alert: theAlert(), Detail: detail}},
		inputs[contract.EscalateInput](w, contract.ActivityEscalate))
}

func TestWhatWentWrongEscalatesAndFailsTheWorkflowWithItsType(t *testing.T) {
	refuse := func(activity string, err error) func(*world) {
		return func(w *world) {
			w.before = func(name string, _ int) error {
				if name == activity {
					return err
				}
				return nil
			}
		}
	}
	permanent := func(kind string) error { return temporal.NewNonRetryableApplicationError("no", kind, nil) }
	begun := []string{contract.ActivityBegin}
	ended := []string{contract.ActivityFinish, contract.ActivityEscalate}
	for _, tt := range []struct {
		name   string
		make   func(*world)
		kind   string
		detail string
		calls  []string
	}{
		{"a runbook whose action fails is not verified", refuse(contract.ActionCheckNetwork, permanent(contract.ErrAuth)), contract.ErrAuth,
			"the runbook failed: auto_remediation.py:2:25: check_network: no", []string{contract.ActionCheckNetwork}},
		{"a runbook with a bug", func(w *world) { w.source = "def handle_device_offline(d):\n    return 1 + 'a'\n" }, contract.ErrRunbook,
			"the runbook failed: auto_remediation.py:2:14: unknown binary op", nil},
		{"a runbook that gives up", func(w *world) { w.source = "def handle_device_offline(d):\n    fail('call the crew')\n" }, contract.ErrRunbook,
			"the runbook failed: auto_remediation.py:2:9: call the crew", nil},
		{"a runbook that never ends", func(w *world) {
			w.source = "def handle_device_offline(d):\n    for i in range(1000000000):\n        pass\n"
		}, contract.ErrBudget, "the runbook failed: ", nil},
		{"a runbook without the function", func(w *world) { w.source = "def other(d):\n    pass\n" }, contract.ErrRunbook,
			"there is no function handle_device_offline", nil},
		{"a device that is still not healthy", func(w *world) {
			w.source = "def handle_device_offline(d):\n    pass\n"
			w.notWell = true
		}, contract.ErrNotHealthy, "not healthy after the runbook: edge-001 is not healthy: state is fault.", []string{contract.ActionVerifyDevice}},
		{"a device that cannot be verified", func(w *world) {
			w.source = "def handle_device_offline(d):\n    pass\n"
			refuse(contract.ActionVerifyDevice, permanent(contract.ErrUnsupported))(w)
		}, contract.ErrUnsupported, "could not verify the device: no", []string{contract.ActionVerifyDevice}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			tt.make(w)
			_, err := w.remediate(theInput())
			message := requireType(t, tt.kind, err)
			require.Contains(t, message, tt.detail)
			require.Equal(t, append(append(append([]string{}, begun...), tt.calls...), ended...), w.names())
			require.Equal(t, message, w.requireEnd(contract.OutcomeEscalated).Detail)
			require.Contains(t, w.timeline(), "escalated: EdgeRemediationFailed raised")
		})
	}
}

func TestABeginThatFailsIsEscalatedAndLeavesNothingToHeal(t *testing.T) {
	for _, kind := range []string{contract.ErrUnknownDevice, contract.ErrConfig, contract.ErrNotFound} {
		w := newWorld(t)
		w.before = func(name string, _ int) error {
			if name == contract.ActivityBegin {
				// The kind alone ends the retries.
				return temporal.NewApplicationError("edge-001 is not in fleet.yaml", kind)
			}
			return nil
		}
		_, err := w.remediate(theInput())
		require.Equal(t, "could not begin: edge-001 is not in fleet.yaml", requireType(t, kind, err))
		require.Equal(t, []string{contract.ActivityBegin, contract.ActivityFinish, contract.ActivityEscalate}, w.names())
		end := w.requireEnd(contract.OutcomeEscalated)
		require.Zero(t, end.LeaseToken)
		require.Empty(t, end.IncidentID)
		require.Len(t, w.attrs, 1, "no place of a device that is not known")
	}
}

func TestALeaseIsWaitedForByRetriesWithinItsTime(t *testing.T) {
	held := temporal.NewApplicationError("edge-001 is held by remediate/other", contract.ErrLeaseHeld)
	t.Run("and taken when it becomes free", func(t *testing.T) {
		w := newWorld(t)
		w.before = func(name string, n int) error {
			if name == contract.ActivityBegin && n <= 8 {
				return held
			}
			return nil
		}
		out, err := w.remediate(theInput())
		require.NoError(t, err)
		require.Equal(t, contract.OutcomeResolved, out.Outcome)
		require.Len(t, inputs[contract.BeginInput](w, contract.ActivityBegin), 9)
		require.Equal(t, defaultLeaseWait, w.info(contract.ActivityBegin).ScheduleToCloseTimeout)
	})
	t.Run("and given up with the holder's name", func(t *testing.T) {
		w := newWorld(t)
		w.before = func(name string, _ int) error {
			if name == contract.ActivityBegin {
				return held
			}
			return nil
		}
		in := theInput()
		in.LeaseWait = 5 * time.Second
		_, err := w.remediate(in)
		require.Contains(t, requireType(t, contract.ErrLeaseHeld, err), "held by remediate/other")
		require.Equal(t, 5*time.Second, w.info(contract.ActivityBegin).ScheduleToCloseTimeout)
		require.Len(t, inputs[contract.BeginInput](w, contract.ActivityBegin), 7, "0.2 s, then half as long again each time")
		w.requireEnd(contract.OutcomeEscalated)
	})
}

func TestTheEndIsTriedUntilItIsWritten(t *testing.T) {
	w := newWorld(t)
	w.notWell = true
	w.before = func(name string, n int) error {
		switch {
		case name == contract.ActivityFinish && n < 9:
			return temporal.NewApplicationError("the store is away", contract.ErrStore)
		case name == contract.ActivityEscalate && n < 9:
			return temporal.NewApplicationError("Alertmanager is away", contract.ErrUnreachable)
		}
		return nil
	}
	_, err := w.remediate(theInput())
	requireType(t, contract.ErrNotHealthy, err)
	ends := inputs[contract.FinishInput](w, contract.ActivityFinish)
	require.Len(t, ends, 9)
	require.Equal(t, ends[0], ends[8])
	require.Len(t, inputs[contract.EscalateInput](w, contract.ActivityEscalate), 9)
}

func TestAnEndThatCannotBeWrittenFailsAHealedRun(t *testing.T) {
	w := newWorld(t)
	w.before = func(name string, _ int) error {
		if name == contract.ActivityFinish {
			return temporal.NewNonRetryableApplicationError("the ledger is damaged", contract.ErrStore, nil)
		}
		return nil
	}
	_, err := w.remediate(theInput())
	requireType(t, contract.ErrStore, err)
	require.NotContains(t, w.names(), contract.ActivityEscalate)
}

func TestThatNobodyCanBePagedDoesNotHideWhy(t *testing.T) {
	w := newWorld(t)
	w.notWell = true
	w.before = func(name string, _ int) error {
		if name == contract.ActivityEscalate {
			return temporal.NewApplicationError("no Alertmanager is configured", contract.ErrConfig)
		}
		return nil
	}
	_, err := w.remediate(theInput())
	requireType(t, contract.ErrNotHealthy, err)
	require.Len(t, inputs[contract.EscalateInput](w, contract.ActivityEscalate), 1, "a missing configuration is not retried")
	require.Contains(t, w.timeline(), "nobody could be paged: no Alertmanager is configured")
}

func TestADeviceIDThatCannotBeOneIsRefusedBeforeAnything(t *testing.T) {
	for _, id := range []string{"", "../edge", "edge/001", "-edge", strings.Repeat("e", 64)} {
		w := newWorld(t)
		in := theInput()
		in.DeviceID = id
		_, err := w.remediate(in)
		requireType(t, contract.ErrConfig, err)
		require.Empty(t, w.names())
		require.Empty(t, w.attrs)
	}
}

func TestSearchAttributesTellPlaceOutcomeAndRunbook(t *testing.T) {
	place := map[string]string{contract.AttrSite: "substation-7", contract.AttrRegion: "north"}
	for _, tt := range []struct {
		name   string
		change func(*contract.RemediateInput)
		place  bool
	}{
		{"the bridge has set the place from the alert's labels", func(*contract.RemediateInput) {}, false},
		{"an alert without the labels", func(in *contract.RemediateInput) { in.Alert.Labels = nil }, true},
		{"an alert that errs in the site", func(in *contract.RemediateInput) { in.Alert.Labels["site"] = "elsewhere" }, true},
		{"an operator's run has no alert", func(in *contract.RemediateInput) { in.Alert = nil }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			in := theInput()
			tt.change(&in)
			_, err := w.remediate(in)
			require.NoError(t, err)
			if tt.place {
				require.Equal(t, place, w.attrs[0])
				w.attrs = w.attrs[1:]
			}
			require.Len(t, w.attrs, 1)
			require.Equal(t, contract.OutcomeResolved, w.attrs[0][contract.AttrOutcome])
			require.Len(t, w.attrs[0][contract.AttrRunbookHash], 64)
		})
	}
}

func TestProgressAndDetailsTellWhatARunDoes(t *testing.T) {
	w := newWorld(t)
	w.source = "def handle_device_offline(d):\n    step('look around')\n    print('hello')\n    check_network(d)\n"
	w.before = func(name string, _ int) error {
		if name == contract.ActionCheckNetwork {
			// The world's query runs on the workflow's own coroutine.
			w.env.RegisterDelayedCallback(func() {
				p := w.progress()
				require.Equal(t, "running auto_remediation.py:handle_device_offline", p.Phase)
				require.Equal(t, "look around", p.Step)
				require.Equal(t, "inc-1", p.IncidentID)
				details := currentDetails(t, w)
				require.Contains(t, details, "**edge-001** — running auto_remediation.py:handle_device_offline")
				require.Contains(t, details, "site substation-7, region north, feeder-rtu, 10.1.2.3:502")
				require.Contains(t, details, "step: look around")
				require.Contains(t, details, "- `+0.0s` lease taken, incident inc-1 opened\n")
			}, 0)
		}
		return nil
	}
	_, err := w.remediate(theInput())
	require.NoError(t, err)
	p := w.progress()
	require.Equal(t, contract.OutcomeResolved, p.Phase)
	require.Empty(t, p.Step)
	require.Empty(t, p.Waiting)
	require.Nil(t, p.ResolvedAt)
	require.Equal(t, []string{"lease taken, incident inc-1 opened", "step: look around", "hello", "line 4: check network: reachable", "verified: edge-001 is well."}, w.timeline())
	require.Contains(t, currentDetails(t, w), "**edge-001** — resolved")
}

func TestProgressBeforeTheLeaseHasAnEmptyTimeline(t *testing.T) {
	w := newWorld(t)
	w.before = func(name string, n int) error {
		if name == contract.ActivityBegin && n == 1 {
			w.env.RegisterDelayedCallback(func() {
				value, err := w.env.QueryWorkflow(contract.QueryProgress)
				require.NoError(t, err)
				var raw map[string]any
				require.NoError(t, value.Get(&raw))
				require.Equal(t, map[string]any{"device_id": "edge-001", "phase": "waiting for the device's lease", "timeline": []any{}}, raw)
			}, 0)
			return temporal.NewApplicationError("held", contract.ErrLeaseHeld)
		}
		return nil
	}
	_, err := w.remediate(theInput())
	require.NoError(t, err)
}

func TestTheTimelineIsBoundedAndSaysSo(t *testing.T) {
	w := newWorld(t)
	w.source = "def handle_device_offline(d):\n    for i in range(200):\n        print(i)\n    for i in range(9):\n        check_network(d)\n"
	_, err := w.remediate(theInput())
	require.NoError(t, err)
	lines := w.timeline()
	require.Len(t, lines, maxTimeline)
	require.Equal(t, "lease taken, incident inc-1 opened", lines[0])
	require.Contains(t, currentDetails(t, w), "- and 11 lines more\n")
}

// currentDetails is what the Web UI shows of the run.
func currentDetails(t *testing.T, w *world) string {
	t.Helper()
	value, err := w.env.QueryWorkflow("__temporal_workflow_metadata")
	require.NoError(t, err)
	var meta workflowpb.WorkflowMetadata
	require.NoError(t, value.Get(&meta))
	return meta.GetCurrentDetails()
}
