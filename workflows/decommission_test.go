package workflows

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	sdkclient "go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"edgefleet/workflows/contract"
)

// decommissionWorld is a world in which fails decides what becomes of each
// device; n counts its attempts from 1.
func decommissionWorld(t *testing.T, fails func(id string, n int) error) *world {
	w := newWorld(t)
	tried := map[string]int{}
	w.env.RegisterActivityWithOptions(func(ctx context.Context, in contract.DecommissionDeviceInput) (contract.DecommissionDeviceResult, error) {
		w.mu.Lock()
		tried[in.DeviceID]++
		n := tried[in.DeviceID]
		w.calls = append(w.calls, call{name: contract.ActivityDecommission, info: activity.GetInfo(ctx), input: in})
		w.mu.Unlock()
		if fails != nil {
			if err := fails(in.DeviceID, n); err != nil {
				return contract.DecommissionDeviceResult{}, err
			}
		}
		return contract.DecommissionDeviceResult{DeviceID: in.DeviceID}, nil
	}, activity.RegisterOptions{Name: contract.ActivityDecommission})
	return w
}

func decommissionInput(n int) contract.DecommissionInput {
	return contract.DecommissionInput{Devices: someRefs(n), Reason: "the feeder was taken down",
		Actor: contract.Actor{Kind: contract.ActorOperator, Name: "kim"}}
}

// decommission runs the workflow to its end.
func (w *world) decommission(in contract.DecommissionInput) (contract.DecommissionProgress, error) {
	w.t.Helper()
	w.env.ExecuteWorkflow(contract.WorkflowDecommission, in)
	require.True(w.t, w.env.IsWorkflowCompleted())
	var out contract.DecommissionProgress
	if err := w.env.GetWorkflowError(); err != nil {
		return out, err
	}
	require.NoError(w.t, w.env.GetWorkflowResult(&out))
	return out, nil
}

// removed is the answer to the progress query now.
func (w *world) removed() contract.DecommissionProgress {
	w.t.Helper()
	value, err := w.env.QueryWorkflow(contract.QueryProgress)
	require.NoError(w.t, err)
	var p contract.DecommissionProgress
	require.NoError(w.t, value.Get(&p))
	return p
}

func TestDecommissioningTakesEveryDeviceOnceAndNeedsNoRegion(t *testing.T) {
	w := decommissionWorld(t, nil)
	w.env.SetStartWorkflowOptions(sdkclient.StartWorkflowOptions{TaskQueue: contract.TaskQueue})
	p, err := w.decommission(decommissionInput(40))
	require.NoError(t, err)
	require.Equal(t, []int{40, 40, 0}, []int{p.Total, p.Done, p.Failed})
	require.Empty(t, p.Running)
	require.False(t, p.Began.IsZero())
	once := map[string]int{}
	for _, in := range inputs[contract.DecommissionDeviceInput](w, contract.ActivityDecommission) {
		once[in.DeviceID]++
		require.Equal(t, contract.DecommissionDeviceInput{Scope: contract.Scope{DeviceID: in.DeviceID, Reason: "the feeder was taken down",
			Actor: contract.Actor{Kind: contract.ActorOperator, Name: "kim"}}}, in)
	}
	require.Len(t, once, 40)
	for id, n := range once {
		require.Equal(t, 1, n, id)
	}
	require.Equal(t, contract.TaskQueue, w.info(contract.ActivityDecommission).TaskQueue, "the region's worker may be gone with the site")
}

func TestADeviceInWorkIsWaitedForBeforeItIsDecommissioned(t *testing.T) {
	w := decommissionWorld(t, func(id string, n int) error {
		if id == "edge-001" && n <= 8 {
			return temporal.NewApplicationError("held by remediate/edge-001", contract.ErrLeaseHeld)
		}
		return nil
	})
	var seen []contract.DecommissionProgress
	w.env.RegisterDelayedCallback(func() { seen = append(seen, w.removed()) }, 30*time.Second)
	p, err := w.decommission(decommissionInput(3))
	require.NoError(t, err)
	require.Equal(t, []int{3, 3, 0}, []int{p.Total, p.Done, p.Failed})
	require.Len(t, seen, 1)
	require.Equal(t, []string{"edge-001"}, seen[0].Running)
	require.Equal(t, 2, seen[0].Done, "it stops no other")
}

func TestDevicesThatStayInServiceAreCountedAndNamed(t *testing.T) {
	w := decommissionWorld(t, func(id string, _ int) error {
		switch id {
		case "edge-001":
			return temporal.NewNonRetryableApplicationError("the fleet declares edge-001", contract.ErrRejected, nil)
		case "edge-002":
			return temporal.NewApplicationError("held by remediate/edge-002", contract.ErrLeaseHeld)
		}
		return nil
	})
	_, err := w.decommission(decommissionInput(5))
	require.Equal(t, "2 of 5 devices are still in service", requireType(t, contract.ErrRejected, err))
	var app *temporal.ApplicationError
	require.ErrorAs(t, err, &app)
	var p contract.DecommissionProgress
	require.NoError(t, app.Details(&p), "the caller gets the whole of it")
	require.Equal(t, []int{5, 3, 2}, []int{p.Total, p.Done, p.Failed})
	require.Len(t, p.Failures, 2)
	require.Equal(t, contract.DecommissionFailure{DeviceID: "edge-001", Reason: contract.ErrRejected, Detail: "the fleet declares edge-001"}, p.Failures[0])
	require.Equal(t, "edge-002", p.Failures[1].DeviceID)
	require.Contains(t, p.Failures[1].Detail, "held by remediate/edge-002", "nobody waits for ever")
}

func TestACancelledDecommissioningWaitsForWhatRunsAndBeginsNothingMore(t *testing.T) {
	var w *world
	var begun atomic.Int32
	w = decommissionWorld(t, func(string, int) error {
		if begun.Add(1) == 4 {
			w.env.CancelWorkflow()
		}
		return nil
	})
	in := decommissionInput(30)
	in.Bounds = contract.Bounds{PerSite: 2, Total: 4}
	_, err := w.decommission(in)
	require.True(t, temporal.IsCanceledError(err), "%v", err)
	p := w.removed()
	require.Empty(t, p.Running, "nothing runs when it has ended")
	require.GreaterOrEqual(t, p.Done+p.Failed, len(inputs[contract.DecommissionDeviceInput](w, contract.ActivityDecommission)), "what was begun is counted")
	require.Less(t, p.Done+p.Failed, 30)
	for _, f := range p.Failures {
		require.Equal(t, contract.DecommissionFailure{DeviceID: f.DeviceID, Reason: contract.OutcomeCancelled, Detail: "the decommissioning was cancelled"}, f)
	}
}

func TestADecommissioningWithALongHistoryGoesOnInANewRun(t *testing.T) {
	once, in := map[string]int{}, decommissionInput(20)
	in.Bounds = contract.Bounds{Total: 4}
	for runs := 1; ; runs++ {
		w := decommissionWorld(t, func(id string, _ int) error {
			if id == "edge-000" {
				return temporal.NewNonRetryableApplicationError("the fleet declares edge-000", contract.ErrRejected, nil)
			}
			return nil
		})
		ended := 0
		w.env.SetOnActivityCompletedListener(func(*activity.Info, converter.EncodedValue, error) {
			if ended++; ended == 6 {
				w.env.SetCurrentHistoryLength(maxHistory + 1)
			}
		})
		_, err := w.decommission(in)
		for _, d := range inputs[contract.DecommissionDeviceInput](w, contract.ActivityDecommission) {
			once[d.DeviceID]++
		}
		var next *workflow.ContinueAsNewError
		if !errors.As(err, &next) {
			require.Equal(t, "1 of 20 devices are still in service", requireType(t, contract.ErrRejected, err))
			require.Equal(t, []int{20, 19, 1}, []int{w.removed().Total, w.removed().Done, w.removed().Failed})
			require.Greater(t, runs, 1)
			break
		}
		require.Equal(t, contract.WorkflowDecommission, next.WorkflowType.Name)
		in = contract.DecommissionInput{}
		require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &in))
		require.Empty(t, in.Devices)
		require.Equal(t, 20, len(in.Resume.Pending)+in.Resume.Progress.Done+in.Resume.Progress.Failed)
		require.Equal(t, decommissionInput(1).Actor, in.Actor)
		require.Equal(t, 4, in.Bounds.Total)
	}
	require.Len(t, once, 20)
	for id, n := range once {
		require.Equal(t, 1, n, id)
	}
}
