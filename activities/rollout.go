package activities

import (
	"context"
	"errors"
	"fmt"

	"go.temporal.io/sdk/activity"

	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

// beginRollout starts a plan, once, after it has seen that what the store has
// is what the hash was made of.
func (a *Activities) beginRollout(ctx context.Context, in contract.BeginRolloutInput) (contract.BegunRollout, error) {
	id := contract.RolloutOf(in.PlanHash)
	if id == "" {
		return contract.BegunRollout{}, permanent(contract.ErrConfig, fmt.Errorf("%.80q is not the hash of a plan", in.PlanHash))
	}
	plan, err := a.deps.Store.PlanByHash(ctx, in.PlanHash)
	if errors.Is(err, store.ErrNotFound) {
		return contract.BegunRollout{}, permanent(contract.ErrNotFound, fmt.Errorf("there is no plan with the hash %s; see edgefleet rollout list", in.PlanHash))
	}
	if err != nil {
		return contract.BegunRollout{}, err
	}
	rows, err := a.allPlanDevices(ctx, plan.PlanID)
	if err != nil {
		return contract.BegunRollout{}, err
	}
	switch hash, err := planHash(plan, rows); {
	case err != nil:
		return contract.BegunRollout{}, err
	case hash != in.PlanHash:
		return contract.BegunRollout{}, permanent(contract.ErrStore, fmt.Errorf("what the store has of the plan is not what its hash was made of: it was changed; find out who did that, and plan again"))
	}
	wire, err := wirePlan(plan)
	if err != nil {
		return contract.BegunRollout{}, err
	}
	if wire.Devices() == 0 {
		return contract.BegunRollout{}, permanent(contract.ErrConfig, errors.New("the plan changes no device, so there is nothing to do"))
	}
	own := owner(ctx)
	if err := a.refuseConflicts(ctx, id, rows); err != nil {
		return contract.BegunRollout{}, err
	}
	_, err = a.deps.Store.BeginRollout(ctx, store.Rollout{RolloutID: id, PlanID: plan.PlanID, State: contract.RolloutRunning,
		Actor: actorText(in.Actor), Reason: in.Reason, Owner: own})
	if errors.Is(err, store.ErrInvalid) {
		return contract.BegunRollout{}, permanent(contract.ErrConfig, err)
	}
	if err != nil {
		return contract.BegunRollout{}, err
	}
	return contract.BegunRollout{RolloutID: id, PlanID: plan.PlanID, PlanHash: plan.Hash, Baseline: plan.Baseline, Version: plan.Version,
		Requester: plan.Actor, Strategy: wire.Strategy, Waves: wire.Waves}, nil
}

// refuseConflicts refuses devices that a rollout has which began after the plan
// was made.
func (a *Activities) refuseConflicts(ctx context.Context, id string, rows []store.PlanDevice) error {
	var ids []string
	for _, r := range rows {
		if r.Wave > 0 {
			ids = append(ids, r.DeviceID)
		}
	}
	elsewhere, err := a.deps.Store.PlannedElsewhere(ctx, ids)
	if err != nil {
		return err
	}
	var named []string
	for _, device := range ids {
		if other := elsewhere[device]; other != "" && other != id {
			named = append(named, device+" (rollout "+other+")")
		}
	}
	if len(named) == 0 {
		return nil
	}
	return permanent(contract.ErrConfig, fmt.Errorf("another rollout has not ended that has devices of this one: %s; end it, or wait, and plan again", someOf(named)))
}

// noteRollout keeps how a rollout stands.
func (a *Activities) noteRollout(ctx context.Context, in contract.NoteRolloutInput) (bool, error) {
	by := in.Actor
	if in.By != "" {
		by = contract.Actor{Kind: contract.ActorOperator, Name: in.By}
	}
	return true, a.deps.Store.NoteRollout(ctx, store.RolloutNote{RolloutID: in.RolloutID, State: in.State, Detail: clip(in.Detail, maxDetail),
		Ended: in.Ended, Actor: actorText(by), Event: in.Event, Owner: owner(ctx), ActivityID: activity.GetInfo(ctx).ActivityID})
}

// groupOf is the redundancy group of a device, or "".
func (a *Activities) groupOf(deviceID string) string {
	d, _, err := a.deps.Operator().Fleet().Device(deviceID)
	if err != nil {
		return ""
	}
	return d.Redundancy
}

// maxLeft is the most devices that one page of work has.
const maxLeft = 1000

// rolloutLeft returns what is left to do, or the devices that were healthy at
// the last look.
func (a *Activities) rolloutLeft(ctx context.Context, in contract.RolloutLeftInput) (contract.RolloutLeft, error) {
	r, err := a.deps.Store.Rollout(ctx, in.RolloutID)
	if err != nil {
		return contract.RolloutLeft{}, err
	}
	limit := min(max(in.Limit, 1), maxLeft)
	if in.Healthy {
		return a.healthyOf(ctx, r, in, limit)
	}
	list, err := a.deps.Store.LeftOfRollout(ctx, r, in.UpTo, in.After, limit)
	if err != nil {
		return contract.RolloutLeft{}, err
	}
	out := contract.RolloutLeft{Devices: make([]contract.RolloutRef, len(list))}
	for i, d := range list {
		out.Devices[i] = contract.RolloutRef{DeviceRef: contract.DeviceRef{ID: d.DeviceID, Site: d.Site, Region: d.Region}, Calendar: d.Calendar, Takes: d.Takes,
			Group: a.groupOf(d.DeviceID)}
	}
	if len(list) == limit {
		out.Next = list[limit-1].DeviceID
	}
	return out, nil
}

// healthyOf returns devices of the wave that have the new settings and were
// healthy with them.
func (a *Activities) healthyOf(ctx context.Context, r store.Rollout, in contract.RolloutLeftInput, limit int) (contract.RolloutLeft, error) {
	rows, err := a.deps.Store.PlanDevices(ctx, store.PlanDeviceQuery{PlanID: r.PlanID, Wave: &in.UpTo, After: in.After, Limit: limit})
	if err != nil || len(rows) == 0 {
		return contract.RolloutLeft{Devices: []contract.RolloutRef{}}, err
	}
	became := map[string]store.RolloutDevice{}
	for after := in.After; ; {
		page, err := a.deps.Store.RolloutDevices(ctx, store.RolloutDeviceQuery{RolloutID: r.RolloutID, After: after, Limit: 1000})
		if err != nil {
			return contract.RolloutLeft{}, err
		}
		for _, d := range page {
			became[d.DeviceID] = d
		}
		if len(page) < 1000 || page[len(page)-1].DeviceID >= rows[len(rows)-1].DeviceID {
			break
		}
		after = page[len(page)-1].DeviceID
	}
	out := contract.RolloutLeft{Devices: []contract.RolloutRef{}}
	for _, d := range rows {
		// A device that was healthy once has its assignment, also when a look
		// found it otherwise since.
		if now := became[d.DeviceID]; now.EndedAt != nil && now.Assigned {
			out.Devices = append(out.Devices, contract.RolloutRef{DeviceRef: contract.DeviceRef{ID: d.DeviceID, Site: d.Site, Region: d.Region}})
		}
	}
	if len(rows) == limit {
		out.Next = rows[limit-1].DeviceID
	}
	return out, nil
}

// tryAgain lets what did not come to a good end come to its turn again.
func (a *Activities) tryAgain(ctx context.Context, in contract.TryAgainInput) (contract.TryAgainResult, error) {
	states := []string{contract.DeviceFailed, contract.DeviceUnknown, contract.DeviceNotBegun}
	if len(in.Devices) > 0 {
		// Who names a device that was left out, or left alone because it had
		// changed, means that one. It is compared with the plan once more.
		states = append(states, contract.DeviceSkipped, contract.DeviceChanged)
	}
	n, err := a.deps.Store.TryAgain(ctx, in.RolloutID, states, in.Devices)
	if err != nil {
		return contract.TryAgainResult{}, err
	}
	return contract.TryAgainResult{Devices: n}, nil
}

// rolloutTally counts what became of the devices.
func (a *Activities) rolloutTally(ctx context.Context, in contract.RolloutTallyInput) (contract.RolloutTally, error) {
	r, err := a.deps.Store.Rollout(ctx, in.RolloutID)
	if err != nil {
		return contract.RolloutTally{}, err
	}
	counts, err := a.deps.Store.CountRollout(ctx, r)
	out := contract.RolloutTally{Waves: []contract.WaveTally{}}
	for _, c := range counts {
		if n := len(out.Waves); n == 0 || out.Waves[n-1].Wave != c.Wave {
			out.Waves = append(out.Waves, contract.WaveTally{Wave: c.Wave})
		}
		if c.Ended {
			out.Waves[len(out.Waves)-1].Add(c.State, c.Unsafe, c.Devices)
		}
	}
	return out, err
}
