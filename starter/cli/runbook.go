package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"edgefleet/workflows/contract"
)

func (a *App) runbookCommand() *cli.Command {
	return &cli.Command{
		Name:  "runbook",
		Usage: "check, plan, test and run runbooks",
		Subcommands: []*cli.Command{
			a.lintCommand(), a.planCommand(), a.testCommand(),
			{Name: "run", Usage: "run a runbook of this machine for a device; its source travels with it", ArgsUsage: "FILE FUNCTION DEVICE",
				Flags: watchFlags(), Action: a.runbookRun},
			{Name: "approve", Usage: "answer an approval gate", ArgsUsage: "WORKFLOW-ID GATE",
				Flags: []cli.Flag{timeoutFlag(),
					&cli.BoolFlag{Name: "refuse", Usage: "refuse instead of approve"},
					&cli.StringFlag{Name: "note", Usage: "`TEXT` that says why, for the ledger"}},
				Action: a.runbookApprove},
		},
	}
}

func (a *App) runbookRun(c *cli.Context) error {
	if err := firstError(wantArgs(c, 3), checkOutput(c)); err != nil {
		return err
	}
	file := c.Args().Get(0)
	source, err := os.ReadFile(file)
	if err != nil {
		return usageError{err}
	}
	if err := a.lintOrRefuse(file, string(source), c.Args().Get(1)); err != nil {
		return err
	}
	return a.remediate(c, c.Args().Get(2), contract.RunbookRef{
		Path: filepath.Base(file), Function: c.Args().Get(1), Source: string(source)})
}

func (a *App) runbookApprove(c *cli.Context) error {
	if err := firstError(wantArgs(c, 2), checkTimeout(c)); err != nil {
		return err
	}
	t, err := a.dial(c)
	if err != nil {
		return err
	}
	defer t.Close()
	decision := contract.Decision{Gate: c.Args().Get(1), Approved: !c.Bool("refuse"), By: a.opts.User, Note: c.String("note")}
	if err := a.decide(c, t, c.Args().Get(0), decision); err != nil {
		return err
	}
	word := "approved"
	if !decision.Approved {
		word = "refused"
	}
	fmt.Fprintf(a.opts.Out, "%s %s of %s\n", word, oneLine(decision.Gate), oneLine(c.Args().Get(0)))
	return nil
}

// errNotDecided is errNoAnswer for a decision: without a worker it is nowhere.
var errNotDecided = errors.New("no worker took the decision, so nothing is decided: is one running? Ask again when it is")

func (a *App) decide(c *cli.Context, t Temporal, workflowID string, decision contract.Decision) error {
	ctx, cancel := context.WithTimeoutCause(c.Context, c.Duration(flagTimeout), errNotDecided)
	defer cancel()
	defer a.tellWaiting(ctx, t)()
	handle, err := t.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID: workflowID, UpdateName: contract.UpdateDecide,
		Args: []any{decision}, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err == nil {
		err = handle.Get(ctx, nil)
	}
	var gone *serviceerror.NotFound
	if errors.As(err, &gone) {
		return usagef("no workflow %q is running, so nothing waits for a decision", workflowID)
	}
	if err != nil {
		return explain(ctx, err)
	}
	return nil
}
