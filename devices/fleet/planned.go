package fleet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"edgefleet/devices"
	"edgefleet/devices/baseline"
)

// PlannedChange is a setting that differs from what a device shall have. Before
// and After are exact, as devices.Point.Exact renders them; the texts are what
// people and ledgers are shown.
type PlannedChange struct {
	Setting, Unit         string
	Before, After         string
	BeforeText, AfterText string
	// File says that the values are the text of a file that may be shown.
	File bool
}

// PlanChanges reads a device and returns what would have to be written to give
// it the desired settings, in their order. It writes nothing. A device that is
// not what it is declared to be is an error of kind Rejected.
//
// It takes one request for the identity, and one for each run of settings.
func (o *Operator) PlanChanges(ctx context.Context, id string, desired baseline.Desired) ([]PlannedChange, error) {
	t, err := o.open(ctx, id)
	if err != nil {
		return nil, err
	}
	defer t.link.Close()
	mismatch, err := t.identityMismatch(ctx)
	if err != nil {
		return nil, err
	}
	if mismatch != "" {
		return nil, t.fail(devices.Rejected, "check the identity", errors.New(mismatch+"; correct the fleet file, or find out who exchanged the device"))
	}
	got, err := t.read(ctx, points(desired.Settings))
	if err != nil {
		return nil, err
	}
	var out []PlannedChange
	for i, s := range desired.Settings {
		if got[i] == s.Value {
			continue
		}
		p := s.Point
		out = append(out, PlannedChange{Setting: p.Name, Unit: p.Unit, Before: p.Exact(got[i]), After: p.Exact(s.Value),
			BeforeText: o.text(p, got[i]), AfterText: o.text(p, s.Value), File: p.Host != nil && p.Host.Kind == devices.HostFile && !p.Secret})
	}
	return out, nil
}

// ExactSettings are the desired values without loss, by the name of the
// setting.
func ExactSettings(desired baseline.Desired) map[string]string {
	out := make(map[string]string, len(desired.Settings))
	for _, s := range desired.Settings {
		out[s.Point.Name] = s.Point.Exact(s.Value)
	}
	return out
}

// DesiredOf is the inverse of ExactSettings for a device of the fleet as it is
// now. It fails with kind Rejected when the device's profile has no such
// setting any more, or the value is out of its range now.
func (o *Operator) DesiredOf(id, name, version string, exact map[string]string) (baseline.Desired, error) {
	_, p, err := o.fleet.Device(id)
	if err != nil {
		return baseline.Desired{}, err
	}
	out := baseline.Desired{Baseline: name, Version: version}
	refuse := func(err error) (baseline.Desired, error) {
		return baseline.Desired{}, &devices.Error{Kind: devices.Rejected, Device: id, Op: "read the settings of " + name + " " + version, Err: err}
	}
	for _, pt := range p.Settings {
		text, ok := exact[pt.Name]
		if !ok {
			continue
		}
		v, err := pt.ParseExact(text)
		if err != nil {
			return refuse(err)
		}
		out.Settings = append(out.Settings, devices.Setting{Point: pt, Value: v})
	}
	for _, setting := range slices.Sorted(maps.Keys(exact)) {
		if _, ok := p.Setting(setting); !ok {
			return refuse(fmt.Errorf("the profile %s has no setting %s", p.Name, setting))
		}
	}
	return out, nil
}

// Planned is a change that was planned: of a device, with what it shall have,
// and the exact values that it has before where those differ.
type Planned struct {
	DeviceID string
	Desired  baseline.Desired
	Before   map[string]string
	// Again says that an earlier operation of the same rollout may have written
	// a part of it: then a setting that has the wanted value already is fine.
	Again bool
	// Allow, when it is not nil, is asked right before a write is begun, and
	// not when one that was begun is taken up: an error keeps it from being
	// made.
	Allow func(context.Context) error
}

// ErrChanged says that a device is not as the plan has it before, so that
// nothing was written.
var ErrChanged = errors.New("the device has changed since the plan")

// planAgain says what to do about a device that has changed.
const planAgain = "nothing was written: find out who changed it, put it back and retry it, or plan again"

// ApplyPlanned writes what was planned, as ApplyBaseline writes a baseline, and
// only when the device has exactly the values that the plan has before. A
// device that has all the wanted values already is reported without a change.
// Anything else is an error that wraps ErrChanged, and nothing is written.
func (o *Operator) ApplyPlanned(ctx context.Context, p Planned, j Journal, progress func(string)) (ApplyReport, error) {
	before, err := o.DesiredOf(p.DeviceID, p.Desired.Baseline, p.Desired.Version, p.Before)
	if err != nil {
		return ApplyReport{}, err
	}
	guard := &plannedJournal{Journal: j, allow: p.Allow, check: func(c Change) error { return o.asPlanned(before, p.Again, c) }}
	return o.apply(ctx, p.DeviceID, p.Desired, o.itemOf(p.Desired), guard, progress)
}

// asPlanned compares what is about to be replaced with what the plan has.
func (t texts) asPlanned(before baseline.Desired, again bool, c Change) error {
	planned := make(map[string]string, len(before.Settings))
	for _, s := range before.Settings {
		planned[s.Point.Name] = t.text(s.Point, s.Value)
	}
	var differs []string
	for _, name := range slices.Sorted(maps.Keys(c.Before)) {
		text, ok := planned[name]
		switch {
		case !ok:
			differs = append(differs, fmt.Sprintf("%s is %s, and was as wanted", name, c.Before[name]))
		case text != c.Before[name]:
			differs = append(differs, fmt.Sprintf("%s is %s, and was %s", name, c.Before[name], text))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(planned)) {
		if _, ok := c.Before[name]; !ok && !again {
			differs = append(differs, name+" is as wanted already, and others are not")
		}
	}
	if len(differs) == 0 {
		return nil
	}
	return &devices.Error{Kind: devices.Rejected, Device: c.Target, Op: "compare with the plan", Err: fmt.Errorf("%w: %s; %s", ErrChanged, joined(differs), planAgain)}
}

// joined names the first of many.
func joined(parts []string) string {
	const most = 5
	text := ""
	for i, p := range parts[:min(len(parts), most)] {
		if i > 0 {
			text += "; "
		}
		text += p
	}
	if more := len(parts) - most; more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return text
}

// plannedJournal stands between an operation and its journal. It looks at what
// is about to be replaced at the last moment before that is promised, when the
// operation has just read it; so nothing can come between.
type plannedJournal struct {
	Journal
	check func(Change) error
	allow func(context.Context) error
	// begun says that an earlier attempt has promised the change already: it
	// was as planned then, and what is there now is in part our own.
	begun bool
}

func (p *plannedJournal) Prior(ctx context.Context, item string) (*Record, error) {
	rec, err := p.Journal.Prior(ctx, item)
	p.begun = rec != nil && rec.Outcome == ""
	if rec != nil && rec.Outcome == Partial {
		// The next round finds a part of it written, by us.
		check := p.check
		p.check = func(c Change) error {
			for name := range rec.Change.Before {
				if _, left := c.Before[name]; !left {
					c.Before = maps.Clone(c.Before)
					c.Before[name] = rec.Change.Before[name]
				}
			}
			return check(c)
		}
	}
	return rec, err
}

func (p *plannedJournal) Intent(ctx context.Context, c Change, replaces []Captured) error {
	if p.begun {
		return p.Journal.Intent(ctx, c, replaces)
	}
	if err := p.check(c); err != nil {
		return err
	}
	if p.allow != nil {
		if err := p.allow(ctx); err != nil {
			return err
		}
	}
	return p.Journal.Intent(ctx, c, replaces)
}

// Restoration says what became of a device that was taken back.
type Restoration struct {
	DeviceID string
	// Restored are the settings that were written, or found as before.
	Restored []string
	// Kept are settings that have neither what was written nor what was there
	// before: somebody else has changed them, and they are left alone.
	Kept []SettingDrift
	// Written says that anything was written.
	Written bool
}

// Restore gives a device back what it had: of the settings in wrote, those that
// still have what was written get their captured value. Both are exact values by
// the name of the setting. Settings that somebody else has changed since are
// left alone and reported.
func (o *Operator) Restore(ctx context.Context, id string, wrote, captured map[string]string, j Journal, progress func(string)) (Restoration, error) {
	out := Restoration{DeviceID: id}
	ours, err := o.DesiredOf(id, "", "", wrote)
	if err != nil {
		return out, err
	}
	former, err := o.DesiredOf(id, "", "as before the rollout", captured)
	if err != nil {
		return out, err
	}
	old := make(map[string]devices.Setting, len(former.Settings))
	for _, s := range former.Settings {
		old[s.Point.Name] = s
	}
	ours.Settings = slices.DeleteFunc(ours.Settings, func(s devices.Setting) bool { _, ok := old[s.Point.Name]; return !ok })
	got, err := o.readSettings(ctx, id, ours.Settings)
	if err != nil {
		return out, err
	}
	back := baseline.Desired{Baseline: "settings", Version: "as before the rollout"}
	mine := map[string]string{}
	for i, s := range ours.Settings {
		before := old[s.Point.Name]
		if got[i] != s.Value && got[i] != before.Value {
			out.Kept = append(out.Kept, o.drifted(s, got[i]))
			continue
		}
		back.Settings = append(back.Settings, before)
		out.Restored = append(out.Restored, s.Point.Name)
		mine[s.Point.Name] = o.text(s.Point, s.Value)
	}
	if len(back.Settings) == 0 {
		return out, nil
	}
	guard := &plannedJournal{Journal: j, check: func(c Change) error {
		for name, text := range c.Before {
			if text != mine[name] {
				return &devices.Error{Kind: devices.Rejected, Device: id, Op: "take back", Err: fmt.Errorf("%w: %s is %s, and %s was written", ErrChanged, name, text, mine[name])}
			}
		}
		return nil
	}}
	done, err := o.apply(ctx, id, back, "take back "+o.itemOf(back), guard, progress)
	out.Written = len(done.Changed) > 0
	return out, err
}

func (o *Operator) readSettings(ctx context.Context, id string, settings []devices.Setting) ([]devices.Value, error) {
	t, err := o.open(ctx, id)
	if err != nil {
		return nil, err
	}
	defer t.link.Close()
	return t.read(ctx, points(settings))
}

// AwaitHealthy verifies a device against what it shall have, as Verify does
// against its baseline. A device that does not answer may be starting with its
// new settings, and one that is not healthy yet may be settling: they are given
// the time that the profile gives them, and the last word counts.
func (o *Operator) AwaitHealthy(ctx context.Context, id string, desired baseline.Desired, progress func(string)) (HealthReport, error) {
	_, p, err := o.fleet.Device(id)
	if err != nil {
		return HealthReport{}, err
	}
	began := time.Now()
	for wait := max(p.Settle.Wait, 10*time.Millisecond); ; wait = min(2*wait, 5*time.Second) {
		say(progress, "verifying %s", id)
		report, err := o.VerifyAgainst(ctx, id, desired)
		within := p.Settle.UpTo
		if err != nil {
			within = p.BackWithin
		}
		switch {
		case err == nil && report.Healthy:
			return report, nil
		case err != nil && !retriable(err), ctx.Err() != nil, time.Since(began)+wait > within:
			return report, err
		}
		if err := pause(ctx, wait); err != nil {
			return report, err
		}
	}
}

// VerifyAgainst is Verify with other desired settings than those of the
// baseline that selects the device. A device that does not answer is an error
// of kind Unreachable.
func (o *Operator) VerifyAgainst(ctx context.Context, id string, desired baseline.Desired) (HealthReport, error) {
	t, err := o.open(ctx, id)
	if err != nil {
		return HealthReport{}, err
	}
	defer t.link.Close()
	return verifyAgainst(ctx, t, desired, true)
}
