package bridge_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"edgefleet/alertbridge/bridge"
)

// standing is an Alertmanager with the alerts that stand at it.
type standing struct {
	*httptest.Server
	mu        sync.Mutex
	receiver  string
	groups    []map[string]any
	asked     int
	away      bool
	authority string
}

func newStanding(t *testing.T) *standing {
	t.Helper()
	s := &standing{receiver: "edgefleet"}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *standing) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *standing) rounds() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *standing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.authority, _, _ = r.BasicAuth()
	w.Header().Set("Content-Type", "application/json")
	switch {
	case s.away:
		http.Error(w, strings.Repeat("<p>a proxy's page</p>", 1000), http.StatusBadGateway)
	case strings.HasSuffix(r.URL.Path, "/api/v2/receivers"):
		fmt.Fprintf(w, `[{"name":"on-call"},{"name":%q}]`, s.receiver)
	case strings.HasSuffix(r.URL.Path, "/api/v2/alerts/groups"):
		s.asked++
		groups := s.groups
		if groups == nil {
			groups = []map[string]any{}
		}
		_ = json.NewEncoder(w).Encode(groups)
	default:
		http.NotFound(w, r)
	}
}

// holds puts alerts into a group of the receiver.
func (s *standing) holds(receiver string, alerts ...map[string]any) {
	s.change(func() {
		s.groups = append(s.groups, map[string]any{
			"labels": map[string]string{"alertname": "EdgeDeviceOffline"}, "receiver": map[string]string{"name": receiver}, "alerts": alerts,
		})
	})
}

// stands is the alert as the API shows it.
func (a alert) stands(change ...func(map[string]any)) map[string]any {
	out := map[string]any{
		"labels": a["labels"], "annotations": a["annotations"], "startsAt": a["startsAt"], "fingerprint": a["fingerprint"],
		"endsAt": time.Now().Add(time.Hour).Format(time.RFC3339Nano), "updatedAt": a["startsAt"], "generatorURL": a["generatorURL"],
		"receivers": []map[string]string{{"name": "edgefleet"}},
		"status":    map[string]any{"state": "active", "silencedBy": []string{}, "inhibitedBy": []string{}, "mutedBy": []string{}},
	}
	for _, c := range change {
		c(out)
	}
	return out
}

func status(key string, value any) func(map[string]any) {
	return func(a map[string]any) { a["status"].(map[string]any)[key] = value }
}

const often = 10 * time.Millisecond

func TestAnAlertThatStandsWithoutARemediationGetsOne(t *testing.T) {
	am, temporal, registry := newStanding(t), &fakeTemporal{}, prometheus.NewRegistry()
	am.holds("edgefleet", offline("edge-001").stands())
	url := strings.Replace(am.URL, "http://", "http://ann:secret@", 1) + "/prefix"
	b := run(t, bridge.Options{Temporal: temporal, Registry: registry, Alertmanagers: []string{url}, ReconcileEvery: often})
	require.Eventually(t, func() bool { return len(temporal.startedIDs()) == 1 }, 10*time.Second, time.Millisecond)
	require.Equal(t, "ann", am.authority)

	s := temporal.starts[0]
	require.Equal(t, idOf("edge-001"), s.options.ID, "the identity is that of the message")
	require.Equal(t, enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE, s.options.WorkflowIDReusePolicy,
		"one that failed is tried again when the alert is repeated, and not at every comparison")
	require.Contains(t, s.input.Reason, "found standing at Alertmanager without a remediation")
	require.Equal(t, "substation-7", s.input.Alert.Labels["site"])

	seen := am.rounds()
	require.Eventually(t, func() bool { return am.rounds() > seen+5 }, 10*time.Second, time.Millisecond)
	require.Len(t, temporal.starts, 1, "what Temporal has acknowledged is not asked for again")
	require.Equal(t, 1.0, value(t, registry, "edgefleet_bridge_reconciled_starts_total", nil))
	require.Equal(t, 0.0, value(t, registry, "edgefleet_bridge_reconciliation_failed", nil))
	require.Equal(t, bridge.Summary{Duplicates: 1}, post(t, client(t), b, message(t, offline("edge-001"))).summary)
}

func TestWhatAMessageBroughtIsNotStartedOnceMore(t *testing.T) {
	am, temporal := newStanding(t), &fakeTemporal{}
	b := run(t, bridge.Options{Temporal: temporal, Alertmanagers: []string{am.URL}, ReconcileEvery: often})
	require.Equal(t, 1, post(t, client(t), b, message(t, offline("edge-001"))).summary.Started)
	am.holds("edgefleet", offline("edge-001").stands())
	seen := am.rounds()
	require.Eventually(t, func() bool { return am.rounds() > seen+5 }, 10*time.Second, time.Millisecond)
	require.LessOrEqual(t, len(temporal.starts), 2, "Temporal is asked at most once more")
	require.Len(t, temporal.startedIDs(), 1)
}

func TestAlertsThatNobodyIsToldOfAreNotTakenInEither(t *testing.T) {
	am, other, temporal := newStanding(t), newStanding(t), &fakeTemporal{}
	am.holds("edgefleet",
		offline("a").stands(status("state", "suppressed"), status("silencedBy", []string{"id"})),
		offline("aa").stands(status("state", "suppressed"), status("inhibitedBy", []string{"id"})),
		offline("aaa").stands(status("mutedBy", []string{"weekend"})),
		offline("aaaa").stands(status("state", "unprocessed")),
		offline("aaaaa").stands(func(a map[string]any) { a["endsAt"] = time.Now().Add(-time.Second).Format(time.RFC3339) }),
		offline("aaaaaa").label("alertname", "DiskFull").stands(),
		offline("aaaaaaa").label("alertname", "EdgeRemediationFailed").stands(),
		offline("aaaaaaaa").label("device_id", "../x").stands(),
		offline("held-by-the-other-half").stands(),
		map[string]any{"labels": map[string]string{}},
	)
	am.holds("on-call", offline("for-people").stands())
	other.holds("edgefleet", offline("held-by-the-other-half").stands(status("state", "suppressed")), offline("the-last-one").stands())
	run(t, bridge.Options{Temporal: temporal, Alertmanagers: []string{am.URL, other.URL}, ReconcileEvery: often})
	require.Eventually(t, func() bool { return len(temporal.startedIDs()) > 0 }, 10*time.Second, time.Millisecond)
	seen := am.rounds()
	require.Eventually(t, func() bool { return am.rounds() > seen+5 }, 10*time.Second, time.Millisecond)
	require.Equal(t, []string{idOf("the-last-one")}, temporal.startedIDs())
}

func TestWhatWasCutOffIsReadAtOnce(t *testing.T) {
	am, temporal := newStanding(t), &fakeTemporal{}
	am.holds("edgefleet", offline("edge-001").stands(), offline("edge-0002").stands())
	b := run(t, bridge.Options{Temporal: temporal, Alertmanagers: []string{am.URL}, ReconcileEvery: time.Hour})
	var m map[string]any
	require.NoError(t, json.Unmarshal(message(t, offline("edge-001")), &m))
	m["truncatedAlerts"], m["groupLabels"] = 1, map[string]string{"alertname": "EdgeDeviceOffline"}
	data, err := json.Marshal(m)
	require.NoError(t, err)
	require.Equal(t, 1, post(t, client(t), b, data).summary.Started)
	require.Eventually(t, func() bool { return len(temporal.startedIDs()) == 2 }, 10*time.Second, time.Millisecond)
	require.ElementsMatch(t, []string{idOf("edge-001"), idOf("edge-0002")}, temporal.startedIDs())
}

func TestThatNothingCanBeComparedIsToldUntilItCan(t *testing.T) {
	am, registry := newStanding(t), prometheus.NewRegistry()
	temporal := &fakeTemporal{}
	var down sync.Mutex
	away := true
	temporal.fail = func(string) error {
		down.Lock()
		defer down.Unlock()
		if away {
			return serviceerror.NewUnavailable("away")
		}
		return nil
	}
	core, logs := observer.New(zap.InfoLevel)
	failed := func() bool { return value(t, registry, "edgefleet_bridge_reconciliation_failed", nil) == 1 }
	am.change(func() { am.away = true })
	run(t, bridge.Options{Temporal: temporal, Registry: registry, Logger: zap.New(core), Alertmanagers: []string{am.URL}, ReconcileEvery: often})
	told := func(n int) func() bool {
		return func() bool { return failed() && logs.FilterLevelExact(zap.ErrorLevel).Len() == n }
	}
	require.Eventually(t, told(1), 10*time.Second, time.Millisecond, "Alertmanager is away")

	am.change(func() { am.away, am.receiver = false, "renamed" })
	require.Eventually(t, told(2), 10*time.Second, time.Millisecond)

	am.change(func() { am.receiver = "edgefleet" })
	require.Eventually(t, func() bool { return !failed() }, 10*time.Second, time.Millisecond)

	am.holds("edgefleet", offline("edge-001").stands())
	require.Eventually(t, told(3), 10*time.Second, time.Millisecond, "Temporal is away")
	down.Lock()
	away = false
	down.Unlock()
	require.Eventually(t, func() bool { return !failed() && len(temporal.startedIDs()) == 1 }, 10*time.Second, time.Millisecond)

	var words []string
	for _, e := range logs.FilterLevelExact(zap.ErrorLevel).All() {
		words = append(words, fmt.Sprint(e.ContextMap()["error"]))
	}
	require.Len(t, words, 3, "each reason is told once: %q", words)
	require.Less(t, len(words[0]), 500, "a page is not quoted as a whole")
	require.Contains(t, words[1], `has no receiver "edgefleet": name the one that posts here with --alertmanager.receiver`)
	require.Contains(t, words[2], "away")
}

func TestOneHalfOfAPairIsEnough(t *testing.T) {
	am, dead, temporal, registry := newStanding(t), newStanding(t), &fakeTemporal{}, prometheus.NewRegistry()
	dead.change(func() { dead.away = true })
	am.holds("edgefleet", offline("edge-001").stands())
	run(t, bridge.Options{Temporal: temporal, Registry: registry, Alertmanagers: []string{dead.URL, am.URL}, ReconcileEvery: often})
	require.Eventually(t, func() bool { return len(temporal.startedIDs()) == 1 }, 10*time.Second, time.Millisecond)
	require.Equal(t, 0.0, value(t, registry, "edgefleet_bridge_reconciliations_total", map[string]string{"result": "failed"}))
}

func TestAnAlertmanagerIsRefusedBeforeAnythingListens(t *testing.T) {
	for url, says := range map[string]string{
		"alertmanager:9093":             `--alertmanager.url "alertmanager:9093": want http://host:port`,
		"ftp://ann:secret@example:9093": `--alertmanager.url "ftp://ann:xxxxx@example:9093": want http://host:port`,
		"http://ann:secret@[::1":        "--alertmanager.url: want http://host:port",
	} {
		_, err := bridge.New(bridge.Options{Temporal: &fakeTemporal{}, Logger: zap.NewNop(), Listen: "127.0.0.1:0", Alertmanagers: []string{url}})
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), "secret")
	}
	_, err := bridge.New(bridge.Options{Temporal: &fakeTemporal{}, Logger: zap.NewNop(), Listen: "127.0.0.1:0", ReconcileEvery: -1})
	require.ErrorContains(t, err, "--alertmanager.interval")
}
