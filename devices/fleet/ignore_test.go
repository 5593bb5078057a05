package fleet_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/devices/fleet"
)

// A site that changes a setting by itself says so in an override: from then on
// nothing here compares or writes it, also when the device was given it before.
func TestASettingThatASiteIgnoresIsNeitherComparedNorWritten(t *testing.T) {
	given := assigned{a: &fleet.Assigned{Baseline: "standard", Version: "6", Settings: map[string]string{"undervoltage_trip": "80", "overcurrent_pickup": "630"}}}
	for _, c := range []struct {
		name      string
		overrides string
		given     assigned
		checked   int
		ignored   []string
	}{
		{"of what the directory says", "overrides: {sites: {s1: {ignore: [undervoltage_trip]}}}\n", assigned{}, 5, []string{"undervoltage_trip"}},
		{"of what it was given", "overrides: {devices: {edge-001: {ignore: [undervoltage_trip]}}}\n", given, 1, []string{"undervoltage_trip"}},
		{"when nothing is left", "overrides: {devices: {edge-001: {ignore: [undervoltage_trip, overcurrent_pickup]}}}\n", given, 0, []string{"undervoltage_trip", "overcurrent_pickup"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlant(t)
			p.write("edge-configs/standard.yaml", plantBaseline+c.overrides)
			p.poke(102, 700)
			o, err := fleet.New(fleet.Options{Fleet: p.operator(nil).Fleet(), Drivers: []devices.Driver{p.driver}, Assigned: c.given})
			require.NoError(t, err)

			drift, err := o.Drift(t.Context(), "edge-001")
			require.NoError(t, err)
			require.Empty(t, drift.Drifted)
			require.Equal(t, c.checked, drift.Checked)
			require.Equal(t, c.ignored, drift.Ignored)

			health, err := o.Verify(t.Context(), "edge-001")
			require.NoError(t, err)
			require.True(t, health.Healthy, health.Detail)

			done, err := o.ApplyBaseline(t.Context(), "edge-001", newMemory(), nil)
			require.NoError(t, err)
			require.Empty(t, done.Changed)
			require.Empty(t, p.writes())
		})
	}
	t.Run("and the others are", func(t *testing.T) {
		p := newPlant(t)
		p.write("edge-configs/standard.yaml", plantBaseline+"overrides: {sites: {s1: {ignore: [undervoltage_trip]}}}\n")
		p.poke(102, 700)
		p.poke(103, 900)
		done, err := p.operator(nil).ApplyBaseline(t.Context(), "edge-001", newMemory(), nil)
		require.NoError(t, err)
		require.Equal(t, map[string]int{"undervoltage_delay": 1}, p.writes())
		require.Len(t, done.Changed, 1)

		d, _, err := p.operator(nil).Fleet().Device("edge-001")
		require.NoError(t, err)
		desired, ok := p.operator(nil).Fleet().Baseline(d)
		require.True(t, ok)
		changes, err := p.operator(nil).PlanChanges(t.Context(), "edge-001", desired)
		require.NoError(t, err)
		require.Empty(t, changes, "nor does a rollout plan to")
	})
}
