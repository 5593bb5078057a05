package activities

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/activity"
	"go.uber.org/zap"

	"edgefleet/devices"
	"edgefleet/devices/fleet"
	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

// errClosed says that the device's window has closed, or closes too soon.
var errClosed = errors.New("its maintenance window is closed, or closes too soon")

// rollOutDevice does one device of a rollout, under a lease of its own. What
// trying again can change is an error; everything else is a verdict, which the
// store has before the workflow hears of it.
func (a *Activities) rollOutDevice(ctx context.Context, in contract.RollOutDeviceInput) (contract.DeviceVerdict, error) {
	out, err := a.rollOutLeased(ctx, in)
	if errors.Is(err, store.ErrLeaseLost) {
		// As in an onboarding: another attempt may have given it back.
		err = transient(contract.ErrLeaseLost, err)
	}
	return out, err
}

func (a *Activities) rollOutLeased(ctx context.Context, in contract.RollOutDeviceInput) (contract.DeviceVerdict, error) {
	r, err := a.rolling(ctx, in.RolloutID, in.DeviceID)
	if err != nil {
		return contract.DeviceVerdict{}, err
	}
	if r.was.EndedAt != nil {
		if retried(ctx) {
			a.letGo(ctx, in.RolloutID, in.DeviceID)
		}
		return verdictOf(r.was), nil
	}
	if err := a.inWindow(in); err != nil && activity.GetInfo(ctx).Attempt == 1 {
		return contract.DeviceVerdict{DeviceID: in.DeviceID, State: contract.DeviceNotInTime, Detail: err.Error()}, nil
	}
	op, err := a.operator(in.DeviceID)
	if err != nil {
		return r.end(ctx, contract.DeviceFailed, err, false)
	}
	say, stop := heartbeat(ctx)
	defer stop()
	own := owner(ctx)
	// What an earlier attempt has begun is brought to its end, however the
	// partners are.
	begun := r.was.Touched && r.was.Owner == own && r.was.ActivityID == activity.GetInfo(ctx).ActivityID
	lease, err := a.together(ctx, op, in.DeviceID, own, !begun)
	if held := heldBy(err); held != nil && in.Yield && !begun {
		return waits(in.DeviceID, held, err), nil
	}
	if err != nil {
		return contract.DeviceVerdict{}, err
	}
	defer func() {
		if !r.released {
			a.release(ctx, lease)
		}
	}()
	in.LeaseToken = lease.Token
	defer a.hush(ctx, in.Silence, in.RolloutID, in.Scope)()

	if r.plan.Kind == store.PlanPatch {
		return a.patchDevice(ctx, op, r, in, say)
	}
	desired, err := op.DesiredOf(in.DeviceID, r.plan.Baseline, r.plan.Version, r.row.Settings)
	if err != nil {
		return r.end(ctx, contract.DeviceFailed, err, false)
	}
	before := map[string]string{}
	for _, c := range r.row.Changes {
		before[c.Setting] = c.Before
	}
	j := newJournal(ctx, a.deps.Store, in.Scope, contract.ActivityRollOutDevice, fleet.Change{Action: fleet.ActionWriteSettings, Target: in.DeviceID})
	touching := r.touching(ctx)
	j.planHash, j.touch = r.plan.Hash, &touching
	done, err := op.ApplyPlanned(ctx, fleet.Planned{DeviceID: in.DeviceID, Desired: desired, Before: before, Again: r.was.Touched,
		Allow: func(context.Context) error { return a.inWindow(in) }}, j, say)
	switch {
	case errors.Is(err, errClosed):
		return contract.DeviceVerdict{DeviceID: in.DeviceID, State: contract.DeviceNotInTime, Detail: err.Error()}, nil
	case errors.Is(err, fleet.ErrChanged):
		return r.end(ctx, contract.DeviceChanged, err, false)
	case err != nil && !final(err):
		return contract.DeviceVerdict{}, err
	case err != nil:
		return r.end(ctx, contract.DeviceFailed, err, len(done.Changed) > 0)
	}
	health, err := op.AwaitHealthy(ctx, in.DeviceID, desired, say)
	touched := len(done.Changed) > 0 || r.was.Touched
	switch {
	case err != nil && !final(err):
		return contract.DeviceVerdict{}, err
	case err != nil:
		return r.end(ctx, contract.DeviceFailed, err, touched)
	case !health.Healthy:
		a.remember(ctx, in.DeviceID, stateUnhealthy, health.Detail)
		return r.end(ctx, contract.DeviceFailed, errors.New(health.Detail), touched)
	}
	return r.healthy(ctx, in, touched, health.Detail)
}

// final says of a device's error that trying again will not help.
func final(err error) bool {
	switch devices.KindOf(err) {
	case devices.Rejected, devices.Auth, devices.Unsupported:
	default:
		return false
	}
	var marked *storeError
	return !errors.As(err, &marked)
}

// inWindow says whether a write can still begin.
func (a *Activities) inWindow(in contract.RollOutDeviceInput) error {
	if in.Until == nil || a.now().Add(in.Takes).Before(*in.Until) {
		return nil
	}
	return fmt.Errorf("%w: at %s, and it takes about %s", errClosed, in.Until.UTC().Format(time.RFC3339), in.Takes)
}

// rollingDevice is a device of a rollout with what is known of it.
type rollingDevice struct {
	a    *Activities
	plan store.Plan
	row  store.PlanDevice
	was  store.RolloutDevice
	// released says that the lease was given back with the verdict.
	released bool
}

func (a *Activities) rolling(ctx context.Context, rolloutID, deviceID string) (*rollingDevice, error) {
	plan, err := a.planOf(ctx, rolloutID)
	if err != nil {
		return nil, err
	}
	row, err := a.deps.Store.PlanDevice(ctx, plan.PlanID, deviceID)
	if err != nil {
		return nil, err
	}
	if row.Wave == 0 {
		return nil, permanent(contract.ErrNotFound, fmt.Errorf("the plan of rollout %s leaves %s out: %s", rolloutID, deviceID, row.Excluded))
	}
	was := store.RolloutDevice{RolloutID: rolloutID, DeviceID: deviceID}
	list, err := a.deps.Store.RolloutDevices(ctx, store.RolloutDeviceQuery{RolloutID: rolloutID, DeviceID: deviceID, Limit: 1})
	if err != nil {
		return nil, err
	}
	if len(list) > 0 {
		was = list[0]
	}
	return &rollingDevice{a: a, plan: plan, row: row, was: was}, nil
}

// present is the device's record as this activity changes it.
func (r *rollingDevice) present(ctx context.Context, state, reason, detail string) store.RolloutDevice {
	return store.RolloutDevice{RolloutID: r.was.RolloutID, DeviceID: r.was.DeviceID, State: state, Reason: reason, Detail: clip(detail, maxWhy),
		Owner: owner(ctx), ActivityID: activity.GetInfo(ctx).ActivityID}
}

// touch notes that something is about to be written.
func (r *rollingDevice) touch(ctx context.Context) error {
	_, err := r.a.deps.Store.TouchRolloutDevice(ctx, r.touching(ctx))
	return err
}

// touching is the device's record from when something is written to it.
func (r *rollingDevice) touching(ctx context.Context) store.RolloutDevice {
	d := r.present(ctx, contract.DeviceWorking, "", "")
	d.Touched = true
	return d
}

// end gives the device its verdict.
func (r *rollingDevice) end(ctx context.Context, state string, why error, unsafe bool) (contract.DeviceVerdict, error) {
	reason, _ := reasonOf(ctx, why)
	d := r.present(ctx, state, reason, why.Error())
	d.Unsafe = unsafe
	ended, err := r.a.deps.Store.EndRolloutDevice(ctx, d, store.Ending{})
	return verdictOf(ended), err
}

// healthy gives a device the verdict that it is well, and what it shall have
// from now on. Nothing more happens to it, so its lease is given back with that.
func (r *rollingDevice) healthy(ctx context.Context, in contract.RollOutDeviceInput, touched bool, detail string) (contract.DeviceVerdict, error) {
	state := contract.DeviceAlready
	if touched {
		state = contract.DeviceHealthy
	}
	ended, err := r.a.deps.Store.EndRolloutDevice(ctx, r.present(ctx, state, "", detail), store.Ending{
		Assign: &store.Assignment{
			DeviceID: in.DeviceID, Baseline: r.plan.Baseline, Version: r.plan.Version, Settings: r.row.Settings,
			Actor: actorText(in.Actor), Owner: owner(ctx),
		},
		State:   &store.DeviceState{DeviceID: in.DeviceID, State: stateHealthy, Detail: clip(detail, maxWhy)},
		Release: in.LeaseToken,
	})
	r.released = err == nil
	return verdictOf(ended), err
}

func verdictOf(d store.RolloutDevice) contract.DeviceVerdict {
	return contract.DeviceVerdict{DeviceID: d.DeviceID, State: d.State, Unsafe: d.Unsafe, Reason: d.Reason, Detail: clip(d.Detail, maxListed)}
}

// settleRolloutDevice gives a device the verdict that its own activity did not
// come to: nobody took it up, or its time was over. What may have been written
// to is unknown, and unsafe.
func (a *Activities) settleRolloutDevice(ctx context.Context, in contract.SettleDeviceInput) (contract.DeviceVerdict, error) {
	r, err := a.rolling(ctx, in.RolloutID, in.DeviceID)
	if err != nil {
		return contract.DeviceVerdict{}, err
	}
	d := r.present(ctx, in.State, in.Reason, in.Detail)
	switch {
	case in.State == contract.DeviceKept:
		d.Unsafe = true
		ended, err := a.deps.Store.UndoRolloutDevice(ctx, d, false)
		if err == nil {
			a.letGo(ctx, in.RolloutID, in.DeviceID)
		}
		return verdictOf(ended), err
	case in.State == contract.DeviceSkipped && r.was.State == contract.DeviceWorking && r.was.EndedAt == nil:
		// It is in work, and its own verdict is to come.
		return verdictOf(r.was), nil
	case r.was.Touched && in.State != contract.DeviceSkipped:
		d.State, d.Unsafe = contract.DeviceUnknown, true
	}
	ended, err := a.deps.Store.EndRolloutDevice(ctx, d, store.Ending{})
	if err == nil {
		a.letGo(ctx, in.RolloutID, in.DeviceID)
	}
	return verdictOf(ended), err
}

// hush silences the alerts of a device while it is in work. That it cannot is
// told, and keeps nobody from the work: an alert too many is not a danger.
func (a *Activities) hush(ctx context.Context, wanted bool, rolloutID string, s contract.Scope) (end func()) {
	if !wanted {
		return func() {}
	}
	wish := silenceOf(rolloutID, s.DeviceID)
	wish.Comment, wish.By = fmt.Sprintf("rollout %s is at work on %s: %.200s", rolloutID, s.DeviceID, s.Reason), actorText(s.Actor)
	held, err := a.deps.Silences.Hold(ctx, wish)
	if err != nil {
		a.deps.Logger.Warn("the device's alerts are not silenced", zap.String("device", s.DeviceID), zap.Error(err))
		return func() {}
	}
	return func() {
		if err := held.Release(ctx); err != nil {
			a.deps.Logger.Warn("the silence was not removed; it ends by itself in minutes", zap.String("device", s.DeviceID), zap.Error(err))
		}
	}
}
