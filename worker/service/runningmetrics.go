package service

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/workflow"
	"go.uber.org/zap"

	"edgefleet/internal/temporalx"
	"edgefleet/workflows"
	"edgefleet/workflows/contract"
)

// registered collects the types of the workflows that a worker registers. It is
// a worker.WorkflowRegistry, so that no type can be left out of what is counted.
type registered struct{ types []string }

// RegisterWorkflow is of worker.WorkflowRegistry.
func (*registered) RegisterWorkflow(any) { panic("service: a workflow without a name of its own") }

// RegisterWorkflowWithOptions is of worker.WorkflowRegistry.
func (r *registered) RegisterWorkflowWithOptions(_ any, o workflow.RegisterOptions) {
	r.types = append(r.types, o.Name)
}

// RegisterDynamicWorkflow is of worker.WorkflowRegistry.
func (*registered) RegisterDynamicWorkflow(any, workflow.DynamicRegisterOptions) {
	panic("service: a workflow without a name")
}

// workflowTypes are the wire names of all workflows that a worker runs.
func workflowTypes() []string {
	r := &registered{}
	workflows.Register(r)
	return r.types
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
	types := workflowTypes()
	m.counts.ask = func(ctx context.Context) (map[string]int64, error) { return countRunning(ctx, conn, types) }
	r.MustRegister(m)
	return m
}

func countRunning(ctx context.Context, conn *temporalx.Conn, types []string) (map[string]int64, error) {
	counts := map[string]int64{}
	for _, workflow := range types {
		answer, err := conn.Client.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{
			Namespace: conn.Namespace, Query: fmt.Sprintf("WorkflowType = '%s' AND ExecutionStatus = 'Running'", workflow),
		})
		if err != nil {
			return nil, conn.Explain(err)
		}
		counts[shortType(workflow)] = answer.GetCount()
	}
	return counts, nil
}

// shortType is the label of a workflow type.
func shortType(workflow string) string { return strings.TrimPrefix(workflow, contract.TaskQueue+".") }

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
