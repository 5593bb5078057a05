package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"edgefleet/internal/window"
	"edgefleet/workflows/contract"
)

// strategyFlags say how a plan is carried out. A flag goes before the file.
func strategyFlags() []cli.Flag {
	d := contract.RolloutStrategy{}.WithDefaults()
	flags := []cli.Flag{
		&cli.StringFlag{Name: "strategy", Usage: "read the strategy from this `FILE`; flags go before it"},
		&cli.StringFlag{Name: "canary", Usage: "the canaries: a `NUMBER`, a label as ring=canary, or none (default: 1)"},
		&cli.StringFlag{Name: "waves", Usage: "how many had their turn after each wave, as `5%,25%,100%` or 10,100 (default: " + strings.Join(d.Waves, ",") + ")"},
		&cli.StringFlag{Name: "sites", Usage: "`HOW` sites are put into waves: spread or together (default: spread)"},
		&cli.IntFlag{Name: "per-site", Usage: fmt.Sprintf("at most `N` devices of a site at once (default: %d)", d.Bounds.PerSite)},
		&cli.IntFlag{Name: "per-region", Usage: fmt.Sprintf("at most `N` devices of a region at once (default: %d)", d.Bounds.PerRegion)},
		&cli.IntFlag{Name: "at-once", Usage: fmt.Sprintf("at most `N` devices at once, 1 to %d (default: %d)", contract.MaxAtOnce, d.Bounds.Total)},
		&cli.Float64Flag{Name: "rate", Usage: "begin at most `N` devices within a minute"},
		&cli.Float64Flag{Name: "rate-growth", Usage: "multiply the rate by `N` from wave to wave"},
		&cli.StringFlag{Name: "max-failed", Usage: "how many of a wave may be anything but healthy: a `NUMBER`, a percentage, or both as 3,2% (default: 2%)"},
		&cli.StringFlag{Name: "max-failed-total", Usage: "the same of the whole rollout, as `NUMBER` or percentage (default: 2%)"},
		&cli.BoolFlag{Name: "allow-unsafe", Usage: "go on beside a device that may be neither as planned nor as before"},
		&cli.StringFlag{Name: "on-breach", Usage: "`WHAT` to do when a limit is passed: pause, abort or rollback (default: pause)"},
		&cli.DurationFlag{Name: "soak", Usage: "wait this `DURATION` after each wave before it is looked at"},
		&cli.IntFlag{Name: "passes", Usage: "looks in a row that have to find everything healthy (default: 1)"},
		&cli.DurationFlag{Name: "check-every", Usage: "the `DURATION` between two looks (default: 15s)"},
		&cli.DurationFlag{Name: "check-within", Usage: "the `DURATION` after which the looks give up (default: 10m)"},
		&cli.StringFlag{Name: "metric", Usage: "`PROMQL` that has to hold after each wave: no sample is 0; no sample at all is unknown"},
		&cli.StringFlag{Name: "check-runbook", Usage: "`FILE:FUNCTION` of the fleet directory's runbooks that is run for a device after each wave, and only looks"},
		&cli.DurationFlag{Name: "device-deadline", Usage: "the most `DURATION` for a device, the wait for its lease included (default: 10m)"},
		&cli.DurationFlag{Name: "wave-deadline", Usage: "the most `DURATION` for a wave, while a window is open (default: 24h)"},
		&cli.DurationFlag{Name: "deadline", Usage: "the most `DURATION` for the whole (default: 336h)"},
		&cli.StringSliceFlag{Name: "window", Usage: "write only in this `WINDOW`, as \"mon-fri 22:00-05:00 Europe/Berlin\"; several are alternatives"},
		&cli.DurationFlag{Name: "takes", Usage: "the `DURATION` that a device is expected to take: it is not begun when its window closes earlier"},
		&cli.StringFlag{Name: "approve", Usage: "`WHEN` somebody else has to approve: none, start, fleet (after the canary) or waves (default: none)"},
		&cli.DurationFlag{Name: "approve-within", Usage: "the `DURATION` after which no approval is a refusal (default: 24h)"},
		&cli.BoolFlag{Name: "no-silences", Usage: "leave the alerts of devices in work alone"},
		&cli.DurationFlag{Name: "valid", Usage: "the `DURATION` for which the plan can be started (default: 24h)"},
	}
	for _, f := range flags {
		tellDefault(f)
	}
	return flags
}

// tellDefault has the help show the default that stands in the usage, and not
// the zero by which a number that was not given is known.
func tellDefault(f cli.Flag) {
	cut := func(usage, text *string) {
		if before, after, ok := strings.Cut(*usage, " (default: "); ok {
			*usage, *text = before, strings.TrimSuffix(after, ")")
		}
	}
	switch f := f.(type) {
	case *cli.IntFlag:
		cut(&f.Usage, &f.DefaultText)
	case *cli.DurationFlag:
		cut(&f.Usage, &f.DefaultText)
	}
}

// strategyOf is the file's strategy with what the flags say.
func strategyOf(c *cli.Context) (contract.RolloutStrategy, error) {
	return strategyFor(c, contract.RolloutStrategy{})
}

// strategyFor is strategyOf with other defaults where otherwise has some.
func strategyFor(c *cli.Context, otherwise contract.RolloutStrategy) (contract.RolloutStrategy, error) {
	var s contract.RolloutStrategy
	if file := c.String("strategy"); file != "" {
		var err error
		if s, err = readStrategy(file); err != nil {
			return s, usageError{err}
		}
	}
	if err := overStrategy(c, &s); err != nil {
		return s, err
	}
	s.DeviceDeadline = cmp.Or(s.DeviceDeadline, otherwise.DeviceDeadline)
	s.AllowDowngrade = otherwise.AllowDowngrade
	s.Approval.Before = cmp.Or(s.Approval.Before, otherwise.Approval.Before)
	s = s.WithDefaults()
	if err := firstError(s.Check(), checkWindows(s)); err != nil {
		return s, usagef("the strategy: %w", err)
	}
	return s, nil
}

// overStrategy puts the flags that are set over the strategy.
func overStrategy(c *cli.Context, s *contract.RolloutStrategy) error {
	for name, field := range map[string]*string{"sites": &s.Sites, "on-breach": &s.OnBreach, "metric": &s.Checks.Metric, "approve": &s.Approval.Before} {
		if c.IsSet(name) {
			*field = c.String(name)
		}
	}
	for name, field := range map[string]*time.Duration{
		"soak": &s.Checks.Soak, "check-every": &s.Checks.Every, "check-within": &s.Checks.Within, "device-deadline": &s.DeviceDeadline,
		"wave-deadline": &s.WaveDeadline, "deadline": &s.Deadline, "takes": &s.Takes, "approve-within": &s.Approval.Within, "valid": &s.PlanValid,
	} {
		if c.IsSet(name) {
			*field = c.Duration(name)
		}
	}
	for name, field := range map[string]*int{"per-site": &s.Bounds.PerSite, "per-region": &s.Bounds.PerRegion, "at-once": &s.Bounds.Total, "passes": &s.Checks.Passes} {
		if !c.IsSet(name) {
			continue
		}
		if *field = c.Int(name); *field < 1 || *field > contract.MaxAtOnce {
			return usagef("--%s %d: want 1 to %d", name, *field, contract.MaxAtOnce)
		}
	}
	for name, field := range map[string]*float64{"rate": &s.Rate, "rate-growth": &s.RateGrowth} {
		if c.IsSet(name) {
			*field = c.Float64(name)
		}
	}
	for name, field := range map[string]*bool{"allow-unsafe": &s.AllowUnsafe, "no-silences": &s.NoSilences} {
		if c.IsSet(name) {
			*field = c.Bool(name)
		}
	}
	if c.IsSet("waves") {
		s.Waves = strings.Split(c.String("waves"), ",")
	}
	if c.IsSet("canary") {
		s.Canary = canaryOf(c.String("canary"))
	}
	for name, field := range map[string]*contract.RolloutLimit{"max-failed": &s.WaveLimit, "max-failed-total": &s.TotalLimit} {
		if !c.IsSet(name) {
			continue
		}
		var err error
		if *field, err = limitOf(c.String(name)); err != nil {
			return usagef("--%s %w", name, err)
		}
	}
	if text := c.String("check-runbook"); text != "" {
		path, function, ok := strings.Cut(text, ":")
		if !ok || path == "" || function == "" {
			return usagef("--check-runbook %q: want FILE:FUNCTION, as check.py:looks_well", text)
		}
		s.Checks.Runbook = &contract.RunbookRef{Path: path, Function: function}
	}
	if c.IsSet("window") {
		s.Windows = nil
		for _, text := range windowArgs(c.StringSlice("window")) {
			w, err := windowOf(text)
			if err != nil {
				return usagef("--window %w", err)
			}
			s.Windows = append(s.Windows, w)
		}
	}
	return nil
}

// canaryOf reads a number, a label, or none.
func canaryOf(text string) contract.RolloutCanary {
	if n, err := strconv.Atoi(text); err == nil && n > 0 {
		return contract.RolloutCanary{Count: n}
	}
	if text == "none" || text == "0" {
		return contract.RolloutCanary{None: true}
	}
	return contract.RolloutCanary{Label: text}
}

// limitOf reads "3", "2%" or "3,2%".
func limitOf(text string) (contract.RolloutLimit, error) {
	var l contract.RolloutLimit
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if percent, ok := strings.CutSuffix(part, "%"); ok {
			f, err := strconv.ParseFloat(strings.TrimSpace(percent), 64)
			if err != nil || l.Percent != nil {
				return l, fmt.Errorf("%q: want a number, a percentage, or both as 3,2%%", text)
			}
			l.Percent = &f
			continue
		}
		n, err := strconv.Atoi(part)
		if err != nil || l.Count != nil {
			return l, fmt.Errorf("%q: want a number, a percentage, or both as 3,2%%", text)
		}
		l.Count = &n
	}
	return l, nil
}

var dayNames = []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}

// windowArgs puts together what the flag's commas have cut: "mon,tue 22:00-..."
func windowArgs(list []string) (out []string) {
	open := ""
	for _, part := range list {
		part = open + part
		if len(strings.Fields(part)) < 3 {
			open = part + ","
			continue
		}
		out, open = append(out, part), ""
	}
	if open != "" {
		out = append(out, strings.TrimSuffix(open, ","))
	}
	return out
}

// windowOf reads "mon-fri 22:00-05:00 Europe/Berlin"; the days are a list, a
// range, or daily.
func windowOf(text string) (contract.RolloutWindow, error) {
	bad := fmt.Errorf("%q: want DAYS FROM-TO ZONE, as \"mon-fri 22:00-05:00 Europe/Berlin\" or \"daily 00:00-00:00 UTC\"", text)
	parts := strings.Fields(text)
	if len(parts) != 3 {
		return contract.RolloutWindow{}, bad
	}
	from, to, ok := strings.Cut(parts[1], "-")
	if !ok {
		return contract.RolloutWindow{}, bad
	}
	w := contract.RolloutWindow{Zone: parts[2], From: from, To: to}
	if parts[0] == "daily" {
		return w, nil
	}
	for part := range strings.SplitSeq(strings.ToLower(parts[0]), ",") {
		first, last, ranged := strings.Cut(part, "-")
		i, j := slices.Index(dayNames, first), slices.Index(dayNames, last)
		switch {
		case i < 0 || ranged && j < 0:
			return w, bad
		case !ranged:
			w.Days = append(w.Days, first)
		default:
			for n := i; ; n = (n + 1) % len(dayNames) {
				if w.Days = append(w.Days, dayNames[n]); n == j {
					break
				}
			}
		}
	}
	return w, nil
}

// checkWindows refuses windows and freezes that cannot be.
func checkWindows(s contract.RolloutStrategy) error {
	for i, w := range s.Windows {
		if _, err := window.Parse(window.Spec{Zone: w.Zone, Days: w.Days, From: w.From, To: w.To}); err != nil {
			return fmt.Errorf("window %d: %w", i+1, err)
		}
	}
	for _, f := range s.Freezes {
		if _, err := window.ParseFreeze(window.FreezeSpec{Name: f.Name, Zone: f.Zone, From: f.From, To: f.To}); err != nil {
			return err
		}
	}
	return nil
}
