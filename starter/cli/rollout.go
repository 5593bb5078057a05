package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"edgefleet/workflows/contract"
)

const (
	// planTimeout is the most that a planning may take.
	planTimeout = 2 * time.Hour
	// rolloutTimeout is beyond every deadline that a strategy can have.
	rolloutTimeout = 120 * 24 * time.Hour
)

func (a *App) rolloutCommand() *cli.Command {
	command := []cli.Flag{timeoutFlag(), &cli.StringFlag{Name: "note", Usage: "`TEXT` that says why, for the ledger"}}
	tell := func(name, usage, update string) *cli.Command {
		return &cli.Command{Name: name, Usage: usage, ArgsUsage: "ID", Flags: command,
			Action: func(c *cli.Context) error { return a.commandRollout(c, update, nil) }}
	}
	return &cli.Command{
		Name:  "rollout",
		Usage: "change the configuration of many devices: plan, approve, canary, waves, and back",
		Subcommands: []*cli.Command{
			a.rolloutPlanCommand(),
			{Name: "show", Usage: "show a plan", ArgsUsage: "HASH", Action: a.rolloutShow,
				Flags: []cli.Flag{outputFlag(), timeoutFlag(), detailFlag()}},
			a.rolloutStartCommand(),
			a.rolloutRunCommand(),
			{Name: "list", Usage: "list plans and rollouts, newest first", Action: a.rolloutList,
				Flags: []cli.Flag{outputFlag(), timeoutFlag(), &cli.IntFlag{Name: "limit", Value: 50, Usage: "at most this many, 1 to 1000"}}},
			{Name: "status", Usage: "show how a rollout stands, or what became of its devices", ArgsUsage: "ID", Action: a.rolloutStatus,
				Flags: []cli.Flag{outputFlag(), timeoutFlag(),
					&cli.BoolFlag{Name: "devices", Usage: "list the devices to which it has come"},
					&cli.StringFlag{Name: "state", Usage: "only devices in this `STATE`, such as failed; with --devices"}}},
			{Name: "watch", Usage: "follow a rollout to its end", ArgsUsage: "ID", Action: a.rolloutWatch,
				Flags: []cli.Flag{outputFlag(), exitWaitingFlag()}},
			tell("pause", "begin nothing more, and finish what is in work", contract.UpdateRolloutPause),
			tell("resume", "go on, and accept what made it pause", contract.UpdateRolloutResume),
			tell("abort", "end it, and leave what was written", contract.UpdateRolloutAbort),
			{Name: "approve", Usage: "approve what a rollout waits for, or refuse it", ArgsUsage: "ID", Action: a.rolloutApprove,
				Flags: append([]cli.Flag{
					&cli.StringFlag{Name: "plan", Usage: "the whole `HASH` of the plan that you have looked at; without it, that of the rollout is taken"},
					&cli.BoolFlag{Name: "refuse", Usage: "refuse instead of approve"}}, command...)},
			{Name: "skip", Usage: "leave devices out", ArgsUsage: "ID DEVICE...", Flags: command,
				Action: func(c *cli.Context) error { return a.commandRollout(c, contract.UpdateRolloutSkip, wantDevices) }},
			{Name: "retry", Usage: "let devices that are not healthy come to their turn again", ArgsUsage: "ID [DEVICE...]", Flags: command,
				Action: func(c *cli.Context) error { return a.commandRollout(c, contract.UpdateRolloutRetry, anyDevices) }},
			{Name: "rollback", Usage: "give every device back what it had, also after the end", ArgsUsage: "ID", Action: a.rolloutRollback,
				Flags: append([]cli.Flag{outputFlag(), watchFlag()}, command...)},
		},
	}
}

// rolloutStartCommand starts plans of any kind.
func (a *App) rolloutStartCommand() *cli.Command {
	return &cli.Command{Name: "start", Usage: "carry out a plan, exactly as it was frozen", Action: a.rolloutStart,
		Flags: []cli.Flag{outputFlag(), timeoutFlag(), watchFlag(), exitWaitingFlag(),
			&cli.StringFlag{Name: "plan", Usage: "the plan's `HASH`, or at least 8 digits of its beginning"},
			whyFlag()}}
}

func narrowFlag() cli.Flag {
	return &cli.StringFlag{Name: "select", Usage: "narrow what the baseline selects, as `class=plc,region=us-east-1|us-west-2,site!=substation-7`"}
}

func whyFlag() cli.Flag {
	return &cli.StringFlag{Name: "reason", Usage: "`TEXT` that says why, for the ledger and the next reader"}
}

// startSummary says in words what a plan does.
func startSummary(p contract.RolloutPlan) string {
	if p.Kind == contract.KindPatch {
		return fmt.Sprintf("install %s on %s", p.Baseline, plural(p.Devices(), "device"))
	}
	return fmt.Sprintf("roll out %s %s to %s", p.Baseline, p.Version, plural(p.Devices(), "device"))
}

func detailFlag() cli.Flag {
	return &cli.BoolFlag{Name: "detail", Usage: "show what changes on each device, files as a diff"}
}

func watchFlag() cli.Flag {
	return &cli.BoolFlag{Name: "watch", Usage: "follow it to its end"}
}

func exitWaitingFlag() cli.Flag {
	return &cli.BoolFlag{Name: "exit-when-waiting", Usage: "end with exit code 3 when it waits for a person, instead of waiting, too"}
}

func (a *App) rolloutPlanCommand() *cli.Command {
	return &cli.Command{
		Name: "plan", Usage: "find out what a baseline would change, and freeze that", Action: a.rolloutPlan,
		Description: `The devices are read and nothing is written. What would be done is frozen under a
hash: devices, waves, exact changes, windows. "rollout start --plan HASH" does
exactly that; a device that has changed by then is left alone and reported.

Without a strategy: 1 canary, then 5 %, 25 % and all; 4 devices of a site at
once; it pauses at the first device that may be neither as planned nor as
before, and when over 2 % are not healthy.`,
		Flags: append([]cli.Flag{outputFlag(), timeoutFlag(), detailFlag(),
			&cli.StringFlag{Name: "baseline", Usage: "the baseline's `FILE`, as it stands in edge-configs or is going to"},
			narrowFlag(), whyFlag()},
			strategyFlags()...),
	}
}

func (a *App) rolloutPlan(c *cli.Context) error {
	in, err := a.planInput(c)
	if err := firstError(noArgs(c), err, checkOutput(c), checkTimeout(c)); err != nil {
		return err
	}
	return a.makePlan(c, in, "plan the rollout of "+in.File)
}

// planAttempts is how often a plan is made while the fleet directory changes
// under it.
const planAttempts = 2

// makePlan has the workers make a plan, and shows it. A directory that changes
// meanwhile is taken up once by itself, so that no pipeline has to be run again
// for it; one that goes on changing is a person's to look at.
func (a *App) makePlan(c *cli.Context, in contract.PlanRolloutInput, what string) error {
	t, err := a.dial(c)
	if err != nil {
		return err
	}
	defer t.Close()
	hash, err := a.planned(c, t, in, what)
	if err != nil {
		return err
	}
	return a.showPlan(c, t, hash)
}

// planned has the workers make a plan, and returns its hash.
func (a *App) planned(c *cli.Context, t Temporal, in contract.PlanRolloutInput, what string) (hash string, err error) {
	for attempt := 1; ; attempt++ {
		hash, err = a.planOnce(c, t, in, what)
		if attempt == planAttempts || !errors.Is(err, errFleetChanged) {
			return hash, err
		}
		fmt.Fprintln(a.opts.Err, "the fleet directory was changed while it was planned; planning once more…")
	}
}

// errFleetChanged says that planning again helps.
var errFleetChanged = errors.New("the fleet directory was changed again while it was planned; plan again when it stays as it is")

// planOnce is one attempt at that.
func (a *App) planOnce(c *cli.Context, t Temporal, in contract.PlanRolloutInput, what string) (hash string, err error) {
	run, err := t.ExecuteWorkflow(c.Context, client.StartWorkflowOptions{
		ID:                       contract.PlanRolloutID(a.opts.Nonce()),
		TaskQueue:                contract.TaskQueue,
		WorkflowExecutionTimeout: planTimeout,
		WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		StaticSummary:            what + ": " + in.Reason,
	}, contract.WorkflowPlanRollout, in)
	if err != nil {
		return "", explain(c.Context, err)
	}
	fmt.Fprintf(a.opts.Err, "started %s (run %s)\n", run.GetID(), run.GetRunID())
	var out contract.PlanProgress
	view := &planView{waiting: waiting{app: a, began: time.Now()}, line: progressLine{app: a}, t: t, run: run}
	err = a.follow(c.Context, run, &out, view.look)
	view.line.close()
	var app *temporal.ApplicationError
	switch {
	case c.Err() != nil:
		return "", fmt.Errorf("interrupted; %s goes on, and its plan is going to be in: edgefleet rollout list", run.GetID())
	case errors.As(err, &app) && app.Type() == contract.ErrFleetChanged:
		return "", errFleetChanged
	case err != nil:
		return "", explain(c.Context, err)
	case out.Plan == nil:
		return "", errors.New("the worker gave no plan: it is of another version than this command line")
	}
	return out.Plan.Hash, nil
}

// planInput is what the command line asks for, or why it cannot be asked.
func (a *App) planInput(c *cli.Context) (contract.PlanRolloutInput, error) {
	file := c.String("baseline")
	if file == "" {
		return contract.PlanRolloutInput{}, usagef("rollout plan: --baseline is missing: which baseline is to be rolled out?")
	}
	return a.planInputOf(c, file)
}

func (a *App) planInputOf(c *cli.Context, file string) (contract.PlanRolloutInput, error) {
	in := contract.PlanRolloutInput{Select: c.String("select"), Actor: a.actor(), Reason: reasonArg(c)}
	text, err := readBounded(file, contract.MaxBaseline)
	if err != nil {
		return in, usageError{err}
	}
	in.File, in.Text = filepath.Base(file), text
	if _, err := contract.ParseSelector(in.Select); err != nil {
		return in, usagef("--select: %w", err)
	}
	in.Strategy, err = strategyOf(c)
	return in, err
}

// readBounded reads a file that travels to the workers.
func readBounded(file string, most int) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	if err != nil {
		return "", err
	}
	if len(data) > most {
		return "", fmt.Errorf("%s has more than %d bytes, which do not travel; split the baseline", file, most)
	}
	return string(data), nil
}

// planView shows how far a planning is.
type planView struct {
	waiting
	line progressLine
	t    Temporal
	run  client.WorkflowRun
}

func (v *planView) look(ctx context.Context, last bool) {
	var p contract.PlanProgress
	answer, err := v.t.QueryWorkflow(ctx, v.run.GetID(), "", contract.QueryProgress)
	if err == nil {
		err = answer.Get(&p)
	}
	switch {
	case err != nil && !last:
		v.still(func() string { return whoIsMissing(ctx, v.t) })
		return
	case err != nil || p.Devices == 0:
		return
	}
	v.told = true
	// Elsewhere than on a terminal only the end is worth a line: it is near.
	if last || v.app.opts.Terminal {
		v.line.show(p.Looked, p.Devices, fmt.Sprintf("%d of %s looked at, %d would be changed", p.Looked, plural(p.Devices, "device"), p.Changing), last)
	}
}

func (a *App) rolloutShow(c *cli.Context) error {
	hash, err := oneArg(c, "hash of a plan")
	if err := firstError(err, checkOutput(c), checkTimeout(c)); err != nil {
		return err
	}
	t, err := a.dial(c)
	if err != nil {
		return err
	}
	defer t.Close()
	return a.showPlan(c, t, hash)
}

// planOf asks for a plan with all of its devices, or without them.
func (a *App) planOf(c *cli.Context, t Temporal, hash string, devices bool) (*contract.RolloutPlanPage, error) {
	var all *contract.RolloutPlanPage
	for q := (contract.RolloutQuery{Plan: hash, Detail: devices}); ; {
		if !devices {
			q.Limit = 1
		}
		query := q
		out, err := a.askOver(c.Context, t, contract.InspectInput{Question: contract.AskRolloutPlan, Rollout: &query}, c.Duration(flagTimeout))
		if err != nil {
			return nil, err
		}
		page := out.RolloutPlan
		if all == nil {
			all = page
		} else {
			all.Devices = append(all.Devices, page.Devices...)
		}
		if q.After = page.Next; q.After == "" || !devices {
			all.Next = ""
			return all, nil
		}
	}
}

// nothingToStart refuses a plan that changes no device, with how many were left
// out for which reason.
func nothingToStart(p contract.RolloutPlan) error {
	why := make([]string, 0, len(p.Excluded))
	for _, e := range p.Excluded {
		why = append(why, fmt.Sprintf("%d %s", e.Devices, e.Reason))
	}
	return usagef("the plan changes no device, so there is nothing to start; left out are %s; why each of them is says: edgefleet rollout show %s --detail",
		cmp.Or(strings.Join(why, ", "), "none"), p.Hash[:min(12, len(p.Hash))])
}

func (a *App) rolloutStart(c *cli.Context) error {
	if err := firstError(noArgs(c), checkOutput(c), checkTimeout(c)); err != nil {
		return err
	}
	if c.String("plan") == "" {
		return usagef("%s: --plan is missing: make a plan with edgefleet %s plan, look at it, and give its hash", commandName(c), strings.Fields(commandName(c))[0])
	}
	t, err := a.dial(c)
	if err != nil {
		return err
	}
	defer t.Close()
	plan, err := a.planOf(c, t, c.String("plan"), false)
	if err != nil {
		return err
	}
	if plan.RolloutPlan.Devices() == 0 {
		return nothingToStart(plan.RolloutPlan)
	}
	run, id, err := a.startPlanned(c, t, plan)
	if err != nil {
		return err
	}
	if c.Bool("watch") {
		return a.followRollout(c, t, run, id)
	}
	started := map[string]string{"rollout_id": id, "plan_hash": plan.Hash, "workflow_id": run.GetID(), "run_id": run.GetRunID()}
	return a.show(c, started, func(w io.Writer) {
		fmt.Fprintln(w, id)
		fmt.Fprintf(a.opts.Err, "follow it with: edgefleet rollout watch %s\n", id)
	})
}

// startPlanned starts the rollout of a plan.
func (a *App) startPlanned(c *cli.Context, t Temporal, plan *contract.RolloutPlanPage) (run client.WorkflowRun, id string, err error) {
	id = contract.RolloutOf(plan.Hash)
	run, err = t.ExecuteWorkflow(c.Context, client.StartWorkflowOptions{
		ID:                       contract.RolloutWorkflowID(id),
		TaskQueue:                contract.TaskQueue,
		WorkflowExecutionTimeout: rolloutTimeout,
		// The store lets a plan begin once; one that was refused there may be
		// started again when the reason is gone.
		WorkflowIDReusePolicy:                    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY,
		WorkflowExecutionErrorWhenAlreadyStarted: true,
		StaticSummary:                            startSummary(plan.RolloutPlan) + ": " + reasonArg(c),
		TypedSearchAttributes: temporal.NewSearchAttributes(
			temporal.NewSearchAttributeKeyKeyword(contract.AttrRolloutID).ValueSet(id),
			temporal.NewSearchAttributeKeyKeyword(contract.AttrOutcome).ValueSet(contract.RolloutRunning)),
	}, contract.WorkflowRollout, contract.RolloutInput{PlanHash: plan.Hash, Actor: a.actor(), Reason: cmp.Or(c.String("reason"), plan.Reason)})
	if temporal.IsWorkflowExecutionAlreadyStartedError(err) {
		return nil, id, usagef("the plan was started already, and runs once; look at it with: edgefleet rollout watch %s", id)
	}
	if err != nil {
		return nil, id, explain(c.Context, err)
	}
	fmt.Fprintf(a.opts.Err, "started %s (run %s)\n", run.GetID(), run.GetRunID())
	return run, id, nil
}
