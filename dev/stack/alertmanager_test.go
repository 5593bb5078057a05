package stack_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	sdkclient "go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"edgefleet/devices/sim"
	"edgefleet/internal/pager"
	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

// standing is an alert as Alertmanager's API gives it.
type standing struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// standing returns the alerts of a name that Alertmanager has for a device.
func (p *pieces) standing(name, device string) ([]standing, error) {
	filter := url.Values{"filter": {fmt.Sprintf("alertname=%q", name), fmt.Sprintf("device_id=%q", device)}}
	response, err := http.Get(p.alerts.URL() + "/api/v2/alerts?" + filter.Encode())
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, errors.New(response.Status)
	}
	var out []standing
	return out, json.NewDecoder(response.Body).Decode(&out)
}

// runs lists the runs of a device's remediations.
func (p *pieces) runs(device string) ([]sdkclient.WorkflowRun, error) {
	listed, err := p.temporal.ListWorkflow(p.t.Context(), &workflowservice.ListWorkflowExecutionsRequest{
		Query: fmt.Sprintf("WorkflowType = '%s' AND %s = '%s'", contract.WorkflowRemediate, contract.AttrDeviceID, device),
	})
	if err != nil {
		return nil, err
	}
	var out []sdkclient.WorkflowRun
	for _, e := range listed.GetExecutions() {
		out = append(out, p.temporal.GetWorkflow(p.t.Context(), e.GetExecution().GetWorkflowId(), e.GetExecution().GetRunId()))
	}
	return out, nil
}

func (p *pieces) in(t *testing.T) *pieces {
	return &pieces{*p.site.in(t), p.parts}
}

func TestWithARealAlertmanager(t *testing.T) {
	p := startPieces(t, 8)
	t.Run("an alert that comes while Temporal is away is not lost", func(t *testing.T) { p.in(t).temporalAway() })
	t.Run("a remediation that fails pages a person, until a later one heals", func(t *testing.T) { p.in(t).escalates() })
	t.Run("a worker that dies in the middle leaves no lease for ever", func(t *testing.T) { p.in(t).workerDies() })
	p.intact()
}

func (p *pieces) temporalAway() {
	t, device := p.t, "edge-001"
	_, err := p.fleet.Break(t.Context(), device, sim.FaultOffline, false)
	require.NoError(t, err)
	p.stopEngine()

	alertmanager, err := pager.New(p.alerts.URL())
	require.NoError(t, err)
	offline := pager.Alert{Labels: firing(offlineAlert, device).Labels, StartsAt: time.Now(), EndsAt: time.Now().Add(time.Hour)}
	require.NoError(t, alertmanager.Post(t.Context(), offline))
	until(t, patience, func() error {
		if n := p.metric("edgefleet_bridge_messages_total", "code", "503"); n < 2 {
			return fmt.Errorf("%v messages were answered 503", n)
		}
		return nil
	})
	require.Zero(t, p.metric("edgefleet_bridge_starts_total"))
	require.Zero(t, p.metric("edgefleet_bridge_messages_total", "code", "200"))

	p.startEngine()
	var runs []sdkclient.WorkflowRun
	until(t, patience, func() error {
		if runs, err = p.runs(device); err == nil && len(runs) == 0 {
			err = errNotYet
		}
		return err
	})
	p.resolved(runs[0])
	require.Equal(t, 1, p.pulses(device))

	// Alertmanager tells the end, too. By then, everything that it has sent
	// more than once has been answered.
	offline.EndsAt = time.Now()
	require.NoError(t, alertmanager.Post(t.Context(), offline))
	until(t, patience, func() error {
		if p.metric("edgefleet_bridge_alerts_total", "status", "resolved") == 0 {
			return errNotYet
		}
		return nil
	})
	require.EqualValues(t, 1, p.metric("edgefleet_bridge_starts_total"))
	require.EqualValues(t, 0, p.metric("edgefleet_bridge_refused_total"))
	runs, err = p.runs(device)
	require.NoError(t, err)
	require.Len(t, runs, 1)
	require.Equal(t, store.StatusResolved, p.incident(runs[0]).Status)
	p.free(device)
}

func (p *pieces) escalates() {
	t, device := p.t, "edge-002"
	_, err := p.fleet.Break(t.Context(), device, sim.FaultOffline, true)
	require.NoError(t, err)
	a := firing(offlineAlert, device)
	code, summary := p.post(a)
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, 1, summary.Started)
	failed := p.current(a)
	_, err = p.result(failed)
	var cause *temporal.ApplicationError
	require.ErrorAs(t, err, &cause)
	require.Equal(t, contract.ErrNotHealthy, cause.Type())
	incident := p.incident(failed)
	require.Equal(t, store.StatusEscalated, incident.Status)
	p.free(device)

	pages, err := p.standing(contract.AlertRemediationFailed, device)
	require.NoError(t, err)
	require.Len(t, pages, 1)
	require.Equal(t, map[string]string{
		"alertname": contract.AlertRemediationFailed, "severity": "critical", "cause": offlineAlert,
		"device_id": device, "site": "substation-1", "region": "us-west-2",
	}, pages[0].Labels)
	require.Equal(t, incident.ID, pages[0].Annotations["incident"])
	require.Equal(t, failed.GetID(), pages[0].Annotations["workflow"])
	require.Equal(t, incident.Detail, pages[0].Annotations["description"])

	// Somebody tries by hand, and fails: that is a page of its own.
	_, err = p.result(p.remediate(device, inline("def heal(device_id):\n    fail('no spare part')\n")))
	require.ErrorAs(t, err, &cause)
	require.Equal(t, contract.ErrRunbook, cause.Type())
	pages, err = p.standing(contract.AlertRemediationFailed, device)
	require.NoError(t, err)
	require.Len(t, pages, 2)

	_, err = p.fleet.Heal(t.Context(), device)
	require.NoError(t, err)
	code, summary = p.post(a)
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, 1, summary.Started, "the next repeat of the alert tries again: %+v", summary)
	again := p.current(a)
	require.NotEqual(t, failed.GetRunID(), again.GetRunID())
	p.resolved(again)
	require.Equal(t, store.StatusResolved, p.incident(again).Status)
	require.Equal(t, store.StatusEscalated, p.incident(failed).Status, "the first incident keeps its end")
	until(t, patience, func() error {
		pages, err := p.standing(contract.AlertRemediationFailed, device)
		if err == nil && len(pages) > 0 {
			err = fmt.Errorf("a page of a healthy device stands: %+v", pages)
		}
		return err
	})
	code, summary = p.post(a)
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, 1, summary.Duplicates, "one that ended well is not run again: %+v", summary)
	require.Zero(t, p.metric("edgefleet_bridge_ignored_total", "reason", "own_alert"), "Alertmanager keeps the page from the bridge")
}

func (p *pieces) workerDies() {
	t, dark, asking := p.t, "edge-003", "edge-004"
	_, err := p.fleet.Break(t.Context(), dark, sim.FaultOffline, true)
	require.NoError(t, err)
	resetting := p.remediate(dark, inline("def heal(device_id):\n    trigger_network_reset(device_id)\n"))
	outOfTime := p.remediate(asking, inline(asksFirst), runsOutOfTime(5*time.Second))
	p.waits(outOfTime, "go")
	until(t, patience, func() error {
		if p.entries(dark, contract.ActionTriggerNetworkReset, store.PhaseResult) == 0 {
			return errNotYet
		}
		return nil
	})

	require.NoError(t, p.worker.Stop(t.Context()))

	_, err = p.result(outOfTime)
	var timeout *temporal.TimeoutError
	require.ErrorAs(t, err, &timeout)
	for _, device := range []string{dark, asking} {
		_, err = p.store.LeaseOf(t.Context(), device)
		require.NoError(t, err, "nobody is there to free %s", device)
	}
	_, err = p.fleet.Heal(t.Context(), dark)
	require.NoError(t, err)

	p.startWorker()
	p.abandoned(asking, func() store.Incident { return p.incident(outOfTime) })
	p.resolved(resetting)
	require.Equal(t, 1, p.pulses(dark), "the worker that died had sent the pulse")
	p.free(dark)
}
