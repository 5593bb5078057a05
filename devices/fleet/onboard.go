package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"edgefleet/devices"
	"edgefleet/devices/inventory"
	"edgefleet/devices/profile"
)

// Phase is a step of onboarding.
type Phase string

// The phases, in order. Only devices that prove who they are have PhaseEnrol.
// Registering is the caller's.
const (
	PhaseReach    Phase = "reach"
	PhaseEnrol    Phase = "enrol"
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
	// Pin holds the fingerprints that the device has proven one of, separated
	// by blanks, and is what is to be pinned for it. It is empty where the
	// device proves nothing, and before it has.
	Pin string
	// Baseline and Version are empty when no baseline selects the device.
	Baseline, Version string
	// Changed holds what was changed, or may have been when the phase that
	// applies the baseline failed.
	Changed []SettingDrift
	// Failed is the phase that found something that trying again will not
	// change, Why in words, and Kind the kind of devices.Error that it is; all
	// are empty when the device is in service.
	Failed Phase
	Why    string
	Kind   devices.Kind
	// Undone says that the changes were taken back.
	Undone bool
}

// OnboardOptions are what the one who onboards a device decides, and what is
// known of it from before.
type OnboardOptions struct {
	// TrustFirstUse accepts what a device shows when nothing is pinned for it,
	// where the fleet allows that.
	TrustFirstUse bool
	// AcceptReplacement accepts that a device was exchanged: another serial
	// number than Serial, and with TrustFirstUse another fingerprint than the
	// pinned one.
	AcceptReplacement bool
	// Serial is the serial number with which the device is in service, or "".
	Serial string
}

// Onboard takes a device into service: it has to be reachable, who it is
// declared to be and what it is declared to be; everything that its profile
// knows is kept; its baseline is applied, and the device verified. When it is
// not healthy afterwards, the changes are taken back, where the device still has
// what was written.
//
// Who it is comes first, where its protocol can prove that: what the device
// shows is compared with what the fleet file states, or what it was pinned with,
// and then has to be proven, before any credential is sent.
//
// What a second attempt may find otherwise (a dark device, a busy one) is an
// error, and the last of Phases is where it stands; what it will find again is
// a report with Failed. Called again with the journal of a call that died, it
// goes on from what the journal and the device say, as ApplyBaseline does.
//
// A feeder-rtu costs nine requests, and those of its changes.
func (o *Operator) Onboard(ctx context.Context, id string, opts OnboardOptions, j Journal, progress func(string)) (OnboardReport, error) {
	d, p, err := o.fleet.Device(id)
	if err != nil {
		return OnboardReport{}, err
	}
	b := &onboard{Operator: o.declared(), id: id, device: d, model: p, opts: opts, journal: j, progress: progress, report: OnboardReport{DeviceID: id}}
	steps := []onboardStep{{PhaseReach, b.reach}}
	if d.Proves() && o.enrollers[p.Protocol] != nil {
		steps = append(steps, onboardStep{PhaseEnrol, b.enrol})
	}
	steps = append(steps, onboardStep{PhaseIdentify, b.identify}, onboardStep{PhaseBackUp, b.backUp},
		onboardStep{PhaseApply, b.applyBaseline}, onboardStep{PhaseVerify, b.verify})
	for _, step := range steps {
		say(progress, "%s: %s", id, step.phase)
		began := time.Now()
		why, err := step.do(ctx)
		b.report.Phases = append(b.report.Phases, PhaseTime{step.phase, began, time.Since(began)})
		if err != nil && retriable(err) {
			return b.report, err
		}
		kind := devices.Rejected
		if err != nil {
			why, kind = err.Error(), devices.KindOf(err)
		}
		if why != "" {
			b.report.Failed, b.report.Why, b.report.Kind = step.phase, why, kind
			return b.report, b.takeBack(ctx)
		}
	}
	return b.report, nil
}

// onboardStep does a phase; it returns in words what was found that trying
// again will not change.
type onboardStep struct {
	phase Phase
	do    func(context.Context) (string, error)
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
	// Operator is another one after PhaseEnrol, which knows what was proven.
	*Operator
	id       string
	device   inventory.Device
	model    *profile.Profile
	opts     OnboardOptions
	journal  Journal
	progress func(string)
	report   OnboardReport
	// shows is what the device showed in PhaseReach, where it proves anything.
	shows []string
}

// reach wants a sign of life. A device that is to prove who it is gives one
// that takes no log-in, because whom to log in to is what comes next.
func (b *onboard) reach(ctx context.Context) (string, error) {
	found, err := b.look(ctx)
	if err != nil || found.Reachable {
		return "", err
	}
	return "", &devices.Error{Kind: devices.Unreachable, Device: b.id, Op: "probe", Err: errors.New(found.Summary)}
}

func (b *onboard) look(ctx context.Context) (Diagnosis, error) {
	enroller := b.enrollers[b.model.Protocol]
	if !b.device.Proves() || enroller == nil {
		return b.Probe(ctx, b.id)
	}
	knock := knocker{close: func() {}, ping: func(ctx context.Context) (err error) {
		b.shows, err = enroller.Fingerprints(ctx, b.where(b.device, b.model))
		return err
	}}
	return b.diagnose(ctx, &target{Device: b.device, model: b.model}, knock)
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
				t.Address, t.model.Name, p.Point.Name, b.text(p.Point, got[i]), b.text(p.Point, p.Equals)), nil
		}
	}
	return b.exchanged(), nil
}

// exchanged says in words that this is another device than the one in service.
// A profile that asks for no serial number cannot tell.
func (b *onboard) exchanged() string {
	now, asked := b.report.Identity[identitySerial]
	if !asked || b.opts.Serial == "" || b.opts.AcceptReplacement || now == b.opts.Serial {
		return ""
	}
	return fmt.Sprintf("%s is in service with the serial number %q, and the device at %s says that its is %q: it was exchanged, or this is the address of another one; correct the fleet file, or, when it was exchanged on purpose, onboard it with --accept-replacement",
		b.id, b.opts.Serial, b.device.Address, now)
}

// identitySerial is the identity point that tells one device from all others.
const identitySerial = "serial"

// backUp keeps every setting that the profile knows, as it was found.
func (b *onboard) backUp(ctx context.Context) (string, error) {
	t, err := b.open(ctx, b.id)
	if err != nil {
		return "", err
	}
	defer t.link.Close()
	settings := readable(t.model.Settings)
	if len(settings) == 0 {
		return "", nil
	}
	got, err := t.read(ctx, settings)
	if err != nil {
		return "", err
	}
	found := make([]Captured, len(got))
	for i, p := range settings {
		found[i] = capturedOf(p, got[i])
	}
	if err := b.journal.Capture(ctx, b.id, found); err != nil {
		return "", fmt.Errorf("%s: keep the settings as they were found: %w", b.id, err)
	}
	return "", nil
}

// readable leaves out the points that do something and have no value.
func readable(points []devices.Point) []devices.Point {
	return slices.DeleteFunc(slices.Clone(points), func(p devices.Point) bool {
		return p.Method != nil || p.Host != nil && p.Host.Kind == devices.HostRun
	})
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
