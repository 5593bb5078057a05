package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"edgefleet/devices"
)

// DefaultTimeout bounds each stage when the endpoint states no ConnectTimeout.
const DefaultTimeout = 3 * time.Second

// Resolver looks up names; *net.Resolver is one.
type Resolver interface {
	// LookupNetIP returns the addresses of host; network is "ip".
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Dialer opens connections to endpoints. The zero value is ready to use.
type Dialer struct {
	// Resolver is net.DefaultResolver when it is nil.
	Resolver Resolver
}

// Dial resolves ep's name and connects to the first allowed address that
// takes the connection. Each stage is bounded by ep.ConnectTimeout (0: 3 s).
func (d Dialer) Dial(ctx context.Context, ep devices.Endpoint) (net.Conn, error) {
	addrs, err := d.Resolve(ctx, ep)
	if err != nil {
		return nil, err
	}
	return d.Connect(ctx, ep, addrs)
}

// Resolve returns the addresses of ep that may be dialled, in the resolver's
// order: there is at least one when err is nil. An address literal takes no
// look-up. When the name resolves and none of its addresses is inside
// ep.Allowed, the error has kind Auth and names them.
func (d Dialer) Resolve(ctx context.Context, ep devices.Endpoint) ([]netip.AddrPort, error) {
	host, port, err := devices.SplitAddress(ep.Address)
	if err != nil {
		return nil, fail(ep, devices.Unsupported, "read the address", err)
	}
	addrs, err := d.lookup(ctx, ep, host)
	if err != nil {
		return nil, err
	}
	var good []netip.AddrPort
	var bad []string
	for _, a := range addrs {
		a = a.Unmap()
		ap := netip.AddrPortFrom(a, port)
		switch {
		case !devices.Allowed(a, ep.Allowed):
			bad = append(bad, a.String())
		case !slices.Contains(good, ap):
			good = append(good, ap)
		}
	}
	if len(good) == 0 {
		return nil, refuse(ep, strings.Join(bad, ", "))
	}
	return good, nil
}

// Connect opens a TCP connection to the first of addrs that takes it. The time
// that is left is shared out evenly, so that one silent address does not use
// up the turn of the next. No address outside ep.Allowed is dialled.
func (d Dialer) Connect(ctx context.Context, ep devices.Endpoint, addrs []netip.AddrPort) (net.Conn, error) {
	bounded, cancel := context.WithTimeout(ctx, timeout(ep))
	defer cancel()
	deadline, _ := bounded.Deadline()
	var last error
	for i, a := range addrs {
		if !devices.Allowed(a.Addr(), ep.Allowed) {
			if last == nil {
				last = refuse(ep, a.Addr().String())
			}
			continue
		}
		share := time.Until(deadline) / time.Duration(len(addrs)-i)
		conn, err := connect(bounded, a, share)
		if err == nil {
			return conn, nil
		}
		op := "tcp connect to " + a.String()
		if end := callersEnd(ctx); end != nil {
			return nil, ended(ep, op, end)
		}
		last = fail(ep, connectKind(err), op, describe(err, share))
	}
	if last == nil {
		last = fail(ep, devices.Unreachable, "tcp connect to "+ep.Address, errors.New("the name has no address"))
	}
	return nil, last
}

func connect(ctx context.Context, a netip.AddrPort, share time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, share)
	defer cancel()
	var d net.Dialer
	return d.DialContext(ctx, "tcp", a.String())
}

func (d Dialer) lookup(ctx context.Context, ep devices.Endpoint, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	var resolver Resolver = net.DefaultResolver
	if d.Resolver != nil {
		resolver = d.Resolver
	}
	bounded, cancel := context.WithTimeout(ctx, timeout(ep))
	defer cancel()
	op := "name resolution of " + host
	addrs, err := resolver.LookupNetIP(bounded, "ip", host)
	var dns *net.DNSError
	end := callersEnd(ctx)
	switch {
	case err == nil && len(addrs) > 0:
		return addrs, nil
	case end != nil:
		return nil, ended(ep, op, end)
	case err == nil:
		return nil, fail(ep, devices.Unreachable, op, errors.New("the name has no address"))
	case errors.As(err, &dns) && dns.IsNotFound:
		return nil, fail(ep, devices.Unreachable, op, fmt.Errorf("the name does not exist: %w", err))
	case bounded.Err() != nil:
		return nil, fail(ep, devices.OwnPath, op, fmt.Errorf("the name server gave no answer within %v: %w", timeout(ep), err))
	}
	return nil, fail(ep, devices.OwnPath, op, fmt.Errorf("the name server could not answer: %w", err))
}

func timeout(ep devices.Endpoint) time.Duration {
	if ep.ConnectTimeout > 0 {
		return ep.ConnectTimeout
	}
	return DefaultTimeout
}

func fail(ep devices.Endpoint, kind devices.Kind, op string, err error) *devices.Error {
	return &devices.Error{Kind: kind, Device: name(ep), Op: op, Err: err}
}

func refuse(ep devices.Endpoint, addrs string) *devices.Error {
	if len(ep.Allowed) == 0 {
		return fail(ep, devices.Auth, "dial "+ep.Address, fmt.Errorf("%s is not allowed: allowed_networks is empty", addrs))
	}
	return fail(ep, devices.Auth, "dial "+ep.Address, fmt.Errorf("%s is outside allowed_networks", addrs))
}

func ended(ep devices.Endpoint, op string, end error) error {
	return fmt.Errorf("%s: %s: %w", name(ep), op, end)
}

// callersEnd is ctx.Err(), and also says so when ctx's deadline has passed and
// its timer has yet to fire: the network poller can be the faster of the two.
func callersEnd(ctx context.Context) error {
	if d, ok := ctx.Deadline(); ok && !time.Now().Before(d) {
		return context.DeadlineExceeded
	}
	return ctx.Err()
}

func name(ep devices.Endpoint) string {
	if ep.DeviceID != "" {
		return ep.DeviceID
	}
	return ep.Address
}

// connectKind tells what is wrong with the worker's own machine from what is
// wrong with the way to the device.
func connectKind(err error) devices.Kind {
	for _, own := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL} {
		if errors.Is(err, own) {
			return devices.OwnPath
		}
	}
	return devices.Unreachable
}

func describe(err error, share time.Duration) error {
	var words string
	var timed net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		words = "the connection was refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		words = "there is no route"
	case connectKind(err) == devices.OwnPath:
		words = "the worker has no socket left"
	case errors.As(err, &timed) && timed.Timeout():
		words = fmt.Sprintf("no answer within %v", share.Round(time.Millisecond))
	default:
		return fmt.Errorf("the connection failed: %w", err)
	}
	return worded{words, err}
}

// worded says in words what a system error means. The system's own text would
// only repeat it, with the address once more; it stays in the chain.
type worded struct {
	words string
	cause error
}

func (w worded) Error() string { return w.words }
func (w worded) Unwrap() error { return w.cause }
