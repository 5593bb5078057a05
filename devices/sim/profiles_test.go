package sim_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/devices/profile"
	"edgefleet/devices/sim/chassis"
)

// TestEveryBuiltinProfileDrivesItsSimulator loads every built-in profile, and
// does with a simulated device of it what a fleet does: it is identified, all
// of its settings are read, written to another legal value as a baseline and
// read back, its health holds, its actions are done and confirmed, and its
// interlocks refuse.
func TestEveryBuiltinProfileDrivesItsSimulator(t *testing.T) {
	profiles, err := profile.Builtin()
	require.NoError(t, err)
	s := newSecrets(t)
	for name, model := range profiles {
		t.Run(name, func(t *testing.T) {
			start := simulators()[name]
			require.NotNil(t, start, "the built-in profile %s has no simulator", name)
			p := start(t, s)
			t.Cleanup(func() { require.NoError(t, p.Close()) })
			require.Equal(t, name, p.Status().Profile)
			st := newStack(t, p, model, s)
			link, err := st.open(t.Context())
			require.NoError(t, err)
			t.Cleanup(link.Close)

			drive(t, st, p, link, s)
			for _, action := range model.Actions {
				act(t, p, link, action)
			}
			require.Len(t, p.lock, len(model.Interlock), "each interlock has its way to hold")
			for i, lock := range p.lock {
				refuse(t, st, p, lock, model.Interlock[i])
			}
		})
	}
}

// drive identifies, reads, writes and reads back.
func drive(t *testing.T, st *stack, p plant, link devices.Link, s secrets) {
	t.Helper()
	for _, id := range st.model.Identity {
		got, err := link.Read(t.Context(), []devices.Point{id.Point})
		require.NoError(t, err, id.Point.Name)
		require.NotEmpty(t, got[0], id.Point.Name)
		if id.Equals != nil {
			require.Equal(t, id.Equals, got[0], id.Point.Name)
		}
	}
	if len(st.model.Measurements) > 0 {
		_, err := link.Read(t.Context(), st.model.Measurements)
		require.NoError(t, err)
	}
	found, err := st.Probe(t.Context(), "unit-1")
	require.NoError(t, err)
	require.True(t, found.Reachable, found.Summary)

	want := map[string]any{}
	for _, pt := range st.model.Settings {
		got, err := link.Read(t.Context(), []devices.Point{pt})
		require.NoError(t, err, pt.Name)
		if !pt.Volatile {
			want[pt.Name] = p.other(t, pt, got[0])
		}
	}
	if len(want) > 0 {
		before := p.Status().Writes
		st.baselineOf(t, 1, want)
		st.load(t, s)
		drift, err := st.Drift(t.Context(), "unit-1")
		require.NoError(t, err)
		require.Len(t, drift.Drifted, len(want), "%v", drift.Drifted)
		_, err = st.ApplyBaseline(t.Context(), "unit-1", noJournal{}, nil)
		require.NoError(t, err)
		drift, err = st.Drift(t.Context(), "unit-1")
		require.NoError(t, err)
		require.Empty(t, drift.Drifted)
		require.GreaterOrEqual(t, p.Status().Writes-before, uint64(len(want)), "every setting was written")
		after := p.Status().Writes
		_, err = st.ApplyBaseline(t.Context(), "unit-1", noJournal{}, nil)
		require.NoError(t, err)
		require.Equal(t, after, p.Status().Writes, "equal values are not written again")
	}
	require.Eventually(t, func() bool {
		health, err := st.Verify(t.Context(), "unit-1")
		require.NoError(t, err)
		return health.Healthy
	}, patience, time.Millisecond)
}

// act does an action once, and has it confirmed by the device's own counter,
// or else by the simulator's.
func act(t *testing.T, p plant, link devices.Link, action profile.Action) {
	t.Helper()
	count := func() uint64 {
		if action.Confirm == nil {
			for _, c := range p.Writes() {
				if c.Name == action.Name {
					return c.Count
				}
			}
			return 0
		}
		got, err := link.Read(t.Context(), []devices.Point{*action.Confirm})
		require.NoError(t, err)
		return uint64(got[0].(int64))
	}
	before := count()
	require.NoError(t, link.Write(t.Context(), []devices.Setting{action.Pulse}), action.Name)
	require.Eventually(t, func() bool { return count() == before+1 }, patience, time.Millisecond, action.Name)
}

// refuse has the interlock keep a drifted device from being written to.
func refuse(t *testing.T, st *stack, p plant, lock func() error, interlock profile.Interlock) {
	t.Helper()
	require.NoError(t, p.Break(chassis.FaultDrift, false))
	require.NotEmpty(t, p.Status().Drifted)
	require.NoError(t, lock())
	before := p.Status().Writes
	_, err := st.ApplyBaseline(t.Context(), "unit-1", noJournal{}, nil)
	require.Equal(t, devices.Rejected, devices.KindOf(err), "%v", err)
	require.ErrorContains(t, err, interlock.Tell)
	require.Equal(t, before, p.Status().Writes)
}
