package engine_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	sdkclient "go.temporal.io/sdk/client"
	sdkworker "go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"golang.org/x/sync/errgroup"

	"edgefleet/dev/engine"
)

// fourActivities has the shape of a remediation: four activities in sequence.
func fourActivities(ctx workflow.Context) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 10 * time.Second})
	for range 4 {
		if err := workflow.ExecuteActivity(ctx, "echo", "x").Get(ctx, nil); err != nil {
			return err
		}
	}
	return nil
}

func BenchmarkReady(b *testing.B) {
	for b.Loop() {
		e, err := engine.New(engine.Options{DataDir: b.TempDir(), FrontendAddr: "127.0.0.1:0", UIAddr: "127.0.0.1:0"})
		require.NoError(b, err)
		begin := time.Now()
		require.NoError(b, e.Start(context.Background()))
		ready := time.Since(begin)
		begin = time.Now()
		require.NoError(b, e.Stop())
		b.ReportMetric(float64(ready.Milliseconds()), "ready-ms")
		b.ReportMetric(float64(time.Since(begin).Milliseconds()), "stop-ms")
	}
}

// BenchmarkWorkflow tells the latency of one workflow of four activities at a
// time, and the throughput of 64 at once, with every acknowledged step on the
// disk.
func BenchmarkWorkflow(b *testing.B) {
	e := start(b, engine.Options{DataDir: b.TempDir(), NoUI: true})
	c := dial(b, e)
	w := sdkworker.New(c, queue, sdkworker.Options{MaxConcurrentWorkflowTaskPollers: 8, MaxConcurrentActivityTaskPollers: 8})
	w.RegisterWorkflow(fourActivities)
	w.RegisterActivityWithOptions(echo, activity.RegisterOptions{Name: "echo"})
	require.NoError(b, w.Start())
	b.Cleanup(w.Stop)
	for _, inFlight := range []int{1, 64} {
		b.Run(fmt.Sprintf("in flight %d", inFlight), func(b *testing.B) {
			var group errgroup.Group
			group.SetLimit(inFlight)
			begin := time.Now()
			b.ResetTimer()
			for range b.N {
				group.Go(func() error {
					run, err := c.ExecuteWorkflow(context.Background(), sdkclient.StartWorkflowOptions{TaskQueue: queue}, fourActivities)
					if err != nil {
						return err
					}
					return run.Get(context.Background(), nil)
				})
			}
			require.NoError(b, group.Wait())
			b.ReportMetric(float64(b.N)/time.Since(begin).Seconds(), "workflows/s")
		})
	}
}
