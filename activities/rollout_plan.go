package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"edgefleet/devices/fleet"
	"edgefleet/devices/fleetdir"
	"edgefleet/devices/inventory"
	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

const (
	// planBatch is how many devices one activity looks at.
	planBatch = 50
	// planDeviceWithin bounds the look at one device, however slowly it
	// answers.
	planDeviceWithin = time.Minute
)

// candidate reads a baseline that came as a text against the fleet.
func candidate(f *fleetdir.Fleet, file, text string) (*fleetdir.Candidate, error) {
	if len(text) > contract.MaxBaseline {
		return nil, permanent(contract.ErrConfig, fmt.Errorf("the baseline %s has %d bytes, at most %d are allowed", file, len(text), contract.MaxBaseline))
	}
	c, err := fleetdir.LoadBaseline(f, file, []byte(text))
	if err != nil {
		return nil, permanent(contract.ErrConfig, err)
	}
	return c, nil
}

// beginPlan reads the baseline and selects the devices. Which of them can be
// changed is found out by the workers of their regions.
func (a *Activities) beginPlan(ctx context.Context, in contract.PlanRolloutInput) (contract.BegunPlan, error) {
	sel, err := contract.ParseSelector(in.Select)
	if err != nil {
		return contract.BegunPlan{}, permanent(contract.ErrConfig, fmt.Errorf("the selector: %w", err))
	}
	strategy := in.Strategy.WithDefaults()
	if err := errors.Join(strategy.Check(), checkCalendars(strategy)); err != nil {
		return contract.BegunPlan{}, permanent(contract.ErrConfig, err)
	}
	f := a.deps.Operator().Fleet()
	of, err := targetOf(f, in)
	if err != nil {
		return contract.BegunPlan{}, err
	}
	chosen := slices.DeleteFunc(slices.Clone(of.devices), func(d inventory.Device) bool { return !sel.Matches(wireDevice(d)) })
	if len(chosen) == 0 {
		return contract.BegunPlan{}, permanent(contract.ErrNotFound,
			fmt.Errorf("no device of the fleet %s and by %q; see edgefleet device list", of.none, in.Select))
	}
	text, err := json.Marshal(strategy)
	if err != nil {
		return contract.BegunPlan{}, err
	}
	own := owner(ctx)
	rows, batches := planBatches(chosen)
	plan, err := a.deps.Store.CreatePlan(ctx, store.Plan{
		PlanID: own.WorkflowID, Kind: of.kind, Baseline: of.name, Version: of.version, File: of.file, Source: of.source, Selector: sel.String(),
		Strategy: string(text), Revision: f.Revision(), Actor: actorText(in.Actor), Reason: in.Reason, Owner: own,
	}, rows)
	if err != nil {
		return contract.BegunPlan{}, err
	}
	if plan.Revision != f.Revision() {
		return contract.BegunPlan{}, errOtherRevision
	}
	return contract.BegunPlan{PlanID: plan.PlanID, Kind: plan.Kind, Baseline: of.name, Version: of.version, Revision: plan.Revision, Devices: len(rows), Batches: batches}, nil
}

var errOtherRevision = permanent(contract.ErrFleetChanged, errors.New("the fleet directory was changed while it was planned; plan again"))

// planBatches cuts devices into batches of one region. A batch has several
// sites or is a part of one, so that batches of different groups share none.
func planBatches(chosen []inventory.Device) ([]store.PlanDevice, []contract.PlanBatch) {
	chosen = slices.Clone(chosen)
	slices.SortStableFunc(chosen, func(x, y inventory.Device) int {
		if c := strings.Compare(x.Region, y.Region); c != 0 {
			return c
		}
		return strings.Compare(x.Site, y.Site)
	})
	var rows []store.PlanDevice
	var batches []contract.PlanBatch
	for i := 0; i < len(chosen); {
		first := chosen[i]
		end := i
		for end < len(chosen) && chosen[end].Region == first.Region && chosen[end].Site == first.Site {
			end++
		}
		last := len(batches) - 1
		fits := last >= 0 && batches[last].Region == first.Region && batches[last].Devices+end-i <= planBatch
		for ; i < end; i++ {
			if !fits && (len(batches) == last+1 || batches[len(batches)-1].Devices == planBatch) {
				batches = append(batches, contract.PlanBatch{Number: len(batches), Region: first.Region, Group: first.Region + "/" + first.Site})
			}
			b := &batches[len(batches)-1]
			b.Devices++
			d := chosen[i]
			rows = append(rows, store.PlanDevice{DeviceID: d.ID, Site: d.Site, Region: d.Region, Batch: b.Number})
		}
	}
	return rows, batches
}

// planDevices looks at a batch of devices, and keeps what would be changed. A
// device that cannot be looked at is left out with the reason: that is a
// result, and the others have nothing to do with it.
func (a *Activities) planDevices(ctx context.Context, in contract.PlanBatchInput) (contract.PlanBatchResult, error) {
	plan, rows, err := a.planRows(ctx, in)
	if err != nil || len(rows) == 0 {
		return contract.PlanBatchResult{}, err
	}
	op := a.deps.Operator()
	if plan.Revision != op.Fleet().Revision() {
		if a.deps.Former != nil && a.deps.Former(plan.Revision) {
			return contract.PlanBatchResult{}, errOtherRevision
		}
		// This worker may only be about to take it up.
		return contract.PlanBatchResult{}, transient(contract.ErrConfig, errors.New("this worker does not have the revision of the fleet directory that is planned with"))
	}
	look, err := a.looker(op, plan)
	if err != nil {
		return contract.PlanBatchResult{}, err
	}
	say, stop := heartbeat(ctx)
	defer stop()
	var mu sync.Mutex
	seen, failed := 0, error(nil)
	sites := map[string]chan struct{}{}
	for _, r := range rows {
		if sites[r.Site] == nil {
			sites[r.Site] = make(chan struct{}, scanPerSite)
		}
	}
	var looking sync.WaitGroup
	for i := range rows {
		looking.Go(func() {
			site := sites[rows[i].Site]
			site <- struct{}{}
			defer func() { <-site }()
			row, err := a.planDevice(ctx, rows[i], look)
			mu.Lock()
			defer mu.Unlock()
			rows[i] = row
			failed = errors.Join(failed, err)
			seen++
			say(fmt.Sprintf("looked at %d of %d", seen, len(rows)))
		})
	}
	looking.Wait()
	if err := ctx.Err(); err != nil {
		return contract.PlanBatchResult{}, context.Cause(ctx)
	}
	if failed != nil {
		return contract.PlanBatchResult{}, failed
	}
	out := contract.PlanBatchResult{Devices: len(rows)}
	for _, r := range rows {
		if r.Excluded == "" {
			out.Changing++
		}
	}
	return out, a.deps.Store.SetPlanned(ctx, in.PlanID, rows)
}

func (a *Activities) planRows(ctx context.Context, in contract.PlanBatchInput) (store.Plan, []store.PlanDevice, error) {
	plan, err := a.deps.Store.Plan(ctx, in.PlanID)
	if err != nil {
		return store.Plan{}, nil, err
	}
	rows, err := a.deps.Store.PlanDevices(ctx, store.PlanDeviceQuery{PlanID: in.PlanID, Batch: &in.Batch, Limit: 1000})
	return plan, rows, err
}

// looker returns how a device of the plan is looked at once it is known to be
// free. Its only errors are the store's and the context's.
func (a *Activities) looker(op *fleet.Operator, plan store.Plan) (func(context.Context, store.PlanDevice) (store.PlanDevice, error), error) {
	if plan.Kind == store.PlanPatch {
		p, err := plannedPatch(op.Fleet(), plan)
		if err != nil {
			return nil, err
		}
		s, err := strategyOf(plan)
		if err != nil {
			return nil, err
		}
		// One that is not to be installed is known now, and not in the window.
		opened, err := op.OpenPatch(p)
		if err != nil {
			return nil, permanent(contract.ErrConfig, err)
		}
		return func(ctx context.Context, row store.PlanDevice) (store.PlanDevice, error) {
			return a.planPatch(ctx, op, p, s.AllowDowngrade, row)
		}, opened.Close()
	}
	c, err := candidate(op.Fleet(), plan.File, plan.Source)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, row store.PlanDevice) (store.PlanDevice, error) {
		return a.planSettings(ctx, op, c, row)
	}, nil
}

// planDevice says of one device what would be changed, or why it is left out.
// The only errors are the store's and the context's.
func (a *Activities) planDevice(ctx context.Context, row store.PlanDevice,
	look func(context.Context, store.PlanDevice) (store.PlanDevice, error)) (store.PlanDevice, error) {
	switch registered, err := a.deps.Store.Registered(ctx, row.DeviceID); {
	case errors.Is(err, store.ErrNotFound):
		return excluded(row, contract.ExcludedNotOnboarded, "it was never onboarded"), nil
	case err != nil:
		return row, ofStore(err)
	case registered.State != store.StateOnboarded:
		return excluded(row, contract.ExcludedNotOnboarded, "the registry has it as %s", registered.State), nil
	}
	switch lease, err := a.deps.Store.LeaseOf(ctx, row.DeviceID); {
	case err == nil:
		return excluded(row, contract.ExcludedLeased, "held by %s", lease.WorkflowID), nil
	case !errors.Is(err, store.ErrNotFound):
		return row, ofStore(err)
	}
	return look(ctx, row)
}

// planSettings compares a device with the baseline.
func (a *Activities) planSettings(ctx context.Context, op *fleet.Operator, c *fleetdir.Candidate, row store.PlanDevice) (store.PlanDevice, error) {
	d, _, err := op.Fleet().Device(row.DeviceID)
	if err != nil {
		return row, err
	}
	desired, err := c.Desired(d)
	if err != nil {
		return excluded(row, contract.ExcludedRefused, "%v", err), nil
	}
	reading, cancel := context.WithTimeout(ctx, planDeviceWithin)
	defer cancel()
	began := time.Now()
	changes, err := op.PlanChanges(reading, row.DeviceID, desired)
	took := time.Since(began)
	if err != nil {
		return a.unplanned(ctx, reading, op, row, err)
	}
	row.Settings = fleet.ExactSettings(desired)
	if len(changes) == 0 {
		// A device that has the settings already and is assigned others is
		// only assigned these.
		switch assigned, err := a.deps.Store.Assignment(ctx, row.DeviceID); {
		case errors.Is(err, store.ErrNotFound), err == nil && assigned.Baseline == desired.Baseline && assigned.Version == desired.Version:
			return excluded(row, contract.ExcludedInSync, "%d settings equal", len(desired.Settings)), nil
		case err != nil:
			return row, ofStore(err)
		}
	}
	row.Excluded, row.Detail, row.Changes = "", "", make([]store.PlannedChange, len(changes))
	for i, c := range changes {
		row.Changes[i] = store.PlannedChange{Setting: c.Setting, Unit: c.Unit, Before: c.Before, After: c.After,
			BeforeText: c.BeforeText, AfterText: c.AfterText, File: c.File}
	}
	row.Takes = estimate(op.Fleet(), row.DeviceID, took)
	return row, nil
}

// estimate is how long a device is expected to be in work: reading it took so
// long, and it is read for the comparison, after the write, and to verify.
func estimate(f *fleetdir.Fleet, deviceID string, read time.Duration) time.Duration {
	_, p, err := f.Device(deviceID)
	if err != nil {
		return 0
	}
	return (6*read + 2*p.Settle.Wait + time.Second).Round(100 * time.Millisecond)
}

// planMissed says of the devices of a batch that nobody could look at them.
func (a *Activities) planMissed(ctx context.Context, in contract.PlanBatchInput) (contract.PlanBatchResult, error) {
	_, rows, err := a.planRows(ctx, in)
	if err != nil || len(rows) == 0 {
		return contract.PlanBatchResult{}, err
	}
	for i := range rows {
		rows[i].Excluded, rows[i].Detail = contract.ExcludedUnreadable, clip("nobody looked: "+in.Why, maxWhy)
	}
	return contract.PlanBatchResult{Devices: len(rows)}, a.deps.Store.SetPlanned(ctx, in.PlanID, rows)
}
