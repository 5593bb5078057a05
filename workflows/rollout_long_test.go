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
