package workflows

import (
	"fmt"
	"strings"

	"go.temporal.io/sdk/workflow"

	"edgefleet/workflows/contract"
	"edgefleet/workflows/runbook"
)

// runRunbook runs the runbook whose source stands in this run's history.
func (r *remediation) runRunbook(ctx workflow.Context) error {
	r.phase(ctx, "running "+r.in.Runbook.Path+":"+r.in.Runbook.Function)
	_, err := runbook.Run(ctx, runbook.Params{
		Name:     r.in.Runbook.Path,
		Source:   r.begin.Source,
		Hash:     r.begin.Hash,
		Function: r.in.Runbook.Function,
		Device:   r.begin.Device,
		Scope:    r.scope,
		Gates:    r.gates,
		Cache:    r.programs,
		Resolved: func() bool { return r.progress.ResolvedAt != nil },
		Observer: runbook.Observer{
			Timeline: func(text string) { r.note(ctx, "%s", text) },
			Step:     func(title string) { r.progress.Step = title; r.showDetails(ctx) },
			Waiting: func(gate, prompt string) {
				r.progress.Waiting = gate
				if gate != "" {
					r.note(ctx, "waits for approval %q: %s", gate, prompt)
				}
				r.showDetails(ctx)
			},
			Decided: r.recordDecision,
		},
	})
	r.progress.Step = ""
	return err
}

// recordDecision writes an approval or refusal to the ledger before the
// runbook acts on it.
func (r *remediation) recordDecision(ctx workflow.Context, d contract.Decision) error {
	outcome := "refused"
	if d.Approved {
		outcome = "approved"
	}
	by := d.By
	if by == "" {
		by = "nobody"
	}
	r.note(ctx, "%s", strings.TrimSpace(fmt.Sprintf("%s %q by %s %s", outcome, d.Gate, by, d.Note)))
	ctx = workflow.WithActivityOptions(ctx, recordOptions("record "+outcome+", "+d.Gate))
	return workflow.ExecuteActivity(ctx, contract.ActivityRecord, contract.RecordInput{
		Scope: r.scope, Event: "approval " + d.Gate, By: d.By, Outcome: outcome, Detail: d.Note,
	}).Get(ctx, nil)
}
