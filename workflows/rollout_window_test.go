package workflows

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"

	"edgefleet/internal/window"
	"edgefleet/workflows/contract"
)

// utc reads a moment; every one in these tests was worked out by hand.
func utc(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse("2006-01-02T15:04Z", text)
	require.NoError(t, err)
	return at
}

// windowed gives every device a maintenance window, as the worker's calendar has
// it at the moment of the workflow's clock, and lets each take a while. It
// returns when each was begun.
func (r *rolloutWorld) windowed(start time.Time, spec window.Spec, takes time.Duration) (began *[]time.Time) {
	r.t.Helper()
	w, err := window.Parse(spec)
	require.NoError(r.t, err)
	c := window.Calendar{Windows: []window.Window{w}, Takes: takes}
	r.env.SetStartTime(start)
	for i := range r.refs {
		r.refs[i].Calendar = "w0f"
	}
	s := &r.begun.Strategy
	s.Takes, s.DeviceDeadline, s.Deadline = takes, 3*time.Hour, 60*24*time.Hour
	s.Bounds = contract.Bounds{PerSite: 1, PerRegion: 1, Total: 1}
	r.opening = func(name string) contract.Opening {
		now := c.At(r.env.Now())
		out := contract.Opening{Calendar: name, Open: now.Open}
		if now.Open {
			next := c.At(now.Until)
			out.Until, out.Next = &now.Until, &next.Opens
		} else {
			out.Opens = &now.Opens
		}
		return out
	}
	began = &[]time.Time{}
	r.env.SetOnActivityStartedListener(func(info *activity.Info, _ context.Context, args converter.EncodedValues) {
		var in contract.RollOutDeviceInput
		if info.ActivityType.Name == contract.ActivityRollOutDevice && args.Get(&in) == nil {
			r.mu.Lock()
			defer r.mu.Unlock()
			*began = append(*began, r.env.Now().UTC())
			require.NotNil(r.t, in.Until, "the worker is told when the window closes")
			require.True(r.t, r.env.Now().Add(takes).Before(*in.Until))
		}
	})
	r.env.OnActivity(contract.ActivityRollOutDevice, mock.Anything, mock.Anything).After(takes).Return(
		func(_ context.Context, in contract.RollOutDeviceInput) (contract.DeviceVerdict, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			v := contract.DeviceVerdict{DeviceID: in.DeviceID, State: contract.DeviceHealthy}
			r.ended[in.DeviceID] = v
			return v, nil
		})
	return began
}

// waveAt sees how the wave stands at a moment of the workflow's clock.
func (r *rolloutWorld) waveAt(at time.Time, start time.Time, see func(contract.WaveProgress)) {
	r.env.RegisterDelayedCallback(func() {
		value, err := r.env.QueryWorkflow(contract.QueryProgress)
		require.NoError(r.t, err)
		var p contract.WaveProgress
		require.NoError(r.t, value.Get(&p))
		see(p)
	}, at.Sub(start))
}

// A rollout begins in the window of a night in which the clocks change, and what
// is left goes on in the next one. What Berlin's clocks do:
//
//   - On 28 March 2027 they jump from 02:00 to 03:00, at 01:00 UTC. The window
//     from 01:30 (00:30 UTC) to 03:30 (01:30 UTC) lasts one hour of its two.
//   - On 25 October 2026 they go back from 03:00 to 02:00, at 01:00 UTC. The
//     window from 01:30 (23:30 UTC) to 03:30 (02:30 UTC) lasts three hours.
func TestARolloutGoesOnInTheNextWindowWhenTheClocksHaveChanged(t *testing.T) {
	nights := window.Spec{Zone: "Europe/Berlin", Days: []string{"sun"}, From: "01:30", To: "03:30"}
	for _, c := range []struct {
		name  string
		start string
		spec  window.Spec
		takes time.Duration
		began []string
		// asked are moments in which what is left waits, and opens is when the
		// next window opens that it can have.
		asked []string
		opens string
	}{
		{"spring: two of 25 minutes fit into the hour, and the third would end after it", "2027-03-27T12:00Z", nights, 25 * time.Minute,
			[]string{"2027-03-28T00:30Z", "2027-03-28T00:55Z", "2027-04-03T23:30Z", "2027-04-03T23:55Z", "2027-04-04T00:20Z", "2027-04-04T00:45Z", "2027-04-10T23:30Z"},
			[]string{"2027-03-28T01:22Z", "2027-03-28T01:35Z"}, "2027-04-03T23:30Z"},
		{"spring: what takes 70 minutes is not begun in a night that has lost one of its two hours", "2027-03-27T12:00Z", nights, 70 * time.Minute,
			[]string{"2027-04-03T23:30Z", "2027-04-10T23:30Z"},
			[]string{"2027-03-28T00:45Z"}, "2027-04-03T23:30Z"},
		{"spring: a window that begins in the hour that is skipped begins when the clocks have jumped", "2027-03-27T12:00Z",
			window.Spec{Zone: "Europe/Berlin", Days: []string{"sun"}, From: "02:15", To: "03:30"}, 14 * time.Minute,
			[]string{"2027-03-28T01:00Z", "2027-03-28T01:14Z", "2027-04-04T00:15Z", "2027-04-04T00:29Z", "2027-04-04T00:43Z", "2027-04-04T00:57Z", "2027-04-04T01:11Z", "2027-04-11T00:15Z"},
			[]string{"2027-03-28T01:29Z", "2027-03-28T01:35Z"}, "2027-04-04T00:15Z"},
		{"spring: a window of nothing but the hour that is skipped does not open", "2027-03-27T12:00Z",
			window.Spec{Zone: "Europe/Berlin", Days: []string{"sun"}, From: "02:00", To: "03:00"}, 14 * time.Minute,
			[]string{"2027-04-04T00:00Z", "2027-04-04T00:14Z"},
			[]string{"2027-03-28T01:00Z"}, "2027-04-04T00:00Z"},
		{"autumn: the hour that comes twice is a part of the window twice", "2026-10-24T12:00Z", nights, 25 * time.Minute,
			[]string{"2026-10-24T23:30Z", "2026-10-24T23:55Z", "2026-10-25T00:20Z", "2026-10-25T00:45Z", "2026-10-25T01:10Z", "2026-10-25T01:35Z", "2026-10-25T02:00Z", "2026-11-01T00:30Z"},
			[]string{"2026-10-25T02:27Z", "2026-10-25T02:45Z"}, "2026-11-01T00:30Z"},
		{"autumn: begun at the first 02:30, it goes on until the clocks show 03:30", "2026-10-25T00:30Z", nights, 50 * time.Minute,
			[]string{"2026-10-25T00:30Z", "2026-10-25T01:20Z", "2026-11-01T00:30Z", "2026-11-01T01:20Z", "2026-11-08T00:30Z"},
			[]string{"2026-10-25T02:11Z", "2026-10-25T02:35Z"}, "2026-11-01T00:30Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			start := utc(t, c.start)
			r := newRolloutWorld(t, len(c.began))
			began := r.windowed(start, c.spec, c.takes)
			waiting := 0
			for _, at := range c.asked {
				r.waveAt(utc(t, at), start, func(p contract.WaveProgress) {
					waiting++
					require.Equal(t, contract.WaveWaiting, p.Phase)
					require.NotNil(t, p.Opens)
					require.True(t, utc(t, c.opens).Equal(*p.Opens), "it says that the next window opens at %s", p.Opens)
					require.Empty(t, p.Breach)
				})
			}
			out, err := r.wave(r.waveInput())
			require.NoError(t, err)
			require.Equal(t, len(c.asked), waiting)
			require.Empty(t, out.Breach, "the time without a window does not count for the deadline")
			require.Equal(t, len(c.began), out.Healthy)
			var want []time.Time
			for _, text := range c.began {
				want = append(want, utc(t, text))
			}
			require.Equal(t, want, *began)
		})
	}
}
