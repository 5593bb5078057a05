package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	temporaltrace "go.temporal.io/sdk/contrib/opentelemetry"
	"go.temporal.io/sdk/interceptor"
	"go.uber.org/zap"
)

// scope names the spans of edgefleet's own code among those of libraries.
const scope = "edgefleet"

// The protocols of OTLP that OTEL_EXPORTER_OTLP_PROTOCOL can name.
const (
	protocolHTTP = "http/protobuf"
	protocolGRPC = "grpc"
)

// Tracing makes spans and brings them to a collector, or does nothing. The
// zero value and nil do nothing.
type Tracing struct {
	provider     *sdktrace.TracerProvider
	interceptors []interceptor.ClientInterceptor
}

// New returns the tracing that the process's environment asks for: none unless
// it names a collector. Service is the program's name where OTEL_SERVICE_NAME
// says no other. It fails on a setting that can never work, and does not talk
// to the collector; the logger is told when that cannot be reached.
func New(ctx context.Context, service string, logger *zap.Logger) (*Tracing, error) {
	return fromEnv(ctx, service, logger, os.Getenv)
}

func fromEnv(ctx context.Context, service string, logger *zap.Logger, env func(string) string) (*Tracing, error) {
	if !wanted(env) {
		return &Tracing{}, nil
	}
	var exporter sdktrace.SpanExporter
	var err error
	switch protocol := firstOf(env("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"), env("OTEL_EXPORTER_OTLP_PROTOCOL"), protocolHTTP); protocol {
	case protocolHTTP:
		exporter, err = otlptracehttp.New(ctx)
	case protocolGRPC:
		exporter, err = otlptracegrpc.New(ctx)
	default:
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL %q: want %s or %s", protocol, protocolHTTP, protocolGRPC)
	}
	if err != nil {
		return nil, fmt.Errorf("tracing: %w; check OTEL_EXPORTER_OTLP_ENDPOINT and what stands beside it", err)
	}
	return tracingTo(ctx, service, told{exporter, logger, new(quiet)})
}

// wanted says whether the environment asks for traces.
func wanted(env func(string) string) bool {
	if strings.EqualFold(env("OTEL_SDK_DISABLED"), "true") || strings.EqualFold(env("OTEL_TRACES_EXPORTER"), "none") {
		return false
	}
	return env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != "" || env("OTEL_EXPORTER_OTLP_ENDPOINT") != ""
}

// tracingTo returns a tracing that brings its spans to an exporter.
func tracingTo(ctx context.Context, service string, exporter sdktrace.SpanExporter) (*Tracing, error) {
	// What the environment says of the resource stands after, and so over, ours.
	described, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", service), attribute.String("service.namespace", scope)),
		resource.WithTelemetrySDK(), resource.WithHost(), resource.WithProcessPID(), resource.WithFromEnv())
	if err != nil && !errors.Is(err, resource.ErrPartialResource) && !errors.Is(err, resource.ErrSchemaURLConflict) {
		return nil, fmt.Errorf("tracing: %w; check OTEL_RESOURCE_ATTRIBUTES", err)
	}
	t := &Tracing{provider: sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(described))}
	temporal, err := temporaltrace.NewTracingInterceptor(temporaltrace.TracerOptions{
		Tracer: t.provider.Tracer(scope), TextMapPropagator: propagation.TraceContext{},
		// A workflow that began under another version, or another tracer, goes on.
		AllowInvalidParentSpans: true, DisableBaggage: true,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("tracing: %w", err), t.provider.Shutdown(ctx))
	}
	t.interceptors = []interceptor.ClientInterceptor{temporal}
	return t, nil
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// On says whether spans are made.
func (t *Tracing) On() bool { return t != nil && t.provider != nil }

// Tracer makes the spans of a program's own code.
func (t *Tracing) Tracer() trace.Tracer {
	if !t.On() {
		return noop.NewTracerProvider().Tracer(scope)
	}
	return t.provider.Tracer(scope)
}

// Interceptors are for the options of Temporal's client: they carry a trace
// from the start of a workflow through its activities. Workers of that client
// have them, too. There are none while tracing is off.
func (t *Tracing) Interceptors() []interceptor.ClientInterceptor {
	if !t.On() {
		return nil
	}
	return t.interceptors
}

// Shutdown brings what is left to the collector, within the time that ctx has.
func (t *Tracing) Shutdown(ctx context.Context) error {
	if !t.On() {
		return nil
	}
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("tracing: the last spans did not reach the collector: %w", err)
	}
	return nil
}

// Handler makes one span of each request to next, below that of whoever sent
// it, and hands next a context with it.
func (t *Tracing) Handler(name string, next http.Handler) http.Handler {
	if !t.On() {
		return next
	}
	tracer := t.Tracer()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		ctx, span := tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
			attribute.String("http.request.method", r.Method), attribute.String("url.path", r.URL.Path),
			attribute.String("client.address", r.RemoteAddr)))
		defer span.End()
		seen := &status{ResponseWriter: w, code: http.StatusOK}
		next.ServeHTTP(seen, r.WithContext(ctx))
		span.SetAttributes(attribute.Int("http.response.status_code", seen.code))
		if seen.code >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, http.StatusText(seen.code))
		}
	})
}

// status remembers with what a request was answered.
type status struct {
	http.ResponseWriter
	code int
}

func (s *status) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}

// Unwrap is for http.ResponseController, and with it for MaxBytesReader.
func (s *status) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// End ends a span with what came of it.
func End(span trace.Span, err error) {
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// told is an exporter that tells once when its collector is away, and once
// when it is back.
type told struct {
	sdktrace.SpanExporter
	logger *zap.Logger
	*quiet
}

type quiet struct{ away bool }

// ExportSpans is called by one goroutine at a time.
func (e told) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	switch {
	case err != nil && !e.away:
		e.logger.Warn("traces do not reach the collector; they are lost until they do", zap.Error(err))
	case err == nil && e.away:
		e.logger.Info("traces reach the collector again")
	}
	e.away = err != nil
	// The SDK would print it to stderr, past the log.
	return nil
}

// shutdownWithin is for programs that end without a context of their own.
const shutdownWithin = 5 * time.Second

// Close is Shutdown within 5 seconds; what is lost then is logged.
func (t *Tracing) Close(logger *zap.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownWithin)
	defer cancel()
	if err := t.Shutdown(ctx); err != nil {
		logger.Warn("tracing ended", zap.Error(err))
	}
}
