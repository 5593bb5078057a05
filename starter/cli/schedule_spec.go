package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // Zones are checked on laptops that have no zone files.

	"github.com/urfave/cli/v2"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
)

// weekdays in the order of their numbers in a calendar.
var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

func whenFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "at", Usage: "at this `HH:MM` of the days of --on"},
		&cli.StringFlag{Name: "on", Usage: "`DAYS` of --at, as mon-fri or sat,sun; every day when it is left out"},
		&cli.StringSliceFlag{Name: "cron", Usage: "five `FIELDS` as cron has them, \"0 2 * * mon\""},
		&cli.DurationFlag{Name: "every", Usage: "each `DURATION`, of at least 1m"},
		&cli.StringFlag{Name: "zone", Value: "UTC", Usage: "IANA `ZONE` of --at and --cron, as Europe/Berlin"},
		&cli.StringSliceFlag{Name: "skip", Usage: "not on this `DATE`, as 2026-12-24: a freeze"},
		&cli.DurationFlag{Name: "jitter", Usage: "begin up to this `DURATION` later, at random"},
		&cli.StringFlag{Name: "overlap", Value: "skip", Usage: "what to do when the one before still runs: `POLICY` of " + strings.Join(overlapNames(), ", ")},
		&cli.DurationFlag{Name: "catch-up", Value: time.Hour, Usage: "after an outage, begin what is late by up to this `DURATION`"},
	}
}

// overlaps are the policies by the names that they have on the command line.
var overlaps = []struct {
	name   string
	policy enumspb.ScheduleOverlapPolicy
}{
	{"skip", enumspb.SCHEDULE_OVERLAP_POLICY_SKIP},
	{"buffer-one", enumspb.SCHEDULE_OVERLAP_POLICY_BUFFER_ONE},
	{"buffer-all", enumspb.SCHEDULE_OVERLAP_POLICY_BUFFER_ALL},
	{"cancel-other", enumspb.SCHEDULE_OVERLAP_POLICY_CANCEL_OTHER},
}

func overlapNames() []string {
	names := make([]string, len(overlaps))
	for i, o := range overlaps {
		names[i] = o.name
	}
	return names
}

func overlapOf(name string) (enumspb.ScheduleOverlapPolicy, error) {
	for _, o := range overlaps {
		if o.name == name {
			return o.policy, nil
		}
	}
	return 0, usagef("--overlap %q: want one of %s", name, strings.Join(overlapNames(), ", "))
}

// scheduleSpec reads when a schedule is due.
func scheduleSpec(c *cli.Context) (client.ScheduleSpec, error) {
	spec := client.ScheduleSpec{TimeZoneName: c.String("zone"), Jitter: c.Duration("jitter")}
	if _, err := time.LoadLocation(spec.TimeZoneName); err != nil || spec.TimeZoneName == "" || spec.TimeZoneName == "Local" {
		return spec, usagef("--zone %q: want an IANA zone, as Europe/Berlin or UTC", spec.TimeZoneName)
	}
	if n := given(c, "at", "cron", "every"); n != 1 {
		return spec, usagef("schedule create: want exactly one of --at, --cron and --every, got %d of them", n)
	}
	if c.IsSet("on") && !c.IsSet("at") {
		return spec, usagef("--on goes with --at; --cron has its own field for the days")
	}
	if d := spec.Jitter; d < 0 || d > 24*time.Hour {
		return spec, usagef("--jitter %v: want 0 to 24h", d)
	}
	if c.IsSet("every") {
		every := c.Duration("every")
		if every < time.Minute {
			return spec, usagef("--every %v: want at least 1m", every)
		}
		spec.Intervals = []client.ScheduleIntervalSpec{{Every: every}}
	}
	for _, text := range c.StringSlice("cron") {
		// Zone, comment and @every of Temporal's own cron have flags here.
		if strings.HasPrefix(text, "@every") || strings.ContainsAny(text, "#=") || (!strings.HasPrefix(text, "@") && len(strings.Fields(text)) != 5) {
			return spec, usagef("--cron %q: want five fields, minute, hour, day, month and weekday, or @daily and the like; the zone is in --zone", text)
		}
		spec.CronExpressions = append(spec.CronExpressions, text)
	}
	days, err := parseDays(c.String("on"))
	if err != nil {
		return spec, err
	}
	for _, text := range c.StringSlice("at") {
		at, err := time.Parse("15:04", text)
		if err != nil {
			return spec, usagef("--at %q: want HH:MM, as 02:30", text)
		}
		spec.Calendars = append(spec.Calendars, client.ScheduleCalendarSpec{
			Hour: []client.ScheduleRange{{Start: at.Hour()}}, Minute: []client.ScheduleRange{{Start: at.Minute()}}, DayOfWeek: days,
		})
	}
	for _, text := range c.StringSlice("skip") {
		day, err := time.Parse(time.DateOnly, text)
		if err != nil {
			return spec, usagef("--skip %q: want a date, as 2026-12-24", text)
		}
		spec.Skip = append(spec.Skip, wholeDay(day))
	}
	return spec, nil
}

// wholeDay matches each second of a day: a time is skipped when all of its
// fields match.
func wholeDay(day time.Time) client.ScheduleCalendarSpec {
	one := func(n int) []client.ScheduleRange { return []client.ScheduleRange{{Start: n}} }
	return client.ScheduleCalendarSpec{
		Second: []client.ScheduleRange{{Start: 0, End: 59}}, Minute: []client.ScheduleRange{{Start: 0, End: 59}}, Hour: []client.ScheduleRange{{Start: 0, End: 23}},
		DayOfMonth: one(day.Day()), Month: one(int(day.Month())), Year: one(day.Year()),
	}
}

// parseDays reads "mon-fri,sun"; nothing is every day.
func parseDays(text string) ([]client.ScheduleRange, error) {
	if text == "" {
		return nil, nil
	}
	var out []client.ScheduleRange
	for _, part := range strings.Split(strings.ToLower(text), ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(part), "-")
		from, to := slices.Index(weekdays, first), slices.Index(weekdays, last)
		if !isRange {
			to = from
		}
		switch {
		case from < 0 || to < 0:
			return nil, usagef("--on %q: want days such as mon-fri or sat,sun", text)
		case to < from:
			// Over the end of the week: fri-mon.
			out = append(out, client.ScheduleRange{Start: from, End: 6}, client.ScheduleRange{Start: 0, End: to})
		default:
			out = append(out, client.ScheduleRange{Start: from, End: to})
		}
	}
	return out, nil
}

// specText says in short when a schedule is due, also one that was edited in
// the Web UI.
func specText(spec *client.ScheduleSpec) string {
	if spec == nil {
		return "-"
	}
	var parts []string
	for _, i := range spec.Intervals {
		parts = append(parts, "every "+i.Every.String())
	}
	parts = append(parts, spec.CronExpressions...)
	for _, c := range spec.Calendars {
		parts = append(parts, calendarText(c))
	}
	if len(parts) == 0 {
		return "never"
	}
	text := strings.Join(parts, "; ")
	if zone := spec.TimeZoneName; zone != "" && zone != "UTC" && len(spec.Calendars)+len(spec.CronExpressions) > 0 {
		text += " " + zone
	}
	if len(spec.Skip) > 0 {
		text += fmt.Sprintf(", but for %s", plural(len(spec.Skip), "date"))
	}
	return text
}

// calendarText is "mon-fri 02:30", or the fields of cron where that is not
// enough.
func calendarText(c client.ScheduleCalendarSpec) string {
	whole := func(r []client.ScheduleRange, lo, hi int) bool {
		return len(r) == 0 || len(r) == 1 && r[0].Start == lo && r[0].End == hi && r[0].Step <= 1
	}
	single := func(r []client.ScheduleRange) bool {
		return len(r) == 0 || len(r) == 1 && r[0].End <= r[0].Start
	}
	start := func(r []client.ScheduleRange) int {
		if len(r) == 0 {
			return 0
		}
		return r[0].Start
	}
	everyDay, everyMonth := whole(c.DayOfMonth, 1, 31), whole(c.Month, 1, 12)
	if !everyDay || !everyMonth || len(c.Year) > 0 || !single(c.Hour) || !single(c.Minute) {
		number := strconv.Itoa
		return strings.Join([]string{ranges(c.Minute, 0, 59, number), ranges(c.Hour, 0, 23, number), ranges(c.DayOfMonth, 1, 31, number),
			ranges(c.Month, 1, 12, number), ranges(c.DayOfWeek, 0, 6, weekday)}, " ")
	}
	at := fmt.Sprintf("%02d:%02d", start(c.Hour), start(c.Minute))
	if whole(c.DayOfWeek, 0, 6) {
		return "daily " + at
	}
	return ranges(c.DayOfWeek, 0, 6, weekday) + " " + at
}

func weekday(n int) string { return weekdays[((n%7)+7)%7] }

// ranges writes a field as cron does.
func ranges(list []client.ScheduleRange, lo, hi int, name func(int) string) string {
	var parts []string
	for _, r := range list {
		text := name(r.Start)
		switch {
		case r.Start == lo && r.End == hi:
			text = "*"
		case r.End > r.Start:
			text += "-" + name(r.End)
		}
		if r.Step > 1 {
			text += "/" + strconv.Itoa(r.Step)
		}
		parts = append(parts, text)
	}
	if len(parts) == 0 {
		return "*"
	}
	return strings.Join(parts, ",")
}
