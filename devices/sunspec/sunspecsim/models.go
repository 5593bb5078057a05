package sunspecsim

import (
	"maps"
	"time"

	"edgefleet/devices/sim"
)

// The profile names that the models state.
const (
	InverterProfile       = "sunspec-inverter"
	LegacyInverterProfile = "sunspec-inverter-legacy"
	BatteryProfile        = "sunspec-battery"
)

func common(serial, model string) part {
	return part{id: 1, text: map[string]string{"Mn": "Northline", "Md": model, "Vr": "3.2.1", "SN": serial}, raw: map[string]int64{"DA": 1}}
}

// inverter has the models 1, 103, 120, 121, 123 and 701 to 712.
func inverter(serial string) []part {
	return []part{
		common(serial, "PV-50"), acInverter(), nameplate(), basicSettings(), controls(),
		measurements(), capacity(), enterService(), acControls(),
		voltVar(), voltWatt(), trips(707), trips(708), trips(709), trips(710), frequencyDroop(), wattVar(),
	}
}

// legacyInverter has the models 1, 101, 120, 121, 123 and 126.
func legacyInverter(serial string) []part {
	one := acInverter()
	one.id = 101
	return []part{common(serial, "PV-5"), one, nameplate(), basicSettings(), controls(), staticVoltVar()}
}

// battery has the models 1, 124 and 802.
func battery(serial string) []part {
	return []part{common(serial, "BT-100"), storage(), bank()}
}

func acInverter() part {
	return part{id: 103,
		raw: map[string]int64{
			"A": 580, "AphA": 193, "AphB": 193, "AphC": 194, "A_SF": -1,
			"PPVphAB": 4000, "PPVphBC": 4001, "PPVphCA": 3999, "PhVphA": 2309, "PhVphB": 2310, "PhVphC": 2311, "V_SF": -1,
			"W_SF": 1, "Hz_SF": -2, "VA": 4010, "VA_SF": 1, "VAr": -30, "VAr_SF": 1, "PF": 999, "PF_SF": -1,
			"WH": 123456789, "WH_SF": 0, "TmpCab": 415, "Tmp_SF": -1, "Evt1": 0, "Evt2": 0},
		live: map[string]func(sim.Moment) int64{
			"W":  wave(4000, 500, 10*time.Minute),
			"Hz": wave(5000, 3, time.Minute),
			"St": func(m sim.Moment) int64 {
				if m.Starting {
					return 3
				}
				return 4
			},
		}}
}

func nameplate() part {
	return part{id: 120, raw: map[string]int64{
		"DERTyp": 4, "WRtg": 5000, "WRtg_SF": 1, "VARtg": 5500, "VARtg_SF": 1,
		"VArRtgQ1": 2200, "VArRtgQ2": 2200, "VArRtgQ3": -2200, "VArRtgQ4": -2200, "VArRtg_SF": 1,
		"ARtg": 800, "ARtg_SF": -1, "PFRtgQ1": 80, "PFRtgQ2": 80, "PFRtgQ3": -80, "PFRtgQ4": -80, "PFRtg_SF": -2}}
}

func basicSettings() part {
	return part{id: 121,
		raw: map[string]int64{
			"WMax": 5000, "WMax_SF": 1, "VRef": 4000, "VRef_SF": -1, "VRefOfs": 0, "VRefOfs_SF": -1,
			"VAMax": 5500, "VAMax_SF": 1,
			"VArMaxQ1": 2200, "VArMaxQ2": 2200, "VArMaxQ3": -2200, "VArMaxQ4": -2200, "VArMax_SF": 1,
			"WGra": 100, "WGra_SF": 0, "PFMinQ1": 80, "PFMinQ2": 80, "PFMinQ3": -80, "PFMinQ4": -80, "PFMin_SF": -2,
			"VArAct": 1, "ClcTotVA": 1, "MaxRmpRte": 100, "MaxRmpRte_SF": 0, "ECPNomHz": 5000, "ECPNomHz_SF": -2},
		drifts: map[string]int64{"WMax": 4200, "PFMinQ1": 95, "ECPNomHz": 6000}}
}

func controls() part {
	return part{id: 123, raw: map[string]int64{
		"Conn": 1, "WMaxLimPct": 1000, "WMaxLim_Ena": 0, "OutPFSet": 100, "OutPFSet_Ena": 0, "VArPct_Ena": 0,
		"WMaxLimPct_SF": -1, "OutPFSet_SF": -2}}
}

func measurements() part {
	return part{id: 701,
		raw: map[string]int64{
			"ACType": 2, "St": 1, "InvSt": 3, "ConnSt": 1, "Alrm": 0, "DERMode": 1, "VA": 4010, "Var": -30, "PF": 999, "A": 580,
			"LLV": 4000, "LNV": 2310, "TotWhInj": 123456789, "TotWhAbs": 1200, "TmpCab": 415, "ThrotPct": 0, "ThrotSrc": 0,
			"A_SF": -1, "V_SF": -1, "Hz_SF": -3, "W_SF": 1, "PF_SF": -3, "VA_SF": 1, "Var_SF": 1, "TotWh_SF": 0, "Tmp_SF": -1},
		live: map[string]func(sim.Moment) int64{"W": wave(4000, 500, 10*time.Minute), "Hz": wave(50000, 30, time.Minute)}}
}

func capacity() part {
	return part{id: 702,
		raw: map[string]int64{
			"WMaxRtg": 5000, "VAMaxRtg": 5500, "VarMaxInjRtg": 2200, "VarMaxAbsRtg": 2200, "VNomRtg": 4000, "VMaxRtg": 4600, "VMinRtg": 3400,
			"AMaxRtg": 800, "NorOpCatRtg": 1, "AbnOpCatRtg": 2, "CtrlModes": 0x35BD, "IntIslandCatRtg": 1,
			"WMax": 5000, "VAMax": 5500, "VarMaxInj": 2200, "VarMaxAbs": 2200, "VNom": 4000, "VMax": 4400, "VMin": 3600, "AMax": 800,
			"W_SF": 1, "PF_SF": -3, "VA_SF": 1, "Var_SF": 1, "V_SF": -1, "A_SF": -1},
		drifts: map[string]int64{"WMax": 4200}}
}

func enterService() part {
	return part{id: 703,
		raw: map[string]int64{"ES": 1, "ESVHi": 1050, "ESVLo": 917, "ESHzHi": 50100, "ESHzLo": 49500, "ESDlyTms": 300, "ESRndTms": 0,
			"ESRmpTms": 300, "ESDlyRemTms": 0, "V_SF": -1, "Hz_SF": -3},
		drifts: map[string]int64{"ESHzHi": 70000, "ESDlyTms": 60}}
}

func acControls() part {
	return part{id: 704, raw: map[string]int64{
		"WMaxLimPctEna": 0, "WMaxLimPct": 1000, "WMaxLimPct_SF": -1, "PFWInjEna": 0, "PFWInj.PF": 1000, "PFWInj.Ext": 0, "PF_SF": -3,
		"AntiIslEna": 1}}
}

// three returns a curve three times: in force, and in two stores.
func three(c curve) []curve { return []curve{c, c, c} }

func voltVar() part {
	c := curve{
		raw:    map[string]int64{"DeptRef": 1, "Pri": 1, "VRef": 1000, "VRefAutoEna": 0, "VRefAutoTms": 300, "RspTms": 50},
		tables: map[string][][]int64{"": {{920, 440}, {980, 0}, {1020, 0}, {1080, -440}}},
	}
	return part{id: 705, rows: 6, curves: three(c), raw: map[string]int64{
		"Ena": 1, "AdptCrvReq": 0, "AdptCrvRslt": 0, "NPt": 6, "NCrv": 3, "RvrtTms": 0, "RvrtRem": 0, "RvrtCrv": 2,
		"V_SF": -1, "DeptRef_SF": -1, "RspTms_SF": -1}}
}

func voltWatt() part {
	c := curve{
		raw:    map[string]int64{"DeptRef": 0, "RspTms": 100},
		tables: map[string][][]int64{"": {{1060, 1000}, {1100, 200}}},
	}
	return part{id: 706, rows: 2, curves: three(c), raw: map[string]int64{
		"Ena": 0, "AdptCrvReq": 0, "AdptCrvRslt": 0, "NPt": 2, "NCrv": 3, "RvrtTms": 0, "RvrtRem": 0, "RvrtCrv": 2,
		"V_SF": -1, "DeptRef_SF": -1, "RspTms_SF": -1}}
}

// trips has voltages of 0.1 %, frequencies of 1 mHz, and times of 10 ms.
func trips(id uint16) part {
	raw := map[string]int64{"Ena": 1, "AdptCrvReq": 0, "AdptCrvRslt": 0, "NPt": 3, "NCrvSet": 3, "Tms_SF": -2}
	set := map[uint16]map[string][][]int64{
		707: {"MustTrip": {{500, 16}, {880, 200}}, "MayTrip": {{500, 10}}, "MomCess": {}},
		708: {"MustTrip": {{1100, 1300}, {1200, 16}}, "MayTrip": {}, "MomCess": {}},
		709: {"MustTrip": {{47500, 50}, {49000, 30000}}, "MayTrip": {}, "MomCess": {}},
		710: {"MustTrip": {{51500, 30000}, {52000, 50}}, "MayTrip": {}, "MomCess": {}},
	}[id]
	if id <= 708 {
		raw["V_SF"] = -1
	} else {
		raw["Hz_SF"] = -3
	}
	return part{id: id, rows: 3, raw: raw, curves: three(curve{tables: set})}
}

// frequencyDroop has deadbands of 1 mHz, droops of 0.001 and times of 0.1 s.
// Of a control it lacks PMin.
func frequencyDroop() part {
	c := curve{raw: map[string]int64{"DbOf": 36, "DbUf": 36, "KOf": 50, "KUf": 50, "RspTms": 50}}
	return part{id: 711, curves: three(c), raw: map[string]int64{
		"Ena": 1, "AdptCtlReq": 0, "AdptCtlRslt": 0, "NCtl": 3, "RvrtTms": 0, "RvrtRem": 0, "RvrtCtl": 2,
		"Db_SF": -3, "K_SF": -3, "RspTms_SF": -1}}
}

func wattVar() part {
	c := curve{
		raw:    map[string]int64{"DeptRef": 1, "Pri": 1},
		tables: map[string][][]int64{"": {{-1000, 440}, {-500, 0}, {-200, 0}, {200, 0}, {500, 0}, {1000, -440}}},
	}
	return part{id: 712, rows: 6, curves: three(c), raw: map[string]int64{
		"Ena": 0, "AdptCrvReq": 0, "AdptCrvRslt": 0, "NPt": 6, "NCrv": 3, "RvrtTms": 0, "RvrtRem": 0, "RvrtCrv": 2,
		"W_SF": -1, "DeptRef_SF": -1}}
}

// staticVoltVar has two curves of at most four points; the first is in force.
func staticVoltVar() part {
	c := curve{
		raw:    map[string]int64{"DeptRef": 2, "RmpTms": 10, "RmpDecTmm": 500, "RmpIncTmm": 500},
		tables: map[string][][]int64{"": {{920, 440}, {980, 0}, {1020, 0}, {1080, -440}}},
	}
	other := curve{raw: maps.Clone(c.raw), tables: map[string][][]int64{"": {{900, 0}}}}
	return part{id: 126, rows: 20, curves: []curve{c, other}, raw: map[string]int64{
		"ActCrv": 1, "ModEna": 1, "NCrv": 2, "NPt": 4, "V_SF": -1, "DeptRef_SF": -1, "RmpIncDec_SF": -1}}
}

func storage() part {
	return part{id: 124,
		raw: map[string]int64{
			"WChaMax": 10000, "WChaMax_SF": 1, "WChaGra": 100, "WDisChaGra": 100, "WChaDisChaGra_SF": 0, "StorCtl_Mod": 0,
			"MinRsvPct": 1000, "MinRsvPct_SF": -2, "ChaState": 6400, "ChaState_SF": -2, "ChaSt": 6, "OutWRte": 10000, "InWRte": 10000,
			"InOutWRte_SF": -2, "ChaGriSet": 0},
		drifts: map[string]int64{"MinRsvPct": 500}}
}

func bank() part {
	return part{id: 802,
		raw: map[string]int64{
			"AHRtg": 2500, "WHRtg": 2000, "WChaRteMax": 1000, "WDisChaRteMax": 1000, "SoCMax": 1000, "SoCMin": 0,
			"SocRsvMax": 950, "SoCRsvMin": 100, "SoH": 990, "NCyc": 412, "ChaSt": 6, "LocRemCtl": 0, "CtrlHb": 0, "AlmRst": 0,
			"Typ": 4, "State": 3, "Evt1": 0, "Evt2": 0, "EvtVnd1": 0, "EvtVnd2": 0, "V": 8012, "CellVMax": 3310, "CellVMin": 3297,
			"A": 0, "W": 0, "SetOp": 1, "SetInvState": 3,
			"AHRtg_SF": -1, "WHRtg_SF": 2, "WChaDisChaMax_SF": 2, "SoC_SF": -1, "SoH_SF": -1, "V_SF": -1, "CellV_SF": -3,
			"A_SF": -1, "AMax_SF": 0, "W_SF": 1},
		drifts: map[string]int64{"SoCRsvMin": 50},
		live: map[string]func(sim.Moment) int64{
			"SoC": wave(640, 20, time.Hour),
			"Hb":  func(m sim.Moment) int64 { return m.Now.Unix() & 0x7FFF },
		}}
}
