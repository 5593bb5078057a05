package store

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// atWork begins a rollout, and takes edge-000 for one of its waves.
func atWork(t *testing.T, s *Store, c *clock) (Rollout, Owner, Lease) {
	t.Helper()
	frozen(t, s, c, 5)
	worker := Owner{"rollout/0123456789ab/wave-1/1", "run-4"}
	r := begun(t, s)
	lease, err := s.AcquireLease(bg, "edge-000", worker)
	require.NoError(t, err)
	return r, worker, lease
}

// A rollout's device, what is about to be replaced on it, and the intent.
func besideAnIntent(r Rollout, owner Owner) (Record, Beside) {
	rec := Record{Actor: "operator:kim", DeviceID: "edge-000", Action: "edgefleet.roll_out_device", Item: "baseline feeders 2",
		Before: `{"limit":"60"}`, After: `{"limit":"90"}`, WorkflowID: owner.WorkflowID, RunID: owner.RunID, ActivityID: "9"}
	return rec, Beside{
		Capture: &Capture{"edge-000", owner.WorkflowID, owner.RunID, "9", []Setting{{"limit", "60", "A"}}},
		Touch:   &RolloutDevice{RolloutID: r.RolloutID, DeviceID: "edge-000", State: "working", Touched: true, Owner: owner, ActivityID: "9"},
	}
}

// What is replaced, and that a rollout is at work, are there when the intent is,
// and not when it is refused.
func TestAnIntentAndWhatIsBesideItAreKeptTogether(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		c := newClock()
		s := p.open(t, Options{Clock: c.Now})
		r, worker, lease := atWork(t, s, c)
		rec, beside := besideAnIntent(r, worker)
		kept := func() (captures, devices, entries int) {
			values, err := s.Captures(bg, CaptureQuery{DeviceID: "edge-000"})
			require.NoError(t, err)
			list, err := s.RolloutDevices(bg, RolloutDeviceQuery{RolloutID: r.RolloutID})
			require.NoError(t, err)
			page, err := s.ListLedger(bg, LedgerQuery{DeviceID: "edge-000"})
			require.NoError(t, err)
			return len(values), len(list), len(page.Entries)
		}
		nothing := func(why string) {
			t.Helper()
			captures, devices, entries := kept()
			require.Equal(t, [3]int{}, [3]int{captures, devices, entries}, why)
		}

		_, err := s.AppendIntentWith(bg, rec, lease.Token+1, c.Now().Add(time.Minute), beside)
		require.ErrorIs(t, err, ErrLeaseLost)
		nothing("the lease is somebody else's")
		wrong := beside
		wrong.Capture = &Capture{"edge-000", worker.WorkflowID, worker.RunID, "9", nil}
		_, err = s.AppendIntentWith(bg, rec, lease.Token, c.Now().Add(time.Minute), wrong)
		require.ErrorIs(t, err, ErrInvalid)
		nothing("the capture is no capture")

		for range 2 {
			_, err = s.AppendIntentWith(bg, rec, lease.Token, c.Now().Add(time.Minute), beside)
			require.NoError(t, err)
			captures, devices, entries := kept()
			require.Equal(t, [3]int{1, 1, 1}, [3]int{captures, devices, entries})
		}
		list, err := s.RolloutDevices(bg, RolloutDeviceQuery{RolloutID: r.RolloutID})
		require.NoError(t, err)
		require.True(t, list[0].Touched)
		require.Equal(t, 1, list[0].Attempts)
	})
}

// A device that has its verdict is not written any more, by no attempt that
// lives on somewhere.
func TestNoIntentIsKeptOnADeviceThatHasItsVerdict(t *testing.T) {
	c := newClock()
	s := sqlitePlace(t).open(t, Options{Clock: c.Now})
	r, worker, lease := atWork(t, s, c)
	rec, beside := besideAnIntent(r, worker)
	over := *beside.Touch
	over.State = "unknown"
	_, err := s.EndRolloutDevice(bg, over, Ending{})
	require.NoError(t, err)
	_, err = s.AppendIntentWith(bg, rec, lease.Token, c.Now().Add(time.Minute), beside)
	require.ErrorIs(t, err, ErrInvalid)
	require.ErrorContains(t, err, "edge-000 has come to its end in rollout 0123456789ab: unknown")
	page, err := s.ListLedger(bg, LedgerQuery{DeviceID: "edge-000"})
	require.NoError(t, err)
	require.Empty(t, page.Entries)
}

func TestTheEndOfADeviceSaysHowItIsAndGivesItsLeaseBack(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		c := newClock()
		s := p.open(t, Options{Clock: c.Now})
		r, worker, lease := atWork(t, s, c)
		d := RolloutDevice{RolloutID: r.RolloutID, DeviceID: "edge-000", State: "healthy", Owner: worker, ActivityID: "9"}
		_, err := s.EndRolloutDevice(bg, d, Ending{State: &DeviceState{DeviceID: "edge-000"}, Release: lease.Token})
		require.ErrorIs(t, err, ErrInvalid, "that is no state")
		_, err = s.LeaseOf(bg, "edge-000")
		require.NoError(t, err, "and nothing has changed")

		_, err = s.EndRolloutDevice(bg, d, Ending{State: &DeviceState{DeviceID: "edge-000", State: "healthy", Detail: "as wanted"}, Release: lease.Token})
		require.NoError(t, err)
		state, err := s.DeviceState(bg, "edge-000")
		require.NoError(t, err)
		require.Equal(t, "healthy", state.State)
		_, err = s.LeaseOf(bg, "edge-000")
		require.ErrorIs(t, err, ErrNotFound)

		// Somebody else's lease is not the rollout's to give.
		other, err := s.AcquireLease(bg, "edge-000", Owner{"remediate/edge-000", "run-5"})
		require.NoError(t, err)
		_, err = s.EndRolloutDevice(bg, d, Ending{Release: lease.Token})
		require.NoError(t, err)
		now, err := s.LeaseOf(bg, "edge-000")
		require.NoError(t, err)
		require.Equal(t, other.Token, now.Token)
	})
}
