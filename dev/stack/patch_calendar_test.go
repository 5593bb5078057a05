package stack_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"aead.dev/minisign"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	sdkclient "go.temporal.io/sdk/client"

	"edgefleet/devices/sim/sshsim"
	"edgefleet/workflows/contract"
)

// triggers has a schedule run at once, and returns what it began.
func (s *site) triggers(schedule string) sdkclient.WorkflowRun {
	s.t.Helper()
	handle := s.temporal.ScheduleClient().GetHandle(s.t.Context(), schedule)
	before, err := handle.Describe(s.t.Context())
	require.NoError(s.t, err)
	s.does("schedule", "trigger", schedule)
	var run sdkclient.WorkflowRun
	until(s.t, patience, func() error {
		now, err := handle.Describe(s.t.Context())
		if err != nil {
			return err
		}
		if len(now.Info.RecentActions) == len(before.Info.RecentActions) {
			return errors.New("the schedule has begun nothing yet")
		}
		began := now.Info.RecentActions[len(now.Info.RecentActions)-1].StartWorkflowResult
		run = s.temporal.GetWorkflow(s.t.Context(), began.WorkflowID, began.FirstExecutionRunID)
		return nil
	})
	return run
}

// waitsFor is the rollout that waits for an approval.
func (s *site) waitsFor() (found contract.RolloutSummary) {
	s.t.Helper()
	until(s.t, patience, func() error {
		var list []contract.RolloutSummary
		if err := json.Unmarshal([]byte(s.does("rollout", "list", "-o", "json")), &list); err != nil {
			return err
		}
		for _, found = range list {
			if found.State == contract.RolloutWaiting {
				return nil
			}
		}
		return fmt.Errorf("no rollout waits for an approval: %+v", list)
	})
	return found
}

// TestRecordHistoriesOfPatchesByTheCalendar records as TestRecordHistories does.
// A schedule plans a patch and waits for somebody else than who made it; where
// the patch is, it begins nothing.
func TestRecordHistoriesOfPatchesByTheCalendar(t *testing.T) {
	s := startMixed(t, 10)
	s.does("onboard", "--all", "--reason", "commissioning")
	gateways := s.byProfile()[sshsim.Profile]
	require.NotEmpty(t, gateways)
	public, private, err := minisign.GenerateKey(nil)
	require.NoError(t, err)
	s.declarePatch(private, "agent", sshsim.Profile, "3.3.0", sshsim.Package("3.3.0", true))
	s.trustPatches(public)
	s.planPatch("agent")
	s.does("schedule", "create", "agents", "--run", "patch", "--patch", "agent", "--at", "22:00", "--on", "fri", "--zone", "Europe/Berlin", "--paused")
	require.Contains(t, s.does("schedule", "list"), "patch")

	const completed = enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED
	recordAll(t, s, []recording{{"patch-by-the-calendar-approved", completed,
		func(s *site) sdkclient.WorkflowRun { return s.triggers("agents") },
		func(s *site, run sdkclient.WorkflowRun) {
			waits := s.waitsFor()
			require.Equal(s.t, "schedule:agents", waits.Requester)
			code, _, told := s.cli("rollout", "approve", waits.RolloutID)
			require.NotZero(s.t, code)
			require.Contains(s.t, told, "kim has asked for this rollout, so somebody else has to approve it")
			for _, id := range gateways {
				require.Equal(s.t, contract.PatchOwed, s.patches()[id].State, "nothing is written before")
			}
			rollout := s.temporal.GetWorkflow(s.t.Context(), contract.RolloutWorkflowID(waits.RolloutID), "")
			_, err := s.tellRollout(rollout, contract.UpdateRolloutApprove, contract.RolloutDecision{By: "bob", Approved: true, PlanHash: waits.PlanHash})
			require.NoError(s.t, err)
			var out contract.PatchResult
			require.NoError(s.t, run.Get(s.t.Context(), &out))
			require.Equal(s.t, contract.RolloutDone, out.State, out.Detail)
			require.Equal(s.t, len(gateways), out.Counts.Healthy)
			for _, id := range gateways {
				require.Equal(s.t, contract.PatchCurrent, s.patches()[id].State, id)
			}
		}}})
	recordAll(t, s, []recording{{"patch-by-the-calendar-that-is-everywhere", completed,
		func(s *site) sdkclient.WorkflowRun { return s.triggers("agents") },
		func(s *site, run sdkclient.WorkflowRun) {
			var out contract.PatchResult
			require.NoError(s.t, run.Get(s.t.Context(), &out))
			require.Equal(s.t, contract.PatchNothingToDo, out.State)
			require.Equal(s.t, []contract.ExcludedCount{{Reason: contract.ExcludedInSync, Devices: len(gateways)}}, out.Excluded)
		}}})
	s.intact()
}
