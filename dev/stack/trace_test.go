package stack_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"edgefleet/alertbridge/bridge"
	"edgefleet/devices/sim"
)

// spans is a collector of traces that keeps what it gets.
type spans struct {
	mu  sync.Mutex
	got []*tracepb.Span
}

func (s *spans) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var request collector.ExportTraceServiceRequest
	if proto.Unmarshal(body, &request) != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rs := range request.GetResourceSpans() {
		for _, ss := range rs.GetScopeSpans() {
			s.got = append(s.got, ss.GetSpans()...)
		}
	}
}

// path is the names of the spans from the sender's down to the first of a name
// in the trace, or an error.
func (s *spans) path(traceID, sender, name string) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	byID := map[string]*tracepb.Span{}
	for _, span := range s.got {
		if hex.EncodeToString(span.GetTraceId()) == traceID {
			byID[hex.EncodeToString(span.GetSpanId())] = span
		}
	}
	for _, span := range byID {
		if span.GetName() != name {
			continue
		}
		var names []string
		for at := span; at != nil; {
			names = append([]string{at.GetName()}, names...)
			parent := hex.EncodeToString(at.GetParentSpanId())
			if parent == sender {
				return names, nil
			}
			at = byID[parent]
		}
	}
	return nil, fmt.Errorf("no %q below the sender's span among %d", name, len(byID))
}

func TestATraceGoesFromTheMessageToTheDevice(t *testing.T) {
	const traceID, sender = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	to := &spans{}
	server := httptest.NewServer(to)
	t.Cleanup(server.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
	s := startStack(t, 1)
	_, err := s.fleet.Break(t.Context(), "edge-001", sim.FaultDrift, false)
	require.NoError(t, err)
	a := firing("EdgeConfigDrift", "edge-001")
	body, err := json.Marshal(map[string]any{"version": "4", "status": "firing", "receiver": "edgefleet", "groupKey": "x", "alerts": []alert{a}})
	require.NoError(t, err)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.bridgeURL+bridge.PathAlertmanager, bytes.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("traceparent", "00-"+traceID+"-"+sender+"-01")
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusOK, response.StatusCode)
	s.resolved(s.temporal.GetWorkflow(t.Context(), a.workflowID(), ""))

	var path []string
	until(t, patience, func() error {
		path, err = to.path(traceID, sender, "device write")
		return err
	})
	require.Equal(t, "POST /api/v1/alertmanager > StartWorkflow:edgefleet.remediate > RunWorkflow:edgefleet.remediate > "+
		"StartActivity:apply_baseline_config > RunActivity:apply_baseline_config > device write", strings.Join(path, " > "))
}
