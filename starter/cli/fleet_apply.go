package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/urfave/cli/v2"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"edgefleet/workflows/contract"
)

// applied is a plan with what came of it.
type applied struct {
	*fleetPlan
	Started         []startedRun                   `json:"started"`
	Onboarding      *contract.OnboardProgress      `json:"onboarding,omitempty"`
	Decommissioning *contract.DecommissionProgress `json:"decommissioning,omitempty"`
}

type startedRun struct {
	WorkflowID string `json:"workflow_id"`
	RunID      string `json:"run_id"`
}

func (a *App) applyCommand() *cli.Command {
	return &cli.Command{
		Name: "apply", Usage: "bring the devices in service to what a fleet directory declares", ArgsUsage: "[DIR]",
		Description: `Devices that "fleet diff" shows as "+", "~" and "!" are onboarded, and those that
it shows as "-" are decommissioned, which needs --yes. The worker has to run the
same revision of the fleet directory. Nothing is written to a device that is
decommissioned; one that a remediation is at work on is waited for.`,
		Flags: append(append(watchFlags(), trustFlags()...), timeoutFlag(),
			&cli.BoolFlag{Name: "yes", Usage: "decommission devices that are no longer declared"}),
		Action: a.apply,
	}
}

func (a *App) apply(c *cli.Context) error {
	declared, dir, err := fleetArgument(c)
	if err != nil {
		return err
	}
	t, err := a.dial(c)
	if err != nil {
		return err
	}
	defer t.Close()
	plan, err := a.plan(c, t, dir, declared)
	if err != nil {
		return err
	}
	if plan.otherRevision() {
		return usagef("nothing was started: %s is revision %s, and the worker runs %s; give the worker this directory and apply when it has taken it up, or apply the one that it runs",
			dir, revisionText(plan.Revision, plan.Commit), revisionText(plan.WorkerRevision, plan.WorkerCommit))
	}
	todo := plan.todo()
	out := applied{fleetPlan: plan, Started: []startedRun{}}
	refused := len(todo.remove) > 0 && !c.Bool("yes")
	json := c.String(flagOutput) == "json"
	if !json || refused || plan.empty() {
		if err := a.show(c, out, func(w io.Writer) { a.planTable(w, plan) }); err != nil {
			return err
		}
	}
	switch {
	case refused:
		return usagef("nothing was started: %s would be decommissioned; give --yes to do that, too, or onboard alone with: edgefleet onboard --all",
			plural(len(todo.remove), "device"))
	case plan.empty():
		return nil
	case c.Bool("detach") && max(len(todo.onboard), len(todo.remove)) > contract.MaxSelection:
		return usagef("nothing was started: with more than %d devices one workflow follows another; leave out --detach", contract.MaxSelection)
	}
	err = a.carryOut(c, t, todo, &out)
	if !json {
		if out.Onboarding != nil {
			fmt.Fprintln(a.opts.Out)
			onboardedTable(a.opts.Out, *out.Onboarding)
		}
		if out.Decommissioning != nil {
			fmt.Fprintln(a.opts.Out)
			decommissionedTable(a.opts.Out, *out.Decommissioning)
		}
		return err
	}
	return firstError(a.show(c, out, nil), err)
}

func revisionText(revision, commit string) string {
	if commit == "" {
		return revision
	}
	return revision + " (commit " + commit + ")"
}

// toDo is the work that a plan makes.
type toDo struct {
	onboard []string
	remove  []contract.DeviceRef
}

func (p *fleetPlan) todo() toDo {
	var out toDo
	for _, d := range slices.Concat(p.Added, p.Changed, p.Failed) {
		out.onboard = append(out.onboard, d.DeviceID)
	}
	slices.Sort(out.onboard)
	for _, d := range p.Removed {
		out.remove = append(out.remove, contract.DeviceRef{ID: d.DeviceID, Site: d.Registered.Site, Region: d.Registered.Region})
	}
	return out
}

// carryOut starts onboardings and decommissionings side by side, as many
// devices of each as one workflow is given, and follows both before it starts
// the next.
func (a *App) carryOut(c *cli.Context, t Temporal, todo toDo, out *applied) error {
	var failed error
	for len(todo.onboard)+len(todo.remove) > 0 && c.Err() == nil {
		var ids []string
		var refs []contract.DeviceRef
		ids, todo.onboard = cut(todo.onboard)
		refs, todo.remove = cut(todo.remove)
		var onboarding, decommissioning client.WorkflowRun
		var err error
		if len(ids) > 0 {
			in := contract.OnboardInput{Selection: contract.Selection{IDs: ids}, Actor: a.actor(), Reason: reasonArg(c), Trust: trustArg(c)}
			if onboarding, err = a.startOnboarding(c, t, in); err != nil {
				return err
			}
			out.began(onboarding)
		}
		if len(refs) > 0 {
			if decommissioning, err = a.startDecommissioning(c, t, refs); err != nil {
				return err
			}
			out.began(decommissioning)
		}
		if c.Bool("detach") {
			continue
		}
		if onboarding != nil {
			var p contract.OnboardProgress
			err := a.end(c, t, onboarding, &p, onboardingEnd(onboarding.GetID()))
			if err == nil || errors.Is(err, errQuiet) {
				out.onboarded(p)
				if p.Revision != "" && p.Revision != out.Revision {
					fmt.Fprintf(a.opts.Err, "the worker took up revision %s meanwhile: look at what is left with edgefleet fleet diff\n", p.Revision)
				}
			}
			failed = worse(failed, err)
		}
		if decommissioning != nil && c.Err() == nil {
			var p contract.DecommissionProgress
			err := a.end(c, t, decommissioning, &p, ending{what: "decommissioning", failure: contract.ErrRejected,
				again: "edgefleet fleet diff " + shellWord(out.Directory), rest: "; apply again for the rest"})
			if err == nil || errors.Is(err, errQuiet) {
				out.decommissioned(p)
			}
			failed = worse(failed, err)
		}
	}
	return failed
}

// cut returns as much of a list as one workflow is given, and the rest.
func cut[T any](list []T) (page, rest []T) {
	n := min(len(list), contract.MaxSelection)
	return list[:n], list[n:]
}

// worse keeps the first error that has still to be told.
func worse(a, b error) error {
	if a == nil || (errors.Is(a, errQuiet) && b != nil) {
		return b
	}
	return a
}

func (a *App) startDecommissioning(c *cli.Context, t Temporal, refs []contract.DeviceRef) (client.WorkflowRun, error) {
	in := contract.DecommissionInput{Devices: refs, Actor: a.actor(), Reason: reasonArg(c)}
	named := contract.Selection{}
	for _, r := range refs {
		named.IDs = append(named.IDs, r.ID)
	}
	run, err := t.ExecuteWorkflow(c.Context, client.StartWorkflowOptions{
		ID:                       contract.DecommissionID(a.opts.Nonce()),
		TaskQueue:                contract.TaskQueue,
		WorkflowExecutionTimeout: onboardTimeout,
		WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		StaticSummary:            "decommission " + selectionText(named) + ": " + in.Reason,
		TypedSearchAttributes:    onboardAttributes(named),
	}, contract.WorkflowDecommission, in)
	if err != nil {
		return nil, explain(c.Context, err)
	}
	fmt.Fprintf(a.opts.Err, "started %s (run %s)\n", run.GetID(), run.GetRunID())
	return run, nil
}

func (r *applied) began(run client.WorkflowRun) {
	r.Started = append(r.Started, startedRun{run.GetID(), run.GetRunID()})
}

// shownFailures bounds the failures that are named.
const shownFailures = 50

// onboarded adds what came of one onboarding.
func (r *applied) onboarded(p contract.OnboardProgress) {
	p.Failures, p.Phases = nonNil(p.Failures), nonNil(p.Phases)
	if r.Onboarding == nil {
		r.Onboarding = &p
		return
	}
	sum := r.Onboarding
	sum.Total, sum.Done, sum.Failed, sum.Skipped = sum.Total+p.Total, sum.Done+p.Done, sum.Failed+p.Failed, sum.Skipped+p.Skipped
	sum.Failures = append(sum.Failures, p.Failures...)
	sum.Failures = sum.Failures[:min(len(sum.Failures), shownFailures)]
	for _, phase := range p.Phases {
		i := slices.IndexFunc(sum.Phases, func(q contract.PhaseTime) bool { return q.Phase == phase.Phase })
		if i < 0 {
			sum.Phases = append(sum.Phases, phase)
			continue
		}
		sum.Phases[i].Took += phase.Took
		sum.Phases[i].Devices += phase.Devices
	}
}

// decommissioned adds what came of one decommissioning.
func (r *applied) decommissioned(p contract.DecommissionProgress) {
	p.Failures = nonNil(p.Failures)
	if r.Decommissioning == nil {
		r.Decommissioning = &p
		return
	}
	sum := r.Decommissioning
	sum.Total, sum.Done, sum.Failed = sum.Total+p.Total, sum.Done+p.Done, sum.Failed+p.Failed
	sum.Failures = append(sum.Failures, p.Failures...)
	sum.Failures = sum.Failures[:min(len(sum.Failures), shownFailures)]
}

func decommissionedTable(w io.Writer, p contract.DecommissionProgress) {
	fmt.Fprintf(w, "%d of %s decommissioned, %d failed\n", p.Done, plural(p.Total, "device"), p.Failed)
	if len(p.Failures) == 0 {
		return
	}
	fmt.Fprintln(w)
	rows := make([][]string, 0, len(p.Failures))
	for _, f := range p.Failures {
		rows = append(rows, []string{f.DeviceID, f.Reason, f.Detail})
	}
	table(w, "DEVICE|REASON|DETAIL", rows)
	if more := p.Failed - len(p.Failures); more > 0 {
		fmt.Fprintf(w, "and %d more\n", more)
	}
}
