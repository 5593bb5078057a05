package cli_test

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/timestamppb"

	"edgefleet/internal/temporalx"
	"edgefleet/starter/cli"
	"edgefleet/workflows/contract"
)

func TestMain(m *testing.M) {
	// The timeline is shown in the reader's time zone.
	time.Local = time.UTC
	goleak.VerifyTestMain(m)
}

// fakeTemporal answers as the engine with its workers would. Values travel
// through the SDK's converter, as they do on the wire.
type fakeTemporal struct {
	mu sync.Mutex

	// What was asked of it.
	dialled temporalx.Options
	asked   []contract.InspectInput
	options []client.StartWorkflowOptions
	started []contract.RemediateInput
	onboard []contract.OnboardInput
	removed []contract.DecommissionInput
	scan    []contract.DriftScanInput
	queried []string
	updates []client.UpdateWorkflowOptions
	queries int
	closed  int

	// What it answers. hold, when it is set, is received from before a
	// workflow ends.
	answer    func(contract.InspectInput) (contract.InspectResult, error)
	ends      []error
	result    contract.RemediateResult
	progress  []contract.Progress
	onboards  []contract.OnboardProgress
	onboarded contract.OnboardProgress
	// removals are the end of a decommissioning.
	removals    contract.DecommissionProgress
	removalEnds []error
	scans       []contract.DriftScanProgress
	scanned     contract.DriftScanProgress
	// scanning makes what is watched a scan, and not an onboarding.
	scanning  bool
	schedules *fakeSchedules
	startErr  error
	updateErr error
	decideErr error
	polled    *time.Time
	hold      chan struct{}
	// seen is closed when all of progress was asked for: a run that has some
	// ends only then.
	seen chan struct{}
}

func (f *fakeTemporal) ExecuteWorkflow(_ context.Context, o client.StartWorkflowOptions, workflow any, args ...any) (client.WorkflowRun, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.options = append(f.options, o)
	switch workflow {
	case contract.WorkflowInspect:
		in := args[0].(contract.InspectInput)
		f.asked = append(f.asked, in)
		if f.answer == nil {
			return &fakeRun{f: f, id: o.ID, value: everything()}, nil
		}
		out, err := f.answer(in)
		return &fakeRun{f: f, id: o.ID, value: out, errs: []error{err}, held: in.Question != contract.AskDeviceShow && in.Question != contract.AskRegistryList}, nil
	case contract.WorkflowRemediate:
		if f.startErr != nil {
			return nil, f.startErr
		}
		f.started = append(f.started, args[0].(contract.RemediateInput))
		f.seen = make(chan struct{})
		return &fakeRun{f: f, id: o.ID, value: f.result, errs: f.ends, held: true}, nil
	}
	if workflow == contract.WorkflowDecommission {
		if f.startErr != nil {
			return nil, f.startErr
		}
		f.removed = append(f.removed, args[0].(contract.DecommissionInput))
		return &fakeRun{f: f, id: o.ID, value: f.removals, errs: f.removalEnds}, nil
	}
	if workflow == contract.WorkflowOnboard {
		if f.startErr != nil {
			return nil, f.startErr
		}
		f.onboard = append(f.onboard, args[0].(contract.OnboardInput))
		return f.watch(o.ID), nil
	}
	if workflow == contract.WorkflowDriftScan {
		if f.startErr != nil {
			return nil, f.startErr
		}
		f.scan = append(f.scan, args[0].(contract.DriftScanInput))
		return f.watch(o.ID), nil
	}
	panic("no such workflow")
}

func (f *fakeTemporal) GetWorkflow(_ context.Context, id, _ string) client.WorkflowRun {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.watch(id)
}

// watch is an onboarding, or a scan, that runs.
func (f *fakeTemporal) watch(id string) client.WorkflowRun {
	f.seen = make(chan struct{})
	var value any = f.onboarded
	if f.scanning {
		value = f.scanned
	}
	return &fakeRun{f: f, id: id, value: value, errs: f.ends, held: true}
}

// looks counts the answers to the progress query.
func (f *fakeTemporal) looks() int { return max(len(f.progress), len(f.onboards), len(f.scans)) }

func (f *fakeTemporal) QueryWorkflow(_ context.Context, _, runID, query string, _ ...any) (converter.EncodedValue, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if query != contract.QueryProgress {
		panic("no such query")
	}
	f.queried = append(f.queried, runID)
	if f.looks() == 0 {
		return nil, serviceerror.NewDeadlineExceeded("no worker took the query")
	}
	var p any
	switch n := min(f.queries, f.looks()-1); {
	case len(f.scans) > 0:
		p = f.scans[n]
	case len(f.onboards) > 0:
		p = f.onboards[n]
	default:
		p = f.progress[n]
	}
	if f.queries++; f.queries == f.looks() {
		close(f.seen)
	}
	payloads, err := converter.GetDefaultDataConverter().ToPayloads(p)
	return client.NewValue(payloads), err
}

func (f *fakeTemporal) UpdateWorkflow(ctx context.Context, o client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error) {
	f.mu.Lock()
	f.updates = append(f.updates, o)
	f.mu.Unlock()
	if f.hold != nil {
		select {
		case <-f.hold:
		case <-ctx.Done():
			return nil, client.NewWorkflowUpdateServiceTimeoutOrCanceledError(ctx.Err())
		}
	}
	return fakeUpdate{id: o.WorkflowID, err: f.decideErr}, f.updateErr
}

func (f *fakeTemporal) ScheduleClient() client.ScheduleClient { return f.schedules }

func (f *fakeTemporal) DescribeTaskQueue(_ context.Context, _ string, _ enumspb.TaskQueueType) (*workflowservice.DescribeTaskQueueResponse, error) {
	out := &workflowservice.DescribeTaskQueueResponse{}
	if f.polled != nil {
		out.Pollers = append(out.Pollers, &taskqueuepb.PollerInfo{LastAccessTime: timestamppb.New(*f.polled)})
	}
	return out, nil
}

func (f *fakeTemporal) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed++
}

// fakeRun ends with the next of its errors at each Get, the last one for ever,
// or with its value.
type fakeRun struct {
	f     *fakeTemporal
	id    string
	value any
	errs  []error
	held  bool
}

func (r *fakeRun) GetID() string    { return r.id }
func (r *fakeRun) GetRunID() string { return "the-run" }

func (r *fakeRun) GetFirstExecutionRunID() string { return "the-run" }

func (r *fakeRun) Get(ctx context.Context, into any) error {
	if r.held && r.f.hold != nil {
		select {
		case <-r.f.hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if r.held && r.f.looks() > 0 {
		select {
		case <-r.f.seen:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if len(r.errs) > 0 {
		err := r.errs[0]
		if len(r.errs) > 1 {
			r.errs = r.errs[1:]
		}
		if err != nil {
			return err
		}
	}
	payloads, err := converter.GetDefaultDataConverter().ToPayloads(r.value)
	if err != nil {
		return err
	}
	return converter.GetDefaultDataConverter().FromPayloads(payloads, into)
}

func (r *fakeRun) GetWithOptions(ctx context.Context, into any, _ client.WorkflowRunGetOptions) error {
	return r.Get(ctx, into)
}

type fakeUpdate struct {
	id  string
	err error
}

func (u fakeUpdate) WorkflowID() string             { return u.id }
func (u fakeUpdate) RunID() string                  { return "the-run" }
func (u fakeUpdate) UpdateID() string               { return "the-update" }
func (u fakeUpdate) Get(context.Context, any) error { return u.err }

// output is a buffer that a test may read while the command line writes.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// session is one call of the command line.
type session struct {
	t        *testing.T
	temporal *fakeTemporal
	out, err output
	options  cli.Options
}

func newSession(t *testing.T, f *fakeTemporal) *session {
	t.Helper()
	for _, name := range []string{"EDGEFLEET_OUTPUT", "EDGEFLEET_TIMEOUT", "EDGEFLEET_TEMPORAL_ADDRESS", "EDGEFLEET_TEMPORAL_NAMESPACE"} {
		t.Setenv(name, "")
	}
	s := &session{t: t, temporal: f}
	s.options = cli.Options{
		Out: &s.out, Err: &s.err, User: "kim", Poll: time.Millisecond, Patience: time.Hour,
		Nonce: func() string { return "nonce" },
		Dial:  dialTo(f),
	}
	return s
}

func dialTo(f *fakeTemporal) func(context.Context, temporalx.Options) (cli.Temporal, error) {
	return func(_ context.Context, o temporalx.Options) (cli.Temporal, error) {
		f.dialled = o
		return f, nil
	}
}

func (s *session) run(args ...string) int { return s.runContext(context.Background(), args...) }

func (s *session) runContext(ctx context.Context, args ...string) int {
	return cli.New(s.options).Run(ctx, append([]string{"edgefleet"}, args...))
}

// until waits for text on stderr.
func (s *session) until(text string) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return bytes.Contains([]byte(s.err.String()), []byte(text)) },
		10*time.Second, time.Millisecond, "stderr never had %q", text)
}
