package workflows

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"edgefleet/workflows/contract"
)

func TestAWaveGivesEveryDeviceItsTurnOnce(t *testing.T) {
	r := newRolloutWorld(t, 1203)
	out, err := r.wave(r.waveInput())
	require.NoError(t, err)
	require.Equal(t, contract.VerdictHealthy, out.Verdict)
	require.Equal(t, contract.RolloutCounts{Healthy: 1203}, out.RolloutCounts)
	require.Len(t, slices.Compact(slices.Sorted(slices.Values(r.order))), 1203)
	require.Len(t, r.order, 1203, "none of them twice, over three pages")
	checked := 0
	for _, in := range inputs[contract.CheckRolloutInput](r.world, contract.ActivityCheckRollout) {
		require.LessOrEqual(t, len(in.IDs), checkBatch)
		checked += len(in.IDs)
	}
	require.Equal(t, 1203, checked)
}

func bad(state string, unsafe bool) func(contract.RollOutDeviceInput) (contract.DeviceVerdict, error) {
	return func(in contract.RollOutDeviceInput) (contract.DeviceVerdict, error) {
		return contract.DeviceVerdict{DeviceID: in.DeviceID, State: state, Unsafe: unsafe, Detail: "it hums"}, nil
	}
}

func TestAWaveStopsWhereALimitIsPassed(t *testing.T) {
	three, ten := 3, 10.0
	for _, c := range []struct {
		name   string
		change func(*rolloutWorld, *contract.RolloutWaveInput)
		says   string
		most   int
	}{
		{"at the first device that may be neither as planned nor as before", func(r *rolloutWorld, _ *contract.RolloutWaveInput) {
			r.roll = bad(contract.DeviceFailed, true)
		}, "may be neither as planned nor as before: it hums", 4},
		{"at more than a number", func(r *rolloutWorld, in *contract.RolloutWaveInput) {
			r.roll = bad(contract.DeviceChanged, false)
			in.Strategy.WaveLimit = contract.RolloutLimit{Count: &three}
		}, "wave 1: 4 are not healthy, and at most 3 may be", 7},
		{"at more than a percentage: could not find out counts", func(r *rolloutWorld, in *contract.RolloutWaveInput) {
			r.roll = bad(contract.DeviceUnknown, false)
			in.Strategy.WaveLimit = contract.RolloutLimit{Percent: &ten}
			in.Total = 1000
		}, "wave 1: 11 of 100 are not healthy, and at most 10 % may be", 14},
		{"at the limit of the whole, in which earlier waves count", func(r *rolloutWorld, in *contract.RolloutWaveInput) {
			r.roll = bad(contract.DeviceNotBegun, false)
			in.Strategy.WaveLimit = contract.RolloutLimit{Count: &three}
			in.Strategy.TotalLimit = contract.RolloutLimit{Count: &three}
			in.Before = contract.RolloutCounts{Failed: 3}
		}, "the rollout: 4 are not healthy, and at most 3 may be", 4},
		{"at a percentage of the whole, and not of the wave", func(r *rolloutWorld, in *contract.RolloutWaveInput) {
			r.roll = bad(contract.DeviceUnknown, false)
			in.Strategy.WaveLimit, in.Strategy.TotalLimit = contract.RolloutLimit{}, contract.RolloutLimit{Percent: &ten}
			in.Total, in.Before = 200, contract.RolloutCounts{NotBegun: 16}
		}, "the rollout: 21 of 200 are not healthy, and at most 10 % may be", 8},
		{"what an operator has accepted of this wave does not count", func(r *rolloutWorld, in *contract.RolloutWaveInput) {
			r.roll = bad(contract.DeviceFailed, false)
			in.Strategy.WaveLimit = contract.RolloutLimit{Count: &three}
			in.Mine, in.AcceptedMine = contract.RolloutCounts{Failed: 5}, contract.RolloutCounts{Failed: 5}
		}, "wave 1: 4 are not healthy, and at most 3 may be", 7},
		{"what an operator has accepted does not count", func(r *rolloutWorld, in *contract.RolloutWaveInput) {
			r.roll = bad(contract.DeviceFailed, true)
			in.Before = contract.RolloutCounts{Failed: 2, Unsafe: 2}
			in.Accepted = contract.RolloutCounts{Failed: 2, Unsafe: 2}
		}, "may be neither as planned nor as before: it hums", 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRolloutWorld(t, 100)
			in := r.waveInput()
			in.Strategy.Bounds = contract.Bounds{PerSite: 4, PerRegion: 4, Total: 4}
			in.Strategy.TotalLimit = contract.RolloutLimit{}
			c.change(r, &in)
			out, err := r.wave(in)
			require.NoError(t, err)
			require.Contains(t, out.Breach, c.says)
			require.Empty(t, out.Verdict)
			require.LessOrEqual(t, len(r.order), c.most, "what was in work comes to its end, and nothing more begins")
			require.Equal(t, 100-in.Mine.Ended()-len(r.order), out.Left)
			require.NotEmpty(t, out.Findings)
		})
	}
}

func TestADeviceWhoseActivityHasNoVerdictGetsOne(t *testing.T) {
	for _, c := range []struct{ reason, state string }{
		{contract.ErrLeaseHeld, contract.DeviceNotBegun}, {contract.ErrUnreachable, contract.DeviceUnknown}, {contract.ErrIndeterminate, contract.DeviceUnknown},
	} {
		t.Run(c.reason, func(t *testing.T) {
			r := newRolloutWorld(t, 1)
			r.roll = func(contract.RollOutDeviceInput) (contract.DeviceVerdict, error) {
				return contract.DeviceVerdict{}, temporal.NewNonRetryableApplicationError("no", c.reason, nil)
			}
			out, err := r.wave(r.waveInput())
			require.NoError(t, err)
			require.Equal(t, 1, out.Bad())
			require.Equal(t, c.state, out.Findings[0].State)
			require.Equal(t, c.reason, out.Findings[0].Reason)
		})
	}
}

func TestADeviceWaitsForItsWindow(t *testing.T) {
	r := newRolloutWorld(t, 4)
	for i := range r.refs {
		r.refs[i].Calendar = "w0f"
		r.refs[i].Takes = time.Minute
	}
	began := r.env.Now()
	opens, closes := began.Add(3*time.Hour), began.Add(5*time.Hour)
	r.opening = func(name string) contract.Opening {
		if r.env.Now().Before(opens) {
			return contract.Opening{Calendar: name, Opens: &opens}
		}
		return contract.Opening{Calendar: name, Open: true, Until: &closes}
	}
	r.env.RegisterDelayedCallback(func() {
		value, err := r.env.QueryWorkflow(contract.QueryProgress)
		require.NoError(t, err)
		var p contract.WaveProgress
		require.NoError(t, value.Get(&p))
		require.Equal(t, contract.WaveWaiting, p.Phase)
		require.True(t, opens.Equal(*p.Opens))
	}, time.Hour)
	in := r.waveInput()
	in.Strategy.WaveDeadline = time.Hour
	in.Strategy.Bounds.Total = 1
	late := false
	r.roll = func(in contract.RollOutDeviceInput) (contract.DeviceVerdict, error) {
		require.NotNil(t, in.Until, "the device is told when its window closes")
		require.Equal(t, time.Minute, in.Takes)
		if !late {
			late = true
			opens, closes = closes.Add(20*time.Hour), closes.Add(22*time.Hour)
			return contract.DeviceVerdict{DeviceID: in.DeviceID, State: contract.DeviceNotInTime}, nil
		}
		return contract.DeviceVerdict{DeviceID: in.DeviceID, State: contract.DeviceHealthy}, nil
	}
	out, err := r.wave(in)
	require.NoError(t, err)
	require.Empty(t, out.Breach, "the time without a window does not count for the deadline")
	require.Equal(t, 4, out.Healthy)
	require.Len(t, r.order, 5, "one came too late, and had its turn again")
	require.GreaterOrEqual(t, r.env.Now().Sub(began), 25*time.Hour, "and that was in the next window")
}

func TestAWaveThatTakesTooLongStops(t *testing.T) {
	r := newRolloutWorld(t, 10)
	in := r.waveInput()
	in.Rate = 1
	in.Strategy.WaveDeadline = 3*time.Minute + 30*time.Second
	began := r.env.Now()
	out, err := r.wave(in)
	require.NoError(t, err)
	require.Contains(t, out.Breach, "wave 1 did not end within 3m30s; 6 devices were not started")
	require.Equal(t, 4, out.Healthy, "one a minute: that is the rate")
	require.Equal(t, 6, out.Left)
	require.GreaterOrEqual(t, r.env.Now().Sub(began), 3*time.Minute)
}

func TestAWaveIsPausedAndStopped(t *testing.T) {
	r := newRolloutWorld(t, 10)
	in := r.waveInput()
	in.Rate = 1
	r.env.RegisterDelayedCallback(func() { r.env.SignalWorkflow(contract.SignalRolloutControl, contract.RolloutControl{Paused: true}) }, 90*time.Second)
	var paused contract.WaveProgress
	r.env.RegisterDelayedCallback(func() {
		value, err := r.env.QueryWorkflow(contract.QueryProgress)
		require.NoError(t, err)
		require.NoError(t, value.Get(&paused))
		r.env.SignalWorkflow(contract.SignalRolloutControl, contract.RolloutControl{})
	}, time.Hour)
	r.env.RegisterDelayedCallback(func() { r.env.SignalWorkflow(contract.SignalRolloutControl, contract.RolloutControl{Stopped: true}) }, time.Hour+90*time.Second)
	out, err := r.wave(in)
	require.NoError(t, err)
	require.Equal(t, contract.WavePaused, paused.Phase)
	require.Equal(t, 2, paused.Healthy)
	require.Equal(t, 4, out.Healthy)
	require.Equal(t, 6, out.Left)
	require.Empty(t, out.Verdict)
}

func TestAWaveIsHealthyWhenEnoughLooksInARowAre(t *testing.T) {
	metric := func(answers ...string) func(*rolloutWorld) {
		return func(r *rolloutWorld) {
			n := 0
			r.metric = func() (contract.MetricVerdict, error) {
				n++
				return contract.MetricVerdict{Verdict: answers[min(n, len(answers))-1], Detail: "it is so"}, nil
			}
		}
	}
	healthy, failed, unknown := contract.VerdictHealthy, contract.VerdictFailed, contract.VerdictUnknown
	for _, c := range []struct {
		name    string
		prepare func(*rolloutWorld)
		passes  int
		verdict string
		breach  string
		looks   int
	}{
		{"three in a row", metric(healthy), 3, healthy, "", 3},
		{"a bad one between begins anew", metric(healthy, healthy, failed, healthy), 3, healthy, "", 6},
		{"it fails when the time is over", metric(failed), 2, failed, "wave 1 is failed: 3 devices are healthy; the metric: it is so", 4},
		{"no sample is unknown, and never healthy", metric(unknown), 1, unknown, "wave 1 is unknown", 4},
		{"what cannot be asked is unknown", func(r *rolloutWorld) {
			r.metric = func() (contract.MetricVerdict, error) {
				return contract.MetricVerdict{}, temporal.NewNonRetryableApplicationError("no Prometheus is configured", contract.ErrConfig, nil)
			}
		}, 1, unknown, "no Prometheus is configured", 4},
		{"a device that is not healthy any more", func(r *rolloutWorld) {
			metric(healthy)(r)
			r.look = func(id string) contract.DeviceVerdict {
				if id == "edge-001" {
					return contract.DeviceVerdict{DeviceID: id, State: contract.DeviceFailed, Unsafe: true, Reason: "looked", Detail: "it hums"}
				}
				return contract.DeviceVerdict{DeviceID: id, State: contract.DeviceHealthy}
			}
		}, 1, failed, "edge-001 may be neither as planned nor as before: it hums", 4},
		{"a device of which it cannot be found out whether it is", func(r *rolloutWorld) {
			metric(healthy)(r)
			r.look = func(id string) contract.DeviceVerdict {
				if id == "edge-001" {
					return contract.DeviceVerdict{DeviceID: id, State: contract.DeviceUnknown, Reason: "looked", Detail: "dark"}
				}
				return contract.DeviceVerdict{DeviceID: id, State: contract.DeviceHealthy}
			}
		}, 1, unknown, "wave 1 is unknown: wave 1: 1 of 3 are not healthy", 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRolloutWorld(t, 3)
			c.prepare(r)
			in := r.waveInput()
			in.Strategy.Checks = contract.RolloutChecks{Soak: 10 * time.Minute, Passes: c.passes, Every: time.Minute, Within: 4 * time.Minute, Metric: "vector(1)"}
			if c.passes > 1 && c.breach == "" {
				in.Strategy.Checks.Within = time.Hour
			}
			began := r.env.Now()
			out, err := r.wave(in)
			require.NoError(t, err)
			require.Equal(t, c.verdict, out.Verdict)
			require.Contains(t, out.Breach, c.breach)
			require.Equal(t, c.breach == "", out.Breach == "")
			require.Len(t, inputs[contract.CheckMetricInput](r.world, contract.ActivityCheckMetric), c.looks)
			require.GreaterOrEqual(t, r.env.Now().Sub(began), 10*time.Minute, "nothing is looked at before the soak is over")
		})
	}
}

func TestADeviceThatMayBeUnsafeStopsNothingWhereThatIsAllowed(t *testing.T) {
	r := newRolloutWorld(t, 100)
	r.roll = func(in contract.RollOutDeviceInput) (contract.DeviceVerdict, error) {
		if in.DeviceID == "edge-007" {
			return bad(contract.DeviceFailed, true)(in)
		}
		return contract.DeviceVerdict{DeviceID: in.DeviceID, State: contract.DeviceHealthy}, nil
	}
	in := r.waveInput()
	in.Strategy.AllowUnsafe = true
	out, err := r.wave(in)
	require.NoError(t, err)
	require.Empty(t, out.Breach)
	require.Equal(t, []int{99, 1}, []int{out.Healthy, out.Unsafe}, "the limits count it like any other")
}

func TestARunbookLooksAtADeviceOfTheWave(t *testing.T) {
	for _, c := range []struct{ name, source, verdict string }{
		{"and is content", "def looks(device_id):\n    check_network(device_id)\n", contract.VerdictHealthy},
		{"and is not", "def looks(device_id):\n    fail(\"it hums\")\n", contract.VerdictFailed},
		{"and may change nothing", "def looks(device_id):\n    apply_baseline_config(device_id)\n", contract.VerdictUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRolloutWorld(t, 3)
			r.before = func(name string, _ int) error {
				if name == contract.ActionApplyBaselineConfig {
					// As the store has it where a change comes without a lease.
					return temporal.NewNonRetryableApplicationError("the lease is lost", contract.ErrLeaseLost, nil)
				}
				return nil
			}
			serve(r.world, contract.ActivityReadRunbook, func(in contract.ReadRunbookInput) any {
				hash := sha256.Sum256([]byte(c.source))
				return contract.BeginResult{Device: contract.Device{ID: in.DeviceID, Region: "north"}, Source: c.source, Hash: hex.EncodeToString(hash[:])}
			})
			in := r.waveInput()
			in.Strategy.Checks = contract.RolloutChecks{Passes: 1, Every: time.Minute, Within: time.Minute, Runbook: &contract.RunbookRef{Path: "check.py", Function: "looks"}}
			out, err := r.wave(in)
			require.NoError(t, err)
			require.Equal(t, c.verdict, out.Verdict, "%s %s", out.Detail, out.Breach)
			read := inputs[contract.ReadRunbookInput](r.world, contract.ActivityReadRunbook)
			require.Equal(t, "edge-000", read[0].DeviceID)
			for _, a := range append(inputs[contract.ActionInput](r.world, contract.ActionCheckNetwork), inputs[contract.ActionInput](r.world, contract.ActionApplyBaselineConfig)...) {
				require.Zero(t, a.LeaseToken, "it has no lease, so that it can change nothing")
			}
		})
	}
}

func TestALongWaveContinuesAsNew(t *testing.T) {
	r := newRolloutWorld(t, 40)
	r.env.SetCurrentHistoryLength(maxHistory + 1)
	_, err := r.wave(r.waveInput())
	var next *workflow.ContinueAsNewError
	require.ErrorAs(t, err, &next)
	require.Empty(t, r.order, "nothing begins in a long history")
	var in contract.RolloutWaveInput
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &in))
	require.NotNil(t, in.Resume)
	require.Equal(t, r.begun.RolloutID, in.RolloutID)
}

func TestACancelledWaveLeavesEveryDeviceWithAVerdict(t *testing.T) {
	r := newRolloutWorld(t, 20)
	in := r.waveInput()
	in.Rate = 2
	r.env.RegisterDelayedCallback(r.env.CancelWorkflow, 2*time.Minute)
	_, err := r.wave(in)
	require.Error(t, err)
	for _, id := range r.order {
		require.Contains(t, r.ended, id, fmt.Sprintf("%s was begun", id))
	}
}

func TestADeviceThatIsInWorkWhenItsWaveIsCancelledGetsItsVerdict(t *testing.T) {
	r := newRolloutWorld(t, 3)
	in := r.waveInput()
	in.Strategy.Bounds.Total = 1
	r.roll = func(in contract.RollOutDeviceInput) (contract.DeviceVerdict, error) {
		r.env.CancelWorkflow()
		return contract.DeviceVerdict{}, temporal.NewCanceledError("the worker was told")
	}
	_, err := r.wave(in)
	require.Error(t, err)
	require.Len(t, r.order, 1)
	require.Equal(t, contract.DeviceNotBegun, r.ended[r.order[0]].State)
	require.Equal(t, contract.OutcomeCancelled, r.ended[r.order[0]].Reason)
}
