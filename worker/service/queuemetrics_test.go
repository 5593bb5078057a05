package service

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"edgefleet/workflows/contract"
)

func (f *frontend) DescribeTaskQueue(_ context.Context, r *workflowservice.DescribeTaskQueueRequest) (*workflowservice.DescribeTaskQueueResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.away != nil {
		return nil, wire(f.away)
	}
	poll := func(identity string, ago time.Duration) *taskqueuepb.PollerInfo {
		return &taskqueuepb.PollerInfo{Identity: identity, LastAccessTime: timestamppb.New(time.Now().Add(-ago))}
	}
	answer := &workflowservice.DescribeTaskQueueResponse{Stats: &taskqueuepb.TaskQueueStats{}}
	switch r.GetTaskQueue().GetName() {
	case "edgefleet":
		answer.Pollers = []*taskqueuepb.PollerInfo{poll("1@a", 0), poll("2@b", time.Minute)}
	case "edgefleet.north":
		answer.Pollers = []*taskqueuepb.PollerInfo{poll("1@a", 0), poll("gone@c", 4*time.Minute)}
	case "edgefleet.south":
		answer.Stats = &taskqueuepb.TaskQueueStats{ApproximateBacklogCount: 7, ApproximateBacklogAge: durationpb.New(90 * time.Second)}
	}
	return answer, nil
}

func TestEveryWorkerTellsOfTheQueuesOfAllRegions(t *testing.T) {
	_, temporal := newFrontend(t)
	o := options(t, temporal)
	o.Regions = []string{"north"}
	_, body := fetch(t, started(t, o), "/metrics")
	for _, line := range []string{
		`edgefleet_queue_workers{queue="edgefleet",region="",type="workflow"} 2`,
		`edgefleet_queue_workers{queue="edgefleet",region="",type="activity"} 2`,
		`edgefleet_queue_workers{queue="edgefleet.north",region="north",type="activity"} 1`,
		`edgefleet_queue_workers{queue="edgefleet.south",region="south",type="activity"} 0`,
		`edgefleet_queue_backlog{queue="edgefleet.south",region="south",type="activity"} 7`,
		`edgefleet_queue_backlog_age_seconds{queue="edgefleet.south",region="south",type="activity"} 90`,
	} {
		require.Contains(t, body, line+"\n")
	}
}

func TestQueuesOfWhichNothingIsKnownHaveNoSeries(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	registry, now, asked := prometheus.NewRegistry(), time.Unix(1_700_000_000, 0), 0
	m := newQueueMetrics(nil, nil, zap.New(core), registry)
	away := errors.New("away")
	m.states.clock = func() time.Time { return now }
	m.states.ask = func(context.Context) ([]queueState, error) {
		asked++
		if away != nil {
			return nil, away
		}
		return []queueState{{queue: "edgefleet", kind: "workflow", workers: 1}}, nil
	}
	shows := func(want int) {
		t.Helper()
		families, err := registry.Gather()
		require.NoError(t, err)
		n := 0
		for _, f := range families {
			require.True(t, strings.HasPrefix(f.GetName(), "edgefleet_queue_"))
			n += len(f.GetMetric())
		}
		require.Equal(t, want, n)
	}
	shows(0)
	now = now.Add(cachedFresh)
	shows(0)
	require.Equal(t, 1, logs.Len(), "it is told once")
	away, now = nil, now.Add(cachedFresh)
	shows(3)
	now = now.Add(cachedFresh - 1)
	shows(3)
	require.Equal(t, 3, asked, "scrapes share an answer for a while")
}

func (f *frontend) CountWorkflowExecutions(_ context.Context, r *workflowservice.CountWorkflowExecutionsRequest) (*workflowservice.CountWorkflowExecutionsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.away != nil {
		return nil, wire(f.away)
	}
	answer := &workflowservice.CountWorkflowExecutionsResponse{}
	if r.GetQuery() == "WorkflowType = 'edgefleet.rollout' AND ExecutionStatus = 'Running'" {
		answer.Count = 3
	}
	return answer, nil
}

func TestWorkflowsInFlightAreCountedByType(t *testing.T) {
	_, temporal := newFrontend(t)
	_, body := fetch(t, started(t, options(t, temporal)), "/metrics")
	require.Contains(t, body, `edgefleet_workflows_running{type="rollout"} 3`+"\n")
	require.Contains(t, body, `edgefleet_workflows_running{type="remediate"} 0`+"\n")
}

// A type that nobody counts is one of which nobody sees that it hangs.
func TestEveryWorkflowThatTheWorkerRegistersIsCounted(t *testing.T) {
	_, temporal := newFrontend(t)
	_, body := fetch(t, started(t, options(t, temporal)), "/metrics")
	readme := read(t, "../README.md")
	line := readme[strings.Index(readme, "| `edgefleet_workflows_running` |"):]
	line, _, _ = strings.Cut(line, "\n")
	types := workflowTypes()
	require.Contains(t, types, contract.WorkflowPatch)
	for _, workflow := range types {
		require.Contains(t, body, `edgefleet_workflows_running{type="`+shortType(workflow)+`"}`)
		require.Contains(t, line, "`"+shortType(workflow)+"`", "the reference names every type")
	}
	require.Equal(t, len(types), strings.Count(body, "\nedgefleet_workflows_running{"))
}
