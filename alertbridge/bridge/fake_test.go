package bridge_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"
	sdkclient "go.temporal.io/sdk/client"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"edgefleet/alertbridge/bridge"
	"edgefleet/workflows/contract"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// began is the time at which the alerts of these tests began.
var began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// start is one StartWorkflow that the fake was asked for.
type start struct {
	options      sdkclient.StartWorkflowOptions
	workflowType string
	input        contract.RemediateInput
}

// signal is one SignalWorkflow that the fake was asked for.
type signal struct {
	workflowID, name string
	arg              any
}

// fakeTemporal keeps workflow IDs as Temporal does: one run for each, and no
// second one. It fails where a test says so.
type fakeTemporal struct {
	mu      sync.Mutex
	running map[string]bool
	starts  []start
	signals []signal
	most    int // calls at once, at the highest
	now     int

	// fail returns the error of a call on a workflow ID, when it is set.
	fail func(workflowID string) error
	// hold, when it is set, is received from by every call, or its context
	// ends it.
	hold  chan struct{}
	check error
}

func (f *fakeTemporal) enter(ctx context.Context, id string) error {
	f.mu.Lock()
	f.now++
	f.most = max(f.most, f.now)
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.now--
		f.mu.Unlock()
	}()
	if f.hold != nil {
		select {
		case <-f.hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if f.fail != nil {
		return f.fail(id)
	}
	return nil
}

func (f *fakeTemporal) StartWorkflow(ctx context.Context, o sdkclient.StartWorkflowOptions, workflowType string, input any) (string, bool, error) {
	if err := f.enter(ctx, o.ID); err != nil {
		return "", false, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.starts = append(f.starts, start{o, workflowType, input.(contract.RemediateInput)})
	if f.running[o.ID] {
		return "", false, nil
	}
	if f.running == nil {
		f.running = map[string]bool{}
	}
	f.running[o.ID] = true
	return "run-of-" + o.ID, true, nil
}

func (f *fakeTemporal) SignalWorkflow(ctx context.Context, workflowID, name string, arg any) (bool, error) {
	if err := f.enter(ctx, workflowID); err != nil {
		return false, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.signals = append(f.signals, signal{workflowID, name, arg})
	return f.running[workflowID], nil
}

func (f *fakeTemporal) Check(context.Context) error { return f.check }

func (f *fakeTemporal) atOnce() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *fakeTemporal) startedIDs() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	ids := []string{}
	for id := range f.running {
		ids = append(ids, id)
	}
	return ids
}

// run starts a bridge on a free port that ends with the test.
func run(t testing.TB, o bridge.Options) *bridge.Bridge {
	t.Helper()
	o.Listen = "127.0.0.1:0"
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	b, err := bridge.New(o)
	require.NoError(t, err)
	require.NoError(t, b.Start(t.Context()))
	t.Cleanup(func() { _ = b.Stop(context.Background()) })
	return b
}

func client(t testing.TB) *http.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// answer is what the bridge answered.
type answer struct {
	code    int
	header  http.Header
	summary bridge.Summary
	text    string
}

func do(c *http.Client, req *http.Request) (answer, error) {
	resp, err := c.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	a := answer{code: resp.StatusCode, header: resp.Header, text: string(body)}
	if resp.Header.Get("Content-Type") == "application/json" {
		err = json.Unmarshal(body, &a.summary)
	}
	return a, err
}

// request is a POST of a message; change it before it is sent.
func request(t testing.TB, url string, body []byte) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+bridge.PathAlertmanager, bytes.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	return req
}

func post(t testing.TB, c *http.Client, b *bridge.Bridge, body []byte) answer {
	t.Helper()
	a, err := do(c, request(t, "http://"+b.Addr(), body))
	require.NoError(t, err)
	return a
}

func get(t testing.TB, c *http.Client, url string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	a, err := do(c, req)
	require.NoError(t, err)
	return a
}

// alert is one alert on the wire; a test takes away or changes what it wants.
type alert map[string]any

func offline(device string) alert {
	return alert{
		"status":       "firing",
		"labels":       map[string]string{"alertname": "EdgeDeviceOffline", "device_id": device, "site": "substation-7", "region": "us-east-1", "severity": "critical"},
		"annotations":  map[string]string{"summary": device + " does not answer"},
		"startsAt":     began.Format(time.RFC3339Nano),
		"endsAt":       "0001-01-01T00:00:00Z",
		"generatorURL": "http://prometheus.example/graph",
		"fingerprint":  fmt.Sprintf("%016x", len(device)),
	}
}

func (a alert) with(key string, value any) alert { a[key] = value; return a }

func (a alert) label(name, value string) alert {
	a["labels"].(map[string]string)[name] = value
	return a
}

// message is a notification with these alerts, as Alertmanager writes it.
func message(t testing.TB, alerts ...alert) []byte {
	t.Helper()
	if alerts == nil {
		alerts = []alert{}
	}
	data, err := json.Marshal(map[string]any{
		"version": "4", "groupKey": `{}:{alertname="EdgeDeviceOffline"}`, "receiver": "edgefleet", "status": "firing",
		"externalURL": "http://alertmanager.example", "truncatedAlerts": 0, "groupLabels": map[string]string{}, "alerts": alerts,
	})
	require.NoError(t, err)
	return data
}

func idOf(device string) string {
	return fmt.Sprintf("remediate/%s/EdgeDeviceOffline/%016x-%d", device, len(device), began.Unix())
}

func writeFile(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// value sums the samples of a metric whose labels hold want.
func value(t testing.TB, r *prometheus.Registry, name string, want map[string]string) float64 {
	t.Helper()
	families, err := r.Gather()
	require.NoError(t, err)
	sum, found := 0.0, false
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			if !holds(m, want) {
				continue
			}
			found = true
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	require.True(t, found, "no metric %s%v", name, want)
	return sum
}

func holds(m *dto.Metric, want map[string]string) bool {
	got := map[string]string{}
	for _, l := range m.GetLabel() {
		got[l.GetName()] = l.GetValue()
	}
	for k, v := range want {
		if got[k] != v {
			return false
		}
	}
	return true
}
