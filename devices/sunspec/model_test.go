package sunspec

import (
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
)

// TestPointsStandWhereTheSpecificationPutsThem holds offsets, counted from the
// register behind the model's length, and scale factors against the tables of
// the specification, which the definitions do not contain.
func TestPointsStandWhereTheSpecificationPutsThem(t *testing.T) {
	catalog, err := NewCatalog()
	require.NoError(t, err)
	for _, c := range []struct {
		point  string
		offset int
		sf     string
	}{
		{"1.Md", 16, ""}, {"1.Opt", 32, ""}, {"1.Vr", 40, ""}, {"1.SN", 48, ""}, {"1.DA", 64, ""},
		{"101.W", 12, "W_SF"}, {"102.Hz", 14, "Hz_SF"}, {"103.WH", 22, "WH_SF"}, {"103.Tmp_SF", 35, ""}, {"103.St", 36, ""}, {"103.Evt1", 38, ""}, {"103.EvtVnd4", 48, ""},
		{"120.ARtg", 10, "ARtg_SF"}, {"120.PFRtg_SF", 16, ""}, {"120.MaxDisChaRte", 23, "MaxDisChaRte_SF"},
		{"121.WMax", 0, "WMax_SF"}, {"121.VMin", 4, "VMinMax_SF"}, {"121.ConnPh", 19, ""}, {"121.WMax_SF", 20, ""}, {"121.ECPNomHz_SF", 29, ""},
		{"123.Conn", 2, ""}, {"123.WMaxLimPct", 3, "WMaxLimPct_SF"}, {"123.WMaxLim_Ena", 7, ""}, {"123.OutPFSet", 8, "OutPFSet_SF"}, {"123.VArPct_Ena", 20, ""}, {"123.VArPct_SF", 23, ""},
		{"124.WChaMax", 0, "WChaMax_SF"}, {"124.StorCtl_Mod", 3, ""}, {"124.MinRsvPct", 5, "MinRsvPct_SF"}, {"124.ChaGriSet", 15, ""}, {"124.InOutWRte_SF", 23, ""},
		{"126.ActCrv", 0, ""}, {"126.NCrv", 5, ""}, {"126.RmpIncDec_SF", 9, ""},
		{"701.Hz", 15, "Hz_SF"}, {"701.TotWhInj", 17, "TotWh_SF"}, {"701.WL1", 39, "W_SF"}, {"701.ThrotPct", 108, ""}, {"701.A_SF", 111, ""}, {"701.MnAlrmInfo", 121, ""},
		{"702.CtrlModes", 21, ""}, {"702.WMax", 24, "W_SF"}, {"702.VNom", 36, "V_SF"}, {"702.W_SF", 43, ""},
		{"703.ESHzHi", 3, "Hz_SF"}, {"703.ESRmpTms", 11, ""}, {"703.Hz_SF", 16, ""},
		{"704.WMaxLimPct", 13, "WMaxLimPct_SF"}, {"704.PFWInj.PF", 57, "PF_SF"},
		{"705.AdptCrvReq", 1, ""}, {"705.NCrv", 4, ""}, {"705.V_SF", 10, ""}, {"705.RspTms_SF", 12, ""}, {"707.Tms_SF", 6, ""},
		{"711.AdptCtlReq", 1, ""}, {"711.NCtl", 3, ""}, {"711.RvrtTms", 4, ""}, {"711.RvrtCtl", 8, ""}, {"711.RspTms_SF", 11, ""},
		{"712.NPt", 3, ""}, {"712.RvrtCrv", 9, ""}, {"712.W_SF", 10, ""}, {"712.DeptRef_SF", 11, ""},
		{"802.SocRsvMax", 7, "SoC_SF"}, {"802.SoC", 9, "SoC_SF"}, {"802.ChaSt", 14, ""}, {"802.Evt1", 24, ""}, {"802.W", 45, "W_SF"}, {"802.SetOp", 48, ""}, {"802.W_SF", 61, ""},
	} {
		r, err := parseRef(c.point)
		require.NoError(t, err)
		_, p, err := catalog.resolve(r)
		require.NoError(t, err)
		require.Equal(t, c.offset, p.offset, c.point)
		require.Equal(t, c.sf, p.SF, c.point)
	}
	for id, size := range map[uint16]int{1: 66, 101: 50, 102: 50, 103: 50, 120: 26, 121: 30, 123: 24, 124: 24, 126: 10,
		701: 153, 702: 50, 703: 17, 704: 65, 705: 13, 706: 13, 707: 7, 708: 7, 709: 7, 710: 7, 711: 12, 712: 12, 802: 62} {
		m, ok := catalog.Model(id)
		require.True(t, ok)
		require.Equal(t, size, m.size, "model %d", id)
	}
	require.Len(t, catalog.Models(), 22)
}

// TestACurveHasTheLengthOfTheSpecification takes the repeating block of model
// 126, 54 registers, and the sums of the groups of 705 to 712.
func TestACurveHasTheLengthOfTheSpecification(t *testing.T) {
	catalog, err := NewCatalog()
	require.NoError(t, err)
	for _, c := range []struct {
		id        uint16
		rows      uint16
		length    int
		lastPoint int // where the last row begins
	}{
		{126, 4, 54, 2 + 19*2}, {705, 6, 10 + 6*2, 10 + 5*2}, {706, 2, 5 + 2*2, 5 + 2}, {707, 3, 1 + 3*(1+3*3), 0}, {709, 3, 1 + 3*(1+3*4), 0},
		{711, 0, 10, 0}, {712, 6, 4 + 6*2, 4 + 5*2},
	} {
		m, _ := catalog.Model(c.id)
		words := make([]uint16, m.size)
		words[m.point(m.Curves.Count).offset] = 3
		if c.rows > 0 {
			words[m.point("NPt").offset] = c.rows
		}
		at := Instance{ID: c.id, Address: 40000, Length: uint16(m.size + 3*c.length)}
		l, err := m.curveLayout(at, block{at.Address, words})
		require.NoError(t, err)
		require.Equal(t, c.length, l.length, "model %d", c.id)
		require.Equal(t, int(c.rows), l.rows)
		if c.lastPoint > 0 {
			require.Equal(t, c.lastPoint, l.tables[0].first+(l.tables[0].rows-1)*l.tables[0].width)
		}
		at.Length++
		_, err = m.curveLayout(at, block{at.Address, words})
		require.ErrorContains(t, err, "another version of the model")
	}
}

// TestWhatIsWritten lists every point that a baseline can set. A point that
// joins it joins what edgefleet writes to plants by itself.
func TestWhatIsWritten(t *testing.T) {
	catalog, err := NewCatalog()
	require.NoError(t, err)
	settings := map[uint16][]string{}
	for _, id := range catalog.Models() {
		m, _ := catalog.Model(id)
		for _, p := range m.Points {
			if p.Use == SettingUse {
				settings[id] = append(settings[id], p.Name)
			}
			require.Equal(t, p.Use == SettingUse, p.point(p.Name, 0, 1).Writable)
		}
	}
	curves := map[uint16][]string{}
	for _, id := range catalog.Models() {
		if m, _ := catalog.Model(id); m.Curves != nil {
			curves[id] = m.Curves.parts()
		}
	}
	trips := []string{"MustTrip", "MayTrip", "MomCess"}
	require.Equal(t, map[uint16][]string{
		126: {"DeptRef", "CrvNam", "RmpTms", "RmpDecTmm", "RmpIncTmm", "points"},
		705: {"DeptRef", "Pri", "VRef", "VRefAutoEna", "VRefAutoTms", "RspTms", "points"},
		706: {"DeptRef", "RspTms", "points"},
		707: trips, 708: trips, 709: trips, 710: trips,
		711: {"DbOf", "DbUf", "KOf", "KUf", "RspTms", "PMin"},
		712: {"DeptRef", "Pri", "points"},
	}, curves)
	enable := []string{"Ena"}
	require.Equal(t, map[uint16][]string{
		121: {"WMax", "VRef", "VRefOfs", "VMax", "VMin", "VAMax", "VArMaxQ1", "VArMaxQ2", "VArMaxQ3", "VArMaxQ4", "WGra",
			"PFMinQ1", "PFMinQ2", "PFMinQ3", "PFMinQ4", "VArAct", "ClcTotVA", "MaxRmpRte", "ECPNomHz", "ConnPh"},
		124: {"WChaMax", "WChaGra", "WDisChaGra", "VAChaMax", "MinRsvPct", "ChaGriSet"},
		126: {"ModEna"},
		702: {"WMax", "WMaxOvrExt", "WOvrExtPF", "WMaxUndExt", "WUndExtPF", "VAMax", "VarMaxInj", "VarMaxAbs", "WChaRteMax", "WDisChaRteMax",
			"VAChaRteMax", "VADisChaRteMax", "VNom", "VMax", "VMin", "AMax", "PFOvrExt", "PFUndExt", "IntIslandCat"},
		703: {"ESVHi", "ESVLo", "ESHzHi", "ESHzLo", "ESDlyTms", "ESRndTms", "ESRmpTms"},
		705: enable, 706: enable, 707: enable, 708: enable, 709: enable, 710: enable, 711: enable, 712: enable,
		802: {"SocRsvMax", "SoCRsvMin"},
	}, settings)
}

func TestABadDefinitionIsRefused(t *testing.T) {
	for name, c := range map[string]struct{ text, words string }{
		"unknown field":       {"ids: [9]\nlengths: [1]\npoints: [{name: A, type: uint16, colour: red}]", "colour"},
		"no ID":               {"lengths: [1]\npoints: [{name: A, type: uint16}]", "without an ID"},
		"a model twice":       {"ids: [121]\nlengths: [1]\npoints: [{name: A, type: uint16}]", "a second model 121"},
		"another length":      {"ids: [9]\nlengths: [2]\npoints: [{name: A, type: uint16}]", "take 1 registers"},
		"unknown type":        {"ids: [9]\nlengths: [1]\npoints: [{name: A, type: word}]", `type "word"`},
		"a text without size": {"ids: [9]\nlengths: [1]\npoints: [{name: A, type: string}]", "with size 0"},
		"a missing factor":    {"ids: [9]\nlengths: [1]\npoints: [{name: A, type: uint16, sf: A_SF}]", `scale factor "A_SF"`},
		"a factor on an enum": {"ids: [9]\nlengths: [2]\npoints: [{name: A, type: enum16, sf: B}, {name: B, type: sunssf}]", "scale factor"},
		"symbols on a number": {"ids: [9]\nlengths: [1]\npoints: [{name: A, type: uint16, symbols: {X: 1}}]", "symbols on a uint16"},
		"unknown use":         {"ids: [9]\nlengths: [1]\npoints: [{name: A, type: uint16, use: both}]", `use "both"`},
		"unknown adoption":    {"ids: [9]\npoints: [{name: NPt, type: uint16}]\ncurves: {adopt: maybe}", `adopt: "maybe"`},
		"curves uncounted":    {"ids: [9]\npoints: [{name: NPt, type: uint16}, {name: ActCrv, type: uint16}]\ncurves: {adopt: index, count: NCrv}", "curves without NCrv"},
		"rows of no number": {"ids: [9]\npoints: [{name: NPt, type: uint16}, {name: ActCrv, type: uint16}]\n" +
			"curves: {adopt: index, count: NPt, tables: [{rows: some}]}", `rows: "some"`},
		"no result": {"ids: [9]\npoints: [{name: N, type: uint16}, {name: Req, type: uint16}]\ncurves: {adopt: request, count: N, request: Req, result: Rslt}",
			"curves without Rslt"},
		"no read-only flag": {"ids: [9]\npoints: [{name: NPt, type: uint16}, {name: ActCrv, type: uint16}]\ncurves: {adopt: index, count: NPt}", "without ReadOnly"},
	} {
		t.Run(name, func(t *testing.T) {
			catalog, err := NewCatalog()
			require.NoError(t, err)
			require.ErrorContains(t, catalog.add([]byte(c.text)), c.words)
		})
	}
}

func TestEveryTypeHasOneOfTheSharedTypes(t *testing.T) {
	for _, typ := range []Type{Int16, Int32, Int64, Uint16, Uint32, Uint64, Acc16, Acc32, Acc64, Enum16, Enum32,
		Bitfield16, Bitfield32, Float32, Float64, SunSSF, String, Pad} {
		require.NotEmpty(t, typ.device())
		require.Equal(t, typ == String, typ.registers() == 0)
	}
	require.Empty(t, Type("word").device())
	require.Equal(t, devices.Uint32, Acc32.device())
}
