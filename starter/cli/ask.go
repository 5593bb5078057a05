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

	"edgefleet/internal/temporalx"
	"edgefleet/workflows/contract"
)

const (
	// askTimeout bounds a question: when no worker runs, nobody waits for long.
	askTimeout = 2 * time.Minute
	// patience is how long nothing may happen before the reader is told what
	// is waited for.
	patience = 3 * time.Second
	// grace is what Temporal itself is given beyond a question's time, so that
	// its word that the time is over comes before ours.
	grace = 5 * time.Second
	// pollAge is when a worker that has not polled is taken for gone: a poll
	// waits for a minute at most.
	pollAge = 90 * time.Second
)

const flagTimeout = "timeout"

func timeoutFlag() cli.Flag {
	return &cli.DurationFlag{Name: flagTimeout, Value: askTimeout, EnvVars: []string{"EDGEFLEET_TIMEOUT"},
		Usage: "give up after this `DURATION` without an answer, 1s to 2m"}
}

func checkTimeout(c *cli.Context) error {
	if d := c.Duration(flagTimeout); d < time.Second || d > askTimeout {
		return usagef("--timeout %v: want 1s to 2m", d)
	}
	return nil
}

// errNoAnswer says that nobody took up a question in its time.
var errNoAnswer = errors.New("no worker answered in time: is one running, and one for the device's region? Its /readyz says what it lacks")

// ask puts one question to the workers.
func (a *App) ask(c *cli.Context, in contract.InspectInput) (contract.InspectResult, error) {
	if err := checkTimeout(c); err != nil {
		return contract.InspectResult{}, err
	}
	t, err := a.dial(c)
	if err != nil {
		return contract.InspectResult{}, err
	}
	defer t.Close()
	return a.askOver(c.Context, t, in, c.Duration(flagTimeout))
}

func (a *App) askOver(ctx context.Context, t Temporal, in contract.InspectInput, timeout time.Duration) (contract.InspectResult, error) {
	in.By = a.opts.User
	var out contract.InspectResult
	ctx, cancel := context.WithTimeoutCause(ctx, timeout+grace, errNoAnswer)
	defer cancel()
	run, err := t.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID:                       contract.InspectID(in.Question, a.opts.Nonce()),
		TaskQueue:                contract.TaskQueue,
		WorkflowExecutionTimeout: timeout,
		WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		StaticSummary:            in.Question + ", asked by " + in.By,
	}, contract.WorkflowInspect, in)
	if err != nil {
		return out, explain(ctx, err)
	}
	defer a.tellWaiting(ctx, t)()
	if err := run.Get(ctx, &out); err != nil {
		return out, explain(ctx, err)
	}
	if !answered(in.Question, out) {
		return out, fmt.Errorf("the worker gave no answer to %s: it is of another version than this command line", in.Question)
	}
	return out, nil
}

// answered says whether the field of the question's answer is set; an empty
// list may travel as nothing.
func answered(question string, out contract.InspectResult) bool {
	switch question {
	case contract.AskDeviceShow:
		return out.Device != nil
	case contract.AskDeviceProbe:
		return out.Network != nil
	case contract.AskDeviceDrift:
		return out.Drift != nil
	case contract.AskDeviceFingerprint:
		return out.Fingerprint != nil
	case contract.AskIncidentShow:
		return out.Incident != nil
	case contract.AskAuditList:
		return out.Audit != nil
	case contract.AskAuditVerify:
		return out.Verdict != nil
	case contract.AskRegistryList:
		return out.Registry != nil
	case contract.AskDriftReport:
		return out.Evidence != nil
	case contract.AskPatchReport:
		return out.Patches != nil
	case contract.AskRolloutPlan:
		return out.RolloutPlan != nil
	case contract.AskRolloutDevices:
		return out.RolloutDevices != nil
	}
	return true
}

// tellWaiting says what is waited for when that takes long, once. The function
// that it returns ends it, and returns when nothing more will be written.
func (a *App) tellWaiting(ctx context.Context, t Temporal) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		timer := time.NewTimer(a.opts.Patience)
		defer timer.Stop()
		select {
		case <-ctx.Done():
		case <-timer.C:
			if word := whoIsMissing(ctx, t); ctx.Err() == nil {
				fmt.Fprintln(a.opts.Err, word)
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// whoIsMissing asks Temporal whether anybody takes up work. It cannot tell of
// a region's worker, because only a worker knows the device's region.
func whoIsMissing(ctx context.Context, t Temporal) string {
	const waiting = "still waiting for a worker…"
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	queue, err := t.DescribeTaskQueue(ctx, contract.TaskQueue, enumspb.TASK_QUEUE_TYPE_WORKFLOW)
	if err != nil {
		return waiting
	}
	for _, p := range queue.GetPollers() {
		if time.Since(p.GetLastAccessTime().AsTime()) < pollAge {
			return waiting
		}
	}
	return waiting + " none has asked for work lately: start one, or check --temporal-namespace"
}

// explain turns what Temporal says into what a person can act on. An end of
// ctx goes first: it is the cause of whatever else is said.
func explain(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
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
		return errNoAnswer
	}
	var missing *serviceerror.NamespaceNotFound
	if errors.As(err, &missing) {
		return fmt.Errorf("Temporal has no namespace %q; check --%s or TEMPORAL_NAMESPACE", missing.Namespace, temporalx.FlagNamespace)
	}
	var denied *serviceerror.PermissionDenied
	if errors.As(err, &denied) {
		return fmt.Errorf("Temporal refuses these credentials: %s; check TEMPORAL_API_KEY and TEMPORAL_TLS_*", denied.Message)
	}
	if temporalx.Away(err) {
		return fmt.Errorf("cannot reach Temporal: %w; check --%s or TEMPORAL_ADDRESS", err, temporalx.FlagAddress)
	}
	return err
}
