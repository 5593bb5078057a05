package temporalx

import (
	"context"
	"sync/atomic"

	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
)

type startKey struct{}

// WatchStart returns a context for one ExecuteWorkflow, and a function that
// says afterwards whether the server started a new run for it.
//
// Under the conflict policy "use existing" the SDK answers alike for a new run
// and for one that was running already; only the server's reply tells them
// apart, so the connection reads it on its way. A retry of the same call that
// finds the run which its own first attempt started counts as a start.
func WatchStart(ctx context.Context) (context.Context, func() bool) {
	started := new(atomic.Bool)
	return context.WithValue(ctx, startKey{}, started), started.Load
}

func observeStart(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	err := invoke(ctx, method, req, reply, cc, opts...)
	if err != nil {
		return err
	}
	if watched, ok := ctx.Value(startKey{}).(*atomic.Bool); ok {
		if response, ok := reply.(*workflowservice.StartWorkflowExecutionResponse); ok {
			watched.Store(response.GetStarted())
		}
	}
	return nil
}
