package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"edgefleet/workflows/contract"
)

// askTimeout bounds a question: when no worker runs, nobody waits for long.
const askTimeout = 2 * time.Minute

// ask puts one question to the workers.
func (a *App) ask(c *cli.Context, in contract.InspectInput) (contract.InspectResult, error) {
	t, err := a.dial(c)
	if err != nil {
		return contract.InspectResult{}, err
	}
	defer t.Close()
	return a.askOver(c.Context, t, in)
}

func (a *App) askOver(ctx context.Context, t Temporal, in contract.InspectInput) (contract.InspectResult, error) {
	in.By = a.opts.User
	var out contract.InspectResult
	run, err := t.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID:                       contract.InspectID(in.Question, a.opts.Nonce()),
		TaskQueue:                contract.TaskQueue,
		WorkflowExecutionTimeout: askTimeout,
		WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		StaticSummary:            in.Question + ", asked by " + in.By,
	}, contract.WorkflowInspect, in)
	if err != nil {
		return out, explain(err)
	}
	if err := run.Get(ctx, &out); err != nil {
		return out, explain(err)
	}
	return out, nil
}

// explain turns what Temporal says into what a person can act on.
func explain(err error) error {
	var app *temporal.ApplicationError
	if errors.As(err, &app) {
		switch app.Type() {
		case contract.ErrUnknownDevice, contract.ErrNotFound, contract.ErrConfig:
			return usageError{errors.New(app.Message())}
		}
		return errors.New(app.Message())
	}
	var timeout *temporal.TimeoutError
	if errors.As(err, &timeout) {
		return fmt.Errorf("no worker answered: is one running for this region? (%s)", timeout.Error())
	}
	var unavailable *serviceerror.Unavailable
	if errors.As(err, &unavailable) {
		return fmt.Errorf("cannot reach Temporal: %s; check --temporal-address or TEMPORAL_ADDRESS", unavailable.Message)
	}
	return err
}
