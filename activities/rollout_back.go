package activities

import (
	"context"
	"errors"

	"edgefleet/devices/fleet"
	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

// rollbackLeft returns the devices to which something may have been written,
// and that are not as before.
func (a *Activities) rollbackLeft(ctx context.Context, in contract.RolloutLeftInput) (contract.RolloutLeft, error) {
	r, err := a.deps.Store.Rollout(ctx, in.RolloutID)
	if err != nil {
		return contract.RolloutLeft{}, err
	}
	limit := min(max(in.Limit, 1), maxLeft)
	list, err := a.deps.Store.RolloutDevices(ctx, store.RolloutDeviceQuery{RolloutID: r.RolloutID, Touched: true, After: in.After, Limit: limit})
	if err != nil {
		return contract.RolloutLeft{}, err
	}
	out := contract.RolloutLeft{Devices: []contract.RolloutRef{}}
	for _, d := range list {
		if d.State == contract.DeviceBack {
			continue
		}
		row, err := a.deps.Store.PlanDevice(ctx, r.PlanID, d.DeviceID)
		if err != nil {
			return contract.RolloutLeft{}, err
		}
		out.Devices = append(out.Devices, contract.RolloutRef{DeviceRef: contract.DeviceRef{ID: d.DeviceID, Site: row.Site, Region: row.Region}})
	}
	if len(list) == limit {
		out.Next = list[limit-1].DeviceID
	}
	return out, nil
}

// rollBackDevice gives a device back what it had before the rollout, under a
// lease of its own.
func (a *Activities) rollBackDevice(ctx context.Context, in contract.RollBackDeviceInput) (contract.DeviceVerdict, error) {
	out, err := a.rollBackLeased(ctx, in)
	if errors.Is(err, store.ErrLeaseLost) {
		err = transient(contract.ErrLeaseLost, err)
	}
	return out, err
}

func (a *Activities) rollBackLeased(ctx context.Context, in contract.RollBackDeviceInput) (contract.DeviceVerdict, error) {
	r, err := a.rolling(ctx, in.RolloutID, in.DeviceID)
	if err != nil {
		return contract.DeviceVerdict{}, err
	}
	if r.was.State == contract.DeviceBack {
		if retried(ctx) {
			a.letGo(ctx, in.RolloutID, in.DeviceID)
		}
		return verdictOf(r.was), nil
	}
	keep := func(why error) (contract.DeviceVerdict, error) {
		reason, _ := reasonOf(ctx, why)
		d := r.present(ctx, contract.DeviceKept, reason, why.Error())
		d.Unsafe = true
		kept, err := a.deps.Store.UndoRolloutDevice(ctx, d, false)
		return verdictOf(kept), err
	}
	op, err := a.operator(in.DeviceID)
	if err != nil {
		return keep(err)
	}
	say, stop := heartbeat(ctx)
	defer stop()
	lease, err := a.together(ctx, op, in.DeviceID, owner(ctx), false)
	if held := heldBy(err); held != nil && in.Yield {
		return waits(in.DeviceID, held, err), nil
	}
	if err != nil {
		return contract.DeviceVerdict{}, err
	}
	defer a.release(ctx, lease)
	in.LeaseToken = lease.Token
	defer a.hush(ctx, in.Silence, in.RolloutID, in.Scope)()

	if r.plan.Kind == store.PlanPatch {
		return a.unpatchDevice(ctx, op, r, in, say, keep)
	}
	wrote, had, all := map[string]string{}, map[string]string{}, map[string]string{}
	for name, value := range r.row.Settings {
		all[name] = value
	}
	for _, c := range r.row.Changes {
		wrote[c.Setting], had[c.Setting], all[c.Setting] = c.After, c.Before, c.Before
	}
	j := newJournal(ctx, a.deps.Store, in.Scope, contract.ActivityRollBackDevice, fleet.Change{Action: fleet.ActionWriteSettings, Target: in.DeviceID})
	j.planHash = r.plan.Hash
	back, err := op.Restore(ctx, in.DeviceID, wrote, had, j, say)
	switch {
	case err != nil && !final(err):
		return contract.DeviceVerdict{}, err
	case err != nil:
		return keep(err)
	case len(back.Kept) > 0:
		return keep(errors.New("somebody else has changed it since, so this was left alone: " + keptText(back.Kept)))
	}
	return a.restored(ctx, op, r, in, all, back, say)
}

// restored gives a device that is as before its verdict. Whether it is healthy
// is said, and decides nothing: there is no other way back.
func (a *Activities) restored(ctx context.Context, op *fleet.Operator, r *rollingDevice, in contract.RollBackDeviceInput,
	all map[string]string, back fleet.Restoration, say func(string)) (contract.DeviceVerdict, error) {
	detail, unsafe := "it had what it had before", false
	if back.Written {
		detail = "it has what it had before"
	}
	before, err := op.DesiredOf(in.DeviceID, "its settings", "before the rollout", all)
	if err == nil {
		var health fleet.HealthReport
		health, err = op.AwaitHealthy(ctx, in.DeviceID, before, say)
		if err == nil && !health.Healthy {
			detail, unsafe = detail+", and is not healthy: "+health.Detail, true
		}
	}
	if err != nil {
		detail, unsafe = detail+"; whether it is healthy could not be found out: "+err.Error(), true
	}
	d := r.present(ctx, contract.DeviceBack, "", detail)
	d.Unsafe = unsafe
	ended, err := a.deps.Store.UndoRolloutDevice(ctx, d, true)
	return verdictOf(ended), err
}

func keptText(kept []fleet.SettingDrift) string {
	text := ""
	for i, k := range kept[:min(len(kept), 5)] {
		if i > 0 {
			text += "; "
		}
		text += k.Setting + " is " + k.Got + ", and " + k.Want + " was written"
	}
	return text
}
