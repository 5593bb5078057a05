package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aymanbagabas/go-udiff"

	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

// askRolloutList answers with the newest rollouts, and the plans that were not
// started and have not expired.
func (a *Activities) askRolloutList(ctx context.Context, q contract.RolloutQuery) ([]contract.RolloutSummary, error) {
	limit := 50
	if q.Limit > 0 {
		limit = min(q.Limit, 1000)
	}
	plans, err := a.deps.Store.Plans(ctx, limit)
	if err != nil {
		return nil, err
	}
	rollouts, err := a.deps.Store.Rollouts(ctx, limit)
	if err != nil {
		return nil, err
	}
	byPlan := map[string]store.Rollout{}
	for _, r := range rollouts {
		byPlan[r.PlanID] = r
	}
	out := []contract.RolloutSummary{}
	for _, p := range plans {
		if p.State != store.PlanFrozen {
			continue
		}
		row, err := a.rolloutSummary(ctx, p, byPlan)
		if err != nil {
			return nil, err
		}
		if q.State == "" || q.State == row.State {
			out = append(out, row)
		}
	}
	return out[:fitting(slices.Values(out), maxPage)], nil
}

// statePlanned is the state of a plan that was not started.
const statePlanned = "planned"

func (a *Activities) rolloutSummary(ctx context.Context, p store.Plan, started map[string]store.Rollout) (contract.RolloutSummary, error) {
	wire, err := wirePlan(p)
	if err != nil {
		return contract.RolloutSummary{}, err
	}
	row := contract.RolloutSummary{PlanHash: p.Hash, Kind: p.Kind, Baseline: p.Baseline, Version: p.Version, State: statePlanned, Total: wire.Devices(),
		Requester: p.Actor, Reason: p.Reason, CreatedAt: p.CreatedAt, ExpiresAt: wire.ExpiresAt}
	r, ok := started[p.PlanID]
	if !ok {
		return row, nil
	}
	row.RolloutID, row.State, row.Detail = r.RolloutID, r.State, clip(r.Detail, maxListed)
	row.StartedAt, row.EndedAt = &r.StartedAt, r.EndedAt
	counts, err := a.deps.Store.CountRollout(ctx, r)
	for _, c := range counts {
		if c.Ended {
			row.Add(c.State, c.Unsafe, c.Devices)
		}
	}
	return row, err
}

func (a *Activities) planAsked(ctx context.Context, q contract.RolloutQuery) (store.Plan, error) {
	p, err := a.deps.Store.PlanByHash(ctx, strings.ToLower(strings.TrimSpace(q.Plan)))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return p, permanent(contract.ErrNotFound, fmt.Errorf("there is no plan or rollout %q; see edgefleet rollout list", q.Plan))
	case errors.Is(err, store.ErrInvalid):
		return p, permanent(contract.ErrConfig, err)
	}
	return p, err
}

// askRolloutPlan answers with a plan and a page of its devices: those of the
// waves, or those that are left out.
func (a *Activities) askRolloutPlan(ctx context.Context, q contract.RolloutQuery) (contract.RolloutPlanPage, error) {
	p, err := a.planAsked(ctx, q)
	if err != nil {
		return contract.RolloutPlanPage{}, err
	}
	wire, err := wirePlan(p)
	if err != nil {
		return contract.RolloutPlanPage{}, err
	}
	limit := 500
	if q.Limit > 0 {
		limit = min(q.Limit, 1000)
	}
	rows, err := a.deps.Store.PlanDevices(ctx, store.PlanDeviceQuery{PlanID: p.PlanID, After: q.After, Limit: limit})
	if err != nil {
		return contract.RolloutPlanPage{}, err
	}
	out := contract.RolloutPlanPage{RolloutPlan: wire, Devices: make([]contract.PlannedDevice, len(rows))}
	for i, r := range rows {
		out.Devices[i] = contract.PlannedDevice{DeviceRef: contract.DeviceRef{ID: r.DeviceID, Site: r.Site, Region: r.Region},
			Wave: r.Wave, Excluded: r.Excluded, Detail: clip(r.Detail, maxListed), Window: calendarText(wire.Strategy, r.Calendar), Takes: r.Takes}
		if q.Detail && r.Wave > 0 {
			out.Devices[i].Changes = wireChanges(r.Changes)
		}
	}
	more := len(rows) == limit
	if n := fitting(slices.Values(out.Devices), maxPage); n < len(out.Devices) {
		out.Devices, more = out.Devices[:n], true
	}
	if more {
		out.Next = out.Devices[len(out.Devices)-1].ID
	}
	return out, nil
}

const (
	// maxDiff bounds the diff of one file, in bytes.
	maxDiff = 8 << 10
	// diffed bounds the files that are compared line by line.
	diffed = 256 << 10
)

func wireChanges(list []store.PlannedChange) []contract.PlannedChange {
	out := make([]contract.PlannedChange, len(list))
	for i, c := range list {
		out[i] = contract.PlannedChange{Setting: c.Setting, Before: c.BeforeText, After: c.AfterText, Unit: c.Unit}
		if c.File && len(c.Before)+len(c.After) < diffed {
			out[i].Diff = clip(udiff.Unified("before", "after", c.Before, c.After), maxDiff)
		}
	}
	return out
}

// askRolloutDevices answers with what became of the devices of a rollout.
func (a *Activities) askRolloutDevices(ctx context.Context, q contract.RolloutQuery) (contract.RolloutDevicePage, error) {
	p, err := a.planAsked(ctx, q)
	if err != nil {
		return contract.RolloutDevicePage{}, err
	}
	limit := 500
	if q.Limit > 0 {
		limit = min(q.Limit, 1000)
	}
	rows, err := a.deps.Store.RolloutDevices(ctx, store.RolloutDeviceQuery{RolloutID: contract.RolloutOf(p.Hash), State: q.State, After: q.After, Limit: limit})
	if err != nil {
		return contract.RolloutDevicePage{}, err
	}
	out := contract.RolloutDevicePage{Devices: make([]contract.RolloutDevice, len(rows))}
	for i, d := range rows {
		out.Devices[i] = contract.RolloutDevice{DeviceID: d.DeviceID, State: d.State, Unsafe: d.Unsafe, Touched: d.Touched, Reason: d.Reason,
			Detail: clip(d.Detail, maxListed), Attempts: d.Attempts, BeganAt: d.BeganAt, EndedAt: d.EndedAt}
	}
	more := len(rows) == limit
	if n := fitting(slices.Values(out.Devices), maxPage); n < len(out.Devices) {
		out.Devices, more = out.Devices[:n], true
	}
	if more {
		out.Next = out.Devices[len(out.Devices)-1].DeviceID
	}
	return out, nil
}
