package workflows

import (
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"edgefleet/workflows/contract"
)

// waveWork is what a wave has to do and has in work. Sites take turns, in the
// order in which they came.
type waveWork struct {
	bounds contract.Bounds
	sites  []*waveSite
	// after is where the next page begins; asked says that there is none.
	after string
	asked bool

	running            []contract.RolloutRef
	perSite, perRegion map[string]int
	// perGroup counts by redundancy group, of which one device is in work at
	// once.
	perGroup map[string]int
}

// waveSite is what is left to do at one site, all of one region.
type waveSite struct {
	name, region string
	pending      []contract.RolloutRef
}

func (q *waveWork) add(devices []contract.RolloutRef) {
	for _, d := range devices {
		i := slices.IndexFunc(q.sites, func(s *waveSite) bool { return s.name == d.Site && s.region == d.Region })
		if i < 0 {
			i = len(q.sites)
			q.sites = append(q.sites, &waveSite{name: d.Site, region: d.Region})
		}
		q.sites[i].pending = append(q.sites[i].pending, d)
	}
}

func (q *waveWork) waiting() (n int) {
	for _, s := range q.sites {
		n += len(s.pending)
	}
	return n
}

func (q *waveWork) empty() bool { return q.asked && q.waiting() == 0 }

// room says whether one more device of the site may begin.
func (q *waveWork) room(s *waveSite) bool {
	return len(s.pending) > 0 && len(q.running) < q.bounds.Total &&
		q.perSite[s.name] < q.bounds.PerSite && q.perRegion[s.region] < q.bounds.PerRegion
}

// take moves a device from what is to be done to what is in work.
func (q *waveWork) take(s *waveSite, i int) contract.RolloutRef {
	d := s.pending[i]
	s.pending = slices.Delete(s.pending, i, i+1)
	q.running = append(q.running, d)
	q.perSite[d.Site]++
	q.perRegion[d.Region]++
	q.perGroup[d.Group]++
	return d
}

// leave frees the place of a device, if it has one.
func (q *waveWork) leave(d contract.RolloutRef) {
	if !slices.ContainsFunc(q.running, func(r contract.RolloutRef) bool { return r.ID == d.ID }) {
		return
	}
	q.perSite[d.Site]--
	q.perRegion[d.Region]--
	q.perGroup[d.Group]--
	q.running = slices.DeleteFunc(q.running, func(r contract.RolloutRef) bool { return r.ID == d.ID })
}

// apart says that no partner of the device is in work.
func (q *waveWork) apart(d contract.RolloutRef) bool {
	return d.Group == "" || q.perGroup[d.Group] == 0
}

// calendarNames are those of the devices that wait, without the one that is
// always open.
func (q *waveWork) calendarNames() (names []string) {
	for _, s := range q.sites {
		for _, d := range s.pending {
			if d.Calendar != "" && !slices.Contains(names, d.Calendar) {
				names = append(names, d.Calendar)
			}
		}
	}
	return names
}

// open says whether a device may begin now.
func (w *wave) open(d contract.RolloutRef, now time.Time) bool {
	if d.Calendar == "" {
		return true
	}
	o := w.calendars[d.Calendar]
	takes := max(w.in.Strategy.Takes, d.Takes)
	return o.Open && (o.Until == nil || now.Add(takes).Before(*o.Until))
}

// closed notes that a device came too late for its window.
func (w *wave) closed(ctx workflow.Context, d contract.RolloutRef) {
	o, ok := w.calendars[d.Calendar]
	if !ok {
		return
	}
	// It is looked at again when the window has closed, and not before.
	opens := workflow.Now(ctx).Add(time.Minute)
	if o.Until != nil && o.Until.After(opens) {
		opens = *o.Until
	}
	w.calendars[d.Calendar] = contract.Opening{Calendar: d.Calendar, Opens: &opens, Next: o.Next}
}

// lookAtCalendars asks about the calendars of which too little is known.
func (w *wave) lookAtCalendars(ctx workflow.Context) error {
	now := workflow.Now(ctx)
	var stale []string
	for _, name := range w.work.calendarNames() {
		o, known := w.calendars[name]
		over := o.Open && o.Until != nil && !now.Before(*o.Until) || !o.Open && o.Opens != nil && !now.Before(*o.Opens)
		if !known || over {
			stale = append(stale, name)
		}
	}
	if len(stale) == 0 {
		return nil
	}
	ctx = workflow.WithActivityOptions(ctx, recordOptions("when windows are open"))
	var found contract.CalendarResult
	err := workflow.ExecuteActivity(ctx, contract.ActivityRolloutCalendar, contract.CalendarInput{RolloutID: w.in.RolloutID, Calendars: stale}).Get(ctx, &found)
	if err != nil {
		return err
	}
	for _, o := range found.Openings {
		soon := now.Add(time.Minute)
		switch {
		case o.Never:
			// It is asked about again all the same: the deadlines end the wave.
			later := now.Add(24 * time.Hour)
			o.Opens = &later
		case o.Open && o.Until != nil && !now.Before(*o.Until), !o.Open && (o.Opens == nil || !now.Before(*o.Opens)):
			// Two clocks do not agree: it is asked about again when they do.
			o = contract.Opening{Calendar: o.Calendar, Opens: &soon}
		}
		w.calendars[o.Calendar] = o
	}
	return nil
}

// opens is when the first device that waits may begin, if none may now.
func (w *wave) opens() (first *time.Time) {
	for _, name := range w.work.calendarNames() {
		o := w.calendars[name]
		at := o.Opens
		if o.Open {
			// What is open is too short for what waits: it is asked about
			// when it has closed.
			at = o.Until
		}
		if at != nil && (first == nil || at.Before(*first)) {
			first = at
		}
	}
	return first
}

// next is when the first window opens that those who wait can have, for people;
// opens is only when it is asked about. It is nil where nobody knows.
func (w *wave) next() (first *time.Time) {
	for _, name := range w.work.calendarNames() {
		o := w.calendars[name]
		at := o.Next
		if !o.Open && at == nil && !o.Never {
			at = o.Opens
		}
		if at != nil && (first == nil || at.Before(*first)) {
			first = at
		}
	}
	return first
}

// wakeForWindow waits for the next window when devices wait for one.
func (w *wave) wakeForWindow(ctx, timers workflow.Context, selector workflow.Selector) {
	now := workflow.Now(ctx)
	for _, s := range w.work.sites {
		for _, d := range s.pending {
			if w.open(d, now) {
				continue
			}
			if at := w.opens(); at != nil {
				w.wake(timers, selector, "a maintenance window", at.Sub(now))
			}
			return
		}
	}
}
