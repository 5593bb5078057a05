package workflows

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"edgefleet/workflows/contract"
)

// rolloutWorld is a world in which a rollout of some devices is under way; the
// store is a map of what became of each.
type rolloutWorld struct {
	*world
	refs  []contract.RolloutRef
	waves map[string]int
	ended map[string]contract.DeviceVerdict
	// roll says what becomes of a device; nil is healthy.
	roll func(in contract.RollOutDeviceInput) (contract.DeviceVerdict, error)
	// look says what a check finds; nil is healthy.
	look func(id string) contract.DeviceVerdict
	// opening says how a calendar stands.
	opening func(name string) contract.Opening
	metric  func() (contract.MetricVerdict, error)
	notes   []contract.NoteRolloutInput
	begun   contract.BegunRollout
	// order is in which the devices had their turn.
	order []string
}

func newRolloutWorld(t *testing.T, n int) *rolloutWorld {
	r := &rolloutWorld{world: newWorld(t), waves: map[string]int{}, ended: map[string]contract.DeviceVerdict{}}
	for _, d := range someRefs(n) {
		r.refs = append(r.refs, contract.RolloutRef{DeviceRef: d})
		r.waves[d.ID] = 1
	}
	slices.SortFunc(r.refs, func(x, y contract.RolloutRef) int { return strings.Compare(x.ID, y.ID) })
	r.begun = contract.BegunRollout{RolloutID: "0123456789ab", PlanHash: strings.Repeat("0123456789ab", 6)[:64], Baseline: "feeders", Version: "2",
		Requester: "operator:kim", Strategy: contract.RolloutStrategy{}.WithDefaults(), Waves: []contract.PlanWave{{Number: 1, Name: "100%", Devices: n}}}
	serve(r.world, contract.ActivityRolloutLeft, r.left)
	serveOrFail(r.world, contract.ActivityRollOutDevice, func(in contract.RollOutDeviceInput) (contract.DeviceVerdict, error) {
		v, err := contract.DeviceVerdict{DeviceID: in.DeviceID, State: contract.DeviceHealthy}, error(nil)
		if r.roll != nil {
			v, err = r.roll(in)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.order = append(r.order, in.DeviceID)
		if err == nil && v.State != contract.DeviceNotInTime {
			r.ended[in.DeviceID] = v
		}
		return v, err
	})
	serve(r.world, contract.ActivitySettleDevice, func(in contract.SettleDeviceInput) any {
		r.mu.Lock()
		defer r.mu.Unlock()
		if v, ok := r.ended[in.DeviceID]; ok {
			return v
		}
		v := contract.DeviceVerdict{DeviceID: in.DeviceID, State: in.State, Reason: in.Reason, Detail: in.Detail}
		r.ended[in.DeviceID] = v
		return v
	})
	serve(r.world, contract.ActivityCheckRollout, func(in contract.CheckRolloutInput) any {
		out := contract.CheckRolloutResult{}
		for _, id := range in.IDs {
			v := contract.DeviceVerdict{DeviceID: id, State: contract.DeviceHealthy}
			if r.look != nil {
				v = r.look(id)
			}
			r.mu.Lock()
			r.ended[id] = v
			r.mu.Unlock()
			out.Verdicts = append(out.Verdicts, v)
		}
		return out
	})
	serve(r.world, contract.ActivityRolloutTally, func(contract.RolloutTallyInput) any { return r.tally() })
	serve(r.world, contract.ActivityRolloutCalendar, func(in contract.CalendarInput) any {
		out := contract.CalendarResult{}
		for _, name := range in.Calendars {
			out.Openings = append(out.Openings, r.opening(name))
		}
		return out
	})
	serveOrFail(r.world, contract.ActivityCheckMetric, func(contract.CheckMetricInput) (contract.MetricVerdict, error) { return r.metric() })
	serve(r.world, contract.ActivityNoteRollout, func(in contract.NoteRolloutInput) any {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.notes = append(r.notes, in)
		return true
	})
	serve(r.world, contract.ActivityBeginRollout, func(contract.BeginRolloutInput) any { return r.begun })
	serve(r.world, contract.ActivityTryAgain, func(in contract.TryAgainInput) any {
		r.mu.Lock()
		defer r.mu.Unlock()
		n := 0
		for id, v := range r.ended {
			if v.State != contract.DeviceHealthy && (len(in.Devices) == 0 || slices.Contains(in.Devices, id)) {
				delete(r.ended, id)
				n++
			}
		}
		return contract.TryAgainResult{Devices: n}
	})
	serve(r.world, contract.ActivityRollbackLeft, func(contract.RolloutLeftInput) any {
		r.mu.Lock()
		defer r.mu.Unlock()
		out := contract.RolloutLeft{}
		for _, d := range r.refs {
			if v, ok := r.ended[d.ID]; ok && v.State != contract.DeviceBack {
				out.Devices = append(out.Devices, d)
			}
		}
		return out
	})
	serve(r.world, contract.ActivityRollBackDevice, func(in contract.RollBackDeviceInput) any {
		r.mu.Lock()
		defer r.mu.Unlock()
		v := contract.DeviceVerdict{DeviceID: in.DeviceID, State: contract.DeviceBack}
		r.ended[in.DeviceID] = v
		return v
	})
	return r
}

func serveOrFail[In, Out any](w *world, name string, answer func(In) (Out, error)) {
	w.env.RegisterActivityWithOptions(func(_ context.Context, in In) (Out, error) {
		w.mu.Lock()
		w.attempts[name]++
		w.calls = append(w.calls, call{name: name, input: in})
		w.mu.Unlock()
		return answer(in)
	}, activity.RegisterOptions{Name: name})
}

func (r *rolloutWorld) left(in contract.RolloutLeftInput) any {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := contract.RolloutLeft{Devices: []contract.RolloutRef{}}
	for _, d := range r.refs {
		v, ended := r.ended[d.ID]
		healthy := ended && (v.State == contract.DeviceHealthy || v.State == contract.DeviceAlready || v.Reason == "looked")
		if d.ID <= in.After || r.waves[d.ID] > in.UpTo || in.Healthy != ended || in.Healthy && (!healthy || r.waves[d.ID] != in.UpTo) {
			continue
		}
		if len(out.Devices) == in.Limit {
			out.Next = out.Devices[in.Limit-1].ID
			break
		}
		out.Devices = append(out.Devices, d)
	}
	return out
}

func (r *rolloutWorld) tally() contract.RolloutTally {
	r.mu.Lock()
	defer r.mu.Unlock()
	byWave := map[int]*contract.WaveTally{}
	out := contract.RolloutTally{}
	for _, w := range r.begun.Waves {
		byWave[w.Number] = &contract.WaveTally{Wave: w.Number}
	}
	for id, v := range r.ended {
		byWave[r.waves[id]].Count(v.State, v.Unsafe)
	}
	for _, w := range r.begun.Waves {
		out.Waves = append(out.Waves, *byWave[w.Number])
	}
	return out
}

func (r *rolloutWorld) waveInput() contract.RolloutWaveInput {
	return contract.RolloutWaveInput{RolloutID: r.begun.RolloutID, PlanHash: r.begun.PlanHash, Wave: r.begun.Waves[0], Strategy: r.begun.Strategy,
		Actor: contract.Actor{Kind: contract.ActorOperator, Name: "kim"}, Reason: "spring", Total: len(r.refs)}
}

// wave runs the workflow of a wave to its end.
func (r *rolloutWorld) wave(in contract.RolloutWaveInput) (contract.WaveProgress, error) {
	r.t.Helper()
	r.env.ExecuteWorkflow(contract.WorkflowRolloutWave, in)
	require.True(r.t, r.env.IsWorkflowCompleted())
	var out contract.WaveProgress
	if err := r.env.GetWorkflowError(); err != nil {
		return out, err
	}
	require.NoError(r.t, r.env.GetWorkflowResult(&out))
	return out, nil
}

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

func TestAWaveHoldsItsBounds(t *testing.T) {
	r := newRolloutWorld(t, 60)
	in := r.waveInput()
	in.Strategy.Bounds = contract.Bounds{PerSite: 2, PerRegion: 3, Total: 5}
	running, most := map[string]int{}, map[string]int{}
	r.roll = func(in contract.RollOutDeviceInput) (contract.DeviceVerdict, error) {
		i := slices.IndexFunc(r.refs, func(d contract.RolloutRef) bool { return d.ID == in.DeviceID })
		keys := []string{"site " + r.refs[i].Site, "region " + r.refs[i].Region, "all"}
		r.mu.Lock()
		for _, k := range keys {
			running[k]++
			most[k] = max(most[k], running[k])
		}
		r.mu.Unlock()
		time.Sleep(time.Millisecond)
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, k := range keys {
			running[k]--
		}
		return contract.DeviceVerdict{DeviceID: in.DeviceID, State: contract.DeviceHealthy}, nil
	}
	_, err := r.wave(in)
	require.NoError(t, err)
	require.Equal(t, map[string]int{"site s0": 2, "site s1": 2, "site s2": 2, "region north": 3, "region south": 3, "all": 5}, atMost(most, map[string]int{
		"site s0": 2, "site s1": 2, "site s2": 2, "region north": 3, "region south": 3, "all": 5}))
}

// atMost is the bound where the value keeps it, and the value where not.
func atMost(got, bounds map[string]int) map[string]int {
	out := map[string]int{}
	for k, bound := range bounds {
		out[k] = max(got[k], bound)
	}
	return out
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
		}, "wave 1: 11 of 100 are not healthy, and at most 10 % may be", 14},
		{"at the limit of the whole, in which earlier waves count", func(r *rolloutWorld, in *contract.RolloutWaveInput) {
			r.roll = bad(contract.DeviceNotBegun, false)
			in.Strategy.WaveLimit = contract.RolloutLimit{Count: &three}
			in.Strategy.TotalLimit = contract.RolloutLimit{Count: &three}
			in.Before = contract.RolloutCounts{Failed: 3}
		}, "the rollout: 4 are not healthy, and at most 3 may be", 4},
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
			require.Equal(t, 100-len(r.order), out.Left)
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
	require.GreaterOrEqual(t, r.env.Now().Sub(began), 3*time.Hour)
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
