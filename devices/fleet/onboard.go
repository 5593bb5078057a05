package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"edgefleet/devices"
	"edgefleet/devices/baseline"
)

// Phase is a step of onboarding.
type Phase string

// The phases, in order. Registering is the caller's.
const (
	PhaseReach    Phase = "reach"
	PhaseIdentify Phase = "identify"
	PhaseBackUp   Phase = "back up"
	PhaseApply    Phase = "apply"
	PhaseVerify   Phase = "verify"
)

// PhaseTime is when a phase began and how long it took.
type PhaseTime struct {
	Phase Phase
	Began time.Time
	Took  time.Duration
}

// OnboardReport says what was found and done.
type OnboardReport struct {
	DeviceID string
	Phases   []PhaseTime
	// Identity holds the identity points by name: maker, model, serial,
	// firmware and whatever else the profile has.
	Identity map[string]string
	// Baseline and Version are empty when no baseline selects the device.
	Baseline, Version string
	// Changed holds what was changed, or may have been when the phase that
	// applies the baseline failed.
	Changed []SettingDrift
	// Failed is the phase that found something that trying again will not
	// change, and Why in words; both are empty when the device is in service.
	Failed Phase
	Why    string
	// Undone says that the changes were taken back.
	Undone bool
}

// Onboard takes a device into service: it has to be reachable and what it is
// declared to be; everything that its profile knows is kept; its baseline is
// applied, and the device verified. When it is not healthy afterwards, the
// changes are taken back, where the device still has what was written.
//
// What a second attempt may find otherwise (a dark device, a busy one) is an
// error, and the last of Phases is where it stands; what it will find again is
// a report with Failed. Called again with
// the journal of a call that died, it goes on from what the journal and the
// device say, as ApplyBaseline does.
//
// A feeder-rtu costs nine requests, and those of its changes.
func (o *Operator) Onboard(ctx context.Context, id string, j Journal, progress func(string)) (OnboardReport, error) {
	if _, _, err := o.fleet.Device(id); err != nil {
		return OnboardReport{}, err
	}
	b := &onboard{Operator: o, id: id, journal: j, progress: progress, report: OnboardReport{DeviceID: id}}
	for _, step := range []struct {
		phase Phase
		do    func(context.Context) (string, error)
	}{
		{PhaseReach, b.reach}, {PhaseIdentify, b.identify}, {PhaseBackUp, b.backUp},
		{PhaseApply, b.applyBaseline}, {PhaseVerify, b.verify},
	} {
		say(progress, "%s: %s", id, step.phase)
		began := time.Now()
		why, err := step.do(ctx)
		b.report.Phases = append(b.report.Phases, PhaseTime{step.phase, began, time.Since(began)})
		if err != nil && retriable(err) {
			return b.report, err
		}
		if err != nil {
			why = err.Error()
		}
		if why != "" {
			b.report.Failed, b.report.Why = step.phase, why
			return b.report, b.takeBack(ctx)
		}
	}
	return b.report, nil
}

// retriable says that another attempt may fare better: the device or the way
// to it was away, or the error is not the device's at all.
func retriable(err error) bool {
	switch devices.KindOf(err) {
	case devices.Rejected, devices.Auth, devices.Unsupported:
		return false
	}
	return true
}

type onboard struct {
	*Operator
	id       string
	journal  Journal
	progress func(string)
	report   OnboardReport
}

func (b *onboard) reach(ctx context.Context) (string, error) {
	found, err := b.Probe(ctx, b.id)
	if err != nil || found.Reachable {
		return "", err
	}
	return "", &devices.Error{Kind: devices.Unreachable, Device: b.id, Op: "probe", Err: errors.New(found.Summary)}
}

// identify reads who the device is, and refuses one that is not what was
// declared.
func (b *onboard) identify(ctx context.Context) (string, error) {
	t, err := b.open(ctx, b.id)
	if err != nil {
		return "", err
	}
	defer t.link.Close()
	points := make([]devices.Point, len(t.model.Identity))
	for i, p := range t.model.Identity {
		points[i] = p.Point
	}
	got, err := t.read(ctx, points)
	if err != nil {
		return "", err
	}
	b.report.Identity = map[string]string{}
	for i, p := range t.model.Identity {
		b.report.Identity[p.Point.Name] = p.Point.Text(got[i])
	}
	for i, p := range t.model.Identity {
		if p.Equals != nil && got[i] != p.Equals {
			return fmt.Sprintf("the device at %s is not a %s: its %s is %q, and %q was expected; correct the fleet file, or find out which device this is",
				t.Address, t.model.Name, p.Point.Name, p.Point.Text(got[i]), p.Point.Text(p.Equals)), nil
		}
	}
	return "", nil
}

// backUp keeps every setting that the profile knows, as it was found.
func (b *onboard) backUp(ctx context.Context) (string, error) {
	t, err := b.open(ctx, b.id)
	if err != nil {
		return "", err
	}
	defer t.link.Close()
	if len(t.model.Settings) == 0 {
		return "", nil
	}
	got, err := t.read(ctx, t.model.Settings)
	if err != nil {
		return "", err
	}
	found := make([]Captured, len(got))
	for i, p := range t.model.Settings {
		found[i] = Captured{Setting: p.Name, Value: p.Text(got[i]), Unit: p.Unit}
	}
	if err := b.journal.Capture(ctx, b.id, found); err != nil {
		return "", fmt.Errorf("%s: keep the settings as they were found: %w", b.id, err)
	}
	return "", nil
}

func (b *onboard) applyBaseline(ctx context.Context) (string, error) {
	done, err := b.ApplyBaseline(ctx, b.id, b.journal, b.progress)
	b.report.Baseline, b.report.Version, b.report.Changed = done.Baseline, done.Version, done.Changed
	return "", err
}

// verify takes a device that does not answer for an error, where Verify has a
// verdict: it may be restarting with its new settings, and is to be looked at
// again before they are taken back.
func (b *onboard) verify(ctx context.Context) (string, error) {
	t, err := b.open(ctx, b.id)
	if err != nil {
		return "", err
	}
	defer t.link.Close()
	found, err := b.Operator.verify(ctx, t)
	if err != nil || found.Healthy {
		return "", err
	}
	return found.Detail, nil
}

// takeBack undoes the changes of an onboarding that failed. When the device
// refuses that, it is said beside the failure, whose cause stays the first.
func (b *onboard) takeBack(ctx context.Context) error {
	if len(b.report.Changed) == 0 {
		return nil
	}
	err := b.undo(ctx)
	switch {
	case err != nil && retriable(err):
		return fmt.Errorf("take back the changes, because %s: %w", b.report.Why, err)
	case err != nil:
		b.report.Why += "; its changes could not be taken back: " + err.Error()
	case b.report.Undone:
		b.report.Why += "; its changes were taken back"
	}
	return nil
}

// undo takes the changes back, where the device still has what was written:
// what somebody else has changed meanwhile is theirs.
func (b *onboard) undo(ctx context.Context) error {
	d, p, err := b.fleet.Device(b.id)
	if err != nil {
		return err
	}
	say(b.progress, "%s: take back %s", b.id, count(len(b.report.Changed), "change"))
	before := baseline.Desired{Baseline: b.report.Baseline, Version: "as found"}
	var ours []devices.Value
	for _, c := range b.report.Changed {
		point, ok := p.Setting(c.Setting)
		if !ok {
			return b.cannot(fmt.Errorf("the profile has no setting %s any more", c.Setting))
		}
		old, err := point.ParseExact(c.Got)
		if err != nil {
			return b.cannot(err)
		}
		wrote, err := point.ParseExact(c.Want)
		if err != nil {
			return b.cannot(err)
		}
		before.Settings = append(before.Settings, devices.Setting{Point: point, Value: old})
		ours = append(ours, wrote)
	}
	before.Settings, err = b.stillOurs(ctx, before.Settings, ours)
	if err != nil || len(before.Settings) == 0 {
		return err
	}
	done, err := b.apply(ctx, d.ID, before, "take back "+itemOf(before), b.journal, b.progress)
	b.report.Undone = err == nil && len(done.Changed) > 0
	return err
}

// cannot is an error that asking again will not change.
func (b *onboard) cannot(err error) error {
	return &devices.Error{Kind: devices.Rejected, Device: b.id, Op: "take back the changes", Err: err}
}

// stillOurs keeps the settings that have what this onboarding wrote, or what
// stood there before.
func (b *onboard) stillOurs(ctx context.Context, before []devices.Setting, wrote []devices.Value) ([]devices.Setting, error) {
	t, err := b.open(ctx, b.id)
	if err != nil {
		return nil, err
	}
	defer t.link.Close()
	got, err := t.read(ctx, points(before))
	if err != nil {
		return nil, err
	}
	var keep []devices.Setting
	for i, s := range before {
		if got[i] == wrote[i] || got[i] == s.Value {
			keep = append(keep, s)
		}
	}
	return keep, nil
}
