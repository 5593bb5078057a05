package store

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWhatDevicesRunIsWhatTheySaidLast(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		c := newClock()
		s := p.open(t, Options{Clock: c.Now})
		l, err := s.AcquireLease(bg, "edge-001", ownerA)
		require.NoError(t, err)
		r := registration("edge-001", l, StateOnboarded)
		r.Firmware = "3.2.1"
		_, err = s.Register(bg, r)
		require.NoError(t, err)
		onboarded := c.Now().UTC()
		list, err := s.Versions(bg, "", 0)
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.Equal(t, "3.2.1", list[0].Version)
		require.Equal(t, onboarded, *list[0].SeenAt)

		c.Advance(time.Hour)
		require.NoError(t, s.SawVersion(bg, "edge-001", "3.3.0"))
		require.NoError(t, s.SawVersion(bg, "edge-002", "9.9.9"), "what is not onboarded is not listed")
		list, err = s.Versions(bg, "", 0)
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.Equal(t, "3.3.0", list[0].Version)
		require.Equal(t, c.Now().UTC(), *list[0].SeenAt)
		require.Equal(t, onboarded, *list[0].OnboardedAt)
		list, err = s.Versions(bg, "edge-001", 0)
		require.NoError(t, err)
		require.Empty(t, list)
		require.ErrorIs(t, s.SawVersion(bg, "edge-001", ""), ErrInvalid)
	})
}

func TestPartnersAreNeverHeldTogether(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		c := newClock()
		s := p.open(t, Options{Clock: c.Now})
		apart := func(device, other string, o Owner) (Lease, error) {
			return s.AcquireLeaseApart(bg, device, []string{other}, o)
		}
		first, err := apart("a", "b", ownerA)
		require.NoError(t, err)
		again, err := apart("a", "b", ownerA)
		require.NoError(t, err)
		require.Equal(t, first, again)
		for _, o := range []Owner{ownerA, ownerB} {
			_, err = apart("b", "a", o)
			var held *LeaseHeldError
			require.ErrorAs(t, err, &held, "also the same owner has one at a time")
			require.Equal(t, "a", held.Lease.DeviceID)
		}
		rec := record(1)
		rec.DeviceID, rec.WorkflowID, rec.RunID = "a", ownerA.WorkflowID, ownerA.RunID
		_, err = s.AppendIntent(bg, rec, first.Token, c.Now().Add(time.Minute))
		require.NoError(t, err)
		require.NoError(t, s.ReleaseLease(bg, "a", first.Token))
		_, err = apart("b", "a", ownerB)
		require.ErrorIs(t, err, ErrLeaseHeld, "a write of the other may be in flight")
		c.Advance(2 * time.Minute)
		_, err = apart("b", "a", ownerB)
		require.NoError(t, err)
		_, err = s.AcquireLeaseApart(bg, "c", nil, ownerA)
		require.NoError(t, err, "a device without partners is like any other")
	})
}

func TestThePlanOfAPatchSaysWhatItIs(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		s := p.open(t, Options{})
		plan := Plan{PlanID: "plan-rollout/1", Kind: PlanPatch, Baseline: "agent-3.3.0", Version: "3.3.0", File: "patches/agent.yaml", Source: "name: agent",
			Strategy: "{}", Revision: "r", Actor: "operator ada", Owner: ownerA}
		_, err := s.CreatePlan(bg, plan, []PlanDevice{{DeviceID: "edge-001", Site: "s", Region: "r"}})
		require.NoError(t, err)
		got, err := s.Plan(bg, plan.PlanID)
		require.NoError(t, err)
		require.Equal(t, PlanPatch, got.Kind)
		plan.PlanID, plan.Kind = "plan-rollout/2", "poem"
		_, err = s.CreatePlan(bg, plan, []PlanDevice{{DeviceID: "edge-001"}})
		require.ErrorIs(t, err, ErrInvalid)
	})
}
