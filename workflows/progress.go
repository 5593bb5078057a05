package workflows

import (
	"fmt"
	"strings"

	"go.temporal.io/sdk/workflow"

	"edgefleet/workflows/contract"
)

// maxTimeline bounds what a query returns, whatever a runbook prints.
const maxTimeline = 200

// phase says what the workflow is about, for the Web UI and the query.
func (r *remediation) phase(ctx workflow.Context, phase string) {
	r.progress.Phase = phase
	r.progress.Waiting = ""
	r.showDetails(ctx)
}

// note appends a line to the timeline. The first lines are kept, because they
// say how it began; what has no room is counted.
func (r *remediation) note(ctx workflow.Context, format string, args ...any) {
	if len(r.progress.Timeline) >= maxTimeline {
		r.dropped++
		return
	}
	r.progress.Timeline = append(r.progress.Timeline,
		contract.Moment{At: workflow.Now(ctx), Text: fmt.Sprintf(format, args...)})
	r.showDetails(ctx)
}

// showDetails renders the workflow's current details: the first thing that a
// person sees of a run in the Web UI.
func (r *remediation) showDetails(ctx workflow.Context) {
	var b page
	b.printf("**%s** — %s\n\n", r.in.DeviceID, r.progress.Phase)
	if r.begin.Device.ID != "" {
		d := r.begin.Device
		b.printf("site %s, region %s, %s, %s\n\n", d.Site, d.Region, d.Profile, d.Address)
	}
	if r.progress.Waiting != "" {
		b.printf("waits for approval: `%s`\n\n", r.progress.Waiting)
	}
	if r.progress.Step != "" {
		b.printf("step: %s\n\n", r.progress.Step)
	}
	for _, m := range r.progress.Timeline {
		b.printf("- `+%.1fs` %s\n", m.At.Sub(r.began).Seconds(), m.Text)
	}
	if r.dropped > 0 {
		b.printf("- and %d lines more\n", r.dropped)
	}
	workflow.SetCurrentDetails(ctx, b.String())
}

// page collects text. It stands here because fmt.Fprintf writes to anything,
// so that workflowcheck cannot know it for deterministic.
type page struct{ strings.Builder }

func (p *page) printf(format string, args ...any) {
	p.WriteString(fmt.Sprintf(format, args...)) //nolint:staticcheck // see above
}
