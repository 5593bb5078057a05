package store

import (
	"context"
	"fmt"
	"time"
)

// DeviceState is what was last learnt of a device.
type DeviceState struct {
	DeviceID string `json:"device_id"`
	// State is "unknown", "healthy", "unreachable", "drifted" or "unhealthy".
	State     string    `json:"state"`
	Detail    string    `json:"detail,omitempty"`
	CheckedAt time.Time `json:"checked_at"`
}

// SetDeviceState keeps what was learnt of a device; a zero CheckedAt is now.
// What was seen earlier never replaces what was seen later.
func (s *Store) SetDeviceState(ctx context.Context, d DeviceState) error {
	if err := d.check(); err != nil {
		return fmt.Errorf("set device state: %w", err)
	}
	_, err := write(ctx, s, func(t *txn) (struct{}, error) { return struct{}{}, t.setState(d) })
	if err != nil {
		return fmt.Errorf("set state of %s: %w", d.DeviceID, err)
	}
	return nil
}

func (d *DeviceState) check() error {
	return checkFields(
		field{"device ID", &d.DeviceID, maxKeyText, true},
		field{"state", &d.State, maxKeyText, true},
		field{"detail", &d.Detail, maxText, false},
	)
}

func (t *txn) setState(d DeviceState) error {
	at := d.CheckedAt
	if at.IsZero() {
		at = t.now
	}
	_, err := t.exec(`INSERT INTO device_state (device_id, state, detail, checked_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (device_id) DO UPDATE SET state = excluded.state, detail = excluded.detail,
			checked_at = excluded.checked_at WHERE excluded.checked_at >= device_state.checked_at`,
		d.DeviceID, d.State, d.Detail, micros(at))
	return err
}

const deviceColumns = `device_id, state, detail, checked_at`

func scanDevice(d *DeviceState, scan func(...any) error) error {
	var at int64
	err := scan(&d.DeviceID, &d.State, &d.Detail, &at)
	d.CheckedAt = fromMicros(at)
	return err
}

// DeviceState returns what was last learnt of a device, or ErrNotFound.
func (s *Store) DeviceState(ctx context.Context, deviceID string) (DeviceState, error) {
	var d DeviceState
	found := false
	err := s.read(ctx, func(scan func(...any) error) error {
		found = true
		return scanDevice(&d, scan)
	}, `SELECT `+deviceColumns+` FROM device_state WHERE device_id = $1`, clean(deviceID))
	if err == nil && !found {
		err = ErrNotFound
	}
	if err != nil {
		return DeviceState{}, fmt.Errorf("state of %s: %w", deviceID, err)
	}
	return d, nil
}

// DeviceStates returns the states of devices after the given ID, in the order
// of their IDs. Limit 0 is 100; at most 1000 come at once.
func (s *Store) DeviceStates(ctx context.Context, afterDevice string, limit int) ([]DeviceState, error) {
	states := []DeviceState{}
	query := fmt.Sprintf(`SELECT %s FROM device_state WHERE device_id > $1 ORDER BY device_id LIMIT %d`,
		deviceColumns, limitOf(limit))
	err := s.read(ctx, func(scan func(...any) error) error {
		var d DeviceState
		err := scanDevice(&d, scan)
		states = append(states, d)
		return err
	}, query, clean(afterDevice))
	if err != nil {
		return nil, fmt.Errorf("list device states: %w", err)
	}
	return states, nil
}

// Setting is the value of one setting of a device. Value is in whatever form
// the caller can write back; the store keeps it as it is.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	Unit  string `json:"unit,omitempty"`
}

// Capture is what an activity read from a device before it changed it.
type Capture struct {
	DeviceID   string    `json:"device_id"`
	WorkflowID string    `json:"workflow_id"`
	RunID      string    `json:"run_id"`
	ActivityID string    `json:"activity_id"`
	Settings   []Setting `json:"settings"`
}

// CapturedSetting is one captured value as the store has it.
type CapturedSetting struct {
	DeviceID string `json:"device_id"`
	Setting
	At         time.Time `json:"at"`
	WorkflowID string    `json:"workflow_id"`
	RunID      string    `json:"run_id"`
	ActivityID string    `json:"activity_id"`
}

// MaxCapture is how many settings one capture can have.
const MaxCapture = 500

func (c *Capture) check() error {
	if n := len(c.Settings); n == 0 || n > MaxCapture {
		return invalidf("the capture has %d settings, want 1 to %d", n, MaxCapture)
	}
	c.Settings = append([]Setting(nil), c.Settings...)
	seen := map[string]bool{}
	for i := range c.Settings {
		set := &c.Settings[i]
		err := checkFields(
			field{"setting", &set.Name, maxKeyText, true},
			field{"value", &set.Value, maxText, false},
			field{"unit", &set.Unit, maxKeyText, false},
		)
		if err != nil {
			return err
		}
		if seen[set.Name] {
			return invalidf("the capture has setting %s twice", set.Name)
		}
		seen[set.Name] = true
	}
	return checkFields(
		field{"device ID", &c.DeviceID, maxKeyText, true},
		field{"workflow ID", &c.WorkflowID, maxWorkflow, true},
		field{"run ID", &c.RunID, maxKeyText, true},
		field{"activity ID", &c.ActivityID, maxKeyText, true},
	)
}

// CaptureSettings keeps the values that stand on a device before a change, so
// that they can be put back. A retried activity may read what its first attempt
// already wrote; so the first value that an activity captured of a setting is
// the one that stays, and the values that stayed are returned in the order of
// their names. Of older captures, Options.CapturesKept are kept per device.
func (s *Store) CaptureSettings(ctx context.Context, c Capture) ([]CapturedSetting, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("capture settings: %w", err)
	}
	kept, err := write(ctx, s, func(t *txn) ([]CapturedSetting, error) {
		if err := t.capture(c); err != nil {
			return nil, err
		}
		var kept []CapturedSetting
		err := t.rows(func(scan func(...any) error) error {
			kept = append(kept, CapturedSetting{})
			return scanCapture(&kept[len(kept)-1], scan)
		}, `SELECT `+captureColumns+` FROM captured_setting
			WHERE device_id = $1 AND workflow_id = $2 AND run_id = $3 AND activity_id = $4 ORDER BY name`,
			c.DeviceID, c.WorkflowID, c.RunID, c.ActivityID)
		return kept, err
	})
	if err != nil {
		return nil, fmt.Errorf("capture settings of %s: %w", c.DeviceID, err)
	}
	return kept, nil
}

func (t *txn) capture(c Capture) error {
	var w valuesList
	for _, set := range c.Settings {
		w.add(c.DeviceID, set.Name, set.Value, set.Unit, micros(t.now), c.WorkflowID, c.RunID, c.ActivityID)
	}
	_, err := t.exec(`INSERT INTO captured_setting
		(device_id, name, value, unit, captured_at, workflow_id, run_id, activity_id) VALUES `+w.String()+`
		ON CONFLICT DO NOTHING`, w.args...)
	if err != nil {
		return err
	}
	// Everything older than the CapturesKept newest goes, but for this run's.
	_, err = t.exec(`DELETE FROM captured_setting WHERE device_id = $1
		AND NOT (workflow_id = $2 AND run_id = $3)
		AND id <= (SELECT id FROM captured_setting WHERE device_id = $1 ORDER BY id DESC LIMIT 1 OFFSET $4)`,
		c.DeviceID, c.WorkflowID, c.RunID, t.w.s.opts.CapturesKept)
	return err
}

const captureColumns = `device_id, name, value, unit, captured_at, workflow_id, run_id, activity_id`

func scanCapture(c *CapturedSetting, scan func(...any) error) error {
	var at int64
	err := scan(&c.DeviceID, &c.Name, &c.Value, &c.Unit, &at, &c.WorkflowID, &c.RunID, &c.ActivityID)
	c.At = fromMicros(at)
	return err
}

// CaptureQuery selects captured settings, newest first. Empty fields but
// DeviceID do not select. Limit 0 is 100; at most 1000 come at once.
type CaptureQuery struct {
	DeviceID, Setting, WorkflowID, RunID, ActivityID string
	Limit                                            int
}

// Captures returns captured settings of a device, newest first.
func (s *Store) Captures(ctx context.Context, q CaptureQuery) ([]CapturedSetting, error) {
	var w where
	w.add("device_id = $?", clean(q.DeviceID))
	w.addText("name", q.Setting)
	w.addText("workflow_id", q.WorkflowID)
	w.addText("run_id", q.RunID)
	w.addText("activity_id", q.ActivityID)
	return s.captures(ctx, fmt.Sprintf(`SELECT %s FROM captured_setting%s ORDER BY id DESC LIMIT %d`,
		captureColumns, &w, limitOf(q.Limit)), w.args...)
}

// SettingsBefore returns, in the order of their names, the values that a
// workflow run captured first of each setting of a device: what stood there
// before the run changed anything, which is what a rollback puts back.
func (s *Store) SettingsBefore(ctx context.Context, deviceID string, run Owner) ([]CapturedSetting, error) {
	return s.captures(ctx, `SELECT `+captureColumns+` FROM captured_setting WHERE id IN (
			SELECT min(id) FROM captured_setting WHERE device_id = $1 AND workflow_id = $2 AND run_id = $3 GROUP BY name)
		ORDER BY name`, clean(deviceID), clean(run.WorkflowID), clean(run.RunID))
}

func (s *Store) captures(ctx context.Context, query string, args ...any) ([]CapturedSetting, error) {
	captured := []CapturedSetting{}
	err := s.read(ctx, func(scan func(...any) error) error {
		var c CapturedSetting
		err := scanCapture(&c, scan)
		captured = append(captured, c)
		return err
	}, query, args...)
	if err != nil {
		return nil, fmt.Errorf("list captured settings: %w", err)
	}
	return captured, nil
}
