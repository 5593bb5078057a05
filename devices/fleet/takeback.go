package fleet

import (
	"context"
	"fmt"

	"edgefleet/devices"
	"edgefleet/devices/baseline"
)

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
	say(b.progress, "%s: take back %s", b.id, count(len(b.report.Changed), "change"))
	captured, err := b.journal.Captured(ctx, b.id)
	if err != nil {
		return fmt.Errorf("%s: read what was kept before the changes: %w", b.id, err)
	}
	kept := make(map[string]string, len(captured))
	for _, c := range captured {
		kept[c.Setting] = c.Value
	}
	before := baseline.Desired{Baseline: b.report.Baseline, Version: "as found"}
	for _, c := range b.report.Changed {
		s, err := b.found(c, kept)
		if err != nil {
			return &devices.Error{Kind: devices.Rejected, Device: b.id, Op: "take back the changes", Err: err}
		}
		before.Settings = append(before.Settings, s)
	}
	before.Settings, err = b.stillOurs(ctx, before.Settings)
	if err != nil || len(before.Settings) == 0 {
		return err
	}
	done, err := b.apply(ctx, b.id, before, "take back "+b.itemOf(before), b.journal, b.progress)
	b.report.Undone = err == nil && len(done.Changed) > 0
	return err
}

// found is a changed setting with the value that was replaced. What the report
// shows of a value says it without loss, but for files and secrets; these come
// from what was captured, and only when it is what was replaced.
func (b *onboard) found(c SettingDrift, kept map[string]string) (devices.Setting, error) {
	point, ok := b.model.Setting(c.Setting)
	if !ok {
		return devices.Setting{}, fmt.Errorf("the profile has no setting %s any more", c.Setting)
	}
	exact, ok := kept[c.Setting]
	if ok {
		old, err := point.ParseExact(exact)
		if err == nil && b.text(point, old) == c.Got {
			return devices.Setting{Point: point, Value: old}, nil
		}
	}
	old, err := point.ParseExact(c.Got)
	switch {
	case err != nil && ok:
		// What the captured value is says more than what the report shows.
		if _, captured := point.ParseExact(exact); captured != nil {
			err = captured
		}
		return devices.Setting{}, err
	case err != nil:
		return devices.Setting{}, err
	case b.text(point, old) != c.Got:
		return devices.Setting{}, fmt.Errorf("%s: what was replaced (%s) is not what was kept; the device may have a copy of its own", c.Setting, c.Got)
	}
	return devices.Setting{Point: point, Value: old}, nil
}

// stillOurs keeps the settings that have what this onboarding wrote, or what
// stood there before.
func (b *onboard) stillOurs(ctx context.Context, before []devices.Setting) ([]devices.Setting, error) {
	t, err := b.open(ctx, b.id)
	if err != nil {
		return nil, err
	}
	defer t.link.Close()
	got, err := t.read(ctx, points(before))
	if err != nil {
		return nil, err
	}
	wrote := make(map[string]string, len(b.report.Changed))
	for _, c := range b.report.Changed {
		wrote[c.Setting] = c.Want
	}
	var keep []devices.Setting
	for i, s := range before {
		if got[i] == s.Value || b.text(s.Point, got[i]) == wrote[s.Point.Name] {
			keep = append(keep, s)
		}
	}
	return keep, nil
}
