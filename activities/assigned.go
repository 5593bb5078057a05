package activities

import (
	"context"
	"errors"

	"edgefleet/devices/fleet"
	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

// Assigned are the assignments of the store, which may be opened later than
// this is made.
func Assigned(s func() *store.Store) fleet.Assignments { return assignments{s} }

type assignments struct{ store func() *store.Store }

func (a assignments) Assigned(ctx context.Context, deviceID string) (*fleet.Assigned, error) {
	s := a.store()
	if s == nil {
		return nil, ofStore(errors.New("the store is not open yet"))
	}
	found, err := s.Assignment(ctx, deviceID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, ofStore(err)
	}
	return assignedOf(found), nil
}

func assignedOf(a store.Assignment) *fleet.Assigned {
	return &fleet.Assigned{Baseline: a.Baseline, Version: a.Version, Settings: a.Settings}
}

// assignedBefore are assignments that were asked for together.
type assignedBefore map[string]store.Assignment

func (m assignedBefore) Assigned(_ context.Context, deviceID string) (*fleet.Assigned, error) {
	a, ok := m[deviceID]
	if !ok {
		return nil, nil
	}
	return assignedOf(a), nil
}

// assignDeclared notes that a device that was brought to its declaration shall
// have that from now on. It comes before the registration: a device that is in
// service has its assignment.
func (a *Activities) assignDeclared(ctx context.Context, op *fleet.Operator, in contract.OnboardDeviceInput) error {
	d, _, err := op.Fleet().Device(in.DeviceID)
	if err != nil {
		return err
	}
	desired, ok := op.Fleet().Baseline(d)
	if !ok {
		return a.deps.Store.Unassign(ctx, in.DeviceID)
	}
	return a.deps.Store.Assign(ctx, store.Assignment{DeviceID: in.DeviceID, Baseline: desired.Baseline, Version: desired.Version,
		Settings: fleet.ExactSettings(desired), Actor: actorText(in.Actor), Owner: owner(ctx)})
}
