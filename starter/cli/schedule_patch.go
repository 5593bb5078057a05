package cli

import (
	"strings"

	"github.com/urfave/cli/v2"
	"go.temporal.io/sdk/client"

	"edgefleet/workflows/contract"
)

// scheduleOnly are the flags that one kind of schedule has, and no other.
var scheduleOnly = []struct {
	what  string
	flags []string
}{
	{runDriftScan, []string{"site", "region", "spread"}},
	{runDrill, []string{"device", "runbook", "function"}},
	{runPatch, []string{"patch", "select", "strategy", "approve"}},
}

// onlyOf refuses flags that would do nothing.
func onlyOf(c *cli.Context, what string) error {
	for _, o := range scheduleOnly {
		if o.what == what || given(c, o.flags...) == 0 {
			continue
		}
		last := len(o.flags) - 1
		return usagef("--%s and --%s are of --run %s", strings.Join(o.flags[:last], ", --"), o.flags[last], o.what)
	}
	return nil
}

// scheduledPatch plans a patch each time, and carries the plan out when
// somebody has approved it. The strategy is read once, and stands in the
// schedule.
func (a *App) scheduledPatch(c *cli.Context, name string) (*client.ScheduleWorkflowAction, error) {
	patch := c.String("patch")
	if patch == "" {
		return nil, usagef("--run patch needs --patch: which patch of the fleet directory is to be installed?")
	}
	plan := contract.PlanRolloutInput{Patch: patch, Select: c.String("select"), Reason: "schedule " + name,
		Actor: contract.Actor{Kind: contract.ActorSchedule, Name: name}}
	if _, err := contract.ParseSelector(plan.Select); err != nil {
		return nil, usagef("--select: %w", err)
	}
	var err error
	plan.Strategy, err = strategyFor(c, contract.RolloutStrategy{DeviceDeadline: patchDeadline,
		Approval: contract.RolloutApproval{Before: contract.ApproveStart}})
	if err != nil {
		return nil, err
	}
	if plan.Strategy.Approval.Before == contract.ApproveNothing {
		return nil, usagef("a schedule makes plans that nobody has looked at, so somebody has to approve them: leave --approve out, or want %s, %s or %s",
			contract.ApproveStart, contract.ApproveFleet, contract.ApproveWaves)
	}
	return &client.ScheduleWorkflowAction{
		ID: contract.PatchRunID(name), Workflow: contract.WorkflowPatch, TaskQueue: contract.TaskQueue,
		Args:                     []any{contract.PatchInput{Plan: plan, AskedBy: a.opts.User}},
		WorkflowExecutionTimeout: planTimeout + rolloutTimeout,
		StaticSummary:            "plan and install the patch " + patch + ": schedule " + name,
	}, nil
}
