package activities

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"sync"

	"edgefleet/devices/fleet"
	"edgefleet/internal/promcheck"
	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

// checkRolloutDevices looks at devices that have the new settings: whether they
// are healthy still, or again.
func (a *Activities) checkRolloutDevices(ctx context.Context, in contract.CheckRolloutInput) (contract.CheckRolloutResult, error) {
	op := a.deps.Operator()
	say, stop := heartbeat(ctx)
	defer stop()
	out := contract.CheckRolloutResult{Verdicts: make([]contract.DeviceVerdict, len(in.IDs))}
	sites := map[string]chan struct{}{}
	for _, id := range in.IDs {
		if site := siteOf(op, id); sites[site] == nil {
			sites[site] = make(chan struct{}, scanPerSite)
		}
	}
	var mu sync.Mutex
	var failed error
	var looking sync.WaitGroup
	for i, id := range in.IDs {
		looking.Go(func() {
			site := sites[siteOf(op, id)]
			site <- struct{}{}
			defer func() { <-site }()
			v, err := a.checkRolloutDevice(ctx, op, in.RolloutID, id)
			mu.Lock()
			defer mu.Unlock()
			out.Verdicts[i] = v
			failed = errors.Join(failed, err)
			say("looked at " + id)
		})
	}
	looking.Wait()
	if ctx.Err() != nil {
		return contract.CheckRolloutResult{}, context.Cause(ctx)
	}
	return out, failed
}

func siteOf(op *fleet.Operator, id string) string {
	d, _, err := op.Fleet().Device(id)
	if err != nil {
		return ""
	}
	return d.Site
}

// checkRolloutDevice looks at one device. The only errors are the store's and
// the context's.
func (a *Activities) checkRolloutDevice(ctx context.Context, op *fleet.Operator, rolloutID, id string) (contract.DeviceVerdict, error) {
	r, err := a.rolling(ctx, rolloutID, id)
	if err != nil {
		return contract.DeviceVerdict{}, ofStore(err)
	}
	state, unsafe := contract.DeviceUnknown, true
	var detail string
	looking, cancel := context.WithTimeout(ctx, planDeviceWithin)
	defer cancel()
	health, err := rolledOutWell(looking, op, r, id)
	switch {
	case ctx.Err() != nil:
		return contract.DeviceVerdict{}, context.Cause(ctx)
	case err != nil:
		detail = err.Error()
	case health.Healthy:
		state, unsafe, detail = contract.DeviceHealthy, false, health.Detail
		if r.was.State == contract.DeviceAlready || !r.was.Touched {
			state = contract.DeviceAlready
		}
	default:
		state, detail = contract.DeviceFailed, health.Detail
	}
	if r.was.State == state && r.was.Unsafe == unsafe {
		return verdictOf(r.was), nil
	}
	reason := ""
	if err != nil {
		reason, _ = reasonOf(ctx, err)
	}
	d := r.present(ctx, state, reason, detail)
	d.Unsafe = unsafe && r.was.Touched
	revised, err := a.deps.Store.ReviseRolloutDevice(ctx, d)
	return verdictOf(revised), ofStore(err)
}

// rolledOutWell says whether a device has what it was given, and is well.
func rolledOutWell(ctx context.Context, op *fleet.Operator, r *rollingDevice, id string) (fleet.HealthReport, error) {
	if r.plan.Kind == store.PlanPatch {
		return patchWell(ctx, op, r)
	}
	desired, err := op.DesiredOf(id, r.plan.Baseline, r.plan.Version, r.row.Settings)
	if err != nil {
		return fleet.HealthReport{}, err
	}
	return op.VerifyAgainst(ctx, id, desired)
}

// checkMetric evaluates a PromQL expression.
func (a *Activities) checkMetric(ctx context.Context, in contract.CheckMetricInput) (contract.MetricVerdict, error) {
	v, detail, forGood, err := a.deps.Metrics.Check(ctx, in.Expression)
	switch {
	case errors.Is(err, promcheck.ErrNotConfigured), err != nil && forGood:
		return contract.MetricVerdict{}, permanent(contract.ErrConfig, err)
	case err != nil:
		return contract.MetricVerdict{}, transient(contract.ErrUnreachable, err)
	}
	return contract.MetricVerdict{Verdict: string(v), Detail: clip(detail, maxListed)}, nil
}

// readRunbook brings the runbook of a check. It takes no lease, so that the
// runbook can look at the device and change nothing.
func (a *Activities) readRunbook(_ context.Context, in contract.ReadRunbookInput) (contract.BeginResult, error) {
	declared := a.deps.Operator().Fleet()
	d, _, err := declared.Device(in.DeviceID)
	if err != nil {
		return contract.BeginResult{}, err
	}
	source, err := runbookSource(declared, in.Runbook)
	if err != nil {
		return contract.BeginResult{}, permanent(contract.ErrConfig, err)
	}
	hash := sha256.Sum256([]byte(source))
	return contract.BeginResult{Device: wireDevice(d), Source: source, Hash: hex.EncodeToString(hash[:]), Revision: declared.Revision()}, nil
}
