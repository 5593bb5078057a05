package workflows

import (
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"edgefleet/workflows/contract"
	"edgefleet/workflows/runbook"
)

// programCache is how many compiled runbooks a worker keeps.
const programCache = 64

// Register registers every workflow under its wire name. The worker, the
// replayer and the tests all use it, so that they cannot disagree.
func Register(r worker.WorkflowRegistry) {
	programs := runbook.NewCache(programCache)
	remediate := func(ctx workflow.Context, in contract.RemediateInput) (contract.RemediateResult, error) {
		return Remediate(ctx, in, programs)
	}
	r.RegisterWorkflowWithOptions(remediate, workflow.RegisterOptions{Name: contract.WorkflowRemediate})
	r.RegisterWorkflowWithOptions(Onboard, workflow.RegisterOptions{Name: contract.WorkflowOnboard})
	r.RegisterWorkflowWithOptions(Decommission, workflow.RegisterOptions{Name: contract.WorkflowDecommission})
	r.RegisterWorkflowWithOptions(DriftScan, workflow.RegisterOptions{Name: contract.WorkflowDriftScan})
	wave := func(ctx workflow.Context, in contract.RolloutWaveInput) (contract.WaveProgress, error) {
		return RolloutWave(ctx, in, programs)
	}
	r.RegisterWorkflowWithOptions(PlanRollout, workflow.RegisterOptions{Name: contract.WorkflowPlanRollout})
	r.RegisterWorkflowWithOptions(Rollout, workflow.RegisterOptions{Name: contract.WorkflowRollout})
	r.RegisterWorkflowWithOptions(wave, workflow.RegisterOptions{Name: contract.WorkflowRolloutWave})
	r.RegisterWorkflowWithOptions(Patch, workflow.RegisterOptions{Name: contract.WorkflowPatch})
	r.RegisterWorkflowWithOptions(Rollback, workflow.RegisterOptions{Name: contract.WorkflowRollback})
	r.RegisterWorkflowWithOptions(Inspect, workflow.RegisterOptions{Name: contract.WorkflowInspect})
}
