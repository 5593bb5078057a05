package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"edgefleet/workflows/contract"
)

func (a *App) rolloutRunCommand() *cli.Command {
	return &cli.Command{
		Name: "run", Usage: "the whole way in one command: validate, plan, canary, waves, for one baseline after the other", ArgsUsage: "FILE...", Action: a.rolloutRun,
		Description: `Every file is checked before anything is asked of Temporal. Then each is planned,
its plan is shown, carried out exactly, and followed to its end before the next
one; a plan that changes no device is passed over. It ends at the first rollout
that is not done, and names the files whose turn did not come.

Without --yes it shows the plans and starts none.`,
		Flags: append([]cli.Flag{outputFlag(), timeoutFlag(), detailFlag(), exitWaitingFlag(), againstFleetFlag(), narrowFlag(), whyFlag(),
			&cli.BoolFlag{Name: "yes", Usage: "start what was planned"}},
			strategyFlags()...),
	}
}

// ranBaseline is what became of a baseline.
type ranBaseline struct {
	File     string `json:"file"`
	PlanHash string `json:"plan_hash"`
	Devices  int    `json:"devices"`
	// Rollout is nil when none was started.
	Rollout *contract.RolloutProgress `json:"rollout,omitempty"`
}

func (a *App) rolloutRun(c *cli.Context) error {
	sel, err := contract.ParseSelector(c.String("select"))
	if err != nil {
		err = usagef("--select: %w", err)
	}
	if err := firstError(someArgs(c), err, checkOutput(c), checkTimeout(c)); err != nil {
		return err
	}
	inputs := make([]contract.PlanRolloutInput, 0, c.Args().Len())
	for _, file := range c.Args().Slice() {
		in, err := a.planInputOf(c, file)
		if err != nil {
			return err
		}
		inputs = append(inputs, in)
	}
	reports, mistakes, err := checkBaselines(c, sel)
	if err != nil {
		return err
	}
	if mistakes != nil {
		baselineTables(a.opts.Err, reports)
		return mistakes
	}
	t, err := a.dial(c)
	if err != nil {
		return err
	}
	defer t.Close()
	ran, err := a.runAll(c, t, inputs)
	if c.String(flagOutput) == "json" {
		if err := a.show(c, ran, nil); err != nil {
			return err
		}
	}
	return err
}

// runAll runs one baseline after the other, up to the first that is not done.
func (a *App) runAll(c *cli.Context, t Temporal, inputs []contract.PlanRolloutInput) ([]ranBaseline, error) {
	files := c.Args().Slice()
	ran := make([]ranBaseline, 0, len(files))
	unstarted := 0
	for i, in := range inputs {
		one := ranBaseline{File: files[i]}
		err := a.runOne(c, t, in, &one)
		ran = append(ran, one)
		if one.Devices > 0 && one.Rollout == nil {
			unstarted++
		}
		if err != nil {
			if left := files[i+1:]; len(left) > 0 {
				fmt.Fprintf(a.opts.Err, "their turn did not come: %s\n", oneLine(strings.Join(left, ", ")))
			}
			return ran, err
		}
	}
	if unstarted > 0 {
		return ran, usagef("nothing was started; start what was planned with edgefleet rollout start --plan HASH, or plan and start with --yes")
	}
	return ran, nil
}

// runOne plans a baseline and, with --yes, carries the plan out.
func (a *App) runOne(c *cli.Context, t Temporal, in contract.PlanRolloutInput, one *ranBaseline) error {
	hash, err := a.planned(c, t, in, "plan the rollout of "+in.File)
	if err != nil {
		return err
	}
	plan, err := a.planOf(c, t, hash, true)
	if err != nil {
		return err
	}
	one.PlanHash, one.Devices = hash, plan.RolloutPlan.Devices()
	a.tables(c, func(w io.Writer) { a.rolloutPlanTable(w, plan, c.Bool("detail")); fmt.Fprintln(w) })
	if one.Devices == 0 || !c.Bool("yes") {
		return nil
	}
	run, id, err := a.startPlanned(c, t, plan)
	if err != nil {
		return err
	}
	result, err := a.watchRollout(c, t, run, id)
	if err != nil && !errors.Is(err, errWaiting) && !errors.Is(err, errQuiet) {
		return err
	}
	result.Waves, result.Events = nonNil(result.Waves), nonNil(result.Events)
	one.Rollout = &result
	a.tables(c, func(w io.Writer) { a.rolloutTable(w, result); fmt.Fprintln(w) })
	return err
}

// tables writes what is for people, and nothing when JSON is wanted: that is one
// document, at the end.
func (a *App) tables(c *cli.Context, write func(io.Writer)) {
	if c.String(flagOutput) != "json" {
		write(a.opts.Out)
	}
}
