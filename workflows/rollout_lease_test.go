package workflows

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"edgefleet/workflows/contract"
)

// remediator is who holds a device.
func remediator(device string) *contract.LeaseHolder {
	return &contract.LeaseHolder{DeviceID: device, WorkflowID: "remediate/" + device + "/EdgeDeviceOffline", RunID: "r", Since: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
}

func heldVerdict(device string) contract.DeviceVerdict {
	return contract.DeviceVerdict{DeviceID: device, State: contract.DeviceHeld, Holder: remediator(device)}
}

// heldUntil has edge-000 held until a while from now.
func (r *rolloutWorld) heldUntil(d time.Duration) {
	at := r.env.Now().Add(d)
	r.roll = func(in contract.RollOutDeviceInput) (contract.DeviceVerdict, error) {
		if in.DeviceID == "edge-000" && r.env.Now().Before(at) {
			return heldVerdict(in.DeviceID), nil
		}
		return contract.DeviceVerdict{DeviceID: in.DeviceID, State: contract.DeviceHealthy}, nil
	}
}

// waiting has each wait for a lease take a while, and come to an answer. The
// suite gives up retries after ten, so that the engine's are
// played.
func (r *rolloutWorld) waiting(d time.Duration, answer func(contract.AwaitLeaseInput) (contract.AwaitLeaseResult, error)) {
	r.env.OnActivity(contract.ActivityAwaitLease, mock.Anything, mock.Anything).After(d).Return(
		func(_ context.Context, in contract.AwaitLeaseInput) (contract.AwaitLeaseResult, error) {
			return answer(in)
		})
}

func free(contract.AwaitLeaseInput) (contract.AwaitLeaseResult, error) {
	return contract.AwaitLeaseResult{}, nil
}

// never is what the engine makes of a wait whose time is over.
func never(in contract.AwaitLeaseInput) (contract.AwaitLeaseResult, error) {
	return contract.AwaitLeaseResult{}, temporal.NewNonRetryableApplicationError(holderText(in.DeviceID, in.Holder), contract.ErrLeaseHeld, nil)
}

// seenAt is what a wave says of itself after a while.
func (r *rolloutWorld) seenAt(after time.Duration, into any) {
	r.env.RegisterDelayedCallback(func() {
		value, err := r.env.QueryWorkflow(contract.QueryProgress)
		require.NoError(r.t, err)
		require.NoError(r.t, value.Get(into))
	}, after)
}

func (r *rolloutWorld) tellAt(after time.Duration, c contract.RolloutControl) {
	r.env.RegisterDelayedCallback(func() { r.env.SignalWorkflow(contract.SignalRolloutControl, c) }, after)
}

func TestADeviceThatAnotherHoldsIsWaitedForUntilItIsFree(t *testing.T) {
	r := newRolloutWorld(t, 6)
	in := r.waveInput()
	in.Strategy.DeviceDeadline = time.Hour
	in.Strategy.Bounds = contract.Bounds{PerSite: 1, PerRegion: 1, Total: 1}
	began := r.env.Now()
	r.heldUntil(40 * time.Minute)
	r.waiting(40*time.Minute, free)
	var p contract.WaveProgress
	r.seenAt(20*time.Minute, &p)
	out, err := r.wave(in)
	require.NoError(t, err)
	require.Equal(t, contract.RolloutCounts{Healthy: 6}, out.RolloutCounts, "%+v", out.Findings)
	require.Equal(t, "edge-000", r.order[0])
	require.Equal(t, "edge-000", r.order[len(r.order)-1], "its turn comes again")
	require.Len(t, r.order, 7, "it is asked twice, however long it waited")

	require.Equal(t, 5, p.Healthy, "the others have its place meanwhile")
	require.Equal(t, contract.WaveHeld, p.Phase)
	require.Empty(t, p.Running)
	require.Equal(t, 1, p.Held)
	require.Equal(t, "edge-000", p.LeaseWaits[0].DeviceID)
	require.Equal(t, *remediator("edge-000"), p.LeaseWaits[0].Holder)
	require.WithinDuration(t, began, p.LeaseWaits[0].Since, time.Minute)
	require.WithinDuration(t, began.Add(time.Hour-leastWork), p.LeaseWaits[0].Until, time.Minute)
	require.Zero(t, out.Held)

	work := inputs[contract.RollOutDeviceInput](r.world, contract.ActivityRollOutDevice)
	last := work[len(work)-1]
	require.True(t, last.Yield)
	require.InDelta(t, (20 * time.Minute).Seconds(), last.Deadline.Seconds(), 60, "what is left of its deadline")
}

// A fleet that is held as a whole is not waited for as a whole: what a workflow
// has under way at once is bounded, whatever it is.
func TestNoMoreDevicesAreWaitedForThanAWaveMayHaveInWork(t *testing.T) {
	const n = contract.MaxAtOnce + 40
	r := newRolloutWorld(t, n)
	in := r.waveInput()
	in.Strategy.DeviceDeadline = time.Hour
	in.Strategy.Bounds = contract.Bounds{PerSite: n, PerRegion: n, Total: contract.MaxAtOnce}
	until := r.env.Now().Add(30 * time.Minute)
	r.roll = func(in contract.RollOutDeviceInput) (contract.DeviceVerdict, error) {
		if r.env.Now().Before(until) {
			return heldVerdict(in.DeviceID), nil
		}
		return contract.DeviceVerdict{DeviceID: in.DeviceID, State: contract.DeviceHealthy}, nil
	}
	r.waiting(30*time.Minute, free)
	var p contract.WaveProgress
	r.seenAt(20*time.Minute, &p)
	out, err := r.wave(in)
	require.NoError(t, err)
	require.Equal(t, contract.RolloutCounts{Healthy: n}, out.RolloutCounts, "%+v", out.Findings)
	require.Equal(t, contract.MaxAtOnce, p.Held)
	require.Equal(t, contract.WaveHeld, p.Phase)
}

func TestADeviceThatIsNotFreeByItsDeadlineHasNotBegun(t *testing.T) {
	r := newRolloutWorld(t, 2)
	in := r.waveInput()
	in.Strategy.DeviceDeadline, in.Strategy.Takes = time.Hour, 10*time.Minute
	hundred := 100.0
	in.Strategy.WaveLimit = contract.RolloutLimit{Percent: &hundred}
	in.Strategy.TotalLimit = in.Strategy.WaveLimit
	r.heldUntil(55 * time.Minute)
	r.waiting(50*time.Minute, never)
	var p contract.WaveProgress
	r.seenAt(20*time.Minute, &p)
	began := r.env.Now()
	out, err := r.wave(in)
	require.NoError(t, err)
	require.Equal(t, contract.RolloutCounts{Healthy: 1, NotBegun: 1}, out.RolloutCounts)
	f := out.Findings[0]
	require.Equal(t, []string{"edge-000", contract.DeviceNotBegun, contract.ErrLeaseHeld}, []string{f.DeviceID, f.State, f.Reason})
	require.Equal(t, "edge-000 is held by remediate/edge-000/EdgeDeviceOffline since 2026-11-23T12:00:00Z", f.Detail)
	require.WithinDuration(t, began.Add(50*time.Minute), p.LeaseWaits[0].Until, time.Minute, "it waits as long as its deadline leaves time for the work")
}

func TestAWaitForALeaseIsBoundedByTheDeadline(t *testing.T) {
	r := newRolloutWorld(t, 1)
	r.heldUntil(time.Second)
	in := r.waveInput()
	in.Strategy.DeviceDeadline = time.Hour
	_, err := r.wave(in)
	require.NoError(t, err)
	require.Equal(t, time.Hour-leastWork, r.info(contract.ActivityAwaitLease).ScheduleToCloseTimeout)
	require.LessOrEqual(t, r.attempts[contract.ActivityAwaitLease], 2, "one that is to be had, and is another's all the same, is paused for")
}

func TestAWaitForALeaseGoesOnWithTheNextHolder(t *testing.T) {
	r := newRolloutWorld(t, 1)
	in := r.waveInput()
	in.Strategy.DeviceDeadline = time.Hour
	began := r.env.Now()
	second := &contract.LeaseHolder{DeviceID: "edge-009", WorkflowID: "onboard/x", RunID: "q", Since: began}
	r.heldUntil(30 * time.Minute)
	r.waiting(15*time.Minute, func(in contract.AwaitLeaseInput) (contract.AwaitLeaseResult, error) {
		if in.Holder.RunID == "r" {
			return contract.AwaitLeaseResult{Holder: second}, nil
		}
		return contract.AwaitLeaseResult{}, nil
	})
	var p contract.WaveProgress
	r.seenAt(20*time.Minute, &p)
	out, err := r.wave(in)
	require.NoError(t, err)
	require.Equal(t, 1, out.Healthy)
	require.Len(t, r.order, 2)
	require.Equal(t, "onboard/x", p.LeaseWaits[0].Holder.WorkflowID)
	require.WithinDuration(t, began, p.LeaseWaits[0].Since, time.Minute, "it has waited since it began to")
	require.WithinDuration(t, began.Add(time.Hour-leastWork), p.LeaseWaits[0].Until, time.Minute, "and its deadline does not begin anew")
	require.Equal(t, "edge-000 waits for its partner: edge-009 is held by onboard/x since "+began.UTC().Format(time.RFC3339), holderText("edge-000", p.LeaseWaits[0].Holder))
}

// What waits has begun nothing, so that it ends at once where nothing more is to
// begin.
func TestNothingIsWaitedForWhereNothingMoreIsToBegin(t *testing.T) {
	held := func(t *testing.T) (*rolloutWorld, contract.RolloutWaveInput, time.Time) {
		r := newRolloutWorld(t, 3)
		in := r.waveInput()
		in.Strategy.DeviceDeadline = 10 * time.Hour
		r.heldUntil(5 * time.Hour)
		r.waiting(5*time.Hour, free)
		return r, in, r.env.Now()
	}
	t.Run("stopped", func(t *testing.T) {
		r, in, began := held(t)
		r.tellAt(time.Hour, contract.RolloutControl{Stopped: true})
		out, err := r.wave(in)
		require.NoError(t, err)
		require.Less(t, r.env.Now().Sub(began), 2*time.Hour)
		require.Equal(t, contract.RolloutCounts{Healthy: 2}, out.RolloutCounts)
		require.Equal(t, 1, out.Left, "it is left, and has no verdict")
		require.NotContains(t, r.ended, "edge-000")
	})
	t.Run("cancelled", func(t *testing.T) {
		r, in, began := held(t)
		r.env.RegisterDelayedCallback(r.env.CancelWorkflow, time.Hour)
		_, err := r.wave(in)
		require.Error(t, err)
		require.Less(t, r.env.Now().Sub(began), 2*time.Hour)
		require.Equal(t, contract.DeviceNotBegun, r.ended["edge-000"].State)
	})
	t.Run("the wave takes too long", func(t *testing.T) {
		r, in, began := held(t)
		in.Strategy.WaveDeadline = time.Hour
		out, err := r.wave(in)
		require.NoError(t, err)
		require.Contains(t, out.Breach, "wave 1 did not end within 1h0m0s; 1 devices were not started")
		require.Less(t, r.env.Now().Sub(began), 2*time.Hour)
	})
	t.Run("paused: what is free by then waits for the word", func(t *testing.T) {
		r, in, began := held(t)
		r.tellAt(time.Hour, contract.RolloutControl{Paused: true})
		var p contract.WaveProgress
		r.seenAt(8*time.Hour, &p)
		r.tellAt(9*time.Hour, contract.RolloutControl{})
		out, err := r.wave(in)
		require.NoError(t, err)
		require.Equal(t, contract.WavePaused, p.Phase)
		require.Equal(t, 2, p.Healthy)
		require.Zero(t, p.Held)
		require.Equal(t, 3, out.Healthy)
		require.GreaterOrEqual(t, r.env.Now().Sub(began), 9*time.Hour)
	})
	t.Run("continued as new: what was waited goes along", func(t *testing.T) {
		r, in, _ := held(t)
		r.env.RegisterDelayedCallback(func() {
			r.env.SetCurrentHistoryLength(maxHistory + 1)
			r.env.SignalWorkflow(contract.SignalRolloutControl, contract.RolloutControl{})
		}, time.Hour)
		_, err := r.wave(in)
		var next *workflow.ContinueAsNewError
		require.ErrorAs(t, err, &next)
		var along contract.RolloutWaveInput
		require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &along))
		require.Len(t, along.Resume.Waited, 1)
		require.Equal(t, "edge-000", along.Resume.Waited[0].DeviceID)
		require.InDelta(t, time.Hour.Seconds(), along.Resume.Waited[0].Waited.Seconds(), 60)

		rest := newRolloutWorld(t, 1)
		rest.heldUntil(time.Millisecond)
		in.Resume = along.Resume
		_, err = rest.wave(in)
		require.NoError(t, err)
		require.InDelta(t, (9 * time.Hour).Seconds(), rest.info(contract.ActivityAwaitLease).ScheduleToCloseTimeout.Seconds(), 120)
	})
}

func TestARollbackWaitsForADeviceThatAnotherHolds(t *testing.T) {
	for _, c := range []struct {
		name       string
		waits      time.Duration
		answer     func(contract.AwaitLeaseInput) (contract.AwaitLeaseResult, error)
		back, kept int
	}{
		{"until it is free", 15 * time.Minute, free, 3, 0},
		{"and no longer than its deadline leaves time for the work", rollbackWait, never, 2, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRolloutWorld(t, 3)
			for _, d := range r.refs {
				r.ended[d.ID] = contract.DeviceVerdict{DeviceID: d.ID, State: contract.DeviceFailed}
			}
			at := r.env.Now().Add(c.waits)
			r.waiting(c.waits, c.answer)
			r.back = func(in contract.RollBackDeviceInput) contract.DeviceVerdict {
				require.True(t, in.Yield)
				if in.DeviceID == "edge-001" && r.env.Now().Before(at) {
					return heldVerdict(in.DeviceID)
				}
				return contract.DeviceVerdict{}
			}
			var p contract.RollbackProgress
			r.seenAt(10*time.Minute, &p)
			r.env.ExecuteWorkflow(contract.WorkflowRollback, contract.RollbackInput{RolloutID: r.begun.RolloutID, Reason: "it hums"})
			require.NoError(t, r.env.GetWorkflowError())
			var out contract.RollbackProgress
			require.NoError(t, r.env.GetWorkflowResult(&out))
			require.Equal(t, []int{c.back, c.kept}, []int{out.Back, out.Kept}, "%+v", out.Findings)
			require.Zero(t, out.Held)
			require.Equal(t, 2, p.Back)
			require.Equal(t, []string{"edge-001"}, p.Running)
			require.Equal(t, 1, p.Held)
			require.Equal(t, *remediator("edge-001"), p.LeaseWaits[0].Holder)
			if c.kept > 0 {
				settled := inputs[contract.SettleDeviceInput](r.world, contract.ActivitySettleDevice)
				require.Equal(t, []string{contract.DeviceKept, contract.ErrLeaseHeld}, []string{settled[0].State, settled[0].Reason})
				require.Contains(t, settled[0].Detail, "edge-001 is held by remediate/edge-001")
			}
		})
	}
}
