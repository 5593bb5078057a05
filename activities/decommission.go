package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.temporal.io/sdk/activity"

	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

// decommission takes one device out of service, under a lease of its own, so
// that no remediation is at work on it. It says so in the registry and in the
// ledger alone: the device may be gone, and its address another's by now.
func (a *Activities) decommission(ctx context.Context, in contract.DecommissionDeviceInput) (contract.DecommissionDeviceResult, error) {
	// Between the plan and this moment the worker may have taken up a fleet
	// that declares the device again.
	if _, _, err := a.deps.Operator().Fleet().Device(in.DeviceID); err == nil {
		return contract.DecommissionDeviceResult{}, permanent(contract.ErrRejected,
			fmt.Errorf("the fleet declares %s; take it out of the fleet directory first", in.DeviceID))
	}
	// A lease of a device that was never registered would be of no device.
	if _, err := a.deps.Store.Registered(ctx, in.DeviceID); errors.Is(err, store.ErrNotFound) {
		return contract.DecommissionDeviceResult{}, permanent(contract.ErrNotFound,
			fmt.Errorf("%s was never onboarded, so it cannot be decommissioned", in.DeviceID))
	} else if err != nil {
		return contract.DecommissionDeviceResult{}, err
	}
	lease, err := seize(ctx, a, func() (store.Lease, error) { return a.deps.Store.AcquireLease(ctx, in.DeviceID, owner(ctx)) })
	if err != nil {
		return contract.DecommissionDeviceResult{}, err
	}
	defer a.release(ctx, lease)
	r, err := a.deps.Store.Decommission(ctx, store.Decommissioning{
		DeviceID: in.DeviceID, Owner: owner(ctx), LeaseToken: lease.Token,
		Actor: actorText(in.Actor), ActivityID: activity.GetInfo(ctx).ActivityID, Reason: in.Reason,
	})
	if errors.Is(err, store.ErrLeaseLost) {
		// As in an onboarding: another attempt may have given it back.
		err = transient(contract.ErrLeaseLost, err)
	}
	return contract.DecommissionDeviceResult{DeviceID: in.DeviceID, ChangedAt: r.ChangedAt}, err
}

func (a *Activities) askRegistryList(ctx context.Context, q contract.RegistryQuery) (contract.RegistryPage, error) {
	limit := contract.MaxDeviceList
	if q.Limit > 0 {
		limit = min(limit, q.Limit)
	}
	page := contract.RegistryPage{Revision: a.deps.Operator().Fleet().Revision(), Commit: a.deps.Commit(), Devices: []contract.RegisteredDevice{}}
	list, err := a.deps.Store.ListRegistered(ctx, store.RegisteredQuery{After: q.After, Limit: limit})
	if err != nil {
		return page, err
	}
	for _, r := range list {
		page.Devices = append(page.Devices, wireRegistered(r))
	}
	n := fitting(slices.Values(page.Devices), maxPage)
	page.Devices = page.Devices[:n]
	// A full page may be the last one; then the next is empty.
	if n > 0 && (n < len(list) || n == limit) {
		page.Next = page.Devices[n-1].DeviceID
	}
	return page, nil
}

func wireRegistered(r store.Registered) contract.RegisteredDevice {
	return contract.RegisteredDevice{
		DeviceID: r.DeviceID, State: r.State, DeclaredHash: r.DeclaredHash, Revision: r.Revision,
		Site: r.Site, Region: r.Region, Profile: r.Profile, Maker: r.Maker, Model: r.Model, Firmware: r.Firmware, Serial: r.Serial,
		Baseline: r.Baseline, BaselineVersion: r.BaselineVersion, OnboardedAt: r.OnboardedAt, ChangedAt: r.ChangedAt, Detail: clip(r.Detail, maxListed),
	}
}
