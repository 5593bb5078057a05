package sunspec_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/devices/sunspec"
	"edgefleet/devices/sunspec/sunspecsim"
)

func points(rows ...[]float64) map[string][][]float64 { return map[string][][]float64{"": rows} }

func TestCurvesAreReadInEngineeringUnits(t *testing.T) {
	p := start(t, sunspecsim.Config{Kind: sunspecsim.KindInverter})
	cs, err := p.chain.Curves(t.Context(), p.link, "705")
	require.NoError(t, err)
	require.Equal(t, 1, cs.Active)
	require.Equal(t, 6, cs.Rows)
	require.Len(t, cs.Curves, 3)
	now, ok := cs.InForce()
	require.True(t, ok)
	require.Equal(t, sunspec.Curve{Index: 1, ReadOnly: true,
		Settings: map[string]sunspec.Value{"DeptRef": "VAR_MAX_PCT", "Pri": "REACTIVE", "VRef": 100.0, "VRefAutoEna": "DISABLED", "VRefAutoTms": int64(300), "RspTms": 5.0},
		Tables:   points([]float64{92, 44}, []float64{98, 0}, []float64{102, 0}, []float64{108, -44})}, now)
	require.False(t, cs.Curves[1].ReadOnly)

	trip, err := p.chain.Curves(t.Context(), p.link, "707")
	require.NoError(t, err)
	now, _ = trip.InForce()
	require.Equal(t, map[string][][]float64{"MustTrip": {{50, 0.16}, {88, 2}}, "MayTrip": {{50, 0.1}}, "MomCess": {}}, now.Tables)
	require.Empty(t, now.Settings)
	frequency, err := p.chain.Curves(t.Context(), p.link, "709")
	require.NoError(t, err)
	now, _ = frequency.InForce()
	require.Equal(t, [][]float64{{47.5, 0.5}, {49, 300}}, now.Tables["MustTrip"])

	droop, err := p.chain.Curves(t.Context(), p.link, "711")
	require.NoError(t, err)
	now, _ = droop.InForce()
	require.Equal(t, sunspec.Curve{Index: 1, ReadOnly: true, Tables: map[string][][]float64{},
		Settings: map[string]sunspec.Value{"DbOf": 0.036, "DbUf": 0.036, "KOf": 0.05, "KUf": 0.05, "RspTms": 5.0, "PMin": sunspec.NotImplemented{}}}, now)
	require.Len(t, droop.Curves, 3)
	watt, err := p.chain.Curves(t.Context(), p.link, "712")
	require.NoError(t, err)
	now, _ = watt.InForce()
	require.Equal(t, points([]float64{-100, 44}, []float64{-50, 0}, []float64{-20, 0}, []float64{20, 0}, []float64{50, 0}, []float64{100, -44}), now.Tables)

	old := start(t, sunspecsim.Config{Kind: sunspecsim.KindLegacyInverter})
	cs, err = old.chain.Curves(t.Context(), old.link, "126")
	require.NoError(t, err)
	require.Equal(t, 4, cs.Rows, "of the room for 20 points, NPt can be used")
	now, _ = cs.InForce()
	require.Equal(t, map[string]sunspec.Value{"DeptRef": "VArMax", "CrvNam": sunspec.NotImplemented{}, "RmpTms": int64(10), "RmpDecTmm": 50.0, "RmpIncTmm": 50.0}, now.Settings)
}

// TestDiffKnowsWhatTheDeviceCanTellApart: voltages have steps of 0.1 % here,
// times of 10 ms.
func TestDiffKnowsWhatTheDeviceCanTellApart(t *testing.T) {
	p := start(t, sunspecsim.Config{Kind: sunspecsim.KindInverter})
	cs, err := p.chain.Curves(t.Context(), p.link, "705")
	require.NoError(t, err)
	trip, err := p.chain.Curves(t.Context(), p.link, "707")
	require.NoError(t, err)
	same := [][]float64{{92, 44}, {98, 0}, {102, 0}, {108, -44}}
	for _, c := range []struct {
		name string
		cs   *sunspec.Curves
		want sunspec.Wanted
		diff []sunspec.Change
	}{
		{"nothing is wanted", cs, sunspec.Wanted{}, nil},
		{"the same", cs, sunspec.Wanted{Settings: map[string]any{"RspTms": 5, "DeptRef": "VAR_MAX_PCT"}, Tables: map[string][][]float64{"": same}}, nil},
		{"less than half a step away", cs, sunspec.Wanted{Settings: map[string]any{"RspTms": 5.04}, Tables: points([]float64{92.04, 43.96}, same[1], same[2], same[3])}, nil},
		{"more than half a step away", cs, sunspec.Wanted{Tables: points([]float64{92.06, 44}, same[1], same[2], same[3])},
			[]sunspec.Change{{What: "point 1 V", Before: "92", After: "92.1"}}},
		{"a setting and a point", cs, sunspec.Wanted{Settings: map[string]any{"RspTms": 10}, Tables: points(same[0], []float64{97, 0}, same[2], same[3])},
			[]sunspec.Change{{What: "RspTms", Before: "5", After: "10"}, {What: "point 2 V", Before: "98", After: "97"}}},
		{"fewer points", cs, sunspec.Wanted{Tables: points(same[:3]...)},
			[]sunspec.Change{{What: "point 4 V", Before: "108", After: "-"}, {What: "point 4 Var", Before: "-44", After: "-"}}},
		{"one of three tables", trip, sunspec.Wanted{Tables: map[string][][]float64{"MustTrip": {{50, 0.164}, {88, 2.5}}}},
			[]sunspec.Change{{What: "MustTrip point 2 Tms", Before: "2", After: "2.5"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			diff, err := c.cs.Diff(c.want)
			require.NoError(t, err)
			require.Equal(t, c.diff, diff)
		})
	}
	for name, c := range map[string]struct {
		want  sunspec.Wanted
		words string
	}{
		"an unknown setting":          {sunspec.Wanted{Settings: map[string]any{"Colour": 1}}, `a curve of model 705 has no setting "Colour"; it has [DeptRef Pri RspTms`},
		"the number of points":        {sunspec.Wanted{Settings: map[string]any{"ActPt": 1}}, `no setting "ActPt"`},
		"a flag that is read-only":    {sunspec.Wanted{Settings: map[string]any{"ReadOnly": 0}}, `no setting "ReadOnly"`},
		"a name that is none":         {sunspec.Wanted{Settings: map[string]any{"DeptRef": "WATTS"}}, "not one of W_MAX_PCT, VAR_MAX_PCT"},
		"a number out of range":       {sunspec.Wanted{Settings: map[string]any{"VRef": 7000}}, "outside 0 to 6553.4 %"},
		"an unknown table":            {sunspec.Wanted{Tables: map[string][][]float64{"MustTrip": nil}}, `has no table "MustTrip"`},
		"more points than fit":        {sunspec.Wanted{Tables: points(make([][]float64, 7)...)}, "7 points are wanted, and a curve of the device has room for 6"},
		"a row that is not a row":     {sunspec.Wanted{Tables: points([]float64{1, 2, 3})}, "point 1 has 3 numbers, and the model 2: V, Var"},
		"a number that the row can't": {sunspec.Wanted{Tables: points([]float64{-1, 2})}, "point 1: V: -1 is outside"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := cs.Diff(c.want)
			require.ErrorContains(t, err, c.words)
		})
	}
}
