package fleet

import (
	"context"
	"fmt"

	"edgefleet/devices/baseline"
	"edgefleet/devices/inventory"
)

// Assigned is what a device was last given on purpose, by an onboarding or a
// rollout: its settings are exact values by their names.
type Assigned struct {
	Baseline, Version string
	Settings          map[string]string
}

// Assignments knows what devices were assigned. What a device was assigned goes
// before what the fleet directory says: a directory that was changed says what
// devices are going to have, and a rollout is on its way to them.
type Assignments interface {
	// Assigned returns nil for a device that was never assigned anything. An
	// error says that it could not be found out, and then the directory's
	// baseline is not taken in its place.
	Assigned(ctx context.Context, deviceID string) (*Assigned, error)
}

// desired is what a device should have: what it was assigned, or else what the
// fleet directory says, if that says anything. What the directory has the device
// ignore counts at once, also of what it was assigned: nothing is written for
// it, and what others change there is theirs.
func (o *Operator) desired(ctx context.Context, d inventory.Device) (baseline.Desired, bool, error) {
	if o.opts.Assigned == nil {
		desired, ok := o.fleet.Baseline(d)
		return desired, ok, nil
	}
	a, err := o.opts.Assigned.Assigned(ctx, d.ID)
	if err != nil {
		return baseline.Desired{}, false, fmt.Errorf("%s: find out what it was assigned: %w", d.ID, err)
	}
	if a == nil {
		desired, ok := o.fleet.Baseline(d)
		return desired, ok, nil
	}
	desired, err := o.DesiredOf(d.ID, a.Baseline, a.Version, a.Settings)
	if err != nil {
		return baseline.Desired{}, false, err
	}
	return o.withoutIgnored(d, desired), true, nil
}

func (o *Operator) withoutIgnored(d inventory.Device, desired baseline.Desired) baseline.Desired {
	ignored := o.fleet.Baselines.Ignored(d)
	if len(ignored) == 0 {
		return desired
	}
	all := desired.Settings
	desired.Settings = nil
	for _, s := range all {
		if ignored[s.Point.Name] {
			desired.Ignored = append(desired.Ignored, s.Point.Name)
			continue
		}
		desired.Settings = append(desired.Settings, s)
	}
	return desired
}

// With is the operator with other assignments: those that a caller has asked
// for many devices at once.
func (o *Operator) With(a Assignments) *Operator {
	with := *o
	with.opts.Assigned = a
	return &with
}

// declared is the operator that knows nothing but the fleet directory: what it
// declares is what an onboarding brings a device to.
func (o *Operator) declared() *Operator { return o.With(nil) }
