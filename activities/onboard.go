package activities

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/activity"
	"go.uber.org/zap"

	"edgefleet/devices"
	"edgefleet/devices/fleet"
	"edgefleet/devices/fleetdir"
	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

// selectDevices resolves a selection. Every ID that is not declared is named
// at once.
func (a *Activities) selectDevices(ctx context.Context, sel contract.Selection) (contract.Selected, error) {
	f := a.deps.Operator().Fleet()
	wanted := map[string]bool{}
	var unknown []string
	for _, id := range sel.IDs {
		if _, _, err := f.Device(id); err != nil && !wanted[id] {
			unknown = append(unknown, id)
		}
		wanted[id] = true
	}
	if len(unknown) > 0 {
		return contract.Selected{}, permanent(contract.ErrUnknownDevice,
			fmt.Errorf("the fleet does not declare %s; declare them, or correct the names", someOf(unknown)))
	}
	registered, err := between("", "", func(after string) ([]store.Registered, error) {
		return a.deps.Store.ListRegistered(ctx, store.RegisteredQuery{State: store.StateOnboarded, After: after, Limit: 1000})
	}, func(r store.Registered) string { return r.DeviceID })
	if err != nil {
		return contract.Selected{}, err
	}
	out := contract.Selected{Devices: []contract.DeviceRef{}, Revision: f.Revision()}
	known := false
	for _, d := range f.Inventory.Devices {
		if !selects(sel, wanted, d.ID, d.Site, d.Region) {
			continue
		}
		known = true
		if r, ok := registered[d.ID]; ok && !sel.Again && r.DeclaredHash == f.DeclaredHash(d) {
			out.Skipped++
			continue
		}
		out.Devices = append(out.Devices, contract.DeviceRef{ID: d.ID, Site: d.Site, Region: d.Region})
	}
	switch {
	case known || sel.All:
	case sel.Site != "":
		return out, permanent(contract.ErrNotFound, fmt.Errorf("the fleet declares no device at site %q; see edgefleet device list", sel.Site))
	default:
		return out, permanent(contract.ErrNotFound, fmt.Errorf("the fleet declares no device in region %q; see edgefleet device list", sel.Region))
	}
	return out, nil
}

// someOf names the first of many, so that an error keeps its size.
func someOf(names []string) string {
	const most = 50
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

func selects(sel contract.Selection, wanted map[string]bool, id, site, region string) bool {
	switch {
	case len(sel.IDs) > 0:
		return wanted[id]
	case sel.All:
		return true
	case sel.Site != "":
		return sel.Site == site
	}
	return sel.Region != "" && sel.Region == region
}

// onboard takes one device into service, under a lease of its own: between two
// attempts the device is free, and the journal finds what was changed.
func (a *Activities) onboard(ctx context.Context, in contract.OnboardDeviceInput) (contract.OnboardDeviceResult, error) {
	out, err := a.onboardLeased(ctx, in)
	if errors.Is(err, store.ErrLeaseLost) {
		// It is this attempt's own lease that is gone: another attempt of the
		// same activity, taken for dead, may have given it back. The next one
		// takes the device anew, and the journal knows how far this one came.
		err = transient(contract.ErrLeaseLost, err)
	}
	if !out.Later {
		return out, err
	}
	failure := contract.OnboardFailure{Detail: clip(err.Error(), maxWhy)}
	var detailed *detailedError
	if errors.As(err, &detailed) {
		failure, _ = detailed.details.(contract.OnboardFailure)
	}
	failure.DeviceID = in.DeviceID
	failure.Reason, _ = reasonOf(ctx, err)
	a.deps.Logger.Info("device not onboarded yet", zap.String("device", in.DeviceID), zap.Error(err))
	return contract.OnboardDeviceResult{DeviceID: in.DeviceID, Failure: &failure, Later: true}, nil
}

// onboardLeased is one attempt. With an error it says by Later whether the
// caller is to try again by another activity.
func (a *Activities) onboardLeased(ctx context.Context, in contract.OnboardDeviceInput) (contract.OnboardDeviceResult, error) {
	op, err := a.operator(in.DeviceID)
	if err != nil {
		return contract.OnboardDeviceResult{}, err
	}
	say, stop := heartbeat(ctx)
	defer stop()
	own := owner(ctx)
	lease, err := seize(ctx, a, func() (store.Lease, error) { return a.deps.Store.AcquireLease(ctx, in.DeviceID, own) })
	if err != nil {
		return contract.OnboardDeviceResult{Later: a.yields(ctx, in, err)}, err
	}
	defer a.release(ctx, lease)
	in.LeaseToken = lease.Token
	opts, err := a.onboardOptions(ctx, in)
	if err != nil {
		return contract.OnboardDeviceResult{}, err
	}
	found, err := op.Onboard(ctx, in.DeviceID, opts, a.onboardJournal(ctx, in), say)
	reg := a.registration(ctx, op.Fleet(), in, found)
	reg.Phases = registryPhases(found, err != nil || found.Failed != "")
	if err != nil {
		phase := string(found.Phases[len(found.Phases)-1].Phase)
		reg.Detail = clip(phase+": "+err.Error(), maxWhy)
		if devices.KindOf(err) == devices.Unreachable {
			a.remember(ctx, in.DeviceID, stateUnreachable, err.Error())
		}
		later := a.yields(ctx, in, err)
		why := err
		if !later || in.Final {
			err = errors.Join(err, a.registerFailed(ctx, reg))
		}
		return contract.OnboardDeviceResult{Later: later}, onboardError(in.DeviceID, phase, why, err)
	}
	out := contract.OnboardDeviceResult{DeviceID: in.DeviceID, Phases: phaseTimes(found.Phases), Undone: found.Undone}
	if found.Failed != "" {
		reason := kinds[found.Kind].reason
		if found.Failed == fleet.PhaseVerify && found.Kind == devices.Rejected {
			reason = contract.ErrNotHealthy
			a.remember(ctx, in.DeviceID, stateUnhealthy, found.Why)
		}
		reg.Detail = clip(string(found.Failed)+": "+found.Why, maxWhy)
		out.Failure = &contract.OnboardFailure{DeviceID: in.DeviceID, Phase: string(found.Failed), Reason: reason, Detail: clip(found.Why, maxWhy)}
		return out, a.registerFailed(ctx, reg)
	}
	began := time.Now()
	reg.State = store.StateOnboarded
	if err := a.assignDeclared(ctx, op, in); err != nil {
		return contract.OnboardDeviceResult{}, onboardError(in.DeviceID, contract.PhaseRegister, err, err)
	}
	if _, err := a.deps.Store.Register(ctx, reg); err != nil {
		return contract.OnboardDeviceResult{}, onboardError(in.DeviceID, contract.PhaseRegister, err, err)
	}
	a.remember(ctx, in.DeviceID, stateHealthy, "onboarded")
	out.Phases = append(out.Phases, contract.PhaseTime{Phase: contract.PhaseRegister, Took: time.Since(began)})
	return out, nil
}

// onboardOptions are what the caller decided, with what the registry knows of
// a device that is in service.
func (a *Activities) onboardOptions(ctx context.Context, in contract.OnboardDeviceInput) (fleet.OnboardOptions, error) {
	opts := fleet.OnboardOptions{TrustFirstUse: in.TrustFirstUse, AcceptReplacement: in.AcceptReplacement}
	r, err := a.deps.Store.Registered(ctx, in.DeviceID)
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return opts, ofStore(err)
	case r.OnboardedAt != nil && r.State != store.StateDecommissioned:
		opts.Serial = r.Serial
	}
	return opts, nil
}

func (a *Activities) onboardJournal(ctx context.Context, in contract.OnboardDeviceInput) *journal {
	return newJournal(ctx, a.deps.Store, in.Scope, contract.ActivityOnboard, fleet.Change{Action: fleet.ActionWriteSettings, Target: in.DeviceID})
}

// yields says whether a device is left to another try of the caller's: what
// keeps it may pass, and this activity has done nothing to it. An attempt that
// had begun is known by its captures, which another activity would not find, so
// it is retried in place.
func (a *Activities) yields(ctx context.Context, in contract.OnboardDeviceInput, err error) bool {
	if !in.Yield || ctx.Err() != nil {
		return false
	}
	switch reason, _ := reasonOf(ctx, err); reason {
	case contract.ErrUnreachable, contract.ErrBusy, contract.ErrOwnPath, contract.ErrLeaseHeld:
		captured, err := a.onboardJournal(ctx, in).Captured(ctx, in.DeviceID)
		return err == nil && len(captured) == 0
	}
	return false
}

// release gives back the lease that an activity took for itself, also when its
// own time is over.
func (a *Activities) release(ctx context.Context, lease store.Lease) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := a.deps.Store.ReleaseLease(ctx, lease.DeviceID, lease.Token); err != nil {
		a.deps.Logger.Warn("the lease was not released; housekeeping does it", zap.String("device", lease.DeviceID), zap.Error(err))
	}
}

// onboardError is err with where the onboarding stands, and why it stands there.
func onboardError(deviceID, phase string, why, err error) error {
	return &detailedError{err: err,
		details: contract.OnboardFailure{DeviceID: deviceID, Phase: phase, Detail: clip(why.Error(), maxWhy)}}
}

// maxWhy bounds what the registry keeps of a failure, in bytes.
const maxWhy = 2000

func (a *Activities) registerFailed(ctx context.Context, reg store.Registration) error {
	if ctx.Err() != nil {
		return nil
	}
	_, err := a.deps.Store.FailRegistration(ctx, reg)
	return err
}

func (a *Activities) registration(ctx context.Context, f *fleetdir.Fleet, in contract.OnboardDeviceInput, found fleet.OnboardReport) store.Registration {
	d, _, _ := f.Device(in.DeviceID)
	pin := found.Pin
	if len(found.Phases) > 0 && found.Phases[len(found.Phases)-1].Phase == fleet.PhaseIdentify && found.Failed != "" {
		// It is some other device, of which nothing is to be trusted later.
		pin = ""
	}
	return store.Registration{
		DeviceID: in.DeviceID, Owner: owner(ctx), LeaseToken: in.LeaseToken,
		Actor: actorText(in.Actor), ActivityID: activity.GetInfo(ctx).ActivityID,
		Facts: store.Facts{
			DeclaredHash: f.DeclaredHash(d), Revision: f.Revision(), Site: d.Site, Region: d.Region, Profile: d.Profile,
			Maker: found.Identity["maker"], Model: found.Identity["model"],
			Firmware: found.Identity["firmware"], Serial: found.Identity["serial"], Pin: pin,
			Baseline: found.Baseline, BaselineVersion: found.Version,
		},
	}
}

// registryPhases are the phases as the registry keeps them; the last one is
// where it failed, if it did.
func registryPhases(found fleet.OnboardReport, failed bool) []store.Phase {
	out := make([]store.Phase, len(found.Phases))
	for i, p := range found.Phases {
		out[i] = store.Phase{Phase: string(p.Phase), Started: p.Began, Took: p.Took, Outcome: "done"}
	}
	if failed && len(out) > 0 {
		out[len(out)-1].Outcome = "failed"
	}
	return out
}

func phaseTimes(list []fleet.PhaseTime) []contract.PhaseTime {
	out := make([]contract.PhaseTime, len(list))
	for i, p := range list {
		out[i] = contract.PhaseTime{Phase: string(p.Phase), Took: p.Took}
	}
	return out
}
