package workflows

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"edgefleet/workflows/contract"
)

// inWaves puts the devices of a world into a canary and two waves.
func (r *rolloutWorld) inWaves() {
	sizes := []int{1, 3, len(r.refs) - 4}
	r.begun.Waves = nil
	next := 0
	for i, size := range sizes {
		name := []string{"canary", "25%", "100%"}[i]
		r.begun.Waves = append(r.begun.Waves, contract.PlanWave{Number: i + 1, Name: name, Devices: size})
		for _, d := range r.refs[next : next+size] {
			r.waves[d.ID] = i + 1
		}
		next += size
	}
}

func (r *rolloutWorld) input() contract.RolloutInput {
	return contract.RolloutInput{PlanHash: r.begun.PlanHash, Actor: contract.Actor{Kind: contract.ActorOperator, Name: "kim"}, Reason: "spring"}
}

// rollout runs the workflow to its end.
func (r *rolloutWorld) rollout() (contract.RolloutProgress, error) {
	r.t.Helper()
	r.env.ExecuteWorkflow(contract.WorkflowRollout, r.input())
	require.True(r.t, r.env.IsWorkflowCompleted())
	var out contract.RolloutProgress
	if err := r.env.GetWorkflowError(); err != nil {
		return out, err
	}
	require.NoError(r.t, r.env.GetWorkflowResult(&out))
	return out, nil
}

func (r *rolloutWorld) now() contract.RolloutProgress {
	r.t.Helper()
	value, err := r.env.QueryWorkflow(contract.QueryProgress)
	require.NoError(r.t, err)
	var p contract.RolloutProgress
	require.NoError(r.t, value.Get(&p))
	return p
}

// reply is what an update was answered.
type reply struct {
	refused, failed error
	text            string
}

func (a *reply) Accept()          {}
func (a *reply) Reject(err error) { a.refused = err }
func (a *reply) Complete(v any, err error) {
	a.failed = err
	a.text, _ = v.(string)
}

// tell sends an update after a while, and returns where its reply comes.
func (r *rolloutWorld) tell(after time.Duration, update string, arg any) *reply {
	a := &reply{}
	r.env.RegisterDelayedCallback(func() { r.env.UpdateWorkflow(update, "", a, arg) }, after)
	return a
}

func by(name string) contract.RolloutCommand {
	return contract.RolloutCommand{By: name, Note: "as agreed"}
}

// events are what the ledger has of the rollout.
func (r *rolloutWorld) events() (out []string) {
	for _, n := range r.notes {
		if n.Event != "" {
			who := n.By
			if who == "" {
				who = n.Actor.Name
			}
			out = append(out, n.Event+" "+who)
		}
	}
	return out
}

func TestARolloutGoesWaveByWave(t *testing.T) {
	r := newRolloutWorld(t, 12)
	r.inWaves()
	out, err := r.rollout()
	require.NoError(t, err)
	require.Equal(t, contract.RolloutDone, out.State)
	require.Equal(t, contract.RolloutCounts{Healthy: 12}, out.RolloutCounts)
	require.NotNil(t, out.Ended)
	wave := 0
	for _, id := range r.order {
		require.GreaterOrEqual(t, r.waves[id], wave, "%s had its turn out of its wave", id)
		wave = r.waves[id]
	}
	require.Equal(t, []string{"begun kim", "done kim"}, r.events())
	require.True(t, r.notes[len(r.notes)-1].Ended)
	require.Equal(t, contract.RolloutDone, r.attrs[len(r.attrs)-1][contract.AttrOutcome])
}

func TestWhatARolloutDoesWhenALimitIsPassed(t *testing.T) {
	for _, c := range []struct{ onBreach, state string }{
		{contract.BreachAbort, contract.RolloutAborted}, {contract.BreachRollBack, contract.RolloutRolledBack},
	} {
		t.Run(c.onBreach, func(t *testing.T) {
			r := newRolloutWorld(t, 12)
			r.inWaves()
			r.begun.Strategy.OnBreach = c.onBreach
			r.roll = bad(contract.DeviceFailed, true)
			out, err := r.rollout()
			require.NoError(t, err, "that is an end, and no failure")
			require.Equal(t, c.state, out.State)
			require.Contains(t, out.Detail, "edge-000 may be neither as planned nor as before: it hums")
			require.Equal(t, []string{"edge-000"}, r.order, "the canary alone was touched")
			require.Equal(t, c.onBreach == contract.BreachRollBack, out.Rollback != nil)
			if out.Rollback != nil {
				require.Equal(t, []int{1, 0}, []int{out.Rollback.Back, out.Rollback.Kept})
			}
		})
	}
}

func TestAPausedRolloutGoesOnWhenSomebodyAcceptsIt(t *testing.T) {
	r := newRolloutWorld(t, 12)
	r.inWaves()
	r.roll = func(in contract.RollOutDeviceInput) (contract.DeviceVerdict, error) {
		state := contract.DeviceHealthy
		if in.DeviceID == "edge-000" {
			state = contract.DeviceFailed
		}
		return contract.DeviceVerdict{DeviceID: in.DeviceID, State: state, Unsafe: state == contract.DeviceFailed, Detail: "it hums"}, nil
	}
	var paused contract.RolloutProgress
	r.env.RegisterDelayedCallback(func() { paused = r.now() }, time.Hour)
	again := r.tell(time.Hour, contract.UpdateRolloutPause, by("bob"))
	resumed := r.tell(2*time.Hour, contract.UpdateRolloutResume, by("bob"))
	out, err := r.rollout()
	require.NoError(t, err)
	require.Equal(t, contract.RolloutPaused, paused.State)
	require.Contains(t, paused.Detail, "edge-000 may be neither as planned nor as before")
	require.ErrorContains(t, again.refused, "the rollout is paused already: edge-000 may be")
	require.NoError(t, resumed.refused)
	require.Equal(t, "resumed", resumed.text)
	require.Equal(t, contract.RolloutDone, out.State)
	require.Equal(t, []int{11, 1}, []int{out.Healthy, out.Failed})
	require.Equal(t, contract.VerdictFailed, out.Waves[0].Verdict)
	require.Equal(t, []string{"begun kim", "paused kim", "resumed bob", "done kim"}, r.events())
}

func TestWhatFailedIsTriedAgain(t *testing.T) {
	r := newRolloutWorld(t, 12)
	r.inWaves()
	tries := 0
	r.roll = func(in contract.RollOutDeviceInput) (contract.DeviceVerdict, error) {
		if in.DeviceID == "edge-000" {
			if tries++; tries == 1 {
				return contract.DeviceVerdict{DeviceID: in.DeviceID, State: contract.DeviceUnknown, Unsafe: true}, nil
			}
		}
		return contract.DeviceVerdict{DeviceID: in.DeviceID, State: contract.DeviceHealthy}, nil
	}
	retried := r.tell(time.Hour, contract.UpdateRolloutRetry, by("bob"))
	r.tell(2*time.Hour, contract.UpdateRolloutResume, by("bob"))
	out, err := r.rollout()
	require.NoError(t, err)
	require.Equal(t, "1 devices come to their turn again when the rollout is resumed", retried.text)
	require.Equal(t, contract.RolloutCounts{Healthy: 12}, out.RolloutCounts)
	require.Equal(t, 2, tries)
	require.Equal(t, contract.VerdictHealthy, out.Waves[0].Verdict)
}

func TestAnOperatorEndsARollout(t *testing.T) {
	for _, c := range []struct{ update, state string }{
		{contract.UpdateRolloutAbort, contract.RolloutAborted}, {contract.UpdateRolloutRollBack, contract.RolloutRolledBack},
	} {
		t.Run(c.update, func(t *testing.T) {
			r := newRolloutWorld(t, 12)
			r.inWaves()
			r.begun.Strategy.Rate = 1
			told := r.tell(3*time.Minute+30*time.Second, c.update, by("bob"))
			second := r.tell(3*time.Minute+30*time.Second, contract.UpdateRolloutPause, by("bob"))
			out, err := r.rollout()
			require.NoError(t, err)
			require.NoError(t, told.refused)
			require.Error(t, second.refused)
			require.Equal(t, c.state, out.State)
			require.Contains(t, out.Detail, "by bob: as agreed")
			require.Less(t, len(r.order), 12)
			require.NotEmpty(t, r.order)
		})
	}
}

func TestAnApprovalIsSomebodyElsesAndForThisPlan(t *testing.T) {
	r := newRolloutWorld(t, 12)
	r.inWaves()
	r.begun.Strategy.Approval = contract.RolloutApproval{Before: contract.ApproveFleet, Within: 24 * time.Hour}
	hash := r.begun.PlanHash
	decide := func(after time.Duration, d contract.RolloutDecision) *reply {
		return r.tell(after, contract.UpdateRolloutApprove, d)
	}
	own := decide(time.Hour, contract.RolloutDecision{By: "Kim", Approved: true, PlanHash: hash})
	other := decide(time.Hour, contract.RolloutDecision{By: "bob", Approved: true, PlanHash: strings.Repeat("0", 64)})
	nobody := decide(time.Hour, contract.RolloutDecision{By: " ", Approved: true, PlanHash: hash})
	resume := r.tell(time.Hour, contract.UpdateRolloutResume, by("bob"))
	good := decide(2*time.Hour, contract.RolloutDecision{By: "bob", Approved: true, PlanHash: hash, Note: "looked at it"})
	late := decide(2*time.Hour, contract.RolloutDecision{By: "eve", PlanHash: hash})
	out, err := r.rollout()
	require.NoError(t, err)
	require.ErrorContains(t, own.refused, "somebody else has to approve it")
	require.ErrorContains(t, other.refused, "this rollout carries out "+hash)
	require.ErrorContains(t, nobody.refused, "the name is empty")
	require.ErrorContains(t, resume.refused, "waits for the approval of wave 2 (25%, 3 devices)")
	require.NoError(t, good.refused)
	require.Error(t, late.refused)
	require.Equal(t, contract.RolloutDone, out.State)
	require.Contains(t, r.events(), "approved wave 2 (25%, 3 devices) bob")
}

func TestNeitherWhoMadeThePlanNorWhoStartedItApprovesIt(t *testing.T) {
	r := newRolloutWorld(t, 12)
	r.inWaves()
	r.begun.Requester = "operator:kim"
	r.begun.Strategy.Approval = contract.RolloutApproval{Before: contract.ApproveStart, Within: 24 * time.Hour}
	in := r.input()
	in.Actor.Name = "eve"
	decide := func(by string, approved bool) *reply {
		return r.tell(time.Hour, contract.UpdateRolloutApprove, contract.RolloutDecision{By: by, Approved: approved, PlanHash: r.begun.PlanHash, Note: "no"})
	}
	refused := map[string]*reply{}
	for _, by := range []string{"kim", "Kim ", "eve", "EVE"} {
		refused[by] = decide(by, true)
	}
	own := decide("eve", false)
	r.env.ExecuteWorkflow(contract.WorkflowRollout, in)
	require.NoError(t, r.env.GetWorkflowError())
	for by, a := range refused {
		require.ErrorContains(t, a.refused, by+" has asked for this rollout, so somebody else has to approve it")
	}
	require.NoError(t, own.refused, "anybody may say no")
	var out contract.RolloutProgress
	require.NoError(t, r.env.GetWorkflowResult(&out))
	require.Equal(t, contract.RolloutRefused, out.State)
	require.Empty(t, r.order)
}

func TestWhatIsApprovedBeforeWhat(t *testing.T) {
	for _, c := range []struct {
		before string
		canary bool
		gates  []string
	}{
		{contract.ApproveNothing, true, nil},
		{contract.ApproveStart, true, []string{"the rollout"}},
		{contract.ApproveFleet, true, []string{"wave 2 (25%, 3 devices)"}},
		{contract.ApproveFleet, false, []string{"wave 1 (5%, 1 device)"}},
		{contract.ApproveWaves, true, []string{"wave 1 (canary, 1 device)", "wave 2 (25%, 3 devices)", "wave 3 (100%, 8 devices)"}},
	} {
		t.Run(fmt.Sprintf("%s, canary %v", c.before, c.canary), func(t *testing.T) {
			r := newRolloutWorld(t, 12)
			r.inWaves()
			if !c.canary {
				r.begun.Waves[0].Name = "5%"
			}
			r.begun.Strategy.Approval = contract.RolloutApproval{Before: c.before, Within: 24 * time.Hour}
			var gates []string
			var approved, refused []*reply
			for hour := range c.gates {
				r.env.RegisterDelayedCallback(func() {
					p := r.now()
					gates = append(gates, p.Waiting)
					require.Equal(t, p.RolloutCounts.Ended(), len(r.order), "nothing is in work")
					yes, no := &reply{}, &reply{}
					approved, refused = append(approved, yes), append(refused, no)
					r.env.UpdateWorkflow(contract.UpdateRolloutApprove, "", yes, contract.RolloutDecision{By: "bob", Approved: true, PlanHash: p.PlanHash})
					r.env.UpdateWorkflow(contract.UpdateRolloutApprove, "", no, contract.RolloutDecision{By: "eve", PlanHash: p.PlanHash})
				}, time.Duration(hour+1)*time.Hour)
			}
			out, err := r.rollout()
			require.NoError(t, err)
			require.Equal(t, contract.RolloutDone, out.State, out.Detail)
			require.Equal(t, c.gates, gates)
			for i := range gates {
				require.NoError(t, approved[i].refused)
				require.ErrorContains(t, refused[i].refused, "the rollout waits for no approval", "bob has decided")
			}
		})
	}
}

func TestARefusalAndNoAnswerEndARolloutCleanly(t *testing.T) {
	for name, c := range map[string]struct {
		decide bool
		says   string
	}{
		"refused": {true, "bob refused the rollout: not in the storm"}, "nobody": {false, "nobody approved the rollout within 24h0m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRolloutWorld(t, 12)
			r.inWaves()
			r.begun.Strategy.Approval = contract.RolloutApproval{Before: contract.ApproveStart, Within: 24 * time.Hour}
			if c.decide {
				r.tell(time.Hour, contract.UpdateRolloutApprove, contract.RolloutDecision{By: "bob", PlanHash: r.begun.PlanHash, Note: "not in the storm"})
			}
			out, err := r.rollout()
			require.NoError(t, err)
			require.Equal(t, contract.RolloutRefused, out.State)
			require.Equal(t, c.says, out.Detail)
			require.Empty(t, r.order, "nothing was touched")
		})
	}
}

func TestDevicesAreLeftOut(t *testing.T) {
	r := newRolloutWorld(t, 12)
	r.inWaves()
	r.begun.Strategy.Rate = 1
	skipped := r.tell(90*time.Second, contract.UpdateRolloutSkip, contract.RolloutCommand{By: "bob", Devices: []string{"edge-011"}})
	none := r.tell(90*time.Second, contract.UpdateRolloutSkip, by("bob"))
	bad := r.tell(90*time.Second, contract.UpdateRolloutSkip, contract.RolloutCommand{By: "bob", Devices: []string{"../x"}})
	out, err := r.rollout()
	require.NoError(t, err)
	require.Equal(t, "1 device is left out", skipped.text)
	require.ErrorContains(t, none.refused, "name them")
	require.Error(t, bad.refused)
	require.NotContains(t, r.order, "edge-011")
	require.Equal(t, []int{11, 1}, []int{out.Healthy, out.Skipped})
	require.Equal(t, contract.RolloutDone, out.State)
}

func TestARolloutHasADeadline(t *testing.T) {
	r := newRolloutWorld(t, 12)
	r.inWaves()
	r.begun.Strategy.Rate, r.begun.Strategy.Deadline = 1, 4*time.Minute
	out, err := r.rollout()
	require.NoError(t, err)
	require.Equal(t, contract.RolloutAborted, out.State)
	require.Equal(t, "it did not end within 4m0s", out.Detail)
}

func TestACancelledRolloutNotesItsEnd(t *testing.T) {
	r := newRolloutWorld(t, 12)
	r.inWaves()
	r.begun.Strategy.Rate = 1
	r.env.RegisterDelayedCallback(r.env.CancelWorkflow, 150*time.Second)
	_, err := r.rollout()
	require.Error(t, err)
	last := r.notes[len(r.notes)-1]
	require.Equal(t, contract.RolloutCancelled, last.State)
	require.True(t, last.Ended)
}

func TestARollbackListsWhatCannotGoBack(t *testing.T) {
	r := newRolloutWorld(t, 6)
	for _, d := range r.refs {
		r.ended[d.ID] = contract.DeviceVerdict{DeviceID: d.ID, State: contract.DeviceHealthy}
	}
	r.before = func(name string, n int) error {
		if name == contract.ActivityRollBackDevice && n == 2 {
			return temporal.NewNonRetryableApplicationError("dark", contract.ErrUnreachable, nil)
		}
		return nil
	}
	r.env.ExecuteWorkflow(contract.WorkflowRollback, contract.RollbackInput{RolloutID: r.begun.RolloutID, Own: true, Reason: "it hums"})
	require.NoError(t, r.env.GetWorkflowError())
	var out contract.RollbackProgress
	require.NoError(t, r.env.GetWorkflowResult(&out))
	require.Equal(t, 5, out.Back)
	require.Equal(t, 1, out.Kept)
	require.Len(t, out.Findings, 1)
	last := r.notes[len(r.notes)-1]
	require.Equal(t, contract.RolloutPartlyBack, last.State)
	require.True(t, last.Ended)
}
