package window

import (
	"fmt"
	"slices"
	"strings"
	"time"
	// The zones are part of the program: a site's host may have none.
	_ "time/tzdata"
)

// Spec is a window as people write it: Days are "mon" to "sun", none is every
// day; From and To are "22:00", and From equal to To is the whole day. A window
// that ends after midnight belongs to the day on which it begins.
type Spec struct {
	Zone     string
	Days     []string
	From, To string
}

// FreezeSpec is a freeze as people write it: dates ("2026-12-20", To included)
// of the zone, or moments in RFC 3339.
type FreezeSpec struct {
	Name, Zone, From, To string
}

// Window is a recurring time.
type Window struct {
	zone     *time.Location
	days     [7]bool
	from, to clock
}

// clock is a time of day.
type clock struct{ hour, minute int }

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// Parse reads a window. Its errors say what was wrong and what is wanted.
func Parse(s Spec) (Window, error) {
	var w Window
	var err error
	if w.zone, err = zone(s.Zone); err != nil {
		return Window{}, err
	}
	for _, day := range s.Days {
		i := slices.Index(weekdays, strings.ToLower(day))
		if i < 0 {
			return Window{}, fmt.Errorf("day %.20q: want one of mon, tue, wed, thu, fri, sat, sun", day)
		}
		w.days[i] = true
	}
	if len(s.Days) == 0 {
		w.days = [7]bool{true, true, true, true, true, true, true}
	}
	if w.from, err = parseClock(s.From); err != nil {
		return Window{}, err
	}
	if w.to, err = parseClock(s.To); err != nil {
		return Window{}, err
	}
	return w, nil
}

func zone(name string) (*time.Location, error) {
	if name == "" || strings.EqualFold(name, "local") {
		return nil, fmt.Errorf("zone %q: name a zone of the IANA database, as Europe/Berlin or UTC", name)
	}
	l, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("zone %.60q: name a zone of the IANA database, as Europe/Berlin or UTC", name)
	}
	return l, nil
}

func parseClock(s string) (clock, error) {
	if s == "24:00" {
		return clock{24, 0}, nil
	}
	t, err := time.Parse("15:04", s)
	if err != nil || len(s) != len("15:04") {
		return clock{}, fmt.Errorf("time %.20q: want a time of day as 22:00", s)
	}
	return clock{t.Hour(), t.Minute()}, nil
}

// Interval is the time from From on and before To.
type Interval struct{ From, To time.Time }

// ParseFreeze reads a freeze.
func ParseFreeze(s FreezeSpec) (Interval, error) {
	from, _, err := moment(s.From, s.Zone)
	if err != nil {
		return Interval{}, fmt.Errorf("freeze %.60q: from: %w", s.Name, err)
	}
	to, whole, err := moment(s.To, s.Zone)
	if err != nil {
		return Interval{}, fmt.Errorf("freeze %.60q: to: %w", s.Name, err)
	}
	if whole {
		to = day(to, 1)
	}
	if !from.Before(to) {
		return Interval{}, fmt.Errorf("freeze %.60q ends at %s, before it begins at %s", s.Name, s.To, s.From)
	}
	return Interval{from, to}, nil
}

// moment reads a date or a moment; whole says that it is a date.
func moment(s, zoneName string) (at time.Time, whole bool, err error) {
	if at, err := time.Parse(time.RFC3339, s); err == nil {
		return at, false, nil
	}
	l, err := zone(zoneName)
	if err != nil {
		return time.Time{}, false, err
	}
	d, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return time.Time{}, false, fmt.Errorf("%.40q: want a date as 2026-12-20, or a moment as 2026-12-20T18:00:00Z", s)
	}
	return wall(d.Year(), d.Month(), d.Day(), clock{}, l), true, nil
}

// day is the midnight some days after that of t, in the zone of t.
func day(t time.Time, n int) time.Time {
	y, m, d := t.Date()
	return wall(y, m, d+n, clock{}, t.Location())
}

// wall is when the clock on the wall shows a time of day: for the first time,
// where it comes twice, as RFC 5545 has it (section 3.3.5). A time that summer
// time skips is the moment of the jump.
func wall(year int, month time.Month, dayOfMonth int, c clock, l *time.Location) time.Time {
	// At noon of UTC's date nobody is on another date for more than 14 hours,
	// so that the offsets before and after bracket every change of this day.
	naive := time.Date(year, month, dayOfMonth, c.hour, c.minute, 0, 0, time.UTC)
	var found []time.Time
	var offsets []int
	for _, around := range []time.Duration{-26 * time.Hour, 26 * time.Hour} {
		_, offset := naive.Add(around).In(l).Zone()
		offsets = append(offsets, offset)
		at := naive.Add(-time.Duration(offset) * time.Second)
		if _, real := at.In(l).Zone(); real == offset {
			found = append(found, at.In(l))
		}
	}
	if len(found) == 0 {
		// The clock jumps over it: from the offset before to the one after.
		return jump(naive.Add(-time.Duration(max(offsets[0], offsets[1]))*time.Second), naive.Add(-time.Duration(min(offsets[0], offsets[1]))*time.Second), l)
	}
	return found[0]
}

// jump finds the moment between two at which the zone's offset changes.
func jump(lo, hi time.Time, l *time.Location) time.Time {
	_, before := lo.In(l).Zone()
	for hi.Sub(lo) > time.Second {
		mid := lo.Add(hi.Sub(lo) / 2).Truncate(time.Second)
		if mid.Equal(lo) {
			break
		}
		if _, offset := mid.In(l).Zone(); offset == before {
			lo = mid
		} else {
			hi = mid
		}
	}
	return hi.In(l)
}

// on is the window that begins on the day of t, or false when none does.
func (w Window) on(year int, month time.Month, dayOfMonth int) (Interval, bool) {
	if !w.days[time.Date(year, month, dayOfMonth, 12, 0, 0, 0, time.UTC).Weekday()] {
		return Interval{}, false
	}
	next := dayOfMonth
	if w.to.hour*60+w.to.minute <= w.from.hour*60+w.from.minute {
		next++
	}
	i := Interval{wall(year, month, dayOfMonth, w.from, w.zone), wall(year, month, next, w.to, w.zone)}
	return i, i.From.Before(i.To)
}
