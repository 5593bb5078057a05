package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ActionEndIncident is the action of the ledger's event at the end of an
// episode; its item is the incident's ID.
const ActionEndIncident = "end_incident"

// EpisodeBegin is what BeginEpisode takes.
type EpisodeBegin struct {
	DeviceID string
	Owner
	AlertName string
	Reason    string
}

// Episode is a workflow's hold on a device, with the incident that it is for.
type Episode struct {
	Lease    Lease
	Incident Incident
}

// BeginEpisode takes the device's lease and opens an incident, both or
// neither. Called again by the same workflow run, it returns the same lease and
// incident. While another workflow holds the device it is a *LeaseHeldError;
// for a run whose incident has its end already it is ErrIncidentEnded.
func (s *Store) BeginEpisode(ctx context.Context, b EpisodeBegin) (Episode, error) {
	err := checkFields(
		field{"device ID", &b.DeviceID, maxKeyText, true},
		field{"alert name", &b.AlertName, maxKeyText, false},
		field{"reason", &b.Reason, maxText, false},
	)
	if err == nil {
		err = b.check()
	}
	if err != nil {
		return Episode{}, fmt.Errorf("begin episode: %w", err)
	}
	ep, err := write(ctx, s, func(t *txn) (Episode, error) { return t.beginEpisode(b) })
	if err != nil {
		return Episode{}, fmt.Errorf("begin episode on %s: %w", b.DeviceID, err)
	}
	return ep, nil
}

func (t *txn) beginEpisode(b EpisodeBegin) (Episode, error) {
	i, err := t.incident(`workflow_id = $1 AND run_id = $2 AND device_id = $3`, b.WorkflowID, b.RunID, b.DeviceID)
	exists := err == nil
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Episode{}, err
	}
	if exists && i.EndedAt != nil {
		return Episode{}, fmt.Errorf("%w: %s is %s since %s", ErrIncidentEnded, i.ID, i.Status, i.EndedAt.Format(time.RFC3339))
	}
	lease, err := t.acquire(b.DeviceID, b.Owner)
	if err != nil || exists {
		return Episode{lease, i}, err
	}
	number, err := t.count("incident")
	if err != nil {
		return Episode{}, err
	}
	i = Incident{
		ID: fmt.Sprintf("inc-%d", number), DeviceID: b.DeviceID, AlertName: b.AlertName, Status: StatusOpen,
		Reason: b.Reason, WorkflowID: b.WorkflowID, RunID: b.RunID, OpenedAt: t.now,
	}
	_, err = t.exec(`INSERT INTO incident (id, number, device_id, alert_name, status, reason, detail, workflow_id, run_id, opened_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		i.ID, number, i.DeviceID, i.AlertName, i.Status, i.Reason, i.Detail, i.WorkflowID, i.RunID, micros(i.OpenedAt))
	return Episode{lease, i}, err
}

// EpisodeEnd is what EndEpisode takes.
type EpisodeEnd struct {
	// DeviceID and LeaseToken name the lease to give back, if it is still
	// there.
	DeviceID   string
	LeaseToken int64
	IncidentID string
	// Status is one of the ends: resolved, cleared, escalated, cancelled or
	// abandoned. Detail says why.
	Status string
	Detail string
	// Actor and the IDs of the activity stand in the ledger.
	Actor      string
	ActivityID string
	Owner
}

// EndEpisode gives an incident its end, appends that to the ledger as an event
// and releases the lease: all of it or nothing. The first end of an incident
// stays: called again, with the same end or another, it only releases the
// lease and returns the incident as it is.
func (s *Store) EndEpisode(ctx context.Context, e EpisodeEnd) (Incident, error) {
	rec := Record{
		Actor: e.Actor, DeviceID: e.DeviceID, Action: ActionEndIncident, Item: e.IncidentID,
		After: e.Status, Outcome: e.Status, Reason: e.Detail, IncidentID: e.IncidentID,
		WorkflowID: e.WorkflowID, RunID: e.RunID, ActivityID: e.ActivityID,
	}
	err := checkStatus(e.Status, endStatuses())
	if err == nil {
		err = checkFields(field{"incident ID", &rec.IncidentID, maxKeyText, true})
	}
	if err == nil {
		err = rec.check()
	}
	if err != nil {
		return Incident{}, fmt.Errorf("end episode: %w", err)
	}
	i, err := write(ctx, s, func(t *txn) (Incident, error) { return t.endEpisode(rec, e.LeaseToken) })
	if err != nil {
		return Incident{}, fmt.Errorf("end episode on %s: %w", e.DeviceID, err)
	}
	return i, nil
}

func (t *txn) endEpisode(rec Record, token int64) (Incident, error) {
	i, err := t.incident(`id = $1`, rec.IncidentID)
	if err != nil {
		return Incident{}, fmt.Errorf("incident %s: %w", rec.IncidentID, err)
	}
	if i.DeviceID != rec.DeviceID {
		return Incident{}, invalidf("incident %s is of %s", i.ID, i.DeviceID)
	}
	if i.EndedAt == nil {
		rec.Before = i.Status
		if _, err := t.appendEvent(rec); err != nil {
			return Incident{}, err
		}
		i.Status, i.Detail, i.EndedAt = rec.After, rec.Reason, &t.now
		_, err = t.exec(`UPDATE incident SET status = $1, detail = $2, ended_at = $3 WHERE id = $4`,
			i.Status, i.Detail, micros(t.now), i.ID)
		if err != nil {
			return Incident{}, err
		}
	}
	return i, t.release(rec.DeviceID, token)
}
