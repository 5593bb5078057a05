package activities

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

// A device of a rollout that another workflow has is a word to whoever waits for
// it by itself, and an error that is tried again to whoever does not.
func TestWhoWaitsForALeaseIsToldWhoHasIt(t *testing.T) {
	p := newPlant(t)
	p.inService()
	r := p.startPlan(p.plan(planInput(rolled())))
	other := store.Owner{WorkflowID: "remediate/edge-001/A/f-1", RunID: "r1"}
	lease, err := p.store.AcquireLease(t.Context(), "edge-001", other)
	require.NoError(t, err)
	holder := &contract.LeaseHolder{DeviceID: "edge-001", WorkflowID: other.WorkflowID, RunID: "r1", Since: lease.Since}

	_, err = p.roll(r)
	require.Contains(t, requireType(t, contract.ErrLeaseHeld, true, err), "edge-001 is held by remediate/edge-001/A/f-1 (run r1)")
	yields := rollInput(r)
	yields.Yield = true
	v, err := do[contract.DeviceVerdict](p, contract.ActivityRollOutDevice, yields)
	require.NoError(t, err)
	require.Equal(t, contract.DeviceHeld, v.State)
	require.Equal(t, holder, v.Holder)
	require.Contains(t, v.Detail, "is held by remediate/edge-001/A/f-1")
	back, err := do[contract.DeviceVerdict](p, contract.ActivityRollBackDevice, contract.RollBackDeviceInput{RolloutID: r.RolloutID, Scope: yields.Scope, Yield: true})
	require.NoError(t, err)
	require.Equal(t, holder, back.Holder)

	await := func(h *contract.LeaseHolder) (contract.AwaitLeaseResult, error) {
		return do[contract.AwaitLeaseResult](p, contract.ActivityAwaitLease, contract.AwaitLeaseInput{DeviceID: "edge-001", Holder: *h})
	}
	_, err = await(holder)
	require.Contains(t, requireType(t, contract.ErrLeaseHeld, true, err), "is held by remediate/edge-001/A/f-1", "it is waited for by trying again")
	found, err := await(&contract.LeaseHolder{DeviceID: "edge-001", WorkflowID: "onboard/x", RunID: "q"})
	require.NoError(t, err)
	require.Equal(t, holder, found.Holder, "another has it by now")
	require.NoError(t, p.store.ReleaseLease(t.Context(), "edge-001", lease.Token))
	found, err = await(holder)
	require.NoError(t, err)
	require.Nil(t, found.Holder)
	v, err = do[contract.DeviceVerdict](p, contract.ActivityRollOutDevice, yields)
	require.NoError(t, err)
	require.Equal(t, contract.DeviceHealthy, v.State, v.Detail)
	require.Nil(t, v.Holder)
}

// What an attempt has begun, the next attempt of the same activity brings to its
// end: a wave that came to the device anew would not know of the open write.
func TestADeviceThatWasBegunIsTriedAgainAndDoesNotYield(t *testing.T) {
	p := newPlant(t)
	p.inService()
	r := p.startPlan(p.plan(planInput(rolled())))
	in := rollInput(r)
	in.Yield = true
	p.powerCut(true)
	_, err := do[contract.DeviceVerdict](p, contract.ActivityRollOutDevice, in)
	require.Error(t, err)
	p.driver.write = nil
	p.overTheDeadline()
	other, err := p.store.AcquireLease(t.Context(), "edge-001", store.Owner{WorkflowID: "remediate/edge-001/A/f-1", RunID: "r1"})
	require.NoError(t, err)
	_, err = do[contract.DeviceVerdict](p, contract.ActivityRollOutDevice, in)
	requireType(t, contract.ErrLeaseHeld, true, err)
	require.NoError(t, p.store.ReleaseLease(t.Context(), "edge-001", other.Token))
	v, err := do[contract.DeviceVerdict](p, contract.ActivityRollOutDevice, in)
	require.NoError(t, err)
	require.Equal(t, contract.DeviceHealthy, v.State, v.Detail)
}

// A holder that ended without a word is not waited for until housekeeping comes,
// and a write of it that may be in flight is.
func TestTheLeaseOfAHolderThatHasEndedIsToBeHad(t *testing.T) {
	p := newPlant(t)
	p.inService()
	gone := store.Owner{WorkflowID: "remediate/edge-001/A/f-1", RunID: "r1"}
	await := func() (contract.AwaitLeaseResult, error) {
		return do[contract.AwaitLeaseResult](p, contract.ActivityAwaitLease, contract.AwaitLeaseInput{DeviceID: "edge-001",
			Holder: contract.LeaseHolder{DeviceID: "edge-001", WorkflowID: gone.WorkflowID, RunID: gone.RunID}})
	}
	p.closed = func(o store.Owner) (bool, error) { return o == gone, nil }
	_, err := p.store.AcquireLease(t.Context(), "edge-001", gone)
	require.NoError(t, err)
	found, err := await()
	require.NoError(t, err)
	require.Nil(t, found.Holder)
	p.requireFree()

	lease, err := p.store.AcquireLease(t.Context(), "edge-001", gone)
	require.NoError(t, err)
	_, err = p.store.AppendIntent(t.Context(), store.Record{Actor: "operator:kim", DeviceID: "edge-001", Action: "write_settings",
		WorkflowID: gone.WorkflowID, RunID: gone.RunID, ActivityID: "1"}, lease.Token, time.Now().Add(time.Minute))
	require.NoError(t, err)
	_, err = await()
	require.Contains(t, requireType(t, contract.ErrLeaseHeld, true, err), "in flight")
}
