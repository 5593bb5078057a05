package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"edgefleet/workflows/contract"
)

// showPlan shows a plan as a diff.
func (a *App) showPlan(c *cli.Context, t Temporal, hash string) error {
	plan, err := a.planOf(c, t, hash, true)
	if err != nil {
		return err
	}
	plan.Devices, plan.Waves, plan.Excluded = nonNil(plan.Devices), nonNil(plan.Waves), nonNil(plan.Excluded)
	return a.show(c, plan, func(w io.Writer) {
		a.rolloutPlanTable(w, plan, c.Bool("detail"))
		if plan.RolloutPlan.Devices() == 0 {
			return
		}
		fmt.Fprintf(w, "\nstart it until %s with: edgefleet %s start --plan %s\n", stamp(plan.ExpiresAt), commandOf(plan.Kind), plan.Hash)
	})
}

// rolloutPlanTable shows what a plan does, with every device or by what changes.
func (a *App) rolloutPlanTable(w io.Writer, plan *contract.RolloutPlanPage, detail bool) {
	a.planHead(w, plan)
	if detail {
		a.planDevices(w, plan)
	} else {
		a.planChanges(w, plan)
	}
	a.planExcluded(w, plan, detail)
	if plan.RolloutPlan.Devices() == 0 {
		fmt.Fprintln(w, "\nnothing to do: no device would be changed")
	}
}

func (a *App) planHead(w io.Writer, p *contract.RolloutPlanPage) {
	s := p.Strategy
	what := "baseline"
	if p.Kind == contract.KindPatch {
		what = contract.KindPatch
	}
	fields(w, "plan", p.Hash, what, p.Baseline+" "+p.Version, "file", p.File, "select", p.Select, "made by", p.Requester,
		"reason", p.Reason, "expires (UTC)", stamp(p.ExpiresAt), "takes about", roughly(p.Takes), "limits", limitsText(s), "at once", boundsText(s),
		"checks", checksText(s.Checks), "approval", approvalText(s.Approval), "windows", windowsText(s))
	if len(p.Waves) == 0 {
		return
	}
	rows := make([][]string, 0, len(p.Waves))
	for _, wave := range p.Waves {
		rows = append(rows, []string{itoa(int64(wave.Number)), wave.Name, itoa(int64(wave.Devices)), roughly(wave.Takes)})
	}
	fmt.Fprintln(w)
	table(w, "WAVE|NAME|DEVICES|TAKES ABOUT", rows)
}

// roughly rounds an estimate to what can be said.
func roughly(d time.Duration) string {
	switch {
	case d <= 0:
		return "-"
	case d < time.Minute:
		return max(d.Round(time.Second), time.Second).String()
	}
	return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
}

func limitText(l contract.RolloutLimit) string {
	var parts []string
	if l.Count != nil {
		parts = append(parts, itoa(int64(*l.Count)))
	}
	if l.Percent != nil {
		parts = append(parts, fmt.Sprintf("%g %%", *l.Percent))
	}
	if len(parts) == 0 {
		return "any number"
	}
	return strings.Join(parts, " and ")
}

func limitsText(s contract.RolloutStrategy) string {
	text := fmt.Sprintf("%s at over %s of a wave or %s of all", s.OnBreach, limitText(s.WaveLimit), limitText(s.TotalLimit))
	if !s.AllowUnsafe {
		text += ", and at the first unsafe device"
	}
	return text
}

func boundsText(s contract.RolloutStrategy) string {
	text := fmt.Sprintf("%d of a site, %d of a region, %d in all; sites %s", s.Bounds.PerSite, s.Bounds.PerRegion, s.Bounds.Total, s.Sites)
	if s.Rate > 0 {
		text += fmt.Sprintf("; %g begin within a minute", s.Rate)
		if s.RateGrowth > 1 {
			text += fmt.Sprintf(", times %g from wave to wave", s.RateGrowth)
		}
	}
	return text
}

func checksText(c contract.RolloutChecks) string {
	parts := []string{"the profile's"}
	if c.Metric != "" {
		parts = append(parts, c.Metric)
	}
	if c.Runbook != nil {
		parts = append(parts, c.Runbook.Path+":"+c.Runbook.Function)
	}
	text := strings.Join(parts, ", ")
	if c.Soak > 0 {
		text += fmt.Sprintf(", after %s", short(c.Soak))
	}
	if c.Passes > 1 {
		text += fmt.Sprintf(", %d times in a row", c.Passes)
	}
	return text
}

func approvalText(r contract.RolloutApproval) string {
	if r.Before == contract.ApproveNothing || r.Before == "" {
		return ""
	}
	return fmt.Sprintf("before the %s, within %s", map[string]string{
		contract.ApproveStart: "start", contract.ApproveFleet: "first wave after the canary", contract.ApproveWaves: "canary and each wave"}[r.Before], r.Within)
}

func windowsText(s contract.RolloutStrategy) string {
	var parts []string
	for _, win := range s.Windows {
		days := "daily"
		if len(win.Days) > 0 {
			days = strings.Join(win.Days, ",")
		}
		text := fmt.Sprintf("%s %s-%s %s", days, win.From, win.To, win.Zone)
		if win.Select != "" {
			text += " for " + win.Select
		}
		parts = append(parts, text)
	}
	for _, f := range s.Freezes {
		parts = append(parts, fmt.Sprintf("not from %s to %s (%s)", f.From, f.To, f.Name))
	}
	return strings.Join(parts, "; ")
}

// planChanges shows which changes there are, and how many devices get each.
func (a *App) planChanges(w io.Writer, p *contract.RolloutPlanPage) {
	type group struct {
		changes []contract.PlannedChange
		devices []string
	}
	var groups []*group
	byText := map[string]*group{}
	for _, d := range p.Devices {
		if d.Wave == 0 {
			continue
		}
		text := ""
		for _, c := range d.Changes {
			text += c.Setting + "\x00" + c.Before + "\x00" + c.After + "\x00"
		}
		g := byText[text]
		if g == nil {
			g = &group{changes: d.Changes}
			byText[text] = g
			groups = append(groups, g)
		}
		g.devices = append(g.devices, d.ID)
	}
	slices.SortStableFunc(groups, func(x, y *group) int { return len(y.devices) - len(x.devices) })
	const shown = 20
	for _, g := range groups[:min(len(groups), shown)] {
		names := strings.Join(g.devices[:min(len(g.devices), 5)], ", ")
		if more := len(g.devices) - 5; more > 0 {
			names += fmt.Sprintf(" and %d more", more)
		}
		fmt.Fprintf(w, "\n~ %s: %s\n", plural(len(g.devices), "device"), oneLine(names))
		a.changeLines(w, g.changes)
	}
	if more := len(groups) - shown; more > 0 {
		fmt.Fprintf(w, "\nand %d other groups of changes; see --detail\n", more)
	}
}

// planDevices shows every device of the waves.
func (a *App) planDevices(w io.Writer, p *contract.RolloutPlanPage) {
	for _, d := range p.Devices {
		if d.Wave == 0 {
			continue
		}
		fmt.Fprintf(w, "\n~ %s  wave %d, site %s, region %s, takes about %s", oneLine(d.ID), d.Wave, oneLine(d.Site), oneLine(d.Region), roughly(d.Takes))
		if d.Window != "" {
			fmt.Fprintf(w, ", %s", oneLine(d.Window))
		}
		fmt.Fprintln(w)
		a.changeLines(w, d.Changes)
	}
}

// changeLines shows changes as a diff, "-" before "+".
func (a *App) changeLines(w io.Writer, changes []contract.PlannedChange) {
	if len(changes) == 0 {
		fmt.Fprintln(w, "  (it has the settings already, and is noted with this baseline)")
		return
	}
	var plain []contract.SettingDrift
	for _, c := range changes {
		if c.Diff == "" {
			plain = append(plain, contract.SettingDrift{Setting: c.Setting, Want: c.Before, Got: c.After, Unit: c.Unit})
		}
	}
	if len(plain) > 0 {
		for i, line := range diffLines(plain) {
			a.colour(w, []string{red, green}[i%2], "  "+line)
		}
	}
	for _, c := range changes {
		if c.Diff == "" {
			continue
		}
		fmt.Fprintf(w, "  %s:\n", oneLine(c.Setting))
		for line := range strings.Lines(c.Diff) {
			line = oneLine(strings.TrimSuffix(line, "\n"))
			code := ""
			switch {
			case strings.HasPrefix(line, "+"):
				code = green
			case strings.HasPrefix(line, "-"):
				code = red
			}
			a.colour(w, code, "    "+line)
		}
	}
}

// planExcluded shows what is left out, and why.
func (a *App) planExcluded(w io.Writer, p *contract.RolloutPlanPage, detail bool) {
	if len(p.Excluded) == 0 {
		return
	}
	fmt.Fprintln(w)
	rows := make([][]string, 0, len(p.Excluded))
	if !detail {
		for _, e := range p.Excluded {
			rows = append(rows, []string{e.Reason, itoa(int64(e.Devices)), firstExcluded(p.Devices, e.Reason)})
		}
		table(w, "LEFT OUT|DEVICES|SUCH AS", rows)
		return
	}
	for _, d := range p.Devices {
		if d.Wave == 0 {
			rows = append(rows, []string{d.ID, d.Excluded, dash(d.Detail)})
		}
	}
	table(w, "LEFT OUT|REASON|DETAIL", rows)
}

func firstExcluded(devices []contract.PlannedDevice, reason string) string {
	for _, d := range devices {
		if d.Excluded == reason {
			return d.ID + ": " + firstLine(d.Detail)
		}
	}
	return "-"
}
