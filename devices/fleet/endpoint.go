package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"edgefleet/devices"
	"edgefleet/devices/inventory"
	"edgefleet/devices/profile"
)

// Pins knows what devices proved themselves with when they were taken into
// service.
type Pins interface {
	// Pin returns the fingerprints of which a device has to prove one,
	// separated by blanks, or "" when none is pinned. An error says that it
	// could not be found out, and then the device is not spoken to.
	Pin(ctx context.Context, deviceID string) (string, error)
}

// policyNone is the security policy of OPC UA servers that prove nothing.
const policyNone = "None"

// where is the endpoint of a device as far as it takes no secret and no pin:
// enough to see what it shows, and not to talk to it.
func (o *Operator) where(d inventory.Device, p *profile.Profile) devices.Endpoint {
	ep := devices.Endpoint{
		DeviceID: d.ID, Address: d.Address, Unit: d.Unit, Framing: d.Framing, SerialGateway: d.SerialGateway,
		Allowed:        o.fleet.Inventory.Security.AllowedNetworks,
		ConnectTimeout: o.opts.ConnectTimeout, ResponseTimeout: o.opts.ResponseTimeout,
		Gap: p.Quirks.Gap, OnlyWriteMultiple: p.Quirks.OnlyWriteMultiple,
	}
	if d.OPCUA != nil {
		ep.OPCUA = &devices.OPCUASecurity{Policy: d.OPCUA.Policy, Mode: d.OPCUA.Mode, ApplicationURI: d.OPCUA.ApplicationURI}
	}
	return ep
}

// endpoint is how a device is reached and logged in to. It fails with kind
// Auth when we lack what that takes, which says nothing about the device.
func (o *Operator) endpoint(ctx context.Context, d inventory.Device, p *profile.Profile) (devices.Endpoint, error) {
	ep := o.where(d, p)
	lacks := func(err error) (devices.Endpoint, error) {
		return ep, &devices.Error{Kind: devices.Auth, Device: d.ID, Op: "log in", Err: err}
	}
	var pins []string
	if d.Proves() {
		var err error
		if pins, err = o.pins(ctx, d); err != nil {
			return ep, err
		}
		if len(pins) == 0 {
			return lacks(fmt.Errorf("nothing is pinned for it, so whoever answers at %s could be anybody; %s", d.Address, o.remedyUnpinned(d)))
		}
	}
	switch {
	case d.SSH != nil:
		user, key, err := o.opts.Credentials.SSH(d.Credentials)
		if err != nil {
			return lacks(err)
		}
		ep.SSH = &devices.SSHSecurity{User: user, HostKeys: pins, Signer: key}
	case d.OPCUA != nil:
		if err := o.opcua(&ep, d, pins); err != nil {
			return lacks(err)
		}
	}
	return ep, nil
}

func (o *Operator) opcua(ep *devices.Endpoint, d inventory.Device, pins []string) error {
	if d.OPCUA.Policy == policyNone {
		// The fleet file was refused if it has a reason to object.
		ep.OPCUA.AllowPlaintext = d.PlaintextException != "" || !o.fleet.Inventory.Security.EnableEncryption
	} else {
		ep.OPCUA.ServerThumbprint = pins[0]
	}
	if d.Credentials == "" && d.OPCUA.Policy == policyNone {
		return nil
	}
	if err := o.opts.Credentials.CheckDevice(d); err != nil {
		return err
	}
	c, err := o.opts.Credentials.OPCUA(d.Credentials)
	if err != nil {
		return err
	}
	ep.OPCUA.ClientCert, ep.OPCUA.ClientKey = c.ClientCert, c.ClientKey
	ep.OPCUA.User, ep.OPCUA.Password = c.User, c.Password
	ep.OPCUA.UserCert, ep.OPCUA.UserKey = c.UserCert, c.UserKey
	return nil
}

// pins returns the fingerprints of which a device has to prove one: what the
// fleet file states, or else, where the fleet trusts what a device shows first,
// what was pinned when it was taken into service.
func (o *Operator) pins(ctx context.Context, d inventory.Device) ([]string, error) {
	if shown, ok := o.shown[d.ID]; ok {
		return shown, nil
	}
	if declared := d.Fingerprints(); len(declared) > 0 {
		return declared, nil
	}
	return o.pinned(ctx, d)
}

// pinned is what was pinned when the device was taken into service.
func (o *Operator) pinned(ctx context.Context, d inventory.Device) ([]string, error) {
	if o.opts.Pins == nil || !o.fleet.Inventory.Security.TrustFirstUse {
		return nil, nil
	}
	pin, err := o.opts.Pins.Pin(ctx, d.ID)
	if err != nil {
		return nil, fmt.Errorf("%s: find out what is pinned for it: %w", d.ID, err)
	}
	return strings.Fields(pin), nil
}

// showing is the operator with the fingerprints of a device that is being
// taken into service.
func (o *Operator) showing(id string, fingerprints []string) *Operator {
	with := *o
	with.shown = map[string][]string{id: fingerprints}
	return &with
}

// remedyUnpinned says how a device gets a pin.
func (o *Operator) remedyUnpinned(d inventory.Device) string {
	remedy := fmt.Sprintf("state its fingerprint at %s:%d as %s (edgefleet device fingerprint %s shows it)", d.File, d.Line, keyOf(d), d.ID)
	if o.fleet.Inventory.Security.TrustFirstUse {
		remedy += ", or onboard it with --trust-first-use"
	}
	return remedy
}

// keyOf is where the fleet file states a fingerprint.
func keyOf(d inventory.Device) string {
	if d.SSH != nil {
		return "ssh: {host_keys: [...]}"
	}
	return "opcua: {thumbprint: ...}"
}

// knocker asks a device for a sign of life.
type knocker struct {
	ping  func(context.Context) error
	close func()
	// lacks is what keeps us from logging in, where nothing is known against
	// the device; nil when it can be logged in to.
	lacks error
}

// knocker returns the best way to see whether a device is there. What we lack
// ourselves, credentials or a pin, is no reason to call it dark: such a device
// is asked what it would prove itself with, which takes neither.
func (o *Operator) knocker(ctx context.Context, d inventory.Device, p *profile.Profile) (knocker, error) {
	t, err := o.open(ctx, d.ID)
	if err == nil {
		return knocker{ping: t.link.Ping, close: t.link.Close}, nil
	}
	enroller := o.enrollers[p.Protocol]
	if devices.KindOf(err) != devices.Auth || enroller == nil || !d.Proves() {
		return knocker{}, err
	}
	want, pinErr := o.pins(ctx, d)
	if pinErr != nil {
		return knocker{}, pinErr
	}
	ping := func(ctx context.Context) error {
		shown, err := enroller.Fingerprints(ctx, o.where(d, p))
		if err == nil && compareFingerprints(want, shown) == fingerprintsDiffer {
			err = &devices.Error{Kind: devices.Auth, Device: d.ID, Op: "ask for the fingerprint", Err: fmt.Errorf("it shows %s, and %s is what it has to show: somebody may be in between, or it was exchanged",
				strings.Join(shown, ", "), strings.Join(want, ", "))}
		}
		return err
	}
	return knocker{ping: ping, close: func() {}, lacks: err}, nil
}

// comparison is what comparing fingerprints came to.
type comparison int

const (
	fingerprintsAgree comparison = iota
	fingerprintsDiffer
	// fingerprintsUnknown: there is nothing to compare with, or it is a SHA-1
	// thumbprint, which says nothing about a SHA-256. The driver compares it
	// when it connects.
	fingerprintsUnknown
)

// compareFingerprints compares what a device has to prove itself with, any one
// of them, with what it shows.
func compareFingerprints(want, shown []string) comparison {
	if len(want) == 0 {
		return fingerprintsUnknown
	}
	for _, w := range want {
		if sha1Thumbprint(w) {
			return fingerprintsUnknown
		}
		for _, s := range shown {
			if s == w {
				return fingerprintsAgree
			}
		}
	}
	return fingerprintsDiffer
}

// sha1Thumbprint tells the thumbprints of OPC UA tools from all others.
func sha1Thumbprint(s string) bool { return len(s) == 40 }

// Shown is what a device shows to be known by, beside what is known of it.
type Shown struct {
	DeviceID, Protocol, Address string
	// Fingerprints as devices.Enroller has them; they prove nothing.
	Fingerprints []string
	// Declared are those of the fleet file, Pinned those of the registry.
	Declared, Pinned []string
	// Verdict compares them.
	Verdict ShownVerdict
	// State is where the fleet file states them: "ssh: {host_keys: [...]}",
	// with what the device shows.
	State string
}

// ShownVerdict is what came of comparing what a device shows with what is
// known. The set is closed.
type ShownVerdict string

// The verdicts.
const (
	// ShownDeclared and ShownPinned: it shows what the fleet file states, or
	// what it was taken into service with.
	ShownDeclared ShownVerdict = "declared"
	ShownPinned   ShownVerdict = "pinned"
	// ShownDiffers: it shows something else.
	ShownDiffers ShownVerdict = "differs"
	// ShownUnpinned: there is nothing to compare with.
	ShownUnpinned ShownVerdict = "unpinned"
	// ShownUnknown: a SHA-1 thumbprint is declared, which cannot be compared
	// with the SHA-256 that is shown.
	ShownUnknown ShownVerdict = "not compared"
)

// Fingerprints asks a device what it would prove itself with, so that a person
// can compare it with the device's own. It takes no credentials and changes
// nothing. A device whose protocol proves nothing is kind Unsupported.
func (o *Operator) Fingerprints(ctx context.Context, id string) (Shown, error) {
	d, p, err := o.fleet.Device(id)
	if err != nil {
		return Shown{}, err
	}
	enroller := o.enrollers[p.Protocol]
	if enroller == nil || !d.Proves() {
		what := p.Protocol
		if d.OPCUA != nil {
			what += " with policy " + policyNone
		}
		return Shown{}, &devices.Error{Kind: devices.Unsupported, Device: id, Op: "ask for the fingerprint",
			Err: errors.New("over " + what + " a device cannot prove who it is")}
	}
	out := Shown{DeviceID: id, Protocol: p.Protocol, Address: d.Address, Declared: d.Fingerprints()}
	if out.Pinned, err = o.pinned(ctx, d); err != nil {
		return Shown{}, err
	}
	if out.Fingerprints, err = enroller.Fingerprints(ctx, o.where(d, p)); err != nil {
		return Shown{}, err
	}
	out.State = statement(d, out.Fingerprints)
	want, agree := out.Declared, ShownDeclared
	if len(want) == 0 {
		want, agree = out.Pinned, ShownPinned
	}
	switch compareFingerprints(want, out.Fingerprints) {
	case fingerprintsAgree:
		out.Verdict = agree
	case fingerprintsDiffer:
		out.Verdict = ShownDiffers
	case fingerprintsUnknown:
		out.Verdict = ShownUnknown
		if len(want) == 0 {
			out.Verdict = ShownUnpinned
		}
	}
	return out, nil
}

// statement is what the fleet file has of a device that shows these.
func statement(d inventory.Device, shown []string) string {
	if d.SSH == nil {
		return fmt.Sprintf("opcua: {thumbprint: %q}", strings.Join(shown, " "))
	}
	quoted := make([]string, len(shown))
	for i, s := range shown {
		quoted[i] = fmt.Sprintf("%q", s)
	}
	return "ssh: {host_keys: [" + strings.Join(quoted, ", ") + "]}"
}
