package bridge_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"

	"edgefleet/alertbridge/bridge"
	"edgefleet/internal/temporalx"
	"edgefleet/workflows/contract"
)

// frontend answers on the wire as Temporal's does for a workflow ID that is
// new, that runs, and that ended well.
type frontend struct {
	workflowservice.UnimplementedWorkflowServiceServer
	mu      sync.Mutex
	running map[string]bool
	ended   map[string]bool
	last    *workflowservice.StartWorkflowExecutionRequest
}

func (f *frontend) GetSystemInfo(context.Context, *workflowservice.GetSystemInfoRequest) (*workflowservice.GetSystemInfoResponse, error) {
	return &workflowservice.GetSystemInfoResponse{}, nil
}

func (f *frontend) DescribeNamespace(context.Context, *workflowservice.DescribeNamespaceRequest) (*workflowservice.DescribeNamespaceResponse, error) {
	return &workflowservice.DescribeNamespaceResponse{}, nil
}

func (f *frontend) StartWorkflowExecution(_ context.Context, r *workflowservice.StartWorkflowExecutionRequest) (*workflowservice.StartWorkflowExecutionResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = r
	if f.ended[r.WorkflowId] {
		return nil, serviceerror.ToStatus(serviceerror.NewWorkflowExecutionAlreadyStarted("ended well", r.RequestId, "run")).Err()
	}
	started := !f.running[r.WorkflowId]
	f.running[r.WorkflowId] = true
	return &workflowservice.StartWorkflowExecutionResponse{RunId: "run", Started: started}, nil
}

func (f *frontend) SignalWorkflowExecution(_ context.Context, r *workflowservice.SignalWorkflowExecutionRequest) (*workflowservice.SignalWorkflowExecutionResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.running[r.WorkflowExecution.WorkflowId] {
		return nil, serviceerror.ToStatus(serviceerror.NewNotFound("workflow execution already completed")).Err()
	}
	return &workflowservice.SignalWorkflowExecutionResponse{}, nil
}

// listen serves f on a free port, or on the address given.
func (f *frontend) listen(t *testing.T, address string) string {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	require.NoError(t, err)
	g := grpc.NewServer()
	workflowservice.RegisterWorkflowServiceServer(g, f)
	done := make(chan struct{})
	go func() { defer close(done); _ = g.Serve(ln) }()
	t.Cleanup(func() { g.Stop(); <-done })
	return ln.Addr().String()
}

func connect(t *testing.T, address string) *temporalx.Conn {
	t.Helper()
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	conn, err := temporalx.NewLazy(temporalx.Options{Address: address})
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	return conn
}

func TestOnTheWireADuplicateIsToldFromAStart(t *testing.T) {
	f := &frontend{running: map[string]bool{}, ended: map[string]bool{idOf("ccc"): true}}
	b := run(t, bridge.Options{Temporal: bridge.FromConn(connect(t, f.listen(t, "127.0.0.1:0")))})
	c := client(t)
	require.Equal(t, bridge.Summary{Started: 1}, post(t, c, b, message(t, offline("a"))).summary)
	require.Equal(t, "Keyword", string(f.last.SearchAttributes.IndexedFields[contract.AttrDeviceID].Metadata["type"]))
	require.Contains(t, string(f.last.UserMetadata.Summary.Data), "remediate a: EdgeDeviceOffline")
	require.Equal(t, bridge.Summary{Duplicates: 1}, post(t, c, b, message(t, offline("a"))).summary, "it runs")
	require.Equal(t, bridge.Summary{Duplicates: 1}, post(t, c, b, message(t, offline("ccc"))).summary, "it ended well")
	require.Equal(t, bridge.Summary{Signalled: 1}, post(t, c, b, message(t, offline("a").with("status", "resolved"))).summary)
	require.Equal(t, 200, post(t, c, b, message(t, offline("dddd").with("status", "resolved"))).code)
}

func TestTheBridgeStartsWhileTemporalIsDownAndRecoversWithIt(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := ln.Addr().String()
	require.NoError(t, ln.Close())

	b := run(t, bridge.Options{Temporal: bridge.FromConn(connect(t, address)), CallTimeout: 300 * time.Millisecond})
	c := client(t)
	require.Equal(t, 200, get(t, c, "http://"+b.Addr()+"/healthz").code)
	require.Equal(t, 503, get(t, c, "http://"+b.Addr()+"/readyz").code)
	got := post(t, c, b, message(t, offline("a"), offline("bb")))
	require.Equal(t, 503, got.code)
	require.Equal(t, 2, got.summary.Failed)
	require.Contains(t, got.summary.Error, "Temporal at "+address+" does not answer")

	f := &frontend{running: map[string]bool{}}
	f.listen(t, address)
	require.Eventually(t, func() bool {
		return post(t, c, b, message(t, offline("a"), offline("bb"))).code == 200
	}, 30*time.Second, 50*time.Millisecond)
	require.Eventually(t, func() bool { return get(t, c, "http://"+b.Addr()+"/readyz").code == 200 }, 30*time.Second, 50*time.Millisecond)
	require.Len(t, f.running, 2)
}
