package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/activity"

	"edgefleet/devices/fleet"
	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

// journal is fleet.Journal over the store, for one activity: what an earlier
// attempt of the same activity recorded is found by workflow, run and activity
// ID, and every intent checks the caller's lease in the transaction in which
// it is written.
type journal struct {
	store *store.Store
	scope contract.Scope
	// action is the catalogue's name, which the ledger shows.
	action string
	// change is what an earlier attempt's intent was, but for what the ledger
	// keeps of it: item, before and after.
	change fleet.Change
	// planHash stands in every entry of a change that was planned.
	planHash string
	// touch, where it is not nil, notes with every intent that a rollout may
	// have written to the device.
	touch      *store.RolloutDevice
	workflowID string
	runID      string
	activityID string
}

// takeUpWithin bounds a write that goes on after an attempt that died.
const takeUpWithin = 30 * time.Second

func newJournal(ctx context.Context, s *store.Store, scope contract.Scope, action string, change fleet.Change) *journal {
	info := activity.GetInfo(ctx)
	change.Within = takeUpWithin
	return &journal{
		store: s, scope: scope, action: action, change: change,
		workflowID: info.WorkflowExecution.ID, runID: info.WorkflowExecution.RunID, activityID: info.ActivityID,
	}
}

func (j *journal) Capture(ctx context.Context, device string, values []fleet.Captured) error {
	_, err := j.store.CaptureSettings(ctx, j.capture(device, values))
	return ofStore(err)
}

func (j *journal) capture(device string, values []fleet.Captured) store.Capture {
	settings := make([]store.Setting, len(values))
	for i, v := range values {
		settings[i] = store.Setting{Name: v.Setting, Value: v.Value, Unit: v.Unit}
	}
	return store.Capture{DeviceID: device, WorkflowID: j.workflowID, RunID: j.runID, ActivityID: j.activityID, Settings: settings}
}

func (j *journal) Captured(ctx context.Context, device string) ([]fleet.Captured, error) {
	// An activity captures each setting once, and a profile has fewer settings
	// than one answer has room for.
	list, err := j.store.Captures(ctx, store.CaptureQuery{
		DeviceID: device, WorkflowID: j.workflowID, RunID: j.runID, ActivityID: j.activityID, Limit: 1000})
	if err != nil {
		return nil, ofStore(err)
	}
	out := make([]fleet.Captured, len(list))
	for i, c := range list {
		out[i] = fleet.Captured{Setting: c.Name, Value: c.Value, Unit: c.Unit}
	}
	return out, nil
}

func (j *journal) Prior(ctx context.Context, item string) (*fleet.Record, error) {
	key := store.EffectKey{WorkflowID: j.workflowID, RunID: j.runID, ActivityID: j.activityID, Action: j.action, Item: item}
	intent, err := j.store.FindIntent(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, ofStore(err)
	}
	rec := &fleet.Record{Change: j.change}
	rec.Change.Item = item
	if err := errors.Join(decodeValues(intent.Before, &rec.Change.Before), decodeValues(intent.After, &rec.Change.After)); err != nil {
		return nil, fmt.Errorf("ledger entry %d: %w", intent.Seq, err)
	}
	result, err := j.store.FindResult(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return rec, nil
	}
	if err != nil {
		return nil, ofStore(err)
	}
	rec.Outcome, rec.Detail = fleet.Outcome(result.Outcome), result.Reason
	return rec, nil
}

func (j *journal) Intent(ctx context.Context, c fleet.Change, replaces []fleet.Captured) error {
	rec := j.record(c)
	rec.Reason = j.scope.Reason
	beside := store.Beside{Touch: j.touch}
	if len(replaces) > 0 {
		capture := j.capture(c.Target, replaces)
		beside.Capture = &capture
	}
	_, err := j.store.AppendIntentWith(ctx, rec, j.scope.LeaseToken, time.Now().Add(c.Within), beside)
	return ofStore(err)
}

func (j *journal) Result(ctx context.Context, c fleet.Change, o fleet.Outcome, detail string) error {
	rec := j.record(c)
	rec.Outcome, rec.Reason = string(o), detail
	_, err := j.store.AppendResult(ctx, rec)
	return ofStore(err)
}

func (j *journal) record(c fleet.Change) store.Record {
	return store.Record{
		Actor: actorText(j.scope.Actor), DeviceID: j.scope.DeviceID, Action: j.action, Item: c.Item,
		Before: encodeValues(c.Before), After: encodeValues(c.After), IncidentID: j.scope.IncidentID,
		WorkflowID: j.workflowID, RunID: j.runID, ActivityID: j.activityID, PlanHash: j.planHash,
	}
}

// encodeValues renders values as JSON, in which the keys of a map are sorted:
// the same change is the same entry.
func encodeValues(values map[string]string) string {
	if len(values) == 0 {
		return ""
	}
	out, err := json.Marshal(values)
	if err != nil {
		// A map of strings always has a rendering.
		panic(err)
	}
	return string(out)
}

func decodeValues(text string, into *map[string]string) error {
	*into = map[string]string{}
	if text == "" {
		return nil
	}
	return json.Unmarshal([]byte(text), into)
}
