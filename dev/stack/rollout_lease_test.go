package stack_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	sdkclient "go.temporal.io/sdk/client"

	"edgefleet/workflows/contract"
)

// holds has a remediation hold a device until let go is called.
func (s *site) holds(device string) (letGo func()) {
	s.t.Helper()
	heals := s.remediate(device, inline("def heal(device_id):\n    wait_for_approval(\"go\", \"now?\")\n"))
	until(s.t, patience, func() error { _, err := s.store.LeaseOf(s.t.Context(), device); return err })
	return func() {
		until(s.t, patience, func() error { return s.decide(heals, contract.Decision{Gate: "go", Approved: true, By: "bob"}) })
		s.resolved(heals)
	}
}

// TestRecordHistoriesOfLeaseWaits records as TestRecordHistories does. A rollout
// and a rollback wait for a device that a remediation has, and say so; when it is
// free, they go on.
func TestRecordHistoriesOfLeaseWaits(t *testing.T) {
	s := startStack(t, 2)
	s.onboardAll()
	const device = "edge-001"
	plan := s.planRollout(newBaseline(t, s, "2026.12.95", map[string]string{"report_interval": "95"}), "id="+device, contract.RolloutStrategy{})
	waits := func(says func() (held int, waits []contract.LeaseWait, err error), args ...string) {
		t.Helper()
		until(t, patience, func() error {
			held, list, err := says()
			if err == nil && held != 1 {
				err = errors.New("nothing waits for a lease")
			}
			if err == nil {
				require.Equal(t, device, list[0].DeviceID)
				require.Contains(t, list[0].Holder.WorkflowID, "remediate/"+device)
			}
			return err
		})
		require.Contains(t, s.does(args...), "remediate/"+device, "the command line says who has it")
	}
	id := contract.RolloutOf(plan.Hash)
	const completed = enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED
	recordAll(t, s, []recording{{"rollout-wave-waits-for-a-lease", completed, func(s *site) sdkclient.WorkflowRun {
		letGo := s.holds(device)
		run := s.startRollout(plan)
		wave := s.temporal.GetWorkflow(t.Context(), contract.RolloutWaveID(id, 1, 1), "")
		waits(func() (int, []contract.LeaseWait, error) {
			var p contract.WaveProgress
			answer, err := s.temporal.QueryWorkflow(t.Context(), wave.GetID(), "", contract.QueryProgress)
			if err == nil {
				err = answer.Get(&p)
			}
			return p.Held, p.LeaseWaits, err
		}, "rollout", "status", id)
		letGo()
		require.Equal(t, contract.RolloutDone, s.rolledOut(run).State)
		return wave
	}, nil}})
	recordAll(t, s, []recording{{"rollback-waits-for-a-lease", completed, func(s *site) sdkclient.WorkflowRun {
		letGo := s.holds(device)
		run, err := s.temporal.ExecuteWorkflow(t.Context(), sdkclient.StartWorkflowOptions{ID: contract.RollbackID(id), TaskQueue: contract.TaskQueue},
			contract.WorkflowRollback, contract.RollbackInput{RolloutID: id, Actor: rollsOut, Reason: "a test", Own: true})
		require.NoError(t, err)
		waits(func() (int, []contract.LeaseWait, error) {
			var p contract.RollbackProgress
			answer, err := s.temporal.QueryWorkflow(t.Context(), run.GetID(), "", contract.QueryProgress)
			if err == nil {
				err = answer.Get(&p)
			}
			return p.Held, p.LeaseWaits, err
		}, "device", "list")
		letGo()
		var p contract.RollbackProgress
		require.NoError(t, run.Get(t.Context(), &p))
		require.Equal(t, 1, p.Back)
		return run
	}, nil}})
	s.nobodyHolds()
	s.intact()
}
