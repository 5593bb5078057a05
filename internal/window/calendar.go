package window

import "time"

// Horizon is how far ahead a calendar is looked at.
const Horizon = 400 * 24 * time.Hour

// Calendar is when one device may be written.
type Calendar struct {
	// Always says that there are no windows, so that only freezes count.
	Always  bool
	Windows []Window
	Freezes []Interval
	// Takes is the least time that an opening has to last to be worth one.
	Takes time.Duration
}

// State is what a calendar says of a moment.
type State struct {
	Open bool
	// Until is when it closes, or zero when it does not within the Horizon.
	Until time.Time
	// Opens is when it opens next, for a calendar that is not open, or zero
	// when it does not within the Horizon.
	Opens time.Time
}

// At says whether the calendar is open: a device that takes Takes can be begun
// and finished. Windows that touch or overlap are one.
func (c Calendar) At(now time.Time) State {
	end := now.Add(Horizon)
	for from := now; ; {
		open, ok := c.next(from, end)
		if !ok {
			return State{}
		}
		if !open.To.IsZero() && open.To.Sub(later(open.From, now)) < max(c.Takes, 1) {
			// Too short for what is to be done in it.
			from = open.To
			continue
		}
		if open.From.After(now) {
			return State{Opens: open.From}
		}
		return State{Open: true, Until: open.To}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// next is the first time from from on in which writing is allowed; To is zero
// when it does not end before end.
func (c Calendar) next(from, end time.Time) (Interval, bool) {
	for from.Before(end) {
		open, ok := c.windowed(from, end)
		if !ok {
			return Interval{}, false
		}
		if freeze, ok := c.frozen(open.From); ok {
			from = freeze.To
			continue
		}
		for _, f := range c.Freezes {
			if f.From.After(open.From) && (open.To.IsZero() || f.From.Before(open.To)) {
				open.To = f.From
			}
		}
		return open, true
	}
	return Interval{}, false
}

func (c Calendar) frozen(at time.Time) (Interval, bool) {
	for _, f := range c.Freezes {
		if !at.Before(f.From) && at.Before(f.To) {
			return f, true
		}
	}
	return Interval{}, false
}

// windowed is the first time from from on in which a window is open; To is zero
// when that does not end before end.
func (c Calendar) windowed(from, end time.Time) (Interval, bool) {
	if c.Always {
		return Interval{From: from}, true
	}
	var open Interval
	found := false
	for _, w := range c.Windows {
		if i, ok := w.first(from, end); ok && (!found || i.From.Before(open.From)) {
			open, found = i, true
		}
	}
	if !found {
		return Interval{}, false
	}
	open.From = later(open.From, from)
	for more := true; more; {
		more = false
		for _, w := range c.Windows {
			// What is open at the end, or opens there, goes on.
			if i, ok := w.first(open.To, end); ok && !i.From.After(open.To) {
				open.To, more = i.To, true
			}
		}
		if !open.To.Before(end) {
			return Interval{From: open.From}, true
		}
	}
	return open, true
}

// first is the first time of the window that ends after from and begins before
// end.
func (w Window) first(from, end time.Time) (Interval, bool) {
	// A window of yesterday may still be open. Days are counted in the zone of
	// the window.
	y, m, d := from.In(w.zone).Date()
	for n := -1; ; n++ {
		i, ok := w.on(y, m, d+n)
		if ok && !i.From.Before(end) || time.Date(y, m, d+n-2, 0, 0, 0, 0, time.UTC).After(end) {
			return Interval{}, false
		}
		if ok && i.To.After(from) {
			return i, true
		}
	}
}
