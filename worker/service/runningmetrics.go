package service

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.temporal.io/api/workflowservice/v1"
	"go.uber.org/zap"

	"edgefleet/internal/temporalx"
	"edgefleet/workflows/contract"
)

// watchedWorkflows are the types of which people ask how many are in flight.
func watchedWorkflows() []string {
	return []string{
		contract.WorkflowRemediate, contract.WorkflowOnboard, contract.WorkflowDecommission,
		contract.WorkflowDriftScan, contract.WorkflowRollout, contract.WorkflowRollback,
	}
}

// runningMetrics show how many workflows are in flight in the namespace.
type runningMetrics struct {
	counts  cached[map[string]int64]
	running *prometheus.Desc
}

func newRunningMetrics(conn *temporalx.Conn, logger *zap.Logger, r prometheus.Registerer) *runningMetrics {
	m := &runningMetrics{
		counts: cached[map[string]int64]{clock: time.Now, logger: logger, complaint: "Temporal does not tell how many workflows are in flight"},
		running: prometheus.NewDesc("edgefleet_workflows_running",
			"Workflows in flight, by type: remediate, rollout, and so on.", []string{"type"}, nil),
	}
	m.counts.ask = func(ctx context.Context) (map[string]int64, error) { return countRunning(ctx, conn) }
	r.MustRegister(m)
	return m
}

func countRunning(ctx context.Context, conn *temporalx.Conn) (map[string]int64, error) {
	counts := map[string]int64{}
	for _, workflow := range watchedWorkflows() {
		answer, err := conn.Client.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{
			Namespace: conn.Namespace, Query: fmt.Sprintf("WorkflowType = '%s' AND ExecutionStatus = 'Running'", workflow),
		})
		if err != nil {
			return nil, conn.Explain(err)
		}
		counts[strings.TrimPrefix(workflow, contract.TaskQueue+".")] = answer.GetCount()
	}
	return counts, nil
}

// Describe is of prometheus.Collector.
func (m *runningMetrics) Describe(to chan<- *prometheus.Desc) { to <- m.running }

// Collect is of prometheus.Collector.
func (m *runningMetrics) Collect(to chan<- prometheus.Metric) {
	counts, ok := m.counts.now()
	if !ok {
		return
	}
	for workflow, n := range counts {
		to <- prometheus.MustNewConstMetric(m.running, prometheus.GaugeValue, float64(n), workflow)
	}
}
