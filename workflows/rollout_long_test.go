package workflows

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"

	"edgefleet/workflows/contract"
)

// goneOn is the input with which a workflow continued as new.
func goneOn[In any](t *testing.T, err error) (in In) {
	t.Helper()
	var next *workflow.ContinueAsNewError
	require.ErrorAs(t, err, &next)
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &in))
	return in
}

// again is the same store with an environment of its own, as a new run has it.
func (r *rolloutWorld) again(t *testing.T) *rolloutWorld {
	next := newRolloutWorld(t, len(r.refs))
	next.waves, next.ended, next.begun, next.order, next.notes = r.waves, r.ended, r.begun, r.order, r.notes
	return next
}

func TestALongRolloutContinuesAsNewBetweenTwoWaves(t *testing.T) {
	r := newRolloutWorld(t, 12)
	r.inWaves()
	r.env.RegisterDelayedCallback(func() { r.env.SetContinueAsNewSuggested(true) }, time.Minute)
	r.begun.Strategy.Checks.Soak = 2 * time.Minute
	_, err := r.rollout()
	in := goneOn[contract.RolloutInput](t, err)
	require.NotNil(t, in.Resume)
	require.Equal(t, r.begun.RolloutID, in.Resume.Begun.RolloutID)
	require.NotContains(t, r.events(), "done kim", "it has not ended")

	next := r.again(t)
	next.begun.Strategy.Checks.Soak = 0
	in.Resume.Begun.Strategy.Checks.Soak = 0
	next.env.ExecuteWorkflow(contract.WorkflowRollout, in)
	require.NoError(t, next.env.GetWorkflowError())
	var out contract.RolloutProgress
	require.NoError(t, next.env.GetWorkflowResult(&out))
	require.Equal(t, contract.RolloutDone, out.State)
	require.Equal(t, contract.RolloutCounts{Healthy: 12}, out.RolloutCounts)
	require.Len(t, next.order, 12, "every device had its turn once")
	require.Zero(t, next.attempts[contract.ActivityBeginRollout], "a plan begins once")
	require.Equal(t, []string{"begun kim", "done kim"}, next.events())
}

func TestARolloutThatContinuesAsNewKeepsWhatWasApprovedAndAccepted(t *testing.T) {
	r := newRolloutWorld(t, 12)
	r.inWaves()
	r.begun.Strategy.Approval = contract.RolloutApproval{Before: contract.ApproveStart, Within: time.Hour}
	r.roll = func(in contract.RollOutDeviceInput) (contract.DeviceVerdict, error) {
		if r.waves[in.DeviceID] == 1 {
			return bad(contract.DeviceFailed, true)(in)
		}
		return contract.DeviceVerdict{DeviceID: in.DeviceID, State: contract.DeviceHealthy}, nil
	}
	r.tell(time.Minute, contract.UpdateRolloutApprove, contract.RolloutDecision{By: "bob", Approved: true, PlanHash: r.begun.PlanHash})
	r.env.RegisterDelayedCallback(func() {
		require.Equal(t, contract.RolloutPaused, r.now().State)
		r.env.SetContinueAsNewSuggested(true)
		r.env.UpdateWorkflow(contract.UpdateRolloutResume, "", &reply{}, by("bob"))
	}, 2*time.Hour)
	_, err := r.rollout()
	in := goneOn[contract.RolloutInput](t, err)
	require.Equal(t, 1, in.Resume.Approved)
	require.Equal(t, 1, in.Resume.Accepted.Unsafe)

	next := r.again(t)
	next.roll = r.roll
	next.env.ExecuteWorkflow(contract.WorkflowRollout, in)
	require.NoError(t, next.env.GetWorkflowError())
	var out contract.RolloutProgress
	require.NoError(t, next.env.GetWorkflowResult(&out))
	require.Equal(t, contract.RolloutDone, out.State, "%s: the device that is not healthy was accepted", out.Detail)
	require.Equal(t, []int{11, 1}, []int{out.Healthy, out.Failed})
}

func TestAPausedRolloutThatContinuesAsNewStaysPaused(t *testing.T) {
	r := newRolloutWorld(t, 12)
	r.inWaves()
	r.begun.Strategy.Checks.Soak = time.Hour
	r.tell(time.Minute, contract.UpdateRolloutPause, by("bob"))
	r.env.RegisterDelayedCallback(func() { r.env.SetContinueAsNewSuggested(true) }, 30*time.Minute)
	_, err := r.rollout()
	in := goneOn[contract.RolloutInput](t, err)
	require.Equal(t, contract.VerdictHealthy, in.Resume.Progress.Waves[0].Verdict)

	next := r.again(t)
	in.Resume.Begun.Strategy.Checks.Soak = 0
	var state string
	next.env.RegisterDelayedCallback(func() {
		state = next.now().State
		require.Len(t, next.order, 1, "nothing begins before somebody resumes it")
	}, 24*time.Hour)
	resumed := next.tell(25*time.Hour, contract.UpdateRolloutResume, by("bob"))
	next.env.ExecuteWorkflow(contract.WorkflowRollout, in)
	require.NoError(t, next.env.GetWorkflowError())
	require.NoError(t, resumed.refused)
	require.Equal(t, contract.RolloutPaused, state)
	require.Len(t, next.order, 12)
}

func TestAWaveThatContinuesAsNewKeepsWhatItWasToldAndWhatDidNotCount(t *testing.T) {
	r := newRolloutWorld(t, 10)
	for i := range r.refs {
		r.refs[i].Calendar = "w0f"
	}
	opens := r.env.Now().Add(3 * time.Hour)
	r.opening = func(name string) contract.Opening {
		return contract.Opening{Calendar: name, Open: !r.env.Now().Before(opens), Opens: &opens}
	}
	in := r.waveInput()
	in.Rate = 1
	in.Strategy.WaveDeadline = time.Hour
	signal := func(after time.Duration) {
		r.env.RegisterDelayedCallback(func() { r.env.SignalWorkflow(contract.SignalRolloutControl, contract.RolloutControl{Paused: true}) }, after)
	}
	signal(3*time.Hour + 90*time.Second)
	r.env.RegisterDelayedCallback(func() { r.env.SetContinueAsNewSuggested(true) }, 4*time.Hour)
	signal(4*time.Hour + time.Second)
	_, err := r.wave(in)
	next := goneOn[contract.RolloutWaveInput](t, err)
	require.True(t, next.Control.Paused)
	require.Equal(t, 2, next.Resume.Progress.Healthy)
	require.InDelta(t, 4*time.Hour-90*time.Second, next.Resume.Idle, float64(time.Minute), "without a window, and paused")
}

func TestARolloutThatContinuesAsNewKeepsWhatItWasTold(t *testing.T) {
	for want, ends := range map[string]string{contract.RolloutAborting: contract.RolloutAborted, contract.RolloutRollingBack: contract.RolloutRolledBack} {
		t.Run(want, func(t *testing.T) {
			r := newRolloutWorld(t, 12)
			r.inWaves()
			for _, d := range r.refs[:4] {
				r.ended[d.ID] = contract.DeviceVerdict{DeviceID: d.ID, State: contract.DeviceHealthy}
			}
			progress := contract.RolloutProgress{RolloutID: r.begun.RolloutID, State: want, Total: 12}
			for i, w := range r.begun.Waves {
				s := contract.WaveStatus{PlanWave: w}
				if i < 2 {
					s.Verdict = contract.VerdictHealthy
				}
				progress.Waves = append(progress.Waves, s)
			}
			in := r.input()
			in.Resume = &contract.RolloutState{Begun: r.begun, Progress: progress, Passes: 2, Want: want, Wanted: "told by bob"}
			r.env.ExecuteWorkflow(contract.WorkflowRollout, in)
			require.NoError(t, r.env.GetWorkflowError())
			var out contract.RolloutProgress
			require.NoError(t, r.env.GetWorkflowResult(&out))
			require.Equal(t, ends, out.State)
			require.Contains(t, out.Detail, "told by bob")
			require.Empty(t, r.order, "nothing more was begun")
		})
	}
}

// An operator is told that his word is taken: it holds also when the last wave
// ended while another word was answered.
func TestAWordBehindTheLastWaveCounts(t *testing.T) {
	r := newRolloutWorld(t, 4)
	r.begun.Strategy.Checks.Soak = time.Minute
	r.before = func(name string, n int) error {
		if name == contract.ActivityNoteRollout && n > 1 && n < 8 {
			return errors.New("the store is away for a moment")
		}
		return nil
	}
	first := r.tell(59500*time.Millisecond, contract.UpdateRolloutSkip, contract.RolloutCommand{By: "bob", Devices: []string{r.refs[0].ID}})
	second := &reply{}
	r.env.RegisterDelayedCallback(func() {
		require.Equal(t, contract.VerdictHealthy, r.now().Waves[0].Verdict, "the last wave is over")
		r.env.UpdateWorkflow(contract.UpdateRolloutRollBack, "", second, by("bob"))
	}, 61500*time.Millisecond)
	out, err := r.rollout()
	require.NoError(t, err)
	require.NoError(t, errors.Join(first.refused, first.failed, second.refused, second.failed))
	require.Equal(t, contract.RolloutRolledBack, out.State)
	require.Equal(t, 4, out.Rollback.Back)
}

func TestALongRollbackContinuesAsNewWithWhatIsLeft(t *testing.T) {
	r := newRolloutWorld(t, 30)
	for _, d := range r.refs {
		r.ended[d.ID] = contract.DeviceVerdict{DeviceID: d.ID, State: contract.DeviceHealthy}
	}
	n := 0
	r.before = func(name string, _ int) error {
		if name == contract.ActivityRollBackDevice {
			if n++; n == 5 {
				r.env.SetContinueAsNewSuggested(true)
			}
		}
		return nil
	}
	in := contract.RollbackInput{RolloutID: r.begun.RolloutID, Own: true, Reason: "it hums", Bounds: contract.Bounds{PerSite: 1, PerRegion: 1, Total: 1}}
	r.env.ExecuteWorkflow(contract.WorkflowRollback, in)
	next := goneOn[contract.RollbackInput](t, r.env.GetWorkflowError())
	require.NotNil(t, next.Resume)
	require.Equal(t, 5, next.Resume.Progress.Back)
	require.Len(t, r.notes, 1, "it has not ended")

	rest := r.again(t)
	rest.env.ExecuteWorkflow(contract.WorkflowRollback, next)
	require.NoError(t, rest.env.GetWorkflowError())
	var out contract.RollbackProgress
	require.NoError(t, rest.env.GetWorkflowResult(&out))
	require.Equal(t, 30, out.Back)
	require.Equal(t, 25, rest.attempts[contract.ActivityRollBackDevice], "each device is taken back once")
	require.Len(t, rest.notes, 2)
	require.Equal(t, contract.RolloutRolledBack, rest.notes[1].State)
}

func TestAWaveThatContinuesAsNewGoesOnWithItsChecks(t *testing.T) {
	r := newRolloutWorld(t, 3)
	r.metric = func() (contract.MetricVerdict, error) {
		return contract.MetricVerdict{Verdict: contract.VerdictHealthy}, nil
	}
	in := r.waveInput()
	in.Strategy.Checks = contract.RolloutChecks{Soak: time.Hour, Passes: 4, Every: time.Minute, Within: 10 * time.Minute, Metric: "vector(1)"}
	began := r.env.Now()
	r.env.RegisterDelayedCallback(func() { r.env.SetContinueAsNewSuggested(true) }, time.Hour+30*time.Second)
	_, err := r.wave(in)
	next := goneOn[contract.RolloutWaveInput](t, err)
	require.Equal(t, 2, next.Resume.Passed)
	require.True(t, began.Add(time.Hour+10*time.Minute).Equal(*next.Resume.CheckUntil), "the checks have their time once")

	rest := r.again(t)
	rest.metric = r.metric
	began = rest.env.Now()
	out, err := rest.wave(next)
	require.NoError(t, err)
	require.Equal(t, contract.VerdictHealthy, out.Verdict)
	require.Len(t, inputs[contract.CheckMetricInput](rest.world, contract.ActivityCheckMetric), 2, "what had passed counts")
	require.Less(t, rest.env.Now().Sub(began), 10*time.Minute, "it has soaked")
	require.Len(t, rest.order, 3, "and no device has its turn again")
}
