package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Owner is who holds a lease: one run of one workflow.
type Owner struct {
	WorkflowID string `json:"workflow_id"`
	RunID      string `json:"run_id"`
}

func (o *Owner) check() error {
	return checkFields(
		field{"workflow ID", &o.WorkflowID, maxWorkflow, true},
		field{"run ID", &o.RunID, maxKeyText, true},
	)
}

// Lease is the exclusive right of one workflow run to change a device.
type Lease struct {
	DeviceID string `json:"device_id"`
	// Token is the fencing token: it grows with every lease that is granted,
	// over all devices, and never comes again.
	Token int64 `json:"token"`
	Owner
	Since time.Time `json:"since"`
	// BusyUntil is the deadline of the last write in flight, if there is one.
	BusyUntil *time.Time `json:"busy_until,omitempty"`
	// Released says that the owner has let go while a write was in flight:
	// nobody can write with the token any more, and the device becomes free
	// when the write's result is there or its deadline has passed.
	Released bool `json:"released,omitempty"`
}

func (l Lease) busy(now time.Time) bool { return l.BusyUntil != nil && l.BusyUntil.After(now) }

// grants says whether the token gives the right to change the device. Tokens
// begin at 1, so that no lease at all grants nothing.
func (l Lease) grants(token int64) bool { return token > 0 && l.Token == token && !l.Released }

// LeaseHeldError says who holds the device; it is ErrLeaseHeld.
type LeaseHeldError struct{ Lease Lease }

func (e *LeaseHeldError) Error() string {
	if e.Lease.Released {
		return fmt.Sprintf("%s has a write of %s (run %s) in flight until %s", e.Lease.DeviceID,
			e.Lease.WorkflowID, e.Lease.RunID, e.Lease.BusyUntil.Format(time.RFC3339))
	}
	return fmt.Sprintf("%s is held by %s (run %s) since %s", e.Lease.DeviceID,
		e.Lease.WorkflowID, e.Lease.RunID, e.Lease.Since.Format(time.RFC3339))
}

// Is makes the error comparable with ErrLeaseHeld.
func (e *LeaseHeldError) Is(target error) bool { return target == ErrLeaseHeld }

// LeaseBusyError says until when a write is in flight; it is ErrLeaseBusy.
type LeaseBusyError struct{ Lease Lease }

func (e *LeaseBusyError) Error() string {
	return fmt.Sprintf("%s has a write of %s (run %s) in flight until %s", e.Lease.DeviceID,
		e.Lease.WorkflowID, e.Lease.RunID, e.Lease.BusyUntil.Format(time.RFC3339))
}

// Is makes the error comparable with ErrLeaseBusy.
func (e *LeaseBusyError) Is(target error) bool { return target == ErrLeaseBusy }

// AcquireLease takes the device for the owner. The same owner gets the lease
// that it has; while another holds it, the error is a *LeaseHeldError.
func (s *Store) AcquireLease(ctx context.Context, deviceID string, owner Owner) (Lease, error) {
	err := checkFields(field{"device ID", &deviceID, maxKeyText, true})
	if err == nil {
		err = owner.check()
	}
	if err != nil {
		return Lease{}, fmt.Errorf("acquire lease: %w", err)
	}
	l, err := write(ctx, s, func(t *txn) (Lease, error) { return t.acquire(deviceID, owner) })
	if err != nil {
		return Lease{}, fmt.Errorf("acquire lease on %s: %w", deviceID, err)
	}
	return l, nil
}

// AcquireLeaseApart is AcquireLease for a device that must not be in work beside
// some others: while any of these is held, also by the same owner, the error is
// the *LeaseHeldError of that one.
func (s *Store) AcquireLeaseApart(ctx context.Context, deviceID string, others []string, owner Owner) (Lease, error) {
	err := checkFields(field{"device ID", &deviceID, maxKeyText, true})
	if err == nil {
		err = owner.check()
	}
	if err != nil {
		return Lease{}, fmt.Errorf("acquire lease: %w", err)
	}
	l, err := write(ctx, s, func(t *txn) (Lease, error) {
		held, err := t.leases(others)
		if err != nil {
			return Lease{}, err
		}
		for _, id := range others {
			if l, ok := held[id]; ok && (!l.Released || l.busy(t.now)) {
				return Lease{}, &LeaseHeldError{l}
			}
		}
		return t.acquire(deviceID, owner)
	})
	if err != nil {
		return Lease{}, fmt.Errorf("acquire lease on %s: %w", deviceID, err)
	}
	return l, nil
}

// ReleaseLease gives the device back when token is its present lease's, and
// does nothing otherwise. While a write is in flight the device stays taken
// until its result or its deadline; the token is worth nothing from now on.
func (s *Store) ReleaseLease(ctx context.Context, deviceID string, token int64) error {
	_, err := write(ctx, s, func(t *txn) (struct{}, error) { return struct{}{}, t.release(clean(deviceID), token) })
	if err != nil {
		return fmt.Errorf("release lease on %s: %w", deviceID, err)
	}
	return nil
}

// Reap gives back the lease of an owner that is known to be dead. It does
// nothing when token is not the device's present one. While a write of the
// owner may be in flight, it is refused with a *LeaseBusyError.
func (s *Store) Reap(ctx context.Context, deviceID string, token int64) error {
	deviceID = clean(deviceID)
	_, err := write(ctx, s, func(t *txn) (struct{}, error) {
		l, found, err := t.lease(deviceID)
		if err != nil || !found || l.Token != token {
			return struct{}{}, err
		}
		if l.busy(t.now) {
			return struct{}{}, &LeaseBusyError{l}
		}
		return struct{}{}, t.release(deviceID, token)
	})
	if err != nil {
		return fmt.Errorf("reap lease on %s: %w", deviceID, err)
	}
	return nil
}

// selectLease begins the queries of leases. The busy time is that of the last
// deadline among the writes that have no result.
const selectLease = `SELECT device_id, token, workflow_id, run_id, since, released,
	(SELECT max(deadline) FROM write_in_flight w WHERE w.device_id = lease.device_id AND w.token = lease.token)
	FROM lease`

func scanLease(l *Lease, scan func(...any) error) error {
	var since, released int64
	var busy sql.NullInt64
	err := scan(&l.DeviceID, &l.Token, &l.WorkflowID, &l.RunID, &since, &released, &busy)
	l.Since, l.BusyUntil, l.Released = fromMicros(since), fromNullMicros(busy), released != 0
	return err
}

// Leases returns the leases of devices after the given ID, in the order of
// their IDs. Limit 0 is 100; at most 1000 come at once.
func (s *Store) Leases(ctx context.Context, afterDevice string, limit int) ([]Lease, error) {
	leases := []Lease{}
	query := fmt.Sprintf(`%s WHERE device_id > $1 AND (released = 0 OR EXISTS (SELECT 1 FROM write_in_flight w
		WHERE w.device_id = lease.device_id AND w.token = lease.token AND w.deadline > $2))
		ORDER BY device_id LIMIT %d`, selectLease, limitOf(limit))
	err := s.read(ctx, func(scan func(...any) error) error {
		var l Lease
		err := scanLease(&l, scan)
		leases = append(leases, l)
		return err
	}, query, clean(afterDevice), micros(s.now()))
	if err != nil {
		return nil, fmt.Errorf("list leases: %w", err)
	}
	return leases, nil
}

// LeaseOf returns the lease on a device, or ErrNotFound when it is free.
func (s *Store) LeaseOf(ctx context.Context, deviceID string) (Lease, error) {
	var l Lease
	found := false
	err := s.read(ctx, func(scan func(...any) error) error {
		found = true
		return scanLease(&l, scan)
	}, selectLease+` WHERE device_id = $1`, clean(deviceID))
	if err == nil && (!found || l.Released && !l.busy(s.now())) {
		err = ErrNotFound
	}
	if err != nil {
		return Lease{}, fmt.Errorf("lease on %s: %w", deviceID, err)
	}
	return l, nil
}

func (t *txn) lease(deviceID string) (l Lease, found bool, err error) {
	err = t.rows(func(scan func(...any) error) error {
		found = true
		return scanLease(&l, scan)
	}, selectLease+` WHERE device_id = $1`, deviceID)
	return l, found, err
}

func (t *txn) acquire(deviceID string, owner Owner) (Lease, error) {
	l, found, err := t.lease(deviceID)
	if err != nil {
		return Lease{}, err
	}
	if found && !l.Released && l.Owner == owner {
		return l, nil
	}
	if found && (!l.Released || l.busy(t.now)) {
		return Lease{}, &LeaseHeldError{l}
	}
	if found {
		// A released lease, and its last write is over.
		if err := t.dropLease(deviceID, l.Token); err != nil {
			return Lease{}, err
		}
	}
	token, err := t.count("lease_token")
	if err != nil {
		return Lease{}, err
	}
	_, err = t.exec(`INSERT INTO lease (device_id, token, workflow_id, run_id, since) VALUES ($1, $2, $3, $4, $5)`,
		deviceID, token, owner.WorkflowID, owner.RunID, micros(t.now))
	return Lease{DeviceID: deviceID, Token: token, Owner: owner, Since: t.now}, err
}

func (t *txn) release(deviceID string, token int64) error {
	l, found, err := t.lease(deviceID)
	if err != nil || !found || l.Token != token {
		return err
	}
	if l.busy(t.now) {
		_, err = t.exec(`UPDATE lease SET released = 1 WHERE device_id = $1`, deviceID)
		return err
	}
	return t.dropLease(deviceID, token)
}

func (t *txn) dropLease(deviceID string, token int64) error {
	_, err := t.exec(`DELETE FROM write_in_flight WHERE device_id = $1 AND token = $2`, deviceID, token)
	if err == nil {
		_, err = t.exec(`DELETE FROM lease WHERE device_id = $1 AND token = $2`, deviceID, token)
	}
	return err
}

// checkLease fails with ErrLeaseLost when token is not the device's.
func (t *txn) checkLease(deviceID string, token int64) error {
	l, _, err := t.lease(deviceID)
	if err == nil && !l.grants(token) {
		err = fmt.Errorf("%w: token %d is not the present one of %s", ErrLeaseLost, token, deviceID)
	}
	return err
}

// leases returns the leases of devices, by their IDs.
func (t *txn) leases(deviceIDs []string) (map[string]Lease, error) {
	leases := map[string]Lease{}
	err := inKeys(deviceIDs, nil, func(in string, args []any) error {
		return t.rows(func(scan func(...any) error) error {
			var l Lease
			err := scanLease(&l, scan)
			leases[l.DeviceID] = l
			return err
		}, selectLease+` WHERE device_id `+in, args...)
	})
	return leases, err
}

// beginWrite notes that the write of an intent is in flight until its deadline,
// or that a retry has taken it up again.
func (t *txn) beginWrite(intent LedgerEntry, token int64, deadline time.Time) error {
	_, err := t.exec(`INSERT INTO write_in_flight (intent_seq, device_id, token, deadline) VALUES ($1, $2, $3, $4)
		ON CONFLICT (intent_seq) DO UPDATE SET token = excluded.token, deadline =
			CASE WHEN excluded.deadline > write_in_flight.deadline THEN excluded.deadline ELSE write_in_flight.deadline END`,
		intent.Seq, intent.DeviceID, token, micros(deadline))
	return err
}

// endWrite notes that the write of an intent is over.
func (t *txn) endWrite(intent LedgerEntry) error {
	_, err := t.exec(`DELETE FROM write_in_flight WHERE intent_seq = $1`, intent.Seq)
	return err
}

// count returns the next value of a counter, which never repeats.
func (t *txn) count(name string) (int64, error) {
	var n int64
	found, err := t.execRow([]any{&n}, `UPDATE counter SET value = value + 1 WHERE name = $1 RETURNING value`, name)
	if err == nil && !found {
		err = fmt.Errorf("%w: counter %s is gone", ErrDamaged, name)
		t.failed = err
	}
	return n, err
}
