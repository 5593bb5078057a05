package activities

import (
	"context"
	"errors"
	"net/url"
	"time"

	"go.temporal.io/sdk/activity"
	"go.uber.org/zap"

	"edgefleet/internal/pager"
	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

// pageFor is how long an escalation stays raised when nobody ends it.
const pageFor = 24 * time.Hour

// escalate raises the alert that pages a person. Alertmanager knows an alert by
// its labels, so a retry does not page twice.
func (a *Activities) escalate(ctx context.Context, in contract.EscalateInput) (bool, error) {
	own := owner(ctx)
	now := activity.GetInfo(ctx).ScheduledTime
	cause := ""
	if in.Alert != nil {
		cause = in.Alert.Name
	}
	page := pager.Alert{
		Labels: a.pageLabels(in.DeviceID, cause),
		Annotations: map[string]string{
			"summary":     "edgefleet could not heal " + in.DeviceID,
			"description": in.Detail,
			"incident":    in.IncidentID,
			"workflow":    own.WorkflowID,
		},
		StartsAt: now, EndsAt: now.Add(pageFor), GeneratorURL: a.webURL(own),
	}
	err := a.deps.Pager.Post(ctx, page)
	switch {
	case err == nil:
		a.metrics.pages.WithLabelValues("ok").Inc()
		return true, nil
	case errors.Is(err, pager.ErrNotConfigured):
		a.metrics.pages.WithLabelValues("failed").Inc()
		return false, err
	}
	a.metrics.pages.WithLabelValues("failed").Inc()
	return false, transient(contract.ErrUnreachable, err)
}

func (a *Activities) pageLabels(deviceID, cause string) map[string]string {
	labels := map[string]string{
		"alertname": contract.AlertRemediationFailed, "severity": "critical", "device_id": deviceID,
	}
	if cause != "" {
		labels["cause"] = cause
	}
	if d, _, err := a.deps.Operator().Fleet().Device(deviceID); err == nil {
		labels["site"], labels["region"] = d.Site, d.Region
	}
	return labels
}

// maxPages bounds the pages that one healing ends.
const maxPages = 20

// endPages ends what earlier, failed remediations of the device raised: one
// page for each alert that caused one. It has little time, because the
// incident's end stands already and must not wait: when Alertmanager does not
// take it, the page ends by itself after pageFor.
func (a *Activities) endPages(ctx context.Context, deviceID string) {
	escalated, err := a.deps.Store.Incidents(ctx, store.IncidentQuery{DeviceID: deviceID, Status: store.StatusEscalated, Limit: maxPages})
	if err != nil {
		a.deps.Logger.Warn("the pages of earlier remediations were not looked for", zap.String("device", deviceID), zap.Error(err))
		return
	}
	ctx, cancel := context.WithTimeout(ctx, a.endPagesWithin)
	defer cancel()
	now := time.Now()
	ended := map[string]bool{}
	for _, i := range escalated {
		if i.EndedAt == nil || now.Sub(*i.EndedAt) > pageFor || ended[i.AlertName] {
			continue
		}
		ended[i.AlertName] = true
		err := a.deps.Pager.Post(ctx, pager.Alert{Labels: a.pageLabels(deviceID, i.AlertName), StartsAt: *i.EndedAt, EndsAt: now})
		if errors.Is(err, pager.ErrNotConfigured) {
			return
		}
		if err != nil {
			a.deps.Logger.Warn("the page of an earlier remediation was not ended", zap.String("device", deviceID),
				zap.String("incident", i.ID), zap.Error(err))
			return
		}
	}
}

// webURL is the run's page in the Temporal Web UI, or "".
func (a *Activities) webURL(o store.Owner) string {
	if a.deps.WebURL == "" {
		return ""
	}
	return a.deps.WebURL + "/workflows/" + url.PathEscape(o.WorkflowID) + "/" + o.RunID
}
