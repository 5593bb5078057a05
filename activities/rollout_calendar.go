package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"edgefleet/internal/store"
	"edgefleet/internal/window"
	"edgefleet/workflows/contract"
)

// A device's calendar is named by the windows and freezes of the strategy that
// select it: "w0,2f1". Devices with one name have one calendar.

func calendarName(s contract.RolloutStrategy, d contract.Device) (string, error) {
	name := func(sign string, n int, selector func(int) string) (string, error) {
		var chosen []string
		for i := range n {
			sel, err := contract.ParseSelector(selector(i))
			if err != nil {
				return "", err
			}
			if sel.Matches(d) {
				chosen = append(chosen, strconv.Itoa(i))
			}
		}
		return sign + strings.Join(chosen, ","), nil
	}
	windows, err := name("w", len(s.Windows), func(i int) string { return s.Windows[i].Select })
	if err != nil {
		return "", err
	}
	freezes, err := name("f", len(s.Freezes), func(i int) string { return s.Freezes[i].Select })
	if err != nil {
		return "", err
	}
	if windows == "w" && len(s.Windows) == 0 && freezes == "f" {
		return "", nil
	}
	return windows + freezes, nil
}

// calendarOf is the calendar of that name.
func calendarOf(s contract.RolloutStrategy, name string, takes time.Duration) (window.Calendar, error) {
	c := window.Calendar{Always: len(s.Windows) == 0, Takes: takes}
	if name == "" {
		return c, nil
	}
	windows, freezes, ok := strings.Cut(strings.TrimPrefix(name, "w"), "f")
	if !ok {
		return c, fmt.Errorf("%q names no calendar", name)
	}
	each := func(list string, n int, add func(i int) error) error {
		for part := range strings.SplitSeq(list, ",") {
			if part == "" {
				continue
			}
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= n {
				return fmt.Errorf("%q names no calendar of this strategy", name)
			}
			if err := add(i); err != nil {
				return err
			}
		}
		return nil
	}
	err := each(windows, len(s.Windows), func(i int) error {
		w, err := window.Parse(windowSpec(s.Windows[i]))
		c.Windows = append(c.Windows, w)
		return err
	})
	if err != nil {
		return c, err
	}
	return c, each(freezes, len(s.Freezes), func(i int) error {
		f, err := window.ParseFreeze(freezeSpec(s.Freezes[i]))
		c.Freezes = append(c.Freezes, f)
		return err
	})
}

func windowSpec(w contract.RolloutWindow) window.Spec {
	return window.Spec{Zone: w.Zone, Days: w.Days, From: w.From, To: w.To}
}

func freezeSpec(f contract.RolloutFreeze) window.FreezeSpec {
	return window.FreezeSpec{Name: f.Name, Zone: f.Zone, From: f.From, To: f.To}
}

// checkCalendars refuses windows and freezes that cannot be.
func checkCalendars(s contract.RolloutStrategy) error {
	var errs []error
	for i, w := range s.Windows {
		if _, err := window.Parse(windowSpec(w)); err != nil {
			errs = append(errs, fmt.Errorf("window %d: %w", i+1, err))
		}
	}
	for _, f := range s.Freezes {
		if _, err := window.ParseFreeze(freezeSpec(f)); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// calendarText says in words when devices of a calendar may be written.
func calendarText(s contract.RolloutStrategy, name string) string {
	windows, freezes, ok := strings.Cut(strings.TrimPrefix(name, "w"), "f")
	if !ok {
		return ""
	}
	var parts []string
	for part := range strings.SplitSeq(windows, ",") {
		if i, err := strconv.Atoi(part); err == nil && i < len(s.Windows) {
			w := s.Windows[i]
			days := "daily"
			if len(w.Days) > 0 {
				days = strings.Join(w.Days, ",")
			}
			parts = append(parts, fmt.Sprintf("%s %s-%s %s", days, w.From, w.To, w.Zone))
		}
	}
	for part := range strings.SplitSeq(freezes, ",") {
		if i, err := strconv.Atoi(part); err == nil && i < len(s.Freezes) {
			parts = append(parts, "not in "+s.Freezes[i].Name)
		}
	}
	return strings.Join(parts, "; ")
}

func strategyOf(p store.Plan) (contract.RolloutStrategy, error) {
	var s contract.RolloutStrategy
	if err := json.Unmarshal([]byte(p.Strategy), &s); err != nil {
		return s, permanent(contract.ErrStore, fmt.Errorf("the strategy of plan %s cannot be read: %w", p.PlanID, err))
	}
	return s, nil
}

// rolloutCalendar says of calendars whether they are open now.
func (a *Activities) rolloutCalendar(ctx context.Context, in contract.CalendarInput) (contract.CalendarResult, error) {
	plan, err := a.planOf(ctx, in.RolloutID)
	if err != nil {
		return contract.CalendarResult{}, err
	}
	strategy, err := strategyOf(plan)
	if err != nil {
		return contract.CalendarResult{}, err
	}
	now := a.now()
	out := contract.CalendarResult{Openings: make([]contract.Opening, 0, len(in.Calendars))}
	for _, name := range in.Calendars {
		c, err := calendarOf(strategy, name, strategy.Takes)
		if err != nil {
			return out, permanent(contract.ErrConfig, err)
		}
		out.Openings = append(out.Openings, opening(name, c, now))
	}
	return out, nil
}

func opening(name string, c window.Calendar, now time.Time) contract.Opening {
	s := c.At(now)
	o := contract.Opening{Calendar: name, Open: s.Open, Never: !s.Open && s.Opens.IsZero()}
	if s.Open && !s.Until.IsZero() {
		o.Until, o.Next = known(s.Until), known(c.At(s.Until).Opens)
	}
	if !s.Open {
		o.Opens = known(s.Opens)
	}
	return o
}

// known is a moment in UTC, or nil for none.
func known(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	at = at.UTC()
	return &at
}

// planOf returns the plan of a rollout that has begun.
func (a *Activities) planOf(ctx context.Context, rolloutID string) (store.Plan, error) {
	return a.plans.of(rolloutID, func() (store.Plan, error) {
		r, err := a.deps.Store.Rollout(ctx, rolloutID)
		if err != nil {
			return store.Plan{}, err
		}
		return a.deps.Store.Plan(ctx, r.PlanID)
	})
}

// maxPlansKept bounds the plans in memory: each has the text of its baseline.
const maxPlansKept = 16

// plans keeps the plans of rollouts in memory, because each device asks for its
// rollout's. Nothing changes a plan once its rollout has begun.
type plans struct {
	mu   sync.Mutex
	kept map[string]store.Plan
}

func (k *plans) of(rolloutID string, read func() (store.Plan, error)) (store.Plan, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p, ok := k.kept[rolloutID]; ok {
		return p, nil
	}
	p, err := read()
	if err != nil {
		return store.Plan{}, err
	}
	if k.kept == nil || len(k.kept) >= maxPlansKept {
		k.kept = map[string]store.Plan{}
	}
	k.kept[rolloutID] = p
	return p, nil
}
