package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"edgefleet/workflows/contract"
)

// followTimeline prints the timeline of a remediation as it grows, then its
// result.
func (a *App) followTimeline(c *cli.Context, t Temporal, run client.WorkflowRun) error {
	view := timelineView{waiting: waiting{app: a, began: time.Now()}, out: a.opts.Err}
	var result contract.RemediateResult
	err := a.follow(c.Context, run, &result, func(ctx context.Context, last bool) {
		// The last lines came after the last look; nothing is waited for.
		view.told = view.told || last
		view.update(ctx, t, run)
	})
	if c.Err() != nil {
		return leftBehind(run.GetID(), c.Args())
	}
	if err != nil {
		return explainRun(c.Context, err)
	}
	return a.show(c, result, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %s (incident %s)\n", oneLine(result.Outcome), oneLine(result.Detail), oneLine(result.IncidentID))
	})
}

// leftBehind is what an operator who pressed Ctrl-C has to know.
func leftBehind(workflowID string, args cli.Args) error {
	return fmt.Errorf("interrupted; %s goes on; see how it ends with: edgefleet incident list --device %s", workflowID, args.Get(args.Len()-1))
}

// timelineView prints what it has not yet printed of a run's timeline. That a
// query fails is not worth a word: the run goes on without it.
type timelineView struct {
	waiting
	out     io.Writer
	printed int
	gate    string
}

func (v *timelineView) update(ctx context.Context, t Temporal, run client.WorkflowRun) {
	var p contract.Progress
	answer, err := t.QueryWorkflow(ctx, run.GetID(), run.GetRunID(), contract.QueryProgress)
	if err == nil {
		err = answer.Get(&p)
	}
	if err != nil {
		v.still(func() string { return whoIsMissing(ctx, t) })
		return
	}
	for ; v.printed < len(p.Timeline); v.printed++ {
		m := p.Timeline[v.printed]
		fmt.Fprintf(v.out, "%s  %s\n", m.At.Local().Format("15:04:05"), oneLine(m.Text))
		v.told = true
	}
	v.still(func() string { return "still " + oneLine(p.Phase) + "…" })
	if p.Waiting != "" && p.Waiting != v.gate {
		fmt.Fprintf(v.out, "to answer: edgefleet runbook approve %s %s   (or with --refuse)\n", shellWord(run.GetID()), shellWord(oneLine(p.Waiting)))
	}
	v.gate = p.Waiting
}

func explainRun(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		var timeout *temporal.TimeoutError
		switch {
		case temporal.IsCanceledError(err):
			return errors.New("the remediation was cancelled; its incident is closed and its lease released")
		case temporal.IsTerminatedError(err):
			return errors.New("the remediation was terminated; housekeeping closes its incident and releases its lease")
		case errors.As(err, &timeout):
			return fmt.Errorf("the remediation did not end within %v; housekeeping closes its incident and releases its lease", remediateTimeout)
		}
	}
	return explain(ctx, err)
}
