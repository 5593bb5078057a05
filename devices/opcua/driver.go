package opcua

import (
	"context"
	"fmt"
	"time"

	"edgefleet/devices"
	"edgefleet/devices/dial"
)

// Protocol is the name by which profiles ask for this driver.
const Protocol = "opcua"

// DefaultResponseTimeout bounds the wait for each answer when the endpoint
// states no ResponseTimeout.
const DefaultResponseTimeout = 2 * time.Second

// Options are the settings of a Driver; the zero value has the defaults.
type Options struct {
	// Dialer opens the connections; its zero value uses the system's names.
	Dialer dial.Dialer
	// MaxConnections bounds the connections that are open at the same time,
	// over all endpoints (0: 1024). Above it, a call waits until another
	// endpoint's session is idle.
	MaxConnections int
	// IdleClose is how long an unused session stays open (0: 5 s). Many
	// servers have few sessions, and the SCADA system needs one.
	IdleClose time.Duration
	// Now is the clock that certificates are checked against (nil: time.Now).
	Now func() time.Time
}

// Driver is a devices.Driver for OPC UA servers. It is safe for concurrent
// use.
type Driver struct {
	lines *lines
}

var _ devices.Enroller = (*Driver)(nil)

// New returns a driver, which has to be closed.
func New(o Options) *Driver {
	if o.MaxConnections <= 0 {
		o.MaxConnections = 1024
	}
	if o.IdleClose <= 0 {
		o.IdleClose = 5 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Driver{newLines(o)}
}

// Protocol returns "opcua".
func (d *Driver) Protocol() string { return Protocol }

// Open returns a link to an endpoint; it does not dial. An address that is not
// host:port has kind Unsupported; security that was not enrolled, or that is
// too weak, has kind Auth.
func (d *Driver) Open(_ context.Context, ep devices.Endpoint) (devices.Link, error) {
	l, err := d.open(ep)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Close ends every request in flight, closes all sessions, and waits for both.
// Calls after it, and those that it ended before they were sent, fail with
// ErrClosed. It may be called again.
func (d *Driver) Close() { d.lines.Shut() }

func (d *Driver) open(ep devices.Endpoint) (*link, error) {
	l := &link{ep: ep}
	const op = "open the link"
	if _, _, err := devices.SplitAddress(ep.Address); err != nil {
		return nil, l.fail(devices.Unsupported, op, err)
	}
	sec, err := checkSecurity(ep.OPCUA)
	if err != nil {
		return nil, l.fail(devices.Auth, op, err)
	}
	hold, err := d.lines.get(ep.Address, sec)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", name(ep), op, err)
	}
	l.Hold = hold
	return l, nil
}

// with runs one operation on an endpoint that needs no link of its own.
func (d *Driver) with(ep devices.Endpoint, use func(l *link) error) error {
	l, err := d.open(ep)
	if err != nil {
		return err
	}
	defer l.Close()
	return use(l)
}

func name(ep devices.Endpoint) string {
	if ep.DeviceID != "" {
		return ep.DeviceID
	}
	return ep.Address
}

// responseTimeout bounds the wait for an answer of an open session.
func responseTimeout(ep *devices.Endpoint) time.Duration {
	if ep.ResponseTimeout > 0 {
		return ep.ResponseTimeout
	}
	return DefaultResponseTimeout
}

// openingTimeout bounds each step of opening a session: small devices take
// seconds for RSA.
func openingTimeout(ep *devices.Endpoint) time.Duration {
	connect := ep.ConnectTimeout
	if connect <= 0 {
		connect = dial.DefaultTimeout
	}
	return max(connect, responseTimeout(ep))
}

// verdict says what a fault means for the caller: the table in the package's
// documentation. The error of a call that learnt nothing has no kind.
func (l *link) verdict(op string, write bool, f *fault) error {
	if write && f.sent {
		return l.fail(devices.Indeterminate, op, f.err)
	}
	if f.kind == "" {
		return fmt.Errorf("%s: %s: %w", name(l.ep), op, f.err)
	}
	return l.fail(f.kind, op, f.err)
}

func (l *link) fail(kind devices.Kind, op string, err error) *devices.Error {
	return &devices.Error{Kind: kind, Device: name(l.ep), Op: op, Err: err}
}
