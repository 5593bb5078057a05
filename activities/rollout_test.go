package activities

import (
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

// rolled is the plant's baseline with a newer version and another trip.
func rolled() string {
	return strings.NewReplacer("version: 7", "version: 8", "undervoltage_trip: 85", "undervoltage_trip: 80").Replace(plantBaseline)
}

func planInput(text string) contract.PlanRolloutInput {
	return contract.PlanRolloutInput{File: "standard.yaml", Text: text, Actor: theOperator(), Reason: "spring",
		Strategy: contract.RolloutStrategy{NoSilences: true}}
}

func theOperator() contract.Actor {
	return contract.Actor{Kind: contract.ActorOperator, Name: "kim"}
}

// inService onboards the feeder.
func (p *plant) inService() {
	p.t.Helper()
	out, err := do[contract.OnboardDeviceResult](p, contract.ActivityOnboard, contract.OnboardDeviceInput{Scope: contract.Scope{DeviceID: "edge-001", Actor: theOperator()}})
	require.NoError(p.t, err)
	require.Nil(p.t, out.Failure)
}

// plan plans and freezes.
func (p *plant) plan(in contract.PlanRolloutInput) contract.RolloutPlan {
	p.t.Helper()
	begun, err := do[contract.BegunPlan](p, contract.ActivityBeginPlan, in)
	require.NoError(p.t, err)
	for _, b := range begun.Batches {
		_, err := do[contract.PlanBatchResult](p, contract.ActivityPlanDevices, contract.PlanBatchInput{PlanID: begun.PlanID, Batch: b.Number})
		require.NoError(p.t, err)
	}
	plan, err := do[contract.RolloutPlan](p, contract.ActivityFreezePlan, contract.FreezePlanInput{PlanID: begun.PlanID})
	require.NoError(p.t, err)
	again, err := do[contract.RolloutPlan](p, contract.ActivityFreezePlan, contract.FreezePlanInput{PlanID: begun.PlanID})
	require.NoError(p.t, err)
	require.Equal(p.t, plan, again, "it is frozen once")
	return plan
}

func (p *plant) startPlan(plan contract.RolloutPlan) contract.BegunRollout {
	p.t.Helper()
	out, err := do[contract.BegunRollout](p, contract.ActivityBeginRollout, contract.BeginRolloutInput{PlanHash: plan.Hash, Actor: theOperator()})
	require.NoError(p.t, err)
	return out
}

func rollInput(r contract.BegunRollout) contract.RollOutDeviceInput {
	return contract.RollOutDeviceInput{RolloutID: r.RolloutID, Takes: time.Second, Deadline: time.Minute,
		Scope: contract.Scope{DeviceID: "edge-001", Actor: theOperator(), Reason: "spring"}}
}

func (p *plant) roll(r contract.BegunRollout) (contract.DeviceVerdict, error) {
	return do[contract.DeviceVerdict](p, contract.ActivityRollOutDevice, rollInput(r))
}

func TestAPlanSaysWhatIsLeftOutAndWhy(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(*plant) contract.PlanRolloutInput
		reason  string
		detail  string
	}{
		{"in sync", func(p *plant) contract.PlanRolloutInput { p.inService(); return planInput(plantBaseline) }, contract.ExcludedInSync, "6 settings equal"},
		{"not onboarded", func(*plant) contract.PlanRolloutInput { return planInput(rolled()) }, contract.ExcludedNotOnboarded, "never onboarded"},
		{"leased", func(p *plant) contract.PlanRolloutInput {
			p.inService()
			_, err := p.store.AcquireLease(t.Context(), "edge-001", store.Owner{WorkflowID: "remediate/x", RunID: "1"})
			require.NoError(t, err)
			return planInput(rolled())
		}, contract.ExcludedLeased, "held by remediate/x"},
		{"unreachable", func(p *plant) contract.PlanRolloutInput {
			p.inService()
			require.NoError(t, p.feeder.Close())
			return planInput(rolled())
		}, contract.ExcludedUnreachable, "does not answer"},
		{"our own path is down, which says nothing of the device", func(p *plant) contract.PlanRolloutInput {
			p.inService()
			require.NoError(t, p.feeder.Close())
			require.NoError(t, p.reference.Close())
			return planInput(rolled())
		}, contract.ExcludedUnreadable, "own_path_down"},
		{"no window is for it", func(p *plant) contract.PlanRolloutInput {
			p.inService()
			in := planInput(rolled())
			in.Strategy.Windows = []contract.RolloutWindow{{Select: "site=elsewhere", Zone: "UTC", From: "00:00", To: "00:00"}}
			return in
		}, contract.ExcludedFrozen, "no maintenance window selects it"},
		{"no window is longer than what it takes", func(p *plant) contract.PlanRolloutInput {
			p.inService()
			in := planInput(rolled())
			// In its first moment nobody begins, so that an hour is too short for an hour.
			in.Strategy.Takes, in.Strategy.Windows = time.Hour, []contract.RolloutWindow{{Zone: "UTC", From: "01:00", To: "02:00"}}
			return in
		}, contract.ExcludedFrozen, "it takes about 1h0m0s, and no window before the rollout is over is longer; plan with a longer window"},
		{"a freeze that outlasts the rollout", func(p *plant) contract.PlanRolloutInput {
			p.inService()
			in := planInput(rolled())
			in.Strategy.Freezes = []contract.RolloutFreeze{{Name: "all", Zone: "UTC", From: "2020-01-01", To: "2099-01-01"}}
			return in
		}, contract.ExcludedFrozen, "no window opens for it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlant(t)
			plan := p.plan(c.prepare(p))
			require.Zero(t, plan.Devices())
			require.Equal(t, []contract.ExcludedCount{{Reason: c.reason, Devices: 1}}, plan.Excluded)
			page, err := do[contract.RolloutPlanPage](p, contract.AskRolloutPlan, contract.RolloutQuery{Plan: plan.Hash[:8]})
			require.NoError(t, err)
			require.Contains(t, page.Devices[0].Detail, c.detail)
			_, err = do[contract.BegunRollout](p, contract.ActivityBeginRollout, contract.BeginRolloutInput{PlanHash: plan.Hash})
			require.Contains(t, requireType(t, contract.ErrConfig, false, err), "the plan changes no device")
		})
	}
}

func TestAPlanOfWhatCannotBeIsRefused(t *testing.T) {
	p := newPlant(t)
	for says, change := range map[string]func(*contract.PlanRolloutInput){
		"standard.yaml:5:": func(in *contract.PlanRolloutInput) {
			in.Text = strings.Replace(in.Text, "undervoltage_trip: 80", "undervoltage_trip: 9000", 1)
		},
		"has no setting": func(in *contract.PlanRolloutInput) { in.Text += "  warp_factor: 9\n" },
		"the selector":   func(in *contract.PlanRolloutInput) { in.Select = "class" },
		"want one of":    func(in *contract.PlanRolloutInput) { in.Strategy.OnBreach = "panic" },
		`zone "Mars"`: func(in *contract.PlanRolloutInput) {
			in.Strategy.Windows = []contract.RolloutWindow{{Zone: "Mars", From: "22:00", To: "05:00"}}
		},
		"at most 262144":   func(in *contract.PlanRolloutInput) { in.Text = strings.Repeat("#", contract.MaxBaseline+1) },
		"no device of the": func(in *contract.PlanRolloutInput) { in.Select = "site=elsewhere" },
	} {
		in := planInput(rolled())
		change(&in)
		_, err := do[contract.BegunPlan](p, contract.ActivityBeginPlan, in)
		require.ErrorContains(t, err, says)
	}
}

func TestADeviceIsRolledOutOnceAndTakenBack(t *testing.T) {
	p := newPlant(t)
	p.inService()
	before := p.writes()["undervoltage_trip"]
	plan := p.plan(planInput(rolled()))
	require.Equal(t, 1, plan.Devices())
	require.NoError(t, p.store.SetDeviceState(t.Context(), store.DeviceState{DeviceID: "edge-001", State: stateDrifted}))
	r := p.startPlan(plan)
	require.Equal(t, r, p.startPlan(plan), "a retried activity begins nothing anew")

	for range 2 {
		v, err := p.roll(r)
		require.NoError(t, err)
		require.Equal(t, contract.DeviceHealthy, v.State, v.Detail)
		require.Equal(t, before+1, p.writes()["undervoltage_trip"])
	}
	p.requireFree()
	state, err := p.store.DeviceState(t.Context(), "edge-001")
	require.NoError(t, err)
	require.Equal(t, stateHealthy, state.State, "the device list says what was found")
	a, err := p.store.Assignment(t.Context(), "edge-001")
	require.NoError(t, err)
	require.Equal(t, "8", a.Version)
	drift, err := do[contract.DriftReport](p, contract.ActionDetectConfigDrift, actionInput(contract.Scope{DeviceID: "edge-001"}))
	require.NoError(t, err)
	require.Empty(t, drift.Drifted, "it is compared with what it was given, and not with the directory")
	page, err := p.store.ListLedger(t.Context(), store.LedgerQuery{DeviceID: "edge-001", Newest: true, Limit: 2})
	require.NoError(t, err)
	for _, e := range page.Entries {
		require.Equal(t, []string{plan.Hash, contract.ActivityRollOutDevice}, []string{e.PlanHash, e.Action})
	}
	tally, err := do[contract.RolloutTally](p, contract.ActivityRolloutTally, contract.RolloutTallyInput{RolloutID: r.RolloutID})
	require.NoError(t, err)
	require.Equal(t, contract.RolloutCounts{Healthy: 1}, tally.Waves[0].RolloutCounts)

	// A look at it finds it otherwise, and then well again.
	require.NoError(t, p.feeder.Poke(devices.Holding, 102, 500))
	look := contract.CheckRolloutInput{RolloutID: r.RolloutID, IDs: []string{"edge-001"}}
	checked, err := do[contract.CheckRolloutResult](p, contract.ActivityCheckRollout, look)
	require.NoError(t, err)
	require.Equal(t, []any{contract.DeviceFailed, true}, []any{checked.Verdicts[0].State, checked.Verdicts[0].Unsafe})
	left, err := do[contract.RolloutLeft](p, contract.ActivityRolloutLeft, contract.RolloutLeftInput{RolloutID: r.RolloutID, UpTo: 1, Limit: 10, Healthy: true})
	require.NoError(t, err)
	require.Len(t, left.Devices, 1, "it is looked at again")

	// What somebody else has changed since is not taken back, and said.
	back := contract.RollBackDeviceInput{RolloutID: r.RolloutID, Deadline: time.Minute, Scope: contract.Scope{DeviceID: "edge-001", Actor: theOperator()}}
	kept, err := do[contract.DeviceVerdict](p, contract.ActivityRollBackDevice, back)
	require.NoError(t, err)
	require.Equal(t, contract.DeviceKept, kept.State)
	require.Contains(t, kept.Detail, "undervoltage_trip is 50, and 80 was written")

	require.NoError(t, p.feeder.Poke(devices.Holding, 102, 800))
	for range 2 {
		v, err := do[contract.DeviceVerdict](p, contract.ActivityRollBackDevice, back)
		require.NoError(t, err)
		require.Equal(t, contract.DeviceBack, v.State, v.Detail)
		require.Equal(t, before+2, p.writes()["undervoltage_trip"])
	}
	a, err = p.store.Assignment(t.Context(), "edge-001")
	require.NoError(t, err)
	require.Equal(t, "7", a.Version, "it has the assignment that it had before")
	p.requireFree()
}

func TestADeviceThatChangedSinceThePlanIsNotWritten(t *testing.T) {
	p := newPlant(t)
	p.inService()
	r := p.startPlan(p.plan(planInput(rolled())))
	require.NoError(t, p.feeder.Poke(devices.Holding, 102, 700))
	before := p.writes()
	v, err := p.roll(r)
	require.NoError(t, err)
	require.Equal(t, contract.DeviceChanged, v.State)
	require.False(t, v.Unsafe)
	require.Contains(t, v.Detail, "undervoltage_trip is 70, and was 85")
	require.Equal(t, before, p.writes())
	left, err := do[contract.RolloutLeft](p, contract.ActivityRollbackLeft, contract.RolloutLeftInput{RolloutID: r.RolloutID, Limit: 10})
	require.NoError(t, err)
	require.Empty(t, left.Devices, "nothing of it is to be taken back")
}

func TestADeviceOutsideItsWindowWaits(t *testing.T) {
	p := newPlant(t)
	p.inService()
	r := p.startPlan(p.plan(planInput(rolled())))
	in := rollInput(r)
	soon := time.Now().Add(500 * time.Millisecond)
	in.Until = &soon
	v, err := do[contract.DeviceVerdict](p, contract.ActivityRollOutDevice, in)
	require.NoError(t, err)
	require.Equal(t, contract.DeviceNotInTime, v.State)
	left, err := do[contract.RolloutLeft](p, contract.ActivityRolloutLeft, contract.RolloutLeftInput{RolloutID: r.RolloutID, UpTo: 1, Limit: 10})
	require.NoError(t, err)
	require.Len(t, left.Devices, 1, "its turn comes again")
}

// overTheDeadline lets the deadline of a write in flight be over. What only
// looks like a death still gives its lease back, and then the device is nobody's
// until that.
func (p *plant) overTheDeadline() {
	p.tamper(`UPDATE write_in_flight SET deadline = 0`)
}

// A worker that dies before or after the write leaves a device whose next
// attempt finds out, and the write happens once.
func TestARolloutSurvivesTheDeathOfAWorkerAtTheWrite(t *testing.T) {
	for name, after := range map[string]bool{"before the write": false, "after the write": true} {
		t.Run(name, func(t *testing.T) {
			p := newPlant(t)
			p.inService()
			before := p.writes()["undervoltage_trip"]
			r := p.startPlan(p.plan(planInput(rolled())))
			p.powerCut(after)
			_, err := p.roll(r)
			require.Error(t, err)
			settled, err := do[contract.DeviceVerdict](p, contract.ActivitySettleDevice, contract.SettleDeviceInput{
				RolloutID: "none", DeviceID: "edge-001", State: contract.DeviceNotBegun})
			require.Error(t, err)
			require.Empty(t, settled.State)
			p.driver.write = nil
			p.overTheDeadline()
			v, err := p.roll(r)
			require.NoError(t, err)
			require.Equal(t, contract.DeviceHealthy, v.State, v.Detail)
			require.Equal(t, before+1, p.writes()["undervoltage_trip"])
			p.requireFree()
		})
	}
	t.Run("and nobody comes back", func(t *testing.T) {
		p := newPlant(t)
		p.inService()
		r := p.startPlan(p.plan(planInput(rolled())))
		p.powerCut(true)
		_, err := p.roll(r)
		require.Error(t, err)
		v, err := do[contract.DeviceVerdict](p, contract.ActivitySettleDevice, contract.SettleDeviceInput{
			RolloutID: r.RolloutID, DeviceID: "edge-001", State: contract.DeviceNotBegun, Reason: contract.ErrTimeout, Detail: "nobody took it up"})
		require.NoError(t, err)
		require.Equal(t, []any{contract.DeviceUnknown, true}, []any{v.State, v.Unsafe}, "something may have been written")
		left, err := do[contract.RolloutLeft](p, contract.ActivityRollbackLeft, contract.RolloutLeftInput{RolloutID: r.RolloutID, Limit: 10})
		require.NoError(t, err)
		require.Len(t, left.Devices, 1)
	})
}

// tamper changes the database beside the store.
func (p *plant) tamper(statement string) {
	p.t.Helper()
	db, err := sql.Open("sqlite", p.database)
	require.NoError(p.t, err)
	defer func() { require.NoError(p.t, db.Close()) }()
	_, err = db.ExecContext(p.t.Context(), statement)
	require.NoError(p.t, err)
}

func TestAPlanThatSomebodyHasChangedIsNotStarted(t *testing.T) {
	p := newPlant(t)
	p.inService()
	plan := p.plan(planInput(rolled()))
	p.tamper(`UPDATE rollout_plan_device SET settings = replace(settings, '80', '60')`)
	_, err := do[contract.BegunRollout](p, contract.ActivityBeginRollout, contract.BeginRolloutInput{PlanHash: plan.Hash})
	require.Contains(t, requireType(t, contract.ErrStore, false, err), "it was changed")
	_, err = do[contract.BegunRollout](p, contract.ActivityBeginRollout, contract.BeginRolloutInput{PlanHash: strings.Repeat("0", 64)})
	requireType(t, contract.ErrNotFound, false, err)
	_, err = do[contract.BegunRollout](p, contract.ActivityBeginRollout, contract.BeginRolloutInput{PlanHash: "f00d"})
	requireType(t, contract.ErrConfig, false, err)
}

func TestADeviceOfARunningRolloutIsLeftOutOfTheNextPlan(t *testing.T) {
	p := newPlant(t)
	p.inService()
	p.startPlan(p.plan(planInput(rolled())))
	env := p.env()
	rows := []store.PlanDevice{{DeviceID: "edge-001", Site: "s1", Region: "north"}}
	_, err := p.store.CreatePlan(t.Context(), store.Plan{PlanID: "another", Baseline: "standard", Version: "9", File: "standard.yaml", Source: rolled(),
		Strategy: "{}", Revision: p.operator.Fleet().Revision(), Actor: "operator:kim", Owner: store.Owner{WorkflowID: "another", RunID: "1"}}, rows)
	require.NoError(t, err)
	_, err = next[contract.PlanBatchResult](env, contract.ActivityPlanDevices, contract.PlanBatchInput{PlanID: "another"})
	require.NoError(t, err)
	plan, err := next[contract.RolloutPlan](env, contract.ActivityFreezePlan, contract.FreezePlanInput{PlanID: "another"})
	require.NoError(t, err)
	require.Equal(t, []contract.ExcludedCount{{Reason: contract.ExcludedConflict, Devices: 1}}, plan.Excluded)
}

// A worker that lags behind is waited for, one that has gone on is not: who plans
// is told at once to plan again.
func TestAPlanWithARevisionThatIsOverEndsAtOnce(t *testing.T) {
	p := newPlant(t)
	p.inService()
	env := p.env()
	rows := []store.PlanDevice{{DeviceID: "edge-001", Site: "s1", Region: "north"}}
	_, err := p.store.CreatePlan(t.Context(), store.Plan{PlanID: "other", Baseline: "standard", Version: "9", File: "standard.yaml", Source: rolled(),
		Strategy: "{}", Revision: "another", Actor: "operator:kim", Owner: store.Owner{WorkflowID: "another", RunID: "1"}}, rows)
	require.NoError(t, err)
	_, err = next[contract.PlanBatchResult](env, contract.ActivityPlanDevices, contract.PlanBatchInput{PlanID: "other"})
	requireType(t, contract.ErrConfig, true, err)
	p.acts.deps.Former = func(revision string) bool { return revision == "another" }
	_, err = next[contract.PlanBatchResult](env, contract.ActivityPlanDevices, contract.PlanBatchInput{PlanID: "other"})
	requireType(t, contract.ErrFleetChanged, false, err)
}

func TestADeviceThatIsHeldIsWaitedFor(t *testing.T) {
	p := newPlant(t)
	p.inService()
	r := p.startPlan(p.plan(planInput(rolled())))
	_, err := p.store.AcquireLease(t.Context(), "edge-001", store.Owner{WorkflowID: "remediate/x", RunID: "1"})
	require.NoError(t, err)
	_, err = p.roll(r)
	requireType(t, contract.ErrLeaseHeld, true, err)
	p.closed = func(store.Owner) (bool, error) { return false, errors.New("unknown") }
	_, err = p.roll(r)
	requireType(t, contract.ErrLeaseHeld, true, err)
}
