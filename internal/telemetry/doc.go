// Package telemetry traces an alert from the webhook to the device, and shows
// what Temporal's SDK measures beside a program's own metrics.
//
// Tracing is off unless the environment names a collector by the variables of
// OpenTelemetry: OTEL_EXPORTER_OTLP_ENDPOINT, or
// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT. The others of them hold as well:
// OTEL_EXPORTER_OTLP_PROTOCOL, _HEADERS, _CERTIFICATE, _TIMEOUT,
// OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER,
// OTEL_TRACES_EXPORTER=none and OTEL_SDK_DISABLED=true.
//
// Rules of this layer: there are no globals, so that two programs in one
// process do not meet; and a collector that is away delays and fails nothing,
// it only loses spans.
package telemetry
