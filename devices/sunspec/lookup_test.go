package sunspec

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLookup(t *testing.T) {
	catalog, err := NewCatalog()
	require.NoError(t, err)
	got, err := catalog.Lookup("124.ChaSt")
	require.NoError(t, err)
	require.Equal(t, Info{Name: "124.ChaSt", Type: Enum16, Symbols: []string{"OFF", "EMPTY", "DISCHARGING", "CHARGING", "FULL", "HOLDING", "TESTING"},
		Numbers: map[string]int64{"OFF": 1, "EMPTY": 2, "DISCHARGING": 3, "CHARGING": 4, "FULL": 5, "HOLDING": 6, "TESTING": 7}}, got)
	got.Numbers["OFF"] = 9
	again, err := catalog.Lookup("124.ChaSt")
	require.NoError(t, err)
	require.Equal(t, int64(1), again.Numbers["OFF"], "the numbers are the caller's own")
	got, err = catalog.Lookup("802#2.SoCRsvMin")
	require.NoError(t, err)
	require.Equal(t, Info{Name: "802#2.SoCRsvMin", Type: Uint16, Unit: "% WHRtg", Use: SettingUse, ScaleFactor: true}, got)
	got, err = catalog.Lookup("704.PFWInj.PF")
	require.NoError(t, err)
	require.Equal(t, ControlUse, got.Use)
	for name, words := range map[string]string{
		"WMax":        `"WMax" is not a SunSpec point: want MODEL.POINT, as in 121.WMax`,
		"121.":        "is not a SunSpec point",
		"0.WMax":      "is not a SunSpec point",
		"802#0.SoC":   "is not a SunSpec point",
		"802#x.SoC":   "is not a SunSpec point",
		"99999.A":     "is not a SunSpec point",
		"999.A":       "999.A: model 999 is not one of 1, 101, 102",
		"121.Nominal": `121.Nominal: model 121 (Basic settings) has no point "Nominal"`,
		"120.Pad":     "has no point",
		"120.Points":  "has no point",
		"705.curve.":  `705.curve.: a curve of model 705 (Volt-var) has no ""; it has DeptRef, Pri, VRef, VRefAutoEna, VRefAutoTms, RspTms, points`,
		// These follow from the table, or are the device's own.
		"705.curve.ActPt":    `has no "ActPt"`,
		"705.curve.ReadOnly": `has no "ReadOnly"`,
		"705.curve.VRefAuto": `has no "VRefAuto"`,
		"707.curve.points":   `has no "points"; it has MustTrip, MayTrip, MomCess`,
		"121.curve.points":   "121.curve.points: model 121 (Basic settings) has no curves",
		"999.curve.points":   "model 999 is not one of 1, 101",
	} {
		_, err := catalog.Lookup(name)
		require.ErrorContains(t, err, words)
	}
}

func TestLookupKnowsThePartsOfTheCurveInForce(t *testing.T) {
	catalog, err := NewCatalog()
	require.NoError(t, err)
	for name, want := range map[string]Info{
		"705.curve.RspTms":      {Type: Uint32, Unit: "s", Use: SettingUse, ScaleFactor: true},
		"705.curve.VRefAutoTms": {Type: Uint16, Unit: "s", Use: SettingUse},
		"706.curve.DeptRef":     {Type: Enum16, Use: SettingUse, Symbols: []string{"W_MAX_PCT", "W_AVAL_PCT"}, Numbers: map[string]int64{"W_MAX_PCT": 0, "W_AVAL_PCT": 1}},
		"126.curve.CrvNam":      {Type: String, Use: SettingUse},
		"705.curve.points":      {Type: String, Use: SettingUse, Columns: []string{"V", "Var"}},
		"709#2.curve.MomCess":   {Type: String, Use: SettingUse, Columns: []string{"Hz", "Tms"}},
	} {
		want.Name = name
		got, err := catalog.Lookup(name)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

func TestCurveNamesListsWhatLookupKnows(t *testing.T) {
	catalog, err := NewCatalog()
	require.NoError(t, err)
	names, err := catalog.CurveNames("707#2")
	require.NoError(t, err)
	require.Equal(t, []string{"707#2.curve.MustTrip", "707#2.curve.MayTrip", "707#2.curve.MomCess"}, names)
	for _, id := range catalog.Models() {
		names, err := catalog.CurveNames(ref{id, 1, ""}.String())
		if m, _ := catalog.Model(id); m.Curves == nil {
			require.ErrorContains(t, err, "has no curves")
			continue
		}
		require.NoError(t, err)
		for _, name := range names {
			info, err := catalog.Lookup(name)
			require.NoError(t, err)
			require.Equal(t, SettingUse, info.Use)
		}
	}
	for _, bad := range []string{"705.curve.points", "curve", "999"} {
		_, err := catalog.CurveNames(bad)
		require.Error(t, err)
	}
}
