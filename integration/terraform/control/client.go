package control

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"edgefleet/internal/temporalx"
	"edgefleet/workflows/contract"
)

// Temporal is what this package needs of a Temporal client.
type Temporal interface {
	ExecuteWorkflow(ctx context.Context, options client.StartWorkflowOptions, workflow any, args ...any) (client.WorkflowRun, error)
	QueryWorkflow(ctx context.Context, workflowID, runID, queryType string, args ...any) (converter.EncodedValue, error)
}

const (
	// askTimeout bounds a question, grace is what Temporal is given beyond it.
	askTimeout = time.Minute
	grace      = 5 * time.Second
	// workTimeout bounds an onboarding and a decommissioning, scanTimeout a
	// look for drift.
	workTimeout = 24 * time.Hour
	scanTimeout = 15 * time.Minute
)

// ErrNoAnswer says that no worker took up a question in its time.
var ErrNoAnswer = errors.New("no worker answered in time: is one running, and one for the devices' region? Its /readyz says what it lacks")

// station starts workflows and asks questions in one person's name.
type station struct {
	temporal Temporal
	user     string
	nonces   atomic.Int64
	explain  func(error) error
}

func (s *station) nonce() string {
	return fmt.Sprintf("tf-%d-%d-%d", time.Now().UnixNano(), os.Getpid(), s.nonces.Add(1))
}

func (s *station) ask(ctx context.Context, in contract.InspectInput) (contract.InspectResult, error) {
	in.By = s.user
	var out contract.InspectResult
	ctx, cancel := context.WithTimeoutCause(ctx, askTimeout+grace, ErrNoAnswer)
	defer cancel()
	run, err := s.temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID:                       contract.InspectID(in.Question, s.nonce()),
		TaskQueue:                contract.TaskQueue,
		WorkflowExecutionTimeout: askTimeout,
		WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		StaticSummary:            in.Question + ", asked by " + in.By + " with Terraform",
	}, contract.WorkflowInspect, in)
	if err == nil {
		err = run.Get(ctx, &out)
	}
	return out, s.plain(ctx, err)
}

// start begins a workflow that outlives the caller.
func (s *station) start(ctx context.Context, id, summary, workflow string, timeout time.Duration, in any) (client.WorkflowRun, error) {
	run, err := s.temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: id, TaskQueue: contract.TaskQueue, WorkflowExecutionTimeout: timeout,
		WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		StaticSummary:         summary,
	}, workflow, in)
	return run, s.plain(ctx, err)
}

func (s *station) actor() contract.Actor {
	return contract.Actor{Kind: contract.ActorOperator, Name: s.user}
}

// plain turns what Temporal says into what a person can act on.
func (s *station) plain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	var app *temporal.ApplicationError
	if errors.As(err, &app) {
		return errors.New(app.Message())
	}
	var timeout *temporal.TimeoutError
	if errors.As(err, &timeout) {
		return ErrNoAnswer
	}
	if s.explain != nil {
		return s.explain(err)
	}
	return err
}

// Connect makes a connection whose errors are explained.
func Connect(ctx context.Context, o temporalx.Options) (*temporalx.Conn, error) {
	return temporalx.Dial(ctx, o)
}
