package activities

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"go.temporal.io/sdk/activity"
	"go.uber.org/zap"

	"edgefleet/devices/fleetdir"
	"edgefleet/devices/inventory"
	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

// begin takes the lease, opens the incident and brings the runbook, all of one
// revision of the fleet. The runbook comes first: one that is not there must
// not leave an incident behind.
func (a *Activities) begin(ctx context.Context, in contract.BeginInput) (contract.BeginResult, error) {
	declared := a.deps.Operator().Fleet()
	d, _, err := declared.Device(in.DeviceID)
	if err != nil {
		return contract.BeginResult{}, err
	}
	source, err := runbookSource(declared, in.Runbook)
	if err != nil {
		return contract.BeginResult{}, permanent(contract.ErrConfig, err)
	}
	begin := store.EpisodeBegin{DeviceID: in.DeviceID, Owner: owner(ctx), Reason: in.Reason}
	if in.Alert != nil {
		begin.AlertName = in.Alert.Name
	}
	episode, err := a.beginEpisode(ctx, begin)
	if err != nil {
		return contract.BeginResult{}, err
	}
	hash := sha256.Sum256([]byte(source))
	return contract.BeginResult{
		Device: wireDevice(d), LeaseToken: episode.Lease.Token, IncidentID: episode.Incident.ID,
		Source: source, Hash: hex.EncodeToString(hash[:]), Revision: declared.Revision(),
	}, nil
}

// beginEpisode is the store's, for a device that may be a dead workflow's.
func (a *Activities) beginEpisode(ctx context.Context, begin store.EpisodeBegin) (store.Episode, error) {
	return seize(ctx, a, func() (store.Episode, error) { return a.deps.Store.BeginEpisode(ctx, begin) })
}

// seize takes a device. It takes over the lease of a workflow that is known to
// have ended, so that nobody waits for the housekeeping.
func seize[T any](ctx context.Context, a *Activities, take func() (T, error)) (T, error) {
	got, err := take()
	var held *store.LeaseHeldError
	if !errors.As(err, &held) {
		return got, err
	}
	closed, closedErr := a.deps.Closed(ctx, held.Lease.Owner)
	if closedErr != nil || !closed {
		return got, err
	}
	if err := a.Abandon(ctx, held.Lease); err != nil {
		return got, err
	}
	return take()
}

// Abandon gives the incidents of a run that ended without a word their end,
// and its lease back unless a write of it may be in flight. The caller knows
// that the run has ended.
func (a *Activities) Abandon(ctx context.Context, lease store.Lease) error {
	incidents, err := a.deps.Store.Incidents(ctx, store.IncidentQuery{DeviceID: lease.DeviceID, WorkflowID: lease.WorkflowID, Going: true})
	if err != nil {
		return err
	}
	for _, i := range incidents {
		if i.RunID != lease.RunID {
			continue
		}
		ended, err := a.deps.Store.EndEpisode(ctx, store.EpisodeEnd{
			DeviceID: i.DeviceID, LeaseToken: lease.Token, IncidentID: i.ID, Status: store.StatusAbandoned,
			Detail: "the workflow ended without a word: it was terminated, or timed out",
			Actor:  "housekeeping", ActivityID: "housekeeping", Owner: lease.Owner,
		})
		if err != nil {
			return err
		}
		a.metrics.ended(ended)
		a.deps.Logger.Warn("incident abandoned", zap.String("incident", i.ID), zap.String("device", i.DeviceID),
			zap.String("workflow", i.WorkflowID), zap.String("run", i.RunID))
	}
	return a.deps.Store.Reap(ctx, lease.DeviceID, lease.Token)
}

// runbookSource is the runbook of the loaded revision, unless the caller
// brought one along.
func runbookSource(f *fleetdir.Fleet, ref contract.RunbookRef) (string, error) {
	if ref.Source != "" {
		if len(ref.Source) > fleetdir.MaxRunbook {
			return "", fmt.Errorf("runbook %s has %d bytes, at most %d are allowed", ref.Path, len(ref.Source), fleetdir.MaxRunbook)
		}
		return ref.Source, nil
	}
	return f.Runbooks.Source(ref.Path)
}

func wireDevice(d inventory.Device) contract.Device {
	return contract.Device{ID: d.ID, Site: d.Site, Region: d.Region, Class: d.Class, Profile: d.Profile, Address: d.Address, Labels: d.Labels}
}

// finish ends whatever this run began on the device. A run that was cancelled
// while it waited for the lease may have begun nothing.
func (a *Activities) finish(ctx context.Context, in contract.FinishInput) (contract.IncidentReport, error) {
	own := owner(ctx)
	incidents, err := a.deps.Store.Incidents(ctx, store.IncidentQuery{DeviceID: in.DeviceID, WorkflowID: own.WorkflowID})
	if err != nil {
		return contract.IncidentReport{}, err
	}
	var out contract.IncidentReport
	for _, i := range incidents {
		if i.RunID != own.RunID {
			continue
		}
		token := in.LeaseToken
		if lease, err := a.deps.Store.LeaseOf(ctx, in.DeviceID); err == nil && lease.Owner == own {
			token = lease.Token
		}
		ended, err := a.deps.Store.EndEpisode(ctx, store.EpisodeEnd{
			DeviceID: in.DeviceID, LeaseToken: token, IncidentID: i.ID, Status: in.Outcome, Detail: clip(in.Detail, maxDetail),
			Actor: actorText(in.Actor), ActivityID: activity.GetInfo(ctx).ActivityID, Owner: own,
		})
		if err != nil {
			return out, err
		}
		if i.EndedAt == nil {
			a.metrics.ended(ended)
			a.deps.Logger.Info("incident ended", zap.String("incident", i.ID), zap.String("device", i.DeviceID), zap.String("alert", i.AlertName),
				zap.String("outcome", in.Outcome), zap.String("workflow", own.WorkflowID), zap.String("run", own.RunID))
		}
		out = contract.IncidentReport{IncidentID: ended.ID, Status: ended.Status}
	}
	if in.Outcome == contract.OutcomeResolved || in.Outcome == contract.OutcomeCleared {
		a.endPages(ctx, in.DeviceID)
	}
	return out, nil
}

func (a *Activities) updateIncidentStatus(ctx context.Context, in contract.ActionInput) (contract.IncidentReport, error) {
	status := in.Args["status"]
	if status == "" {
		status = store.StatusMitigated
	}
	info := activity.GetInfo(ctx)
	i, err := a.deps.Store.UpdateIncident(ctx, store.IncidentUpdate{
		IncidentID: in.IncidentID, Status: status, Note: in.Args["note"],
		Key: info.WorkflowExecution.RunID + "/" + info.ActivityID,
	})
	if err != nil {
		return contract.IncidentReport{}, err
	}
	return contract.IncidentReport{IncidentID: i.ID, Status: i.Status}, nil
}

func (a *Activities) record(ctx context.Context, in contract.RecordInput) (int64, error) {
	own := owner(ctx)
	by := in.Actor
	if in.By != "" {
		by = contract.Actor{Kind: contract.ActorOperator, Name: in.By}
	}
	entry, err := a.deps.Store.AppendEvent(ctx, store.Record{
		Actor: actorText(by), DeviceID: in.DeviceID, Action: in.Event,
		Outcome: in.Outcome, Reason: in.Detail, IncidentID: in.IncidentID,
		WorkflowID: own.WorkflowID, RunID: own.RunID, ActivityID: activity.GetInfo(ctx).ActivityID,
	})
	return entry.Seq, err
}
