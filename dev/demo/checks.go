package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"edgefleet/workflows/contract"
)

// follow prints the workflow's timeline as it grows, and ends with it.
func (d *run) follow(ctx context.Context, device, workflow string) error {
	temporal := d.stack.Conn().Client
	var startedAt time.Time
	err := until(ctx, "alertbridge starts "+workflow, func() (bool, error) {
		desc, err := temporal.DescribeWorkflowExecution(ctx, workflow, "")
		var notFound *serviceerror.NotFound
		if errors.As(err, &notFound) {
			return false, nil
		}
		startedAt = desc.GetWorkflowExecutionInfo().GetStartTime().AsTime()
		return err == nil, err
	})
	if err != nil {
		return err
	}
	d.sayAt(startedAt, device, "alertbridge accepted it; Temporal runs %s", workflow)
	done := make(chan error, 1)
	var result contract.RemediateResult
	go func() { done <- temporal.GetWorkflow(ctx, workflow, "").Get(ctx, &result) }()
	printed := 0
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		select {
		case err := <-done:
			d.timeline(ctx, device, workflow, &printed)
			if err != nil {
				return fmt.Errorf("the remediation of %s failed: %w", device, err)
			}
			d.say(device, "healthy again: incident %s is %s", result.IncidentID, result.Outcome)
			return nil
		case <-ticker.C:
			d.timeline(ctx, device, workflow, &printed)
		}
	}
}

// timeline prints what it has not yet printed. A look that fails is made
// again at the next tick, or the end of the workflow says why.
func (d *run) timeline(ctx context.Context, device, workflow string, printed *int) {
	answer, err := d.stack.Conn().Client.QueryWorkflow(ctx, workflow, "", contract.QueryProgress)
	if err != nil {
		return
	}
	var p contract.Progress
	if answer.Get(&p) != nil {
		return
	}
	for ; *printed < len(p.Timeline); *printed++ {
		m := p.Timeline[*printed]
		d.sayAt(m.At, device, "  %s", m.Text)
	}
}

// wroteOnce asks the devices themselves what was written to them.
func (d *run) wroteOnce(ctx context.Context) error {
	broken, err := d.stack.Fleet().Device(ctx, offlineDevice)
	if err != nil {
		return err
	}
	outlet, err := d.stack.Fleet().Writes(ctx, broken.Outlet)
	if err != nil {
		return err
	}
	pulses := 0
	for _, c := range outlet.Counters {
		pulses += int(c.Count)
	}
	if pulses != 1 {
		return fmt.Errorf("outlet %s counted %d pulses, want exactly 1", broken.Outlet, pulses)
	}
	drifted, err := d.stack.Fleet().Writes(ctx, driftDevice)
	if err != nil {
		return err
	}
	for _, c := range drifted.Counters {
		if c.Count != 1 {
			return fmt.Errorf("%s counted %d writes to %s, want exactly 1", driftDevice, c.Count, c.Name)
		}
	}
	if len(drifted.Counters) == 0 {
		return fmt.Errorf("%s counted no writes, although its settings had drifted", driftDevice)
	}
	d.say("", "the devices' own counters: 1 pulse of %s, %d registers of %s written once each", broken.Outlet, len(drifted.Counters), driftDevice)
	return nil
}

// verifyLedger asks a worker, as the command line would.
func (d *run) verifyLedger(ctx context.Context) error {
	run, err := d.stack.Conn().Client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: contract.InspectID(contract.AskAuditVerify, "demo"), TaskQueue: contract.TaskQueue,
		WorkflowExecutionTimeout: time.Minute,
	}, contract.WorkflowInspect, contract.InspectInput{Question: contract.AskAuditVerify, By: "demo", Verify: &contract.AuditVerifyQuery{}})
	if err != nil {
		return err
	}
	var answer contract.InspectResult
	if err := run.Get(ctx, &answer); err != nil {
		return err
	}
	v := answer.Verdict
	if !v.OK {
		return fmt.Errorf("the ledger is broken: %s at entry %d: %s", v.Finding, v.Seq, v.Detail)
	}
	d.say("", "the ledger is intact: %d entries, keyed chain, head %d:%.12s...", v.Entries, v.HeadSeq, v.HeadHash)
	return nil
}
