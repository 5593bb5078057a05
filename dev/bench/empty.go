package bench

import (
	"context"
	"time"

	"go.temporal.io/sdk/activity"
	sdkworker "go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"edgefleet/internal/temporalx"
)

const (
	emptyQueue    = "bench"
	emptyWorkflow = "bench.empty"
	emptyActivity = "bench.nothing"
)

// startEmpty starts a worker, set up as edgefleet's, for workflows of empty
// activities.
func startEmpty(conn *temporalx.Conn) (stop func(), err error) {
	w := sdkworker.New(conn.Client, emptyQueue, sdkworker.Options{
		MaxConcurrentActivityExecutionSize: 100, MaxConcurrentActivityTaskPollers: 10,
		MaxConcurrentWorkflowTaskExecutionSize: 100, MaxConcurrentWorkflowTaskPollers: 10,
		// Eager dispatch is not to be had over several queues, as edgefleet's
		// device activities are.
		DisableEagerActivities: true,
	})
	w.RegisterWorkflowWithOptions(empty, workflow.RegisterOptions{Name: emptyWorkflow})
	w.RegisterActivityWithOptions(func(context.Context) error { return nil }, activity.RegisterOptions{Name: emptyActivity})
	return w.Stop, w.Start()
}

func empty(ctx workflow.Context, activities int) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
	for range activities {
		if err := workflow.ExecuteActivity(ctx, emptyActivity).Get(ctx, nil); err != nil {
			return err
		}
	}
	return nil
}
