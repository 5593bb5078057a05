package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"edgefleet/workflows/contract"
)

// remediateTimeout is the most that a remediation may take, approvals
// included; it matches what the alert bridge gives.
const remediateTimeout = 48 * time.Hour

func (a *App) remediateCommand() *cli.Command {
	return &cli.Command{
		Name:      "remediate",
		Usage:     "run a runbook of the fleet directory for a device, as its alert would",
		ArgsUsage: "ID",
		Flags: append(watchFlags(),
			&cli.StringFlag{Name: "runbook", Value: "auto_remediation.py", Usage: "file in the fleet directory's runbooks folder"},
			&cli.StringFlag{Name: "function", Value: "handle_device_offline", Usage: "function of the runbook; it gets the device ID"}),
		Action: func(c *cli.Context) error {
			id, err := oneArg(c, "device ID")
			if err := firstError(err, checkOutput(c)); err != nil {
				return err
			}
			return a.remediate(c, id, contract.RunbookRef{Path: c.String("runbook"), Function: c.String("function")})
		},
	}
}

func watchFlags() []cli.Flag {
	return []cli.Flag{
		outputFlag(),
		&cli.StringFlag{Name: "reason", Usage: "why, for the ledger and the next reader"},
		&cli.BoolFlag{Name: "detach", Usage: "start it and return, instead of following it to its end"},
	}
}

func (a *App) remediate(c *cli.Context, id string, ref contract.RunbookRef) error {
	if err := contract.ValidDeviceID(id); err != nil {
		return usageError{err}
	}
	t, err := a.dial(c)
	if err != nil {
		return err
	}
	defer t.Close()
	reason := c.String("reason")
	if reason == "" {
		reason = "started by hand"
	}
	run, err := t.ExecuteWorkflow(c.Context, client.StartWorkflowOptions{
		ID:                       contract.ManualRemediateID(id, a.opts.Nonce()),
		TaskQueue:                contract.TaskQueue,
		WorkflowExecutionTimeout: remediateTimeout,
		WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		StaticSummary:            "remediate " + id + ": " + reason,
		TypedSearchAttributes: temporal.NewSearchAttributes(
			temporal.NewSearchAttributeKeyKeyword(contract.AttrDeviceID).ValueSet(id),
			temporal.NewSearchAttributeKeyKeyword(contract.AttrOutcome).ValueSet(contract.OutcomeRunning)),
	}, contract.WorkflowRemediate, contract.RemediateInput{
		DeviceID: id, Reason: reason, Runbook: ref,
		Actor: contract.Actor{Kind: contract.ActorOperator, Name: a.opts.User},
	})
	if err != nil {
		return explain(err)
	}
	fmt.Fprintf(a.opts.Err, "started %s (run %s)\n", run.GetID(), run.GetRunID())
	if c.Bool("detach") {
		started := map[string]string{"workflow_id": run.GetID(), "run_id": run.GetRunID()}
		return a.show(c, started, func(w io.Writer) { fmt.Fprintln(w, run.GetID()) })
	}
	return a.follow(c, t, run)
}

// follow prints the timeline as it grows, then the result.
func (a *App) follow(c *cli.Context, t Temporal, run client.WorkflowRun) error {
	type ending struct {
		result contract.RemediateResult
		err    error
	}
	done := make(chan ending, 1)
	go func() {
		var e ending
		e.err = run.Get(c.Context, &e.result)
		done <- e
	}()
	ticker := time.NewTicker(a.opts.Poll)
	defer ticker.Stop()
	seen := timelineView{out: a.opts.Err}
	for {
		select {
		case e := <-done:
			// The last lines came after the last look.
			seen.update(c.Context, t, run)
			if e.err != nil {
				return explainRun(e.err)
			}
			return a.show(c, e.result, func(w io.Writer) {
				fmt.Fprintf(w, "%s: %s (incident %s)\n", e.result.Outcome, oneLine(e.result.Detail), e.result.IncidentID)
			})
		case <-ticker.C:
			seen.update(c.Context, t, run)
		}
	}
}

// timelineView prints what it has not yet printed of a run's timeline. That a
// query fails is not worth a word: the run goes on without it.
type timelineView struct {
	out     io.Writer
	printed int
	waiting string
}

func (v *timelineView) update(ctx context.Context, t Temporal, run client.WorkflowRun) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	answer, err := t.QueryWorkflow(ctx, run.GetID(), run.GetRunID(), contract.QueryProgress)
	if err != nil {
		return
	}
	var p contract.Progress
	if answer.Get(&p) != nil {
		return
	}
	for ; v.printed < len(p.Timeline); v.printed++ {
		m := p.Timeline[v.printed]
		fmt.Fprintf(v.out, "%s  %s\n", m.At.Local().Format("15:04:05"), oneLine(m.Text))
	}
	if p.Waiting != "" && p.Waiting != v.waiting {
		fmt.Fprintf(v.out, "to answer: edgefleet runbook approve %s %s\n", run.GetID(), p.Waiting)
	}
	v.waiting = p.Waiting
}

func explainRun(err error) error {
	if temporal.IsCanceledError(err) {
		return errors.New("the remediation was cancelled; its incident is closed and its lease released")
	}
	if temporal.IsTerminatedError(err) {
		return errors.New("the remediation was terminated; housekeeping closes its incident and releases its lease")
	}
	return explain(err)
}
