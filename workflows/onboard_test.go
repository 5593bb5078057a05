package workflows

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"edgefleet/workflows/contract"
)

// someRefs are n devices at three sites of two regions.
func someRefs(n int) []contract.DeviceRef {
	out := []contract.DeviceRef{}
	for i := range n {
		out = append(out, contract.DeviceRef{ID: fmt.Sprintf("edge-%03d", i), Site: fmt.Sprintf("s%d", i%3), Region: []string{"north", "south"}[i%2]})
	}
	return out
}

// onboardWorld is a world in which the devices are selected, and onboard
// decides what becomes of each.
func onboardWorld(t *testing.T, devices []contract.DeviceRef, onboard func(contract.OnboardDeviceInput) (contract.OnboardDeviceResult, error)) *world {
	w := newWorld(t)
	serve(w, contract.ActivitySelect, func(contract.Selection) any {
		return contract.Selected{Devices: devices, Skipped: 3, Revision: "r1"}
	})
	w.env.RegisterActivityWithOptions(func(ctx context.Context, in contract.OnboardDeviceInput) (contract.OnboardDeviceResult, error) {
		w.mu.Lock()
		w.calls = append(w.calls, call{name: contract.ActivityOnboard, info: activity.GetInfo(ctx), input: in})
		w.mu.Unlock()
		return onboard(in)
	}, activity.RegisterOptions{Name: contract.ActivityOnboard})
	return w
}

// well is a device that is onboarded in a second and a half.
func well(in contract.OnboardDeviceInput) (contract.OnboardDeviceResult, error) {
	return contract.OnboardDeviceResult{DeviceID: in.DeviceID, Phases: []contract.PhaseTime{
		{Phase: contract.PhaseReach, Took: time.Second}, {Phase: contract.PhaseVerify, Took: 500 * time.Millisecond}}}, nil
}

func onboardInput() contract.OnboardInput {
	return contract.OnboardInput{Selection: contract.Selection{All: true}, Reason: "commissioning",
		Actor: contract.Actor{Kind: contract.ActorOperator, Name: "kim"}}
}

// onboard runs the workflow to its end.
func (w *world) onboard(in contract.OnboardInput) (contract.OnboardProgress, error) {
	w.t.Helper()
	w.env.ExecuteWorkflow(contract.WorkflowOnboard, in)
	require.True(w.t, w.env.IsWorkflowCompleted())
	var out contract.OnboardProgress
	if err := w.env.GetWorkflowError(); err != nil {
		return out, err
	}
	require.NoError(w.t, w.env.GetWorkflowResult(&out))
	return out, nil
}

// asked is the answer to the progress query now.
func (w *world) asked() contract.OnboardProgress {
	w.t.Helper()
	value, err := w.env.QueryWorkflow(contract.QueryProgress)
	require.NoError(w.t, err)
	var p contract.OnboardProgress
	require.NoError(w.t, value.Get(&p))
	return p
}

func TestOnboardingTakesEveryDeviceOnceOnItsRegionsQueue(t *testing.T) {
	devices := someRefs(40)
	w := onboardWorld(t, devices, well)
	in := onboardInput()
	in.TrustFirstUse = true
	p, err := w.onboard(in)
	require.NoError(t, err)
	require.Equal(t, []int{40, 40, 0, 3}, []int{p.Total, p.Done, p.Failed, p.Skipped})
	require.Equal(t, "r1", p.Revision)
	require.Equal(t, []contract.PhaseTime{{Phase: contract.PhaseReach, Took: 40 * time.Second, Devices: 40},
		{Phase: contract.PhaseVerify, Took: 20 * time.Second, Devices: 40}}, p.Phases)
	require.Empty(t, p.Running)
	region := map[string]string{}
	for _, d := range devices {
		region[d.ID] = d.Region
	}
	onboarded := map[string]int{}
	for _, c := range w.calls {
		if in, ok := c.input.(contract.OnboardDeviceInput); ok {
			onboarded[in.DeviceID]++
			require.Equal(t, contract.RegionQueue(region[in.DeviceID]), c.info.TaskQueue)
			require.Equal(t, contract.OnboardDeviceInput{Scope: contract.Scope{DeviceID: in.DeviceID, Reason: "commissioning",
				Actor: contract.Actor{Kind: contract.ActorOperator, Name: "kim"}}, Trust: contract.Trust{TrustFirstUse: true}, Yield: true}, in)
		}
	}
	require.Len(t, onboarded, 40)
	for id, n := range onboarded {
		require.Equal(t, 1, n, id)
	}
}

func TestNothingToOnboardIsDoneAtOnce(t *testing.T) {
	w := onboardWorld(t, []contract.DeviceRef{}, well)
	p, err := w.onboard(onboardInput())
	require.NoError(t, err)
	require.Equal(t, []int{0, 0, 3}, []int{p.Total, p.Done, p.Skipped})
}

func TestASelectionThatCannotBeMadeEndsTheOnboarding(t *testing.T) {
	w := onboardWorld(t, nil, well)
	w.before = func(string, int) error {
		return temporal.NewNonRetryableApplicationError("the fleet does not declare edge-9", contract.ErrUnknownDevice, nil)
	}
	_, err := w.onboard(onboardInput())
	require.Equal(t, "the fleet does not declare edge-9", requireType(t, contract.ErrUnknownDevice, err))
	require.Equal(t, []string{contract.ActivitySelect}, w.names())
}

func TestDevicesThatCannotBeOnboardedAreCountedAndNamedAndStopNobody(t *testing.T) {
	w := onboardWorld(t, someRefs(12), func(in contract.OnboardDeviceInput) (contract.OnboardDeviceResult, error) {
		out, _ := well(in)
		switch in.DeviceID {
		case "edge-003":
			out.Failure = &contract.OnboardFailure{DeviceID: in.DeviceID, Phase: contract.PhaseIdentify, Reason: contract.ErrRejected, Detail: "it is another model"}
		case "edge-005":
			return out, temporal.NewApplicationErrorWithOptions("edge-005 does not answer", contract.ErrUnreachable, temporal.ApplicationErrorOptions{
				Details: []any{contract.OnboardFailure{DeviceID: in.DeviceID, Phase: contract.PhaseReach, Detail: "it does not answer"}}})
		case "edge-007":
			return out, temporal.NewNonRetryableApplicationError("edge-007 is not declared any more", contract.ErrUnknownDevice, nil)
		}
		return out, nil
	})
	_, err := w.onboard(onboardInput())
	require.Equal(t, "3 of 12 devices were not onboarded", requireType(t, contract.ErrNotHealthy, err))
	var app *temporal.ApplicationError
	require.ErrorAs(t, err, &app)
	var p contract.OnboardProgress
	require.NoError(t, app.Details(&p), "the caller gets the whole of it")
	require.Equal(t, []int{12, 9, 3}, []int{p.Total, p.Done, p.Failed})
	require.ElementsMatch(t, []contract.OnboardFailure{
		{DeviceID: "edge-003", Phase: contract.PhaseIdentify, Reason: contract.ErrRejected, Detail: "it is another model"},
		{DeviceID: "edge-005", Phase: contract.PhaseReach, Reason: contract.ErrUnreachable, Detail: "it does not answer"},
		{DeviceID: "edge-007", Reason: contract.ErrUnknownDevice, Detail: "edge-007 is not declared any more"},
	}, p.Failures)
	dark := 0
	for _, in := range inputs[contract.OnboardDeviceInput](w, contract.ActivityOnboard) {
		if in.DeviceID == "edge-005" {
			dark++
		}
	}
	require.Equal(t, 25, dark, "what may pass is tried again")
}

func TestTheFirstFailuresAreNamedAndAllAreCounted(t *testing.T) {
	w := onboardWorld(t, someRefs(maxFailures+7), func(in contract.OnboardDeviceInput) (contract.OnboardDeviceResult, error) {
		return contract.OnboardDeviceResult{DeviceID: in.DeviceID,
			Failure: &contract.OnboardFailure{DeviceID: in.DeviceID, Phase: contract.PhaseIdentify, Detail: strings.Repeat("x", 2000)}}, nil
	})
	_, err := w.onboard(onboardInput())
	require.Error(t, err)
	p := w.asked()
	require.Len(t, p.Failures, maxFailures)
	require.Equal(t, maxFailures+7, p.Failed)
}

func TestTheProgressOfAnOnboardingCanBeAskedFor(t *testing.T) {
	var seen []contract.OnboardProgress
	w := onboardWorld(t, someRefs(6), func(in contract.OnboardDeviceInput) (contract.OnboardDeviceResult, error) {
		if in.DeviceID == "edge-000" {
			return contract.OnboardDeviceResult{}, temporal.NewApplicationError("away", contract.ErrUnreachable)
		}
		return well(in)
	})
	// The first retries of the dark one last some seconds.
	w.env.RegisterDelayedCallback(func() { seen = append(seen, w.asked()) }, 3*time.Second)
	_, err := w.onboard(onboardInput())
	require.Error(t, err)
	require.Len(t, seen, 1)
	require.Equal(t, []int{6, 5, 0}, []int{seen[0].Total, seen[0].Done, seen[0].Failed})
	require.Equal(t, []string{"edge-000"}, seen[0].Running)
	require.False(t, seen[0].Began.IsZero())
}

func TestACancelledOnboardingWaitsForWhatRunsAndBeginsNothingMore(t *testing.T) {
	var w *world
	var begun atomic.Int32
	w = onboardWorld(t, someRefs(30), func(in contract.OnboardDeviceInput) (contract.OnboardDeviceResult, error) {
		if begun.Add(1) == 4 {
			w.env.CancelWorkflow()
		}
		return well(in)
	})
	in := onboardInput()
	in.Bounds = contract.Bounds{PerSite: 2, Total: 4}
	_, err := w.onboard(in)
	require.True(t, temporal.IsCanceledError(err), "%v", err)
	p := w.asked()
	require.Empty(t, p.Running, "nothing runs when it has ended")
	require.GreaterOrEqual(t, p.Done+p.Failed, len(inputs[contract.OnboardDeviceInput](w, contract.ActivityOnboard)), "what was begun is counted")
	require.Less(t, p.Done+p.Failed, 30)
	for _, f := range p.Failures {
		require.Equal(t, contract.OnboardFailure{DeviceID: f.DeviceID, Reason: contract.OutcomeCancelled, Detail: "the onboarding was cancelled"}, f)
	}
}

func TestAnOnboardingWithALongHistoryGoesOnInANewRun(t *testing.T) {
	devices := someRefs(20)
	once := map[string]int{}
	fails := func(in contract.OnboardDeviceInput) (contract.OnboardDeviceResult, error) {
		out, err := well(in)
		if in.DeviceID == "edge-000" {
			out.Failure = &contract.OnboardFailure{DeviceID: in.DeviceID, Phase: contract.PhaseVerify, Detail: "it is not healthy"}
		}
		return out, err
	}
	in := onboardInput()
	in.Bounds = contract.Bounds{Total: 4}
	for runs := 1; ; runs++ {
		w := onboardWorld(t, devices, fails)
		selected := runs == 1
		ended := 0
		w.env.SetOnActivityCompletedListener(func(*activity.Info, converter.EncodedValue, error) {
			if ended++; ended == 6 {
				w.env.SetCurrentHistoryLength(maxHistory + 1)
			}
		})
		_, err := w.onboard(in)
		for _, d := range inputs[contract.OnboardDeviceInput](w, contract.ActivityOnboard) {
			once[d.DeviceID]++
		}
		require.Equal(t, selected, w.names()[0] == contract.ActivitySelect, "only the first run selects")
		var next *workflow.ContinueAsNewError
		if !errors.As(err, &next) {
			require.Equal(t, "1 of 20 devices were not onboarded", requireType(t, contract.ErrNotHealthy, err))
			require.Equal(t, []int{20, 19, 1, 3}, []int{w.asked().Total, w.asked().Done, w.asked().Failed, w.asked().Skipped})
			require.Len(t, w.asked().Failures, 1)
			require.Greater(t, runs, 1)
			break
		}
		require.Equal(t, contract.WorkflowOnboard, next.WorkflowType.Name)
		in = contract.OnboardInput{}
		require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &in))
		require.Equal(t, 20, len(in.Resume.Pending)+in.Resume.Progress.Done+in.Resume.Progress.Failed)
		require.Equal(t, onboardInput().Actor, in.Actor)
		require.Equal(t, 4, in.Bounds.Total)
		devices = nil // a second selection would find nothing
	}
	require.Len(t, once, 20)
	for id, n := range once {
		require.Equal(t, 1, n, id)
	}
}

func TestMoreAtOnceThanAHistoryHasRoomForIsNotDone(t *testing.T) {
	require.Equal(t, contract.Bounds{PerSite: 4, PerRegion: 32, Total: 64}, contract.Bounds{}.WithDefaults())
	require.Equal(t, contract.MaxAtOnce, contract.Bounds{Total: 100_000}.WithDefaults().Total)
	// Every device that runs has at most five events to come: its start, its
	// end, and a workflow task of three.
	require.Less(t, maxHistory+5*contract.MaxAtOnce, 10_000)
}
