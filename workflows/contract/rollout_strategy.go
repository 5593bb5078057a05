package contract

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What a rollout does when a limit is passed.
const (
	BreachPause    = "pause"
	BreachAbort    = "abort"
	BreachRollBack = "rollback"
)

// How the sites of a fleet are put into waves.
const (
	// SitesSpread takes a device of each site in turn, so that no wave takes a
	// whole site at once.
	SitesSpread = "spread"
	// SitesTogether finishes one site before the next.
	SitesTogether = "together"
)

// Before what a rollout waits for an approval.
const (
	ApproveNothing = "none"
	ApproveStart   = "start"
	ApproveFleet   = "fleet" // after the canary, before the first wave
	ApproveWaves   = "waves" // before the canary and before every wave
)

// RolloutStrategy says how a plan is carried out. What is zero has its default;
// see WithDefaults.
type RolloutStrategy struct {
	Canary RolloutCanary `json:"canary"`
	// Waves say how many of the devices have had their turn when the wave is
	// over: a percentage ("25%") or a number ("100"), ascending. What is left
	// after the last is a wave of its own.
	Waves []string `json:"waves,omitempty"`
	// Sites is SitesSpread or SitesTogether.
	Sites string `json:"sites,omitempty"`
	// Bounds bound the devices in work at once.
	Bounds Bounds `json:"bounds"`
	// Rate is how many devices begin within a minute, 0 is as many as Bounds
	// allow; RateGrowth multiplies it from wave to wave.
	Rate       float64 `json:"rate_per_minute,omitempty"`
	RateGrowth float64 `json:"rate_growth,omitempty"`

	// WaveLimit and TotalLimit say how many devices may be anything but
	// healthy, in a wave and in all.
	WaveLimit  RolloutLimit `json:"wave_limit"`
	TotalLimit RolloutLimit `json:"total_limit"`
	// AllowUnsafe lets the rollout go on beside a device that may be neither
	// as planned nor as before; without it the first one is a breach.
	AllowUnsafe bool `json:"allow_unsafe,omitempty"`
	// OnBreach is one of the Breach constants.
	OnBreach string `json:"on_breach,omitempty"`

	Checks RolloutChecks `json:"checks"`

	// DeviceDeadline bounds the work on a device, the wait for its lease
	// included; WaveDeadline a wave, without its checks and without the time in
	// which no window is open; Deadline the whole.
	DeviceDeadline time.Duration `json:"device_deadline_ns,omitempty"`
	WaveDeadline   time.Duration `json:"wave_deadline_ns,omitempty"`
	Deadline       time.Duration `json:"deadline_ns,omitempty"`

	// Windows are when devices may be written; without any, always. A device
	// that none of them selects is left out.
	Windows []RolloutWindow `json:"windows,omitempty"`
	Freezes []RolloutFreeze `json:"freezes,omitempty"`
	// Takes is how long a device is expected to be in work: it is not begun
	// when its window closes earlier. 0 is the plan's own estimate.
	Takes time.Duration `json:"takes_ns,omitempty"`

	Approval RolloutApproval `json:"approval"`
	// AllowDowngrade lets patches go on devices that run a newer version, or one
	// of which that cannot be said.
	AllowDowngrade bool `json:"allow_downgrade,omitempty"`
	// NoSilences leaves the alerts of devices that are in work alone.
	NoSilences bool `json:"no_silences,omitempty"`
	// PlanValid is how long after its making a plan can be started.
	PlanValid time.Duration `json:"plan_valid_ns,omitempty"`
}

// RolloutCanary is the first wave: the devices with a label ("ring=canary"), or
// else the first Count. None says that there is no such wave.
type RolloutCanary struct {
	Count int    `json:"count,omitempty"`
	Label string `json:"label,omitempty"`
	None  bool   `json:"none,omitempty"`
}

// RolloutLimit is passed when more devices than Count, or than Percent of all,
// are anything but healthy; nil bounds nothing.
type RolloutLimit struct {
	Count   *int     `json:"count,omitempty"`
	Percent *float64 `json:"percent,omitempty"`
}

// Breach says in words how bad of total passes the limit, or "".
func (l RolloutLimit) Breach(bad, total int) string {
	if l.Count != nil && bad > *l.Count {
		return fmt.Sprintf("%d are not healthy, and at most %d may be", bad, *l.Count)
	}
	if l.Percent != nil && float64(bad)*100 > *l.Percent*float64(total) {
		return fmt.Sprintf("%d of %d are not healthy, and at most %s %% may be", bad, total, strconv.FormatFloat(*l.Percent, 'f', -1, 64))
	}
	return ""
}

// RolloutChecks are what is looked at after each wave.
type RolloutChecks struct {
	// Soak is how long nothing happens before the first look.
	Soak time.Duration `json:"soak_ns,omitempty"`
	// Passes is how many looks in a row have to find everything healthy, Every
	// the time between two, Within how long to try.
	Passes int           `json:"passes,omitempty"`
	Every  time.Duration `json:"every_ns,omitempty"`
	Within time.Duration `json:"within_ns,omitempty"`
	// Metric is a PromQL expression: every sample of the answer has to be
	// something else than 0, and no sample is unknown.
	Metric string `json:"metric,omitempty"`
	// Runbook is run for one healthy device of the wave; it may only look.
	Runbook *RunbookRef `json:"runbook,omitempty"`
}

// RolloutWindow is a recurring time in which devices may be written.
type RolloutWindow struct {
	// Select is the text of a Selector.
	Select string `json:"select,omitempty"`
	// Zone is of the IANA time zone database.
	Zone string `json:"zone"`
	// Days are "mon" to "sun"; none is every day. A window that ends after
	// midnight belongs to the day on which it begins.
	Days []string `json:"days,omitempty"`
	// From and To are times of day, "22:00"; From equal to To is the whole day.
	From string `json:"from"`
	To   string `json:"to"`
}

// RolloutFreeze is a time in which no device is written, whatever the windows
// say: from the beginning of From to the end of To, which are dates
// ("2026-12-20") or moments ("2026-12-20T18:00:00Z").
type RolloutFreeze struct {
	Name   string `json:"name"`
	Select string `json:"select,omitempty"`
	Zone   string `json:"zone,omitempty"`
	From   string `json:"from"`
	To     string `json:"to"`
}

// RolloutApproval says before what somebody else than the requester has to
// approve, and how long that is waited for.
type RolloutApproval struct {
	Before string        `json:"before,omitempty"`
	Within time.Duration `json:"within_ns,omitempty"`
}

// WithDefaults returns the strategy with its defaults: one canary, then 5 %,
// 25 % and all; 4 devices of a site at once; it pauses at the first device that
// may be neither as planned nor as before, and when over 2 % are not healthy.
func (s RolloutStrategy) WithDefaults() RolloutStrategy {
	two := 2.0
	if s.Canary == (RolloutCanary{}) {
		s.Canary.Count = 1
	}
	if len(s.Waves) == 0 {
		s.Waves = []string{"5%", "25%", "100%"}
	}
	if s.WaveLimit == (RolloutLimit{}) {
		s.WaveLimit.Percent = &two
	}
	if s.TotalLimit == (RolloutLimit{}) {
		s.TotalLimit.Percent = &two
	}
	s.Bounds = s.Bounds.WithDefaults()
	for _, f := range []struct {
		field    *string
		fallback string
	}{{&s.Sites, SitesSpread}, {&s.OnBreach, BreachPause}, {&s.Approval.Before, ApproveNothing}} {
		if *f.field == "" {
			*f.field = f.fallback
		}
	}
	for _, f := range []struct {
		field    *time.Duration
		fallback time.Duration
	}{
		{&s.DeviceDeadline, 10 * time.Minute}, {&s.WaveDeadline, 24 * time.Hour}, {&s.Deadline, 14 * 24 * time.Hour},
		{&s.Checks.Every, 15 * time.Second}, {&s.Checks.Within, 10 * time.Minute},
		{&s.Approval.Within, 24 * time.Hour}, {&s.PlanValid, 24 * time.Hour},
	} {
		if *f.field == 0 {
			*f.field = f.fallback
		}
	}
	if s.Checks.Passes == 0 {
		s.Checks.Passes = 1
	}
	if s.RateGrowth == 0 {
		s.RateGrowth = 1
	}
	return s
}

var waveTarget = regexp.MustCompile(`^([0-9]{1,6})(%?)$`)

// maxWaves is the most waves that a rollout has.
const maxWaves = 50

// WaveTargets returns how many of total devices have had their turn after each
// wave, ascending, the last one all of them. A percentage is rounded up, so
// that a wave of a small fleet has a device. Where numbers and percentages are
// mixed, a wave that asks for fewer than had their turn before has no device.
func (s RolloutStrategy) WaveTargets(total int) ([]int, error) {
	if len(s.Waves) > maxWaves {
		return nil, fmt.Errorf("%d waves: want at most %d", len(s.Waves), maxWaves)
	}
	var out []int
	last, lastOf := 0, map[string]int{}
	for _, text := range s.Waves {
		m := waveTarget.FindStringSubmatch(strings.TrimSpace(text))
		if m == nil {
			return nil, fmt.Errorf("wave %.40q: want a percentage as 25%%, or a number of devices", text)
		}
		n, err := strconv.Atoi(m[1])
		if err != nil || n == 0 || m[2] == "%" && n > 100 {
			return nil, fmt.Errorf("wave %.40q: want 1%% to 100%%, or at least 1 device", text)
		}
		if n < lastOf[m[2]] {
			return nil, fmt.Errorf("wave %.40q comes after more devices than it has: each says how many have had their turn when it is over", text)
		}
		lastOf[m[2]] = n
		if m[2] == "%" {
			n = (total*n + 99) / 100
		}
		last = max(last, min(n, total))
		out = append(out, last)
	}
	if last < total {
		out = append(out, total)
	}
	return out, nil
}

// Check returns everything that is wrong with a strategy that has its defaults,
// but for time zones and times, which package window knows.
func (s RolloutStrategy) Check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	oneOf := func(what, value string, allowed ...string) {
		if !slices.Contains(allowed, value) {
			bad("%s %.40q: want one of %s", what, value, strings.Join(allowed, ", "))
		}
	}
	between := func(what string, d, lo, hi time.Duration) {
		if d < lo || d > hi {
			bad("%s %v: want %v to %v", what, d, lo, hi)
		}
	}
	const day = 24 * time.Hour
	if _, err := s.WaveTargets(1000); err != nil {
		errs = append(errs, err)
	}
	if s.Canary.Count < 0 || s.Canary.Count > 1000 {
		bad("canary %d: want 0 to 1000 devices", s.Canary.Count)
	}
	if label, err := ParseSelector(s.Canary.Label); err != nil {
		bad("canary label: %w", err)
	} else if len(label) > 1 {
		bad("canary label %q: want one label, as ring=canary", s.Canary.Label)
	}
	oneOf("sites", s.Sites, SitesSpread, SitesTogether)
	oneOf("on breach", s.OnBreach, BreachPause, BreachAbort, BreachRollBack)
	oneOf("approval before", s.Approval.Before, ApproveNothing, ApproveStart, ApproveFleet, ApproveWaves)
	for _, l := range []struct {
		what  string
		limit RolloutLimit
	}{{"the limit of a wave", s.WaveLimit}, {"the total limit", s.TotalLimit}} {
		if n := l.limit.Count; n != nil && *n < 0 {
			bad("%s: %d devices: want 0 or more", l.what, *n)
		}
		if p := l.limit.Percent; p != nil && !(*p >= 0 && *p <= 100) {
			bad("%s: %v %%: want 0 to 100", l.what, *p)
		}
	}
	if !(s.Rate >= 0 && s.Rate <= 100_000) {
		bad("rate %v: want 0 to 100000 devices in a minute", s.Rate)
	}
	if !(s.RateGrowth >= 1 && s.RateGrowth <= 100) {
		bad("growth of the rate %v: want 1 to 100", s.RateGrowth)
	}
	between("soak", s.Checks.Soak, 0, 7*day)
	between("time between two checks", s.Checks.Every, time.Second, day)
	between("time for the checks", s.Checks.Within, time.Second, 7*day)
	between("deadline of a device", s.DeviceDeadline, 10*time.Second, day)
	between("deadline of a wave", s.WaveDeadline, time.Minute, 60*day)
	between("deadline", s.Deadline, time.Minute, 90*day)
	between("expected duration", s.Takes, 0, day)
	between("time for an approval", s.Approval.Within, time.Minute, 30*day)
	between("time for which a plan is valid", s.PlanValid, 10*time.Second, 30*day)
	if s.Checks.Passes < 1 || s.Checks.Passes > 100 {
		bad("passes %d: want 1 to 100", s.Checks.Passes)
	}
	for _, text := range s.selectors() {
		if _, err := ParseSelector(text); err != nil {
			errs = append(errs, err)
		}
	}
	if len(s.Windows)+len(s.Freezes) > 100 {
		bad("%d windows and freezes: want at most 100", len(s.Windows)+len(s.Freezes))
	}
	return errors.Join(errs...)
}

func (s RolloutStrategy) selectors() (out []string) {
	for _, w := range s.Windows {
		out = append(out, w.Select)
	}
	for _, f := range s.Freezes {
		out = append(out, f.Select)
	}
	return out
}
