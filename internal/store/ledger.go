package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The phases of a ledger entry.
const (
	PhaseIntent = "intent" // about to be done; its result follows, or is unknown
	PhaseResult = "result" // what came of the intent
	PhaseEvent  = "event"  // something that happened, without an effect of its own
)

// MaxBusy is how far ahead the deadline of a write in flight can be, because
// nobody else gets the device before.
const MaxBusy = time.Hour

// Record is what a caller says of a ledger entry; the store adds the rest.
// WorkflowID, RunID, ActivityID, Action and Item (which may be empty) are the
// key under which a retried activity finds its entry again.
type Record struct {
	Actor      string `json:"actor"`
	DeviceID   string `json:"device_id"`
	Action     string `json:"action"`
	Item       string `json:"item,omitempty"`
	Before     string `json:"before,omitempty"`
	After      string `json:"after,omitempty"`
	Outcome    string `json:"outcome,omitempty"`
	Reason     string `json:"reason,omitempty"`
	IncidentID string `json:"incident_id,omitempty"`
	WorkflowID string `json:"workflow_id"`
	RunID      string `json:"run_id"`
	ActivityID string `json:"activity_id"`
	PlanHash   string `json:"plan_hash,omitempty"`
}

// LedgerEntry is one line of the ledger as it stands there. Time is UTC with
// microseconds; the hashes are 64 hexadecimal digits.
type LedgerEntry struct {
	Seq        int64     `json:"seq"`
	Time       time.Time `json:"time"`
	Phase      string    `json:"phase"`
	Actor      string    `json:"actor"`
	DeviceID   string    `json:"device_id"`
	Action     string    `json:"action"`
	Item       string    `json:"item,omitempty"`
	Before     string    `json:"before,omitempty"`
	After      string    `json:"after,omitempty"`
	Outcome    string    `json:"outcome,omitempty"`
	Reason     string    `json:"reason,omitempty"`
	IncidentID string    `json:"incident_id,omitempty"`
	WorkflowID string    `json:"workflow_id"`
	RunID      string    `json:"run_id"`
	ActivityID string    `json:"activity_id"`
	PlanHash   string    `json:"plan_hash,omitempty"`
	PrevHash   string    `json:"prev_hash"`
	Hash       string    `json:"hash"`
}

// EffectKey is the identity of an effect: which activity does what to which
// item.
type EffectKey struct {
	WorkflowID, RunID, ActivityID, Action, Item string
}

// Key returns the identity under which the record is appended once.
func (r Record) Key() EffectKey {
	return EffectKey{r.WorkflowID, r.RunID, r.ActivityID, r.Action, r.Item}
}

func (k EffectKey) String() string {
	return fmt.Sprintf("%s %q of activity %s in %s (run %s)", k.Action, k.Item, k.ActivityID, k.WorkflowID, k.RunID)
}

// Record returns the part of the entry that its caller gave.
func (e LedgerEntry) Record() Record {
	return Record{
		Actor: e.Actor, DeviceID: e.DeviceID, Action: e.Action, Item: e.Item, Before: e.Before, After: e.After,
		Outcome: e.Outcome, Reason: e.Reason, IncidentID: e.IncidentID,
		WorkflowID: e.WorkflowID, RunID: e.RunID, ActivityID: e.ActivityID, PlanHash: e.PlanHash,
	}
}

func (r *Record) check() error {
	return checkFields(
		field{"actor", &r.Actor, maxKeyText, true},
		field{"device ID", &r.DeviceID, maxKeyText, true},
		field{"action", &r.Action, maxKeyText, true},
		field{"item", &r.Item, maxKeyText, false},
		field{"before", &r.Before, maxText, false},
		field{"after", &r.After, maxText, false},
		field{"outcome", &r.Outcome, maxText, false},
		field{"reason", &r.Reason, maxText, false},
		field{"incident ID", &r.IncidentID, maxKeyText, false},
		field{"workflow ID", &r.WorkflowID, maxWorkflow, true},
		field{"run ID", &r.RunID, maxKeyText, true},
		field{"activity ID", &r.ActivityID, maxKeyText, true},
		field{"plan hash", &r.PlanHash, maxKeyText, false},
	)
}

// AppendIntent notes that a write to a device is about to happen, which is the
// permission to do it: the device's lease has to have the given token
// (ErrLeaseLost otherwise, and nothing is appended), and is busy until
// busyUntil, the deadline of the write, so that nobody else gets the device
// before. Called again for the same key, it checks the lease and extends its
// deadline while there is no result yet, and returns the earlier entry; with
// other content it is ErrLedgerConflict.
func (s *Store) AppendIntent(ctx context.Context, rec Record, token int64, busyUntil time.Time) (LedgerEntry, error) {
	return s.AppendIntentWith(ctx, rec, token, busyUntil, Beside{})
}

// Beside is what is kept in the transaction of an intent, so that neither is
// there without the other: the values that are about to be replaced, as
// CaptureSettings keeps them, and that a rollout is at work on the device, as
// TouchRolloutDevice notes it. Nil fields keep nothing.
type Beside struct {
	Capture *Capture
	Touch   *RolloutDevice
}

func (b Beside) check() error {
	if b.Capture != nil {
		if err := b.Capture.check(); err != nil {
			return err
		}
	}
	if b.Touch != nil {
		return b.Touch.check()
	}
	return nil
}

// AppendIntentWith is AppendIntent with what is kept beside it.
func (s *Store) AppendIntentWith(ctx context.Context, rec Record, token int64, busyUntil time.Time, beside Beside) (LedgerEntry, error) {
	err := errors.Join(rec.check(), beside.check())
	if now := s.now(); err == nil && !busyUntil.After(now) {
		err = invalidf("the deadline %s of the write has passed", busyUntil.UTC().Format(time.RFC3339Nano))
	} else if err == nil && busyUntil.Sub(now) > MaxBusy {
		err = invalidf("the deadline %s of the write is more than %s away", busyUntil.UTC().Format(time.RFC3339Nano), MaxBusy)
	}
	if err != nil {
		return LedgerEntry{}, fmt.Errorf("append intent: %w", err)
	}
	e, err := write(ctx, s, func(t *txn) (LedgerEntry, error) {
		intent, result, err := t.findEffect(rec.Key())
		if err != nil {
			return LedgerEntry{}, err
		}
		if err := sameRecord(intent, rec); err != nil {
			return LedgerEntry{}, err
		}
		if err := t.checkLease(rec.DeviceID, token); err != nil {
			return LedgerEntry{}, err
		}
		if beside.Touch != nil {
			if _, err := t.changeRolloutDevice(*beside.Touch, touched(*beside.Touch)); err != nil {
				return LedgerEntry{}, err
			}
		}
		if beside.Capture != nil {
			if err := t.capture(*beside.Capture); err != nil {
				return LedgerEntry{}, err
			}
		}
		if intent == nil {
			e, err := t.append(PhaseIntent, rec)
			if err != nil {
				return LedgerEntry{}, err
			}
			intent = &e
		}
		if result != nil {
			return *intent, nil
		}
		return *intent, t.beginWrite(*intent, token, busyUntil)
	})
	if err != nil {
		return LedgerEntry{}, fmt.Errorf("append intent for %s: %w", rec.DeviceID, err)
	}
	return e, nil
}

// AppendResult notes what came of an intent, which has to be there
// (ErrNoIntent); the intent's write is then no longer in flight. It needs no
// lease, and is appended even when the device has gone to another workflow,
// because it is what happened. Called again it returns the earlier entry; with
// other content it is ErrLedgerConflict.
func (s *Store) AppendResult(ctx context.Context, rec Record) (LedgerEntry, error) {
	if err := rec.check(); err != nil {
		return LedgerEntry{}, fmt.Errorf("append result: %w", err)
	}
	e, err := write(ctx, s, func(t *txn) (LedgerEntry, error) {
		intent, result, err := t.findEffect(rec.Key())
		if err != nil {
			return LedgerEntry{}, err
		}
		if result != nil {
			return *result, sameRecord(result, rec)
		}
		if intent == nil || intent.DeviceID != rec.DeviceID {
			return LedgerEntry{}, fmt.Errorf("%w: %s", ErrNoIntent, rec.Key())
		}
		e, err := t.append(PhaseResult, rec)
		if err != nil {
			return LedgerEntry{}, err
		}
		return e, t.endWrite(*intent)
	})
	if err != nil {
		return LedgerEntry{}, fmt.Errorf("append result for %s: %w", rec.DeviceID, err)
	}
	return e, nil
}

// AppendEvent notes something that happened without being a write to a device,
// such as an approval. Called again it returns the earlier entry; with other
// content it is ErrLedgerConflict.
func (s *Store) AppendEvent(ctx context.Context, rec Record) (LedgerEntry, error) {
	if err := rec.check(); err != nil {
		return LedgerEntry{}, fmt.Errorf("append event: %w", err)
	}
	e, err := write(ctx, s, func(t *txn) (LedgerEntry, error) { return t.appendEvent(rec) })
	if err != nil {
		return LedgerEntry{}, fmt.Errorf("append event for %s: %w", rec.DeviceID, err)
	}
	return e, nil
}

func (t *txn) appendEvent(rec Record) (LedgerEntry, error) {
	var earlier *LedgerEntry
	err := t.rows(func(scan func(...any) error) error {
		earlier = &LedgerEntry{}
		return scanEntry(earlier, scan)
	}, selectByKey+` AND phase = $6`, append(rec.Key().args(), PhaseEvent)...)
	if err != nil {
		return LedgerEntry{}, err
	}
	if earlier != nil {
		return *earlier, sameRecord(earlier, rec)
	}
	return t.append(PhaseEvent, rec)
}

// append adds an entry to the chain; the caller has seen that its key is free.
func (t *txn) append(phase string, rec Record) (LedgerEntry, error) {
	entries, err := t.appendAll(phase, rec)
	if err != nil {
		return LedgerEntry{}, err
	}
	return entries[0], nil
}

// appendAll adds entries to the chain; the caller has seen that their keys are
// free.
func (t *txn) appendAll(phase string, recs ...Record) ([]LedgerEntry, error) {
	if err := t.loadHead(); err != nil {
		t.failed = err
		return nil, err
	}
	if t.headErr != nil {
		return nil, t.headErr
	}
	count, last := t.head.Count, t.head.LastHash
	entries, rows := make([]LedgerEntry, len(recs)), make([][]any, len(recs))
	for i, rec := range recs {
		e := LedgerEntry{
			Seq: count + 1, Time: t.now, Phase: phase,
			Actor: rec.Actor, DeviceID: rec.DeviceID, Action: rec.Action, Item: rec.Item, Before: rec.Before, After: rec.After,
			Outcome: rec.Outcome, Reason: rec.Reason, IncidentID: rec.IncidentID,
			WorkflowID: rec.WorkflowID, RunID: rec.RunID, ActivityID: rec.ActivityID, PlanHash: rec.PlanHash,
			PrevHash: last,
		}
		e.Hash = t.w.s.hash.entry(e)
		entries[i], count, last = e, e.Seq, e.Hash
		rows[i] = []any{e.Seq, micros(e.Time), e.Phase, e.Actor, e.DeviceID, e.Action, e.Item, e.Before, e.After,
			e.Outcome, e.Reason, e.IncidentID, e.WorkflowID, e.RunID, e.ActivityID, e.PlanHash, e.PrevHash, e.Hash}
	}
	if err := t.insertRows(`INSERT INTO ledger (`+ledgerColumns+`)`, rows, ""); err != nil {
		return nil, err
	}
	t.head.Count, t.head.LastHash, t.headDirty = count, last, true
	return entries, nil
}

const ledgerColumns = `seq, time, phase, actor, device_id, action, item, before, after,
	outcome, reason, incident_id, workflow_id, run_id, activity_id, plan_hash, prev_hash, hash`

const selectByKey = `SELECT ` + ledgerColumns + ` FROM ledger
	WHERE workflow_id = $1 AND run_id = $2 AND activity_id = $3 AND action = $4 AND item = $5`

func (k EffectKey) args() []any {
	return []any{k.WorkflowID, k.RunID, k.ActivityID, k.Action, k.Item}
}

func scanEntry(e *LedgerEntry, scan func(...any) error) error {
	var at int64
	err := scan(&e.Seq, &at, &e.Phase, &e.Actor, &e.DeviceID, &e.Action, &e.Item, &e.Before, &e.After,
		&e.Outcome, &e.Reason, &e.IncidentID, &e.WorkflowID, &e.RunID, &e.ActivityID, &e.PlanHash, &e.PrevHash, &e.Hash)
	e.Time = fromMicros(at)
	return err
}

// findEffect returns the intent and the result of an effect, as far as they are
// there.
func (t *txn) findEffect(k EffectKey) (intent, result *LedgerEntry, err error) {
	err = t.rows(func(scan func(...any) error) error {
		var e LedgerEntry
		err := scanEntry(&e, scan)
		switch e.Phase {
		case PhaseIntent:
			intent = &e
		case PhaseResult:
			result = &e
		}
		return err
	}, selectByKey, k.args()...)
	return intent, result, err
}

// sameRecord refuses an earlier entry that says something else than rec.
func sameRecord(e *LedgerEntry, rec Record) error {
	if e == nil || e.Record() == rec {
		return nil
	}
	return fmt.Errorf("%w: entry %d, %s of %s", ErrLedgerConflict, e.Seq, e.Phase, rec.Key())
}
