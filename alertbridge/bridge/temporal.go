package bridge

import (
	"context"
	"errors"

	"go.temporal.io/api/serviceerror"
	sdkclient "go.temporal.io/sdk/client"

	"edgefleet/internal/temporalx"
)

// Temporal is what the bridge needs of Temporal, and the boundary at which its
// tests stand in. All calls obey the deadline of their context.
type Temporal interface {
	// StartWorkflow returns when Temporal has acknowledged the start, with the
	// ID of the run that goes on, or "" where Temporal did not name it. Started
	// is false when the workflow ID is taken, by a run that goes on or by one
	// that ended well: that is an acknowledgement too.
	StartWorkflow(ctx context.Context, o sdkclient.StartWorkflowOptions, workflowType string, input any) (run string, started bool, err error)
	// SignalWorkflow signals the current run. Found is false when none goes on.
	SignalWorkflow(ctx context.Context, workflowID, signal string, arg any) (found bool, err error)
	// Check says whether Temporal can be worked with, explained.
	Check(ctx context.Context) error
}

// FromConn returns conn as the bridge needs it. The connection stays the
// caller's to close.
func FromConn(conn *temporalx.Conn) Temporal { return connection{conn} }

type connection struct{ conn *temporalx.Conn }

func (c connection) StartWorkflow(ctx context.Context, o sdkclient.StartWorkflowOptions, workflowType string, input any) (string, bool, error) {
	ctx, started := temporalx.WatchStart(ctx)
	run, err := c.conn.Client.ExecuteWorkflow(ctx, o, workflowType, input)
	var taken *serviceerror.WorkflowExecutionAlreadyStarted
	if errors.As(err, &taken) {
		return taken.RunId, false, nil
	}
	if err != nil {
		return "", false, c.conn.Explain(err)
	}
	return run.GetRunID(), started(), nil
}

func (c connection) SignalWorkflow(ctx context.Context, workflowID, signal string, arg any) (bool, error) {
	// An empty run ID is whichever run is current.
	err := c.conn.Client.SignalWorkflow(ctx, workflowID, "", signal, arg)
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		return false, nil
	}
	return err == nil, c.conn.Explain(err)
}

func (c connection) Check(ctx context.Context) error { return c.conn.Check(ctx) }
