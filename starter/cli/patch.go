package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"edgefleet/workflows/contract"
)

// patchDeadline is how long a device may be in work where the strategy does not
// say: an upload over a slow line takes longer than any configuration.
const patchDeadline = time.Hour

func (a *App) patchCommand() *cli.Command {
	return &cli.Command{
		Name:  "patch",
		Usage: "install software on many devices: planned, in waves, and back, as rollouts are",
		Subcommands: []*cli.Command{
			{Name: "plan", Usage: "find out what a patch would change, and freeze that", ArgsUsage: "NAME", Action: a.patchPlan,
				Description: `NAME is a patch of the fleet directory's folder patches. Its signature is checked, the
devices are asked what they run, and nothing is written. Pausing, approving,
watching and rolling back is what "edgefleet rollout" has for every plan.`,
				Flags: append([]cli.Flag{outputFlag(), timeoutFlag(), detailFlag(),
					&cli.StringFlag{Name: "select", Usage: "narrow what the patch selects, as `class=plc,region=us-east-1|us-west-2,site!=substation-7`"},
					&cli.BoolFlag{Name: "allow-downgrade", Usage: "install it on devices, too, that run a newer version, or one of which that cannot be said"},
					&cli.StringFlag{Name: "reason", Usage: "`TEXT` that says why, for the ledger and the next reader"}},
					patchStrategyFlags()...)},
			a.rolloutStartCommand(),
			{Name: "report", Usage: "show which device runs which version, and since when a patch is owed; asks no device", Action: a.patchReport,
				Flags: []cli.Flag{outputFlag(), timeoutFlag(),
					&cli.StringFlag{Name: "site", Usage: "only this `SITE`"},
					&cli.StringFlag{Name: "region", Usage: "only this `REGION`"},
					&cli.BoolFlag{Name: "owed", Usage: "only devices to which a patch is owed, and that nobody excepts"},
					&cli.StringFlag{Name: "older-than", Usage: "only devices to which a patch is owed for longer than this `AGE`, as 35d or 12h"}}},
		},
	}
}

// patchStrategyFlags are those of rollouts, but for a default.
func patchStrategyFlags() []cli.Flag {
	flags := strategyFlags()
	for _, f := range flags {
		if d, ok := f.(*cli.DurationFlag); ok && d.Name == "device-deadline" {
			d.DefaultText = short(patchDeadline)
		}
	}
	return flags
}

func (a *App) patchPlan(c *cli.Context) error {
	name, err := oneArg(c, "name of a patch")
	in := contract.PlanRolloutInput{Patch: name, Select: c.String("select"), Actor: a.actor(), Reason: reasonArg(c)}
	if _, selectErr := contract.ParseSelector(in.Select); selectErr != nil && err == nil {
		err = usagef("--select: %w", selectErr)
	}
	if err := firstError(err, checkOutput(c), checkTimeout(c)); err != nil {
		return err
	}
	in.Strategy, err = strategyFor(c, contract.RolloutStrategy{DeviceDeadline: patchDeadline, AllowDowngrade: c.Bool("allow-downgrade")})
	if err != nil {
		return err
	}
	return a.makePlan(c, in, "plan the patch "+name)
}

// commandOf is the command that plans and starts what is of the kind.
func commandOf(kind string) string {
	if kind == contract.KindPatch {
		return "patch"
	}
	return "rollout"
}

func (a *App) patchReport(c *cli.Context) error {
	q := contract.PatchQuery{Site: c.String("site"), Region: c.String("region"), Owed: c.Bool("owed")}
	if err := firstError(noArgs(c), noneEmpty(c, "site", "region", "older-than"), checkOutput(c), checkTimeout(c)); err != nil {
		return err
	}
	if text := c.String("older-than"); text != "" {
		var err error
		if q.OlderThan, err = parseAge(text); err != nil {
			return usagef("--older-than %w", err)
		}
	}
	list, err := a.patchStatus(c, q)
	if err != nil {
		return err
	}
	return a.show(c, list, func(w io.Writer) {
		now := a.opts.Clock()
		rows := make([][]string, 0, len(list))
		for _, d := range list {
			seen, owed := "never", "-"
			if d.SeenAt != nil {
				seen = ageText(now.Sub(*d.SeenAt))
			}
			if d.OwedSince != nil {
				owed = fmt.Sprintf("%s (%s)", d.OwedSince.UTC().Format(time.DateOnly), ageText(now.Sub(*d.OwedSince)))
			}
			rows = append(rows, []string{d.DeviceID, dash(d.Site), dash(d.Region), dash(d.Version), seen, d.State, dash(d.PatchVersion), dash(d.Patch), owed, exceptionText(d)})
		}
		a.list(w, "no device is onboarded, or none matches", "DEVICE|SITE|REGION|RUNS|SEEN|STATE|NEWEST|PATCH|OWED SINCE (UTC)|EXCEPTION", rows)
	})
}

func exceptionText(d contract.PatchStatus) string {
	if d.ExceptedBy == "" {
		return dash(d.Detail)
	}
	text := d.ExceptedBy
	if d.ExceptedUntil != nil {
		text += " until " + d.ExceptedUntil.UTC().Format(time.DateOnly)
	}
	return text + ": " + d.Detail
}

// patchStatus asks for the report until there is no more of it.
func (a *App) patchStatus(c *cli.Context, q contract.PatchQuery) ([]contract.PatchStatus, error) {
	return askAll(a, c, func(after string) contract.InspectInput {
		query := q
		query.After = after
		return contract.InspectInput{Question: contract.AskPatchReport, Patch: &query}
	}, func(out contract.InspectResult) ([]contract.PatchStatus, string) {
		return out.Patches.Devices, out.Patches.Next
	})
}
