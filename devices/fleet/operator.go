package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"edgefleet/devices"
	"edgefleet/devices/credentials"
	"edgefleet/devices/dial"
	"edgefleet/devices/fleetdir"
	"edgefleet/devices/inventory"
	"edgefleet/devices/patch"
	"edgefleet/devices/profile"
)

// Dialer is what Probe needs of package dial: its stages, one by one.
type Dialer interface {
	Resolve(ctx context.Context, ep devices.Endpoint) ([]netip.AddrPort, error)
	Connect(ctx context.Context, ep devices.Endpoint, addrs []netip.AddrPort) (net.Conn, error)
}

// Options are what an Operator works with.
type Options struct {
	Fleet *fleetdir.Fleet
	// Drivers of the protocols; each device's has to be among them.
	Drivers []devices.Driver
	// Dialer is dial.Dialer{} when it is nil.
	Dialer Dialer
	// Credentials are what devices are logged in to with; nil is none, which
	// is a failure of the devices that need some and of no others.
	Credentials *credentials.Folder
	// Pins are asked about devices whose declaration has no fingerprint; nil
	// has none.
	Pins Pins
	// Assigned knows what devices were assigned; nil is that none was, so that
	// the fleet directory's baselines count.
	Assigned Assignments
	// SunSpec maps the points of SunSpec profiles on each device, as
	// sunspec.Catalog does; it may be nil where no declared device has such a
	// profile.
	SunSpec interface {
		Link(inner devices.Link, device string) devices.Link
	}
	// Artifacts opens the artifacts of patches; nil looks for them in the fleet
	// directory only.
	Artifacts *patch.Shelf
	// SecretKey is the key of the texts of secret settings, which all workers
	// of the fleet share; nil, or one that returns nothing, shows their plain
	// digests.
	SecretKey func() []byte
	// ConnectTimeout and ResponseTimeout are for every request; 0 leaves the
	// drivers' defaults, 3 s and 2 s.
	ConnectTimeout, ResponseTimeout time.Duration
}

// Operator does operations on the devices of one loaded fleet. It is safe for
// concurrent use, keeps no connection of its own, and costs nothing to make:
// a fleet that was loaded anew gets a new one over the same drivers. Two
// changes to one device at a time are kept apart by the caller's lease.
type Operator struct {
	texts
	fleet   *fleetdir.Fleet
	drivers map[string]devices.Driver
	// enrollers are those of the drivers whose devices prove who they are.
	enrollers map[string]devices.Enroller
	dialer    Dialer
	opts      Options
	// shown are the fingerprints that an onboarding works with, by device ID:
	// before it has ended they stand nowhere else.
	shown map[string][]string
}

// New returns an operator. It fails when a declared device speaks a protocol
// for which there is no driver, or is made of SunSpec models and there are
// none.
func New(o Options) (*Operator, error) {
	op := &Operator{texts: texts{o.SecretKey}, fleet: o.Fleet, drivers: map[string]devices.Driver{}, enrollers: map[string]devices.Enroller{}, dialer: o.Dialer, opts: o}
	if op.dialer == nil {
		op.dialer = dial.Dialer{}
	}
	if op.opts.Artifacts == nil {
		op.opts.Artifacts = &patch.Shelf{}
	}
	for _, d := range o.Drivers {
		op.drivers[d.Protocol()] = d
		if e, ok := d.(devices.Enroller); ok {
			op.enrollers[d.Protocol()] = e
		}
	}
	for _, d := range o.Fleet.Inventory.Devices {
		p := o.Fleet.Profiles[d.Profile]
		if op.drivers[p.Protocol] == nil {
			return nil, fmt.Errorf("%s:%d: %s speaks %s, for which this program has no driver", d.File, d.Line, d.ID, p.Protocol)
		}
		if p.SunSpec && o.SunSpec == nil {
			return nil, fmt.Errorf("%s:%d: %s (%s) has the points of SunSpec models, and this program has none", d.File, d.Line, d.ID, p.Name)
		}
	}
	return op, nil
}

// Fleet returns the fleet that the operator works on.
func (o *Operator) Fleet() *fleetdir.Fleet { return o.fleet }

// target is a declared device with its model and an open link.
type target struct {
	inventory.Device
	texts
	model *profile.Profile
	link  devices.Link
}

func (o *Operator) open(ctx context.Context, id string) (*target, error) {
	d, p, err := o.fleet.Device(id)
	if err != nil {
		return nil, err
	}
	ep, err := o.endpoint(ctx, d, p)
	if err != nil {
		return nil, err
	}
	link, err := o.drivers[p.Protocol].Open(ctx, ep)
	if err != nil {
		return nil, err
	}
	if p.SunSpec {
		link = o.opts.SunSpec.Link(link, d.ID)
	}
	return &target{Device: d, texts: o.texts, model: p, link: link}, nil
}

func (t *target) fail(kind devices.Kind, op string, err error) error {
	return &devices.Error{Kind: kind, Device: t.ID, Op: op, Err: err}
}

// read reads points, of which some may be the same: a condition can be on a
// setting, and two conditions on one point.
func (t *target) read(ctx context.Context, points []devices.Point) ([]devices.Value, error) {
	var unique []devices.Point
	at := make(map[string]int, len(points))
	for _, p := range points {
		if _, known := at[p.Name]; !known {
			at[p.Name] = len(unique)
			unique = append(unique, p)
		}
	}
	if len(unique) == 0 {
		return nil, ctx.Err()
	}
	got, err := t.link.Read(ctx, unique)
	if err != nil {
		return nil, err
	}
	out := make([]devices.Value, len(points))
	for i, p := range points {
		out[i] = got[at[p.Name]]
	}
	return out, nil
}

// identityMismatch says in words what the device is instead of what its
// profile expects, or "" when it is what it has to be. It takes one request
// for points that stand together.
func (t *target) identityMismatch(ctx context.Context) (string, error) {
	var points []devices.Point
	var want []devices.Value
	for _, id := range t.model.Identity {
		if id.Equals != nil {
			points, want = append(points, id.Point), append(want, id.Equals)
		}
	}
	got, err := t.read(ctx, points)
	if err != nil {
		return "", err
	}
	for i, pt := range points {
		if got[i] != want[i] {
			return fmt.Sprintf("the device at %s is not a %s: its %s is %q, and %q was expected",
				t.Address, t.model.Name, pt.Name, t.text(pt, got[i]), t.text(pt, want[i])), nil
		}
	}
	return "", nil
}

// mayWrite fails when the device is not what it is declared to be, or its
// interlock holds. It takes one request for the identity, and one for each
// table in which the interlock has points.
func (t *target) mayWrite(ctx context.Context) error {
	mismatch, err := t.identityMismatch(ctx)
	if err != nil {
		return err
	}
	if mismatch != "" {
		return t.fail(devices.Rejected, "check the identity", errors.New(mismatch+"; correct the fleet file, or find out who exchanged the device"))
	}
	return t.checkInterlock(ctx)
}

func (t *target) checkInterlock(ctx context.Context) error {
	if len(t.model.Interlock) == 0 {
		return nil
	}
	points := make([]devices.Point, len(t.model.Interlock))
	for i, lock := range t.model.Interlock {
		points[i] = lock.Point
	}
	got, err := t.read(ctx, points)
	if err != nil {
		return err
	}
	for i, lock := range t.model.Interlock {
		if lock.Holds(got[i]) {
			return t.fail(devices.Rejected, "check the interlock", fmt.Errorf("%s: %s", lock.Condition, lock.Tell))
		}
	}
	return nil
}

// pause waits, unless the context ends first.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// say calls a progress callback, if there is one.
func say(progress func(string), format string, args ...any) {
	if progress != nil {
		progress(fmt.Sprintf(format, args...))
	}
}
