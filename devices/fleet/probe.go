package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"edgefleet/devices"
	"edgefleet/devices/inventory"
)

// Check is one check of a diagnosis.
type Check string

// The checks, in the order in which a diagnosis lists them.
const (
	CheckName      Check = "name resolution"
	CheckConnect   Check = "tcp connect"
	CheckProtocol  Check = "protocol"
	CheckReference Check = "region reference"
)

// Result is what a check found.
type Result string

// The results.
const (
	OK      Result = "ok"
	Failing Result = "failed"
	Skipped Result = "skipped"
)

// Verdict is one check, what it found, and how long it took.
type Verdict struct {
	Check    Check
	Result   Result
	Detail   string
	Duration time.Duration
}

// Diagnosis is the answer to whether a device can be reached.
type Diagnosis struct {
	DeviceID string
	// Reachable says that the device answers its protocol.
	Reachable bool
	// Summary says in words what was found.
	Summary string
	// Verdicts are all four checks, in order.
	Verdicts []Verdict
}

// Probe finds out whether a device can be reached, and if not, why. That it
// cannot is a value. It is an error when nothing can be said: kind OwnPath
// when the region's reference target is dark as well (or the worker's own
// name server or sockets fail), kind Auth for an address that is not allowed,
// and for something that answers and proves to be another device.
//
// A device that answers and refuses our log-in is reachable, and so is one to
// which we have no credentials or no pin: the summary says so. Whether the way
// to a device is up does not depend on what we know of it, and a reset would
// mend neither.
//
// A healthy device costs one request on a connection that is already open. A
// dark one costs one more TCP connection to it, which tells where it ends, and
// one to the reference.
func (o *Operator) Probe(ctx context.Context, id string) (Diagnosis, error) {
	d, model, err := o.fleet.Device(id)
	if err != nil {
		return Diagnosis{}, err
	}
	knock, err := o.knocker(ctx, d, model)
	if err != nil {
		return Diagnosis{}, err
	}
	defer knock.close()
	return o.diagnose(ctx, &target{Device: d, model: model}, knock)
}

func (o *Operator) diagnose(ctx context.Context, t *target, knock knocker) (Diagnosis, error) {
	p := &probe{o: o, t: t, knock: knock, ep: o.where(t.Device, t.model), out: Diagnosis{DeviceID: t.ID}}
	if err := p.run(ctx); err != nil {
		return Diagnosis{}, err
	}
	return p.out, nil
}

type probe struct {
	o *Operator
	// t has no link: whether there is one is the knocker's.
	t     *target
	knock knocker
	ep    devices.Endpoint
	out   Diagnosis
}

func (p *probe) run(ctx context.Context) error {
	addrs, err := p.resolve(ctx)
	if err != nil {
		return err
	}
	if addrs == nil {
		p.add(CheckConnect, Skipped, "there is no address to connect to", 0)
		p.add(CheckProtocol, Skipped, "there is no connection", 0)
		return p.dark(ctx, "its name cannot be resolved: "+p.out.Verdicts[0].Detail)
	}
	// The ping comes first: when it is answered, so is everything below it,
	// and a device with few connections is not asked for a second one.
	began := time.Now()
	pingErr := p.knock.ping(ctx)
	took := time.Since(began)
	switch kind := devices.KindOf(pingErr); {
	case pingErr == nil:
		p.add(CheckConnect, OK, "the device answered over it", 0)
		p.add(CheckProtocol, OK, fmt.Sprintf("%s answered", p.t.model.Protocol), took)
		p.add(CheckReference, Skipped, "the device itself answers", 0)
		p.out.Reachable = true
		p.out.Summary = fmt.Sprintf("%s answers %s at %s, in %s.", p.t.ID, p.t.model.Protocol, p.t.Address, round(took))
		if p.knock.lacks != nil {
			p.out.Summary += " It cannot be logged in to: " + cause(p.knock.lacks) + "."
		}
		return nil
	case kind == devices.Rejected:
		p.add(CheckConnect, OK, "something answered over it", 0)
		p.add(CheckProtocol, Failing, cause(pingErr), took)
		p.add(CheckReference, Skipped, "something answers at the device's address, so the way there is up", 0)
		p.out.Summary = fmt.Sprintf("What answers at %s does not speak %s as %s should: %s.", p.t.Address, p.t.model.Protocol, p.t.ID, cause(pingErr))
		return nil
	case kind != devices.Unreachable:
		return pingErr
	}
	return p.unanswered(ctx, addrs, pingErr, took)
}

// unanswered finds out how far the way to a silent device goes.
func (p *probe) unanswered(ctx context.Context, addrs []netip.AddrPort, pingErr error, took time.Duration) error {
	began := time.Now()
	conn, err := p.o.dialer.Connect(ctx, p.ep, addrs)
	switch kind := devices.KindOf(err); {
	case err == nil:
		p.add(CheckConnect, OK, "connected to "+conn.RemoteAddr().String(), time.Since(began))
		conn.Close()
		silence := silenceOf(pingErr, took)
		p.add(CheckProtocol, Failing, silence, took)
		return p.dark(ctx, fmt.Sprintf("it takes the TCP connection to %s, and then there is no %s: %s", p.t.Address, p.t.model.Protocol, silence))
	case kind != devices.Unreachable:
		return err
	}
	why := words(err)
	if errors.Is(err, syscall.ECONNRESET) {
		why = "the connection is reset"
	}
	p.add(CheckConnect, Failing, why, time.Since(began))
	p.add(CheckProtocol, Skipped, "there is no connection", 0)
	return p.dark(ctx, fmt.Sprintf("TCP to %s: %s", p.t.Address, why))
}

// resolve returns no addresses, and no error, when the name does not exist.
func (p *probe) resolve(ctx context.Context) ([]netip.AddrPort, error) {
	began := time.Now()
	addrs, err := p.o.dialer.Resolve(ctx, p.ep)
	took := time.Since(began)
	switch {
	case err == nil && literal(p.t.Address):
		p.add(CheckName, Skipped, "the address is a literal", 0)
	case err == nil:
		p.add(CheckName, OK, "resolves to "+join(addrs), took)
	case devices.KindOf(err) == devices.Unreachable:
		p.add(CheckName, Failing, words(err), took)
		return nil, nil
	}
	return addrs, err
}

// dark decides between a dark device and a dark worker.
func (p *probe) dark(ctx context.Context, why string) error {
	// A caller that has given up would make the reference look dark as well.
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: probe: %w", p.t.ID, err)
	}
	region := p.o.fleet.Inventory.Regions[p.t.Region]
	if region.Reference == "" {
		p.add(CheckReference, Skipped, "region "+region.Name+" declares no reference, so a fault of the worker's own path would look the same", 0)
		p.out.Summary = fmt.Sprintf("%s does not answer: %s. Region %s declares no reference, so it is not known whether the path from here is up.", p.t.ID, why, region.Name)
		return nil
	}
	began := time.Now()
	err := p.o.connectReference(ctx, region)
	took := time.Since(began)
	switch kind := devices.KindOf(err); {
	case err == nil:
		p.add(CheckReference, OK, region.Reference+" takes connections", took)
		p.out.Summary = fmt.Sprintf("%s does not answer: %s. The reference of region %s answers, so the path from here is up.", p.t.ID, why, region.Name)
		return nil
	case kind == devices.Unreachable || kind == devices.OwnPath:
		return p.t.fail(devices.OwnPath, "probe", fmt.Errorf("it does not answer (%s), and neither does the reference %s of region %s (%s): the worker's own path is down, nothing can be said of the device; check the network of the worker", why, region.Reference, region.Name, words(err)))
	}
	return err
}

func (o *Operator) connectReference(ctx context.Context, region inventory.Region) error {
	ep := devices.Endpoint{DeviceID: "reference of " + region.Name, Address: region.Reference,
		Allowed: o.fleet.Inventory.Security.AllowedNetworks, ConnectTimeout: o.opts.ConnectTimeout}
	addrs, err := o.dialer.Resolve(ctx, ep)
	if err != nil {
		return err
	}
	conn, err := o.dialer.Connect(ctx, ep, addrs)
	if err != nil {
		return err
	}
	return conn.Close()
}

func (p *probe) add(c Check, r Result, detail string, took time.Duration) {
	p.out.Verdicts = append(p.out.Verdicts, Verdict{Check: c, Result: r, Detail: detail, Duration: took})
}

// cause is the error without the device and the operation, which the reader
// of a diagnosis knows.
func cause(err error) string {
	var e *devices.Error
	if errors.As(err, &e) {
		return e.Err.Error()
	}
	return err.Error()
}

// silenceOf says in words how a connection that was made came to nothing.
func silenceOf(err error, took time.Duration) string {
	var timed net.Error
	switch {
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "the connection is reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection is closed"
	case errors.As(err, &timed) && timed.Timeout():
		return fmt.Sprintf("no answer for %s", round(took))
	}
	return cause(err)
}

// words is the cause up to its first colon, behind which the dialer keeps the
// operating system's terms.
func words(err error) string {
	text, _, _ := strings.Cut(cause(err), ": ")
	return text
}

func literal(address string) bool {
	host, _, err := devices.SplitAddress(address)
	if err != nil {
		return false
	}
	_, err = netip.ParseAddr(host)
	return err == nil
}

func join(addrs []netip.AddrPort) string {
	out := make([]string, len(addrs))
	for i, a := range addrs {
		out[i] = a.Addr().String()
	}
	return strings.Join(out, ", ")
}

func round(d time.Duration) time.Duration {
	if d < 10*time.Millisecond {
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(time.Millisecond)
}
