package workflows

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"edgefleet/workflows/contract"
)

// planWorld is a rollout's world whose planning, too, is answered: with so many
// devices that would be changed.
func planWorld(t *testing.T, changing int) *rolloutWorld {
	r := newRolloutWorld(t, 8)
	r.inWaves()
	serve(r.world, contract.ActivityBeginPlan, func(in contract.PlanRolloutInput) any {
		r.begun.Requester, r.begun.Strategy = in.Actor.String(), in.Strategy.WithDefaults()
		return contract.BegunPlan{PlanID: "plan-rollout/x", Devices: 8, Batches: []contract.PlanBatch{
			{Number: 0, Region: "north", Group: "north/a", Devices: 4}, {Number: 1, Region: "north", Group: "north/b", Devices: 4}}}
	})
	serve(r.world, contract.ActivityPlanDevices, func(contract.PlanBatchInput) any {
		return contract.PlanBatchResult{Devices: 4, Changing: changing / 2}
	})
	serve(r.world, contract.ActivityPlanMissed, func(contract.PlanBatchInput) any { return contract.PlanBatchResult{Devices: 4} })
	serve(r.world, contract.ActivityFreezePlan, func(contract.FreezePlanInput) any {
		plan := contract.RolloutPlan{Hash: r.begun.PlanHash, Kind: contract.KindPatch, Baseline: "agent", Version: "2"}
		if changing > 0 {
			plan.Waves = r.begun.Waves
		}
		return plan
	})
	return r
}

func patchInput() contract.PatchInput {
	return contract.PatchInput{AskedBy: "kim", Plan: contract.PlanRolloutInput{Patch: "agent", Reason: "schedule weekly",
		Actor:    contract.Actor{Kind: contract.ActorSchedule, Name: "weekly"},
		Strategy: contract.RolloutStrategy{Approval: contract.RolloutApproval{Before: contract.ApproveStart}}}}
}

func (r *rolloutWorld) patch(in contract.PatchInput) (contract.PatchResult, error) {
	r.t.Helper()
	r.env.ExecuteWorkflow(contract.WorkflowPatch, in)
	require.True(r.t, r.env.IsWorkflowCompleted())
	var out contract.PatchResult
	if err := r.env.GetWorkflowError(); err != nil {
		return out, err
	}
	require.NoError(r.t, r.env.GetWorkflowResult(&out))
	return out, nil
}

func (r *rolloutWorld) decide(after time.Duration, by string) *reply {
	a := &reply{}
	r.env.RegisterDelayedCallback(func() {
		require.NoError(r.t, r.env.UpdateWorkflowByID(contract.RolloutWorkflowID(r.begun.RolloutID), contract.UpdateRolloutApprove, by, a,
			contract.RolloutDecision{By: by, Approved: true, PlanHash: r.begun.PlanHash}))
	}, after)
	return a
}

func TestAPatchByTheCalendarIsPlannedAndWaitsForAnotherThanWhoAskedForIt(t *testing.T) {
	r := planWorld(t, 8)
	own, other := r.decide(time.Minute, "Kim"), r.decide(2*time.Minute, "bob")
	out, err := r.patch(patchInput())
	require.NoError(t, err)
	require.ErrorContains(t, own.refused, "somebody else has to approve it")
	require.NoError(t, other.refused)
	require.Equal(t, contract.RolloutDone, out.State)
	require.Equal(t, r.begun.RolloutID, out.RolloutID)
	require.Equal(t, 8, out.Counts.Healthy)
	require.Len(t, r.order, 8)
}

func TestAPatchByTheCalendarThatNobodyApprovesWritesNothing(t *testing.T) {
	r := planWorld(t, 8)
	out, err := r.patch(patchInput())
	require.NoError(t, err)
	require.Equal(t, contract.RolloutRefused, out.State)
	require.Contains(t, out.Detail, "nobody approved the rollout within 24h")
	require.Empty(t, r.order)
}

func TestAPatchByTheCalendarThatIsEverywhereStartsNoRollout(t *testing.T) {
	r := planWorld(t, 0)
	out, err := r.patch(patchInput())
	require.NoError(t, err)
	require.Equal(t, contract.PatchNothingToDo, out.State)
	require.Empty(t, out.RolloutID)
	require.Zero(t, r.attempts[contract.ActivityBeginRollout])
}

func TestAPatchByTheCalendarIsRefusedWhenNobodyIsToApproveIt(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*contract.PatchInput)
		say    string
	}{
		"no approval":           {func(in *contract.PatchInput) { in.Plan.Strategy.Approval.Before = contract.ApproveNothing }, "has to ask for an approval"},
		"an approval not named": {func(in *contract.PatchInput) { in.Plan.Strategy.Approval.Before = "" }, "has to ask for an approval"},
		"nobody asked for it":   {func(in *contract.PatchInput) { in.AskedBy = " " }, "does not say who made it"},
		"no patch":              {func(in *contract.PatchInput) { in.Plan.Patch = "" }, "names no patch"},
	} {
		t.Run(name, func(t *testing.T) {
			r := planWorld(t, 8)
			in := patchInput()
			c.change(&in)
			_, err := r.patch(in)
			require.ErrorContains(t, err, c.say)
			require.Empty(t, r.calls, "nobody was asked")
		})
	}
}

// A signature that does not hold says nothing about devices, and must not read
// as if they were left out.
func TestAPatchThatIsRefusedFailsItsPlanning(t *testing.T) {
	r := planWorld(t, 8)
	r.before = func(name string, _ int) error {
		if name == contract.ActivityPlanDevices {
			return temporal.NewNonRetryableApplicationError("the patch is refused: its signature does not hold", contract.ErrConfig, nil)
		}
		return nil
	}
	r.env.ExecuteWorkflow(contract.WorkflowPlanRollout, patchInput().Plan)
	require.ErrorContains(t, r.env.GetWorkflowError(), "its signature does not hold")
	require.Zero(t, r.attempts[contract.ActivityFreezePlan], "there is no plan")
}

// What was read by workers of two revisions is no plan.
func TestThereIsNoPlanWhenTheFleetDirectoryChangesMeanwhile(t *testing.T) {
	r := planWorld(t, 8)
	r.before = func(name string, n int) error {
		if name == contract.ActivityPlanDevices && n == 2 {
			return temporal.NewNonRetryableApplicationError("the fleet directory was changed", contract.ErrFleetChanged, nil)
		}
		return nil
	}
	r.env.ExecuteWorkflow(contract.WorkflowPlanRollout, patchInput().Plan)
	var app *temporal.ApplicationError
	require.ErrorAs(t, r.env.GetWorkflowError(), &app)
	require.Equal(t, contract.ErrFleetChanged, app.Type())
	require.Zero(t, r.attempts[contract.ActivityFreezePlan], "there is no plan")
}

// A region that nobody serves is left out of the plan, and stops no other.
func TestABatchThatNobodyCanReadIsLeftOutOfThePlan(t *testing.T) {
	r := planWorld(t, 8)
	r.before = func(name string, n int) error {
		if name == contract.ActivityPlanDevices && n == 1 {
			return temporal.NewNonRetryableApplicationError("no", contract.ErrInternal, nil)
		}
		return nil
	}
	r.env.ExecuteWorkflow(contract.WorkflowPlanRollout, patchInput().Plan)
	require.NoError(t, r.env.GetWorkflowError())
	var out contract.PlanProgress
	require.NoError(t, r.env.GetWorkflowResult(&out))
	require.Equal(t, 1, r.attempts[contract.ActivityPlanMissed])
	require.Equal(t, 8, out.Looked)
	require.True(t, strings.HasPrefix(out.Plan.Hash, r.begun.RolloutID))
}
