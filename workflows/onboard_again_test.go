package workflows

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"
	"pgregory.net/rapid"

	"edgefleet/workflows/contract"
)

// dark is a device that cannot be reached yet.
func dark(in contract.OnboardDeviceInput) contract.OnboardDeviceResult {
	return contract.OnboardDeviceResult{DeviceID: in.DeviceID, Later: true,
		Phases:  []contract.PhaseTime{{Phase: contract.PhaseReach, Took: time.Minute}},
		Failure: &contract.OnboardFailure{DeviceID: in.DeviceID, Phase: contract.PhaseReach, Reason: contract.ErrUnreachable, Detail: "it does not answer"}}
}

// oneSite are n devices at one site.
func oneSite(n int) []contract.DeviceRef {
	out := someRefs(n)
	for i := range out {
		out[i].Site, out[i].Region = "s0", "north"
	}
	return out
}

func TestADarkDeviceGivesItsPlaceToTheOthersAndIsTriedAgain(t *testing.T) {
	var mu sync.Mutex
	var order []string
	tries := map[string]int{}
	w := onboardWorld(t, oneSite(6), func(in contract.OnboardDeviceInput) (contract.OnboardDeviceResult, error) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, in.DeviceID)
		if tries[in.DeviceID]++; in.DeviceID == "edge-000" && tries[in.DeviceID] < 3 {
			return dark(in), nil
		}
		return well(in)
	})
	in := onboardInput()
	in.Bounds = contract.Bounds{PerSite: 1}
	began := w.env.Now()
	p, err := w.onboard(in)
	require.NoError(t, err)
	require.Equal(t, []string{"edge-000", "edge-001", "edge-002", "edge-003", "edge-004", "edge-005", "edge-000", "edge-000"}, order,
		"the site's one place is never held by a device that does not answer")
	require.Equal(t, []int{6, 6, 0, 0}, []int{p.Total, p.Done, p.Failed, p.Waiting})
	require.Equal(t, 6*time.Second, p.Phases[0].Took, "tries that came to nothing are not counted among the phases")
	require.Equal(t, waits()[0]+waits()[1], w.env.Now().Sub(began).Round(time.Second))
}

func TestADeviceThatStaysDarkFailsAfterItsTries(t *testing.T) {
	var waiting []int
	w := onboardWorld(t, someRefs(3), func(in contract.OnboardDeviceInput) (contract.OnboardDeviceResult, error) {
		if in.DeviceID == "edge-001" {
			return dark(in), nil
		}
		return well(in)
	})
	w.env.RegisterDelayedCallback(func() { waiting = append(waiting, w.asked().Waiting) }, 2*time.Second)
	_, err := w.onboard(onboardInput())
	require.Equal(t, "1 of 3 devices were not onboarded", requireType(t, contract.ErrNotHealthy, err))
	require.Equal(t, []int{1}, waiting)
	require.Equal(t, []contract.OnboardFailure{{DeviceID: "edge-001", Phase: contract.PhaseReach, Reason: contract.ErrUnreachable,
		Detail: "it does not answer; tried 6 times"}}, w.asked().Failures)
	n := 0
	for _, in := range inputs[contract.OnboardDeviceInput](w, contract.ActivityOnboard) {
		if in.DeviceID == "edge-001" {
			n++
		}
	}
	require.Equal(t, len(waits())+1, n)
}

func TestACancelledOnboardingDoesNotWaitForDarkDevices(t *testing.T) {
	w := onboardWorld(t, someRefs(2), func(in contract.OnboardDeviceInput) (contract.OnboardDeviceResult, error) { return dark(in), nil })
	w.env.RegisterDelayedCallback(w.env.CancelWorkflow, 2*time.Second)
	_, err := w.onboard(onboardInput())
	require.Error(t, err)
	require.Len(t, inputs[contract.OnboardDeviceInput](w, contract.ActivityOnboard), 2)
}

func TestTriesAreKeptWhenAnOnboardingGoesOnInANewRun(t *testing.T) {
	in := onboardInput()
	in.Bounds = contract.Bounds{Total: 2}
	tries := 0
	for runs := 1; ; runs++ {
		require.Less(t, runs, 20, "it comes to an end")
		w := onboardWorld(t, someRefs(2), func(in contract.OnboardDeviceInput) (contract.OnboardDeviceResult, error) {
			if in.DeviceID == "edge-000" {
				tries++
				return dark(in), nil
			}
			return well(in)
		})
		w.env.SetOnActivityCompletedListener(func(info *activity.Info, _ converter.EncodedValue, _ error) {
			if info.ActivityType.Name == contract.ActivityOnboard {
				w.env.SetCurrentHistoryLength(maxHistory + 1)
			}
		})
		_, err := w.onboard(in)
		var next *workflow.ContinueAsNewError
		if !errors.As(err, &next) {
			require.Equal(t, "1 of 2 devices were not onboarded", requireType(t, contract.ErrNotHealthy, err))
			break
		}
		in = contract.OnboardInput{}
		require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &in))
		require.Equal(t, []contract.TriedDevice{{ID: "edge-000", Tries: tries}}, in.Resume.Tried)
	}
	require.Equal(t, len(waits())+1, tries)
}

func TestPhasesAreListedInTheirOrderWhicheverDeviceHadThemFirst(t *testing.T) {
	w := onboardWorld(t, someRefs(2), func(in contract.OnboardDeviceInput) (contract.OnboardDeviceResult, error) {
		out, err := well(in)
		if in.DeviceID == "edge-001" {
			out.Phases = slices.Insert(out.Phases, 1, contract.PhaseTime{Phase: contract.PhaseEnrol, Took: time.Second})
		}
		return out, err
	})
	p, err := w.onboard(onboardInput())
	require.NoError(t, err)
	var names []string
	for _, phase := range p.Phases {
		names = append(names, phase.Phase)
	}
	require.Equal(t, []string{contract.PhaseReach, contract.PhaseEnrol, contract.PhaseVerify}, names)
}

func TestAFanoutGivesEveryDeviceAllItsTurnsWithinItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bounds := contract.Bounds{PerSite: rapid.IntRange(1, 2).Draw(t, "per site"), PerRegion: 3, Total: rapid.IntRange(1, 4).Draw(t, "total")}
		devices, takes, wanted := []contract.DeviceRef{}, map[string]time.Duration{}, map[string]int{}
		for n := range rapid.IntRange(0, 20).Draw(t, "devices") {
			d := someRefs(n + 1)[n]
			devices = append(devices, d)
			takes[d.ID] = time.Duration(rapid.IntRange(1, 5).Draw(t, "takes")) * time.Second
			wanted[d.ID] = rapid.IntRange(1, 4).Draw(t, "turns")
		}
		c := newCrew(bounds, takes)
		turns := map[string]int{}
		end := c.done
		c.done = func(ctx workflow.Context, d contract.DeviceRef, f workflow.Future) {
			end(ctx, d, f)
			if turns[d.ID]++; turns[d.ID] < wanted[d.ID] {
				c.again(ctx, d, time.Duration(rapid.IntRange(0, 9).Draw(t, "after"))*time.Second)
			}
		}
		c.work(t, func(env *testsuite.TestWorkflowEnvironment) { env.SetTestTimeout(20 * time.Second) }, devices)
		require.Empty(t, c.left)
		require.Empty(t, c.waiting)
		require.Equal(t, wanted, turns)
		for key, most := range c.most {
			limit := map[byte]int{'t': bounds.Total, 's': bounds.PerSite, 'r': bounds.PerRegion}[key[0]]
			require.LessOrEqual(t, most, limit, key)
			require.Zero(t, c.now[key])
		}
	})
}
