package activities

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

func escalateInput(s contract.Scope) contract.EscalateInput {
	return contract.EscalateInput{Scope: s, Alert: &contract.Alert{Name: "EdgeDeviceOffline"}, Detail: "not healthy after the runbook"}
}

func TestEscalateRaisesTheAlertThatPagesAPerson(t *testing.T) {
	p := newPlant(t)
	scope := p.begin()
	for range 2 {
		ok, err := do[bool](p, contract.ActivityEscalate, escalateInput(scope))
		require.NoError(t, err)
		require.True(t, ok)
	}
	pages := p.pages.taken()
	require.Len(t, pages, 2)
	require.Equal(t, map[string]string{"alertname": "EdgeRemediationFailed", "severity": "critical", "device_id": "edge-001",
		"site": "s1", "region": "north", "cause": "EdgeDeviceOffline"}, pages[0].Labels)
	require.Equal(t, map[string]string{"summary": "edgefleet could not heal edge-001", "description": "not healthy after the runbook",
		"incident": scope.IncidentID, "workflow": testWorkflow}, pages[0].Annotations)
	require.Equal(t, "http://127.0.0.1:8233/namespaces/default/workflows/"+testWorkflow+"/"+testRun, pages[0].GeneratorURL)
	require.WithinDuration(t, time.Now(), pages[0].StartsAt, time.Minute)
	require.Equal(t, pageFor, pages[0].EndsAt.Sub(pages[0].StartsAt))
	require.Equal(t, pages[0].Labels, pages[1].Labels, "the labels are the alert: a retry pages nobody again")
	require.Equal(t, 2.0, p.metric("edgefleet_escalations_total", "ok"))
}

func TestEscalateOfADeviceThatIsNotDeclaredStillPages(t *testing.T) {
	p := newPlant(t)
	in := escalateInput(contract.Scope{DeviceID: "edge-009"})
	in.Alert = nil
	_, err := do[bool](p, contract.ActivityEscalate, in)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"alertname": "EdgeRemediationFailed", "severity": "critical", "device_id": "edge-009"}, p.pages.taken()[0].Labels)
}

func TestEscalateSaysWhetherAskingAgainHelps(t *testing.T) {
	p := newPlant(t)
	for _, status := range []int{http.StatusInternalServerError, http.StatusBadGateway, http.StatusTooManyRequests} {
		p.pages.answer(status)
		_, err := do[bool](p, contract.ActivityEscalate, escalateInput(contract.Scope{DeviceID: "edge-001"}))
		requireType(t, contract.ErrUnreachable, true, err)
	}
	require.Equal(t, 3.0, p.metric("edgefleet_escalations_total", "failed"))
	p.pages.server.Close()
	_, err := do[bool](p, contract.ActivityEscalate, escalateInput(contract.Scope{DeviceID: "edge-001"}))
	requireType(t, contract.ErrUnreachable, true, err)

	p.build("")
	_, err = do[bool](p, contract.ActivityEscalate, escalateInput(contract.Scope{DeviceID: "edge-001"}))
	require.Contains(t, requireType(t, contract.ErrConfig, false, err), "--alertmanager.url")
}

// escalated leaves the incident of an earlier, failed remediation behind.
func (p *plant) escalated(run, alert string) store.Incident {
	p.t.Helper()
	own := store.Owner{WorkflowID: "remediate/edge-001/" + alert, RunID: run}
	e, err := p.store.BeginEpisode(p.t.Context(), store.EpisodeBegin{DeviceID: "edge-001", Owner: own, AlertName: alert, Reason: "before"})
	require.NoError(p.t, err)
	i, err := p.store.EndEpisode(p.t.Context(), store.EpisodeEnd{DeviceID: "edge-001", LeaseToken: e.Lease.Token, IncidentID: e.Incident.ID,
		Status: store.StatusEscalated, Actor: "alert:" + alert, ActivityID: "9", Owner: own})
	require.NoError(p.t, err)
	return i
}

func TestAHealedDeviceEndsThePagesThatItsFailuresRaised(t *testing.T) {
	p := newPlant(t)
	first := p.escalated("r1", "EdgeDeviceOffline")
	p.escalated("r2", "EdgeConfigDrift")
	last := p.escalated("r3", "EdgeDeviceOffline")
	_, err := do[contract.IncidentReport](p, contract.ActivityFinish, finishInput(p.begin(), contract.OutcomeResolved))
	require.NoError(t, err)
	pages := p.pages.taken()
	require.Len(t, pages, 2, "one for each alert that had raised one")
	ended := map[string]page{}
	for _, got := range pages {
		require.False(t, got.EndsAt.After(time.Now()), "a page ends when its end is not ahead")
		ended[got.Labels["cause"]] = got
	}
	require.Equal(t, map[string]string{"alertname": "EdgeRemediationFailed", "severity": "critical", "device_id": "edge-001",
		"site": "s1", "region": "north", "cause": "EdgeDeviceOffline"}, ended["EdgeDeviceOffline"].Labels)
	require.WithinDuration(t, *last.EndedAt, ended["EdgeDeviceOffline"].StartsAt, time.Millisecond)
	require.Contains(t, ended, "EdgeConfigDrift")
	require.NotEqual(t, first.ID, last.ID)
}

func TestNoPageIsEndedWithoutAReason(t *testing.T) {
	t.Run("when the device was not healed", func(t *testing.T) {
		p := newPlant(t)
		p.escalated("r1", "EdgeDeviceOffline")
		_, err := do[contract.IncidentReport](p, contract.ActivityFinish, finishInput(p.begin(), contract.OutcomeCancelled))
		require.NoError(t, err)
		require.Empty(t, p.pages.taken())
	})
	t.Run("when it has ended by itself", func(t *testing.T) {
		p := newPlant(t)
		p.ago = pageFor + time.Minute
		p.escalated("r1", "EdgeDeviceOffline")
		p.ago = 0
		_, err := do[contract.IncidentReport](p, contract.ActivityFinish, finishInput(p.begin(), contract.OutcomeResolved))
		require.NoError(t, err)
		require.Empty(t, p.pages.taken())
	})
	t.Run("when none was raised", func(t *testing.T) {
		p := newPlant(t)
		_, err := do[contract.IncidentReport](p, contract.ActivityFinish, finishInput(p.begin(), contract.OutcomeResolved))
		require.NoError(t, err)
		require.Empty(t, p.pages.taken())
	})
}

func TestTheEndOfAnIncidentDoesNotWaitForAlertmanager(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(*plant)
	}{
		{"that hangs", func(p *plant) {
			p.acts.endPagesWithin = 50 * time.Millisecond
			hang := make(chan struct{})
			p.t.Cleanup(func() { close(hang) })
			p.pages.mu.Lock()
			p.pages.hang = hang
			p.pages.mu.Unlock()
		}},
		{"that is gone", func(p *plant) { p.pages.server.Close() }},
		{"that refuses", func(p *plant) { p.pages.answer(http.StatusInternalServerError) }},
		{"that is not configured", func(p *plant) { p.build("") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlant(t)
			p.escalated("r1", "EdgeDeviceOffline")
			scope := p.begin()
			tt.make(p)
			out, err := do[contract.IncidentReport](p, contract.ActivityFinish, finishInput(scope, contract.OutcomeResolved))
			require.NoError(t, err)
			require.Equal(t, contract.OutcomeResolved, out.Status)
			p.requireFree()
		})
	}
}
