package cli_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"edgefleet/internal/temporalx"
	"edgefleet/starter/cli"
	"edgefleet/workflows/contract"
)

const planHash = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// rolling answers as the engine with its workers would that have rollouts.
type rolling struct {
	*fakeTemporal
	started  []any
	options  []client.StartWorkflowOptions
	startErr error
	// ends is what a workflow ends with, by its type; looks are the progress of
	// rollouts, one after the other, and wave that of the wave.
	result any
	err    error
	// frozen, where it is not nil, is what plannings end with instead.
	frozen *contract.PlanProgress
	// fails are the errors of the first runs that are waited for.
	fails  []error
	looks  []contract.RolloutProgress
	wave   *contract.WaveProgress
	looked int
	over   chan struct{}
	// told are the updates; text is what they are answered.
	told    []client.UpdateWorkflowOptions
	text    string
	refusal error
	gone    bool
}

func (r *rolling) ExecuteWorkflow(ctx context.Context, o client.StartWorkflowOptions, workflow any, args ...any) (client.WorkflowRun, error) {
	if workflow == contract.WorkflowInspect {
		return r.fakeTemporal.ExecuteWorkflow(ctx, o, workflow, args...)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.options, r.started = append(r.options, o), append(r.started, args[0])
	if r.startErr != nil {
		return nil, r.startErr
	}
	return &rollingRun{r: r, id: o.ID}, nil
}

func (r *rolling) GetWorkflow(_ context.Context, id, _ string) client.WorkflowRun {
	return &rollingRun{r: r, id: id}
}

func (r *rolling) QueryWorkflow(_ context.Context, id, _, _ string, _ ...any) (converter.EncodedValue, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var answer any
	switch {
	case strings.HasPrefix(id, "plan-rollout/") && r.frozen != nil:
		return nil, serviceerror.NewNotFound("workflow not found")
	case strings.Contains(id, "/wave-"):
		answer = r.wave
	case len(r.looks) == 0:
		return nil, serviceerror.NewNotFound("workflow not found")
	default:
		answer = r.looks[min(r.looked, len(r.looks)-1)]
		if r.looked++; r.looked == len(r.looks) {
			close(r.over)
		}
	}
	payloads, err := converter.GetDefaultDataConverter().ToPayloads(answer)
	return client.NewValue(payloads), err
}

func (r *rolling) UpdateWorkflow(_ context.Context, o client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error) {
	r.told = append(r.told, o)
	if r.gone {
		return nil, serviceerror.NewNotFound("workflow execution already completed")
	}
	return toldUpdate{fakeUpdate{id: o.WorkflowID, err: r.refusal}, r.text}, nil
}

type toldUpdate struct {
	fakeUpdate
	text string
}

func (u toldUpdate) Get(_ context.Context, into any) error {
	if u.err == nil && into != nil {
		*into.(*string) = u.text
	}
	return u.err
}

type rollingRun struct {
	r  *rolling
	id string
}

func (r *rollingRun) GetID() string                  { return r.id }
func (r *rollingRun) GetRunID() string               { return "the-run" }
func (r *rollingRun) GetFirstExecutionRunID() string { return "the-run" }

func (r *rollingRun) Get(ctx context.Context, into any) error {
	if plan, ok := into.(*contract.PlanProgress); ok && r.r.frozen != nil {
		*plan = *r.r.frozen
		return nil
	}
	if len(r.r.looks) > 0 {
		select {
		case <-r.r.over:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if len(r.r.fails) > 0 {
		err := r.r.fails[0]
		r.r.fails = r.r.fails[1:]
		return err
	}
	if r.r.err != nil {
		return r.r.err
	}
	payloads, err := converter.GetDefaultDataConverter().ToPayloads(r.r.result)
	if err != nil {
		return err
	}
	return converter.GetDefaultDataConverter().FromPayloads(payloads, into)
}

func (r *rollingRun) GetWithOptions(ctx context.Context, into any, _ client.WorkflowRunGetOptions) error {
	return r.Get(ctx, into)
}

// rolloutSession is a session with a world that has rollouts.
func rolloutSession(t *testing.T, r *rolling) *session {
	if r.fakeTemporal == nil {
		r.fakeTemporal = &fakeTemporal{}
	}
	if r.answer == nil {
		r.answer = rolloutAnswers
	}
	r.over = make(chan struct{})
	s := newSession(t, r.fakeTemporal)
	s.options.Every = time.Nanosecond
	s.options.Clock = func() time.Time { return at(60) }
	s.options.Dial = func(context.Context, temporalx.Options) (cli.Temporal, error) { return r, nil }
	return s
}

// rolloutAnswers are the store's.
func rolloutAnswers(in contract.InspectInput) (contract.InspectResult, error) {
	strategy := contract.RolloutStrategy{Windows: []contract.RolloutWindow{{Zone: "Europe/Berlin", Days: []string{"mon", "tue"}, From: "22:00", To: "05:00"}},
		Approval: contract.RolloutApproval{Before: contract.ApproveFleet}}.WithDefaults()
	change := contract.PlannedChange{Setting: "report_interval", Before: "60", After: "90", Unit: "s"}
	file := contract.PlannedChange{Setting: "edge_config", Before: "sha256:aa (10 bytes)", After: "sha256:bb (11 bytes)",
		Diff: "--- before\n+++ after\n@@ -1,2 +1,2 @@\n poll: 10\n-up: a\n+up: \x1b[2Jb\n"}
	plan := contract.RolloutPlan{Hash: planHash, Baseline: "feeder-standard", Version: "2026.12.1", File: "feeder-standard.yaml", Select: "region=north",
		Strategy: strategy, Requester: "operator:kim", Reason: "spring", CreatedAt: at(0), ExpiresAt: at(0).Add(24 * time.Hour), Takes: 75 * time.Second,
		Waves:    []contract.PlanWave{{Number: 1, Name: "canary", Devices: 1, Takes: 2 * time.Second}, {Number: 2, Name: "100%", Devices: 2, Takes: 73 * time.Second}},
		Excluded: []contract.ExcludedCount{{Reason: contract.ExcludedUnreachable, Devices: 1}}}
	device := func(id string, wave int, changes ...contract.PlannedChange) contract.PlannedDevice {
		return contract.PlannedDevice{DeviceRef: contract.DeviceRef{ID: id, Site: "s1", Region: "north"}, Wave: wave, Changes: changes, Takes: 2 * time.Second, Window: "mon,tue 22:00-05:00 Europe/Berlin"}
	}
	switch in.Question {
	case contract.AskRolloutPlan:
		if !strings.HasPrefix(planHash, in.Rollout.Plan) {
			return contract.InspectResult{}, appError(contract.ErrNotFound, `there is no plan or rollout "`+in.Rollout.Plan+`"; see edgefleet rollout list`)
		}
		page := contract.RolloutPlanPage{RolloutPlan: plan, Devices: []contract.PlannedDevice{device("edge-001", 1, change), device("edge-002", 2, change)}, Next: "edge-002"}
		if in.Rollout.After != "" {
			dark := device("edge-004", 0)
			dark.Excluded, dark.Detail = contract.ExcludedUnreachable, "edge-004 does not answer"
			page.Devices, page.Next = []contract.PlannedDevice{device("gw-003", 2, file), dark}, ""
		}
		return contract.InspectResult{RolloutPlan: &page}, nil
	case contract.AskRolloutList:
		began := at(5)
		return contract.InspectResult{Rollouts: []contract.RolloutSummary{
			{RolloutID: planHash[:12], PlanHash: planHash, Baseline: "feeder-standard", Version: "2026.12.1", State: contract.RolloutPaused, Detail: "it hums",
				Total: 3, Requester: "operator:kim", CreatedAt: at(0), ExpiresAt: at(9), StartedAt: &began, RolloutCounts: contract.RolloutCounts{Healthy: 1, Failed: 1}},
			{PlanHash: strings.Repeat("f", 64), Baseline: "feeder-standard", Version: "2026.12.0", State: "planned", Total: 9, Requester: "operator:bob", CreatedAt: at(0), ExpiresAt: at(1)},
		}}, nil
	case contract.AskRolloutDevices:
		ended := at(8)
		return contract.InspectResult{RolloutDevices: &contract.RolloutDevicePage{Devices: []contract.RolloutDevice{
			{DeviceID: "edge-001", State: contract.DeviceFailed, Unsafe: true, Touched: true, Detail: "it hums", Attempts: 2, BeganAt: at(6), EndedAt: &ended}}}}, nil
	}
	return everything(), nil
}

func standing(state, detail string, counts ...contract.RolloutCounts) contract.RolloutProgress {
	p := contract.RolloutProgress{RolloutID: planHash[:12], PlanHash: planHash, Baseline: "feeder-standard", Version: "2026.12.1", State: state, Detail: detail, Total: 3, Began: at(0)}
	for i, name := range []string{"canary", "100%"} {
		w := contract.WaveStatus{PlanWave: contract.PlanWave{Number: i + 1, Name: name, Devices: i + 1}}
		if i < len(counts) {
			began := at(i)
			w.RolloutCounts, w.Began = counts[i], &began
			p.Sum(counts[i])
		}
		p.Waves = append(p.Waves, w)
	}
	return p
}

func ended(p contract.RolloutProgress) contract.RolloutProgress {
	now := at(50)
	p.Ended = &now
	p.Events = []contract.Moment{{At: at(1), Text: "wave 1 (canary, 1 devices) begins"}, {At: at(50), Text: p.State + ": \x1b[2Jover"}}
	return p
}
