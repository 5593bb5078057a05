package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The statuses of an incident. An incident begins open, is worked on, and has
// one end, which stays.
const (
	StatusOpen          = "open"
	StatusInvestigating = "investigating"
	StatusMitigated     = "mitigated"

	StatusResolved  = "resolved"
	StatusCleared   = "cleared"
	StatusEscalated = "escalated"
	StatusCancelled = "cancelled"
	StatusAbandoned = "abandoned"
)

func workingStatuses() []string { return []string{StatusOpen, StatusInvestigating, StatusMitigated} }

func endStatuses() []string {
	return []string{StatusResolved, StatusCleared, StatusEscalated, StatusCancelled, StatusAbandoned}
}

func checkStatus(status string, allowed []string) error {
	if !slices.Contains(allowed, status) {
		return invalidf("status %.40q, want one of %s", status, strings.Join(allowed, ", "))
	}
	return nil
}

// Incident is one episode of trouble with one device: at most one for each
// device and workflow run.
type Incident struct {
	// ID is "inc-" and a number that counts up.
	ID         string     `json:"id"`
	DeviceID   string     `json:"device_id"`
	AlertName  string     `json:"alert_name,omitempty"`
	Status     string     `json:"status"`
	Reason     string     `json:"reason"`
	Detail     string     `json:"detail,omitempty"`
	WorkflowID string     `json:"workflow_id"`
	RunID      string     `json:"run_id"`
	OpenedAt   time.Time  `json:"opened_at"`
	EndedAt    *time.Time `json:"ended_at,omitempty"`
}

// Note is one line of an incident's story.
type Note struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

// IncidentQuery selects incidents, newest first. Empty fields do not select.
// Limit 0 is 100; at most 1000 come at once.
type IncidentQuery struct {
	DeviceID   string `json:"device_id,omitempty"`
	Status     string `json:"status,omitempty"`
	WorkflowID string `json:"workflow_id,omitempty"`
	// Going selects the incidents that have no end yet.
	Going bool `json:"going,omitempty"`
	Limit int  `json:"limit,omitempty"`
}

const selectIncident = `SELECT id, device_id, alert_name, status, reason, detail,
	workflow_id, run_id, opened_at, ended_at FROM incident`

func scanIncident(i *Incident, scan func(...any) error) error {
	var opened int64
	var ended sql.NullInt64
	err := scan(&i.ID, &i.DeviceID, &i.AlertName, &i.Status, &i.Reason, &i.Detail,
		&i.WorkflowID, &i.RunID, &opened, &ended)
	i.OpenedAt, i.EndedAt = fromMicros(opened), fromNullMicros(ended)
	return err
}

// Incidents returns incidents, newest first.
func (s *Store) Incidents(ctx context.Context, q IncidentQuery) ([]Incident, error) {
	var w where
	w.addText("device_id", q.DeviceID)
	w.addText("status", q.Status)
	w.addText("workflow_id", q.WorkflowID)
	if q.Going {
		w.conds = append(w.conds, "ended_at IS NULL")
	}
	incidents := []Incident{}
	err := s.read(ctx, func(scan func(...any) error) error {
		var i Incident
		err := scanIncident(&i, scan)
		incidents = append(incidents, i)
		return err
	}, fmt.Sprintf(`%s%s ORDER BY number DESC LIMIT %d`, selectIncident, &w, limitOf(q.Limit)), w.args...)
	if err != nil {
		return nil, fmt.Errorf("list incidents: %w", err)
	}
	return incidents, nil
}

// Incident returns an incident, or ErrNotFound.
func (s *Store) Incident(ctx context.Context, id string) (Incident, error) {
	var i Incident
	found := false
	err := s.read(ctx, func(scan func(...any) error) error {
		found = true
		return scanIncident(&i, scan)
	}, selectIncident+` WHERE id = $1`, clean(id))
	if err == nil && !found {
		err = ErrNotFound
	}
	if err != nil {
		return Incident{}, fmt.Errorf("incident %s: %w", id, err)
	}
	return i, nil
}

// Notes returns the last 1000 notes of an incident, oldest first.
func (s *Store) Notes(ctx context.Context, incidentID string) ([]Note, error) {
	notes := []Note{}
	query := fmt.Sprintf(`SELECT at, text FROM incident_note WHERE incident_id = $1 ORDER BY id DESC LIMIT %d`, maxLimit)
	err := s.read(ctx, func(scan func(...any) error) error {
		var n Note
		var at int64
		err := scan(&at, &n.Text)
		n.At = fromMicros(at)
		notes = append(notes, n)
		return err
	}, query, clean(incidentID))
	if err != nil {
		return nil, fmt.Errorf("notes of %s: %w", incidentID, err)
	}
	slices.Reverse(notes)
	return notes, nil
}

// IncidentUpdate is a step in the work on an incident.
type IncidentUpdate struct {
	IncidentID string
	// Status is investigating or mitigated; empty leaves it as it is.
	Status string
	// Note may be empty when there is a status.
	Note string
	// Key is what a retry has in common with the first attempt, such as
	// "run/activity": the same update is made once. Empty makes no such promise.
	Key string
}

// UpdateIncident adds a note to an incident, sets its status, or both. A note
// can still be added to an incident that has ended; a new status is
// ErrIncidentEnded.
func (s *Store) UpdateIncident(ctx context.Context, u IncidentUpdate) (Incident, error) {
	err := checkFields(
		field{"incident ID", &u.IncidentID, maxKeyText, true},
		field{"note", &u.Note, maxText, u.Status == ""},
		field{"key", &u.Key, maxWorkflow, false},
	)
	if err == nil && u.Status != "" {
		err = checkStatus(u.Status, workingStatuses())
	}
	if err != nil {
		return Incident{}, fmt.Errorf("update incident: %w", err)
	}
	if u.Note == "" {
		u.Note = "status: " + u.Status
	}
	i, err := write(ctx, s, func(t *txn) (Incident, error) { return t.updateIncident(u) })
	if err != nil {
		return Incident{}, fmt.Errorf("update incident %s: %w", u.IncidentID, err)
	}
	return i, nil
}

func (t *txn) updateIncident(u IncidentUpdate) (Incident, error) {
	i, err := t.incident(`id = $1`, u.IncidentID)
	if err != nil {
		return Incident{}, err
	}
	if u.Key != "" {
		var one int
		done, err := t.row([]any{&one}, `SELECT 1 FROM incident_note WHERE incident_id = $1 AND key = $2`, i.ID, u.Key)
		if err != nil || done {
			return i, err
		}
	}
	if i.EndedAt != nil && u.Status != "" {
		return Incident{}, fmt.Errorf("%w: it is %s since %s", ErrIncidentEnded, i.Status, i.EndedAt.Format(time.RFC3339))
	}
	if u.Status != "" && u.Status != i.Status {
		i.Status = u.Status
		if _, err := t.exec(`UPDATE incident SET status = $1 WHERE id = $2`, i.Status, i.ID); err != nil {
			return Incident{}, err
		}
	}
	_, err = t.exec(`INSERT INTO incident_note (incident_id, at, text, key) VALUES ($1, $2, $3, $4)`,
		i.ID, micros(t.now), u.Note, sql.NullString{String: u.Key, Valid: u.Key != ""})
	return i, err
}

// incident returns the one incident that a condition names, or ErrNotFound.
func (t *txn) incident(cond string, args ...any) (i Incident, err error) {
	found := false
	err = t.rows(func(scan func(...any) error) error {
		found = true
		return scanIncident(&i, scan)
	}, selectIncident+` WHERE `+cond, args...)
	if err == nil && !found {
		err = ErrNotFound
	}
	return i, err
}
