package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"edgefleet/workflows/contract"
)

// What a schedule can run.
const (
	runDriftScan = "drift-scan"
	runDrill     = "drill"
	runPatch     = "patch"
)

// ourWorkflows begin so; other schedules of the namespace are not ours.
const ourWorkflows = "edgefleet."

func (a *App) scheduleCommand() *cli.Command {
	note := &cli.StringFlag{Name: "note", Usage: "`TEXT` for whoever looks at the schedule next"}
	return &cli.Command{
		Name:  "schedule",
		Usage: "what is done by the calendar; the Web UI shows the schedules, and can change them",
		Subcommands: []*cli.Command{
			{Name: "create", Usage: "do something again and again", ArgsUsage: "NAME",
				Flags: append(append([]cli.Flag{outputFlag(), note,
					&cli.StringFlag{Name: "run", Usage: "`WHAT`: drift-scan, patch, or drill, a remediation of a device that need not be ill"}}, whenFlags()...),
					&cli.StringFlag{Name: "site", Usage: "drift-scan: only this `SITE`"},
					&cli.StringFlag{Name: "region", Usage: "drift-scan: only this `REGION`"},
					&cli.DurationFlag{Name: "spread", Usage: "drift-scan: begin the batches over this `DURATION`, up to 720h"},
					&cli.StringFlag{Name: "device", Usage: "drill: the `ID` of the device"},
					&cli.StringFlag{Name: "runbook", Value: "auto_remediation.py", Usage: "drill: `FILE` in the fleet directory's runbooks folder"},
					&cli.StringFlag{Name: "function", Value: "handle_device_offline", Usage: "drill: `NAME` of the runbook's function"},
					&cli.StringFlag{Name: "patch", Usage: "patch: the `NAME` of a patch of the fleet directory, which is planned each time"},
					&cli.StringFlag{Name: "select", Usage: "patch: a `SELECTOR` that narrows what the patch selects, as class=gateway,site!=substation-7"},
					&cli.StringFlag{Name: "strategy", Usage: "patch: read the strategy from this `FILE`, now"},
					&cli.StringFlag{Name: "approve", Usage: "patch: `WHEN` somebody else has to approve: start, fleet (after the canary) or waves (default: start)"},
					&cli.BoolFlag{Name: "paused", Usage: "create it paused"}),
				Action: a.scheduleCreate},
			{Name: "list", Usage: "what is due when", Flags: []cli.Flag{outputFlag()}, Action: a.scheduleList},
			{Name: "pause", Usage: "begin nothing more until it is resumed; what runs goes on", ArgsUsage: "NAME", Flags: []cli.Flag{note},
				Action: a.onSchedule("paused", func(ctx context.Context, h client.ScheduleHandle, _ *client.ScheduleDescription, note string) error {
					return h.Pause(ctx, client.SchedulePauseOptions{Note: cmp.Or(note, "paused by "+a.opts.User)})
				})},
			{Name: "resume", Usage: "go on with a paused schedule", ArgsUsage: "NAME", Flags: []cli.Flag{note},
				Action: a.onSchedule("resumed", func(ctx context.Context, h client.ScheduleHandle, _ *client.ScheduleDescription, note string) error {
					return h.Unpause(ctx, client.ScheduleUnpauseOptions{Note: cmp.Or(note, "resumed by "+a.opts.User)})
				})},
			{Name: "trigger", Usage: "run it now, too; the schedule's note keeps who did it", ArgsUsage: "NAME", Flags: []cli.Flag{note},
				Action: a.onSchedule("triggered", a.triggerSchedule)},
			{Name: "delete", Usage: "remove a schedule; what runs goes on", ArgsUsage: "NAME",
				Action: a.onSchedule("deleted", func(ctx context.Context, h client.ScheduleHandle, _ *client.ScheduleDescription, _ string) error {
					return h.Delete(ctx)
				})},
		},
	}
}

func (a *App) scheduleCreate(c *cli.Context) error {
	name, err := scheduleName(c)
	if err := firstError(err, noneEmpty(c, "site", "region", "device", "runbook", "function"), checkOutput(c)); err != nil {
		return err
	}
	spec, err := scheduleSpec(c)
	if err != nil {
		return err
	}
	overlap, err := overlapOf(c.String("overlap"))
	if err != nil {
		return err
	}
	// Temporal itself takes nothing shorter for it.
	if d := c.Duration("catch-up"); d < 10*time.Second || d > 365*24*time.Hour {
		return usagef("--catch-up %v: want 10s to 8760h", d)
	}
	action, err := a.scheduleAction(c, name)
	if err != nil {
		return err
	}
	t, err := a.dial(c)
	if err != nil {
		return err
	}
	defer t.Close()
	h, err := t.ScheduleClient().Create(c.Context, client.ScheduleOptions{
		ID: name, Spec: spec, Action: action, Overlap: overlap, CatchupWindow: c.Duration("catch-up"),
		Paused: c.Bool("paused"), Note: c.String("note"),
	})
	var bad *serviceerror.InvalidArgument
	switch {
	case errors.Is(err, temporal.ErrScheduleAlreadyRunning):
		return usagef("there is a schedule %s; delete it first: edgefleet schedule delete %s", name, shellWord(name))
	case errors.As(err, &bad):
		return usageError{err}
	case err != nil:
		return explain(c.Context, err)
	}
	fmt.Fprintf(a.opts.Err, "created schedule %s\n", name)
	described, err := h.Describe(c.Context)
	if err != nil {
		return explain(c.Context, err)
	}
	return a.showSchedules(c, []scheduleRow{describedRow(name, described)})
}

// scheduleAction is what the schedule starts. The workflow's ID gets the time
// of each start appended by Temporal.
func (a *App) scheduleAction(c *cli.Context, name string) (*client.ScheduleWorkflowAction, error) {
	actor := contract.Actor{Kind: contract.ActorSchedule, Name: name}
	reason := "schedule " + name
	what := c.String("run")
	if err := onlyOf(c, what); err != nil {
		return nil, err
	}
	switch what {
	case runPatch:
		return a.scheduledPatch(c, name)
	case runDriftScan:
		in, err := a.scanInput(c)
		if err != nil {
			return nil, err
		}
		in.Actor, in.Reason = actor, reason
		return &client.ScheduleWorkflowAction{
			ID: contract.DriftScanID(name), Workflow: contract.WorkflowDriftScan, Args: []any{in}, TaskQueue: contract.TaskQueue,
			WorkflowExecutionTimeout: in.Spread + scanTimeout,
			StaticSummary:            "look for drift, " + selectionText(in.Selection) + ": " + reason,
			TypedSearchAttributes:    onboardAttributes(in.Selection),
		}, nil
	case runDrill:
		id := c.String("device")
		if err := contract.ValidDeviceID(id); err != nil {
			return nil, usagef("--run drill needs --device: %w", err)
		}
		return &client.ScheduleWorkflowAction{
			ID: contract.ManualRemediateID(id, "drill-"+name), Workflow: contract.WorkflowRemediate, TaskQueue: contract.TaskQueue,
			Args: []any{contract.RemediateInput{DeviceID: id, Reason: "a drill: " + reason, Actor: actor,
				Runbook: contract.RunbookRef{Path: c.String("runbook"), Function: c.String("function")}}},
			WorkflowExecutionTimeout: remediateTimeout,
			StaticSummary:            "remediate " + id + ", a drill: " + reason,
			TypedSearchAttributes: temporal.NewSearchAttributes(
				temporal.NewSearchAttributeKeyKeyword(contract.AttrDeviceID).ValueSet(id),
				temporal.NewSearchAttributeKeyKeyword(contract.AttrOutcome).ValueSet(contract.OutcomeRunning)),
		}, nil
	default:
		return nil, usagef("--run %q: want %s, %s or %s", what, runDriftScan, runPatch, runDrill)
	}
}

func scheduleName(c *cli.Context) (string, error) {
	name, err := oneArg(c, "schedule's name")
	if err != nil {
		return "", err
	}
	if err := contract.ValidDeviceID(name); err != nil {
		return "", usagef("schedule %.80q: want 1 to 63 letters, digits, '.', '-' or '_', beginning with a letter or digit", name)
	}
	return name, nil
}

// triggeredNote is what triggering left at the end of a note before.
var triggeredNote = regexp.MustCompile(`(^|; )triggered by .*$`)

// triggerSchedule runs a schedule now, and has its note say who did that. What it
// starts has no place for a name: Temporal takes nothing along from a trigger.
// The note is written first, so that nothing is triggered without a name. Beside
// what stood there before, because whoever wrote that has written it for a reason.
func (a *App) triggerSchedule(ctx context.Context, h client.ScheduleHandle, d *client.ScheduleDescription, note string) error {
	paused, before := false, ""
	if s := d.Schedule.State; s != nil {
		paused, before = s.Paused, triggeredNote.ReplaceAllString(s.Note, "")
	}
	text := fmt.Sprintf("triggered by %s at %sZ", oneLine(a.opts.User), stamp(a.opts.Clock()))
	if note != "" {
		text += ": " + note
	}
	if before != "" {
		text = before + "; " + text
	}
	// Temporal has no way to write a note alone: it is one to being paused, or
	// to not being, which stays as it is.
	var err error
	if paused {
		err = h.Pause(ctx, client.SchedulePauseOptions{Note: text})
	} else {
		err = h.Unpause(ctx, client.ScheduleUnpauseOptions{Note: text})
	}
	if err != nil {
		return err
	}
	return h.Trigger(ctx, client.ScheduleTriggerOptions{})
}

// onSchedule does one thing to a schedule of ours, which gets the note that the
// operator gave.
func (a *App) onSchedule(done string, do func(context.Context, client.ScheduleHandle, *client.ScheduleDescription, string) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		name, err := scheduleName(c)
		if err != nil {
			return err
		}
		t, err := a.dial(c)
		if err != nil {
			return err
		}
		defer t.Close()
		h := t.ScheduleClient().GetHandle(c.Context, name)
		described, err := h.Describe(c.Context)
		if isNotFound(err) {
			return usagef("there is no schedule %s; see edgefleet schedule list", name)
		}
		if err != nil {
			return explain(c.Context, err)
		}
		if action, ok := described.Schedule.Action.(*client.ScheduleWorkflowAction); !ok || !isOurs(fmt.Sprint(action.Workflow)) {
			return usagef("the schedule %s is none of edgefleet's", name)
		}
		if err := do(c.Context, h, described, c.String("note")); err != nil {
			return explain(c.Context, err)
		}
		fmt.Fprintf(a.opts.Err, "%s schedule %s\n", done, name)
		return nil
	}
}

func isOurs(workflow string) bool { return strings.HasPrefix(workflow, ourWorkflows) }

// runName is what a schedule runs, in the words of --run.
func runName(workflow string) string {
	return strings.ReplaceAll(strings.TrimPrefix(workflow, ourWorkflows), "_", "-")
}

// scheduleRow is a schedule as it is shown.
type scheduleRow struct {
	Name   string      `json:"name"`
	Run    string      `json:"run"`
	When   string      `json:"when"`
	Paused bool        `json:"paused"`
	Note   string      `json:"note,omitempty"`
	Next   []time.Time `json:"next"`
	// Last is when it last began something, and LastWorkflow what.
	Last         *time.Time `json:"last,omitempty"`
	LastWorkflow string     `json:"last_workflow,omitempty"`
}

// add notes the newest of the recent starts.
func (r *scheduleRow) add(recent []client.ScheduleActionResult) {
	if len(recent) == 0 {
		return
	}
	last := recent[len(recent)-1]
	at := last.ActualTime
	r.Last = &at
	if last.StartWorkflowResult != nil {
		r.LastWorkflow = last.StartWorkflowResult.WorkflowID
	}
}

func describedRow(name string, d *client.ScheduleDescription) scheduleRow {
	row := scheduleRow{Name: name, When: specText(d.Schedule.Spec), Next: nonNil(d.Info.NextActionTimes)}
	if action, ok := d.Schedule.Action.(*client.ScheduleWorkflowAction); ok {
		row.Run = runName(fmt.Sprint(action.Workflow))
	}
	if s := d.Schedule.State; s != nil {
		row.Paused, row.Note = s.Paused, s.Note
	}
	row.add(d.Info.RecentActions)
	return row
}

func (a *App) scheduleList(c *cli.Context) error {
	if err := firstError(noArgs(c), checkOutput(c)); err != nil {
		return err
	}
	t, err := a.dial(c)
	if err != nil {
		return err
	}
	defer t.Close()
	entries, err := t.ScheduleClient().List(c.Context, client.ScheduleListOptions{})
	if err != nil {
		return explain(c.Context, err)
	}
	rows := []scheduleRow{}
	for entries.HasNext() {
		e, err := entries.Next()
		if err != nil {
			return explain(c.Context, err)
		}
		if !isOurs(e.WorkflowType.Name) {
			continue
		}
		row := scheduleRow{Name: e.ID, Run: runName(e.WorkflowType.Name), When: specText(e.Spec),
			Paused: e.Paused, Note: e.Note, Next: nonNil(e.NextActionTimes)}
		row.add(e.RecentActions)
		rows = append(rows, row)
	}
	return a.showSchedules(c, rows)
}

func (a *App) showSchedules(c *cli.Context, rows []scheduleRow) error {
	return a.show(c, rows, func(w io.Writer) {
		out := make([][]string, 0, len(rows))
		for _, r := range rows {
			next := "-"
			switch {
			case r.Paused:
				next = "paused"
			case len(r.Next) > 0:
				next = stamp(r.Next[0])
			}
			out = append(out, []string{r.Name, r.Run, r.When, next, stampPtr(r.Last), dash(r.Note)})
		}
		a.list(w, "there is no schedule", "SCHEDULE|RUNS|WHEN|NEXT (UTC)|LAST (UTC)|NOTE", out)
	})
}
