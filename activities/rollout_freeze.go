package activities

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"edgefleet/devices/fleetdir"
	"edgefleet/internal/store"
	"edgefleet/internal/window"
	"edgefleet/workflows/contract"
)

// planSummary is what the store keeps as a plan's waves.
type planSummary struct {
	Waves    []contract.PlanWave      `json:"waves"`
	Excluded []contract.ExcludedCount `json:"excluded"`
	Takes    time.Duration            `json:"takes_ns"`
}

// freezePlan puts the devices that can be changed into waves, and gives the
// plan the hash over everything in it.
func (a *Activities) freezePlan(ctx context.Context, in contract.FreezePlanInput) (contract.RolloutPlan, error) {
	plan, err := a.deps.Store.Plan(ctx, in.PlanID)
	if err != nil {
		return contract.RolloutPlan{}, err
	}
	if plan.State == store.PlanFrozen {
		return wirePlan(plan)
	}
	f := a.deps.Operator().Fleet()
	if plan.Revision != f.Revision() {
		return contract.RolloutPlan{}, errOtherRevision
	}
	strategy, err := strategyOf(plan)
	if err != nil {
		return contract.RolloutPlan{}, err
	}
	rows, err := a.allPlanDevices(ctx, plan.PlanID)
	if err != nil {
		return contract.RolloutPlan{}, err
	}
	expires := plan.CreatedAt.Add(strategy.PlanValid)
	if err := a.excludeMore(ctx, f, strategy, plan.CreatedAt, expires, rows); err != nil {
		return contract.RolloutPlan{}, err
	}
	summary, err := intoWaves(f, strategy, rows)
	if err != nil {
		return contract.RolloutPlan{}, permanent(contract.ErrConfig, err)
	}
	text, err := json.Marshal(summary)
	if err != nil {
		return contract.RolloutPlan{}, err
	}
	plan.Waves, plan.ExpiresAt = string(text), &expires
	if plan.Hash, err = planHash(plan, rows); err != nil {
		return contract.RolloutPlan{}, err
	}
	frozen, err := a.deps.Store.FreezePlan(ctx, plan, rows)
	if err != nil {
		return contract.RolloutPlan{}, err
	}
	return wirePlan(frozen)
}

func (a *Activities) allPlanDevices(ctx context.Context, planID string) ([]store.PlanDevice, error) {
	var out []store.PlanDevice
	for after := ""; ; {
		page, err := a.deps.Store.PlanDevices(ctx, store.PlanDeviceQuery{PlanID: planID, After: after, Limit: 1000})
		if err != nil {
			return nil, err
		}
		out = append(out, page...)
		if len(page) < 1000 {
			return out, nil
		}
		after = page[len(page)-1].DeviceID
	}
}

// windowSlack is how much longer a window has to be than what is to be done in
// it: nobody begins in its first moment.
const windowSlack = time.Minute

// excludeMore leaves out what only shows when all devices were looked at: those
// of another rollout, and those that no window or only a freeze is for.
func (a *Activities) excludeMore(ctx context.Context, f *fleetdir.Fleet, s contract.RolloutStrategy, now, expires time.Time, rows []store.PlanDevice) error {
	var ids []string
	for _, r := range rows {
		if r.Excluded == "" {
			ids = append(ids, r.DeviceID)
		}
	}
	elsewhere, err := a.deps.Store.PlannedElsewhere(ctx, ids)
	if err != nil {
		return err
	}
	last := expires.Add(s.Deadline)
	for i := range rows {
		r := &rows[i]
		if r.Excluded != "" {
			continue
		}
		exclude := func(why, format string, args ...any) {
			r.Excluded, r.Detail = why, fmt.Sprintf(format, args...)
		}
		if len(r.Settings) == 0 {
			exclude(contract.ExcludedUnreadable, "nobody looked")
			continue
		}
		if other := elsewhere[r.DeviceID]; other != "" {
			exclude(contract.ExcludedConflict, "rollout %s has it, and has not ended", other)
			continue
		}
		d, _, err := f.Device(r.DeviceID)
		if err != nil {
			return errOtherRevision
		}
		if r.Calendar, err = calendarName(s, wireDevice(d)); err != nil {
			return permanent(contract.ErrConfig, err)
		}
		takes := max(s.Takes, r.Takes)
		c, err := calendarOf(s, r.Calendar, takes)
		if err != nil {
			return permanent(contract.ErrConfig, err)
		}
		if takes > 0 {
			c.Takes += windowSlack
		}
		never := func(c window.Calendar) bool {
			state := c.At(now)
			return !state.Open && (state.Opens.IsZero() || state.Opens.After(last))
		}
		anyLength := c
		anyLength.Takes = 0
		switch {
		case !c.Always && len(c.Windows) == 0:
			exclude(contract.ExcludedFrozen, "no maintenance window selects it")
		case !never(c):
		case !never(anyLength):
			exclude(contract.ExcludedFrozen, "it takes about %s, and no window before the rollout is over is longer; plan with a longer window", takes)
		default:
			exclude(contract.ExcludedFrozen, "no window opens for it before the rollout is over")
		}
	}
	return nil
}

// intoWaves gives every device that is not left out its wave.
func intoWaves(f *fleetdir.Fleet, s contract.RolloutStrategy, rows []store.PlanDevice) (planSummary, error) {
	var out planSummary
	left := map[string]int{}
	var in []*store.PlanDevice
	for i := range rows {
		r := &rows[i]
		r.Wave = 0
		if r.Excluded == "" {
			in = append(in, r)
		} else {
			left[r.Excluded]++
		}
	}
	for _, why := range slices.Sorted(maps.Keys(left)) {
		out.Excluded = append(out.Excluded, contract.ExcludedCount{Reason: why, Devices: left[why]})
	}
	targets, err := s.WaveTargets(len(in))
	if err != nil {
		return out, err
	}
	order, canaries, err := waveOrder(f, s, in)
	if err != nil {
		return out, err
	}
	begin := 0
	add := func(name string, end int) {
		if end <= begin {
			return
		}
		wave := contract.PlanWave{Number: len(out.Waves) + 1, Name: name, Devices: end - begin, Takes: waveTakes(s, order[begin:end])}
		for _, r := range order[begin:end] {
			r.Wave = wave.Number
		}
		out.Waves, out.Takes = append(out.Waves, wave), out.Takes+wave.Takes
		begin = end
	}
	add("canary", canaries)
	for i, target := range targets {
		name := "the rest"
		if i < len(s.Waves) {
			name = s.Waves[i]
		}
		if s.Sites == contract.SitesTogether {
			for target > begin && target < len(order) && order[target].Site == order[target-1].Site {
				target++
			}
		}
		add(name, target)
	}
	return out, nil
}

// waveOrder puts the devices into the order in which their turn comes, and says
// how many of the first are the canaries.
func waveOrder(f *fleetdir.Fleet, s contract.RolloutStrategy, in []*store.PlanDevice) ([]*store.PlanDevice, int, error) {
	label, err := contract.ParseSelector(s.Canary.Label)
	if err != nil {
		return nil, 0, err
	}
	var first, rest []*store.PlanDevice
	for _, r := range bySites(s.Sites, in) {
		d, _, err := f.Device(r.DeviceID)
		if err != nil {
			return nil, 0, errOtherRevision
		}
		switch {
		case s.Canary.None:
			rest = append(rest, r)
		case len(label) > 0 && label.Matches(wireDevice(d)),
			len(label) == 0 && len(first) < s.Canary.Count:
			first = append(first, r)
		default:
			rest = append(rest, r)
		}
	}
	if len(label) > 0 && len(first) == 0 && len(in) > 0 {
		return nil, 0, fmt.Errorf("no device that would be changed has the canary's label %s; correct the label, or state a number of canaries", s.Canary.Label)
	}
	return slices.Concat(first, rest), len(first), nil
}

// bySites orders devices by their site, or takes one of each site in turn.
func bySites(how string, in []*store.PlanDevice) []*store.PlanDevice {
	type place struct {
		turn int
		row  *store.PlanDevice
	}
	seen := map[string]int{}
	places := make([]place, len(in))
	for i, r := range in {
		places[i] = place{seen[r.Site], r}
		seen[r.Site]++
	}
	slices.SortStableFunc(places, func(x, y place) int {
		site := cmp.Or(strings.Compare(x.row.Region, y.row.Region), strings.Compare(x.row.Site, y.row.Site))
		if how == contract.SitesTogether {
			return cmp.Or(site, strings.Compare(x.row.DeviceID, y.row.DeviceID))
		}
		return cmp.Or(cmp.Compare(x.turn, y.turn), site)
	})
	out := make([]*store.PlanDevice, len(in))
	for i, p := range places {
		out[i] = p.row
	}
	return out
}

// waveTakes estimates a wave: whichever of the bounds it waits for the longest.
func waveTakes(s contract.RolloutStrategy, wave []*store.PlanDevice) time.Duration {
	var total, longest time.Duration
	sites, regions := map[string]time.Duration{}, map[string]time.Duration{}
	for _, r := range wave {
		takes := max(s.Takes, r.Takes)
		total += takes
		sites[r.Site] += takes
		regions[r.Region] += takes
		longest = max(longest, takes)
	}
	out := max(longest, total/time.Duration(max(s.Bounds.Total, 1)))
	for _, t := range sites {
		out = max(out, t/time.Duration(max(s.Bounds.PerSite, 1)))
	}
	for _, t := range regions {
		out = max(out, t/time.Duration(max(s.Bounds.PerRegion, 1)))
	}
	if s.Rate > 0 {
		out = max(out, time.Duration(float64(len(wave))/s.Rate*float64(time.Minute)))
	}
	return out.Round(100 * time.Millisecond)
}

// planHash is the SHA-256 over everything that is frozen: one line of JSON for
// the plan, and one for each of its devices in the order of their IDs. The
// source stands in it by its own hash.
func planHash(p store.Plan, rows []store.PlanDevice) (string, error) {
	source := sha256.Sum256([]byte(p.Source))
	p.Source, p.Hash, p.State = hex.EncodeToString(source[:]), "", ""
	p.Owner = store.Owner{}
	h := sha256.New()
	lines := json.NewEncoder(h)
	if err := lines.Encode(p); err != nil {
		return "", err
	}
	for _, r := range rows {
		if err := lines.Encode(r); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func wirePlan(p store.Plan) (contract.RolloutPlan, error) {
	strategy, err := strategyOf(p)
	if err != nil {
		return contract.RolloutPlan{}, err
	}
	var summary planSummary
	if err := json.Unmarshal([]byte(p.Waves), &summary); err != nil {
		return contract.RolloutPlan{}, permanent(contract.ErrStore, fmt.Errorf("the waves of plan %s cannot be read: %w", p.PlanID, err))
	}
	out := contract.RolloutPlan{
		Hash: p.Hash, Kind: p.Kind, Baseline: p.Baseline, Version: p.Version, File: p.File, Select: p.Selector, Revision: p.Revision, Strategy: strategy,
		Requester: p.Actor, Reason: p.Reason, CreatedAt: p.CreatedAt, Waves: summary.Waves, Excluded: summary.Excluded, Takes: summary.Takes,
	}
	if p.ExpiresAt != nil {
		out.ExpiresAt = *p.ExpiresAt
	}
	return out, nil
}
