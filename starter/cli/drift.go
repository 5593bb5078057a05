package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"edgefleet/workflows/contract"
)

// scanTimeout is what a scan may take beyond the time over which it is spread.
const scanTimeout = 24 * time.Hour

func (a *App) driftCommand() *cli.Command {
	site := &cli.StringFlag{Name: "site", Usage: "only this `SITE`"}
	region := &cli.StringFlag{Name: "region", Usage: "only this `REGION`"}
	return &cli.Command{
		Name:  "drift",
		Usage: "look for drift in the fleet",
		Subcommands: []*cli.Command{
			{Name: "scan", Usage: "compare the devices with their baselines now; exit code 1 when any drifted or could not be read",
				Flags: append(watchFlags(), site, region,
					&cli.DurationFlag{Name: "spread", Usage: "begin the batches over this `DURATION`, up to 720h, and not at once"},
					&cli.StringFlag{Name: "watch", Usage: "look again at the scan with this `WORKFLOW-ID`, and start nothing"}),
				Action: a.driftScan},
			{Name: "report", Usage: "show what the last scans found, and how old that is; asks no device",
				Flags: []cli.Flag{outputFlag(), timeoutFlag(), site, region,
					&cli.StringFlag{Name: "outcome", Usage: "only this `OUTCOME`: " + strings.Join(driftOutcomes(), ", ")},
					&cli.StringFlag{Name: "older-than", Usage: "only devices that lack evidence for longer than this `AGE`, as 35d or 12h"}},
				Action: a.driftReport},
		},
	}
}

func driftOutcomes() []string {
	return []string{contract.DriftInSync, contract.DriftDrifted, contract.DriftUnreadable, contract.DriftUnderChange,
		contract.DriftNoBaseline, contract.DriftUnchecked}
}

func (a *App) driftScan(c *cli.Context) error {
	in, err := a.scanInput(c)
	if err := firstError(noArgs(c), err, checkOutput(c)); err != nil {
		return err
	}
	t, err := a.dial(c)
	if err != nil {
		return err
	}
	defer t.Close()
	if id := c.String("watch"); id != "" {
		return a.followScan(c, t, t.GetWorkflow(c.Context, id, ""))
	}
	run, err := t.ExecuteWorkflow(c.Context, client.StartWorkflowOptions{
		ID:                       contract.DriftScanID(a.opts.Nonce()),
		TaskQueue:                contract.TaskQueue,
		WorkflowExecutionTimeout: in.Spread + scanTimeout,
		WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		StaticSummary:            "look for drift, " + selectionText(in.Selection) + ": " + in.Reason,
		TypedSearchAttributes:    onboardAttributes(in.Selection),
	}, contract.WorkflowDriftScan, in)
	if err != nil {
		return explain(c.Context, err)
	}
	fmt.Fprintf(a.opts.Err, "started %s (run %s)\n", run.GetID(), run.GetRunID())
	if c.Bool("detach") {
		started := map[string]string{"workflow_id": run.GetID(), "run_id": run.GetRunID()}
		return a.show(c, started, func(w io.Writer) { fmt.Fprintln(w, run.GetID()) })
	}
	return a.followScan(c, t, run)
}

// scanInput is what the command line asks for, or why it cannot be asked.
func (a *App) scanInput(c *cli.Context) (contract.DriftScanInput, error) {
	in := contract.DriftScanInput{
		Selection: contract.Selection{Site: c.String("site"), Region: c.String("region")},
		Actor:     contract.Actor{Kind: contract.ActorOperator, Name: a.opts.User},
		Reason:    c.String("reason"),
		Spread:    c.Duration("spread"),
	}
	if in.Reason == "" {
		in.Reason = "started by hand"
	}
	if n := given(c, "site", "region", "watch"); n > 1 {
		return in, usagef("drift scan: want one of --site, --region and --watch at most, got %d of them", n)
	}
	if err := noneEmpty(c, "site", "region", "watch"); err != nil {
		return in, err
	}
	in.Selection.All = given(c, "site", "region") == 0
	if in.Spread < 0 || in.Spread > contract.MaxSpread {
		return in, usagef("--spread %v: want 0 to %v", in.Spread, contract.MaxSpread)
	}
	return in, nil
}

// given counts the flags that are set.
func given(c *cli.Context, names ...string) (n int) {
	for _, name := range names {
		if c.IsSet(name) {
			n++
		}
	}
	return n
}

// noneEmpty refuses a flag that is set to nothing: it would select everything.
func noneEmpty(c *cli.Context, names ...string) error {
	for _, name := range names {
		if c.IsSet(name) && c.String(name) == "" {
			return usagef("--%s is empty", name)
		}
	}
	return nil
}

// followScan shows how far a scan is until it ends, and then what it found.
func (a *App) followScan(c *cli.Context, t Temporal, run client.WorkflowRun) error {
	view := &scanView{waiting: waiting{app: a, began: time.Now()}, line: progressLine{app: a}, t: t, run: run}
	var result contract.DriftScanProgress
	err := a.follow(c.Context, run, &result, view.look)
	view.line.close()
	var timeout *temporal.TimeoutError
	switch {
	case c.Err() != nil:
		return fmt.Errorf("interrupted; %s goes on; look at it again with: edgefleet drift scan --watch %s", run.GetID(), shellWord(run.GetID()))
	case err == nil:
	case temporal.IsCanceledError(err):
		return errors.New("the scan was cancelled; what it had found until then is in edgefleet drift report")
	case temporal.IsTerminatedError(err):
		return errors.New("the scan was terminated; what it had found until then is in edgefleet drift report")
	case errors.As(err, &timeout):
		return errors.New("the scan did not end in its time; what it had found until then is in edgefleet drift report")
	case isNotFound(err):
		return usagef("Temporal knows no workflow %s, or not any more", run.GetID())
	default:
		return explain(c.Context, err)
	}
	if err := a.showScan(c, result); err != nil {
		return err
	}
	if result.Drifted+result.Unreadable > 0 {
		return errQuiet
	}
	return nil
}

// scanView shows how far a scan is.
type scanView struct {
	waiting
	line progressLine
	t    Temporal
	run  client.WorkflowRun
}

// look asks the newest run, whichever it is by now. That a query fails is not
// worth a word: the run goes on without it.
func (v *scanView) look(ctx context.Context, last bool) {
	var p contract.DriftScanProgress
	answer, err := v.t.QueryWorkflow(ctx, v.run.GetID(), "", contract.QueryProgress)
	if err == nil {
		err = answer.Get(&p)
	}
	switch {
	case err != nil && !last:
		v.still(func() string { return whoIsMissing(ctx, v.t) })
	case err != nil:
	case p.Revision == "" && !last:
		v.still(func() string { return "still selecting devices…" })
	case p.Total > 0:
		v.told = true
		v.line.show(p.Done(), p.Total, fmt.Sprintf("%d of %s, %d drifted, %d unreadable", p.Done(), plural(p.Total, "device"), p.Drifted, p.Unreadable), last)
	}
}

func (a *App) showScan(c *cli.Context, p contract.DriftScanProgress) error {
	p.Found, p.Missed = nonNil(p.Found), nonNil(p.Missed)
	return a.show(c, p, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %d in sync, %d drifted (%d unauthorised), %d unreadable, %d under change, %d without a baseline\n",
			plural(p.Total, "device"), p.InSync, p.Drifted, p.Unauthorised, p.Unreadable, p.UnderChange, p.NoBaseline)
		if len(p.Found) > 0 {
			rows := make([][]string, 0, len(p.Found))
			for _, d := range p.Found {
				rows = append(rows, []string{d.DeviceID, d.Site, d.Region, itoa(int64(d.Drifted)), stampPtr(d.Since), d.Detail})
			}
			fmt.Fprintln(w)
			table(w, "DRIFTED|SITE|REGION|SETTINGS|SINCE (UTC)|DETAIL", rows)
		}
		andMore(w, p.Drifted-len(p.Found), contract.DriftDrifted)
		if len(p.Missed) > 0 {
			rows := make([][]string, 0, len(p.Missed))
			for _, d := range p.Missed {
				rows = append(rows, []string{d.DeviceID, dash(d.Site), d.Region, d.Detail})
			}
			fmt.Fprintln(w)
			table(w, "UNREADABLE|SITE|REGION|DETAIL", rows)
		}
		andMore(w, p.Unreadable-len(p.Missed), contract.DriftUnreadable)
	})
}

func andMore(w io.Writer, more int, outcome string) {
	if more > 0 {
		fmt.Fprintf(w, "and %d more: edgefleet drift report --outcome %s\n", more, outcome)
	}
}

func (a *App) driftReport(c *cli.Context) error {
	q := contract.EvidenceQuery{Site: c.String("site"), Region: c.String("region"), Outcome: c.String("outcome")}
	if err := firstError(noArgs(c), noneEmpty(c, "site", "region", "outcome", "older-than"), checkOutput(c), checkTimeout(c)); err != nil {
		return err
	}
	if q.Outcome != "" && !slices.Contains(driftOutcomes(), q.Outcome) {
		return usagef("--outcome %q: want one of %s", q.Outcome, strings.Join(driftOutcomes(), ", "))
	}
	if text := c.String("older-than"); text != "" {
		var err error
		if q.OlderThan, err = parseAge(text); err != nil {
			return usagef("--older-than %w", err)
		}
	}
	list, err := a.evidence(c, q)
	if err != nil {
		return err
	}
	return a.show(c, list, func(w io.Writer) {
		now := a.opts.Clock()
		rows := make([][]string, 0, len(list))
		for _, d := range list {
			drifted := "-"
			if d.Found != "" {
				drifted = itoa(int64(d.Drifted))
			}
			last := "never"
			if d.EvidenceAt != nil {
				last = ageText(now.Sub(*d.EvidenceAt))
			}
			rows = append(rows, []string{d.DeviceID, dash(d.Site), dash(d.Region), d.Outcome, drifted, stampPtr(d.DriftedSince), last, dash(d.Detail)})
		}
		a.list(w, "no device is known, or none matches", "DEVICE|SITE|REGION|OUTCOME|DRIFTED|SINCE (UTC)|EVIDENCE AGE|DETAIL", rows)
	})
}

// evidence asks for the report until there is no more of it.
func (a *App) evidence(c *cli.Context, q contract.EvidenceQuery) ([]contract.DeviceEvidence, error) {
	return askAll(a, c, func(after string) contract.InspectInput {
		query := q
		query.After = after
		return contract.InspectInput{Question: contract.AskDriftReport, Evidence: &query}
	}, func(out contract.InspectResult) ([]contract.DeviceEvidence, string) {
		return out.Evidence.Devices, out.Evidence.Next
	})
}
