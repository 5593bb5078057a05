package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"

	"edgefleet/devices"
	"edgefleet/devices/fleet"
	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

const (
	// scanPerSite is how many devices of a site are read at once: their way is
	// often one radio or one serial line.
	scanPerSite = 4
	// scanDeviceWithin bounds one device, however slowly it answers.
	scanDeviceWithin = time.Minute
)

// scanDrift looks for drift on a batch of devices, and records what came out
// for all of them at once. What an attempt before this one saw is taken over
// from its heartbeat, with its time.
func (a *Activities) scanDrift(ctx context.Context, in contract.ScanDriftInput) (contract.ScanDriftResult, error) {
	s := &driftScan{a: a, op: a.deps.Operator(), seen: map[string]contract.DriftFinding{}, sites: map[string]chan struct{}{}}
	var before contract.ScanDriftResult
	if activity.HasHeartbeatDetails(ctx) && activity.GetHeartbeatDetails(ctx, &before) == nil {
		for _, d := range before.Found {
			s.seen[d.DeviceID] = d
		}
	}
	stop := s.beat(ctx, in.IDs)
	err := s.ask(ctx, in.IDs)
	if err == nil {
		err = s.lookAtAll(ctx, in.IDs)
	}
	stop()
	if err != nil {
		return contract.ScanDriftResult{}, err
	}
	if err := a.recordEvidence(ctx, s.op, s.result(in.IDs).Found); err != nil {
		return contract.ScanDriftResult{}, err
	}
	var out contract.ScanDriftResult
	for _, d := range s.result(in.IDs).Found {
		out.Count(d.Outcome)
		if d.Outcome == contract.DriftDrifted || d.Outcome == contract.DriftUnreadable {
			out.Found = append(out.Found, d)
		}
	}
	return out, nil
}

// recordEvidence keeps what came out. What the fleet has stopped to declare is
// not the store's business any more.
func (a *Activities) recordEvidence(ctx context.Context, op *fleet.Operator, list []contract.DriftFinding) error {
	var evidence []store.Evidence
	for _, d := range list {
		if _, _, err := op.Fleet().Device(d.DeviceID); err != nil {
			continue
		}
		evidence = append(evidence, store.Evidence{DeviceID: d.DeviceID, Site: d.Site, Region: d.Region, Outcome: d.Outcome,
			At: d.At, Drifted: d.Drifted, Baseline: d.Baseline, BaselineVersion: d.Version, Detail: d.Detail, Owner: owner(ctx)})
	}
	if len(evidence) == 0 {
		return nil
	}
	return a.deps.Store.RecordEvidence(ctx, evidence)
}

// driftScan is one attempt at a batch.
type driftScan struct {
	a  *Activities
	op *fleet.Operator
	// before is what the store had when the attempt began, at that time.
	before store.Together
	began  time.Time
	// sites hold as many tokens as devices of the site are read.
	sites map[string]chan struct{}

	mu   sync.Mutex
	seen map[string]contract.DriftFinding
}

// ask reads what the store has of the batch, once for all. Whoever changes a
// device after that has begun after s.began, and is found by judge.
func (s *driftScan) ask(ctx context.Context, ids []string) (err error) {
	s.began = time.Now().UTC()
	if s.before, err = s.a.deps.Store.OfDevices(ctx, ids); err != nil {
		return ofStore(err)
	}
	s.op = s.op.With(assignedBefore(s.before.Assignments))
	return nil
}

// result has what was seen so far, in the order of ids.
func (s *driftScan) result(ids []string) (out contract.ScanDriftResult) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if d, ok := s.seen[id]; ok {
			out.Found = append(out.Found, d)
		}
	}
	return out
}

// beat tells Temporal at a quarter of the heartbeat's time-out what was seen,
// until the function that it returns is called.
func (s *driftScan) beat(ctx context.Context, ids []string) (stop func()) {
	interval := activity.GetInfo(ctx).HeartbeatTimeout / 4
	if interval <= 0 {
		return func() {}
	}
	done := make(chan struct{})
	var beating sync.WaitGroup
	beating.Go(func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				activity.RecordHeartbeat(ctx, s.result(ids))
			}
		}
	})
	return func() {
		close(done)
		beating.Wait()
	}
}

// lookAtAll looks at the devices that were not seen yet. The only errors are
// the store's and the context's: a device that does not tell is a result.
func (s *driftScan) lookAtAll(ctx context.Context, ids []string) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var looking sync.WaitGroup
	for _, id := range ids {
		s.mu.Lock()
		_, seen := s.seen[id]
		s.mu.Unlock()
		if seen {
			continue
		}
		site := s.site(id)
		looking.Go(func() {
			select {
			case site <- struct{}{}:
				defer func() { <-site }()
			case <-ctx.Done():
				return
			}
			found, err := s.lookAt(ctx, id)
			if err != nil {
				stop(err)
				return
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.seen[id] = found
		})
	}
	looking.Wait()
	return context.Cause(ctx)
}

func (s *driftScan) site(id string) chan struct{} {
	name := ""
	if d, _, err := s.op.Fleet().Device(id); err == nil {
		name = d.Site
	}
	if s.sites[name] == nil {
		s.sites[name] = make(chan struct{}, scanPerSite)
	}
	return s.sites[name]
}

// lookAt reads one device and compares it with its baseline.
func (s *driftScan) lookAt(ctx context.Context, id string) (contract.DriftFinding, error) {
	out := contract.DriftFinding{DeviceID: id, Outcome: contract.DriftUnreadable, At: time.Now().UTC()}
	d, _, err := s.op.Fleet().Device(id)
	if err != nil {
		out.Detail = "the fleet does not declare it any more"
		return out, nil
	}
	out.Site, out.Region = d.Site, d.Region
	if lease, held := s.before.Leases[id]; held {
		return underChange(out, "held by "+lease.WorkflowID), nil
	}
	reading, cancel := context.WithTimeout(ctx, scanDeviceWithin)
	defer cancel()
	report, err := s.op.Drift(reading, id)
	switch {
	case ctx.Err() != nil:
		return out, context.Cause(ctx)
	case err != nil:
		out.Detail = clip(err.Error(), maxListed)
		if devices.KindOf(err) == devices.Unreachable {
			s.a.remember(ctx, id, stateUnreachable, err.Error())
		}
		return out, nil
	}
	out.Baseline, out.Version = report.Baseline, report.Version
	switch {
	case report.Baseline == "":
		out.Outcome = contract.DriftNoBaseline
		return out, nil
	case len(report.Drifted) == 0:
		out.Outcome = contract.DriftInSync
		s.a.inSyncAfter(reading, s.op, id, s.before.States[id].State)
		return out, nil
	}
	return s.judge(ctx, out, report)
}

// changing says whether a workflow holds the device now, which is then all
// that is said of it.
func (s *driftScan) changing(ctx context.Context, out *contract.DriftFinding) (bool, error) {
	lease, err := s.a.deps.Store.LeaseOf(ctx, out.DeviceID)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, ofStore(err)
	}
	*out = underChange(*out, "held by "+lease.WorkflowID)
	return true, nil
}

// underChange is a finding about a device of which nothing can be said now.
func underChange(out contract.DriftFinding, why string) contract.DriftFinding {
	out.Outcome, out.Detail = contract.DriftUnderChange, clip(why, maxListed)
	out.Baseline, out.Version = "", ""
	return out
}

// judge says since when a device has drifted, and whether anybody was allowed
// to make it so. A change that began while it was read may be what was read:
// then nothing is said.
func (s *driftScan) judge(ctx context.Context, out contract.DriftFinding, report fleet.DriftReport) (contract.DriftFinding, error) {
	if changing, err := s.changing(ctx, &out); err != nil || changing {
		return out, err
	}
	last, err := s.lastChange(ctx, out.DeviceID)
	if err != nil {
		return out, err
	}
	if last != nil && !last.Time.Before(s.began) {
		return underChange(out, "changed by "+last.WorkflowID+" while it was read"), nil
	}
	since := out.At
	known, err := s.known(ctx, out.DeviceID)
	if err != nil {
		return out, err
	}
	if known.Found == store.EvidenceDrifted && known.DriftedSince != nil {
		since = *known.DriftedSince
	}
	behind, err := s.behind(ctx, known, report)
	if err != nil {
		return out, err
	}
	out.Outcome, out.Drifted, out.Since = contract.DriftDrifted, len(report.Drifted), &since
	text := driftText(report)
	s.a.remember(ctx, out.DeviceID, stateDrifted, text)
	first := wordUnauthorised
	switch {
	case behind:
		first = wordBehind
	case last == nil || last.Phase == store.PhaseResult && settled(last.Outcome):
		out.Unauthorised = true
	case last.Phase == store.PhaseIntent:
		first = "after a change without a known end"
	default:
		first = "after a change that ended as " + last.Outcome
	}
	out.Detail = clip(fmt.Sprintf("%s, since %s: %s", first, since.UTC().Format("2006-01-02 15:04:05Z"), text), maxListed)
	return out, nil
}

// The first words of the detail of a drifted device.
const (
	wordUnauthorised = store.DetailUnauthorised
	wordBehind       = "not yet at this version of the baseline"
)

// known is the evidence that there is of a device, or nothing.
func (s *driftScan) known(ctx context.Context, deviceID string) (store.DeviceEvidence, error) {
	list, err := s.a.deps.Store.ListEvidence(ctx, store.EvidenceQuery{DeviceID: deviceID, Limit: 1})
	if err != nil || len(list) == 0 {
		return store.DeviceEvidence{}, ofStore(err)
	}
	return list[0], nil
}

// behind says that the baseline has a version at which the device never was, so
// that nobody has touched the device. A device that goes on being drifted keeps
// what was said of it; else it was last at the version of its last evidence in
// sync, or at the one that it was onboarded with.
func (s *driftScan) behind(ctx context.Context, known store.DeviceEvidence, report fleet.DriftReport) (bool, error) {
	now := report.Baseline + " " + report.Version
	if known.Found == store.EvidenceInSync {
		return known.Baseline+" "+known.BaselineVersion != now, nil
	}
	if known.Outcome == store.EvidenceDrifted && known.Baseline+" "+known.BaselineVersion == now {
		return strings.HasPrefix(known.Detail, wordBehind), nil
	}
	r, err := s.a.deps.Store.Registered(ctx, report.DeviceID)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, ofStore(err)
	}
	return r.Baseline != "" && r.Baseline+" "+r.BaselineVersion != now, nil
}

// settled says that a change left the device as it was meant to be.
func settled(outcome string) bool {
	return outcome == string(fleet.Applied) || outcome == string(fleet.Confirmed)
}

// lastChange is the last intent or result of a change to the device's
// settings, or nil. A reset of the network path changes no setting.
func (s *driftScan) lastChange(ctx context.Context, deviceID string) (*store.LedgerEntry, error) {
	const enough = 100
	page, err := s.a.deps.Store.ListLedger(ctx, store.LedgerQuery{DeviceID: deviceID, Limit: enough, Newest: true})
	if err != nil {
		return nil, ofStore(err)
	}
	for i := len(page.Entries) - 1; i >= 0; i-- {
		e := page.Entries[i]
		if e.Phase != store.PhaseEvent && e.Action != contract.ActionTriggerNetworkReset {
			return &e, nil
		}
	}
	return nil, nil
}

// askDriftReport answers from the evidence, and asks no device.
func (a *Activities) askDriftReport(ctx context.Context, q contract.EvidenceQuery) (contract.EvidencePage, error) {
	const limit = 1000
	list, err := a.deps.Store.ListEvidence(ctx, store.EvidenceQuery{
		Outcome: q.Outcome, Site: q.Site, Region: q.Region, OlderThan: q.OlderThan, After: q.After, Limit: limit})
	if err != nil {
		return contract.EvidencePage{}, err
	}
	out := contract.EvidencePage{Devices: make([]contract.DeviceEvidence, len(list))}
	for i, e := range list {
		out.Devices[i] = contract.DeviceEvidence{
			DeviceID: e.DeviceID, Site: e.Site, Region: e.Region,
			Outcome: e.Outcome, Detail: clip(e.Detail, maxListed), AttemptedAt: e.AttemptedAt,
			Found: e.Found, EvidenceAt: e.EvidenceAt, Drifted: e.Drifted, DriftedSince: e.DriftedSince,
			Baseline: e.Baseline, Version: e.BaselineVersion, LackingSince: e.LackingSince,
		}
	}
	more := len(list) == limit
	if n := fitting(slices.Values(out.Devices), maxPage); n < len(out.Devices) {
		out.Devices, more = out.Devices[:n], true
	}
	if more {
		out.Next = out.Devices[len(out.Devices)-1].DeviceID
	}
	return out, nil
}
