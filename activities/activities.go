package activities

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/worker"
	"go.uber.org/zap"

	"edgefleet/devices/fleet"
	"edgefleet/internal/pager"
	"edgefleet/internal/promcheck"
	"edgefleet/internal/silence"
	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

// Dependencies are what activities work with.
type Dependencies struct {
	// Operator returns the operator over the fleet directory that counts now.
	Operator func() *fleet.Operator
	// Former says that a revision of the fleet directory counted on this worker,
	// and another one has taken its place; nil says it of none.
	Former func(revision string) bool
	// Commit returns the Git commit that the fleet directory that counts now
	// was checked out from, or "".
	Commit func() string
	Store  *store.Store
	Pager  *pager.Pager
	// Silences silences the alerts of devices in work; nil silences nothing.
	Silences *silence.Client
	// Metrics evaluates PromQL for the checks of rollouts; nil knows nothing.
	Metrics *promcheck.Checker
	// Closed says whether a workflow run has ended; see Closed in the worker.
	Closed func(ctx context.Context, owner store.Owner) (bool, error)
	// WebURL is where a person looks at workflows, or "".
	WebURL     string
	Logger     *zap.Logger
	Registerer prometheus.Registerer
}

// Activities implements the catalogue. Device activities need the region's
// network, central ones only the store.
type Activities struct {
	deps    Dependencies
	metrics *metrics
	// endPagesWithin bounds how long the end of an incident waits for
	// Alertmanager.
	endPagesWithin time.Duration
	plans          plans
	// now tells the time by which windows are open.
	now func() time.Time
}

// New returns the activities.
func New(d Dependencies) *Activities {
	return &Activities{deps: d, metrics: newMetrics(d.Registerer), endPagesWithin: 3 * time.Second, now: time.Now}
}

// RegisterDevice registers what runs on a region's queue.
func (a *Activities) RegisterDevice(r worker.ActivityRegistry) {
	register(a, r, contract.ActionCheckNetwork, a.checkNetwork)
	register(a, r, contract.ActionTriggerNetworkReset, a.triggerNetworkReset)
	register(a, r, contract.ActionDetectConfigDrift, a.detectConfigDrift)
	register(a, r, contract.ActionApplyBaselineConfig, a.applyBaselineConfig)
	register(a, r, contract.ActionVerifyDevice, a.verifyDevice)
	register(a, r, contract.ActivityOnboard, a.onboard)
	register(a, r, contract.ActivityScanDrift, a.scanDrift)
	register(a, r, contract.ActivityPlanDevices, a.planDevices)
	register(a, r, contract.ActivityRollOutDevice, a.rollOutDevice)
	register(a, r, contract.ActivityCheckRollout, a.checkRolloutDevices)
	register(a, r, contract.ActivityRollBackDevice, a.rollBackDevice)
	register(a, r, contract.AskDeviceProbe, a.askProbe)
	register(a, r, contract.AskDeviceDrift, a.askDrift)
	register(a, r, contract.AskDeviceFingerprint, a.askFingerprint)
}

// RegisterCentral registers what runs on contract.TaskQueue.
func (a *Activities) RegisterCentral(r worker.ActivityRegistry) {
	register(a, r, contract.ActionUpdateIncidentStatus, a.updateIncidentStatus)
	register(a, r, contract.ActivityBegin, a.begin)
	register(a, r, contract.ActivityFinish, a.finish)
	register(a, r, contract.ActivityEscalate, a.escalate)
	register(a, r, contract.ActivityRecord, a.record)
	register(a, r, contract.ActivitySelect, a.selectDevices)
	register(a, r, contract.ActivityDecommission, a.decommission)
	register(a, r, contract.ActivityBeginPlan, a.beginPlan)
	register(a, r, contract.ActivityPlanMissed, a.planMissed)
	register(a, r, contract.ActivityFreezePlan, a.freezePlan)
	register(a, r, contract.ActivityBeginRollout, a.beginRollout)
	register(a, r, contract.ActivityNoteRollout, a.noteRollout)
	register(a, r, contract.ActivityRolloutLeft, a.rolloutLeft)
	register(a, r, contract.ActivitySettleDevice, a.settleRolloutDevice)
	register(a, r, contract.ActivityAwaitLease, a.awaitLease)
	register(a, r, contract.ActivityCheckMetric, a.checkMetric)
	register(a, r, contract.ActivityReadRunbook, a.readRunbook)
	register(a, r, contract.ActivityRolloutCalendar, a.rolloutCalendar)
	register(a, r, contract.ActivityRolloutTally, a.rolloutTally)
	register(a, r, contract.ActivityTryAgain, a.tryAgain)
	register(a, r, contract.ActivityRollbackLeft, a.rollbackLeft)
	register(a, r, contract.AskRolloutList, a.askRolloutList)
	register(a, r, contract.AskRolloutPlan, a.askRolloutPlan)
	register(a, r, contract.AskRolloutDevices, a.askRolloutDevices)
	register(a, r, contract.AskDeviceList, a.askDeviceList)
	register(a, r, contract.AskDeviceShow, a.askDeviceShow)
	register(a, r, contract.AskIncidentList, a.askIncidentList)
	register(a, r, contract.AskIncidentShow, a.askIncidentShow)
	register(a, r, contract.AskAuditList, a.askAuditList)
	register(a, r, contract.AskAuditVerify, a.askAuditVerify)
	register(a, r, contract.AskRegistryList, a.askRegistryList)
	register(a, r, contract.AskDriftReport, a.askDriftReport)
	register(a, r, contract.AskPatchReport, a.askPatchReport)
}

// register puts an activity behind the border: its errors become Temporal's,
// and its outcomes are counted.
func register[In, Out any](a *Activities, r worker.ActivityRegistry, name string, f func(context.Context, In) (Out, error)) {
	r.RegisterActivityWithOptions(func(ctx context.Context, in In) (Out, error) {
		began := time.Now()
		out, err := f(ctx, in)
		took := time.Since(began)
		a.metrics.observe(ctx, name, took, err)
		a.logAttempt(ctx, name, in, took, err)
		return out, toTemporal(ctx, err)
	}, activity.RegisterOptions{Name: name})
}

func owner(ctx context.Context) store.Owner {
	e := activity.GetInfo(ctx).WorkflowExecution
	return store.Owner{WorkflowID: e.ID, RunID: e.RunID}
}

// heartbeat beats at a quarter of the activity's time-out until stop is called,
// with the last words that say was given: a cancelled activity learns of it,
// and a dead worker is noticed. The device operations speak between requests
// only, and one request may take longer than the time-out. What takes less than
// a quarter of it does not beat at all: a beat is a write in the engine, and
// most devices are done before anybody could read it.
func heartbeat(ctx context.Context) (say func(string), stop func()) {
	interval := activity.GetInfo(ctx).HeartbeatTimeout / 4
	if interval <= 0 {
		return func(string) {}, func() {}
	}
	var last atomic.Value
	last.Store("")
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				activity.RecordHeartbeat(ctx, last.Load())
			}
		}
	}()
	return func(text string) { last.Store(text) }, func() {
		close(done)
		<-stopped
	}
}
