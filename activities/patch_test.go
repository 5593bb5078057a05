package activities

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/devices/credentials"
	"edgefleet/devices/sim/chassis"
	"edgefleet/devices/sim/sshsim"
	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

func TestAPatchGoesThroughThePlanOfARolloutAndBack(t *testing.T) {
	g := newGateways(t)
	plan := g.plan("agent", contract.RolloutStrategy{})
	require.Equal(t, contract.KindPatch, plan.Kind)
	require.Equal(t, "agent", plan.Baseline)
	require.Equal(t, "3.3.0", plan.Version)
	require.Equal(t, 2, plan.Devices(), "%+v", plan.Excluded)
	page, err := do[contract.RolloutPlanPage](g.plant, contract.AskRolloutPlan, contract.RolloutQuery{Plan: plan.Hash, Detail: true})
	require.NoError(t, err)
	require.Equal(t, []contract.PlannedChange{{Setting: "firmware", Before: "edge-agent 3.2.1", After: "3.3.0"}}, page.Devices[0].Changes)
	require.Zero(t, g.orders("gw-1", "install"), "a plan writes nothing")

	env := g.env()
	rollout := g.begin(env, plan)
	left, err := next[contract.RolloutLeft](env, contract.ActivityRolloutLeft, contract.RolloutLeftInput{RolloutID: rollout, UpTo: 9, Limit: 10})
	require.NoError(t, err)
	require.Equal(t, "pair-1", left.Devices[0].Group, "the wave keeps partners apart")
	for _, id := range []string{"gw-1", "gw-2"} {
		v, err := g.roll(env, rollout, id)
		require.NoError(t, err)
		require.Equal(t, contract.DeviceHealthy, v.State, v.Detail)
		require.Equal(t, 1, g.orders(id, "install"))
	}
	checked, err := next[contract.CheckRolloutResult](env, contract.ActivityCheckRollout, contract.CheckRolloutInput{RolloutID: rollout, IDs: []string{"gw-1", "gw-2"}})
	require.NoError(t, err)
	for _, v := range checked.Verdicts {
		require.Equal(t, contract.DeviceHealthy, v.State, v.Detail)
	}
	_, err = g.store.Assignment(t.Context(), "gw-1")
	require.ErrorIs(t, err, store.ErrNotFound, "a patch assigns no settings")
	ledger, err := g.store.ListLedger(t.Context(), store.LedgerQuery{DeviceID: "gw-1", Limit: 100})
	require.NoError(t, err)
	var planned int
	for _, e := range ledger.Entries {
		if e.PlanHash == plan.Hash {
			planned++
		}
	}
	require.Equal(t, 4, planned, "intent and result of the upload and of the installation")

	v, err := g.back(env, rollout, "gw-1")
	require.NoError(t, err)
	require.Equal(t, contract.DeviceBack, v.State, v.Detail)
	require.False(t, v.Unsafe)
	require.Equal(t, 1, g.orders("gw-1", "rollback"))
}

func TestAPatchThatIsNotWellIsRolledBackAndNotUnsafe(t *testing.T) {
	g := newGateways(t)
	g.declare("bad", sshsim.Package("3.4.0", false), "3.4.0", "2026-11-02")
	g.takeUp(t)
	env := g.env()
	rollout := g.begin(env, g.plan("bad", contract.RolloutStrategy{}))
	v, err := g.roll(env, rollout, "gw-1")
	require.NoError(t, err)
	require.Equal(t, contract.DeviceFailed, v.State)
	require.False(t, v.Unsafe, v.Detail)
	require.Contains(t, v.Detail, "rolled back")
	require.Equal(t, 1, g.orders("gw-1", "rollback"))
}

func TestAPartnerThatIsNotWellOrInWorkKeepsADeviceFromItsTurn(t *testing.T) {
	g := newGateways(t)
	plan := g.plan("agent", contract.RolloutStrategy{})
	env := g.env()
	rollout := g.begin(env, plan)
	own := store.Owner{WorkflowID: "rollout/other", RunID: "run"}
	lease, err := g.store.AcquireLease(t.Context(), "gw-2", own)
	require.NoError(t, err)
	_, err = g.roll(env, rollout, "gw-1")
	requireReason(t, err, contract.ErrLeaseHeld)
	require.NoError(t, g.store.ReleaseLease(t.Context(), "gw-2", lease.Token))

	require.NoError(t, g.devices["gw-2"].Break(chassis.FaultOffline, true))
	_, err = g.roll(env, rollout, "gw-1")
	requireReason(t, err, contract.ErrLeaseHeld)
	require.ErrorContains(t, err, "gw-1 waits for its partner in pair-1")
	require.Zero(t, g.orders("gw-1", "install"))
	_, err = g.store.LeaseOf(t.Context(), "gw-1")
	require.ErrorIs(t, err, store.ErrNotFound, "who waits holds nothing")

	secret := filepath.Join(g.secrets, "gateways", credentials.SSHPrivateKey)
	require.NoError(t, os.Rename(secret, secret+".away"))
	_, err = g.roll(env, rollout, "gw-1")
	requireReason(t, err, contract.ErrLeaseHeld)
	require.ErrorContains(t, err, "whether gw-2 is well could not be found out", "which is no reason to begin")
	require.NoError(t, os.Rename(secret+".away", secret))

	require.NoError(t, g.devices["gw-2"].Heal())
	require.Eventually(t, func() bool {
		v, err := g.roll(env, rollout, "gw-1")
		return err == nil && v.State == contract.DeviceHealthy
	}, 10*time.Second, 10*time.Millisecond)
}

func TestAPatchThatIsNotToBeInstalledFailsItsPlanning(t *testing.T) {
	g := newGateways(t)
	g.write("patches/agent.pkg", "edge-agent 9.9.9\n")
	env := g.env()
	begun, err := next[contract.BegunPlan](env, contract.ActivityBeginPlan, contract.PlanRolloutInput{Patch: "agent", Actor: theActor(), Reason: "a test"})
	require.NoError(t, err)
	_, err = next[contract.PlanBatchResult](env, contract.ActivityPlanDevices, contract.PlanBatchInput{PlanID: begun.PlanID})
	requireReason(t, err, contract.ErrConfig)
	require.ErrorContains(t, err, "the patch is refused")
	_, err = next[contract.BegunPlan](env, contract.ActivityBeginPlan, contract.PlanRolloutInput{Patch: "other", Actor: theActor(), Reason: "a test"})
	requireReason(t, err, contract.ErrNotFound)
	require.ErrorContains(t, err, "the fleet directory's folder patches has agent")
}

func TestADowngradeIsLeftOutOfAPlanUnlessItIsAllowed(t *testing.T) {
	g := newGateways(t)
	g.declare("old", sshsim.Package("3.1.0", true), "3.1.0", "2026-01-01")
	g.takeUp(t)
	plan := g.plan("old", contract.RolloutStrategy{})
	require.Zero(t, plan.Devices())
	require.Equal(t, []contract.ExcludedCount{{Reason: contract.ExcludedDowngrade, Devices: 2}}, plan.Excluded)
}

func TestADowngradeIsPlannedAndMadeWhereItIsAllowed(t *testing.T) {
	g := newGateways(t)
	g.declare("old", sshsim.Package("3.1.0", true), "3.1.0", "2026-01-01")
	g.takeUp(t)
	plan := g.plan("old", contract.RolloutStrategy{AllowDowngrade: true})
	require.Equal(t, 2, plan.Devices())
	env := g.env()
	v, err := g.roll(env, g.begin(env, plan), "gw-1")
	require.NoError(t, err)
	require.Equal(t, contract.DeviceHealthy, v.State, v.Detail)
}

func TestTheReportSaysWhatIsOwedSinceWhenAndWhoExceptsIt(t *testing.T) {
	g := newGateways(t)
	g.declare("older", sshsim.Package("3.2.2", true), "3.2.2", "2026-02-01")
	g.takeUp(t)
	report := func(q contract.PatchQuery) contract.PatchPage {
		page, err := do[contract.PatchPage](g.plant, contract.AskPatchReport, q)
		require.NoError(t, err)
		return page
	}
	page := report(contract.PatchQuery{})
	require.Len(t, page.Devices, 2)
	d := page.Devices[0]
	require.Equal(t, []string{contract.PatchOwed, "agent", "3.3.0", "edge-agent 3.2.1"}, []string{d.State, d.Patch, d.PatchVersion, d.Version})
	require.WithinDuration(t, time.Now(), *d.OwedSince, time.Minute, "it is owed since the device is in service, when that is later")
	require.Empty(t, report(contract.PatchQuery{OlderThan: time.Hour}).Devices)

	g.write("patches/agent.yaml", g.read("patches/agent.yaml")+"exceptions: [{ids: [gw-2], by: J. Doe, reason: isolated, until: 2999-01-01}]\n")
	g.takeUp(t)
	env := g.env()
	_, err := g.roll(env, g.begin(env, g.plan("agent", contract.RolloutStrategy{})), "gw-1")
	require.NoError(t, err)
	page = report(contract.PatchQuery{})
	require.Equal(t, contract.PatchCurrent, page.Devices[0].State)
	require.Equal(t, "edge-agent 3.3.0", page.Devices[0].Version)
	require.Nil(t, page.Devices[0].OwedSince)
	require.Equal(t, contract.PatchExcepted, page.Devices[1].State)
	require.Equal(t, "J. Doe", page.Devices[1].ExceptedBy)
	require.Empty(t, report(contract.PatchQuery{Owed: true}).Devices)
}
