package store

import (
	"context"
	"fmt"
	"strings"
)

// Together is what the store has of several devices, as it was at one moment
// for each kind: what is asked of a whole batch is asked in three queries.
type Together struct {
	// Leases are those that are held, States and Assignments those that there
	// are, by the device's ID.
	Leases      map[string]Lease
	States      map[string]DeviceState
	Assignments map[string]Assignment
}

// OfDevices returns what there is of up to MaxBulk devices.
func (s *Store) OfDevices(ctx context.Context, ids []string) (Together, error) {
	out := Together{Leases: map[string]Lease{}, States: map[string]DeviceState{}, Assignments: map[string]Assignment{}}
	if len(ids) == 0 {
		return out, nil
	}
	if len(ids) > MaxBulk {
		return out, fmt.Errorf("%d devices in one question; ask for at most %d", len(ids), MaxBulk)
	}
	args, places := make([]any, len(ids)), make([]string, len(ids))
	for i, id := range ids {
		args[i], places[i] = clean(id), fmt.Sprintf("$%d", i+1)
	}
	among := " WHERE device_id IN (" + strings.Join(places, ",") + ")"
	now := s.now()
	for _, question := range []struct {
		of, query string
		each      func(scan func(...any) error) error
	}{
		{"leases", selectLease + among, func(scan func(...any) error) error {
			var l Lease
			if err := scanLease(&l, scan); err != nil {
				return err
			}
			if !l.Released || l.busy(now) {
				out.Leases[l.DeviceID] = l
			}
			return nil
		}},
		{"states", `SELECT ` + deviceColumns + ` FROM device_state` + among, func(scan func(...any) error) error {
			var d DeviceState
			err := scanDevice(&d, scan)
			out.States[d.DeviceID] = d
			return err
		}},
		{"assignments", selectAssignments + among, func(scan func(...any) error) error {
			var a Assignment
			err := scanAssignment(&a, scan)
			out.Assignments[a.DeviceID] = a
			return err
		}},
	} {
		if err := s.read(ctx, question.each, question.query, args...); err != nil {
			return Together{}, fmt.Errorf("%s of %d devices: %w", question.of, len(ids), err)
		}
	}
	return out, nil
}
