package activities

import (
	"context"
	"slices"
	"time"

	"edgefleet/devices/fleetdir"
	"edgefleet/devices/patch"
	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

// askPatchReport answers from what devices said last, and asks none.
func (a *Activities) askPatchReport(ctx context.Context, q contract.PatchQuery) (contract.PatchPage, error) {
	limit := 500
	if q.Limit > 0 {
		limit = min(q.Limit, 1000)
	}
	list, err := a.deps.Store.Versions(ctx, q.After, limit)
	if err != nil {
		return contract.PatchPage{}, err
	}
	f, now := a.deps.Operator().Fleet(), time.Now()
	out := contract.PatchPage{Devices: []contract.PatchStatus{}}
	for _, d := range list {
		row := PatchStatus(f, d, now)
		if q.Site != "" && q.Site != row.Site || q.Region != "" && q.Region != row.Region || q.Owed && row.State != contract.PatchOwed {
			continue
		}
		if q.OlderThan > 0 && (row.OwedSince == nil || now.Sub(*row.OwedSince) < q.OlderThan) {
			continue
		}
		out.Devices = append(out.Devices, row)
	}
	if len(list) == limit {
		out.Next = list[limit-1].DeviceID
	}
	if n := fitting(slices.Values(out.Devices), maxPage); n < len(out.Devices) {
		out.Devices = out.Devices[:n]
		out.Next = out.Devices[n-1].DeviceID
	}
	return out, nil
}

// PatchStatus says which patches of a fleet a device lacks at a time. A version
// that is not known, or cannot be compared, is no reason to believe that it lacks
// none. The report of patches is made of it, and the metric.
func PatchStatus(f *fleetdir.Fleet, d store.PatchedDevice, now time.Time) contract.PatchStatus {
	row := contract.PatchStatus{DeviceID: d.DeviceID, Site: d.Site, Region: d.Region, Profile: d.Profile,
		Version: d.Version, SeenAt: d.SeenAt, State: contract.PatchNone}
	declared, _, err := f.Device(d.DeviceID)
	if err != nil {
		row.Detail = "the fleet does not declare it"
		return row
	}
	row.Site, row.Region, row.Profile = declared.Site, declared.Region, declared.Profile
	all := f.Patches.For(declared)
	if len(all) == 0 {
		return row
	}
	newest := all[0]
	row.State, row.Patch, row.PatchVersion = contract.PatchCurrent, newest.Name, newest.Version
	for _, p := range all {
		if !lacks(d.Version, p) {
			continue
		}
		since := p.Released
		if d.OnboardedAt != nil && d.OnboardedAt.After(since) {
			since = *d.OnboardedAt
		}
		if since.After(now) {
			continue // it is not released yet
		}
		row.State = contract.PatchOwed
		if row.OwedSince == nil || since.Before(*row.OwedSince) {
			row.OwedSince = &since
		}
	}
	if e, ok := newest.Exception(d.DeviceID, now); ok && row.State == contract.PatchOwed {
		row.State, row.ExceptedBy, row.ExceptedUntil, row.Detail = contract.PatchExcepted, e.By, &e.Until, clip(e.Reason, maxListed)
	}
	return row
}

// lacks says whether a device that runs the version is behind the patch.
func lacks(version string, p *patch.Patch) bool {
	if version == "" {
		return true
	}
	if patch.Runs(version, p.Version) {
		return false
	}
	order, ok := patch.Compare(patch.VersionOf(version), patch.VersionOf(p.Version))
	return !ok || order < 0
}
