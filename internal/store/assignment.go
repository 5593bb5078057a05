package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Assignment is what a device was last given on purpose: by an onboarding, or
// by a rollout. It is what the device should have, whatever the fleet directory
// says of devices to which it has not come yet.
type Assignment struct {
	DeviceID string `json:"device_id"`
	Baseline string `json:"baseline"`
	Version  string `json:"version"`
	// Settings are exact values by the name of the setting.
	Settings map[string]string `json:"settings"`
	Actor    string            `json:"actor"`
	Owner
	AssignedAt time.Time `json:"assigned_at"`
}

func (a *Assignment) check() error {
	err := checkFields(
		field{"device ID", &a.DeviceID, maxKeyText, true},
		field{"baseline", &a.Baseline, maxKeyText, true},
		field{"version", &a.Version, maxKeyText, false},
		field{"actor", &a.Actor, maxKeyText, true},
	)
	if err != nil {
		return err
	}
	return a.Owner.check()
}

// Assign notes what a device should have from now on.
func (s *Store) Assign(ctx context.Context, a Assignment) error {
	if err := a.check(); err != nil {
		return fmt.Errorf("assign: %w", err)
	}
	if _, err := write(ctx, s, func(t *txn) (struct{}, error) { return struct{}{}, t.assign(a) }); err != nil {
		return fmt.Errorf("assign %s %s to %s: %w", a.Baseline, a.Version, a.DeviceID, err)
	}
	return nil
}

// Unassign forgets what a device was assigned, if it was anything.
func (s *Store) Unassign(ctx context.Context, deviceID string) error {
	_, err := write(ctx, s, func(t *txn) (struct{}, error) {
		_, err := t.exec(`DELETE FROM assignment WHERE device_id = $1`, clean(deviceID))
		return struct{}{}, err
	})
	if err != nil {
		return fmt.Errorf("unassign %s: %w", deviceID, err)
	}
	return nil
}

// Assignment returns what a device should have, or ErrNotFound when it was
// never assigned anything.
func (s *Store) Assignment(ctx context.Context, deviceID string) (Assignment, error) {
	var a Assignment
	found := false
	err := s.read(ctx, func(scan func(...any) error) error {
		found = true
		return scanAssignment(&a, scan)
	}, selectAssignment, clean(deviceID))
	if err == nil && !found {
		err = ErrNotFound
	}
	if err != nil {
		return Assignment{}, fmt.Errorf("assignment of %s: %w", deviceID, err)
	}
	return a, nil
}

const (
	selectAssignments = `SELECT device_id, baseline, version, settings, actor, workflow_id, run_id, assigned_at FROM assignment`
	selectAssignment  = selectAssignments + ` WHERE device_id = $1`
)

func scanAssignment(a *Assignment, scan func(...any) error) error {
	var settings string
	var at int64
	if err := scan(&a.DeviceID, &a.Baseline, &a.Version, &settings, &a.Actor, &a.WorkflowID, &a.RunID, &at); err != nil {
		return err
	}
	a.AssignedAt = fromMicros(at)
	if err := json.Unmarshal([]byte(settings), &a.Settings); err != nil {
		return fmt.Errorf("%w: the assignment of %s cannot be read: %w", ErrDamaged, a.DeviceID, err)
	}
	return nil
}

// assignment is nil for a device that has none.
func (t *txn) assignment(deviceID string) (*Assignment, error) {
	var out *Assignment
	err := t.rows(func(scan func(...any) error) error {
		out = &Assignment{}
		return scanAssignment(out, scan)
	}, selectAssignment, deviceID)
	return out, err
}

func (t *txn) assign(a Assignment) error {
	if a.Settings == nil {
		a.Settings = map[string]string{}
	}
	settings, err := json.Marshal(a.Settings)
	if err != nil {
		return err
	}
	if len(settings) > maxPlanned {
		return invalidf("the settings of %s take %d bytes, want at most %d", a.DeviceID, len(settings), maxPlanned)
	}
	at := a.AssignedAt
	if at.IsZero() {
		at = t.now
	}
	_, err = t.exec(`INSERT INTO assignment (device_id, baseline, version, settings, actor, workflow_id, run_id, assigned_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (device_id) DO UPDATE SET baseline = excluded.baseline, version = excluded.version, settings = excluded.settings,
			actor = excluded.actor, workflow_id = excluded.workflow_id, run_id = excluded.run_id, assigned_at = excluded.assigned_at`,
		a.DeviceID, a.Baseline, a.Version, clean(string(settings)), a.Actor, a.WorkflowID, a.RunID, micros(at))
	return err
}
