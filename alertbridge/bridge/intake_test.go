package bridge_test

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/temporal"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"edgefleet/alertbridge/bridge"
	"edgefleet/workflows/contract"
)

func TestEveryMessageIsAnsweredByWhatBecameOfItsAlerts(t *testing.T) {
	ended := began.Add(time.Hour)
	for name, tc := range map[string]struct {
		running  []string
		fail     func(string) error
		alerts   []alert
		code     int
		want     bridge.Summary
		started  []string
		signals  []signal
		metric   string
		labels   map[string]string
		expected float64
	}{
		"a firing alert starts one remediation": {
			alerts: []alert{offline("edge-001")}, code: 200, want: bridge.Summary{Started: 1}, started: []string{idOf("edge-001")},
			metric: "edgefleet_bridge_starts_total", expected: 1,
		},
		"every alert of a group starts its own": {
			alerts: []alert{offline("edge-001"), offline("edge-0002")}, code: 200, want: bridge.Summary{Started: 2},
			started: []string{idOf("edge-001"), idOf("edge-0002")},
			metric:  "edgefleet_bridge_alerts_total", labels: map[string]string{"status": "firing"}, expected: 2,
		},
		"a repeat meets the run that is there": {
			running: []string{idOf("edge-001")}, alerts: []alert{offline("edge-001")}, code: 200,
			want: bridge.Summary{Duplicates: 1}, started: []string{idOf("edge-001")},
			metric: "edgefleet_bridge_duplicates_total", expected: 1,
		},
		"the second default route knows drift": {
			alerts: []alert{offline("edge-001").label("alertname", "EdgeConfigDrift")}, code: 200, want: bridge.Summary{Started: 1},
			started: []string{strings.Replace(idOf("edge-001"), "EdgeDeviceOffline", "EdgeConfigDrift", 1)},
		},
		"an alert without a route is ignored": {
			alerts: []alert{offline("edge-001").label("alertname", "DiskFull")}, code: 200, want: bridge.Summary{Ignored: 1},
			metric: "edgefleet_bridge_ignored_total", labels: map[string]string{"reason": "no_route"}, expected: 1,
		},
		"a message without alerts asks for nothing": {alerts: nil, code: 200},
		"a resolved alert tells its remediation when it ended": {
			running: []string{idOf("edge-001")}, code: 200, want: bridge.Summary{Signalled: 1}, started: []string{idOf("edge-001")},
			alerts:  []alert{offline("edge-001").with("status", "resolved").with("endsAt", ended.Format(time.RFC3339Nano))},
			signals: []signal{{idOf("edge-001"), contract.SignalAlertResolved, ended}},
			metric:  "edgefleet_bridge_signals_total", labels: map[string]string{"result": "sent"}, expected: 1,
		},
		"a resolved alert whose remediation has ended is fine": {
			code: 200, alerts: []alert{offline("edge-001").with("status", "resolved").with("endsAt", ended.Format(time.RFC3339Nano))},
			signals: []signal{{idOf("edge-001"), contract.SignalAlertResolved, ended}},
			metric:  "edgefleet_bridge_signals_total", labels: map[string]string{"result": "no_workflow"}, expected: 1,
		},
		"a signal that Temporal did not take is sent again": {
			fail: func(string) error { return serviceerror.NewInternal("bug") },
			code: 503, want: bridge.Summary{Failed: 1, Error: "bug"},
			alerts: []alert{offline("edge-001").with("status", "resolved")},
			metric: "edgefleet_bridge_signals_total", labels: map[string]string{"result": "failed"}, expected: 1,
		},
		"a partial failure asks for the whole message again": {
			fail: func(id string) error {
				if id == idOf("edge-0002") {
					return serviceerror.NewInvalidArgument("search attribute Site is not defined")
				}
				return nil
			},
			alerts: []alert{offline("edge-001"), offline("edge-0002"), offline("edge-00003")}, code: 503,
			want:    bridge.Summary{Started: 2, Failed: 1, Error: "search attribute Site is not defined"},
			started: []string{idOf("edge-001"), idOf("edge-00003")},
			metric:  "edgefleet_bridge_start_failures_total", labels: map[string]string{"reason": "refused"}, expected: 1,
		},
		"Temporal away asks for the whole message again": {
			fail:   func(string) error { return serviceerror.NewUnavailable("down") },
			alerts: []alert{offline("edge-001")}, code: 503, want: bridge.Summary{Failed: 1, Error: "down"},
			metric: "edgefleet_bridge_start_failures_total", labels: map[string]string{"reason": "away"}, expected: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, r := &fakeTemporal{fail: tc.fail, running: map[string]bool{}}, prometheus.NewRegistry()
			for _, id := range tc.running {
				f.running[id] = true
			}
			b := run(t, bridge.Options{Temporal: f, Registry: r})
			got := post(t, client(t), b, message(t, tc.alerts...))
			require.Equal(t, tc.code, got.code)
			require.Equal(t, tc.want, got.summary)
			require.ElementsMatch(t, tc.started, f.startedIDs())
			require.Equal(t, tc.signals, f.signals)
			if tc.metric != "" {
				require.EqualValues(t, tc.expected, value(t, r, tc.metric, tc.labels))
			}
			require.EqualValues(t, 1, value(t, r, "edgefleet_bridge_messages_total", map[string]string{"code": fmt.Sprint(tc.code)}))
			require.EqualValues(t, 1, value(t, r, "edgefleet_bridge_message_duration_seconds", nil))
			require.Equal(t, tc.code == 200, value(t, r, "edgefleet_bridge_last_success_timestamp_seconds", nil) > 0)
		})
	}
}

func TestAnAlertThatCanNeverWorkIsRefusedAndTheOthersGoOn(t *testing.T) {
	for reason, bad := range map[string]alert{
		"malformed":       offline("x").with("labels", map[string]int{"device_id": 5}),
		"bad_status":      offline("x").with("status", "pending"),
		"no_device":       offline(""),
		"bad_device":      offline("../../etc/passwd"),
		"bad_alert_name":  offline("x").label("alertname", "a/b"),
		"bad_fingerprint": offline("x").with("fingerprint", "a-b"),
		"bad_starts_at":   offline("x").with("startsAt", "0001-01-01T00:00:00Z"),
		"too_large":       offline("x").with("annotations", map[string]string{"runbook": strings.Repeat("x", 300<<10)}),
	} {
		t.Run(reason, func(t *testing.T) {
			routes := writeFile(t, "routes.yaml", "routes:\n  - {matchers: ['alertname=~\".*\"'], runbook: r.py, function: f}\n")
			f, r := &fakeTemporal{}, prometheus.NewRegistry()
			b := run(t, bridge.Options{Temporal: f, Registry: r, RoutesFile: routes})
			got := post(t, client(t), b, message(t, offline("edge-001"), bad))
			require.Equal(t, http.StatusOK, got.code)
			require.Equal(t, bridge.Summary{Started: 1, Refused: 1}, got.summary)
			require.Equal(t, []string{idOf("edge-001")}, f.startedIDs())
			require.EqualValues(t, 1, value(t, r, "edgefleet_bridge_refused_total", map[string]string{"reason": reason}))
			require.EqualValues(t, 1, value(t, r, "edgefleet_bridge_refused_total", nil), "one reason only")
		})
	}
}

func TestTheAlertNameOfAnOperatorsRemediationIsRefused(t *testing.T) {
	routes := writeFile(t, "routes.yaml", "routes:\n  - {matchers: ['alertname=manual'], runbook: r.py, function: f}\n")
	f := &fakeTemporal{}
	b := run(t, bridge.Options{Temporal: f, RoutesFile: routes})
	require.Equal(t, bridge.Summary{Refused: 1}, post(t, client(t), b, message(t, offline("x").label("alertname", "manual"))).summary)
}

func TestTheBridgesOwnAlertNeverStartsARemediation(t *testing.T) {
	routes := writeFile(t, "routes.yaml", "routes:\n  - {matchers: ['alertname=~\".+\"'], runbook: r.py, function: f}\n")
	f, r := &fakeTemporal{}, prometheus.NewRegistry()
	b := run(t, bridge.Options{Temporal: f, Registry: r, RoutesFile: routes})
	got := post(t, client(t), b, message(t, offline("edge-001").label("alertname", contract.AlertRemediationFailed)))
	require.Equal(t, bridge.Summary{Ignored: 1}, got.summary)
	require.Empty(t, f.startedIDs())
	require.EqualValues(t, 1, value(t, r, "edgefleet_bridge_ignored_total", map[string]string{"reason": "own_alert"}))
}

func TestAStartCarriesEverythingThatTheRemediationNeeds(t *testing.T) {
	f := &fakeTemporal{}
	b := run(t, bridge.Options{Temporal: f})
	require.Equal(t, http.StatusOK, post(t, client(t), b, message(t, offline("edge-001"))).code)
	require.Len(t, f.starts, 1)
	got := f.starts[0]

	require.Equal(t, contract.WorkflowRemediate, got.workflowType)
	o := got.options
	require.Equal(t, idOf("edge-001"), o.ID)
	require.Equal(t, contract.TaskQueue, o.TaskQueue)
	require.Equal(t, enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY, o.WorkflowIDReusePolicy)
	require.Equal(t, enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING, o.WorkflowIDConflictPolicy)
	require.True(t, o.WorkflowExecutionErrorWhenAlreadyStarted)
	require.Equal(t, 48*time.Hour, o.WorkflowExecutionTimeout)
	require.Zero(t, o.WorkflowRunTimeout)
	require.Equal(t, "remediate edge-001: EdgeDeviceOffline", o.StaticSummary)
	for attr, want := range map[string]string{
		contract.AttrDeviceID: "edge-001", contract.AttrAlertName: "EdgeDeviceOffline", contract.AttrOutcome: contract.OutcomeRunning,
		contract.AttrSite: "substation-7", contract.AttrRegion: "us-east-1",
	} {
		value, ok := o.TypedSearchAttributes.GetKeyword(temporal.NewSearchAttributeKeyKeyword(attr))
		require.True(t, ok, attr)
		require.Equal(t, want, value)
	}
	require.Equal(t, 5, o.TypedSearchAttributes.Size())

	require.Equal(t, contract.RemediateInput{
		DeviceID: "edge-001",
		Alert: &contract.Alert{
			Name: "EdgeDeviceOffline", Fingerprint: fmt.Sprintf("%016x", len("edge-001")), StartsAt: began,
			Labels:       offline("edge-001")["labels"].(map[string]string),
			Annotations:  map[string]string{"summary": "edge-001 does not answer"},
			GeneratorURL: "http://prometheus.example/graph",
		},
		Actor:   contract.Actor{Kind: contract.ActorAlert, Name: "EdgeDeviceOffline"},
		Reason:  "alert EdgeDeviceOffline is firing since 2026-03-01T12:00:00Z",
		Runbook: contract.RunbookRef{Path: "auto_remediation.py", Function: "handle_device_offline"},
	}, got.input)
}

func TestLabelsThatAreMissingOrTooLongMakeNoBadSearchAttribute(t *testing.T) {
	f := &fakeTemporal{}
	b := run(t, bridge.Options{Temporal: f})
	post(t, client(t), b, message(t, offline("edge-001").label("site", "").label("region", strings.Repeat("ä", 200))))
	require.Len(t, f.starts, 1)
	attrs := f.starts[0].options.TypedSearchAttributes
	_, ok := attrs.GetKeyword(temporal.NewSearchAttributeKeyKeyword(contract.AttrSite))
	require.False(t, ok)
	region, _ := attrs.GetKeyword(temporal.NewSearchAttributeKeyKeyword(contract.AttrRegion))
	require.Equal(t, strings.Repeat("ä", 127), region)
}

func TestFiftyMessagesAtOnceStartEachEpisodeOnce(t *testing.T) {
	f, r := &fakeTemporal{}, prometheus.NewRegistry()
	b := run(t, bridge.Options{Temporal: f, Registry: r, MaxMessages: 50, MaxCalls: 8})
	c := client(t)
	var wg sync.WaitGroup
	answers := make(chan answer, 50)
	for i := range 50 {
		// Ten devices, each told of five times: the resends of a pair.
		req := request(t, "http://"+b.Addr(), message(t, offline(fmt.Sprintf("edge-%s", strings.Repeat("x", i%10))), offline("shared")))
		wg.Go(func() {
			if a, err := do(c, req); err == nil {
				answers <- a
			}
		})
	}
	wg.Wait()
	close(answers)
	total := bridge.Summary{}
	for a := range answers {
		require.Equal(t, http.StatusOK, a.code)
		total.Started += a.summary.Started
		total.Duplicates += a.summary.Duplicates
	}
	require.Equal(t, bridge.Summary{Started: 11, Duplicates: 89}, total)
	require.Len(t, f.startedIDs(), 11)
	require.LessOrEqual(t, f.most, 8, "calls at once over all messages are bounded")
	require.EqualValues(t, 50, value(t, r, "edgefleet_bridge_messages_total", map[string]string{"code": "200"}))
}

func TestOneMessageMakesABoundedNumberOfCallsAtOnce(t *testing.T) {
	f := &fakeTemporal{hold: make(chan struct{})}
	b := run(t, bridge.Options{Temporal: f, MaxCallsPerMessage: 3})
	alerts := make([]alert, 20)
	for i := range alerts {
		alerts[i] = offline(strings.Repeat("x", i+1))
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		// Every call is held until as many are made as can be.
		for f.atOnce() < 3 {
			runtime.Gosched()
		}
		close(f.hold)
	})
	require.Equal(t, bridge.Summary{Started: 20}, post(t, client(t), b, message(t, alerts...)).summary)
	wg.Wait()
	require.Equal(t, 3, f.most)
}

func TestOnceTemporalIsAwayTheRestOfAMessageIsNotTried(t *testing.T) {
	f, r := &fakeTemporal{fail: func(string) error { return serviceerror.NewUnavailable("down") }}, prometheus.NewRegistry()
	b := run(t, bridge.Options{Temporal: f, Registry: r, MaxCallsPerMessage: 1})
	got := post(t, client(t), b, message(t, offline("a"), offline("bb"), offline("ccc")))
	require.Equal(t, http.StatusServiceUnavailable, got.code)
	require.Equal(t, bridge.Summary{Failed: 3, Error: "down"}, got.summary, "the cause is told, not what was given up for it")
	require.EqualValues(t, 1, value(t, r, "edgefleet_bridge_start_failures_total", map[string]string{"reason": "away"}))
	require.EqualValues(t, 2, value(t, r, "edgefleet_bridge_start_failures_total", map[string]string{"reason": "not_attempted"}))
}

func TestAResendAfterAFailureStartsOnlyWhatIsMissing(t *testing.T) {
	broken := idOf("bb")
	f := &fakeTemporal{fail: func(id string) error {
		if id == broken {
			return serviceerror.NewInternal("bug")
		}
		return nil
	}}
	b := run(t, bridge.Options{Temporal: f})
	c, m := client(t), message(t, offline("a"), offline("bb"))
	require.Equal(t, http.StatusServiceUnavailable, post(t, c, b, m).code)
	broken = ""
	got := post(t, c, b, m)
	require.Equal(t, http.StatusOK, got.code)
	require.Equal(t, bridge.Summary{Started: 1, Duplicates: 1}, got.summary)
}

func TestACallThatTemporalDoesNotAnswerEndsInTime(t *testing.T) {
	f := &fakeTemporal{hold: make(chan struct{})}
	b := run(t, bridge.Options{Temporal: f, CallTimeout: 20 * time.Millisecond})
	got := post(t, client(t), b, message(t, offline("a")))
	require.Equal(t, http.StatusServiceUnavailable, got.code)
	require.Equal(t, 1, got.summary.Failed)
}

func TestAMessageEndsInTimeHoweverManyAlertsItHas(t *testing.T) {
	f := &fakeTemporal{hold: make(chan struct{})}
	b := run(t, bridge.Options{Temporal: f, MaxCallsPerMessage: 2, MaxCalls: 1, CallTimeout: time.Hour, MessageTimeout: 50 * time.Millisecond})
	got := post(t, client(t), b, message(t, offline("a"), offline("bb"), offline("ccc"), offline("dddd")))
	require.Equal(t, http.StatusServiceUnavailable, got.code)
	require.Equal(t, 4, got.summary.Failed)
}

func TestAlertsLeftOutByAlertmanagerAreCountedAndShown(t *testing.T) {
	r := prometheus.NewRegistry()
	b := run(t, bridge.Options{Temporal: &fakeTemporal{}, Registry: r})
	body := strings.Replace(string(message(t, offline("a"))), `"truncatedAlerts":0`, `"truncatedAlerts":7`, 1)
	require.Equal(t, bridge.Summary{Started: 1, Truncated: 7}, post(t, client(t), b, []byte(body)).summary)
	require.EqualValues(t, 7, value(t, r, "edgefleet_bridge_truncated_alerts_total", nil))
}

func TestOneLineOfTheLogTellsOfAStart(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	b := run(t, bridge.Options{Temporal: &fakeTemporal{}, Logger: zap.New(core)})
	post(t, client(t), b, message(t, offline("edge-001")))
	lines := logs.FilterMessage("remediation started").All()
	require.Len(t, lines, 1)
	require.Equal(t, map[string]any{
		"device": "edge-001", "alert": "EdgeDeviceOffline", "workflow": idOf("edge-001"), "run": "run-of-" + idOf("edge-001"),
		"runbook": "auto_remediation.py", "function": "handle_device_offline",
	}, lines[0].ContextMap())
}
