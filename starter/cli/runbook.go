package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"
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
				Flags: []cli.Flag{
					&cli.BoolFlag{Name: "refuse", Usage: "refuse instead of approve"},
					&cli.StringFlag{Name: "note", Usage: "why, for the ledger"}},
				Action: a.runbookApprove},
		},
	}
}

func (a *App) runbookRun(c *cli.Context) error {
	if c.Args().Len() != 3 {
		return usagef("runbook run: want FILE FUNCTION DEVICE, got %d arguments", c.Args().Len())
	}
	if err := checkOutput(c); err != nil {
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
	if c.Args().Len() != 2 {
		return usagef("runbook approve: want WORKFLOW-ID GATE, got %d arguments", c.Args().Len())
	}
	t, err := a.dial(c)
	if err != nil {
		return err
	}
	defer t.Close()
	decision := contract.Decision{Gate: c.Args().Get(1), Approved: !c.Bool("refuse"), By: a.opts.User, Note: c.String("note")}
	handle, err := t.UpdateWorkflow(c.Context, client.UpdateWorkflowOptions{
		WorkflowID: c.Args().Get(0), UpdateName: contract.UpdateDecide,
		Args: []any{decision}, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err == nil {
		err = handle.Get(c.Context, nil)
	}
	if err != nil {
		return explain(err)
	}
	word := "approved"
	if !decision.Approved {
		word = "refused"
	}
	fmt.Fprintf(a.opts.Out, "%s %s of %s\n", word, decision.Gate, c.Args().Get(0))
	return nil
}
