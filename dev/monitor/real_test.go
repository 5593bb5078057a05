//go:build unix

package monitor_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/alertmanager/notify/webhook"
	"github.com/stretchr/testify/require"

	"edgefleet/dev/monitor"
	"edgefleet/dev/tools/toolchain"
)

// site is what the worker and the bridge are to Prometheus and Alertmanager:
// three devices with their state, and the messages that arrived.
type site struct {
	mu       sync.Mutex
	dark     map[string]bool
	drifted  map[string]int
	messages []webhook.Message
	workerOK bool
}

func (s *site) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *site) worker(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.workerOK {
		panic(http.ErrAbortHandler) // as a dead process: no answer at all
	}
	switch r.URL.Path {
	case "/sd":
		w.Header().Set("Content-Type", "application/json")
		var targets []string
		for _, id := range []string{"edge-001", "edge-002", "edge-003"} {
			targets = append(targets, fmt.Sprintf(`{"targets":[%q],"labels":{"device_id":%q,"site":"substation-7","region":"us-east-1","class":"plc"}}`, id, id))
		}
		fmt.Fprintf(w, "[%s]", strings.Join(targets, ","))
	case "/probe":
		id := r.URL.Query().Get("device")
		if s.dark[id] {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprintf(w, "edge_config_drift_settings %d\n", s.drifted[id])
	case "/metrics":
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprintln(w, "edgefleet_worker_up 1")
	default:
		http.NotFound(w, r)
	}
}

func (s *site) bridge(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/api/v1/alertmanager" {
		return
	}
	var m webhook.Message
	if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.change(func() { s.messages = append(s.messages, m) })
}

// await waits for an alert in a message to the bridge, and returns its labels.
func (s *site) await(t *testing.T, status, alert, device string) map[string]string {
	t.Helper()
	var labels map[string]string
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, m := range s.messages {
			for _, a := range m.Alerts {
				if a.Status == status && a.Labels["alertname"] == alert && a.Labels["device_id"] == device {
					labels = a.Labels
					return true
				}
			}
		}
		return false
	}, 30*time.Second, 50*time.Millisecond, "%s %s of %s doesn't arrive", status, alert, device)
	return labels
}

func TestTheShippedConfigurationTakesAlertsFromDevicesToTheBridge(t *testing.T) {
	prometheus, alertmanager := toolchain.ForTest(t, "prometheus"), toolchain.ForTest(t, "alertmanager")
	s := &site{dark: map[string]bool{}, drifted: map[string]int{}, workerOK: true}
	worker := httptest.NewServer(http.HandlerFunc(s.worker))
	defer worker.Close()
	bridge := httptest.NewServer(http.HandlerFunc(s.bridge))
	defer bridge.Close()
	host := func(server *httptest.Server) string { return strings.TrimPrefix(server.URL, "http://") }

	dir := t.TempDir()
	am, err := monitor.StartAlertmanager(context.Background(), monitor.AlertmanagerOptions{
		Common:    monitor.Common{DataDir: dir, Program: alertmanager, Addr: "127.0.0.1:0"},
		BridgeURL: bridge.URL + "/api/v1/alertmanager",
		GroupWait: 100 * time.Millisecond, GroupInterval: 200 * time.Millisecond,
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, am.Stop()) }()
	prom, err := monitor.StartPrometheus(context.Background(), monitor.PrometheusOptions{
		Common:     monitor.Common{DataDir: dir, Program: prometheus, Addr: "127.0.0.1:0"},
		WorkerAddr: host(worker), BridgeAddr: host(bridge), AlertmanagerAddr: am.Addr(),
		ScrapeInterval: 200 * time.Millisecond, Pending: 600 * time.Millisecond,
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, prom.Stop()) }()

	for _, page := range []string{"/", "/alerts", "/targets", "/graph?g0.expr=up", "/query"} {
		require.Contains(t, get(t, prom.URL()+page), "<h1>Prometheus</h1>", page)
	}
	require.Contains(t, get(t, am.URL()+"/"), "<title>Alertmanager</title>")

	s.change(func() { s.dark["edge-002"] = true; s.drifted["edge-003"] = 2 })
	require.Equal(t, map[string]string{
		"alertname": "EdgeDeviceOffline", "severity": "critical", "job": "edge-fleet",
		"device_id": "edge-002", "instance": "edge-002", "site": "substation-7",
		"region": "us-east-1", "class": "plc", "worker": host(worker),
	}, s.await(t, "firing", "EdgeDeviceOffline", "edge-002"))
	s.await(t, "firing", "EdgeConfigDrift", "edge-003")

	s.change(func() { s.dark["edge-002"] = false })
	s.await(t, "resolved", "EdgeDeviceOffline", "edge-002")

	// A dead worker makes every device look dark. The bridge hears nothing of
	// it, since the worker's own alert inhibits the devices'.
	s.change(func() { s.workerOK = false; s.messages = nil })
	require.Eventually(t, func() bool {
		offline := alerts(t, am, "EdgeDeviceOffline")
		return len(alerts(t, am, "EdgeWorkerDown")) == 1 && len(offline) == 3 &&
			offline[0] == "suppressed" && offline[1] == "suppressed" && offline[2] == "suppressed"
	}, 30*time.Second, 50*time.Millisecond)
	s.change(func() {
		for _, m := range s.messages {
			for _, a := range m.Alerts {
				require.False(t, a.Status == "firing" && a.Labels["alertname"] == "EdgeDeviceOffline", "%v reached the bridge", a.Labels)
			}
		}
	})
}

func get(t *testing.T, url string) string {
	t.Helper()
	defer http.DefaultClient.CloseIdleConnections()
	response, err := http.Get(url)
	require.NoError(t, err)
	defer func() { require.NoError(t, response.Body.Close()) }()
	require.Equal(t, http.StatusOK, response.StatusCode, url)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(body)
}

// alerts returns the states of an alert's instances in Alertmanager.
func alerts(t *testing.T, am *monitor.Server, name string) []string {
	t.Helper()
	defer http.DefaultClient.CloseIdleConnections()
	response, err := http.Get(am.URL() + `/api/v2/alerts?filter=alertname="` + name + `"`)
	require.NoError(t, err)
	defer func() { require.NoError(t, response.Body.Close()) }()
	var list []struct{ Status struct{ State string } }
	require.NoError(t, json.NewDecoder(response.Body).Decode(&list))
	states := make([]string, 0, len(list))
	for _, a := range list {
		states = append(states, a.Status.State)
	}
	return states
}
