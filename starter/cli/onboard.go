package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"edgefleet/workflows/contract"
)

// onboardTimeout is the most that an onboarding may take, whatever the fleet.
const onboardTimeout = 7 * 24 * time.Hour

func (a *App) onboardCommand() *cli.Command {
	bounds := contract.Bounds{}.WithDefaults()
	return &cli.Command{
		Name:      "onboard",
		Usage:     "take declared devices into service",
		ArgsUsage: "ID...",
		Description: `Every device is probed, enrolled, identified, backed up, brought to its
baseline, verified and registered. One that cannot be onboarded is left as it
was found and does not stop the others. Devices that are onboarded as they are
declared are skipped, so that the same command again does only what is left.`,
		Flags: append(append(watchFlags(), trustFlags()...),
			&cli.BoolFlag{Name: "all", Usage: "every declared device"},
			&cli.StringFlag{Name: "site", Usage: "every device at this `SITE`"},
			&cli.StringFlag{Name: "region", Usage: "every device in this `REGION`"},
			&cli.StringFlag{Name: "watch", Usage: "look again at the onboarding with this `WORKFLOW-ID`, and start nothing"},
			&cli.BoolFlag{Name: "again", Usage: "also those that are onboarded as they are declared"},
			&cli.IntFlag{Name: "per-site", Value: bounds.PerSite, Usage: "at most `N` devices of a site at once"},
			&cli.IntFlag{Name: "per-region", Value: bounds.PerRegion, Usage: "at most `N` devices of a region at once"},
			&cli.IntFlag{Name: "at-once", Value: bounds.Total, Usage: fmt.Sprintf("at most `N` devices at once, 1 to %d", contract.MaxAtOnce)}),
		Action: a.onboard,
	}
}

// trustFlags are what the one who onboards devices takes upon himself.
func trustFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "trust-first-use", Usage: "pin what a device shows when nothing is known of it, where the fleet file allows that"},
		&cli.BoolFlag{Name: "accept-replacement", Usage: "also another device than the one in service: another serial number, and with --trust-first-use another fingerprint"},
	}
}

func trustArg(c *cli.Context) contract.Trust {
	return contract.Trust{TrustFirstUse: c.Bool("trust-first-use"), AcceptReplacement: c.Bool("accept-replacement")}
}

func (a *App) onboard(c *cli.Context) error {
	in, err := a.onboardInput(c)
	if err := firstError(err, checkOutput(c)); err != nil {
		return err
	}
	t, err := a.dial(c)
	if err != nil {
		return err
	}
	defer t.Close()
	if id := c.String("watch"); id != "" {
		return a.followOnboarding(c, t, t.GetWorkflow(c.Context, id, ""))
	}
	run, err := a.startOnboarding(c, t, in)
	if err != nil {
		return err
	}
	if c.Bool("detach") {
		started := map[string]string{"workflow_id": run.GetID(), "run_id": run.GetRunID()}
		return a.show(c, started, func(w io.Writer) { fmt.Fprintln(w, run.GetID()) })
	}
	return a.followOnboarding(c, t, run)
}

func (a *App) startOnboarding(c *cli.Context, t Temporal, in contract.OnboardInput) (client.WorkflowRun, error) {
	run, err := t.ExecuteWorkflow(c.Context, client.StartWorkflowOptions{
		ID:                       contract.OnboardID(a.opts.Nonce()),
		TaskQueue:                contract.TaskQueue,
		WorkflowExecutionTimeout: onboardTimeout,
		WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		StaticSummary:            "onboard " + selectionText(in.Selection) + ": " + in.Reason,
		TypedSearchAttributes:    onboardAttributes(in.Selection),
	}, contract.WorkflowOnboard, in)
	if err != nil {
		return nil, explain(c.Context, err)
	}
	fmt.Fprintf(a.opts.Err, "started %s (run %s)\n", run.GetID(), run.GetRunID())
	return run, nil
}

// onboardInput is what the command line asks for, or why it cannot be asked.
func (a *App) onboardInput(c *cli.Context) (contract.OnboardInput, error) {
	in := contract.OnboardInput{
		Selection: contract.Selection{IDs: c.Args().Slice(), All: c.Bool("all"), Site: c.String("site"), Region: c.String("region"), Again: c.Bool("again")},
		Actor:     a.actor(),
		Reason:    reasonArg(c),
		Bounds:    contract.Bounds{PerSite: c.Int("per-site"), PerRegion: c.Int("per-region"), Total: c.Int("at-once")},
		Trust:     trustArg(c),
	}
	ways := 0
	for _, given := range []bool{len(in.Selection.IDs) > 0, in.Selection.All, c.IsSet("site"), c.IsSet("region"), c.IsSet("watch")} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		return in, usagef("onboard: want exactly one of ID..., --all, --site, --region and --watch, got %d of them", ways)
	}
	for _, name := range []string{"site", "region", "watch"} {
		if c.IsSet(name) && c.String(name) == "" {
			return in, usagef("--%s is empty", name)
		}
	}
	for _, id := range in.Selection.IDs {
		if err := contract.ValidDeviceID(id); err != nil {
			return in, usageError{err}
		}
	}
	for _, bound := range []struct {
		name string
		most int
	}{{"per-site", contract.MaxAtOnce}, {"per-region", contract.MaxAtOnce}, {"at-once", contract.MaxAtOnce}} {
		if n := c.Int(bound.name); n < 1 || n > bound.most {
			return in, usagef("--%s %d: want 1 to %d", bound.name, n, bound.most)
		}
	}
	return in, nil
}

func (a *App) actor() contract.Actor {
	return contract.Actor{Kind: contract.ActorOperator, Name: a.opts.User}
}

func reasonArg(c *cli.Context) string { return cmp.Or(c.String("reason"), "started by hand") }

func selectionText(s contract.Selection) string {
	switch {
	case len(s.IDs) == 1:
		return s.IDs[0]
	case len(s.IDs) > 1:
		return plural(len(s.IDs), "device")
	case s.Site != "":
		return "site " + s.Site
	case s.Region != "":
		return "region " + s.Region
	}
	return "all devices"
}

func onboardAttributes(s contract.Selection) temporal.SearchAttributes {
	switch {
	case len(s.IDs) == 1:
		return temporal.NewSearchAttributes(temporal.NewSearchAttributeKeyKeyword(contract.AttrDeviceID).ValueSet(s.IDs[0]))
	case s.Site != "":
		return temporal.NewSearchAttributes(temporal.NewSearchAttributeKeyKeyword(contract.AttrSite).ValueSet(s.Site))
	case s.Region != "":
		return temporal.NewSearchAttributes(temporal.NewSearchAttributeKeyKeyword(contract.AttrRegion).ValueSet(s.Region))
	}
	return temporal.NewSearchAttributes()
}

// followOnboarding shows how far an onboarding is until it ends, and then what
// came of it.
func (a *App) followOnboarding(c *cli.Context, t Temporal, run client.WorkflowRun) error {
	var result contract.OnboardProgress
	ended := a.end(c, t, run, &result, onboardingEnd(run.GetID()))
	if ended != nil && !errors.Is(ended, errQuiet) {
		return ended
	}
	return firstError(a.showOnboarded(c, result), ended)
}

// ending is what there is to say of the end of a run over many devices.
type ending struct {
	// what it is, in a word.
	what string
	// failure is the type of the error that carries the result of a run of
	// which devices failed.
	failure string
	// again is the command that looks at it again, and rest says what becomes
	// of devices whose turn did not come.
	again, rest string
}

func onboardingEnd(id string) ending {
	return ending{what: "onboarding", failure: contract.ErrNotHealthy,
		again: "edgefleet onboard --watch " + shellWord(id), rest: "; start it again for the rest: what is onboarded is skipped"}
}

// end shows how far a run is until it ends, and puts its result into result.
// When devices failed, the error is errQuiet and the result is there, too.
func (a *App) end(c *cli.Context, t Temporal, run client.WorkflowRun, result any, e ending) error {
	view := a.newOnboardView(t, run)
	err := a.follow(c.Context, run, result, view.look)
	view.line.close()
	if c.Err() != nil {
		return fmt.Errorf("interrupted; %s goes on; look at it again with: %s", run.GetID(), e.again)
	}
	var app *temporal.ApplicationError
	if errors.As(err, &app) && app.Type() == e.failure && app.HasDetails() && app.Details(result) == nil {
		return errQuiet
	}
	if err != nil {
		return a.explainEnd(c, run.GetID(), err, e)
	}
	return nil
}

func (a *App) explainEnd(c *cli.Context, id string, err error, e ending) error {
	var timeout *temporal.TimeoutError
	switch {
	case temporal.IsCanceledError(err):
		return fmt.Errorf("the %s was cancelled%s", e.what, e.rest)
	case temporal.IsTerminatedError(err):
		return fmt.Errorf("the %s was terminated; what it had begun ends by itself%s", e.what, e.rest)
	case errors.As(err, &timeout):
		return fmt.Errorf("the %s did not end within %v%s", e.what, onboardTimeout, e.rest)
	case isNotFound(err):
		return usagef("Temporal knows no workflow %s, or not any more", id)
	}
	return explain(c.Context, err)
}
