package store

import (
	"context"
	"fmt"
	"time"
)

// ActionRollout is the action of the events that the ledger has of a rollout
// as a whole; its device is RolloutSubject.
const ActionRollout = "rollout"

// RolloutSubject stands in the ledger where the device stands of events that
// are of no one device.
const RolloutSubject = "fleet"

// Rollout is a plan that was started.
type Rollout struct {
	RolloutID string `json:"rollout_id"`
	PlanID    string `json:"plan_id"`
	// State and Detail are in the caller's words.
	State     string     `json:"state"`
	Detail    string     `json:"detail"`
	Actor     string     `json:"actor"`
	Reason    string     `json:"reason"`
	StartedAt time.Time  `json:"started_at"`
	ChangedAt time.Time  `json:"changed_at"`
	EndedAt   *time.Time `json:"ended_at,omitempty"`
	// Owner is the first run of the workflow that carries it out.
	Owner
}

const rolloutColumns = `rollout_id, plan_id, state, detail, actor, reason, started_at, changed_at, ended_at, workflow_id, run_id`

func scanRollout(r *Rollout, scan func(...any) error) error {
	var started, changed int64
	var ended nullMicros
	err := scan(&r.RolloutID, &r.PlanID, &r.State, &r.Detail, &r.Actor, &r.Reason, &started, &changed, &ended, &r.WorkflowID, &r.RunID)
	r.StartedAt, r.ChangedAt, r.EndedAt = fromMicros(started), fromMicros(changed), fromNullMicros(ended)
	return err
}

// BeginRollout starts a frozen plan that has not expired, and of whose devices
// none is in a rollout that has not ended. A plan is started once: the same run
// gets what it began, and any other is ErrInvalid.
func (s *Store) BeginRollout(ctx context.Context, r Rollout) (Rollout, error) {
	err := checkFields(
		field{"rollout ID", &r.RolloutID, maxKeyText, true},
		field{"plan ID", &r.PlanID, maxKeyText, true},
		field{"state", &r.State, maxKeyText, true},
		field{"detail", &r.Detail, maxText, false},
		field{"actor", &r.Actor, maxKeyText, true},
		field{"reason", &r.Reason, maxText, false},
	)
	if err == nil {
		err = r.check()
	}
	if err != nil {
		return Rollout{}, fmt.Errorf("begin rollout: %w", err)
	}
	out, err := write(ctx, s, func(t *txn) (Rollout, error) {
		was, found, err := t.rollout(`plan_id = $1`, r.PlanID)
		switch {
		case err != nil:
			return Rollout{}, err
		case found && was.Owner == r.Owner:
			return was, nil
		case found:
			return Rollout{}, invalidf("the plan was started by %s at %s; plan again", was.Actor, was.StartedAt.Format(time.RFC3339))
		}
		p, found, err := t.plan(r.PlanID)
		switch {
		case err != nil:
			return Rollout{}, err
		case !found:
			return Rollout{}, ErrNotFound
		case p.State != PlanFrozen || p.ExpiresAt == nil:
			return Rollout{}, invalidf("the plan is not finished")
		case !p.ExpiresAt.After(t.now):
			return Rollout{}, invalidf("the plan expired at %s; plan again", p.ExpiresAt.Format(time.RFC3339))
		}
		if err := t.refuseOverlap(r.PlanID); err != nil {
			return Rollout{}, err
		}
		now := r
		now.StartedAt, now.ChangedAt, now.EndedAt = t.now, t.now, nil
		_, err = t.exec(`INSERT INTO rollout (`+rolloutColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
			now.RolloutID, now.PlanID, now.State, now.Detail, now.Actor, now.Reason, micros(t.now), micros(t.now), nullMicros{}, now.WorkflowID, now.RunID)
		return now, err
	})
	if err != nil {
		return Rollout{}, fmt.Errorf("begin rollout %s: %w", r.RolloutID, err)
	}
	return out, nil
}

// refuseOverlap refuses a plan with a device that a rollout has which has not
// ended. It is asked in the transaction that begins a rollout, of which there is
// one at a time: of two that begin in one moment, the second sees the first.
func (t *txn) refuseOverlap(planID string) error {
	var device, other string
	found, err := t.row([]any{&device, &other}, `SELECT d.device_id, r.rollout_id FROM rollout r JOIN rollout_plan_device d ON d.plan_id = r.plan_id
		WHERE r.ended_at IS NULL AND d.wave > 0
		AND d.device_id IN (SELECT device_id FROM rollout_plan_device WHERE plan_id = $1 AND wave > 0) ORDER BY d.device_id LIMIT 1`, planID)
	if err != nil || !found {
		return err
	}
	return invalidf("another rollout has not ended that has devices of this one: %s (rollout %s); end it, or wait, and plan again", device, other)
}

// RolloutNote says how a rollout stands.
type RolloutNote struct {
	RolloutID, State, Detail string
	// Ended says that nothing of it runs any more.
	Ended bool
	// Actor, Event and the run stand in the ledger, where Event is not empty.
	Actor, Event string
	Owner
	ActivityID string
}

// NoteRollout keeps how a rollout stands, with an event in the ledger where one
// is named, in one transaction. A note that was made already under the same
// activity changes nothing.
func (s *Store) NoteRollout(ctx context.Context, n RolloutNote) error {
	err := checkFields(
		field{"rollout ID", &n.RolloutID, maxKeyText, true},
		field{"state", &n.State, maxKeyText, true},
		field{"detail", &n.Detail, maxText, false},
	)
	if err != nil {
		return fmt.Errorf("note rollout: %w", err)
	}
	_, err = write(ctx, s, func(t *txn) (struct{}, error) {
		r, found, err := t.rollout(`rollout_id = $1`, n.RolloutID)
		if err == nil && !found {
			err = ErrNotFound
		}
		if err != nil {
			return struct{}{}, err
		}
		p, _, err := t.plan(r.PlanID)
		if err != nil {
			return struct{}{}, err
		}
		if n.Event != "" {
			rec := Record{Actor: n.Actor, DeviceID: RolloutSubject, Action: ActionRollout, Item: n.RolloutID + "/" + n.Event,
				Outcome: n.State, Reason: n.Detail, WorkflowID: n.WorkflowID, RunID: n.RunID, ActivityID: n.ActivityID, PlanHash: p.Hash}
			if err := rec.check(); err != nil {
				return struct{}{}, err
			}
			if _, err := t.appendEvent(rec); err != nil {
				return struct{}{}, err
			}
		}
		ended := r.EndedAt
		if n.Ended && ended == nil {
			ended = &t.now
		} else if !n.Ended {
			ended = nil
		}
		_, err = t.exec(`UPDATE rollout SET state = $2, detail = $3, changed_at = $4, ended_at = $5 WHERE rollout_id = $1`,
			n.RolloutID, n.State, n.Detail, micros(t.now), toNullMicros(ended))
		return struct{}{}, err
	})
	if err != nil {
		return fmt.Errorf("note rollout %s: %w", n.RolloutID, err)
	}
	return nil
}

func (t *txn) rollout(where string, arg any) (r Rollout, found bool, err error) {
	err = t.rows(func(scan func(...any) error) error {
		found = true
		return scanRollout(&r, scan)
	}, `SELECT `+rolloutColumns+` FROM rollout WHERE `+where, arg)
	return r, found, err
}

// Rollout returns a rollout, or ErrNotFound.
func (s *Store) Rollout(ctx context.Context, id string) (Rollout, error) {
	list, err := s.rollouts(ctx, `WHERE rollout_id = $1`, clean(id))
	if err == nil && len(list) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return Rollout{}, fmt.Errorf("rollout %s: %w", id, err)
	}
	return list[0], nil
}

// Rollouts returns the newest rollouts. Limit 0 is 100; at most 1000 come at
// once.
func (s *Store) Rollouts(ctx context.Context, limit int) ([]Rollout, error) {
	list, err := s.rollouts(ctx, fmt.Sprintf(`ORDER BY started_at DESC, rollout_id LIMIT %d`, limitOf(limit)))
	if err != nil {
		return nil, fmt.Errorf("list rollouts: %w", err)
	}
	return list, nil
}

// OpenRollouts returns the rollouts that have not ended, oldest first; at most
// 1000.
func (s *Store) OpenRollouts(ctx context.Context) ([]Rollout, error) {
	list, err := s.rollouts(ctx, fmt.Sprintf(`WHERE ended_at IS NULL ORDER BY started_at, rollout_id LIMIT %d`, maxLimit))
	if err != nil {
		return nil, fmt.Errorf("list open rollouts: %w", err)
	}
	return list, nil
}

func (s *Store) rollouts(ctx context.Context, rest string, args ...any) ([]Rollout, error) {
	list := []Rollout{}
	err := s.read(ctx, func(scan func(...any) error) error {
		var r Rollout
		err := scanRollout(&r, scan)
		list = append(list, r)
		return err
	}, `SELECT `+rolloutColumns+` FROM rollout `+rest, args...)
	return list, err
}

// PlannedElsewhere returns, for those of the devices that a rollout which has
// not ended has in a wave, the ID of that rollout.
func (s *Store) PlannedElsewhere(ctx context.Context, deviceIDs []string) (map[string]string, error) {
	out := map[string]string{}
	err := inKeys(deviceIDs, nil, func(in string, args []any) error {
		return s.read(ctx, func(scan func(...any) error) error {
			var device, rollout string
			err := scan(&device, &rollout)
			out[device] = rollout
			return err
		}, `SELECT d.device_id, r.rollout_id FROM rollout r JOIN rollout_plan_device d ON d.plan_id = r.plan_id
			WHERE r.ended_at IS NULL AND d.wave > 0 AND d.device_id `+in+` ORDER BY r.started_at`, args...)
	})
	if err != nil {
		return nil, fmt.Errorf("look for running rollouts: %w", err)
	}
	return out, nil
}
