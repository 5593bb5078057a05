package opcua

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/gopcua/opcua/ua"

	"edgefleet/devices"
	"edgefleet/devices/pool"
)

// target is what a look at the server found to be the enrolled endpoint.
type target struct {
	path   string
	cert   *x509.Certificate
	tokens []tokenPolicy
}

// establish opens a session as it was enrolled. The endpoint that was found
// last time is tried first; when it no longer answers as it did, the server is
// looked at anew.
func (l *line) establish(ctx context.Context, ep *devices.Endpoint) (s *session, f *fault) {
	defer func() {
		if p := recover(); p != nil {
			s, f = nil, &fault{kind: devices.Rejected, err: fmt.Errorf("the answer broke the driver: %v\n%s", p, debug.Stack())}
		}
	}()
	if l.sec.mode == ua.MessageSecurityModeNone {
		s, f, _ := l.log(ctx, ep, &target{})
		return s, f
	}
	if known := l.known; known != nil {
		l.known = nil
		// It was right when it was found; its time may have run out since.
		if l.sec.checkCertificate(known.cert, certificateURI(known.cert), l.pool.options.Now()) == nil {
			s, f, got := l.log(ctx, ep, known)
			switch {
			case f == nil || got == nowhere:
				l.known = known
				return s, f
			case got == loggingIn || f.kind == "" || errors.Is(f.err, os.ErrDeadlineExceeded):
				// A login is not tried twice: accounts are locked for that.
				return nil, f
			}
		}
	}
	offers, f := look(ctx, l.pool, ep)
	if f != nil {
		return nil, f
	}
	o, cert, err := l.sec.choose(offers, l.pool.options.Now())
	if err != nil {
		return nil, explain(err, false)
	}
	found := &target{path: endpointPath(o.url), cert: cert, tokens: o.tokens}
	if s, f, _ = l.log(ctx, ep, found); f == nil {
		l.known = found
	}
	return s, f
}

// certificateURI is the application that a certificate is for.
func certificateURI(cert *x509.Certificate) string {
	if uris := certificateURIs(cert); len(uris) > 0 {
		return uris[0]
	}
	return ""
}

// progress is how far the opening of a session got.
type progress int

const (
	nowhere   progress = iota // there is no connection
	opening                   // the channel did not open
	loggingIn                 // the channel is open
)

// log connects to the target and logs in.
func (l *line) log(ctx context.Context, ep *devices.Endpoint, t *target) (s *session, f *fault, got progress) {
	url := endpointURL(ep.Address, t.path)
	c := &channel{policy: l.sec.policy, mode: l.sec.mode, cert: l.sec.ClientCert, key: l.sec.ClientKey, server: t.cert}
	if !c.secure() {
		c.cert, c.key = nil, nil
	}
	if f := c.connect(ctx, l.pool, ep, url); f != nil {
		if c.conn == nil {
			return nil, f, nowhere
		}
		return nil, f, opening
	}
	f = &fault{kind: devices.Rejected, err: errors.New("the answer broke the driver")}
	// Also when something panics, the connection does not stay behind.
	defer func() {
		if f != nil {
			_ = c.conn.Close()
		}
	}()
	s, f = newSession(ctx, c, l.sec, url, t.tokens, openingTimeout(ep))
	if f == nil && s.dead {
		// ctx ended just when the last answer had come.
		s, f = nil, &fault{err: pool.End(ctx)}
	}
	return s, f, loggingIn
}

// connect dials, greets and opens the channel; the connection is closed when
// that fails.
func (c *channel) connect(ctx context.Context, p *lines, ep *devices.Endpoint, url string) (f *fault) {
	conn, err := p.options.Dialer.Dial(ctx, *ep)
	if err != nil {
		return dialFault(ctx, err)
	}
	c.conn = conn
	done := false
	defer func() {
		if !done {
			_ = conn.Close()
		}
	}()
	timeout := openingTimeout(ep)
	if f := c.within(ctx, timeout, func() error { return c.hello(url) }); f != nil {
		return f
	}
	if f := c.within(ctx, timeout, c.open); f != nil {
		return f
	}
	done = true
	return nil
}

// look asks the server for its endpoints, over a channel without security:
// what it finds proves nothing.
func look(ctx context.Context, p *lines, ep *devices.Endpoint) ([]offer, *fault) {
	url := endpointURL(ep.Address, "")
	c := &channel{policy: ua.SecurityPolicyURINone, mode: ua.MessageSecurityModeNone}
	if f := c.connect(ctx, p, ep, url); f != nil {
		return nil, f
	}
	defer func() { _ = c.conn.Close() }()
	var offers []offer
	f := c.within(ctx, openingTimeout(ep), func() error {
		r, err := c.exchange(&ua.GetEndpointsRequest{EndpointURL: url}, ua.NewTwoByteNodeID(0), openingTimeout(ep))
		if err != nil {
			return err
		}
		offers = r.offers()
		return r.err
	})
	if f != nil {
		return nil, f
	}
	c.closeChannel(100 * time.Millisecond)
	return offers, nil
}
