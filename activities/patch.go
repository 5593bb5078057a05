package activities

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.uber.org/zap"

	"edgefleet/devices"
	"edgefleet/devices/fleet"
	"edgefleet/devices/fleetdir"
	"edgefleet/devices/inventory"
	"edgefleet/devices/patch"
	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

// target is what a plan is to bring to devices: a baseline, or a patch.
type target struct {
	kind, name, version, file, source string
	devices                           []inventory.Device
	// none says that there is no device, before it is narrowed.
	none string
}

// targetOf reads what a planning is asked for.
func targetOf(f *fleetdir.Fleet, in contract.PlanRolloutInput) (target, error) {
	if in.Patch != "" {
		return patchTarget(f, in.Patch)
	}
	c, err := candidate(f, in.File, in.Text)
	if err != nil {
		return target{}, err
	}
	b := c.Baseline
	return target{name: b.Name, version: b.Version, file: in.File, source: in.Text, devices: c.Devices,
		none: fmt.Sprintf("has the profile %s and is selected by %s", b.Profile.Name, in.File)}, nil
}

func patchTarget(f *fleetdir.Fleet, name string) (target, error) {
	p, ok := f.Patches.Patch(name)
	if !ok {
		known := strings.Join(f.Patches.Names(), ", ")
		if known == "" {
			known = "none"
		}
		return target{}, permanent(contract.ErrNotFound, fmt.Errorf("there is no patch %.80q; the fleet directory's folder %s has %s", name, fleetdir.PatchesDir, known))
	}
	if len(f.Inventory.Security.PatchKeys) == 0 {
		return target{}, permanent(contract.ErrConfig, errors.New("the fleet has no key to check the signatures of patches by; declare fleet.security.patch_keys"))
	}
	t := target{kind: store.PlanPatch, name: p.Name, version: p.Version, file: p.Source, source: p.Text,
		none: fmt.Sprintf("has the profile %s and is selected by %s", p.Profile, p.Source)}
	for _, d := range f.Inventory.Devices {
		if p.Selects(d) {
			t.devices = append(t.devices, d)
		}
	}
	return t, nil
}

// plannedPatch is the patch of a plan, exactly as it was when it was planned.
func plannedPatch(f *fleetdir.Fleet, plan store.Plan) (*patch.Patch, error) {
	p, problems := patch.Parse(plan.File, []byte(plan.Source), f.Profiles)
	if err := problems.Err(); err != nil {
		return nil, permanent(contract.ErrConfig, err)
	}
	return p, nil
}

// planPatch says of one device what the patch would do, or why it is left out.
// The only errors are the store's and the context's.
func (a *Activities) planPatch(ctx context.Context, op *fleet.Operator, p *patch.Patch, downgrade bool, row store.PlanDevice) (store.PlanDevice, error) {
	looking, cancel := context.WithTimeout(ctx, planDeviceWithin)
	defer cancel()
	found, err := op.PlanPatch(looking, row.DeviceID, p, downgrade)
	if err != nil {
		return a.unplanned(ctx, looking, op, row, err)
	}
	if found.From != "" {
		a.sawVersion(ctx, row.DeviceID, found.From)
	}
	if why, ok := map[fleet.PatchSkip]string{fleet.PatchThere: contract.ExcludedInSync, fleet.PatchDowngrade: contract.ExcludedDowngrade,
		fleet.PatchNotFor: contract.ExcludedRefused}[found.Skip]; ok {
		return excluded(row, why, "%s", found.Detail), nil
	}
	_, model, err := op.Fleet().Device(row.DeviceID)
	if err != nil {
		return row, err
	}
	row.Excluded, row.Detail, row.Takes = "", "", found.Takes
	row.Settings = map[string]string{model.Firmware: found.To}
	row.Changes = []store.PlannedChange{{Setting: model.Firmware, Before: found.From, After: found.To, BeforeText: found.From, AfterText: found.To}}
	return row, nil
}

// sawVersion keeps what a device said that it runs, for the report. That it
// fails must not fail what was done.
func (a *Activities) sawVersion(ctx context.Context, deviceID, version string) {
	if err := a.deps.Store.SawVersion(context.WithoutCancel(ctx), deviceID, version); err != nil {
		a.deps.Logger.Warn("the device's version was not kept", zap.String("device", deviceID), zap.Error(err))
	}
}

// patchWork is what was planned for a device.
func patchWork(f *fleetdir.Fleet, r *rollingDevice) (fleet.PatchWork, error) {
	p, err := plannedPatch(f, r.plan)
	if err != nil {
		return fleet.PatchWork{}, err
	}
	s, err := strategyOf(r.plan)
	if err != nil {
		return fleet.PatchWork{}, err
	}
	if len(r.row.Changes) != 1 {
		return fleet.PatchWork{}, permanent(contract.ErrStore, fmt.Errorf("plan %s has %d changes of %s, want the version alone", r.plan.PlanID, len(r.row.Changes), r.row.DeviceID))
	}
	return fleet.PatchWork{DeviceID: r.row.DeviceID, Patch: p, From: r.row.Changes[0].Before, Downgrade: s.AllowDowngrade}, nil
}

// patchDevice installs a planned patch on a device that is leased.
func (a *Activities) patchDevice(ctx context.Context, op *fleet.Operator, r *rollingDevice, in contract.RollOutDeviceInput, say func(string)) (contract.DeviceVerdict, error) {
	work, err := patchWork(op.Fleet(), r)
	if err != nil {
		return r.end(ctx, contract.DeviceFailed, err, false)
	}
	work.Allow = func(ctx context.Context) error {
		if err := a.inWindow(in); err != nil {
			return err
		}
		return ofStore(r.touch(ctx))
	}
	j := newJournal(ctx, a.deps.Store, in.Scope, contract.ActivityRollOutDevice, fleet.Change{Action: fleet.ActionInstallPatch, Target: in.DeviceID})
	j.planHash = r.plan.Hash
	done, err := op.ApplyPatch(ctx, work, j, say)
	if done.Now != "" {
		a.sawVersion(ctx, in.DeviceID, done.Now)
	}
	switch {
	case errors.Is(err, errClosed):
		return contract.DeviceVerdict{DeviceID: in.DeviceID, State: contract.DeviceNotInTime, Detail: err.Error()}, nil
	case errors.Is(err, fleet.ErrChanged):
		return r.end(ctx, contract.DeviceChanged, err, false)
	case err != nil && !final(err):
		return contract.DeviceVerdict{}, err
	case err != nil:
		return r.end(ctx, contract.DeviceFailed, err, done.Unsafe)
	}
	a.remember(ctx, in.DeviceID, stateHealthy, done.Detail)
	state := contract.DeviceAlready
	if done.Installed || r.was.Touched {
		state = contract.DeviceHealthy
	}
	// A patch assigns no settings.
	ended, err := a.deps.Store.EndRolloutDevice(ctx, r.present(ctx, state, "", done.Detail), store.Ending{})
	return verdictOf(ended), err
}

// unpatchDevice gives a device that is leased back what it ran before a patch.
func (a *Activities) unpatchDevice(ctx context.Context, op *fleet.Operator, r *rollingDevice, in contract.RollBackDeviceInput, say func(string),
	keep func(error) (contract.DeviceVerdict, error)) (contract.DeviceVerdict, error) {
	work, err := patchWork(op.Fleet(), r)
	if err != nil {
		return keep(err)
	}
	j := newJournal(ctx, a.deps.Store, in.Scope, contract.ActivityRollBackDevice, fleet.Change{Action: fleet.ActionRevertPatch, Target: in.DeviceID})
	j.planHash = r.plan.Hash
	back, err := op.RevertPatch(ctx, work, j, say)
	if back.Now != "" {
		a.sawVersion(ctx, in.DeviceID, back.Now)
	}
	switch {
	case err != nil && !final(err):
		return contract.DeviceVerdict{}, err
	case err != nil:
		return keep(err)
	}
	ended, err := a.deps.Store.UndoRolloutDevice(ctx, r.present(ctx, contract.DeviceBack, "", back.Detail), true)
	return verdictOf(ended), err
}

// patchWell says whether a patched device runs what it was given, and is well.
func patchWell(ctx context.Context, op *fleet.Operator, r *rollingDevice) (fleet.HealthReport, error) {
	work, err := patchWork(op.Fleet(), r)
	if err != nil {
		return fleet.HealthReport{}, err
	}
	// Allowing downgrades, the plan says nothing but what it runs.
	found, err := op.PlanPatch(ctx, work.DeviceID, work.Patch, true)
	if err != nil {
		return fleet.HealthReport{}, err
	}
	if found.Skip != fleet.PatchThere {
		return fleet.HealthReport{DeviceID: work.DeviceID, Detail: fmt.Sprintf("it runs %s, and %s was installed", found.From, work.Patch.Version)}, nil
	}
	well, err := op.CheckWell(ctx, work.DeviceID)
	return fleet.HealthReport{DeviceID: work.DeviceID, Healthy: well.Well, Detail: well.Detail}, err
}

// together takes a device that is not to be in work beside its partners. With
// well, the partners have to be well besides: that it could not be found out is
// no reason to believe it.
func (a *Activities) together(ctx context.Context, op *fleet.Operator, deviceID string, own store.Owner, well bool) (store.Lease, error) {
	d, _, err := op.Fleet().Device(deviceID)
	if err != nil {
		return store.Lease{}, err
	}
	partners := op.Fleet().Inventory.Partners(d)
	ids := make([]string, len(partners))
	for i, p := range partners {
		ids[i] = p.ID
	}
	lease, err := seize(ctx, a, func() (store.Lease, error) { return a.deps.Store.AcquireLeaseApart(ctx, deviceID, ids, own) })
	if err != nil || !well {
		return lease, err
	}
	for _, id := range ids {
		if err := partnerWell(ctx, op, id); err != nil {
			a.release(ctx, lease)
			return store.Lease{}, transient(contract.ErrLeaseHeld, fmt.Errorf("%s waits for its partner in %s: %w", deviceID, d.Redundancy, err))
		}
	}
	return lease, nil
}

func partnerWell(ctx context.Context, op *fleet.Operator, id string) error {
	looking, cancel := context.WithTimeout(ctx, planDeviceWithin)
	defer cancel()
	report, err := op.CheckWell(looking, id)
	switch {
	case err != nil:
		return fmt.Errorf("whether %s is well could not be found out: %w", id, err)
	case !report.Well:
		return fmt.Errorf("%s is not well: %s", id, report.Detail)
	}
	return nil
}

// unplanned leaves out a device that could not be looked at.
func (a *Activities) unplanned(ctx, looking context.Context, op *fleet.Operator, row store.PlanDevice, err error) (store.PlanDevice, error) {
	if ctx.Err() != nil {
		return row, context.Cause(ctx)
	}
	switch devices.KindOf(err) {
	case devices.Unreachable:
		diagnosis, probeErr := op.Probe(looking, row.DeviceID)
		if probeErr == nil && !diagnosis.Reachable {
			return excluded(row, contract.ExcludedUnreachable, "%s", diagnosis.Summary), nil
		}
		return excluded(row, contract.ExcludedUnreadable, "%v", errors.Join(err, probeErr)), nil
	case devices.Rejected, devices.Unsupported, devices.Auth:
		return excluded(row, contract.ExcludedRefused, "%v", err), nil
	}
	return excluded(row, contract.ExcludedUnreadable, "%v", err), nil
}

// excluded is the row of a device that is left out.
func excluded(row store.PlanDevice, why, format string, args ...any) store.PlanDevice {
	row.Excluded, row.Detail, row.Changes, row.Settings = why, clip(fmt.Sprintf(format, args...), maxWhy), nil, nil
	return row
}
