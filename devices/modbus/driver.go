package modbus

import (
	"context"
	"fmt"
	"time"

	"edgefleet/devices"
	"edgefleet/devices/dial"
)

// Protocol is the name by which profiles ask for this driver.
const Protocol = "modbus-tcp"

// DefaultUnit is the unit ID of a device that stands at its own address.
const DefaultUnit = 255

// Options are the settings of a Driver; the zero value has the defaults.
type Options struct {
	// Dialer opens the connections; its zero value uses the system's names.
	Dialer dial.Dialer
	// MaxConnections bounds the connections that are open at the same time,
	// over all endpoints (0: 1024). Above it, a call waits until another
	// endpoint's connection is idle.
	MaxConnections int
	// IdleClose is how long an unused connection stays open (0: 5 s). Some
	// PLCs have few connections, and the SCADA system needs one.
	IdleClose time.Duration
}

// Driver is a devices.Driver for Modbus over TCP. It is safe for concurrent use.
type Driver struct {
	lines *lines
}

var _ devices.Driver = (*Driver)(nil)

// New returns a driver, which has to be closed.
func New(o Options) *Driver {
	if o.MaxConnections <= 0 {
		o.MaxConnections = 1024
	}
	if o.IdleClose <= 0 {
		o.IdleClose = 5 * time.Second
	}
	return &Driver{newLines(o.Dialer, o.MaxConnections, o.IdleClose)}
}

// Protocol returns "modbus-tcp".
func (d *Driver) Protocol() string { return Protocol }

// Open returns a link to a unit of an endpoint; it does not dial. An address
// that is not host:port, an unknown framing, a unit from 248 to 254, or with
// FramingRTU one that is not 1 to 247, has kind Unsupported.
func (d *Driver) Open(_ context.Context, ep devices.Endpoint) (devices.Link, error) {
	l, err := d.open(ep)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Close ends every request in flight, closes all connections, and waits for
// both. Calls after it, and those that it ended before they were sent, fail
// with ErrClosed. It may be called again.
func (d *Driver) Close() { d.lines.Shut() }

func (d *Driver) open(ep devices.Endpoint) (*link, error) {
	l := &link{ep: ep}
	refuse := func(format string, args ...any) (*link, error) {
		return nil, l.fail(devices.Unsupported, "open the link", fmt.Errorf(format, args...))
	}
	if framingOf(ep.Framing) == nil {
		return refuse("framing %q is not one: want %s or %s", ep.Framing, devices.FramingTCP, devices.FramingRTU)
	}
	serial := ep.Framing == devices.FramingRTU
	if ep.Unit == 0 && !serial {
		// Unit 0 on the wire would be a broadcast to all devices of a bus.
		l.ep.Unit = DefaultUnit
	}
	switch unit := l.ep.Unit; {
	case serial && (unit == 0 || unit > 247):
		return refuse("unit %d on a serial line: want 1 to 247", unit)
	case unit > 247 && unit != DefaultUnit:
		return refuse("unit %d is reserved: want 1 to 247, or 255", unit)
	}
	if _, _, err := devices.SplitAddress(ep.Address); err != nil {
		return nil, l.fail(devices.Unsupported, "open the link", err)
	}
	hold, err := d.lines.get(ep.Address)
	if err != nil {
		return nil, fmt.Errorf("%s: open the link: %w", l.name(), err)
	}
	l.Hold = hold
	return l, nil
}
