package stack_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	sdkclient "go.temporal.io/sdk/client"

	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

func TestApprovals(t *testing.T) {
	s := startStack(t, 4)
	// decisions are what the ledger has of approvals of a device.
	decisions := func(s *site, device string) []store.LedgerEntry {
		var out []store.LedgerEntry
		for _, e := range s.ledger(device) {
			if e.Action == "approval go" {
				out = append(out, e)
			}
		}
		return out
	}
	told := func(s *site, run sdkclient.WorkflowRun, line string) {
		p, err := s.progress(run)
		require.NoError(s.t, err)
		for _, m := range p.Timeline {
			if m.Text == line {
				return
			}
		}
		require.Fail(s.t, "no such line", "%q in %+v", line, p.Timeline)
	}

	t.Run("a decision counts once, with a name, for a gate that is open", func(t *testing.T) {
		s := s.in(t)
		run := s.remediate("edge-001", inline(asksFirst))
		s.waits(run, "go")
		for _, refused := range []struct {
			name     string
			decision contract.Decision
			says     string
		}{
			{"of another gate", contract.Decision{Gate: "stop", Approved: true, By: "ann"}, `gate "stop" is not open; waiting: go`},
			{"without a name", contract.Decision{Gate: "go", Approved: true, By: " "}, "who decides? the name is empty"},
		} {
			require.ErrorContains(t, s.decide(run, refused.decision), refused.says, refused.name)
		}
		require.NoError(t, s.decide(run, contract.Decision{Gate: "go", Approved: true, By: "ann", Note: "go ahead"}))
		require.Error(t, s.decide(run, contract.Decision{Gate: "go", Approved: false, By: "bob"}), "the first decision stands")
		s.resolved(run)
		told(s, run, "approved")
		entries := decisions(s, "edge-001")
		require.Len(t, entries, 1)
		require.Equal(t, store.PhaseEvent, entries[0].Phase)
		require.Equal(t, "operator:ann", entries[0].Actor)
		require.Equal(t, "approved", entries[0].Outcome)
		require.Equal(t, "go ahead", entries[0].Reason)
		require.Equal(t, s.incident(run).ID, entries[0].IncidentID)
	})

	t.Run("a refusal is told to the runbook", func(t *testing.T) {
		s := s.in(t)
		run := s.remediate("edge-002", inline(asksFirst))
		s.waits(run, "go")
		require.NoError(t, s.decide(run, contract.Decision{Gate: "go", By: "bob", Note: "not at noon"}))
		s.resolved(run)
		told(s, run, "refused: not at noon")
		entries := decisions(s, "edge-002")
		require.Len(t, entries, 1)
		require.Equal(t, "operator:bob", entries[0].Actor)
		require.Equal(t, "refused", entries[0].Outcome)
	})

	t.Run("the end of the alert refuses what waits", func(t *testing.T) {
		s := s.in(t)
		run := s.remediate("edge-003", inline(asksFirst))
		s.waits(run, "go")
		resolvedAt := firing(offlineAlert, "edge-003").StartsAt
		require.NoError(t, s.temporal.SignalWorkflow(t.Context(), run.GetID(), run.GetRunID(), contract.SignalAlertResolved, resolvedAt))
		s.resolved(run)
		told(s, run, "refused: the alert has resolved")
		entries := decisions(s, "edge-003")
		require.Len(t, entries, 1)
		require.Equal(t, "operator:ann", entries[0].Actor, "nobody answered, so it is the one who started it")
		require.Equal(t, "refused", entries[0].Outcome)
	})
	s.intact()
}
