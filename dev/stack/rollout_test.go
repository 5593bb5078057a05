package stack_test

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	sdkclient "go.temporal.io/sdk/client"

	"edgefleet/workflows/contract"
)

var rollsOut = contract.Actor{Kind: contract.ActorOperator, Name: "ann"}

// newBaseline is the sample's baseline with other settings.
func newBaseline(t testing.TB, s *site, version string, settings map[string]string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(s.dir, "fleet", "edge-configs", "feeder-standard.yaml"))
	require.NoError(t, err)
	lines := strings.Split(string(data), "\n")
	for i, line := range lines {
		name, _, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "version" {
			lines[i] = "version: " + version
		}
		if value, ok := settings[name]; ok {
			lines[i] = "  " + name + ": " + value
		}
	}
	return strings.Join(lines, "\n")
}

// onboardAll takes the whole fleet into service.
func (s *site) onboardAll() {
	s.t.Helper()
	run, err := s.temporal.ExecuteWorkflow(s.t.Context(), sdkclient.StartWorkflowOptions{
		ID: contract.OnboardID(rand.Text()), TaskQueue: contract.TaskQueue, WorkflowExecutionTimeout: 10 * time.Minute,
	}, contract.WorkflowOnboard, contract.OnboardInput{Selection: contract.Selection{All: true}, Actor: rollsOut, Reason: "a test"})
	require.NoError(s.t, err)
	var out contract.OnboardProgress
	require.NoError(s.t, run.Get(s.t.Context(), &out))
	require.Zero(s.t, out.Failed)
}

// planRollout plans a baseline and returns the plan.
func (s *site) planRollout(text, sel string, strategy contract.RolloutStrategy) *contract.RolloutPlan {
	s.t.Helper()
	run, err := s.temporal.ExecuteWorkflow(s.t.Context(), sdkclient.StartWorkflowOptions{
		ID: contract.PlanRolloutID(rand.Text()), TaskQueue: contract.TaskQueue, WorkflowExecutionTimeout: 10 * time.Minute,
	}, contract.WorkflowPlanRollout, contract.PlanRolloutInput{File: "feeder-standard.yaml", Text: text, Select: sel, Strategy: strategy, Actor: rollsOut, Reason: "a test"})
	require.NoError(s.t, err)
	var out contract.PlanProgress
	require.NoError(s.t, run.Get(s.t.Context(), &out))
	require.NotNil(s.t, out.Plan)
	return out.Plan
}

func (s *site) startRollout(plan *contract.RolloutPlan) sdkclient.WorkflowRun {
	s.t.Helper()
	run, err := s.temporal.ExecuteWorkflow(s.t.Context(), sdkclient.StartWorkflowOptions{
		ID: contract.RolloutWorkflowID(contract.RolloutOf(plan.Hash)), TaskQueue: contract.TaskQueue, WorkflowExecutionTimeout: time.Hour,
	}, contract.WorkflowRollout, contract.RolloutInput{PlanHash: plan.Hash, Actor: rollsOut, Reason: "a test"})
	require.NoError(s.t, err)
	return run
}

// rolledOut waits for the end of a rollout.
func (s *site) rolledOut(run sdkclient.WorkflowRun) contract.RolloutProgress {
	s.t.Helper()
	var out contract.RolloutProgress
	require.NoError(s.t, run.Get(s.t.Context(), &out))
	return out
}

// rolloutIs waits until the rollout is in a state.
func (s *site) rolloutIs(run sdkclient.WorkflowRun, state string) contract.RolloutProgress {
	s.t.Helper()
	var p contract.RolloutProgress
	until(s.t, patience, func() error {
		answer, err := s.temporal.QueryWorkflow(s.t.Context(), run.GetID(), "", contract.QueryProgress)
		if err != nil {
			return err
		}
		p = contract.RolloutProgress{}
		if err := answer.Get(&p); err != nil {
			return err
		}
		if p.State != state {
			return fmt.Errorf("%s is %s (%s), and %s is waited for", run.GetID(), p.State, p.Detail, state)
		}
		return nil
	})
	return p
}

// tellRollout sends an update and returns its answer.
func (s *site) tellRollout(run sdkclient.WorkflowRun, update string, arg any) (string, error) {
	s.t.Helper()
	handle, err := s.temporal.UpdateWorkflow(s.t.Context(), sdkclient.UpdateWorkflowOptions{
		WorkflowID: run.GetID(), UpdateName: update, Args: []any{arg}, WaitForStage: sdkclient.WorkflowUpdateStageCompleted})
	if err != nil {
		return "", err
	}
	var text string
	err = handle.Get(s.t.Context(), &text)
	return text, err
}

// sum adds up what clients wrote to a device.
func (s *site) sum(device string) (n int) {
	for _, c := range s.written(device) {
		n += c
	}
	return n
}

func feeders(n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprintf("edge-%03d", i+1))
	}
	return ids
}

func TestARolloutGoesFromItsCanaryToTheWholeFleet(t *testing.T) {
	const n = 12
	s := startStack(t, n)
	s.onboardAll()
	before := map[string]int{}
	for _, id := range feeders(n) {
		before[id] = s.sum(id)
	}
	plan := s.planRollout(newBaseline(t, s, "2026.12.1", map[string]string{"report_interval": "90"}), "", contract.RolloutStrategy{
		Waves: []string{"50%", "100%"}, Approval: contract.RolloutApproval{Before: contract.ApproveFleet}})
	require.Equal(t, n, plan.Devices())
	require.Len(t, plan.Waves, 3)
	require.Equal(t, []string{"canary", "50%", "100%"}, []string{plan.Waves[0].Name, plan.Waves[1].Name, plan.Waves[2].Name})
	for _, id := range feeders(n) {
		require.Equal(t, before[id], s.sum(id), "a plan writes nothing")
	}

	run := s.startRollout(plan)
	p := s.rolloutIs(run, contract.RolloutWaiting)
	require.Equal(t, 1, p.Healthy)
	_, err := s.tellRollout(run, contract.UpdateRolloutApprove, contract.RolloutDecision{By: "ann", Approved: true, PlanHash: plan.Hash})
	require.ErrorContains(t, err, "ann has asked for this rollout, so somebody else has to approve it")
	_, err = s.tellRollout(run, contract.UpdateRolloutApprove, contract.RolloutDecision{By: "bob", Approved: true, PlanHash: "f00d"})
	require.ErrorContains(t, err, "this rollout carries out")
	_, err = s.tellRollout(run, contract.UpdateRolloutResume, contract.RolloutCommand{By: "bob"})
	require.ErrorContains(t, err, "approve that")
	_, err = s.tellRollout(run, contract.UpdateRolloutApprove, contract.RolloutDecision{By: "bob", Approved: true, PlanHash: plan.Hash})
	require.NoError(t, err)

	p = s.rolledOut(run)
	require.Equal(t, contract.RolloutDone, p.State, p.Detail)
	require.Equal(t, contract.RolloutCounts{Healthy: n}, p.RolloutCounts)
	for _, w := range p.Waves {
		require.Equal(t, contract.VerdictHealthy, w.Verdict)
	}
	for _, id := range feeders(n) {
		require.Equal(t, before[id]+1, s.sum(id), "%s: one setting of one register, written once", id)
		a, err := s.store.Assignment(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, "2026.12.1", a.Version)
		s.free(id)
	}

	// A plan runs once.
	_, err = s.temporal.ExecuteWorkflow(t.Context(), sdkclient.StartWorkflowOptions{ID: "rollout/again", TaskQueue: contract.TaskQueue},
		contract.WorkflowRollout, contract.RolloutInput{PlanHash: plan.Hash, Actor: rollsOut})
	require.NoError(t, err)
	again := s.temporal.GetWorkflow(t.Context(), "rollout/again", "")
	require.ErrorContains(t, again.Get(t.Context(), nil), "the plan was started by operator:ann")

	// After its end it can still be taken back.
	back, err := s.temporal.ExecuteWorkflow(t.Context(), sdkclient.StartWorkflowOptions{ID: contract.RollbackID(p.RolloutID), TaskQueue: contract.TaskQueue},
		contract.WorkflowRollback, contract.RollbackInput{RolloutID: p.RolloutID, Actor: rollsOut, Reason: "a test", Own: true})
	require.NoError(t, err)
	var undone contract.RollbackProgress
	require.NoError(t, back.Get(t.Context(), &undone))
	require.Equal(t, []int{n, 0}, []int{undone.Back, undone.Kept}, "%+v", undone.Findings)
	for _, id := range feeders(n) {
		require.Equal(t, before[id]+2, s.sum(id))
	}
	rollout, err := s.store.Rollout(t.Context(), p.RolloutID)
	require.NoError(t, err)
	require.Equal(t, contract.RolloutRolledBack, rollout.State)
	s.intact()
}

func TestABadBaselineStopsAtTheCanaryAndGoesBack(t *testing.T) {
	const n = 6
	s := startStack(t, n)
	s.onboardAll()
	before := map[string]int{}
	for _, id := range feeders(n) {
		before[id] = s.sum(id)
	}
	text := newBaseline(t, s, "2026.12.2", map[string]string{"report_interval": "120"})
	plan := s.planRollout(text, "", contract.RolloutStrategy{OnBreach: contract.BreachRollBack,
		Checks: contract.RolloutChecks{Within: time.Second, Every: time.Second, Metric: "vector(0)"}})
	run := s.startRollout(plan)
	p := s.rolledOut(run)
	require.Equal(t, contract.RolloutRolledBack, p.State, p.Detail)
	require.Contains(t, p.Detail, "no Prometheus is configured")
	canaries := 0
	for _, id := range feeders(n) {
		switch s.sum(id) - before[id] {
		case 0:
		case 2:
			canaries++
		default:
			require.Fail(t, "written", "%s was written %d times", id, s.sum(id)-before[id])
		}
	}
	require.Equal(t, 1, canaries, "only the canary was written, there and back")
	s.intact()
}
