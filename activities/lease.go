package activities

import (
	"context"
	"errors"

	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

// heldBy is who holds the device, when that is why err is.
func heldBy(err error) *contract.LeaseHolder {
	var held *store.LeaseHeldError
	if errors.As(err, &held) {
		return holderOf(held.Lease)
	}
	// The holder has ended, and a write of it may be in flight.
	var busy *store.LeaseBusyError
	if errors.As(err, &busy) {
		return holderOf(busy.Lease)
	}
	return nil
}

func holderOf(l store.Lease) *contract.LeaseHolder {
	return &contract.LeaseHolder{DeviceID: l.DeviceID, WorkflowID: l.WorkflowID, RunID: l.RunID, Since: l.Since}
}

// waits is the answer of a device of a rollout that is not to be had yet, to a
// workflow that waits for it by itself.
func waits(deviceID string, holder *contract.LeaseHolder, err error) contract.DeviceVerdict {
	return contract.DeviceVerdict{DeviceID: deviceID, State: contract.DeviceHeld, Reason: contract.ErrLeaseHeld, Detail: clip(err.Error(), maxListed), Holder: holder}
}

// awaitLease says when a device is to be had, or that another has it by now. One
// whose holder has ended without a word is to be had as soon as no write of it
// can be in flight: whoever takes it takes it over.
func (a *Activities) awaitLease(ctx context.Context, in contract.AwaitLeaseInput) (contract.AwaitLeaseResult, error) {
	lease, err := a.deps.Store.LeaseOf(ctx, in.Holder.DeviceID)
	if errors.Is(err, store.ErrNotFound) {
		return contract.AwaitLeaseResult{}, nil
	}
	if err != nil {
		return contract.AwaitLeaseResult{}, err
	}
	if lease.WorkflowID != in.Holder.WorkflowID || lease.RunID != in.Holder.RunID {
		return contract.AwaitLeaseResult{Holder: holderOf(lease)}, nil
	}
	held := &store.LeaseHeldError{Lease: lease}
	closed, err := a.deps.Closed(ctx, lease.Owner)
	if err != nil || !closed || lease.Released {
		return contract.AwaitLeaseResult{}, held
	}
	if err := a.Abandon(ctx, lease); err != nil {
		return contract.AwaitLeaseResult{}, err
	}
	return contract.AwaitLeaseResult{}, nil
}
