package service

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"edgefleet/devices/sim"
	"edgefleet/internal/temporalx"
	"edgefleet/workflows/contract"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// frontend answers like Temporal's, as far as a worker asks: polls wait until
// their caller gives up, because there is no work.
type frontend struct {
	workflowservice.UnimplementedWorkflowServiceServer

	mu         sync.Mutex
	away       error
	attributes map[string]enumspb.IndexedValueType
	listErr    error
	addErr     error
	statuses   map[string]enumspb.WorkflowExecutionStatus
	polled     map[string]bool
	stop       func()
}

type operators struct {
	operatorservice.UnimplementedOperatorServiceServer
	f *frontend
}

func newFrontend(t *testing.T) (*frontend, temporalx.Options) {
	t.Helper()
	f := &frontend{attributes: map[string]enumspb.IndexedValueType{}, polled: map[string]bool{}, statuses: map[string]enumspb.WorkflowExecutionStatus{}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	g := grpc.NewServer()
	workflowservice.RegisterWorkflowServiceServer(g, f)
	operatorservice.RegisterOperatorServiceServer(g, operators{f: f})
	done := make(chan struct{})
	go func() { defer close(done); _ = g.Serve(ln) }()
	f.stop = func() { g.Stop(); <-done }
	t.Cleanup(f.stop)
	return f, temporalx.Options{Address: ln.Addr().String(), Env: noEnv{}}
}

// noEnv keeps the environment of whoever runs the tests out of them.
type noEnv struct{}

func (noEnv) Environ() []string               { return nil }
func (noEnv) LookupEnv(string) (string, bool) { return "", false }

var _ envconfig.EnvLookup = noEnv{}

// wire is an error as it travels.
func wire(err error) error {
	if err == nil {
		return nil
	}
	return serviceerror.ToStatus(err).Err()
}

func (f *frontend) locked(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *frontend) GetSystemInfo(context.Context, *workflowservice.GetSystemInfoRequest) (*workflowservice.GetSystemInfoResponse, error) {
	return &workflowservice.GetSystemInfoResponse{}, nil
}

func (f *frontend) DescribeNamespace(context.Context, *workflowservice.DescribeNamespaceRequest) (*workflowservice.DescribeNamespaceResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &workflowservice.DescribeNamespaceResponse{}, wire(f.away)
}

func (f *frontend) DescribeWorkflowExecution(_ context.Context, r *workflowservice.DescribeWorkflowExecutionRequest) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.away != nil {
		return nil, wire(f.away)
	}
	status, ok := f.statuses[r.GetExecution().GetWorkflowId()+" "+r.GetExecution().GetRunId()]
	if !ok {
		return nil, wire(serviceerror.NewNotFound("no such workflow"))
	}
	return &workflowservice.DescribeWorkflowExecutionResponse{WorkflowExecutionInfo: &workflowpb.WorkflowExecutionInfo{Status: status}}, nil
}

func (f *frontend) PollWorkflowTaskQueue(ctx context.Context, r *workflowservice.PollWorkflowTaskQueueRequest) (*workflowservice.PollWorkflowTaskQueueResponse, error) {
	f.locked(func() { f.polled["workflows of "+r.GetTaskQueue().GetNormalName()+r.GetTaskQueue().GetName()] = true })
	<-ctx.Done()
	return &workflowservice.PollWorkflowTaskQueueResponse{}, nil
}

func (f *frontend) PollActivityTaskQueue(ctx context.Context, r *workflowservice.PollActivityTaskQueueRequest) (*workflowservice.PollActivityTaskQueueResponse, error) {
	f.locked(func() { f.polled["activities of "+r.GetTaskQueue().GetName()] = true })
	<-ctx.Done()
	return &workflowservice.PollActivityTaskQueueResponse{}, nil
}

func (o operators) ListSearchAttributes(context.Context, *operatorservice.ListSearchAttributesRequest) (*operatorservice.ListSearchAttributesResponse, error) {
	o.f.mu.Lock()
	defer o.f.mu.Unlock()
	have := map[string]enumspb.IndexedValueType{}
	for name, t := range o.f.attributes {
		have[name] = t
	}
	return &operatorservice.ListSearchAttributesResponse{CustomAttributes: have}, wire(o.f.listErr)
}

func (o operators) AddSearchAttributes(_ context.Context, r *operatorservice.AddSearchAttributesRequest) (*operatorservice.AddSearchAttributesResponse, error) {
	o.f.mu.Lock()
	defer o.f.mu.Unlock()
	if o.f.addErr != nil {
		return nil, wire(o.f.addErr)
	}
	for name, t := range r.SearchAttributes {
		o.f.attributes[name] = t
	}
	return &operatorservice.AddSearchAttributesResponse{}, nil
}

// queues are those that are polled now, workflows and activities.
func (f *frontend) queues() map[string]bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[string]bool{}
	for q := range f.polled {
		// A sticky queue has a name that the SDK makes up.
		if strings.HasPrefix(q, "activities of ") || strings.HasSuffix(q, " "+contract.TaskQueue) {
			out[q] = true
		}
	}
	return out
}

// closedPort is an address of this machine on which nothing listens.
func closedPort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, ln.Close()) }()
	return ln.Addr().String()
}

// feeder is a simulated device.
func feeder(t *testing.T, id string) *sim.Device {
	t.Helper()
	model, err := sim.FeederRTU(id)
	require.NoError(t, err)
	d, err := sim.Start(sim.Config{ID: id, Model: model, Boot: 20 * time.Millisecond, Init: time.Millisecond})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

const baseline = `name: feeder-standard
version: 7
profile: feeder-rtu
settings: {undervoltage_trip: 85, overcurrent_pickup: 630, report_interval: 60}
`

// fleetDir declares feeders by "id address region"; the reference of region
// north is given, south has none.
func fleetDir(t *testing.T, reference string, feeders ...string) string {
	t.Helper()
	dir := t.TempDir()
	var b strings.Builder
	fmt.Fprintf(&b, `fleet:
  name: plant
  regions: {north: {reference: %q}, south: {}}
  monitoring: true
  tags: {environment: production, "cost-centre": "42"}
  security: {allowed_networks: [127.0.0.0/8]}
devices:
`, reference)
	for _, f := range feeders {
		p := strings.Fields(f)
		fmt.Fprintf(&b, "  - {id: %s, site: s1, region: %s, class: rtu, profile: feeder-rtu, address: %q}\n", p[0], p[2], p[1])
	}
	write(t, filepath.Join(dir, "fleet.yaml"), b.String(), 0o600)
	write(t, filepath.Join(dir, "edge-configs", "standard.yaml"), baseline, 0o600)
	return dir
}

func write(t *testing.T, file, text string, mode os.FileMode) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
	require.NoError(t, os.WriteFile(file, []byte(text), mode))
	require.NoError(t, os.Chmod(file, mode))
	return file
}

// options are those of a worker that could start.
func options(t *testing.T, temporal temporalx.Options) Options {
	t.Helper()
	return Options{
		FleetDir: fleetDir(t, "127.0.0.1:1", "edge-001 127.0.0.1:2 north", "edge-002 127.0.0.1:3 south"),
		StoreURL: "sqlite:" + filepath.Join(t.TempDir(), "store.db"), AdminAddr: "127.0.0.1:0",
		Temporal: temporal, StopTimeout: 5 * time.Second, Watch: WatchDeclared,
	}
}

// names is a registry that remembers the names of what it was given, which a
// metric without a series does not show.
type names struct {
	*prometheus.Registry
	seen map[string]bool
}

func newNames() *names { return &names{prometheus.NewRegistry(), map[string]bool{}} }

var fqName = regexp.MustCompile(`fqName: "(\w+)"`)

func (n *names) MustRegister(list ...prometheus.Collector) {
	for _, c := range list {
		descs := make(chan *prometheus.Desc, 10)
		c.Describe(descs)
		close(descs)
		for d := range descs {
			n.seen[fqName.FindStringSubmatch(d.String())[1]] = true
		}
	}
	n.Registry.MustRegister(list...)
}
