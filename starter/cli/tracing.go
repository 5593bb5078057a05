package cli

import (
	"go.uber.org/zap"

	"edgefleet/internal/telemetry"
)

// traced is a connection that brings its last spans to their collector when it
// is closed. A command ends right after.
type traced struct {
	Temporal
	tracing *telemetry.Tracing
}

// Close is of Temporal.
func (t traced) Close() {
	t.Temporal.Close()
	t.tracing.Close(zap.NewNop())
}
