package cli

import (
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
			&cli.StringFlag{Name: "runbook", Value: "auto_remediation.py", Usage: "`FILE` in the fleet directory's runbooks folder"},
			&cli.StringFlag{Name: "function", Value: "handle_device_offline", Usage: "`NAME` of the runbook's function, which gets the device ID"}),
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
		&cli.StringFlag{Name: "reason", Usage: "`TEXT` that says why, for the ledger and the next reader"},
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
	if err := a.refuseUnknown(c, t, id); err != nil {
		return err
	}
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
		return explain(c.Context, err)
	}
	fmt.Fprintf(a.opts.Err, "started %s (run %s)\n", run.GetID(), run.GetRunID())
	if c.Bool("detach") {
		started := map[string]string{"workflow_id": run.GetID(), "run_id": run.GetRunID()}
		return a.show(c, started, func(w io.Writer) { fmt.Fprintln(w, run.GetID()) })
	}
	return a.followTimeline(c, t, run)
}

// lookTimeout bounds the look at the device before a remediation: without a
// worker the remediation is started all the same, and waits for one.
const lookTimeout = 10 * time.Second

// refuseUnknown keeps a mistyped device ID from becoming a remediation, whose
// failure would page somebody.
func (a *App) refuseUnknown(c *cli.Context, t Temporal, id string) error {
	_, err := a.askOver(c.Context, t, contract.InspectInput{Question: contract.AskDeviceShow, Device: &contract.DeviceQuery{ID: id}}, lookTimeout)
	var usage usageError
	if errors.As(err, &usage) || c.Err() != nil {
		return err
	}
	if errors.Is(err, errNoAnswer) {
		fmt.Fprintln(a.opts.Err, "no worker answers yet; the remediation waits for one")
		return nil
	}
	return err
}
