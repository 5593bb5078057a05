package activities

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/devices/sim"
	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

// try onboards as a workflow does that gives dark devices another turn.
func try(p *plant, change ...func(*contract.OnboardDeviceInput)) (contract.OnboardDeviceResult, error) {
	in := contract.OnboardDeviceInput{Yield: true,
		Scope: contract.Scope{DeviceID: "edge-001", Reason: "commissioning", Actor: contract.Actor{Kind: contract.ActorOperator, Name: "kim"}}}
	for _, c := range change {
		c(&in)
	}
	return do[contract.OnboardDeviceResult](p, contract.ActivityOnboard, in)
}

func TestADarkDeviceYieldsItsPlaceUntilTheLastTry(t *testing.T) {
	p := newPlant(t)
	require.NoError(t, p.feeder.Break(sim.FaultOffline, false))
	out, err := try(p)
	require.NoError(t, err)
	require.True(t, out.Later)
	require.Equal(t, []string{"edge-001", contract.PhaseReach, contract.ErrUnreachable}, []string{out.Failure.DeviceID, out.Failure.Phase, out.Failure.Reason})
	require.Contains(t, out.Failure.Detail, "edge-001 does not answer")
	require.Empty(t, p.ledger(), "the registry hears of it when there is no other try")
	require.Equal(t, stateUnreachable, p.state().State)
	p.requireFree()

	out, err = try(p, func(in *contract.OnboardDeviceInput) { in.Final = true })
	require.NoError(t, err)
	require.True(t, out.Later)
	r := p.registered()
	require.Equal(t, store.StateFailed, r.State)
	require.Contains(t, r.Detail, "reach: ")
	require.Equal(t, []string{"event onboard failed"}, p.ledger())
}

func TestADeviceOfAnotherWorkflowYieldsItsPlace(t *testing.T) {
	p := newPlant(t)
	_, err := p.store.AcquireLease(t.Context(), "edge-001", store.Owner{WorkflowID: "remediate/edge-001", RunID: "r1"})
	require.NoError(t, err)
	out, err := try(p)
	require.NoError(t, err)
	require.True(t, out.Later)
	require.Equal(t, contract.ErrLeaseHeld, out.Failure.Reason)
	require.Contains(t, out.Failure.Detail, "remediate/edge-001")
}

func TestADeviceToWhichSomethingWasDoneIsRetriedInPlace(t *testing.T) {
	p := newPlant(t)
	p.drift()
	p.driver.write = func(call func() error) error {
		require.NoError(t, p.feeder.Break(sim.FaultOffline, false))
		return call()
	}
	_, err := try(p)
	require.Error(t, err, "another activity would not find what this one began")
	p.driver.write = nil
	p.later()
	_, err = try(p)
	requireType(t, contract.ErrUnreachable, true, err)
	require.NoError(t, p.feeder.Heal())
	out, err := try(p)
	require.NoError(t, err)
	require.Nil(t, out.Failure)
	require.Zero(t, p.drifted())
}

func TestADeviceThatWasExchangedIsOnboardedOnlyWhenThatIsAccepted(t *testing.T) {
	p := newPlant(t)
	env := p.env()
	onboard := func(trust contract.Trust) contract.OnboardDeviceResult {
		t.Helper()
		out, err := next[contract.OnboardDeviceResult](env, contract.ActivityOnboard, contract.OnboardDeviceInput{Trust: trust,
			Scope: contract.Scope{DeviceID: "edge-001", Actor: contract.Actor{Kind: contract.ActorOperator, Name: "kim"}}})
		require.NoError(t, err)
		return out
	}
	require.Nil(t, onboard(contract.Trust{}).Failure)
	serial := p.registered().Serial
	// Another feeder of the same model stands at the address now.
	require.NoError(t, p.feeder.Poke(devices.Holding, 16, 0x5858, 0x2d39))
	p.redeclare(strings.Replace(p.fleetFile(), "feeder: F12", "feeder: F13", 1))

	out := onboard(contract.Trust{})
	require.Equal(t, []string{contract.PhaseIdentify, contract.ErrRejected}, []string{out.Failure.Phase, out.Failure.Reason})
	require.Contains(t, out.Failure.Detail, serial)
	require.Contains(t, out.Failure.Detail, "XX-9")
	require.Equal(t, serial, p.registered().Serial, "what is known of a device in service stays")
	require.NotEmpty(t, p.registered().Detail)

	require.Nil(t, onboard(contract.Trust{AcceptReplacement: true}).Failure)
	r := p.registered()
	require.Contains(t, r.Serial, "XX-9")
	require.EqualValues(t, 2, r.Onboardings)
	require.Empty(t, r.Detail, "an onboarding that succeeds takes back why the last one failed")
}

func TestADeviceThatWasTakenOutOfServiceBeginsAnew(t *testing.T) {
	p := newPlant(t)
	own := store.Owner{WorkflowID: "onboard/before", RunID: "1"}
	lease, err := p.store.AcquireLease(t.Context(), "edge-001", own)
	require.NoError(t, err)
	_, err = p.store.Register(t.Context(), store.Registration{DeviceID: "edge-001", State: store.StateOnboarded, Owner: own, LeaseToken: lease.Token,
		Actor: "operator:kim", ActivityID: "1", Facts: store.Facts{DeclaredHash: "before", Serial: "another"}})
	require.NoError(t, err)
	_, err = p.store.Decommission(t.Context(), store.Decommissioning{DeviceID: "edge-001", Owner: own, LeaseToken: lease.Token, Actor: "operator:kim", ActivityID: "2"})
	require.NoError(t, err)
	require.NoError(t, p.store.ReleaseLease(t.Context(), "edge-001", lease.Token))
	out, err := onboardDevice(p)
	require.NoError(t, err)
	require.Nil(t, out.Failure, "nothing is in service that could have been exchanged")
}

func TestThatADeviceAnswersAgainTakesBackThatItIsDark(t *testing.T) {
	p := newPlant(t)
	p.acts.remember(t.Context(), "edge-001", stateUnreachable, "no answer")
	_, err := do[contract.NetworkReport](p, contract.AskDeviceProbe, contract.DeviceQuery{ID: "edge-001"})
	require.NoError(t, err)
	require.Equal(t, stateUnknown, p.state().State)
	require.Contains(t, p.state().Detail, "edge-001 answers")

	p.acts.remember(t.Context(), "edge-001", stateHealthy, "well")
	_, err = do[contract.NetworkReport](p, contract.AskDeviceProbe, contract.DeviceQuery{ID: "edge-001"})
	require.NoError(t, err)
	require.Equal(t, "well", p.state().Detail, "a probe says nothing against it")
}

func TestThatADeviceIsInSyncAgainTakesBackThatItDrifted(t *testing.T) {
	for name, look := range map[string]func(p *plant) error{
		"a question": func(p *plant) error {
			_, err := do[contract.DriftReport](p, contract.AskDeviceDrift, contract.DeviceQuery{ID: "edge-001"})
			return err
		},
		"a scan": func(p *plant) error {
			_, err := do[contract.ScanDriftResult](p, contract.ActivityScanDrift, contract.ScanDriftInput{Region: "north", IDs: []string{"edge-001"}})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlant(t)
			p.health()
			for _, before := range []string{stateDrifted, stateUnreachable} {
				p.acts.remember(t.Context(), "edge-001", before, "as it was")
				require.NoError(t, look(p))
				require.Equal(t, stateHealthy, p.state().State, before)
			}
			p.acts.remember(t.Context(), "edge-001", stateUnhealthy, "it is in fault")
			require.NoError(t, look(p))
			require.Equal(t, stateUnhealthy, p.state().State, "being in sync does not make it healthy")
			p.sicken()
			p.acts.remember(t.Context(), "edge-001", stateDrifted, "as it was")
			require.NoError(t, look(p))
			require.Equal(t, stateUnhealthy, p.state().State)
			require.Contains(t, p.state().Detail, "reclose_delay")
		})
	}
}

func TestTheRegistrysPinsAreThoseOfDevicesInService(t *testing.T) {
	p := newPlant(t)
	pins := Pins(func() *store.Store { return p.store })
	pin, err := pins.Pin(t.Context(), "gw-9")
	require.NoError(t, err)
	require.Empty(t, pin, "a device that nobody knows has none")
	own := store.Owner{WorkflowID: "onboard/1", RunID: "1"}
	lease, err := p.store.AcquireLease(t.Context(), "gw-9", own)
	require.NoError(t, err)
	_, err = p.store.Register(t.Context(), store.Registration{DeviceID: "gw-9", State: store.StateOnboarded, Owner: own, LeaseToken: lease.Token,
		Actor: "operator:kim", ActivityID: "1", Facts: store.Facts{DeclaredHash: "d", Pin: "SHA256:a SHA256:b"}})
	require.NoError(t, err)
	pin, err = pins.Pin(t.Context(), "gw-9")
	require.NoError(t, err)
	require.Equal(t, "SHA256:a SHA256:b", pin)
	_, err = p.store.Decommission(t.Context(), store.Decommissioning{DeviceID: "gw-9", Owner: own, LeaseToken: lease.Token, Actor: "operator:kim", ActivityID: "2"})
	require.NoError(t, err)
	pin, err = pins.Pin(t.Context(), "gw-9")
	require.NoError(t, err)
	require.Empty(t, pin)
	require.NoError(t, p.store.Close())
	for _, away := range []*store.Store{p.store, nil} {
		_, err = Pins(func() *store.Store { return away }).Pin(t.Context(), "gw-9")
		reason, retry := reasonOf(t.Context(), err)
		require.Equal(t, contract.ErrStore, reason)
		require.True(t, retry)
	}
}
