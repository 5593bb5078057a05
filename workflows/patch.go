package workflows

import (
	"fmt"
	"strings"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"edgefleet/workflows/contract"
)

// Patch is what a schedule runs: it plans a patch, and carries the plan out as
// every other one, in a rollout of its own that waits for an approval. It ends
// when the rollout does, so that a schedule does not begin the next one beside
// it. Pausing, approving and rolling back is done to the rollout.
func Patch(ctx workflow.Context, in contract.PatchInput) (contract.PatchResult, error) {
	if err := refusePatch(in); err != nil {
		return contract.PatchResult{}, temporal.NewNonRetryableApplicationError(err.Error(), contract.ErrConfig, nil)
	}
	var planned contract.PlanProgress
	planning := workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		// Who starts the same run again makes another plan.
		WorkflowID:          contract.PlanRolloutID(workflow.GetInfo(ctx).WorkflowExecution.RunID),
		WaitForCancellation: true, ParentClosePolicy: parentCloses,
		StaticSummary: fmt.Sprintf("plan the patch %s: %s", in.Plan.Patch, in.Plan.Reason),
	})
	if err := workflow.ExecuteChildWorkflow(planning, contract.WorkflowPlanRollout, in.Plan).Get(ctx, &planned); err != nil {
		return contract.PatchResult{}, fmt.Errorf("the patch %s could not be planned: %w", in.Plan.Patch, err)
	}
	plan := *planned.Plan
	out := contract.PatchResult{PlanHash: plan.Hash, State: contract.PatchNothingToDo, Excluded: plan.Excluded}
	if plan.Devices() == 0 {
		showPatch(ctx, plan, out)
		return out, nil
	}
	out.RolloutID, out.State = contract.RolloutOf(plan.Hash), contract.RolloutRunning
	showPatch(ctx, plan, out)
	var became contract.RolloutProgress
	rolling := workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID: contract.RolloutWorkflowID(out.RolloutID), WaitForCancellation: true, ParentClosePolicy: parentCloses,
		StaticSummary: fmt.Sprintf("install %s on %s: %s", plan.Baseline, countOf(plan.Devices(), "device"), in.Plan.Reason),
		TypedSearchAttributes: temporal.NewSearchAttributes(
			temporal.NewSearchAttributeKeyKeyword(contract.AttrRolloutID).ValueSet(out.RolloutID),
			temporal.NewSearchAttributeKeyKeyword(contract.AttrOutcome).ValueSet(contract.RolloutRunning)),
	})
	err := workflow.ExecuteChildWorkflow(rolling, contract.WorkflowRollout, contract.RolloutInput{
		PlanHash: plan.Hash, Actor: in.Plan.Actor, AskedBy: in.AskedBy, Reason: in.Plan.Reason}).Get(ctx, &became)
	if err != nil {
		return out, fmt.Errorf("rollout %s: %w", out.RolloutID, err)
	}
	out.State, out.Detail, out.Counts = became.State, became.Detail, became.RolloutCounts
	showPatch(ctx, plan, out)
	return out, nil
}

// refusePatch refuses what a schedule must not do by itself, also when it was
// changed in the Web UI.
func refusePatch(in contract.PatchInput) error {
	approval := in.Plan.Strategy.WithDefaults().Approval.Before
	switch {
	case in.Plan.Patch == "":
		return fmt.Errorf("the schedule names no patch")
	case approval == contract.ApproveNothing:
		return fmt.Errorf("nobody has looked at a plan that a schedule makes, so its strategy has to ask for an approval: %s, %s or %s",
			contract.ApproveStart, contract.ApproveFleet, contract.ApproveWaves)
	case strings.TrimSpace(in.AskedBy) == "":
		return fmt.Errorf("the schedule does not say who made it, who is the one that cannot approve what it does")
	}
	return nil
}

func showPatch(ctx workflow.Context, plan contract.RolloutPlan, out contract.PatchResult) {
	var b page
	b.printf("**%s** %s, plan `%s`, %s\n\n", plan.Baseline, plan.Version, plan.Hash, countOf(plan.Devices(), "device"))
	for _, e := range plan.Excluded {
		b.printf("- left out, %s: %s\n", e.Reason, countOf(e.Devices, "device"))
	}
	if out.RolloutID != "" {
		b.printf("\nrollout %s, %s. %s\n", out.RolloutID, out.State, out.Detail)
	} else {
		b.printf("\n%s\n", out.State)
	}
	workflow.SetCurrentDetails(ctx, b.String())
}
