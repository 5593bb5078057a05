package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// RolloutDevice is what became of a device in a rollout.
type RolloutDevice struct {
	RolloutID string `json:"rollout_id"`
	DeviceID  string `json:"device_id"`
	// State, Reason and Detail are in the caller's words.
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	Detail string `json:"detail,omitempty"`
	// Touched says that something may have been written to the device, Unsafe
	// that it may be neither as planned nor as before.
	Touched bool `json:"touched"`
	Unsafe  bool `json:"unsafe"`
	// Attempts counts how often the rollout came to the device: once, and once
	// more for each time that it was to be tried again.
	Attempts int       `json:"attempts"`
	BeganAt  time.Time `json:"began_at"`
	// EndedAt is nil while it is in work, or is to be tried again.
	EndedAt *time.Time `json:"ended_at,omitempty"`
	// Owner and ActivityID say who had it in work last.
	Owner
	ActivityID string `json:"activity_id"`
	// Previous is the assignment that the rollout replaced, or nil when there
	// was none; it only counts when the rollout assigned something.
	Previous *Assignment `json:"previous,omitempty"`
	// Assigned says that the rollout assigned its baseline to the device.
	Assigned bool `json:"assigned"`
}

const rolloutDeviceColumns = `rollout_id, device_id, state, reason, detail, touched, unsafe, attempts, previous, began_at, ended_at,
	workflow_id, run_id, activity_id`

func scanRolloutDevice(d *RolloutDevice, scan func(...any) error) error {
	var touched, unsafe, attempts, began int64
	var previous string
	var ended nullMicros
	err := scan(&d.RolloutID, &d.DeviceID, &d.State, &d.Reason, &d.Detail, &touched, &unsafe, &attempts, &previous, &began, &ended,
		&d.WorkflowID, &d.RunID, &d.ActivityID)
	if err != nil {
		return err
	}
	d.Touched, d.Unsafe, d.Attempts, d.BeganAt, d.EndedAt = touched != 0, unsafe != 0, int(attempts), fromMicros(began), fromNullMicros(ended)
	if d.Assigned = previous != ""; !d.Assigned {
		return nil
	}
	// "null" is the previous assignment of a device that had none.
	if err := json.Unmarshal([]byte(previous), &d.Previous); err != nil {
		return fmt.Errorf("%w: what %s was assigned before cannot be read: %w", ErrDamaged, d.DeviceID, err)
	}
	return nil
}

func (d RolloutDevice) row() ([]any, error) {
	previous := ""
	if d.Assigned {
		text, err := json.Marshal(d.Previous)
		if err != nil {
			return nil, err
		}
		previous = string(text)
	}
	return []any{d.RolloutID, d.DeviceID, d.State, d.Reason, d.Detail, fromBool(d.Touched), fromBool(d.Unsafe), d.Attempts, previous,
		micros(d.BeganAt), toNullMicros(d.EndedAt), d.WorkflowID, d.RunID, d.ActivityID}, nil
}

func fromBool(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func (d *RolloutDevice) check() error {
	err := checkFields(
		field{"rollout ID", &d.RolloutID, maxKeyText, true},
		field{"device ID", &d.DeviceID, maxKeyText, true},
		field{"state", &d.State, maxKeyText, true},
		field{"reason", &d.Reason, maxKeyText, false},
		field{"detail", &d.Detail, maxText, false},
		field{"activity ID", &d.ActivityID, maxKeyText, true},
	)
	if err != nil {
		return err
	}
	return d.Owner.check()
}

// TouchRolloutDevice notes that a write to the device is about to happen, or
// that it is being worked on when Touched is false. It is called before every
// intent; a device that was touched stays so.
func (s *Store) TouchRolloutDevice(ctx context.Context, d RolloutDevice) (RolloutDevice, error) {
	return s.changeRolloutDevice(ctx, d, touched(d))
}

func touched(d RolloutDevice) changesRolloutDevice {
	return func(t *txn, was RolloutDevice) (RolloutDevice, error) {
		if was.EndedAt != nil {
			return was, invalidf("%s has come to its end in rollout %s: %s", d.DeviceID, d.RolloutID, was.State)
		}
		if was.Attempts == 0 || was.Owner != d.Owner || was.ActivityID != d.ActivityID {
			was.Attempts++
			was.BeganAt = t.now
		}
		was.State, was.Reason, was.Detail = d.State, d.Reason, d.Detail
		was.Touched = was.Touched || d.Touched
		was.Owner, was.ActivityID = d.Owner, d.ActivityID
		return was, nil
	}
}

// Ending is what else is so when a device comes to its end in a rollout; zero
// fields change nothing.
type Ending struct {
	// Assign is what the device shall have from now on.
	Assign *Assignment
	// State is what was found of it, as SetDeviceState keeps it.
	State *DeviceState
	// Release is the token of the lease that is given back.
	Release int64
}

func (e Ending) check() error {
	if e.Assign != nil {
		if err := e.Assign.check(); err != nil {
			return err
		}
	}
	if e.State != nil {
		return e.State.check()
	}
	return nil
}

// EndRolloutDevice notes what came of a device, and what else is so then, all in
// one transaction. Of a device that has its end already it returns that, and
// assigns nothing: the first end counts until it is to be tried again, but for
// what ReviseRolloutDevice says.
func (s *Store) EndRolloutDevice(ctx context.Context, d RolloutDevice, end Ending) (RolloutDevice, error) {
	if err := end.check(); err != nil {
		return RolloutDevice{}, fmt.Errorf("rollout %s: %w", d.RolloutID, err)
	}
	return s.changeRolloutDevice(ctx, d, func(t *txn, was RolloutDevice) (RolloutDevice, error) {
		if end.State != nil {
			if err := t.setState(*end.State); err != nil {
				return was, err
			}
		}
		if end.Release != 0 {
			if err := t.release(d.DeviceID, end.Release); err != nil {
				return was, err
			}
		}
		if was.EndedAt != nil {
			return was, nil
		}
		was.State, was.Reason, was.Detail = d.State, d.Reason, d.Detail
		was.Touched = was.Touched || d.Touched
		was.Unsafe = d.Unsafe
		was.Attempts = max(was.Attempts, 1)
		was.Owner, was.ActivityID, was.EndedAt = d.Owner, d.ActivityID, &t.now
		if end.Assign == nil {
			return was, nil
		}
		present, err := t.assignment(d.DeviceID)
		if err != nil {
			return was, err
		}
		if !was.Assigned {
			// At a second attempt the present one may be the first attempt's.
			was.Previous, was.Assigned = present, true
		}
		return was, t.assign(*end.Assign)
	})
}

// ReviseRolloutDevice replaces the verdict on a device that has its end, after
// it was looked at again. Touched and what it was assigned stay.
func (s *Store) ReviseRolloutDevice(ctx context.Context, d RolloutDevice) (RolloutDevice, error) {
	return s.changeRolloutDevice(ctx, d, func(_ *txn, was RolloutDevice) (RolloutDevice, error) {
		if was.EndedAt == nil {
			return was, invalidf("%s has not come to its end in rollout %s", d.DeviceID, d.RolloutID)
		}
		was.State, was.Reason, was.Detail, was.Unsafe = d.State, d.Reason, d.Detail, d.Unsafe
		return was, nil
	})
}

// UndoRolloutDevice notes that a device was taken back, or why it could not be.
// Where it was, and its assignment is still the rollout's, it is assigned what
// it had before.
func (s *Store) UndoRolloutDevice(ctx context.Context, d RolloutDevice, undone bool) (RolloutDevice, error) {
	return s.changeRolloutDevice(ctx, d, func(t *txn, was RolloutDevice) (RolloutDevice, error) {
		if was.Attempts == 0 {
			return was, ErrNotFound
		}
		was.State, was.Reason, was.Detail, was.Unsafe, was.EndedAt = d.State, d.Reason, d.Detail, d.Unsafe, &t.now
		if !undone || !was.Assigned {
			return was, nil
		}
		present, err := t.assignment(d.DeviceID)
		if err != nil {
			return was, err
		}
		if present != nil && present.Owner == was.Owner {
			if was.Previous == nil {
				_, err = t.exec(`DELETE FROM assignment WHERE device_id = $1`, d.DeviceID)
			} else {
				err = t.assign(*was.Previous)
			}
		}
		was.Assigned, was.Previous = false, nil
		return was, err
	})
}

// changesRolloutDevice makes what is to be kept of a device out of what is.
type changesRolloutDevice func(*txn, RolloutDevice) (RolloutDevice, error)

func (s *Store) changeRolloutDevice(ctx context.Context, d RolloutDevice, change changesRolloutDevice) (RolloutDevice, error) {
	if err := d.check(); err != nil {
		return RolloutDevice{}, fmt.Errorf("rollout %s: %w", d.RolloutID, err)
	}
	out, err := write(ctx, s, func(t *txn) (RolloutDevice, error) { return t.changeRolloutDevice(d, change) })
	if err != nil {
		return RolloutDevice{}, fmt.Errorf("%s in rollout %s: %w", d.DeviceID, d.RolloutID, err)
	}
	return out, nil
}

func (t *txn) changeRolloutDevice(d RolloutDevice, change changesRolloutDevice) (RolloutDevice, error) {
	was := RolloutDevice{RolloutID: d.RolloutID, DeviceID: d.DeviceID, BeganAt: t.now}
	err := t.rows(func(scan func(...any) error) error { return scanRolloutDevice(&was, scan) },
		`SELECT `+rolloutDeviceColumns+` FROM rollout_device WHERE rollout_id = $1 AND device_id = $2`, d.RolloutID, d.DeviceID)
	if err != nil {
		return RolloutDevice{}, err
	}
	now, err := change(t, was)
	if err != nil {
		return RolloutDevice{}, err
	}
	row, err := now.row()
	if err != nil {
		return RolloutDevice{}, err
	}
	_, err = t.exec(`INSERT INTO rollout_device (`+rolloutDeviceColumns+`) VALUES
		($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
		ON CONFLICT (rollout_id, device_id) DO UPDATE SET state = excluded.state, reason = excluded.reason, detail = excluded.detail,
			touched = excluded.touched, unsafe = excluded.unsafe, attempts = excluded.attempts, previous = excluded.previous,
			began_at = excluded.began_at, ended_at = excluded.ended_at,
			workflow_id = excluded.workflow_id, run_id = excluded.run_id, activity_id = excluded.activity_id`, row...)
	return now, err
}

// TryAgain lets the devices of a rollout that have one of the states, or those
// of them that are named, come to their turn again. It returns how many.
func (s *Store) TryAgain(ctx context.Context, rolloutID string, states, devices []string) (int, error) {
	n, err := write(ctx, s, func(t *txn) (int, error) {
		total := int64(0)
		for _, state := range states {
			if len(devices) == 0 {
				n, err := t.exec(`UPDATE rollout_device SET ended_at = NULL, unsafe = 0 WHERE rollout_id = $1 AND state = $2 AND ended_at IS NOT NULL`,
					rolloutID, state)
				if err != nil {
					return 0, err
				}
				total += n
				continue
			}
			err := inKeys(devices, []any{rolloutID, state}, func(in string, args []any) error {
				n, err := t.exec(`UPDATE rollout_device SET ended_at = NULL, unsafe = 0
					WHERE rollout_id = $1 AND state = $2 AND ended_at IS NOT NULL AND device_id `+in, args...)
				total += n
				return err
			})
			if err != nil {
				return 0, err
			}
		}
		return int(total), nil
	})
	if err != nil {
		return 0, fmt.Errorf("rollout %s: %w", rolloutID, err)
	}
	return n, nil
}

// RolloutDeviceQuery selects devices of a rollout after an ID, in the order of
// their IDs. Empty fields do not select. Limit 0 is 100; at most 1000 come at
// once.
type RolloutDeviceQuery struct {
	RolloutID, DeviceID, State, After string
	// Touched selects those to which something may have been written.
	Touched bool
	Limit   int
}

// RolloutDevices returns devices to which a rollout came.
func (s *Store) RolloutDevices(ctx context.Context, q RolloutDeviceQuery) ([]RolloutDevice, error) {
	var w where
	w.add("rollout_id = $?", clean(q.RolloutID))
	w.add("device_id > $?", clean(q.After))
	w.addText("device_id", q.DeviceID)
	w.addText("state", q.State)
	if q.Touched {
		w.add("touched = $?", 1)
	}
	list := []RolloutDevice{}
	err := s.read(ctx, func(scan func(...any) error) error {
		var d RolloutDevice
		err := scanRolloutDevice(&d, scan)
		list = append(list, d)
		return err
	}, fmt.Sprintf(`SELECT %s FROM rollout_device%s ORDER BY device_id LIMIT %d`, rolloutDeviceColumns, &w, limitOf(q.Limit)), w.args...)
	if err != nil {
		return nil, fmt.Errorf("devices of rollout %s: %w", q.RolloutID, err)
	}
	return list, nil
}

// LeftOfRollout returns the devices of the plan's waves up to upTo that have
// not come to their end in the rollout, in the order of their IDs, without
// their settings. Limit 0 is 100; at most 1000 come at once.
func (s *Store) LeftOfRollout(ctx context.Context, r Rollout, upTo int, after string, limit int) ([]PlanDevice, error) {
	list := []PlanDevice{}
	err := s.read(ctx, func(scan func(...any) error) error {
		var d PlanDevice
		err := scanPlanDevice(&d, scan)
		list = append(list, d)
		return err
	}, fmt.Sprintf(`SELECT p.plan_id, p.device_id, p.site, p.region, p.batch, p.wave, p.excluded, p.detail, p.calendar, p.takes, '[]', '{}'
		FROM rollout_plan_device p LEFT JOIN rollout_device d ON d.rollout_id = $1 AND d.device_id = p.device_id
		WHERE p.plan_id = $2 AND p.wave > 0 AND p.wave <= $3 AND p.device_id > $4 AND d.ended_at IS NULL
		ORDER BY p.device_id LIMIT %d`, limitOf(limit)), r.RolloutID, r.PlanID, upTo, clean(after))
	if err != nil {
		return nil, fmt.Errorf("what is left of rollout %s: %w", r.RolloutID, err)
	}
	return list, nil
}

// RolloutCount counts the devices of a rollout that have a state.
type RolloutCount struct {
	Wave   int
	State  string
	Unsafe bool
	// Ended says that they have come to their end.
	Ended   bool
	Devices int
}

// CountRollout counts the devices of a rollout by wave and state. Devices to
// which it has not come have the state "".
func (s *Store) CountRollout(ctx context.Context, r Rollout) ([]RolloutCount, error) {
	list := []RolloutCount{}
	err := s.read(ctx, func(scan func(...any) error) error {
		var c RolloutCount
		var unsafe, ended int64
		err := scan(&c.Wave, &c.State, &unsafe, &ended, &c.Devices)
		c.Unsafe, c.Ended = unsafe != 0, ended != 0
		list = append(list, c)
		return err
	}, `SELECT wave, state, unsafe, ended, count(*) FROM (
			SELECT p.wave AS wave, COALESCE(d.state, '') AS state, COALESCE(d.unsafe, 0) AS unsafe,
				CASE WHEN d.ended_at IS NULL THEN 0 ELSE 1 END AS ended
			FROM rollout_plan_device p LEFT JOIN rollout_device d ON d.rollout_id = $1 AND d.device_id = p.device_id
			WHERE p.plan_id = $2 AND p.wave > 0) each
		GROUP BY wave, state, unsafe, ended ORDER BY wave, state, unsafe, ended`, r.RolloutID, r.PlanID)
	if err != nil {
		return nil, fmt.Errorf("count rollout %s: %w", r.RolloutID, err)
	}
	return list, nil
}
