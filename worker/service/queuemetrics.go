package service

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	enumspb "go.temporal.io/api/enums/v1"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.uber.org/zap"

	"edgefleet/internal/temporalx"
	"edgefleet/workflows/contract"
)

// pollerFresh is how long after its last poll a worker counts as one that takes
// work: a poll lasts a minute when there is none.
const pollerFresh = 90 * time.Second

// queueState is what Temporal says of one queue.
type queueState struct {
	queue, region, kind string
	workers             int
	backlog             int64
	age                 time.Duration
}

// queueMetrics show who takes work from the queues of the whole fleet, and what
// waits in them. Every worker asks for the queues of all regions: the one that
// nobody serves has no worker that could tell.
type queueMetrics struct {
	states  cached[[]queueState]
	workers *prometheus.Desc
	backlog *prometheus.Desc
	age     *prometheus.Desc
}

func newQueueMetrics(conn *temporalx.Conn, regions func() []string, logger *zap.Logger, r prometheus.Registerer) *queueMetrics {
	labels := []string{"queue", "region", "type"}
	m := &queueMetrics{
		states: cached[[]queueState]{clock: time.Now, logger: logger, complaint: "Temporal does not tell how its queues stand"},
		workers: prometheus.NewDesc("edgefleet_queue_workers",
			"Processes that took, or asked for, work of the queue in the last 90 seconds.", labels, nil),
		backlog: prometheus.NewDesc("edgefleet_queue_backlog",
			"Tasks that wait in the queue, about.", labels, nil),
		age: prometheus.NewDesc("edgefleet_queue_backlog_age_seconds",
			"For how long the oldest task of the queue waits, about.", labels, nil),
	}
	m.states.ask = func(ctx context.Context) ([]queueState, error) { return askQueues(ctx, conn, regions(), time.Now()) }
	r.MustRegister(m)
	return m
}

// askQueues asks Temporal for the common queue, workflows and activities, and
// for the activities of every region.
func askQueues(ctx context.Context, conn *temporalx.Conn, regions []string, now time.Time) ([]queueState, error) {
	type question struct {
		queue, region string
		kind          enumspb.TaskQueueType
	}
	questions := []question{
		{contract.TaskQueue, "", enumspb.TASK_QUEUE_TYPE_WORKFLOW},
		{contract.TaskQueue, "", enumspb.TASK_QUEUE_TYPE_ACTIVITY},
	}
	for _, region := range regions {
		questions = append(questions, question{contract.RegionQueue(region), region, enumspb.TASK_QUEUE_TYPE_ACTIVITY})
	}
	var states []queueState
	for _, q := range questions {
		answer, err := conn.Client.WorkflowService().DescribeTaskQueue(ctx, &workflowservice.DescribeTaskQueueRequest{
			Namespace: conn.Namespace, TaskQueue: &taskqueuepb.TaskQueue{Name: q.queue}, TaskQueueType: q.kind, ReportStats: true,
		})
		if err != nil {
			return nil, conn.Explain(err)
		}
		s := queueState{queue: q.queue, region: q.region, kind: "activity",
			backlog: answer.GetStats().GetApproximateBacklogCount(), age: answer.GetStats().GetApproximateBacklogAge().AsDuration()}
		if q.kind == enumspb.TASK_QUEUE_TYPE_WORKFLOW {
			s.kind = "workflow"
		}
		polling := map[string]bool{}
		for _, p := range answer.GetPollers() {
			if now.Sub(p.GetLastAccessTime().AsTime()) <= pollerFresh {
				polling[p.GetIdentity()] = true
			}
		}
		s.workers = len(polling)
		states = append(states, s)
	}
	return states, nil
}

// Describe is of prometheus.Collector.
func (m *queueMetrics) Describe(to chan<- *prometheus.Desc) {
	to <- m.workers
	to <- m.backlog
	to <- m.age
}

// Collect is of prometheus.Collector.
func (m *queueMetrics) Collect(to chan<- prometheus.Metric) {
	states, ok := m.states.now()
	if !ok {
		return
	}
	for _, s := range states {
		for desc, value := range map[*prometheus.Desc]float64{
			m.workers: float64(s.workers), m.backlog: float64(s.backlog), m.age: s.age.Seconds(),
		} {
			to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, s.queue, s.region, s.kind)
		}
	}
}

// declaredRegions are all regions of the fleet, whoever serves them.
func (w *Worker) declaredRegions() []string {
	return slices.Sorted(maps.Keys(w.now.Load().declared().Inventory.Regions))
}
