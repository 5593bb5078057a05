package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"edgefleet/workflows/contract"
)

func (a *App) rolloutList(c *cli.Context) error {
	if err := firstError(noArgs(c), checkOutput(c), limitArg(c)); err != nil {
		return err
	}
	out, err := a.ask(c, contract.InspectInput{Question: contract.AskRolloutList, Rollout: &contract.RolloutQuery{Limit: c.Int("limit")}})
	if err != nil {
		return err
	}
	return a.show(c, nonNil(out.Rollouts), func(w io.Writer) {
		rows := make([][]string, 0, len(out.Rollouts))
		for _, r := range out.Rollouts {
			state := r.State
			if r.RolloutID == "" && a.opts.Clock().After(r.ExpiresAt) {
				state = "expired"
			}
			began := stampPtr(r.StartedAt)
			rows = append(rows, []string{r.PlanHash[:min(12, len(r.PlanHash))], cmp.Or(r.Kind, contract.KindConfiguration), r.Baseline + " " + r.Version, state,
				fmt.Sprintf("%d of %d", r.Ended(), r.Total), stamp(r.CreatedAt), began, stampPtr(r.EndedAt), r.Requester, dash(firstLine(r.Detail))})
		}
		a.list(w, "no plan and no rollout", "ID|KIND|WHAT|STATE|DEVICES|PLANNED (UTC)|STARTED (UTC)|ENDED (UTC)|BY|DETAIL", rows)
	})
}

func (a *App) rolloutStatus(c *cli.Context) error {
	id, err := rolloutArg(c)
	if err := firstError(err, wantArgs(c, 1), checkOutput(c), checkTimeout(c)); err != nil {
		return err
	}
	if c.IsSet("state") && !c.Bool("devices") {
		return usagef("--state goes with --devices")
	}
	t, err := a.dial(c)
	if err != nil {
		return err
	}
	defer t.Close()
	if c.Bool("devices") {
		return a.rolloutDevices(c, t, id)
	}
	view := &rolloutView{waiting: waiting{app: a}, t: t, run: t.GetWorkflow(c.Context, contract.RolloutWorkflowID(id), "")}
	ctx, cancel := context.WithTimeoutCause(c.Context, c.Duration(flagTimeout), errNoAnswer)
	defer cancel()
	defer a.tellWaiting(ctx, t)()
	var p contract.RolloutProgress
	if err := view.ask(ctx, contract.RolloutWorkflowID(id), &p); err != nil {
		if isNotFound(err) {
			return usagef("Temporal knows no rollout %s, or not any more; see edgefleet rollout list, and --devices for what became of each", id)
		}
		return explain(ctx, err)
	}
	if p.WaveID != "" {
		var w contract.WaveProgress
		if err := view.ask(ctx, p.WaveID, &w); err == nil {
			p = merged(p, &w)
		}
	}
	if p.State == contract.RolloutRollingBack {
		var b contract.RollbackProgress
		if err := view.ask(ctx, contract.RollbackID(p.RolloutID), &b); err == nil {
			p.Rollback, p.Held, p.LeaseWaits = &b, b.Held, b.LeaseWaits
		}
	}
	return a.showRollout(c, p)
}

// rolloutDevices lists what became of the devices, until there is no more.
func (a *App) rolloutDevices(c *cli.Context, t Temporal, id string) error {
	list, err := allPages(a, c, t, func(after string) contract.InspectInput {
		return contract.InspectInput{Question: contract.AskRolloutDevices,
			Rollout: &contract.RolloutQuery{Plan: id, State: c.String("state"), After: after}}
	}, func(out contract.InspectResult) ([]contract.RolloutDevice, string) {
		return out.RolloutDevices.Devices, out.RolloutDevices.Next
	})
	if err != nil {
		return err
	}
	return a.show(c, list, func(w io.Writer) {
		rows := make([][]string, 0, len(list))
		for _, d := range list {
			unsafe := "-"
			if d.Unsafe {
				unsafe = "unsafe"
			}
			rows = append(rows, []string{d.DeviceID, d.State, unsafe, itoa(int64(d.Attempts)), stamp(d.BeganAt), stampPtr(d.EndedAt), dash(firstLine(d.Detail))})
		}
		a.list(w, "the rollout has come to no device, or none matches", "DEVICE|STATE|SAFETY|ATTEMPTS|BEGAN (UTC)|ENDED (UTC)|DETAIL", rows)
	})
}

// wantDevices and anyDevices say how many devices a command names.
func wantDevices(c *cli.Context) error {
	if c.Args().Len() < 2 {
		return usagef("%s: want the ID of a rollout, and at least one device", commandName(c))
	}
	return nil
}

func anyDevices(*cli.Context) error { return nil }

// commandRollout tells a rollout something. With devices, they follow its ID.
func (a *App) commandRollout(c *cli.Context, update string, devices func(*cli.Context) error) error {
	id, err := rolloutArg(c)
	command := contract.RolloutCommand{By: a.opts.User, Note: c.String("note")}
	if devices == nil {
		err = firstError(err, wantArgs(c, 1))
	} else {
		err = firstError(err, devices(c))
		if c.Args().Len() > 1 {
			command.Devices = c.Args().Slice()[1:]
		}
	}
	if err := firstError(err, checkTimeout(c)); err != nil {
		return err
	}
	if err := command.Check(); err != nil {
		return usageError{err}
	}
	t, err := a.dial(c)
	if err != nil {
		return err
	}
	defer t.Close()
	return a.tellRollout(c, t, id, update, command)
}

// errNotTold is errNoAnswer for a command: without a worker nothing is done.
var errNotTold = errors.New("no worker took the command, so nothing has changed: is one running? Ask again when it is")

// errEnded says that a rollout does not run any more.
var errEnded = errors.New("the rollout does not run")

func (a *App) tellRollout(c *cli.Context, t Temporal, id, update string, arg any) error {
	text, err := a.updateRollout(c, t, id, update, arg)
	if errors.Is(err, errEnded) {
		return usagef("rollout %s does not run; see edgefleet rollout list", id)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(a.opts.Out, "rollout %s: %s\n", id, oneLine(text))
	return nil
}

func (a *App) updateRollout(c *cli.Context, t Temporal, id, update string, arg any) (string, error) {
	ctx, cancel := context.WithTimeoutCause(c.Context, c.Duration(flagTimeout), errNotTold)
	defer cancel()
	defer a.tellWaiting(ctx, t)()
	handle, err := t.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID: contract.RolloutWorkflowID(id), UpdateName: update, Args: []any{arg}, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	var text string
	if err == nil {
		err = handle.Get(ctx, &text)
	}
	var gone *serviceerror.NotFound
	if errors.As(err, &gone) {
		return "", errEnded
	}
	if err != nil {
		return "", explain(ctx, err)
	}
	return text, nil
}

func (a *App) rolloutApprove(c *cli.Context) error {
	id, err := rolloutArg(c)
	if err := firstError(err, wantArgs(c, 1), checkTimeout(c)); err != nil {
		return err
	}
	hash := c.String("plan")
	if hash != "" && contract.RolloutOf(hash) == "" {
		return usagef("--plan %.80q: want the whole hash, 64 hexadecimal digits; see edgefleet rollout status %s", hash, id)
	}
	t, err := a.dial(c)
	if err != nil {
		return err
	}
	defer t.Close()
	if hash == "" {
		plan, err := a.planOf(c, t, id, false)
		if err != nil {
			return err
		}
		hash = plan.Hash
	}
	return a.tellRollout(c, t, id, contract.UpdateRolloutApprove,
		contract.RolloutDecision{By: a.opts.User, Approved: !c.Bool("refuse"), PlanHash: hash, Note: c.String("note")})
}

// rolloutRollback tells a rollout that runs to go back, and takes back one that
// has ended.
func (a *App) rolloutRollback(c *cli.Context) error {
	id, err := rolloutArg(c)
	if err := firstError(err, wantArgs(c, 1), checkOutput(c), checkTimeout(c)); err != nil {
		return err
	}
	t, err := a.dial(c)
	if err != nil {
		return err
	}
	defer t.Close()
	text, err := a.updateRollout(c, t, id, contract.UpdateRolloutRollBack, contract.RolloutCommand{By: a.opts.User, Note: c.String("note")})
	switch {
	case err == nil:
		fmt.Fprintf(a.opts.Err, "rollout %s: %s\n", id, oneLine(text))
		if c.Bool("watch") {
			return a.followRollback(c, t, t.GetWorkflow(c.Context, contract.RolloutWorkflowID(id), ""), id)
		}
		return nil
	case !errors.Is(err, errEnded):
		return err
	}
	// Which rollout that is, the store knows.
	if _, err := a.planOf(c, t, id, false); err != nil {
		return err
	}
	reason := "rolled back by " + a.opts.User
	if note := c.String("note"); note != "" {
		reason += ": " + note
	}
	run, err := t.ExecuteWorkflow(c.Context, client.StartWorkflowOptions{
		ID:                                       contract.RollbackID(id),
		TaskQueue:                                contract.TaskQueue,
		WorkflowExecutionTimeout:                 onboardTimeout,
		WorkflowIDReusePolicy:                    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		WorkflowExecutionErrorWhenAlreadyStarted: true,
		StaticSummary:                            "take back rollout " + id + ": " + reason,
		TypedSearchAttributes:                    temporal.NewSearchAttributes(temporal.NewSearchAttributeKeyKeyword(contract.AttrRolloutID).ValueSet(id)),
	}, contract.WorkflowRollback, contract.RollbackInput{RolloutID: id, Actor: a.actor(), Reason: reason, Silence: true, Own: true})
	if temporal.IsWorkflowExecutionAlreadyStartedError(err) {
		return usagef("rollout %s is being taken back already", id)
	}
	if err != nil {
		return explain(c.Context, err)
	}
	fmt.Fprintf(a.opts.Err, "started %s (run %s)\n", run.GetID(), run.GetRunID())
	if !c.Bool("watch") {
		return nil
	}
	return a.followOwnRollback(c, t, run)
}

// followRollback follows a rollout that goes back: then that is what was wanted.
func (a *App) followRollback(c *cli.Context, t Temporal, run client.WorkflowRun, id string) error {
	view := &rolloutView{waiting: waiting{app: a, began: time.Now()}, t: t, run: run, out: newBlock(a)}
	var result contract.RolloutProgress
	err := a.follow(c.Context, run, &result, view.look)
	view.out.close()
	if c.Err() != nil {
		return fmt.Errorf("interrupted; rollout %s goes on; look at it again with: edgefleet rollout watch %s", id, id)
	}
	if err != nil {
		return explain(c.Context, err)
	}
	if err := a.showRollout(c, result); err != nil {
		return err
	}
	if result.State != contract.RolloutRolledBack {
		return errQuiet
	}
	return nil
}

func (a *App) followOwnRollback(c *cli.Context, t Temporal, run client.WorkflowRun) error {
	var result contract.RollbackProgress
	said := ""
	look := func(ctx context.Context, last bool) {
		var p contract.RollbackProgress
		answer, err := t.QueryWorkflow(ctx, run.GetID(), "", contract.QueryProgress)
		if err != nil || answer.Get(&p) != nil {
			return
		}
		if text := fmt.Sprintf("%s as before, %d not", plural(p.Back, "device"), p.Kept); last && text != said {
			said = text
			fmt.Fprintln(a.opts.Err, text)
		}
	}
	err := a.follow(c.Context, run, &result, look)
	if c.Err() != nil {
		return fmt.Errorf("interrupted; %s goes on", run.GetID())
	}
	if err != nil {
		return explain(c.Context, err)
	}
	result.Findings = nonNil(result.Findings)
	if err := a.show(c, result, func(w io.Writer) { rollbackTable(w, result) }); err != nil {
		return err
	}
	if result.Kept > 0 {
		return errQuiet
	}
	return nil
}
