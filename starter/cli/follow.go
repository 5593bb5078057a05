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

	"edgefleet/internal/temporalx"
	"edgefleet/workflows/contract"
)

// follow prints the timeline as it grows, then the result. While Temporal is
// away it waits: the run goes on without it, or after it.
func (a *App) follow(c *cli.Context, t Temporal, run client.WorkflowRun) error {
	ctx := c.Context
	type ending struct {
		result contract.RemediateResult
		err    error
	}
	endings := make(chan ending, 1)
	get := func() {
		var e ending
		e.err = run.Get(ctx, &e.result)
		endings <- e
	}
	go get()
	ticker := time.NewTicker(a.opts.Poll)
	defer ticker.Stop()
	view := timelineView{out: a.opts.Err, began: time.Now(), patience: a.opts.Patience}
	away := false
	for {
		select {
		case e := <-endings:
			if e.err != nil && ctx.Err() == nil && temporalx.Away(e.err) {
				if !away {
					fmt.Fprintln(a.opts.Err, "Temporal is away; still following…")
				}
				away = true
				if err := pause(ctx, a.opts.Poll); err == nil {
					go get()
					continue
				}
			}
			if ctx.Err() != nil {
				return leftBehind(run.GetID(), c.Args())
			}
			// The last lines came after the last look; nothing is waited for.
			view.told = true
			view.update(ctx, t, run)
			return a.showEnd(c, e.result, e.err)
		case <-ticker.C:
			view.update(ctx, t, run)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func (a *App) showEnd(c *cli.Context, result contract.RemediateResult, err error) error {
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
	out      io.Writer
	began    time.Time
	patience time.Duration
	told     bool
	printed  int
	waiting  string
}

func (v *timelineView) update(ctx context.Context, t Temporal, run client.WorkflowRun) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
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
	}
	v.still(func() string { return "still " + oneLine(p.Phase) + "…" })
	if p.Waiting != "" && p.Waiting != v.waiting {
		fmt.Fprintf(v.out, "to answer: edgefleet runbook approve %s %s   (or with --refuse)\n", shellWord(run.GetID()), shellWord(oneLine(p.Waiting)))
	}
	v.waiting = p.Waiting
}

// still says once what is waited for when nothing came of the run for long.
func (v *timelineView) still(word func() string) {
	if v.told || v.printed > 0 || time.Since(v.began) < v.patience {
		return
	}
	v.told = true
	fmt.Fprintln(v.out, word())
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
