package stack_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

// TestADeviceHasOneRemediationAtATime: whatever becomes of the one that has a
// device, the next one gets it.
func TestADeviceHasOneRemediationAtATime(t *testing.T) {
	s := startStack(t, 8)
	rule := func(name string, test func(t *testing.T, s *site)) {
		t.Run(name, func(t *testing.T) {
			test(t, s.in(t))
		})
	}

	rule("a second one begins when the first one has ended", func(t *testing.T, s *site) {
		first := s.remediate("edge-001", inline(asksFirst))
		s.waits(first, "go")
		second := s.remediate("edge-001", inline(looksOnly))
		s.queues(second)
		require.NoError(t, s.decide(first, contract.Decision{Gate: "go", Approved: true, By: "ann"}))
		s.resolved(first)
		s.resolved(second)
		ended, opened := s.incident(first).EndedAt, s.incident(second).OpenedAt
		require.NotNil(t, ended)
		require.False(t, opened.Before(*ended), "the second one began at %s, before the first one ended at %s", opened, ended)
		s.free("edge-001")
	})

	rule("a terminated one is abandoned, and its device freed", func(t *testing.T, s *site) {
		run := s.remediate("edge-002", inline(asksFirst))
		s.waits(run, "go")
		require.NoError(t, s.temporal.TerminateWorkflow(t.Context(), run.GetID(), run.GetRunID(), "a test"))
		s.abandoned("edge-002", func() store.Incident { return s.incident(run) })
	})

	rule("one that waits takes over from a terminated one", func(t *testing.T, s *site) {
		first := s.remediate("edge-003", inline(asksFirst))
		s.waits(first, "go")
		second := s.remediate("edge-003", inline(looksOnly))
		s.queues(second)
		require.NoError(t, s.temporal.TerminateWorkflow(t.Context(), first.GetID(), first.GetRunID(), "a test"))
		s.resolved(second)
		require.Equal(t, store.StatusAbandoned, s.incident(first).Status)
		require.Equal(t, store.StatusResolved, s.incident(second).Status)
		s.free("edge-003")
	})

	rule("one that runs out of time is abandoned, and its device freed", func(t *testing.T, s *site) {
		run := s.remediate("edge-004", inline(asksFirst), runsOutOfTime(2*time.Second))
		s.waits(run, "go")
		_, err := s.result(run)
		var timeout *temporal.TimeoutError
		require.ErrorAs(t, err, &timeout)
		s.abandoned("edge-004", func() store.Incident { return s.incident(run) })
	})

	rule("a cancelled one leaves in order", func(t *testing.T, s *site) {
		run := s.remediate("edge-005", inline(asksFirst))
		s.waits(run, "go")
		require.NoError(t, s.temporal.CancelWorkflow(t.Context(), run.GetID(), run.GetRunID()))
		_, err := s.result(run)
		require.True(t, temporal.IsCanceledError(err), "%v", err)
		incident := s.incident(run)
		require.Equal(t, store.StatusCancelled, incident.Status)
		notes, err := s.store.Notes(t.Context(), incident.ID)
		require.NoError(t, err)
		require.Len(t, notes, 1)
		require.Equal(t, "left in order", notes[0].Text, "what on_exit was given was called")
		s.free("edge-005")
	})

	rule("one that is cancelled while it waits has never had the device", func(t *testing.T, s *site) {
		first := s.remediate("edge-006", inline(asksFirst))
		s.waits(first, "go")
		second := s.remediate("edge-006", inline(looksOnly))
		s.queues(second)
		require.NoError(t, s.temporal.CancelWorkflow(t.Context(), second.GetID(), second.GetRunID()))
		_, err := s.result(second)
		require.True(t, temporal.IsCanceledError(err), "%v", err)
		none, err := s.store.Incidents(t.Context(), store.IncidentQuery{WorkflowID: second.GetID()})
		require.NoError(t, err)
		require.Empty(t, none)
		require.NoError(t, s.decide(first, contract.Decision{Gate: "go", Approved: true, By: "ann"}))
		s.resolved(first)
		s.free("edge-006")
	})
	s.intact()
}

// abandoned returns when housekeeping has given an incident its end.
func (s *site) abandoned(device string, incident func() store.Incident) {
	s.t.Helper()
	until(s.t, patience, func() error {
		if i := incident(); i.Status != store.StatusAbandoned {
			return fmt.Errorf("incident %s is %s", i.ID, i.Status)
		}
		return nil
	})
	until(s.t, patience, func() error {
		if lease, err := s.store.LeaseOf(s.t.Context(), device); err == nil {
			return fmt.Errorf("%s is leased by %s", device, lease.WorkflowID)
		}
		return nil
	})
	require.Equal(s.t, 1, s.entries(device, store.ActionEndIncident, store.PhaseEvent))
}
