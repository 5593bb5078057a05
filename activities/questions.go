package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"

	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

// shown is how many incidents and ledger entries a device's page has.
const shown = 10

func (a *Activities) askProbe(ctx context.Context, q contract.DeviceQuery) (contract.NetworkReport, error) {
	return a.probe(ctx, q.ID)
}

func (a *Activities) askDrift(ctx context.Context, q contract.DeviceQuery) (contract.DriftReport, error) {
	return a.drift(ctx, q.ID)
}

func (a *Activities) askFingerprint(ctx context.Context, q contract.DeviceQuery) (contract.FingerprintReport, error) {
	shown, err := a.deps.Operator().Fingerprints(ctx, q.ID)
	if err != nil {
		return contract.FingerprintReport{}, err
	}
	return contract.FingerprintReport{
		DeviceID: shown.DeviceID, Protocol: shown.Protocol, Address: shown.Address, Shown: shown.Fingerprints,
		Declared: shown.Declared, Pinned: shown.Pinned, Verdict: string(shown.Verdict), State: shown.State,
	}, nil
}

func (a *Activities) askDeviceList(ctx context.Context, q contract.DeviceQuery) ([]contract.DeviceStatus, error) {
	limit := contract.MaxDeviceList
	if q.Limit > 0 {
		limit = min(limit, q.Limit)
	}
	out, more := []contract.DeviceStatus{}, false
	// The inventory is in the order of the IDs.
	for _, d := range a.deps.Operator().Fleet().Inventory.Devices {
		if d.ID <= q.After || (q.Site != "" && q.Site != d.Site) || (q.Region != "" && q.Region != d.Region) {
			continue
		}
		if len(out) == limit {
			more = true
			break
		}
		out = append(out, contract.DeviceStatus{Device: wireDevice(d), State: stateUnknown})
	}
	if len(out) == 0 {
		return out, nil
	}
	if err := a.addKnown(ctx, q.After, out); err != nil {
		return nil, err
	}
	if n := fitting(slices.Values(out), maxPage); n < len(out) {
		out, more = out[:n], true
	}
	out[len(out)-1].More = more
	return out, nil
}

// addKnown adds what the store knows of devices, which are in the order of
// their IDs and stand all behind after.
func (a *Activities) addKnown(ctx context.Context, after string, list []contract.DeviceStatus) error {
	last := list[len(list)-1].ID
	states, err := between(after, last, func(after string) ([]store.DeviceState, error) { return a.deps.Store.DeviceStates(ctx, after, 1000) },
		func(s store.DeviceState) string { return s.DeviceID })
	if err != nil {
		return err
	}
	leases, err := between(after, last, func(after string) ([]store.Lease, error) { return a.deps.Store.Leases(ctx, after, 1000) },
		func(l store.Lease) string { return l.DeviceID })
	if err != nil {
		return err
	}
	for i := range list {
		d := &list[i]
		if s, ok := states[d.ID]; ok {
			d.State, d.Detail, d.CheckedAt = s.State, clip(s.Detail, maxListed), &s.CheckedAt
		}
		if l, ok := leases[d.ID]; ok {
			d.LeasedBy = l.WorkflowID
		}
	}
	return nil
}

// between reads the pages of a list that is ordered by an ID, from behind after
// to last, or to its end when last is empty.
func between[T any](after, last string, page func(after string) ([]T, error), id func(T) string) (map[string]T, error) {
	out := map[string]T{}
	for last == "" || after < last {
		list, err := page(after)
		if err != nil {
			return nil, err
		}
		if len(list) == 0 {
			break
		}
		for _, item := range list {
			after = id(item)
			out[after] = item
		}
	}
	return out, nil
}

func (a *Activities) askDeviceShow(ctx context.Context, q contract.DeviceQuery) (contract.DeviceDetail, error) {
	f := a.deps.Operator().Fleet()
	d, p, err := f.Device(q.ID)
	if err != nil {
		return contract.DeviceDetail{}, err
	}
	out := contract.DeviceDetail{
		DeviceStatus: contract.DeviceStatus{Device: wireDevice(d), State: stateUnknown},
		Protocol:     p.Protocol, Credentials: d.Credentials, Fingerprints: d.Fingerprints(),
	}
	if d.OPCUA != nil {
		out.Security = d.OPCUA.Policy + "/" + d.OPCUA.Mode
	}
	registered, err := a.deps.Store.Registered(ctx, q.ID)
	switch {
	case err == nil:
		out.Registry, out.Pin, out.Serial, out.Firmware = registered.State, registered.Pin, registered.Serial, registered.Firmware
	case !errors.Is(err, store.ErrNotFound):
		return out, err
	}
	if assigned, err := a.deps.Store.Assignment(ctx, d.ID); err == nil {
		out.Baseline = assigned.Baseline + " " + assigned.Version
	} else if desired, ok := f.Baseline(d); ok {
		out.Baseline = desired.Baseline + " " + desired.Version
	}
	if d.NetworkReset != nil {
		out.NetworkReset = d.NetworkReset.String()
	}
	state, err := a.deps.Store.DeviceState(ctx, q.ID)
	switch {
	case err == nil:
		out.State, out.Detail, out.CheckedAt = state.State, state.Detail, &state.CheckedAt
	case !errors.Is(err, store.ErrNotFound):
		return out, err
	}
	lease, err := a.deps.Store.LeaseOf(ctx, q.ID)
	switch {
	case err == nil:
		out.LeasedBy = lease.WorkflowID
	case !errors.Is(err, store.ErrNotFound):
		return out, err
	}
	if out.Incidents, err = a.askIncidentList(ctx, contract.IncidentQuery{DeviceID: q.ID, Limit: shown}); err != nil {
		return out, err
	}
	page, err := a.askAuditList(ctx, contract.AuditQuery{DeviceID: q.ID, Limit: shown, Newest: true})
	out.Ledger = page.Entries
	return out, err
}

func (a *Activities) askIncidentList(ctx context.Context, q contract.IncidentQuery) ([]contract.Incident, error) {
	list, err := a.deps.Store.Incidents(ctx, store.IncidentQuery{DeviceID: q.DeviceID, Status: q.Status, Limit: q.Limit})
	if err != nil {
		return nil, err
	}
	out := make([]contract.Incident, len(list))
	for i, row := range list {
		out[i] = contract.Incident(row)
		out[i].Detail = clip(row.Detail, maxListed)
	}
	return out, nil
}

func (a *Activities) askIncidentShow(ctx context.Context, q contract.IncidentQuery) (contract.IncidentDetail, error) {
	row, err := a.deps.Store.Incident(ctx, q.ID)
	if errors.Is(err, store.ErrNotFound) {
		return contract.IncidentDetail{}, permanent(contract.ErrNotFound, fmt.Errorf("no incident %q; see edgefleet incident list", q.ID))
	}
	if err != nil {
		return contract.IncidentDetail{}, err
	}
	out := contract.IncidentDetail{Incident: contract.Incident(row), Notes: []contract.Moment{}}
	notes, err := a.deps.Store.Notes(ctx, q.ID)
	if err != nil {
		return out, err
	}
	for _, n := range newest(notes, maxPage) {
		out.Notes = append(out.Notes, contract.Moment(n))
	}
	page, err := a.deps.Store.ListLedger(ctx, store.LedgerQuery{IncidentID: q.ID, Limit: 200, Newest: true})
	out.Ledger = newest(wireEntries(page.Entries), maxPage)
	return out, err
}

const (
	// maxPage bounds a list in an answer, in bytes of JSON: Temporal takes
	// 2 MiB in one payload, and an answer has two lists at most.
	maxPage = 512 << 10
	// maxListed bounds a detail in a list of incidents or devices, in bytes;
	// the whole of it is shown with the one.
	maxListed = 300
)

func (a *Activities) askAuditList(ctx context.Context, q contract.AuditQuery) (contract.AuditPage, error) {
	page, err := a.deps.Store.ListLedger(ctx, store.LedgerQuery{
		DeviceID: q.DeviceID, WorkflowID: q.WorkflowID, After: q.After, Limit: q.Limit, Newest: q.Newest})
	if err != nil {
		return contract.AuditPage{}, err
	}
	entries := wireEntries(page.Entries)
	if q.Newest {
		return contract.AuditPage{Entries: newest(entries, maxPage)}, nil
	}
	if n := fitting(slices.Values(entries), maxPage); n < len(entries) {
		return contract.AuditPage{Entries: entries[:n], Next: entries[n-1].Seq}, nil
	}
	return contract.AuditPage{Entries: entries, Next: page.Next}, nil
}

// newest returns as many of the last items as have room, and one at least.
func newest[T any](items []T, room int) []T {
	backward := func(yield func(T) bool) {
		for _, item := range slices.Backward(items) {
			if !yield(item) {
				return
			}
		}
	}
	return items[len(items)-fitting(backward, room):]
}

// fitting counts how many items, from the first on, have room together as
// JSON. The first counts always: a page that is empty would never end.
func fitting[T any](items iter.Seq[T], room int) int {
	n, size := 0, 0
	for item := range items {
		text, err := json.Marshal(item)
		if err != nil {
			// Plain structs of texts, numbers and times always have a rendering.
			panic(err)
		}
		if size += len(text) + 1; size > room && n > 0 {
			break
		}
		n++
	}
	return n
}

func wireEntries(list []store.LedgerEntry) []contract.LedgerEntry {
	out := make([]contract.LedgerEntry, len(list))
	for i, e := range list {
		out[i] = contract.LedgerEntry(e)
	}
	return out
}

func (a *Activities) askAuditVerify(ctx context.Context, q contract.AuditVerifyQuery) (contract.AuditVerdict, error) {
	v, err := a.deps.Store.Verify(ctx, store.Anchor{Seq: q.AnchorSeq, Hash: q.AnchorHash})
	return contract.AuditVerdict(v), err
}
