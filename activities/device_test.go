package activities

import (
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/devices/fleet"
	"edgefleet/devices/sim"
	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

func actionInput(s contract.Scope) contract.ActionInput { return contract.ActionInput{Scope: s} }

// state returns what the store last learnt of the feeder.
func (p *plant) state() store.DeviceState {
	p.t.Helper()
	s, err := p.store.DeviceState(p.t.Context(), "edge-001")
	if err != nil {
		require.ErrorIs(p.t, err, store.ErrNotFound)
		return store.DeviceState{State: stateUnknown}
	}
	return s
}

func TestCheckNetworkTellsADarkDeviceFromADarkWorker(t *testing.T) {
	in := actionInput(contract.Scope{DeviceID: "edge-001"})
	t.Run("a device that answers", func(t *testing.T) {
		p := newPlant(t)
		got, err := do[contract.NetworkReport](p, contract.ActionCheckNetwork, in)
		require.NoError(t, err)
		require.True(t, got.Reachable)
		require.Equal(t, "edge-001", got.DeviceID)
		require.Len(t, got.Verdicts, 4)
		require.Equal(t, stateUnknown, p.state().State, "that it answers does not make it healthy")
	})
	t.Run("a dark device is a value, and remembered", func(t *testing.T) {
		p := newPlant(t)
		require.NoError(t, p.feeder.Break(sim.FaultOffline, false))
		got, err := do[contract.NetworkReport](p, contract.ActionCheckNetwork, in)
		require.NoError(t, err)
		require.False(t, got.Reachable)
		checks := map[string]string{}
		for _, v := range got.Verdicts {
			checks[v.Check] = v.Result
		}
		require.Equal(t, map[string]string{"name resolution": "skipped", "tcp connect": "failed", "protocol": "skipped", "region reference": "ok"}, checks)
		require.Equal(t, stateUnreachable, p.state().State)
		require.Equal(t, got.Diagnosis, p.state().Detail)
	})
	t.Run("a dark worker is an error, and nothing is remembered", func(t *testing.T) {
		p := newPlant(t)
		require.NoError(t, p.feeder.Break(sim.FaultOffline, false))
		require.NoError(t, p.reference.Close())
		_, err := do[contract.NetworkReport](p, contract.ActionCheckNetwork, in)
		require.Contains(t, requireType(t, contract.ErrOwnPath, true, err), "the worker's own path is down")
		require.Equal(t, stateUnknown, p.state().State)
	})
}

func TestDetectConfigDriftComparesWithTheBaseline(t *testing.T) {
	p := newPlant(t)
	in := actionInput(contract.Scope{DeviceID: "edge-001"})
	got, err := do[contract.DriftReport](p, contract.ActionDetectConfigDrift, in)
	require.NoError(t, err)
	require.Equal(t, contract.DriftReport{DeviceID: "edge-001", Baseline: "standard", Version: "7", Checked: 6, Drifted: []contract.SettingDrift{}}, got)
	require.Equal(t, stateUnknown, p.state().State, "that nothing drifted does not make it healthy")
	p.drift()
	got, err = do[contract.DriftReport](p, contract.ActionDetectConfigDrift, in)
	require.NoError(t, err)
	require.Equal(t, []contract.SettingDrift{{Setting: "undervoltage_trip", Want: "85", Got: "60", Unit: "%"},
		{Setting: "overcurrent_pickup", Want: "630", Got: "655.37", Unit: "A"}}, got.Drifted)
	require.Equal(t, stateDrifted, p.state().State)
	require.Equal(t, "undervoltage_trip is 60, want 85 %; overcurrent_pickup is 655.37, want 630 A", p.state().Detail)
	require.NoError(t, p.feeder.Break(sim.FaultOffline, false))
	_, err = do[contract.DriftReport](p, contract.ActionDetectConfigDrift, in)
	requireType(t, contract.ErrUnreachable, true, err)
}

func TestADriftIsToldInShort(t *testing.T) {
	var d fleet.DriftReport
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		d.Drifted = append(d.Drifted, fleet.SettingDrift{Setting: name, Want: "1", Got: "2"})
	}
	require.Equal(t, "a is 2, want 1; b is 2, want 1; c is 2, want 1; and 2 more", driftText(d))
}

func TestVerifyDeviceRemembersWhatItFound(t *testing.T) {
	p := newPlant(t)
	in := actionInput(contract.Scope{DeviceID: "edge-001"})
	got, err := do[contract.HealthReport](p, contract.ActionVerifyDevice, in)
	require.NoError(t, err)
	require.True(t, got.Healthy, got.Detail)
	require.Equal(t, stateHealthy, p.state().State)
	p.drift()
	got, err = do[contract.HealthReport](p, contract.ActionVerifyDevice, in)
	require.NoError(t, err)
	require.False(t, got.Healthy)
	require.Equal(t, stateUnhealthy, p.state().State)
	require.Equal(t, got.Detail, p.state().Detail)
}

func TestApplyWritesWhatDriftedUnderTheLeaseAndIntoTheLedger(t *testing.T) {
	p := newPlant(t)
	p.drift()
	scope := p.begin()
	got, err := do[contract.ApplyReport](p, contract.ActionApplyBaselineConfig, actionInput(scope))
	require.NoError(t, err)
	require.Equal(t, contract.ApplyReport{DeviceID: "edge-001", Baseline: "standard", Version: "7", Changed: []contract.SettingDrift{
		{Setting: "undervoltage_trip", Want: "85", Got: "60", Unit: "%"}, {Setting: "overcurrent_pickup", Want: "630", Got: "655.37", Unit: "A"}}}, got)
	require.Equal(t, map[string]int{"undervoltage_trip": 1, "overcurrent_pickup": 1}, p.writes())
	require.Equal(t, []string{"intent apply_baseline_config", "result apply_baseline_config applied"}, p.ledger())
	page, err := p.store.ListLedger(t.Context(), store.LedgerQuery{})
	require.NoError(t, err)
	e := page.Entries[0]
	require.Equal(t, []string{"alert:EdgeDeviceOffline", "edge-001", "it does not answer", scope.IncidentID, testWorkflow, testRun},
		[]string{e.Actor, e.DeviceID, e.Reason, e.IncidentID, e.WorkflowID, e.RunID})
	require.JSONEq(t, `{"overcurrent_pickup":"655.37","undervoltage_trip":"60"}`, e.Before)
	require.JSONEq(t, `{"overcurrent_pickup":"630","undervoltage_trip":"85"}`, e.After)
	before, err := p.store.SettingsBefore(t.Context(), "edge-001", store.Owner{WorkflowID: testWorkflow, RunID: testRun})
	require.NoError(t, err)
	require.Len(t, before, 2, "the values before are kept, to be put back")

	again, err := do[contract.ApplyReport](p, contract.ActionApplyBaselineConfig, actionInput(scope))
	require.NoError(t, err)
	require.Equal(t, got, again, "a retry after the result reports it")
	require.Equal(t, map[string]int{"undervoltage_trip": 1, "overcurrent_pickup": 1}, p.writes())
	require.Len(t, p.ledger(), 2)
}

func TestResetPulsesTheOutletUnderTheLeaseAndIntoTheLedger(t *testing.T) {
	p := newPlant(t)
	require.NoError(t, p.feeder.Break(sim.FaultHang, false))
	scope := p.begin()
	got, err := do[contract.ResetReport](p, contract.ActionTriggerNetworkReset, actionInput(scope))
	require.NoError(t, err)
	require.Equal(t, []any{"edge-001", "switch-01 cycle-port-1", "done", true}, []any{got.DeviceID, got.Via, got.Outcome, got.CameBack})
	require.Equal(t, []string{"intent trigger_network_reset", "result trigger_network_reset applied"}, p.ledger())
	_, err = do[contract.ResetReport](p, contract.ActionTriggerNetworkReset, actionInput(scope))
	require.NoError(t, err)
	require.Equal(t, 1, p.cycles(), "a retry after the result only waits for the device")
}

// changes are the actions that write to a device.
func changes() map[string]func(p *plant, s contract.Scope) error {
	return map[string]func(p *plant, s contract.Scope) error{
		contract.ActionApplyBaselineConfig: func(p *plant, s contract.Scope) error {
			_, err := do[contract.ApplyReport](p, contract.ActionApplyBaselineConfig, actionInput(s))
			return err
		},
		contract.ActionTriggerNetworkReset: func(p *plant, s contract.Scope) error {
			_, err := do[contract.ResetReport](p, contract.ActionTriggerNetworkReset, actionInput(s))
			return err
		},
	}
}

func TestEveryChangeOfTheCatalogueIsTested(t *testing.T) {
	for _, a := range contract.Actions() {
		if a.Kind == contract.KindChange {
			require.Contains(t, changes(), a.Name)
		}
	}
}

func TestWhoHasLostTheDeviceWritesNothing(t *testing.T) {
	for name, change := range changes() {
		for _, tt := range []struct {
			name string
			lose func(p *plant, s *contract.Scope)
		}{
			{"to another run", func(p *plant, s *contract.Scope) {
				require.NoError(p.t, p.store.ReleaseLease(p.t.Context(), "edge-001", s.LeaseToken))
				_, err := p.store.AcquireLease(p.t.Context(), "edge-001", store.Owner{WorkflowID: "other", RunID: "r1"})
				require.NoError(p.t, err)
			}},
			{"to nobody", func(p *plant, s *contract.Scope) {
				require.NoError(p.t, p.store.ReleaseLease(p.t.Context(), "edge-001", s.LeaseToken))
			}},
			{"because it never had it", func(_ *plant, s *contract.Scope) { s.LeaseToken = 0 }},
			{"because its token is of the future", func(_ *plant, s *contract.Scope) { s.LeaseToken++ }},
		} {
			t.Run(name+" "+tt.name, func(t *testing.T) {
				p := newPlant(t)
				p.drift()
				scope := p.begin()
				tt.lose(p, &scope)
				requireType(t, contract.ErrLeaseLost, false, change(p, scope))
				require.Empty(t, p.feeder.Writes())
				require.Empty(t, p.outlet.Writes())
				require.Empty(t, p.ledger())
			})
		}
	}
}

func TestWithoutTheStoreNothingIsWritten(t *testing.T) {
	for name, change := range changes() {
		t.Run(name, func(t *testing.T) {
			p := newPlant(t)
			p.drift()
			scope := p.begin()
			require.NoError(t, p.store.Close())
			requireType(t, contract.ErrStore, true, change(p, scope))
			require.Empty(t, p.feeder.Writes())
			require.Empty(t, p.outlet.Writes())
		})
	}
	t.Run("whether a device answers does not need it", func(t *testing.T) {
		p := newPlant(t)
		require.NoError(t, p.store.Close())
		out, err := do[contract.NetworkReport](p, contract.ActionCheckNetwork, actionInput(contract.Scope{DeviceID: "edge-001"}))
		require.NoError(t, err)
		require.True(t, out.Reachable)
	})
	t.Run("what a device should have needs it, and the directory is not taken in its place", func(t *testing.T) {
		p := newPlant(t)
		require.NoError(t, p.store.Close())
		_, err := do[contract.HealthReport](p, contract.ActionVerifyDevice, actionInput(contract.Scope{DeviceID: "edge-001"}))
		require.Contains(t, requireType(t, contract.ErrStore, true, err), "find out what it was assigned")
	})
}

// powerCut ends an activity at its write, before or after it.
func (p *plant) powerCut(after bool) {
	p.driver.write = func(call func() error) error {
		if after {
			require.NoError(p.t, call())
		}
		panic("power cut")
	}
}

func TestAChangeThatDiedBetweenIntentAndResultHasItsEffectOnce(t *testing.T) {
	for _, after := range []bool{false, true} {
		where := map[bool]string{false: "before the write", true: "after the write"}[after]
		t.Run("apply dies "+where, func(t *testing.T) {
			p := newPlant(t)
			p.drift()
			scope := p.begin()
			p.powerCut(after)
			_, err := do[contract.ApplyReport](p, contract.ActionApplyBaselineConfig, actionInput(scope))
			require.ErrorContains(t, err, "power cut")
			require.Equal(t, []string{"intent apply_baseline_config"}, p.ledger())
			p.driver.write = nil
			got, err := do[contract.ApplyReport](p, contract.ActionApplyBaselineConfig, actionInput(scope))
			require.NoError(t, err)
			require.Len(t, got.Changed, 2)
			outcome, confirmed := "applied", 0
			if after {
				outcome, confirmed = "confirmed", 2
			}
			require.Equal(t, confirmed, got.Confirmed)
			require.Equal(t, []string{"intent apply_baseline_config", "result apply_baseline_config " + outcome}, p.ledger())
			require.Equal(t, map[string]int{"undervoltage_trip": 1, "overcurrent_pickup": 1}, p.writes())
		})
		t.Run("reset dies "+where, func(t *testing.T) {
			p := newPlant(t)
			scope := p.begin()
			p.powerCut(after)
			_, err := do[contract.ResetReport](p, contract.ActionTriggerNetworkReset, actionInput(scope))
			require.ErrorContains(t, err, "power cut")
			p.driver.write = nil
			got, err := do[contract.ResetReport](p, contract.ActionTriggerNetworkReset, actionInput(scope))
			require.NoError(t, err)
			require.Equal(t, "done", got.Outcome)
			outcome := "applied"
			if after {
				outcome = "confirmed"
			}
			require.Equal(t, []string{"intent trigger_network_reset", "result trigger_network_reset " + outcome}, p.ledger())
			require.Equal(t, 1, p.cycles())
		})
	}
}

func TestATakenUpChangeThatLostItsLeaseWritesNothing(t *testing.T) {
	p := newPlant(t)
	p.drift()
	scope := p.begin()
	p.powerCut(false)
	_, err := do[contract.ApplyReport](p, contract.ActionApplyBaselineConfig, actionInput(scope))
	require.ErrorContains(t, err, "power cut")
	require.NoError(t, p.store.ReleaseLease(t.Context(), "edge-001", scope.LeaseToken))
	p.driver.write = nil
	_, err = do[contract.ApplyReport](p, contract.ActionApplyBaselineConfig, actionInput(scope))
	requireType(t, contract.ErrLeaseLost, false, err)
	require.Empty(t, p.feeder.Writes())
	_, err = p.store.AcquireLease(t.Context(), "edge-001", store.Owner{WorkflowID: "other", RunID: "r1"})
	require.ErrorIs(t, err, store.ErrLeaseHeld, "nobody else gets the device before the write's deadline")
}

func TestTwoActivitiesOfARunAreTwoChanges(t *testing.T) {
	p := newPlant(t)
	scope := p.begin()
	env := p.env()
	for range 2 {
		p.drift()
		got, err := next[contract.ApplyReport](env, contract.ActionApplyBaselineConfig, actionInput(scope))
		require.NoError(t, err)
		require.Len(t, got.Changed, 2)
	}
	require.Len(t, p.ledger(), 4)
	require.Equal(t, 2, p.writes()["undervoltage_trip"])
}

func TestADeviceThatRefusesAChangeIsNotAskedAgain(t *testing.T) {
	p := newPlant(t)
	p.drift()
	scope := p.begin()
	require.NoError(t, p.feeder.Poke(devices.Discrete, 0, 1))
	_, err := do[contract.ApplyReport](p, contract.ActionApplyBaselineConfig, actionInput(scope))
	require.Contains(t, requireType(t, contract.ErrRejected, false, err), "the feeder is under local control")
	require.Empty(t, p.writes())
	in := actionInput(scope)
	in.DeviceID = "switch-01"
	_, err = do[contract.ResetReport](p, contract.ActionTriggerNetworkReset, in)
	require.Contains(t, requireType(t, contract.ErrUnsupported, false, err), "declares no network_reset")
}

func TestEveryActionRefusesADeviceThatIsNotDeclared(t *testing.T) {
	p := newPlant(t)
	for _, a := range contract.Actions() {
		if a.Central {
			continue
		}
		_, err := p.env().ExecuteActivity(a.Name, actionInput(contract.Scope{DeviceID: "edge-009"}))
		requireType(t, contract.ErrUnknownDevice, false, err)
	}
	for _, question := range []string{contract.AskDeviceProbe, contract.AskDeviceDrift, contract.AskDeviceShow} {
		_, err := p.env().ExecuteActivity(question, contract.DeviceQuery{ID: "edge-009"})
		requireType(t, contract.ErrUnknownDevice, false, err)
	}
}
