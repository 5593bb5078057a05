package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var planner = Owner{"plan-rollout/1", "run-1"}

func aPlan() Plan {
	return Plan{PlanID: "plan-rollout/1", Baseline: "feeders", Version: "2", File: "feeders.yaml", Source: "name: feeders\n", Strategy: "{}", Revision: "r1",
		Actor: "operator:kim", Reason: "spring", Owner: planner}
}

func planDevices(n int) (out []PlanDevice) {
	for i := range n {
		out = append(out, PlanDevice{DeviceID: fmt.Sprintf("edge-%03d", i), Site: "s1", Region: "north", Batch: i / 2})
	}
	return out
}

// frozen is a plan of n devices, the last of which is left out.
func frozen(t *testing.T, s *Store, c *clock, n int) Plan {
	t.Helper()
	_, err := s.CreatePlan(bg, aPlan(), planDevices(n))
	require.NoError(t, err)
	rows := planDevices(n)
	for i := range rows {
		rows[i].Wave = i/2 + 1
		rows[i].Takes = 2 * time.Second
		rows[i].Changes = []PlannedChange{{Setting: "limit", Before: "60", After: "90", Unit: "s", BeforeText: "60", AfterText: "90"}}
		rows[i].Settings = map[string]string{"limit": "90", "mode": "on"}
	}
	rows[n-1].Wave, rows[n-1].Excluded = 0, "leased"
	require.NoError(t, s.SetPlanned(bg, "plan-rollout/1", rows))
	expires := c.Now().Add(time.Hour)
	p := aPlan()
	p.Hash, p.ExpiresAt, p.Waves = "0123456789abcdef", &expires, `{"waves":[]}`
	p, err = s.FreezePlan(bg, p, rows)
	require.NoError(t, err)
	return p
}

func begun(t *testing.T, s *Store) Rollout {
	t.Helper()
	r, err := s.BeginRollout(bg, Rollout{RolloutID: "0123456789ab", PlanID: "plan-rollout/1", State: "running", Actor: "operator:kim", Owner: Owner{"rollout/0123456789ab", "run-2"}})
	require.NoError(t, err)
	return r
}

func TestAPlanIsFrozenOnceAndThenStays(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		c := newClock()
		s := p.open(t, Options{Clock: c.Now})
		plan := frozen(t, s, c, 5)
		require.Equal(t, PlanFrozen, plan.State)

		again, err := s.CreatePlan(bg, aPlan(), planDevices(1))
		require.NoError(t, err, "a retried activity")
		require.Equal(t, plan, again)
		found, err := s.PlanByHash(bg, "01234567")
		require.NoError(t, err)
		require.Equal(t, plan, found)
		_, err = s.PlanByHash(bg, "0123")
		require.ErrorIs(t, err, ErrInvalid, "too little of a hash")
		_, err = s.PlanByHash(bg, "ffffffffffff")
		require.ErrorIs(t, err, ErrNotFound)

		other := planDevices(5)
		other[0].Excluded = "in sync"
		require.NoError(t, s.SetPlanned(bg, plan.PlanID, other), "it comes late, and does nothing")
		rows, err := s.PlanDevices(bg, PlanDeviceQuery{PlanID: plan.PlanID})
		require.NoError(t, err)
		require.Len(t, rows, 5)
		require.Empty(t, rows[0].Excluded)
		require.Equal(t, map[string]string{"limit": "90", "mode": "on"}, rows[0].Settings)
		require.Equal(t, 2*time.Second, rows[0].Takes)
		require.Equal(t, []int{1, 1, 2, 2, 0}, []int{rows[0].Wave, rows[1].Wave, rows[2].Wave, rows[3].Wave, rows[4].Wave})
		changed := plan
		changed.Hash = "feed"
		_, err = s.FreezePlan(bg, changed, nil)
		require.ErrorIs(t, err, ErrInvalid)
		same, err := s.FreezePlan(bg, plan, nil)
		require.NoError(t, err)
		require.Equal(t, plan, same)
	})
}

func TestAPlanIsStartedOnceAndBeforeItExpires(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		c := newClock()
		s := p.open(t, Options{Clock: c.Now, LedgerKey: testKey})
		_, err := s.CreatePlan(bg, aPlan(), planDevices(2))
		require.NoError(t, err)
		start := Rollout{RolloutID: "0123456789ab", PlanID: "plan-rollout/1", State: "running", Actor: "operator:kim", Owner: Owner{"rollout/0123456789ab", "run-2"}}
		_, err = s.BeginRollout(bg, start)
		require.ErrorIs(t, err, ErrInvalid, "it is not frozen")
		frozen(t, s, c, 5)
		c.Advance(2 * time.Hour)
		_, err = s.BeginRollout(bg, start)
		require.ErrorContains(t, err, "the plan expired at")
		c.Advance(-90 * time.Minute)
		first := begun(t, s)
		require.Equal(t, first, begun(t, s), "the same run gets what it began")
		open, err := s.OpenRollouts(bg)
		require.NoError(t, err)
		require.Equal(t, []Rollout{first}, open)
		start.RunID = "run-3"
		_, err = s.BeginRollout(bg, start)
		require.ErrorContains(t, err, "the plan was started by operator:kim")

		other := aPlan()
		other.PlanID, other.RunID = "plan-rollout/2", "run-9"
		_, err = s.CreatePlan(bg, other, planDevices(1))
		require.NoError(t, err)
		rows := planDevices(1)
		rows[0].Wave = 1
		expires := c.Now().Add(time.Hour)
		other.Hash, other.ExpiresAt, other.Waves = "fedcba9876543210", &expires, `{"waves":[]}`
		_, err = s.FreezePlan(bg, other, rows)
		require.NoError(t, err)
		second := Rollout{RolloutID: "fedcba987654", PlanID: other.PlanID, State: "running", Actor: "operator:kim", Owner: Owner{"rollout/fedcba987654", "run-9"}}
		_, err = s.BeginRollout(bg, second)
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorContains(t, err, "another rollout has not ended that has devices of this one: edge-000 (rollout 0123456789ab)")

		elsewhere, err := s.PlannedElsewhere(bg, []string{"edge-000", "edge-004", "edge-999"})
		require.NoError(t, err)
		require.Equal(t, map[string]string{"edge-000": "0123456789ab"}, elsewhere, "what is left out is free")
		note := RolloutNote{RolloutID: "0123456789ab", State: "done", Detail: "5 healthy", Ended: true, Actor: "operator:kim", Event: "done",
			Owner: first.Owner, ActivityID: "7"}
		require.NoError(t, s.NoteRollout(bg, note))
		require.NoError(t, s.NoteRollout(bg, note))
		r, err := s.Rollout(bg, "0123456789ab")
		require.NoError(t, err)
		require.NotNil(t, r.EndedAt)
		elsewhere, err = s.PlannedElsewhere(bg, []string{"edge-000"})
		require.NoError(t, err)
		require.Empty(t, elsewhere)
		page, err := s.ListLedger(bg, LedgerQuery{})
		require.NoError(t, err)
		require.Len(t, page.Entries, 1, "the same activity notes it once")
		require.Equal(t, "0123456789abcdef", page.Entries[0].PlanHash)
	})
}

func TestADeviceHasItsTurnAndItsAssignmentOnce(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		c := newClock()
		s := p.open(t, Options{Clock: c.Now})
		frozen(t, s, c, 5)
		r := begun(t, s)
		left := func() (ids []string) {
			list, err := s.LeftOfRollout(bg, r, 2, "", 0)
			require.NoError(t, err)
			for _, d := range list {
				ids = append(ids, d.DeviceID)
			}
			return ids
		}
		require.Equal(t, []string{"edge-000", "edge-001", "edge-002", "edge-003"}, left())
		worker := Owner{"rollout/0123456789ab/wave-1/1", "run-4"}
		d := RolloutDevice{RolloutID: r.RolloutID, DeviceID: "edge-000", State: "working", Touched: true, Owner: worker, ActivityID: "9"}
		touched, err := s.TouchRolloutDevice(bg, d)
		require.NoError(t, err)
		require.Equal(t, 1, touched.Attempts)
		require.Contains(t, left(), "edge-000", "it is not over")

		old := Assignment{DeviceID: "edge-000", Baseline: "feeders", Version: "1", Settings: map[string]string{"limit": "60"}, Actor: "operator:kim", Owner: Owner{"onboard/1", "run-0"}}
		require.NoError(t, s.Assign(bg, old))
		fresh := Assignment{DeviceID: "edge-000", Baseline: "feeders", Version: "2", Settings: map[string]string{"limit": "90"}, Actor: "operator:kim", Owner: worker}
		d.State, d.Touched = "healthy", false
		for range 2 {
			ended, err := s.EndRolloutDevice(bg, d, Ending{Assign: &fresh})
			require.NoError(t, err)
			require.Equal(t, "1", ended.Previous.Version)
			require.True(t, ended.Touched, "once touched, it stays so")
		}
		require.NotContains(t, left(), "edge-000")
		other := d
		other.State = "failed"
		ended, err := s.EndRolloutDevice(bg, other, Ending{})
		require.NoError(t, err)
		require.Equal(t, "healthy", ended.State, "the first end counts")
		_, err = s.TouchRolloutDevice(bg, d)
		require.ErrorIs(t, err, ErrInvalid, "what is over is not written any more")
		now, err := s.Assignment(bg, "edge-000")
		require.NoError(t, err)
		require.Equal(t, "2", now.Version)

		_, err = s.EndRolloutDevice(bg, RolloutDevice{RolloutID: r.RolloutID, DeviceID: "edge-001", State: "failed", Unsafe: true, Owner: worker, ActivityID: "10"}, Ending{})
		require.NoError(t, err)
		counts, err := s.CountRollout(bg, r)
		require.NoError(t, err)
		require.Equal(t, []RolloutCount{{1, "failed", true, true, 1}, {1, "healthy", false, true, 1}, {2, "", false, false, 2}}, counts)
		n, err := s.TryAgain(bg, r.RolloutID, []string{"failed", "unknown"}, nil)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		require.Equal(t, []string{"edge-001", "edge-002", "edge-003"}, left())
		n, err = s.TryAgain(bg, r.RolloutID, []string{"healthy"}, []string{"edge-999"})
		require.NoError(t, err)
		require.Zero(t, n)

		d.State = "rolled back"
		back, err := s.UndoRolloutDevice(bg, d, true)
		require.NoError(t, err)
		require.False(t, back.Assigned)
		now, err = s.Assignment(bg, "edge-000")
		require.NoError(t, err)
		old.AssignedAt = now.AssignedAt
		require.Equal(t, old, now, "it has the assignment that it had before")
	})
}

func TestWhatADeviceWasAssignedSinceStays(t *testing.T) {
	c := newClock()
	s := sqlitePlace(t).open(t, Options{Clock: c.Now})
	frozen(t, s, c, 5)
	r := begun(t, s)
	worker := Owner{"rollout/0123456789ab/wave-1/1", "run-4"}
	d := RolloutDevice{RolloutID: r.RolloutID, DeviceID: "edge-000", State: "healthy", Touched: true, Owner: worker, ActivityID: "9"}
	a := Assignment{DeviceID: "edge-000", Baseline: "feeders", Version: "2", Actor: "operator:kim", Owner: worker}
	_, err := s.EndRolloutDevice(bg, d, Ending{Assign: &a})
	require.NoError(t, err)
	a.Version, a.Owner = "3", Owner{"onboard/2", "run-9"}
	require.NoError(t, s.Assign(bg, a))
	_, err = s.UndoRolloutDevice(bg, d, true)
	require.NoError(t, err)
	now, err := s.Assignment(bg, "edge-000")
	require.NoError(t, err)
	require.Equal(t, "3", now.Version, "that was not the rollout's")
	require.NoError(t, s.Unassign(bg, "edge-000"))
	_, err = s.Assignment(bg, "edge-000")
	require.ErrorIs(t, err, ErrNotFound)

	// A device that had none has none again.
	d.DeviceID, a.DeviceID, a.Owner = "edge-001", "edge-001", worker
	_, err = s.EndRolloutDevice(bg, d, Ending{Assign: &a})
	require.NoError(t, err)
	_, err = s.UndoRolloutDevice(bg, d, true)
	require.NoError(t, err)
	_, err = s.Assignment(bg, "edge-001")
	require.ErrorIs(t, err, ErrNotFound)
}

func TestWhatIsNoPlanIsRefused(t *testing.T) {
	s := sqlitePlace(t).open(t, Options{})
	_, err := s.CreatePlan(bg, Plan{}, planDevices(1))
	require.ErrorIs(t, err, ErrInvalid)
	_, err = s.CreatePlan(bg, aPlan(), nil)
	require.ErrorContains(t, err, "the plan has 0 devices")
	_, err = s.Plan(bg, "none")
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorIs(t, s.SetPlanned(bg, "none", planDevices(1)), ErrNotFound)
	_, err = s.FreezePlan(bg, Plan{PlanID: "none", Hash: "f", Waves: "[]"}, nil)
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorIs(t, s.NoteRollout(bg, RolloutNote{RolloutID: "none", State: "done"}), ErrNotFound)
	_, err = s.Rollout(bg, "none")
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorIs(t, s.Assign(bg, Assignment{DeviceID: "edge-001"}), ErrInvalid)
}
