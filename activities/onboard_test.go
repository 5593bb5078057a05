package activities

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"edgefleet/devices"
	"edgefleet/devices/sim"
	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

func onboardDevice(p *plant) (contract.OnboardDeviceResult, error) {
	return do[contract.OnboardDeviceResult](p, contract.ActivityOnboard, contract.OnboardDeviceInput{
		Scope: contract.Scope{DeviceID: "edge-001", Reason: "commissioning", Actor: contract.Actor{Kind: contract.ActorOperator, Name: "kim"}}})
}

func (p *plant) registered() store.Registered {
	p.t.Helper()
	r, err := p.store.Registered(p.t.Context(), "edge-001")
	require.NoError(p.t, err)
	return r
}

// health adds a condition to the feeder's profile that a test can break: the
// baseline leaves reclose_delay alone.
func (p *plant) health() {
	p.t.Helper()
	text := variant(p.t, "feeder-rtu", "fast-feeder", "settle: {wait: 1ms, up_to: 150ms}\nrestart: {back_within: 2s}\n")
	p.write("profiles/fast-feeder.yaml", strings.Replace(text, "health:\n", "health:\n  - {point: reclose_delay, at_most: 5}\n", 1))
	p.load()
}

// sicken makes the feeder unhealthy.
func (p *plant) sicken() { require.NoError(p.t, p.feeder.Poke(devices.Holding, 109, 9)) }

func (p *plant) drifted() int {
	p.t.Helper()
	d, err := p.operator.Drift(p.t.Context(), "edge-001")
	require.NoError(p.t, err)
	return len(d.Drifted)
}

func phaseNames(list []contract.PhaseTime) (out []string) {
	for _, p := range list {
		out = append(out, p.Phase)
	}
	return out
}

// later is when the deadline of a write in flight has passed and nobody holds
// the device, so that the run gets it again.
func (p *plant) later() {
	p.t.Helper()
	p.ago = -time.Minute
	defer func() { p.ago = 0 }()
	p.requireFree()
	_, err := p.store.AcquireLease(p.t.Context(), "edge-001", store.Owner{WorkflowID: testWorkflow, RunID: testRun})
	require.NoError(p.t, err)
}

func TestAHealthyDeviceIsOnboardedAndRegistered(t *testing.T) {
	p := newPlant(t)
	out, err := onboardDevice(p)
	require.NoError(t, err)
	require.Nil(t, out.Failure)
	require.Equal(t, []string{contract.PhaseReach, contract.PhaseIdentify, contract.PhaseBackUp, contract.PhaseApply,
		contract.PhaseVerify, contract.PhaseRegister}, phaseNames(out.Phases))
	require.Empty(t, p.writes())
	p.requireFree()

	r := p.registered()
	f := p.operator.Fleet()
	d, _, err := f.Device("edge-001")
	require.NoError(t, err)
	require.Equal(t, store.StateOnboarded, r.State)
	require.Equal(t, store.Facts{DeclaredHash: f.DeclaredHash(d), Revision: f.Revision(), Site: "s1", Region: "north", Profile: "fast-feeder",
		Maker: "Northline", Model: "FR-200", Serial: r.Serial, Firmware: r.Firmware, Baseline: "standard", BaselineVersion: "7"}, r.Facts)
	require.Contains(t, r.Serial, "edge-001")
	require.NotEmpty(t, r.Firmware)
	require.Equal(t, store.Owner{WorkflowID: testWorkflow, RunID: testRun}, r.Owner)
	require.EqualValues(t, 1, r.Onboardings)
	require.Len(t, r.Phases, 5)
	for _, phase := range r.Phases {
		require.Equal(t, "done", phase.Outcome)
		require.WithinDuration(t, time.Now(), phase.Started, time.Minute)
	}
	require.Equal(t, stateHealthy, p.state().State)

	require.Equal(t, []string{"event onboard onboarded"}, p.ledger())
	page, err := p.store.ListLedger(t.Context(), store.LedgerQuery{})
	require.NoError(t, err)
	e := page.Entries[0]
	require.Equal(t, []string{"operator:kim", "edge-001", "edge-001/onboarded", testWorkflow, testRun, r.DeclaredHash},
		[]string{e.Actor, e.DeviceID, e.Item, e.WorkflowID, e.RunID, e.PlanHash})
}

func TestADriftedDeviceIsCorrectedAndRegistered(t *testing.T) {
	p := newPlant(t)
	p.drift()
	out, err := onboardDevice(p)
	require.NoError(t, err)
	require.Nil(t, out.Failure)
	require.False(t, out.Undone)
	require.Equal(t, map[string]int{"undervoltage_trip": 1, "overcurrent_pickup": 1}, p.writes())
	require.Zero(t, p.drifted())
	require.Equal(t, store.StateOnboarded, p.registered().State)
	require.Equal(t, []string{"intent onboard_device", "result onboard_device applied", "event onboard onboarded"}, p.ledger())
	before, err := p.store.SettingsBefore(t.Context(), "edge-001", store.Owner{WorkflowID: testWorkflow, RunID: testRun})
	require.NoError(t, err)
	found := map[string]string{}
	for _, s := range before {
		found[s.Name] = s.Value
	}
	require.Greater(t, len(found), 10, "everything is kept as it was found")
	require.Equal(t, "60", found["undervoltage_trip"])
	p.requireFree()
}

func TestADeviceOfAnotherModelIsRefusedAndLeftAlone(t *testing.T) {
	p := newPlant(t)
	p.drift()
	require.NoError(t, p.feeder.Poke(devices.Holding, 8, 0x5858, 0, 0))
	out, err := onboardDevice(p)
	require.NoError(t, err, "one bad device does not look like a bad workflow")
	require.Equal(t, contract.PhaseIdentify, out.Failure.Phase)
	require.Equal(t, contract.ErrRejected, out.Failure.Reason)
	require.Contains(t, out.Failure.Detail, `its model is "XX", and "FR-200" was expected`)
	require.Empty(t, p.writes())
	r := p.registered()
	require.Equal(t, []any{store.StateFailed, int64(0), "identify: " + out.Failure.Detail, "XX"}, []any{r.State, r.Onboardings, r.Detail, r.Model})
	require.Equal(t, "failed", r.Phases[len(r.Phases)-1].Outcome)
	require.Equal(t, []string{"event onboard failed"}, p.ledger())
	p.requireFree()
}

func TestAnUnhealthyDeviceGetsItsSettingsBack(t *testing.T) {
	p := newPlant(t)
	p.health()
	p.drift()
	p.driver.write = func(call func() error) error {
		err := call()
		p.sicken()
		return err
	}
	out, err := onboardDevice(p)
	require.NoError(t, err)
	require.True(t, out.Undone)
	require.Equal(t, []string{contract.PhaseVerify, contract.ErrNotHealthy}, []string{out.Failure.Phase, out.Failure.Reason})
	require.Contains(t, out.Failure.Detail, "reclose_delay is 9, and healthy means reclose_delay <= 5")
	require.Contains(t, out.Failure.Detail, "its changes were taken back")
	require.Equal(t, map[string]int{"undervoltage_trip": 2, "overcurrent_pickup": 2}, p.writes(), "there and back")
	require.Equal(t, 2, p.drifted())
	require.Equal(t, store.StateFailed, p.registered().State)
	require.Equal(t, stateUnhealthy, p.state().State)
	require.Equal(t, []string{"intent onboard_device", "result onboard_device applied", "intent onboard_device", "result onboard_device applied",
		"event onboard failed"}, p.ledger())
	p.requireFree()

	again, err := onboardDevice(p)
	require.NoError(t, err, "a retry whose first answer was lost finds it done")
	require.Equal(t, contract.PhaseVerify, again.Failure.Phase)
	require.Equal(t, map[string]int{"undervoltage_trip": 2, "overcurrent_pickup": 2}, p.writes())
	require.Len(t, p.ledger(), 5)
}

func TestADarkDeviceIsTriedAgain(t *testing.T) {
	p := newPlant(t)
	require.NoError(t, p.feeder.Break(sim.FaultOffline, false))
	_, err := onboardDevice(p)
	requireType(t, contract.ErrUnreachable, true, err)
	var app *temporal.ApplicationError
	require.ErrorAs(t, err, &app)
	var f contract.OnboardFailure
	require.NoError(t, app.Details(&f), "the workflow is told where it stands")
	require.Equal(t, []string{"edge-001", contract.PhaseReach}, []string{f.DeviceID, f.Phase})
	require.Contains(t, f.Detail, "edge-001 does not answer")
	r := p.registered()
	require.Equal(t, store.StateFailed, r.State)
	require.Contains(t, r.Detail, "reach: ")
	require.Equal(t, stateUnreachable, p.state().State)
	p.requireFree()

	require.NoError(t, p.feeder.Heal())
	out, err := onboardDevice(p)
	require.NoError(t, err)
	require.Nil(t, out.Failure)
	require.Equal(t, store.StateOnboarded, p.registered().State)
	require.Equal(t, []string{"event onboard failed", "event onboard onboarded"}, p.ledger())
	p.requireFree()
}

func TestADeviceThatAnotherWorkflowHoldsIsWaitedFor(t *testing.T) {
	p := newPlant(t)
	other, err := p.store.AcquireLease(t.Context(), "edge-001", store.Owner{WorkflowID: "remediate/edge-001", RunID: "r1"})
	require.NoError(t, err)
	_, err = onboardDevice(p)
	require.Contains(t, requireType(t, contract.ErrLeaseHeld, true, err), "remediate/edge-001")
	_, err = p.store.Registered(t.Context(), "edge-001")
	require.ErrorIs(t, err, store.ErrNotFound, "nothing is said of a device that is another's")
	lease, err := p.store.LeaseOf(t.Context(), "edge-001")
	require.NoError(t, err)
	require.Equal(t, other.Token, lease.Token, "it is still the other's")

	p.closed = func(store.Owner) (bool, error) { return true, nil }
	out, err := onboardDevice(p)
	require.NoError(t, err, "a workflow that has ended holds nobody up")
	require.Nil(t, out.Failure)
	p.requireFree()
}

func TestALeaseThatALateAttemptGaveBackIsTakenAgain(t *testing.T) {
	p := newPlant(t)
	p.drift()
	p.driver.write = func(call func() error) error {
		lease, err := p.store.LeaseOf(t.Context(), "edge-001")
		require.NoError(t, err)
		err = call()
		require.NoError(t, p.store.ReleaseLease(t.Context(), "edge-001", lease.Token))
		return err
	}
	_, err := onboardDevice(p)
	requireType(t, contract.ErrLeaseLost, true, err)
	p.driver.write = nil
	_, err = onboardDevice(p)
	require.NoError(t, err)
	require.EqualValues(t, 1, p.registered().Onboardings)
	require.Equal(t, map[string]int{"undervoltage_trip": 1, "overcurrent_pickup": 1}, p.writes())
	p.requireFree()
}

func TestAnOnboardingThatDiedBetweenIntentAndResultWritesOnceAndOnboardsOnce(t *testing.T) {
	for _, after := range []bool{false, true} {
		t.Run(map[bool]string{false: "before the write", true: "after the write"}[after], func(t *testing.T) {
			p := newPlant(t)
			p.drift()
			p.powerCut(after)
			_, err := onboardDevice(p)
			require.ErrorContains(t, err, "power cut")
			require.Equal(t, []string{"intent onboard_device"}, p.ledger())
			p.driver.write = nil
			p.later()
			for range 2 { // the answer of the second attempt is lost, too
				out, err := onboardDevice(p)
				require.NoError(t, err)
				require.Nil(t, out.Failure)
			}
			require.Equal(t, map[string]int{"undervoltage_trip": 1, "overcurrent_pickup": 1}, p.writes())
			require.Zero(t, p.drifted())
			r := p.registered()
			require.Equal(t, []any{store.StateOnboarded, int64(1)}, []any{r.State, r.Onboardings})
			require.Equal(t, []string{"intent onboard_device", map[bool]string{false: "result onboard_device applied", true: "result onboard_device confirmed"}[after],
				"event onboard onboarded"}, p.ledger())
			p.requireFree()
		})
	}
}

func TestAnOnboardingWhoseWorkerStopsLeavesNoWordAndNoLease(t *testing.T) {
	p := newPlant(t)
	p.drift()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p.ctx = ctx
	p.driver.write = func(call func() error) error {
		cancel()
		return call()
	}
	_, err := onboardDevice(p)
	require.Error(t, err)
	p.later()
	_, err = p.store.Registered(t.Context(), "edge-001")
	require.ErrorIs(t, err, store.ErrNotFound, "that a worker stops says nothing of the device")

	p.ctx, p.driver.write = context.Background(), nil
	_, err = onboardDevice(p)
	require.NoError(t, err)
	require.Equal(t, store.StateOnboarded, p.registered().State)
	require.Zero(t, p.drifted())
	p.requireFree()
}

func TestADeviceThatIsNotDeclaredIsNotOnboarded(t *testing.T) {
	p := newPlant(t)
	_, err := do[contract.OnboardDeviceResult](p, contract.ActivityOnboard, contract.OnboardDeviceInput{Scope: contract.Scope{DeviceID: "edge-009"}})
	requireType(t, contract.ErrUnknownDevice, false, err)
}

func chosen(s contract.Selected) []string {
	out := []string{}
	for _, d := range s.Devices {
		out = append(out, d.ID+" "+d.Site+" "+d.Region)
	}
	return out
}

func TestASelectionIsResolvedAgainstTheFleetAndTheRegistry(t *testing.T) {
	p := newPlant(t)
	feeder, outlet := "edge-001 s1 north", "switch-01 s2 north"
	choose := func(s contract.Selection) contract.Selected {
		t.Helper()
		out, err := do[contract.Selected](p, contract.ActivitySelect, s)
		require.NoError(t, err)
		require.Equal(t, p.operator.Fleet().Revision(), out.Revision)
		return out
	}
	require.Equal(t, []string{feeder, outlet}, chosen(choose(contract.Selection{All: true})))
	require.Equal(t, []string{feeder, outlet}, chosen(choose(contract.Selection{Region: "north"})))
	require.Equal(t, []string{outlet}, chosen(choose(contract.Selection{Site: "s2"})))
	require.Equal(t, []string{feeder, outlet}, chosen(choose(contract.Selection{IDs: []string{"switch-01", "edge-001", "switch-01"}})), "each once, in the order of the IDs")

	_, err := onboardDevice(p)
	require.NoError(t, err)
	all := choose(contract.Selection{All: true})
	require.Equal(t, []string{outlet}, chosen(all), "the other is onboarded as it is declared")
	require.Equal(t, 1, all.Skipped)
	named := choose(contract.Selection{IDs: []string{"edge-001"}})
	require.Empty(t, named.Devices)
	require.Equal(t, 1, named.Skipped)
	again := choose(contract.Selection{All: true, Again: true})
	require.Equal(t, []string{feeder, outlet}, chosen(again))
	require.Zero(t, again.Skipped)

	p.redeclare(strings.Replace(p.fleetFile(), "feeder: F12", "feeder: F13", 1))
	require.Equal(t, []string{feeder, outlet}, chosen(choose(contract.Selection{All: true})), "a changed declaration is onboarded anew")
}

func TestASelectionThatNamesNothingSaysSo(t *testing.T) {
	p := newPlant(t)
	var many []string
	for n := range 60 {
		many = append(many, fmt.Sprintf("edge-9%02d", n))
	}
	for _, tt := range []struct {
		name string
		sel  contract.Selection
		kind string
		says string
	}{
		{"unknown IDs, all at once", contract.Selection{IDs: []string{"edge-007", "edge-001", "edge-008", "edge-007"}}, contract.ErrUnknownDevice,
			"the fleet does not declare edge-007, edge-008; declare them, or correct the names"},
		{"very many of them, in short", contract.Selection{IDs: many}, contract.ErrUnknownDevice, "edge-949 and 10 more; declare them"},
		{"an unknown site", contract.Selection{Site: "s9"}, contract.ErrNotFound, `the fleet declares no device at site "s9"`},
		{"an unknown region", contract.Selection{Region: "west"}, contract.ErrNotFound, `the fleet declares no device in region "west"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := do[contract.Selected](p, contract.ActivitySelect, tt.sel)
			require.Contains(t, requireType(t, tt.kind, false, err), tt.says)
		})
	}
}

func (p *plant) fleetFile() string {
	p.t.Helper()
	text, err := os.ReadFile(filepath.Join(p.dir, "fleet.yaml"))
	require.NoError(p.t, err)
	return string(text)
}

// redeclare replaces the fleet file, and loads it.
func (p *plant) redeclare(text string) {
	p.t.Helper()
	p.write("fleet.yaml", text)
	p.load()
}
