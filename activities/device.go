package activities

import (
	"context"

	"go.uber.org/zap"

	"edgefleet/devices/fleet"
	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

// operator returns what works on the declared device, or the error that says
// that it is not declared.
func (a *Activities) operator(deviceID string) (*fleet.Operator, error) {
	op := a.deps.Operator()
	_, _, err := op.Fleet().Device(deviceID)
	return op, err
}

// remember keeps what was learnt of a device for the device list. It is a
// convenience: that it fails must not fail the action.
func (a *Activities) remember(ctx context.Context, deviceID, state, detail string) {
	err := a.deps.Store.SetDeviceState(ctx, store.DeviceState{DeviceID: deviceID, State: state, Detail: detail})
	if err != nil {
		a.deps.Logger.Warn("the device's state was not kept", zap.String("device", deviceID), zap.Error(err))
	}
}

// answers takes back that a device is dark. Whether it is well is not known by
// that.
func (a *Activities) answers(ctx context.Context, deviceID, detail string) {
	if a.state(ctx, deviceID) == stateUnreachable {
		a.remember(ctx, deviceID, stateUnknown, detail)
	}
}

// inSync takes back that a device is dark or has drifted, after its
// configuration was read and is as it should be. Such a device is verified, so
// that the device list says how it is, and not only what it is not any more;
// others are left as they are, at no cost.
func (a *Activities) inSync(ctx context.Context, op *fleet.Operator, deviceID string) {
	a.inSyncAfter(ctx, op, deviceID, a.state(ctx, deviceID))
}

// inSyncAfter is inSync where the state before is known.
func (a *Activities) inSyncAfter(ctx context.Context, op *fleet.Operator, deviceID, before string) {
	if before != stateUnreachable && before != stateDrifted {
		return
	}
	found, err := op.Verify(ctx, deviceID)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		a.remember(ctx, deviceID, stateUnknown, "in sync with its baseline again; more could not be found out: "+err.Error())
	case found.Healthy:
		a.remember(ctx, deviceID, stateHealthy, found.Detail)
	default:
		a.remember(ctx, deviceID, stateUnhealthy, found.Detail)
	}
}

// state is what the device list says of a device, or "" when that cannot be
// found out or there is nothing.
func (a *Activities) state(ctx context.Context, deviceID string) string {
	s, err := a.deps.Store.DeviceState(ctx, deviceID)
	if err != nil {
		return ""
	}
	return s.State
}

// States of a device, as the device list shows them.
const (
	stateUnknown     = "unknown"
	stateHealthy     = "healthy"
	stateUnreachable = "unreachable"
	stateDrifted     = "drifted"
	stateUnhealthy   = "unhealthy"
)

func (a *Activities) checkNetwork(ctx context.Context, in contract.ActionInput) (contract.NetworkReport, error) {
	return a.probe(ctx, in.DeviceID)
}

func (a *Activities) probe(ctx context.Context, deviceID string) (contract.NetworkReport, error) {
	op, err := a.operator(deviceID)
	if err != nil {
		return contract.NetworkReport{}, err
	}
	found, err := op.Probe(ctx, deviceID)
	if err != nil {
		return contract.NetworkReport{}, err
	}
	out := contract.NetworkReport{DeviceID: deviceID, Reachable: found.Reachable, Diagnosis: found.Summary}
	for _, v := range found.Verdicts {
		out.Verdicts = append(out.Verdicts, contract.Verdict{
			Check: string(v.Check), Result: string(v.Result), Detail: v.Detail, Duration: v.Duration})
	}
	if found.Reachable {
		a.answers(ctx, deviceID, found.Summary)
	} else {
		a.remember(ctx, deviceID, stateUnreachable, found.Summary)
	}
	return out, nil
}

func (a *Activities) triggerNetworkReset(ctx context.Context, in contract.ActionInput) (contract.ResetReport, error) {
	op, err := a.operator(in.DeviceID)
	if err != nil {
		return contract.ResetReport{}, err
	}
	var change fleet.Change
	if d, _, err := op.Fleet().Device(in.DeviceID); err == nil && d.NetworkReset != nil {
		change = fleet.Change{Action: d.NetworkReset.Action, Target: d.NetworkReset.Device}
	}
	j := newJournal(ctx, a.deps.Store, in.Scope, contract.ActionTriggerNetworkReset, change)
	say, stop := heartbeat(ctx)
	defer stop()
	done, err := op.Reset(ctx, in.DeviceID, j, say)
	if err != nil {
		return contract.ResetReport{}, err
	}
	return contract.ResetReport{
		DeviceID: done.DeviceID, Via: done.Via, Outcome: done.Outcome,
		CameBack: done.CameBack, Waited: done.Waited, Detail: done.Detail,
	}, nil
}

func (a *Activities) detectConfigDrift(ctx context.Context, in contract.ActionInput) (contract.DriftReport, error) {
	return a.drift(ctx, in.DeviceID)
}

func (a *Activities) drift(ctx context.Context, deviceID string) (contract.DriftReport, error) {
	op, err := a.operator(deviceID)
	if err != nil {
		return contract.DriftReport{}, err
	}
	found, err := op.Drift(ctx, deviceID)
	if err != nil {
		return contract.DriftReport{}, err
	}
	switch {
	case len(found.Drifted) > 0:
		a.remember(ctx, deviceID, stateDrifted, driftText(found))
	case found.Checked > 0:
		a.inSync(ctx, op, deviceID)
	}
	return contract.DriftReport{
		DeviceID: deviceID, Baseline: found.Baseline, Version: found.Version,
		Checked: found.Checked, Drifted: settingDrifts(found.Drifted), Ignored: found.Ignored,
	}, nil
}

func (a *Activities) applyBaselineConfig(ctx context.Context, in contract.ActionInput) (contract.ApplyReport, error) {
	op, err := a.operator(in.DeviceID)
	if err != nil {
		return contract.ApplyReport{}, err
	}
	change := fleet.Change{Action: fleet.ActionWriteSettings, Target: in.DeviceID}
	j := newJournal(ctx, a.deps.Store, in.Scope, contract.ActionApplyBaselineConfig, change)
	say, stop := heartbeat(ctx)
	defer stop()
	done, err := op.ApplyBaseline(ctx, in.DeviceID, j, say)
	if err != nil {
		return contract.ApplyReport{}, err
	}
	return contract.ApplyReport{
		DeviceID: done.DeviceID, Baseline: done.Baseline, Version: done.Version,
		Changed: settingDrifts(done.Changed), Confirmed: done.Confirmed,
	}, nil
}

func (a *Activities) verifyDevice(ctx context.Context, in contract.ActionInput) (contract.HealthReport, error) {
	op, err := a.operator(in.DeviceID)
	if err != nil {
		return contract.HealthReport{}, err
	}
	found, err := op.Verify(ctx, in.DeviceID)
	if err != nil {
		return contract.HealthReport{}, err
	}
	state := stateUnhealthy
	if found.Healthy {
		state = stateHealthy
	}
	a.remember(ctx, in.DeviceID, state, found.Detail)
	return contract.HealthReport{DeviceID: in.DeviceID, Healthy: found.Healthy, Detail: found.Detail}, nil
}
