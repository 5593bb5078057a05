package sshhost

import (
	"context"
	"errors"
	"fmt"
	"time"

	"edgefleet/devices"
	"edgefleet/devices/dial"
)

// Protocol is the name by which profiles ask for this driver.
const Protocol = "ssh"

// Defaults of Options, and of endpoints and commands that state nothing.
const (
	DefaultResponseTimeout = 10 * time.Second
	DefaultIdleClose       = 30 * time.Second
	DefaultKeepalive       = 15 * time.Second
	DefaultMaxConnections  = 256
	DefaultGenerations     = 3
	DefaultCommandTimeout  = 20 * time.Second
	DefaultHealthWithin    = 15 * time.Second
	DefaultPath            = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// Options are the settings of a Driver; the zero value has the defaults.
type Options struct {
	// Dialer opens the connections; its zero value uses the system's names.
	Dialer dial.Dialer
	// MaxConnections bounds the connections that are open at the same time,
	// over all endpoints (0: 256). Above it, a call waits until another
	// endpoint's connection is idle.
	MaxConnections int
	// IdleClose is how long an unused connection stays open (0: 30 s).
	IdleClose time.Duration
	// Keepalive is how often a connection is asked whether it still leads
	// anywhere (0: 15 s). One that does not answer in that time is closed.
	Keepalive time.Duration
	// Path is the search path of every command on the host (0: DefaultPath).
	Path string
	// Generations is how many earlier contents of a file are kept beside it
	// (0: 3).
	Generations int
}

// Driver is a devices.Driver for Linux hosts over SSH. It is safe for
// concurrent use.
type Driver struct {
	lines *lines
}

var _ devices.Enroller = (*Driver)(nil)

// New returns a driver, which has to be closed.
func New(o Options) *Driver {
	if o.MaxConnections <= 0 {
		o.MaxConnections = DefaultMaxConnections
	}
	if o.IdleClose <= 0 {
		o.IdleClose = DefaultIdleClose
	}
	if o.Keepalive <= 0 {
		o.Keepalive = DefaultKeepalive
	}
	if o.Path == "" {
		o.Path = DefaultPath
	}
	if o.Generations <= 0 {
		o.Generations = DefaultGenerations
	}
	return &Driver{newLines(o)}
}

// Protocol returns "ssh".
func (d *Driver) Protocol() string { return Protocol }

// Open returns a link to a host; it does not dial. An address that is not
// host:port has kind Unsupported, and an endpoint that does not say whom to
// trust and who logs in has kind Auth.
func (d *Driver) Open(_ context.Context, ep devices.Endpoint) (devices.Link, error) {
	l, err := d.open(ep)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Close ends every call in flight and closes all connections, and waits for
// these.
// Calls after it, and those that it ended, fail with ErrClosed. A change that
// it ends is taken up by the next write. It may be called again.
func (d *Driver) Close() { d.lines.shut() }

func (d *Driver) open(ep devices.Endpoint) (*link, error) {
	l := &link{ep: ep, opts: &d.lines.opts}
	const op = "open the link"
	if _, _, err := devices.SplitAddress(ep.Address); err != nil {
		return nil, l.fail(devices.Unsupported, op, err)
	}
	if ep.SSH == nil {
		return nil, l.fail(devices.Auth, op, errors.New("the endpoint has no user, host key and private key"))
	}
	if err := ep.SSH.Check(); err != nil {
		return nil, l.fail(devices.Auth, op, err)
	}
	signer, err := newSigner(ep.SSH.Signer)
	if err != nil {
		return nil, l.fail(devices.Auth, op, err)
	}
	l.signer = signer
	if l.Hold, err = d.lines.get(ep, signer); err != nil {
		return nil, fmt.Errorf("%s: %s: %w", l.name(), op, err)
	}
	return l, nil
}
