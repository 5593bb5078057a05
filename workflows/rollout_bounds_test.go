package workflows

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/workflows/contract"
)

func TestAWaveHoldsItsBounds(t *testing.T) {
	const wide = 50
	for _, c := range []struct {
		name   string
		bounds contract.Bounds
		// widest is how many are in work at once: there are three sites, and
		// two regions.
		widest int
	}{
		{"of a site", contract.Bounds{PerSite: 2, PerRegion: wide, Total: wide}, 6},
		{"of a region", contract.Bounds{PerSite: wide, PerRegion: 2, Total: wide}, 4},
		{"of the rollout", contract.Bounds{PerSite: wide, PerRegion: wide, Total: 5}, 5},
		{"all together", contract.Bounds{PerSite: 2, PerRegion: 3, Total: 5}, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRolloutWorld(t, 60)
			in := r.waveInput()
			in.Strategy.Bounds = c.bounds
			running, most := map[string]int{}, map[string]int{}
			r.slowly(func(d contract.RolloutRef, one int) {
				for _, k := range []string{"site " + d.Site, "region " + d.Region, "all"} {
					running[k] += one
					most[k] = max(most[k], running[k])
				}
			})
			out, err := r.wave(in)
			require.NoError(t, err)
			require.Equal(t, 60, out.Healthy)
			for k, n := range most {
				bound := c.bounds.Total
				switch kind, _, _ := strings.Cut(k, " "); kind {
				case "site":
					bound = c.bounds.PerSite
				case "region":
					bound = c.bounds.PerRegion
				}
				require.LessOrEqual(t, n, bound, k)
			}
			require.Equal(t, c.widest, most["all"], "what there is room for is in work")
		})
	}
}

func TestTheRateGrowsFromWaveToWave(t *testing.T) {
	r := newRolloutWorld(t, 12)
	r.inWaves()
	r.begun.Strategy.Rate, r.begun.Strategy.RateGrowth = 1, 2
	began := map[int][]time.Time{}
	r.roll = func(in contract.RollOutDeviceInput) (contract.DeviceVerdict, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		wave := r.waves[in.DeviceID]
		began[wave] = append(began[wave], r.env.Now())
		return contract.DeviceVerdict{DeviceID: in.DeviceID, State: contract.DeviceHealthy}, nil
	}
	out, err := r.rollout()
	require.NoError(t, err)
	require.Equal(t, contract.RolloutDone, out.State)
	for wave, apart := range map[int]time.Duration{2: 30 * time.Second, 3: 15 * time.Second} {
		require.Len(t, began[wave], r.begun.Waves[wave-1].Devices)
		for i := range began[wave][1:] {
			require.InDelta(t, apart, began[wave][i+1].Sub(began[wave][i]), float64(time.Second), "wave %d", wave)
		}
	}
}

// What a device takes is planned for each; what the strategy says holds for all.
func TestADeviceThatTakesLongerThanItsWindowLastsWaitsForTheNext(t *testing.T) {
	for _, c := range []struct {
		name                string
		strategy, own       time.Duration
		waits, everyoneElse bool
	}{
		{"by what was planned for it", 0, 20 * time.Minute, true, false},
		{"by what the strategy expects", 20 * time.Minute, time.Minute, true, true},
		{"and is not held up when there is time", time.Minute, 9 * time.Minute, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRolloutWorld(t, 2)
			for i := range r.refs {
				r.refs[i].Calendar, r.refs[i].Takes = "w0f", time.Minute
			}
			r.refs[0].Takes = c.own
			closes, opens := r.env.Now().Add(10*time.Minute), r.env.Now().Add(24*time.Hour)
			later := opens.Add(8 * time.Hour)
			r.opening = func(name string) contract.Opening {
				switch now := r.env.Now(); {
				case now.Before(closes):
					return contract.Opening{Calendar: name, Open: true, Until: &closes}
				case now.Before(opens):
					return contract.Opening{Calendar: name, Opens: &opens}
				}
				return contract.Opening{Calendar: name, Open: true, Until: &later}
			}
			late := map[string]bool{}
			r.roll = func(in contract.RollOutDeviceInput) (contract.DeviceVerdict, error) {
				r.mu.Lock()
				defer r.mu.Unlock()
				late[in.DeviceID] = !r.env.Now().Before(opens)
				return contract.DeviceVerdict{DeviceID: in.DeviceID, State: contract.DeviceHealthy}, nil
			}
			in := r.waveInput()
			in.Strategy.Takes = c.strategy
			out, err := r.wave(in)
			require.NoError(t, err)
			require.Equal(t, 2, out.Healthy)
			require.Equal(t, map[string]bool{"edge-000": c.waits, "edge-001": c.everyoneElse}, late)
		})
	}
}

func TestACalendarThatNeverOpensIsAskedAboutOnceADayUntilTheDeadline(t *testing.T) {
	r := newRolloutWorld(t, 12)
	r.inWaves()
	for i := range r.refs {
		r.refs[i].Calendar = "w0f0"
	}
	r.opening = func(name string) contract.Opening { return contract.Opening{Calendar: name, Never: true} }
	r.begun.Strategy.Deadline = 7*24*time.Hour + time.Hour
	out, err := r.rollout()
	require.NoError(t, err)
	require.Equal(t, contract.RolloutAborted, out.State)
	require.Contains(t, out.Detail, "it did not end within 169h0m0s")
	require.Empty(t, r.order)
	require.Equal(t, 8, r.attempts[contract.ActivityRolloutCalendar])
}

func TestTheAlertsOfADeviceInWorkAreSilencedUnlessThatIsNotWanted(t *testing.T) {
	for name, not := range map[string]bool{"silenced": false, "left alone": true} {
		t.Run(name, func(t *testing.T) {
			r := newRolloutWorld(t, 12)
			r.inWaves()
			r.begun.Strategy.OnBreach, r.begun.Strategy.NoSilences = contract.BreachRollBack, not
			r.roll = bad(contract.DeviceFailed, true)
			out, err := r.rollout()
			require.NoError(t, err)
			require.Equal(t, contract.RolloutRolledBack, out.State)
			there := inputs[contract.RollOutDeviceInput](r.world, contract.ActivityRollOutDevice)
			back := inputs[contract.RollBackDeviceInput](r.world, contract.ActivityRollBackDevice)
			require.Len(t, there, 1)
			require.Len(t, back, 1)
			require.Equal(t, []bool{!not, !not}, []bool{there[0].Silence, back[0].Silence}, "on the way there, and back")
		})
	}
}
