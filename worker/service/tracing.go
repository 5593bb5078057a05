package service

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"edgefleet/devices"
	"edgefleet/internal/telemetry"
)

// traced makes a span of every call to a device that is part of a trace. Calls
// that are part of none, such as Prometheus' probes, make no span: a fleet is
// probed far more often than anything else is done to it.
func traced(d devices.Driver, t *telemetry.Tracing) devices.Driver {
	if !t.On() {
		return d
	}
	out := tracedDriver{d, t.Tracer()}
	if e, ok := d.(devices.Enroller); ok {
		return tracedEnroller{out, e}
	}
	return out
}

type tracedDriver struct {
	devices.Driver
	tracer trace.Tracer
}

// Open is of devices.Driver.
func (d tracedDriver) Open(ctx context.Context, ep devices.Endpoint) (devices.Link, error) {
	link, err := d.Driver.Open(ctx, ep)
	if err != nil {
		return nil, err
	}
	return tracedLink{link, d.tracer, []attribute.KeyValue{
		attribute.String("edgefleet.device", ep.DeviceID), attribute.String("server.address", ep.Address),
		attribute.String("network.protocol.name", d.Protocol()),
	}}, nil
}

// OpenInstaller is of devices.InstallDriver, which not every driver is.
func (d tracedDriver) OpenInstaller(ctx context.Context, ep devices.Endpoint, how devices.Installation) (devices.Installer, error) {
	i, ok := d.Driver.(devices.InstallDriver)
	if !ok {
		return nil, &devices.Error{Kind: devices.Unsupported, Device: ep.DeviceID, Op: "install a patch",
			Err: fmt.Errorf("the driver of %s installs nothing", d.Protocol())}
	}
	return i.OpenInstaller(ctx, ep, how)
}

type tracedEnroller struct {
	tracedDriver
	enroller devices.Enroller
}

// Fingerprints is of devices.Enroller.
func (d tracedEnroller) Fingerprints(ctx context.Context, ep devices.Endpoint) ([]string, error) {
	return d.enroller.Fingerprints(ctx, ep)
}

type tracedLink struct {
	devices.Link
	tracer trace.Tracer
	of     []attribute.KeyValue
}

func (l tracedLink) span(ctx context.Context, name string, more ...attribute.KeyValue) (context.Context, trace.Span) {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return ctx, trace.SpanFromContext(ctx)
	}
	return l.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(append(more, l.of...)...))
}

// Read is of devices.Link.
func (l tracedLink) Read(ctx context.Context, points []devices.Point) ([]devices.Value, error) {
	ctx, span := l.span(ctx, "device read", attribute.Int("edgefleet.points", len(points)))
	values, err := l.Link.Read(ctx, points)
	telemetry.End(span, err)
	return values, err
}

// Write is of devices.Link.
func (l tracedLink) Write(ctx context.Context, settings []devices.Setting) error {
	names := make([]string, len(settings))
	for i, s := range settings {
		names[i] = s.Point.Name
	}
	ctx, span := l.span(ctx, "device write", attribute.StringSlice("edgefleet.settings", names))
	err := l.Link.Write(ctx, settings)
	telemetry.End(span, err)
	return err
}

// Ping is of devices.Link.
func (l tracedLink) Ping(ctx context.Context) error {
	ctx, span := l.span(ctx, "device ping")
	err := l.Link.Ping(ctx)
	telemetry.End(span, err)
	return err
}
