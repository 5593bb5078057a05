package stack_test

import (
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	sdkclient "go.temporal.io/sdk/client"

	"edgefleet/workflows/contract"
)

// TestRecordHistoriesOfRollouts records as TestRecordHistories does. Rollouts
// need a fleet that is in service, and have each a part of it.
func TestRecordHistoriesOfRollouts(t *testing.T) {
	s := startStack(t, 16)
	s.onboardAll()
	const completed, canceled = enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED, enumspb.WORKFLOW_EXECUTION_STATUS_CANCELED
	plans := func(version, sel string) func(*site) sdkclient.WorkflowRun {
		return func(s *site) sdkclient.WorkflowRun {
			run, err := s.temporal.ExecuteWorkflow(s.t.Context(), sdkclient.StartWorkflowOptions{
				ID: contract.PlanRolloutID(rand.Text()), TaskQueue: contract.TaskQueue, WorkflowExecutionTimeout: 10 * time.Minute,
			}, contract.WorkflowPlanRollout, contract.PlanRolloutInput{File: "feeder-standard.yaml", Actor: rollsOut, Reason: "a test", Select: sel,
				Text: newBaseline(s.t, s, version, map[string]string{"report_interval": "90"})})
			require.NoError(s.t, err)
			return run
		}
	}
	// starts plans and starts a rollout over some of the feeders.
	starts := func(sel, interval string, strategy contract.RolloutStrategy) func(*site) sdkclient.WorkflowRun {
		return func(s *site) sdkclient.WorkflowRun {
			text := newBaseline(s.t, s, "2026.12."+interval, map[string]string{"report_interval": interval})
			return s.startRollout(s.planRollout(text, sel, strategy))
		}
	}
	wave := func(run sdkclient.WorkflowRun, n int) sdkclient.WorkflowRun {
		id, err := contract.ParseRolloutWorkflowID(run.GetID())
		require.NoError(t, err)
		return s.temporal.GetWorkflow(t.Context(), contract.RolloutWaveID(id, n, n), "")
	}
	approves := func(s *site, run sdkclient.WorkflowRun) {
		p := s.rolloutIs(run, contract.RolloutWaiting)
		_, err := s.tellRollout(run, contract.UpdateRolloutApprove, contract.RolloutDecision{By: "bob", Approved: true, PlanHash: p.PlanHash})
		require.NoError(s.t, err)
	}
	quick := contract.RolloutChecks{Within: time.Second, Every: time.Second}
	fails := quick
	fails.Metric = "vector(0)"
	var healthy, back, paused sdkclient.WorkflowRun
	recordAll(t, s, []recording{
		{"plan-rollout-of-some-devices", completed, plans("2026.12.90", "id=edge-001|edge-002|edge-003"), nil},
		{"rollout-approved-and-done", completed, func(s *site) sdkclient.WorkflowRun {
			healthy = starts("id=edge-001|edge-002|edge-003|edge-004", "91", contract.RolloutStrategy{Waves: []string{"50%"}, Rate: 120,
				Checks: contract.RolloutChecks{Soak: time.Second, Passes: 2, Every: time.Second}, Approval: contract.RolloutApproval{Before: contract.ApproveFleet}})(s)
			return healthy
		}, nil},
		{"rollout-wave-healthy", completed, func(s *site) sdkclient.WorkflowRun {
			approves(s, healthy)
			require.Equal(s.t, contract.RolloutDone, s.rolledOut(healthy).State)
			return wave(healthy, 2)
		}, nil},
		{"rollout-rolled-back-at-the-canary", completed, func(s *site) sdkclient.WorkflowRun {
			back = starts("id=edge-005|edge-006", "92", contract.RolloutStrategy{OnBreach: contract.BreachRollBack, Checks: fails})(s)
			return back
		}, nil},
		{"rollback-of-a-canary", completed, func(s *site) sdkclient.WorkflowRun {
			p := s.rolledOut(back)
			require.Equal(s.t, contract.RolloutRolledBack, p.State)
			return s.temporal.GetWorkflow(s.t.Context(), contract.RollbackID(p.RolloutID), "")
		}, nil},
		{"rollout-paused-told-and-aborted", completed, func(s *site) sdkclient.WorkflowRun {
			paused = starts("id=edge-007|edge-008|edge-009|edge-010", "93", contract.RolloutStrategy{Checks: fails})(s)
			return paused
		}, func(s *site, run sdkclient.WorkflowRun) {
			s.rolloutIs(run, contract.RolloutPaused)
			bob := contract.RolloutCommand{By: "bob", Note: "as agreed"}
			for _, told := range []struct {
				update  string
				devices []string
			}{{contract.UpdateRolloutRetry, nil}, {contract.UpdateRolloutSkip, []string{"edge-010"}}, {contract.UpdateRolloutResume, nil}} {
				bob.Devices = told.devices
				_, err := s.tellRollout(run, told.update, bob)
				require.NoError(s.t, err, told.update)
			}
			until(s.t, patience, func() error {
				if p := s.rolloutIs(run, contract.RolloutPaused); p.Waves[1].Began == nil {
					return fmt.Errorf("it has not come to its second wave: %+v", p)
				}
				return nil
			})
			_, err := s.tellRollout(run, contract.UpdateRolloutAbort, bob)
			require.NoError(s.t, err)
			require.Equal(s.t, contract.RolloutAborted, s.rolledOut(run).State)
		}},
		{"rollout-wave-cancelled-while-it-soaks", canceled, func(s *site) sdkclient.WorkflowRun {
			run := starts("id=edge-011|edge-012", "94", contract.RolloutStrategy{Checks: contract.RolloutChecks{Soak: time.Hour}})(s)
			child := wave(run, 1)
			until(s.t, patience, func() error {
				answer, err := s.temporal.QueryWorkflow(s.t.Context(), child.GetID(), "", contract.QueryProgress)
				if err != nil {
					return err
				}
				var p contract.WaveProgress
				if err := answer.Get(&p); err != nil {
					return err
				}
				if p.Phase != contract.WaveSoaking {
					return fmt.Errorf("the wave is %s", p.Phase)
				}
				return nil
			})
			require.NoError(s.t, s.temporal.CancelWorkflow(s.t.Context(), run.GetID(), ""))
			return child
		}, nil},
	})
	s.intact()
}
