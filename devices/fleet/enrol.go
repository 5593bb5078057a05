package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"edgefleet/devices"
)

// enrol finds out who the device is, before anything is said to it: what it
// shows is compared with what is known, and then has to be proven.
func (b *onboard) enrol(ctx context.Context) (string, error) {
	declared := b.device.Fingerprints()
	pinned, err := b.pinned(ctx, b.device)
	if err != nil {
		return "", err
	}
	trusted, why := b.trusted(declared, pinned)
	if why != "" {
		// It is a matter of trust, and no answer of the device's.
		return "", b.distrust(why)
	}
	proven := b.showing(b.id, trusted)
	t, err := proven.open(ctx, b.id)
	if err != nil {
		return "", err
	}
	defer t.link.Close()
	if err := t.link.Ping(ctx); err != nil {
		return "", err
	}
	b.Operator = proven
	b.report.Pin = strings.Join(trusted, " ")
	return "", nil
}

func (b *onboard) distrust(why string) error {
	return &devices.Error{Kind: devices.Auth, Device: b.id, Op: "enrol", Err: errors.New(why)}
}

// trusted returns the fingerprints of which the device has to prove one, in
// order, or in words why none is to be trusted.
func (b *onboard) trusted(declared, pinned []string) ([]string, string) {
	shows := slices.Sorted(slices.Values(b.shows))
	shown := strings.Join(shows, ", ")
	at := fmt.Sprintf("%s:%d", b.device.File, b.device.Line)
	ownWay := "compare that with what the device itself says on its own console"
	switch {
	case len(declared) > 0 && compareFingerprints(declared, shows) == fingerprintsUnknown:
		return declared, ""
	case len(declared) > 0:
		if both := inBoth(shows, declared); len(both) > 0 {
			return both, ""
		}
		return nil, fmt.Sprintf("it shows %s, and the fleet file states %s: somebody may be in between, or the device or its key was exchanged; %s, and correct %s",
			shown, strings.Join(declared, ", "), ownWay, at)
	case len(pinned) > 0:
		if both := inBoth(shows, pinned); len(both) > 0 {
			return both, ""
		}
		if !b.opts.AcceptReplacement || !b.opts.TrustFirstUse {
			return nil, fmt.Sprintf("it shows %s, and %s is pinned since it was taken into service: somebody may be in between, or the device or its key was exchanged; %s, and state it at %s as %s, or onboard it with --accept-replacement --trust-first-use",
				shown, strings.Join(pinned, ", "), ownWay, at, statement(b.device, shows))
		}
	case !b.fleet.Inventory.Security.TrustFirstUse:
		return nil, fmt.Sprintf("it shows %s, and nothing is known of it; %s, and state it at %s as %s", shown, ownWay, at, statement(b.device, shows))
	case !b.opts.TrustFirstUse:
		return nil, fmt.Sprintf("it shows %s, and nothing is known of it; %s, and state it at %s as %s, or onboard it with --trust-first-use",
			shown, ownWay, at, statement(b.device, shows))
	}
	if b.device.SSH == nil && len(shows) != 1 {
		return nil, fmt.Sprintf("it shows %d certificates (%s), and which is its own is not to be guessed; %s, and state one at %s as %s",
			len(shows), shown, ownWay, at, keyOf(b.device))
	}
	return shows, ""
}

// inBoth returns what of the first list is in the second, in its order.
func inBoth(list, other []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return !slices.Contains(other, s) })
}
