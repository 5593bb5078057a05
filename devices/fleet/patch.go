package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"edgefleet/devices"
	"edgefleet/devices/baseline"
	"edgefleet/devices/patch"
)

// PatchSkip is why a device is not patched. The set is closed; "" is that it is.
type PatchSkip string

// The reasons.
const (
	// PatchThere: it runs the version already.
	PatchThere PatchSkip = "there already"
	// PatchDowngrade: it runs a newer version, or which of the two is newer
	// cannot be said, and nobody has allowed that.
	PatchDowngrade PatchSkip = "downgrade"
	// PatchNotFor: the patch is for devices of another profile, or does not
	// select the device.
	PatchNotFor PatchSkip = "not for it"
)

// PatchPlan is what a patch would do to a device.
type PatchPlan struct {
	DeviceID, Patch string
	// From is what the device says that it runs, To the version of the patch.
	From, To string
	// Skip says why it is not patched, and Detail the same in words.
	Skip   PatchSkip
	Detail string
	// Takes is how long installing it may take, as the profile bounds it.
	Takes time.Duration
}

// OpenPatch opens the artifact of a patch, and fails when it is not to be
// installed: see patch.Shelf.
func (o *Operator) OpenPatch(p *patch.Patch) (*patch.Opened, error) {
	return o.opts.Artifacts.Open(o.fleet.Dir, p, o.fleet.Inventory.Security.PatchKeys)
}

// PlanPatch asks a device what it runs, and says what the patch would do. It
// writes nothing. A device that is not what it is declared to be is an error of
// kind Rejected. It takes two requests.
func (o *Operator) PlanPatch(ctx context.Context, id string, p *patch.Patch, downgrade bool) (PatchPlan, error) {
	d, model, err := o.fleet.Device(id)
	if err != nil {
		return PatchPlan{}, err
	}
	out := PatchPlan{DeviceID: id, Patch: p.Name, To: p.Version}
	if !p.Selects(d) || model.Install == nil {
		out.Skip, out.Detail = PatchNotFor, fmt.Sprintf("%s is for devices of %s that it selects", p.Name, p.Profile)
		return out, nil
	}
	t, err := o.open(ctx, id)
	if err != nil {
		return PatchPlan{}, err
	}
	defer t.link.Close()
	mismatch, err := t.identityMismatch(ctx)
	if err == nil && mismatch != "" {
		err = t.fail(devices.Rejected, "check the identity", errors.New(mismatch+"; correct the fleet file, or find out who exchanged the device"))
	}
	if err != nil {
		return PatchPlan{}, err
	}
	if out.From, err = t.version(ctx); err != nil {
		return PatchPlan{}, err
	}
	out.Takes = model.Install.Within
	switch why := downgraded(out.From, p.Version); {
	case patch.Runs(out.From, p.Version):
		out.Skip, out.Detail = PatchThere, "it runs "+out.From
	case why != "" && !downgrade:
		out.Skip, out.Detail = PatchDowngrade, why+"; allow downgrades if that is meant"
	}
	return out, nil
}

// downgraded says in words why going from one version to the other may be a
// downgrade, or "".
func downgraded(from, to string) string {
	order, ok := patch.Compare(patch.VersionOf(from), patch.VersionOf(to))
	switch {
	case !ok:
		return fmt.Sprintf("which of %q and %q is newer cannot be said", from, to)
	case order > 0:
		return fmt.Sprintf("it runs %s, which is newer than %s", from, to)
	}
	return ""
}

// version asks the device what it runs. It takes one request.
func (t *target) version(ctx context.Context) (string, error) {
	pt, ok := t.model.Point(t.model.Firmware)
	if !ok {
		return "", t.fail(devices.Unsupported, "ask for the version", fmt.Errorf("the profile %s has no version", t.model.Name))
	}
	got, err := t.read(ctx, []devices.Point{pt})
	if err != nil {
		return "", err
	}
	return pt.Text(got[0]), nil
}

// WellReport is whether a device is well, whatever its settings are.
type WellReport struct {
	DeviceID string
	Well     bool
	Detail   string
}

// CheckWell says whether a device answers, is what it is declared to be, and has
// the health that its profile asks for. Its settings are not compared: a partner
// whose baseline is being changed is none the worse for it. A device that does
// not answer is not well; an error says that it could not be found out.
func (o *Operator) CheckWell(ctx context.Context, id string) (WellReport, error) {
	t, err := o.open(ctx, id)
	if err != nil {
		return WellReport{}, err
	}
	defer t.link.Close()
	report, err := verifyAgainst(ctx, t, baseline.Desired{}, false)
	switch {
	case devices.KindOf(err) == devices.Unreachable:
		return WellReport{DeviceID: id, Detail: err.Error()}, nil
	case err != nil:
		return WellReport{}, err
	}
	return WellReport{DeviceID: id, Well: report.Healthy, Detail: report.Detail}, nil
}

// PatchWork is a patch that was planned for a device.
type PatchWork struct {
	DeviceID string
	Patch    *patch.Patch
	// From is what the device said that it runs when it was planned.
	From string
	// Downgrade allows a version that is older, or may be.
	Downgrade bool
	// Allow, when it is not nil, is asked right before anything is sent to the
	// device: an error keeps it from that.
	Allow func(context.Context) error
}

// PatchReport says what came of a patch.
type PatchReport struct {
	DeviceID string
	// From is what the device ran, To the version of the patch, and Now what
	// the device said last; "" when it was not heard since.
	From, To, Now string
	// Installed says that this operation has installed it, over all its
	// attempts, or may have where there is an error. Confirmed says that an
	// attempt that died had.
	Installed, Confirmed bool
	// RolledBack says that the patch was installed, was not well, and that the
	// device runs From again.
	RolledBack bool
	// Unsafe says that the device may be neither well with From nor with To.
	Unsafe bool
	// Detail says in words how the device is.
	Detail string
}

// Actions of the Changes of a patch.
const (
	ActionStagePatch   = "bring patch"
	ActionInstallPatch = "install patch"
	ActionRevertPatch  = "roll back patch"
)

// installerOf opens a way to install on a device.
func (o *Operator) installerOf(ctx context.Context, t *target) (devices.Installer, error) {
	driver, ok := o.drivers[t.model.Protocol].(devices.InstallDriver)
	if !ok || t.model.Install == nil {
		return nil, t.fail(devices.Unsupported, "install a patch", fmt.Errorf("the profile %s does not say how; add install to it", t.model.Name))
	}
	ep, err := o.endpoint(ctx, t.Device, t.model)
	if err != nil {
		return nil, err
	}
	return driver.OpenInstaller(ctx, ep, *t.model.Install)
}
