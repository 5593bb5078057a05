package sunspec_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/devices/profile"
	"edgefleet/devices/sim"
	"edgefleet/devices/sunspec/sunspecsim"
)

// TestTheBuiltinProfilesDriveTheirSimulators reads every point of the built-in
// profiles, drifts, captures and restores, and writes both ends of every range
// and every name of an enum.
func TestTheBuiltinProfilesDriveTheirSimulators(t *testing.T) {
	profiles, err := profile.Builtin()
	require.NoError(t, err)
	driven := 0
	for name, cfg := range map[string]sunspecsim.Config{
		"sunspec-inverter": sunspecsim.Inverter("PV-000123"),
		"sunspec-battery":  sunspecsim.Battery("BT-000123"),
	} {
		t.Run(name, func(t *testing.T) {
			model, ok := profiles[name]
			require.True(t, ok)
			require.True(t, model.SunSpec)
			cfg.AdoptDelay = time.Millisecond
			p := start(t, cfg)
			l := p.speaks(t)
			for _, id := range model.Identity {
				got, err := l.Read(t.Context(), []devices.Point{id.Point})
				require.NoError(t, err)
				require.NotEmpty(t, got[0], id.Point.Name)
				if id.Equals != nil {
					require.Equal(t, id.Equals, got[0])
				}
			}
			_, err := l.Read(t.Context(), model.Measurements)
			require.NoError(t, err)

			// What a capture holds restores the device after drift.
			captured, err := l.Read(t.Context(), model.Settings)
			require.NoError(t, err)
			require.NoError(t, p.Break(sim.FaultDrift, false))
			drifted, err := l.Read(t.Context(), model.Settings)
			require.NoError(t, err)
			require.NotEqual(t, captured, drifted)
			all := make([]devices.Setting, len(captured))
			for i, pt := range model.Settings {
				v, err := pt.ParseExact(pt.Exact(captured[i]))
				require.NoError(t, err)
				all[i] = devices.Setting{Point: pt, Value: v}
			}
			require.NoError(t, l.Write(t.Context(), all))
			restored, err := l.Read(t.Context(), model.Settings)
			require.NoError(t, err)
			require.Equal(t, captured, restored)

			for _, pt := range model.Settings {
				for _, v := range extremes(pt) {
					value, err := pt.Canonical(v)
					require.NoError(t, err)
					require.NoError(t, l.Write(t.Context(), []devices.Setting{{Point: pt, Value: value}}), "%s: %v", pt.Name, v)
					got, err := l.Read(t.Context(), []devices.Point{pt})
					require.NoError(t, err)
					require.Equal(t, value, got[0], pt.Name)
					driven++
				}
			}
		})
	}
	require.Greater(t, driven, 80)
}

// extremes are the ends of a range, or all names of an enum.
func extremes(p devices.Point) []any {
	if len(p.Enum) > 0 {
		var out []any
		for _, name := range slices.Sorted(maps.Keys(p.Enum)) {
			out = append(out, name)
		}
		return out
	}
	var out []any
	if p.Min != nil {
		out = append(out, *p.Min)
	}
	if p.Max != nil {
		out = append(out, *p.Max)
	}
	return out
}
