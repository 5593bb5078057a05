package workflows

import (
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"edgefleet/workflows/contract"
	"edgefleet/workflows/runbook"
)

// defaultLeaseWait bounds the wait for another workflow's lease.
const defaultLeaseWait = 30 * time.Minute

// Remediate heals one device: it takes the device's lease, opens an incident,
// runs the runbook, verifies on the device itself, gives the incident its end
// and releases the lease. Whatever happens, the last two happen. It fails when
// the device is not healthy afterwards, so that the alert's next repeat is
// allowed to try again. Programs keeps compiled runbooks for the next run.
func Remediate(ctx workflow.Context, in contract.RemediateInput, programs *runbook.Cache) (contract.RemediateResult, error) {
	r := &remediation{in: in, programs: programs, began: workflow.Now(ctx)}
	r.scope = contract.Scope{DeviceID: in.DeviceID, Actor: in.Actor, Reason: in.Reason}
	r.progress = contract.Progress{DeviceID: in.DeviceID, Phase: "waiting for the device's lease", Timeline: []contract.Moment{}}
	if err := r.setup(ctx); err != nil {
		return contract.RemediateResult{}, err
	}
	return r.run(ctx)
}

type remediation struct {
	in       contract.RemediateInput
	programs *runbook.Cache
	began    time.Time
	scope    contract.Scope
	begin    contract.BeginResult
	gates    *runbook.Gates
	progress contract.Progress
	// dropped counts the lines of the timeline that had no room.
	dropped int
}

func (r *remediation) setup(ctx workflow.Context) error {
	if err := contract.ValidDeviceID(r.in.DeviceID); err != nil {
		return temporal.NewNonRetryableApplicationError(err.Error(), contract.ErrConfig, err)
	}
	if err := workflow.SetQueryHandler(ctx, contract.QueryProgress, func() (contract.Progress, error) {
		return r.progress, nil
	}); err != nil {
		return err
	}
	gates, err := runbook.SetupGates(ctx)
	if err != nil {
		return err
	}
	r.gates = gates
	resolved := workflow.GetSignalChannel(ctx, contract.SignalAlertResolved)
	workflow.Go(ctx, func(ctx workflow.Context) {
		var at time.Time
		resolved.Receive(ctx, &at)
		r.progress.ResolvedAt = &at
		r.note(ctx, "Alertmanager says that the alert has ended")
		for {
			// Alertmanager repeats itself; a signal that nobody takes would
			// be complained of at the end.
			resolved.Receive(ctx, nil)
		}
	})
	r.showDetails(ctx)
	return nil
}

// run is the order of things. Every way out after the lease was asked for
// goes through finish.
func (r *remediation) run(ctx workflow.Context) (contract.RemediateResult, error) {
	outcome, detail, cause := r.heal(ctx)
	// The end must happen even when the workflow was cancelled.
	after, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	r.phase(after, "finishing")
	finishErr := r.finish(after, outcome, detail)
	if outcome == contract.OutcomeEscalated {
		r.escalate(after, detail)
	}
	if err := r.showOutcome(after, outcome); err != nil {
		return contract.RemediateResult{}, err
	}
	r.phase(after, outcome)
	switch {
	case temporal.IsCanceledError(cause):
		return contract.RemediateResult{}, cause
	case outcome == contract.OutcomeEscalated:
		return contract.RemediateResult{}, failure(detail, cause)
	case finishErr != nil:
		return contract.RemediateResult{}, finishErr
	}
	return contract.RemediateResult{Outcome: outcome, IncidentID: r.scope.IncidentID, Detail: detail}, nil
}

func (r *remediation) showOutcome(ctx workflow.Context, outcome string) error {
	updates := []temporal.SearchAttributeUpdate{temporal.NewSearchAttributeKeyKeyword(contract.AttrOutcome).ValueSet(outcome)}
	if r.begin.Hash != "" {
		updates = append(updates, temporal.NewSearchAttributeKeyKeyword(contract.AttrRunbookHash).ValueSet(r.begin.Hash))
	}
	return workflow.UpsertTypedSearchAttributes(ctx, updates...)
}

// heal does the work and says how it went; cause is set when it went wrong.
func (r *remediation) heal(ctx workflow.Context) (outcome, detail string, cause error) {
	if err := r.takeLease(ctx); err != nil {
		return r.wentWrong("could not begin", err)
	}
	if r.progress.ResolvedAt != nil {
		// The alert ended while the lease was somebody else's. Nothing is
		// changed on the word of an alert that is over, if the device agrees.
		health, err := r.verify(ctx)
		if err == nil && health.Healthy {
			return contract.OutcomeCleared, "the alert ended before anything was done; " + health.Detail, nil
		}
	}
	if err := r.runRunbook(ctx); err != nil {
		return r.wentWrong("the runbook failed", err)
	}
	health, err := r.verify(ctx)
	if err != nil {
		return r.wentWrong("could not verify the device", err)
	}
	if !health.Healthy {
		return contract.OutcomeEscalated, "not healthy after the runbook: " + health.Detail,
			temporal.NewNonRetryableApplicationError(health.Detail, contract.ErrNotHealthy, nil)
	}
	return contract.OutcomeResolved, health.Detail, nil
}

func (r *remediation) wentWrong(what string, err error) (string, string, error) {
	if temporal.IsCanceledError(err) {
		return contract.OutcomeCancelled, what + ": the remediation was cancelled", err
	}
	return contract.OutcomeEscalated, what + ": " + rootMessage(err), err
}

func (r *remediation) takeLease(ctx workflow.Context) error {
	wait := r.in.LeaseWait
	if wait <= 0 {
		wait = defaultLeaseWait
	}
	ctx = workflow.WithActivityOptions(ctx, leaseOptions(wait, r.in.DeviceID))
	input := contract.BeginInput{
		DeviceID: r.in.DeviceID, Actor: r.in.Actor, Reason: r.in.Reason, Alert: r.in.Alert, Runbook: r.in.Runbook,
	}
	if err := workflow.ExecuteActivity(ctx, contract.ActivityBegin, input).Get(ctx, &r.begin); err != nil {
		return err
	}
	r.scope.LeaseToken, r.scope.IncidentID = r.begin.LeaseToken, r.begin.IncidentID
	r.progress.IncidentID = r.begin.IncidentID
	r.note(ctx, "lease taken, incident %s opened", r.begin.IncidentID)
	return r.showPlace(ctx)
}

// showPlace sets the site and region, unless the bridge could take them from
// the alert's labels already: each upsert is a write more for the engine.
func (r *remediation) showPlace(ctx workflow.Context) error {
	d := r.begin.Device
	if a := r.in.Alert; a != nil && a.Labels["site"] == d.Site && a.Labels["region"] == d.Region {
		return nil
	}
	return workflow.UpsertTypedSearchAttributes(ctx,
		temporal.NewSearchAttributeKeyKeyword(contract.AttrSite).ValueSet(d.Site),
		temporal.NewSearchAttributeKeyKeyword(contract.AttrRegion).ValueSet(d.Region))
}

func (r *remediation) verify(ctx workflow.Context) (contract.HealthReport, error) {
	r.phase(ctx, "verifying on the device")
	action := contract.MustAction(contract.ActionVerifyDevice)
	ctx = workflow.WithActivityOptions(ctx, actionOptions(action, r.begin.Device.Region,
		"verify device, "+r.in.DeviceID))
	var health contract.HealthReport
	err := workflow.ExecuteActivity(ctx, action.Name, contract.ActionInput{Scope: r.scope}).Get(ctx, &health)
	if err == nil {
		r.note(ctx, "verified: %s", health.Detail)
	}
	return health, err
}

func (r *remediation) finish(ctx workflow.Context, outcome, detail string) error {
	ctx = workflow.WithActivityOptions(ctx, recordOptions("close incident, "+outcome))
	return workflow.ExecuteActivity(ctx, contract.ActivityFinish,
		contract.FinishInput{Scope: r.scope, Outcome: outcome, Detail: detail}).Get(ctx, nil)
}

// escalate pages people. It comes after the lease was released, because
// Alertmanager may be away for long; when it stays away, the incident says
// that it was escalated and the workflow's failure stands in the Web UI.
func (r *remediation) escalate(ctx workflow.Context, detail string) {
	ctx = workflow.WithActivityOptions(ctx, escalateOptions(r.in.DeviceID))
	err := workflow.ExecuteActivity(ctx, contract.ActivityEscalate, contract.EscalateInput{
		Scope: r.scope, Device: r.begin.Device, Alert: r.in.Alert, Detail: detail,
	}).Get(ctx, nil)
	if err != nil {
		r.note(ctx, "nobody could be paged: %s", rootMessage(err))
		return
	}
	r.note(ctx, "escalated: %s raised", contract.AlertRemediationFailed)
}

// failure keeps the type of the cause, so that the Web UI and a caller can
// tell a bug of the runbook from a device that stays dark.
func failure(detail string, cause error) error {
	return temporal.NewNonRetryableApplicationError(detail, reasonOf(cause), cause)
}

// rootMessage is what a person wants to read: the innermost application
// error, without the SDK's wrapping.
func rootMessage(err error) string {
	var app *temporal.ApplicationError
	if errors.As(err, &app) {
		return app.Message()
	}
	var timeout *temporal.TimeoutError
	if errors.As(err, &timeout) {
		if last := timeout.Unwrap(); last != nil {
			return fmt.Sprintf("time ran out; last: %s", rootMessage(last))
		}
		return "time ran out"
	}
	return err.Error()
}
