package workflows

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"

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
	// back says what becomes of a device that is taken back; nil, and a verdict
	// without a state, is that it is as before.
	back func(in contract.RollBackDeviceInput) contract.DeviceVerdict
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
		if err == nil && v.State != contract.DeviceNotInTime && v.State != contract.DeviceHeld {
			r.ended[in.DeviceID] = v
		}
		return v, err
	})
	serveOrFail(r.world, contract.ActivityAwaitLease, free)
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
	serveOrFail(r.world, contract.ActivityRollBackDevice, func(in contract.RollBackDeviceInput) (contract.DeviceVerdict, error) {
		if r.back != nil {
			if v := r.back(in); v.State != "" {
				return v, nil
			}
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		v := contract.DeviceVerdict{DeviceID: in.DeviceID, State: contract.DeviceBack}
		r.ended[in.DeviceID] = v
		return v, nil
	})
	return r
}

func serveOrFail[In, Out any](w *world, name string, answer func(In) (Out, error)) {
	w.env.RegisterActivityWithOptions(func(ctx context.Context, in In) (Out, error) {
		w.mu.Lock()
		w.attempts[name]++
		n := w.attempts[name]
		w.calls = append(w.calls, call{name: name, info: activity.GetInfo(ctx), input: in})
		w.mu.Unlock()
		if w.before != nil {
			if err := w.before(name, n); err != nil {
				var none Out
				return none, err
			}
		}
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

// slowly lets each device take a second of the workflow's time, so that those
// that are begun together are in work together, and tells of each when it
// begins (1) and when it ends (-1), one after the other.
func (r *rolloutWorld) slowly(tell func(d contract.RolloutRef, one int)) {
	ref := func(id string) contract.RolloutRef {
		return r.refs[slices.IndexFunc(r.refs, func(d contract.RolloutRef) bool { return d.ID == id })]
	}
	r.env.SetOnActivityStartedListener(func(info *activity.Info, _ context.Context, args converter.EncodedValues) {
		var in contract.RollOutDeviceInput
		if info.ActivityType.Name == contract.ActivityRollOutDevice && args.Get(&in) == nil {
			r.mu.Lock()
			defer r.mu.Unlock()
			tell(ref(in.DeviceID), 1)
		}
	})
	r.env.OnActivity(contract.ActivityRollOutDevice, mock.Anything, mock.Anything).After(time.Second).Return(
		func(_ context.Context, in contract.RollOutDeviceInput) (contract.DeviceVerdict, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			tell(ref(in.DeviceID), -1)
			v := contract.DeviceVerdict{DeviceID: in.DeviceID, State: contract.DeviceHealthy}
			r.ended[in.DeviceID] = v
			return v, nil
		})
}
