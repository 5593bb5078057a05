package telemetry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/protobuf/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func environment(pairs ...string) func(string) string {
	all := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		all[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return all[name] }
}

func TestTracingIsOffUnlessACollectorIsNamed(t *testing.T) {
	const endpoint, url = "OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"
	for name, tc := range map[string]struct {
		env func(string) string
		on  bool
	}{
		"nothing is said":                      {environment(), false},
		"a collector is named":                 {environment(endpoint, url), true},
		"one for traces is named":              {environment("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", url), true},
		"one is named and the SDK is disabled": {environment(endpoint, url, "OTEL_SDK_DISABLED", "true"), false},
		"one is named and traces are not":      {environment(endpoint, url, "OTEL_TRACES_EXPORTER", "none"), false},
		"over gRPC":                            {environment(endpoint, url, "OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), true},
	} {
		t.Run(name, func(t *testing.T) {
			tracing, err := fromEnv(t.Context(), "test", zap.NewNop(), tc.env)
			require.NoError(t, err)
			require.Equal(t, tc.on, tracing.On())
			require.Equal(t, tc.on, len(tracing.Interceptors()) == 1)
			_, span := tracing.Tracer().Start(t.Context(), "x")
			require.Equal(t, tc.on, span.SpanContext().IsValid())
			require.NoError(t, tracing.Shutdown(t.Context()))
		})
	}
	_, err := fromEnv(t.Context(), "test", zap.NewNop(), environment(endpoint, url, "OTEL_EXPORTER_OTLP_PROTOCOL", "thrift"))
	require.EqualError(t, err, `OTEL_EXPORTER_OTLP_PROTOCOL "thrift": want http/protobuf or grpc`)
	var none *Tracing
	require.False(t, none.On())
	require.NoError(t, none.Shutdown(t.Context()))
}

func TestSpansReachACollectorOverHTTP(t *testing.T) {
	var mu sync.Mutex
	var names []string
	service := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var request collector.ExportTraceServiceRequest
		if r.URL.Path != "/v1/traces" || proto.Unmarshal(body, &request) != nil {
			http.Error(w, "no traces", http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, rs := range request.GetResourceSpans() {
			for _, a := range rs.GetResource().GetAttributes() {
				if a.GetKey() == "service.name" {
					service = a.GetValue().GetStringValue()
				}
			}
			for _, ss := range rs.GetScopeSpans() {
				for _, s := range ss.GetSpans() {
					names = append(names, s.GetName())
				}
			}
		}
	}))
	defer server.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	tracing, err := New(t.Context(), "edgefleet-test", zap.NewNop())
	require.NoError(t, err)
	_, span := tracing.Tracer().Start(t.Context(), "device read")
	End(span, errors.New("it did not answer"))
	require.NoError(t, tracing.Shutdown(t.Context()))
	require.Equal(t, []string{"device read"}, names)
	require.Equal(t, "edgefleet-test", service)
}

// away is a collector that cannot be reached while it is set.
type away struct {
	tracetest.NoopExporter
	err error
}

func (a *away) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return a.err }

func TestACollectorThatIsAwayIsToldOnceAndFailsNothing(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	to := &away{err: errors.New("connection refused")}
	e := told{to, zap.New(core), new(quiet)}
	for range 3 {
		require.NoError(t, e.ExportSpans(t.Context(), nil))
	}
	require.Equal(t, 1, logs.Len())
	to.err = nil
	require.NoError(t, e.ExportSpans(t.Context(), nil))
	require.Equal(t, 1, logs.FilterMessage("traces reach the collector again").Len())
}

func TestARequestIsASpanBelowThatOfItsSender(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	tracing, err := tracingTo(t.Context(), "test", spans)
	require.NoError(t, err)
	var inside trace.SpanContext
	h := tracing.Handler("webhook", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inside = trace.SpanContextFromContext(r.Context())
		http.Error(w, "away", http.StatusServiceUnavailable)
	}))
	r := httptest.NewRequest(http.MethodPost, "/api", nil)
	r.Header.Set("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	h.ServeHTTP(httptest.NewRecorder(), r)
	require.NoError(t, tracing.provider.ForceFlush(t.Context()))
	got := spans.GetSpans()
	require.Len(t, got, 1)
	require.Equal(t, "webhook", got[0].Name)
	require.Equal(t, "b7ad6b7169203331", got[0].Parent.SpanID().String())
	require.Equal(t, got[0].SpanContext.SpanID(), inside.SpanID())
	require.Equal(t, "Error", got[0].Status.Code.String())
	require.NoError(t, tracing.Shutdown(t.Context()))
}

func TestWhatTheSDKMeasuresIsShownUnderTemporalsNames(t *testing.T) {
	registry := prometheus.NewRegistry()
	m, err := SDKMetrics(registry)
	require.NoError(t, err)
	m = m.WithTags(map[string]string{"namespace": "default"})
	m.Counter("temporal_request").Inc(2)
	m.WithTags(map[string]string{"operation": "StartWorkflowExecution"}).Counter("temporal_request").Inc(3)
	m.WithTags(map[string]string{"namespace": "other"}).Gauge("temporal_num_pollers").Update(7)
	m.Timer("temporal_request_latency").Record(250 * time.Millisecond)
	m.Timer("temporal_request_latency").Record(time.Second)
	m.WithTags(map[string]string{"worker-type": "x"}).Counter("temporal.odd").Inc(1)

	families, err := registry.Gather()
	require.NoError(t, err)
	got := map[string]*dto.MetricFamily{}
	for _, f := range families {
		got[f.GetName()] = f
	}
	require.Len(t, got["temporal_request_total"].GetMetric(), 2, "one name may have different labels")
	require.Equal(t, 7.0, got["temporal_num_pollers"].GetMetric()[0].GetGauge().GetValue())
	require.Equal(t, "other", got["temporal_num_pollers"].GetMetric()[0].GetLabel()[0].GetValue())
	latency := got["temporal_request_latency_seconds"].GetMetric()[0].GetHistogram()
	require.Equal(t, uint64(2), latency.GetSampleCount())
	require.Equal(t, 1.25, latency.GetSampleSum())
	require.Equal(t, "worker_type", got["temporal_odd_total"].GetMetric()[0].GetLabel()[1].GetName())
}

func TestSeriesAreSafeForConcurrentUse(t *testing.T) {
	registry := prometheus.NewRegistry()
	m, err := SDKMetrics(registry)
	require.NoError(t, err)
	var work sync.WaitGroup
	for range 8 {
		work.Go(func() {
			for range 200 {
				m.WithTags(map[string]string{"a": "b"}).Counter("c").Inc(1)
				_, _ = registry.Gather()
			}
		})
	}
	work.Wait()
	families, err := registry.Gather()
	require.NoError(t, err)
	require.Equal(t, 1600.0, families[0].GetMetric()[0].GetCounter().GetValue())
}
