package cli_test

import (
	"time"

	"edgefleet/workflows/contract"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }

func timePtr(t time.Time) *time.Time { return &t }

// everything is an answer to every question.
func everything() contract.InspectResult {
	devices, incidents, ledger := someDevices(), someIncidents(), someLedger()
	return contract.InspectResult{
		Devices: devices,
		Device: &contract.DeviceDetail{DeviceStatus: devices[1], Protocol: "modbus-tcp", Registry: "onboarded", Serial: "NL-0003", Firmware: "2.4.1",
			Baseline:     "feeder-standard 2026.11.1",
			NetworkReset: "switch-01 cycle-port-3", Incidents: incidents[:1], Ledger: ledger[:2]},
		Network: &contract.NetworkReport{DeviceID: "edge-003", Reachable: true, Diagnosis: "edge-003 answers modbus-tcp at 10.1.2.3:502, in 12ms.",
			Verdicts: []contract.Verdict{
				{Check: "name resolution", Result: "skipped", Detail: "the address is a literal"},
				{Check: "protocol", Result: "ok", Detail: "modbus-tcp answered", Duration: 12345678},
			}},
		Drift: &contract.DriftReport{DeviceID: "edge-003", Baseline: "feeder-standard", Version: "2026.11.1", Checked: 13,
			Drifted: []contract.SettingDrift{
				{Setting: "undervoltage_trip", Want: "85", Got: "80", Unit: "%"},
				{Setting: "overcurrent_pickup", Want: "630", Got: "800.25", Unit: "A"},
				{Setting: "reclose_enabled", Want: "on", Got: "off"},
			}},
		Incidents: incidents,
		Incident: &contract.IncidentDetail{Incident: incidents[0],
			Notes: []contract.Moment{{At: at(3), Text: "status: mitigated"}}, Ledger: ledger},
		Audit:   &contract.AuditPage{Entries: ledger},
		Verdict: &contract.AuditVerdict{OK: true, Entries: 3, Keyed: true, HeadSeq: 3, HeadHash: "c0ffee"},
		Fingerprint: &contract.FingerprintReport{DeviceID: "gw-1", Protocol: "ssh", Address: "10.1.2.5:22",
			Shown:   []string{"SHA256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "SHA256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"},
			Verdict: contract.FingerprintUnpinned,
			State:   `ssh: {host_keys: ["SHA256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "SHA256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"]}`},
	}
}

func someDevices() []contract.DeviceStatus {
	return []contract.DeviceStatus{
		{Device: contract.Device{ID: "edge-001", Site: "substation-7", Region: "us-east-1", Class: "rtu", Profile: "feeder-rtu",
			Address: "10.1.2.1:502"}, State: "unknown"},
		{Device: contract.Device{ID: "edge-003", Site: "substation-7", Region: "us-east-1", Class: "rtu", Profile: "feeder-rtu",
			Address: "10.1.2.3:502", Labels: map[string]string{"feeder": "F12"}}, State: "healthy", CheckedAt: timePtr(at(9)),
			Detail: "state is running", LeasedBy: "remediate/edge-003/manual/1"},
	}
}

func someIncidents() []contract.Incident {
	return []contract.Incident{
		{ID: "inc-2", DeviceID: "edge-003", AlertName: "EdgeDeviceOffline", Status: "escalated", Reason: "alert EdgeDeviceOffline",
			Detail: "the runbook failed: a.py:8:27: unreachable\n    if detect_config_drift(device_id):", OpenedAt: at(1), EndedAt: timePtr(at(9)),
			WorkflowID: "remediate/edge-003/EdgeDeviceOffline/abc-1", RunID: "run-2"},
		{ID: "inc-1", DeviceID: "edge-001", Status: "open", Reason: "started by hand", OpenedAt: at(0),
			WorkflowID: "remediate/edge-001/manual/1", RunID: "run-1"},
	}
}

func someLedger() []contract.LedgerEntry {
	entry := contract.LedgerEntry{Actor: "operator:kim", DeviceID: "edge-003", WorkflowID: "remediate/edge-003/manual/1", RunID: "run-1",
		ActivityID: "18", IncidentID: "inc-2"}
	intent, end := entry, entry
	intent.Seq, intent.Time, intent.Phase, intent.Action, intent.Item = 1, at(2), "intent", "apply_baseline_config", "baseline feeder-standard 2026.11.1"
	intent.Before, intent.After = `{"undervoltage_trip":"80","reclose_delay":"5"}`, `{"undervoltage_trip":"85","reclose_delay":"7"}`
	intent.PrevHash, intent.Hash, intent.Reason = "0000", "aaaa", "called by the site"
	result := intent
	result.Seq, result.Time, result.Phase, result.Outcome, result.PrevHash, result.Hash = 2, at(3), "result", "applied", "aaaa", "bbbb"
	end.Seq, end.Time, end.Phase, end.Action, end.Item = 3, at(4), "event", "end_incident", "inc-2"
	end.Before, end.After, end.Outcome, end.PrevHash, end.Hash = "mitigated", "resolved", "resolved", "bbbb", "c0ffee"
	return []contract.LedgerEntry{intent, result, end}
}

// answering changes the answer to every question.
func answering(change func(*contract.InspectResult)) *fakeTemporal {
	return &fakeTemporal{answer: func(contract.InspectInput) (contract.InspectResult, error) {
		out := everything()
		change(&out)
		return out, nil
	}}
}

// failing answers every question with an error.
func failing(err error) *fakeTemporal {
	return &fakeTemporal{answer: func(contract.InspectInput) (contract.InspectResult, error) {
		return contract.InspectResult{}, err
	}}
}

// timeline is a run's progress, as three looks at it see it.
func timeline(more ...string) []contract.Progress {
	p := contract.Progress{DeviceID: "edge-003", IncidentID: "inc-2", Phase: "runbook"}
	out := []contract.Progress{{DeviceID: "edge-003", Phase: "waiting for the device's lease"}}
	for i, text := range append([]string{"lease taken, incident inc-2 opened", "line 4: check network: unreachable"}, more...) {
		p.Timeline = append(p.Timeline, contract.Moment{At: at(i), Text: text})
		out = append(out, p)
	}
	return out
}
