package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"edgefleet/workflows/contract"
)

// Terminal says whether a line that is written to f can be written over.
func Terminal(f *os.File, getenv func(string) string) bool {
	if getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// onboardView shows how far an onboarding is.
type onboardView struct {
	waiting
	line progressLine
	t    Temporal
	run  client.WorkflowRun
}

func (a *App) newOnboardView(t Temporal, run client.WorkflowRun) *onboardView {
	return &onboardView{waiting: waiting{app: a, began: time.Now()}, line: progressLine{app: a}, t: t, run: run}
}

// look asks the newest run, whichever it is by now. That a query fails is not
// worth a word: the run goes on without it.
func (v *onboardView) look(ctx context.Context, last bool) {
	var p contract.OnboardProgress
	answer, err := v.t.QueryWorkflow(ctx, v.run.GetID(), "", contract.QueryProgress)
	if err == nil {
		err = answer.Get(&p)
	}
	switch {
	case err != nil && !last:
		v.still(func() string { return whoIsMissing(ctx, v.t) })
	case err != nil:
	case p.Revision == "" && p.Total == 0 && !last:
		v.still(func() string { return "still selecting devices…" })
	case p.Total > 0:
		v.told = true
		v.line.show(p.Done+p.Failed, p.Total, progressText(p, v.app.opts.Clock()), last)
	}
}

// bar shows the part of a whole in 20 cells.
func bar(part, whole int) string {
	const cells = 20
	full := cells * part / max(whole, 1)
	return "[" + strings.Repeat("#", full) + strings.Repeat("-", cells-full) + "]"
}

func progressText(p contract.OnboardProgress, now time.Time) string {
	ended := p.Done + p.Failed
	parts := []string{fmt.Sprintf("%d of %s", ended, plural(p.Total, "device")), fmt.Sprintf("%d failed", p.Failed)}
	if n := len(p.Running); n > 0 {
		parts = append(parts, fmt.Sprintf("%d in work", n))
	}
	if p.Waiting > 0 {
		parts = append(parts, fmt.Sprintf("%d out of reach and tried again", p.Waiting))
	}
	if took := now.Sub(p.Began); ended > 0 && took > 0 {
		parts = append(parts, fmt.Sprintf("%.1f/s", float64(ended)/took.Seconds()))
		left := time.Duration(float64(took) / float64(ended) * float64(p.Total-ended)).Round(time.Second)
		if left > 0 {
			parts = append(parts, left.String()+" left")
		}
	}
	return strings.Join(parts, ", ")
}

// showOnboarded shows what came of an onboarding.
func (a *App) showOnboarded(c *cli.Context, p contract.OnboardProgress) error {
	p.Failures, p.Phases = nonNil(p.Failures), nonNil(p.Phases)
	return a.show(c, p, func(w io.Writer) { onboardedTable(w, p) })
}

func onboardedTable(w io.Writer, p contract.OnboardProgress) {
	if p.Total == 0 {
		fmt.Fprintf(w, "nothing to do: %s onboarded as declared\n", plural(p.Skipped, "device"))
		return
	}
	fmt.Fprintf(w, "%d of %s onboarded, %d failed, %d were already\n", p.Done, plural(p.Total, "device"), p.Failed, p.Skipped)
	if len(p.Failures) > 0 {
		fmt.Fprintln(w)
		rows := make([][]string, 0, len(p.Failures))
		for _, f := range p.Failures {
			rows = append(rows, []string{f.DeviceID, dash(f.Phase), f.Detail})
		}
		table(w, "DEVICE|PHASE|DETAIL", rows)
	}
	if more := p.Failed - len(p.Failures); more > 0 && len(p.Failures) > 0 {
		fmt.Fprintf(w, "and %d more\n", more)
	}
	phaseTable(w, p.Phases)
}

// phaseTable shows how long the phases took, and a device that went through
// all of them.
func phaseTable(w io.Writer, phases []contract.PhaseTime) {
	if len(phases) == 0 {
		return
	}
	var mean time.Duration
	rows := make([][]string, 0, len(phases)+1)
	for _, p := range phases {
		each := p.Took / time.Duration(max(p.Devices, 1))
		mean += each
		rows = append(rows, []string{p.Phase, itoa(int64(p.Devices)), short(p.Took), short(each)})
	}
	rows = append(rows, []string{"a device, all phases", "", "", short(mean)})
	fmt.Fprintln(w)
	table(w, "PHASE|DEVICES|TIME|MEAN", rows)
}

// short rounds a duration to what a person reads.
func short(d time.Duration) string {
	switch {
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(10 * time.Microsecond).String()
}

func isNotFound(err error) bool {
	var missing *serviceerror.NotFound
	return errors.As(err, &missing)
}
