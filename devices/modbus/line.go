package modbus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/semaphore"

	"edgefleet/devices"
	"edgefleet/devices/dial"
	"edgefleet/devices/pool"
)

// What holds when the endpoint states no ResponseTimeout, and for a device
// behind a serial gateway no Gap either: the bus is slow, and its other
// masters need room.
const (
	DefaultResponseTimeout       = 2 * time.Second
	DefaultSerialResponseTimeout = 5 * time.Second
	DefaultSerialGap             = 100 * time.Millisecond
)

// line is the physical link to one endpoint address.
type line struct {
	key  string
	pool *lines

	// transaction numbers the requests, over all connections.
	transaction atomic.Uint32

	// turn is held by the one who may use the fields below. It is first come,
	// first served.
	turn     *semaphore.Weighted
	conn     net.Conn
	idle     *time.Timer
	lastUsed time.Time
	// unsettled says that the last request got no answer, which may come yet.
	unsettled bool
	// failedAt and failure are the last connection attempt, when it failed.
	failedAt time.Time
	failure  *devices.Error

	// connected says, to those without the turn, that conn is not nil.
	connected atomic.Bool
}

// fault is why a request failed, before it is known what that means for the
// caller: the same fault is Unreachable for a read and Indeterminate for a
// write that was sent.
type fault struct {
	kind devices.Kind // "" says nothing about the device
	sent bool         // at least one byte may have reached the device
	err  error
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

// exchange sends the PDU of one request and returns that of its answer, which
// the framing has checked. Its error is a *fault.
func (l *line) exchange(ctx context.Context, ep *devices.Endpoint, pdu []byte, write bool) ([]byte, error) {
	if err := checkRequest(pdu); err != nil {
		return nil, &fault{kind: devices.Unsupported, err: err}
	}
	asked := time.Now()
	ctx, release := l.pool.Bind(ctx)
	defer release()
	if l.turn.Acquire(ctx, 1) != nil {
		return nil, &fault{err: fmt.Errorf("waiting for the line: %w", pool.End(ctx))}
	}
	defer l.release()
	if l.pool.Base().Err() != nil {
		return nil, &fault{err: ErrClosed}
	}
	answer, f := l.request(ctx, ep, pdu, write, asked)
	if f != nil {
		return nil, f
	}
	return answer, nil
}

// request makes the exchange; the caller has the turn.
func (l *line) request(ctx context.Context, ep *devices.Endpoint, pdu []byte, write bool, asked time.Time) ([]byte, *fault) {
	gap, _ := pace(ep)
	if err := pause(ctx, time.Until(l.lastUsed.Add(gap))); err != nil {
		return nil, &fault{err: fmt.Errorf("waiting for the gap between requests: %w", err)}
	}
	reused, f := l.ready(ctx, ep, asked)
	if f != nil {
		return nil, f
	}
	if !reused && l.unsettled && ep.Framing == devices.FramingRTU {
		if f := l.settle(ctx, gap); f != nil {
			return nil, f
		}
	}
	answer, f := l.talk(ctx, ep, pdu)
	if f == nil || write || !reused || !closedSilently(f) {
		return answer, f
	}
	// The device had closed the idle line, and the notice of it crossed with
	// the request. A read does no harm when it is made twice.
	if f := l.connect(ctx, ep); f != nil {
		return nil, f
	}
	return l.talk(ctx, ep, pdu)
}

// pace returns the gap between requests and the response time-out of an
// endpoint.
func pace(ep *devices.Endpoint) (gap, timeout time.Duration) {
	gap, timeout = ep.Gap, ep.ResponseTimeout
	serial := ep.SerialGateway || ep.Framing == devices.FramingRTU
	if gap == 0 && serial {
		gap = DefaultSerialGap
	}
	switch {
	case timeout > 0:
	case serial:
		timeout = DefaultSerialResponseTimeout
	default:
		timeout = DefaultResponseTimeout
	}
	return max(gap, 0), timeout
}

// settle waits for the gap on a fresh connection and refuses it when anything
// came in. A transparent gateway gives whatever the serial line says to whoever
// is connected, so the answer to a request that was given up can come on the
// next connection, and a serial frame has no transaction number to know it by.
func (l *line) settle(ctx context.Context, gap time.Duration) *fault {
	if err := pause(ctx, gap); err != nil {
		return &fault{err: fmt.Errorf("waiting for the line to be quiet: %w", err)}
	}
	if dial.Stale(l.conn) {
		l.drop()
		return &fault{kind: devices.Unreachable, err: errors.New("the line is not quiet: something came that nobody had asked for")}
	}
	return nil
}

// pause waits for a while, or until ctx ends.
func pause(ctx context.Context, wait time.Duration) error {
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return pool.End(ctx)
	}
}

// ready sees to it that there is a connection that ep may use. It is reused
// when it was open before.
func (l *line) ready(ctx context.Context, ep *devices.Endpoint, asked time.Time) (reused bool, f *fault) {
	if l.conn != nil {
		if !allowed(l.conn, ep) {
			return false, &fault{kind: devices.Auth, err: fmt.Errorf("%s is outside allowed_networks", l.conn.RemoteAddr())}
		}
		if !dial.Stale(l.conn) {
			return true, nil
		}
		l.drop()
	}
	if l.failure != nil && l.failedAt.After(asked) {
		return false, dialFault(l.failure)
	}
	return false, l.connect(ctx, ep)
}

func (l *line) connect(ctx context.Context, ep *devices.Endpoint) *fault {
	l.failure = nil
	if err := l.pool.TakeSlot(ctx); err != nil {
		return &fault{err: err}
	}
	conn, err := l.pool.dialer.Dial(ctx, *ep)
	if err != nil {
		l.pool.GiveSlot()
		var e *devices.Error
		if !errors.As(err, &e) {
			return &fault{err: fmt.Errorf("connecting: %w", pool.End(ctx))}
		}
		// What a caller may dial is its own affair; that nobody answered
		// holds for all who were waiting.
		if e.Kind == devices.Unreachable {
			l.failedAt, l.failure = time.Now(), e
		}
		return dialFault(e)
	}
	l.conn = conn
	l.connected.Store(true)
	if l.idle == nil {
		l.idle = time.AfterFunc(l.pool.idleClose, l.closeIdle)
	} else {
		l.idle.Reset(l.pool.idleClose)
	}
	return nil
}

func dialFault(e *devices.Error) *fault {
	return &fault{kind: e.Kind, err: fmt.Errorf("%s: %w", e.Op, e.Err)}
}

// talk sends the request and reads the answer, within the response time-out
// and ctx. After any fault there is no connection.
func (l *line) talk(ctx context.Context, ep *devices.Endpoint, pdu []byte) ([]byte, *fault) {
	conn, frames := l.conn, framingOf(ep.Framing)
	_, timeout := pace(ep)
	request := frames.wrap(uint16(l.transaction.Add(1)), ep.Unit, pdu)
	_ = conn.SetDeadline(time.Now().Add(timeout))
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })

	f := &fault{}
	var answer []byte
	err := ctx.Err()
	if err == nil {
		var n int
		n, err = conn.Write(request)
		f.sent = n > 0
	}
	if err == nil {
		answer, err = frames.readAnswer(conn, request)
	}
	unspoilt := stop()
	l.lastUsed = time.Now()
	l.unsettled = err != nil
	if err == nil {
		if !unspoilt {
			// The answer counts, but the end of ctx may still be about to
			// force the deadline, which must not hit the next request.
			l.drop()
		} else {
			l.idle.Reset(l.pool.idleClose)
		}
		return answer, nil
	}
	l.drop()
	f.kind, f.err = devices.Unreachable, err
	var bad *badAnswer
	switch {
	case errors.As(err, &bad):
		f.kind = bad.kind
	case ctx.Err() != nil:
		f.kind, f.err = "", fmt.Errorf("waiting for the answer: %w", pool.End(ctx))
	case errors.Is(err, os.ErrDeadlineExceeded):
		f.err = fmt.Errorf("within %v: %w", timeout, err)
	}
	return nil, f
}

// drop closes the connection, if there is one; the caller has the turn.
func (l *line) drop() {
	if l.conn == nil {
		return
	}
	_ = l.conn.Close()
	l.conn = nil
	l.connected.Store(false)
	l.idle.Stop()
	l.pool.GiveSlot()
}

// closeIdle is called by the idle timer. It queues for the turn like a request,
// so that it cannot miss a line that is in use just now.
func (l *line) closeIdle() {
	if l.turn.Acquire(l.pool.Base(), 1) != nil {
		return
	}
	// A request since the timer fired has set it again, after lastUsed.
	if time.Since(l.lastUsed) >= l.pool.idleClose {
		l.drop()
	}
	l.release()
	l.pool.Forget(l.key)
}

// Connected says whether there is a connection.
func (l *line) Connected() bool { return l.connected.Load() }

// Yield closes a connection that nobody is using.
func (l *line) Yield() bool {
	if !l.turn.TryAcquire(1) {
		return false
	}
	defer l.turn.Release(1)
	found := l.conn != nil
	l.drop()
	return found
}

// Shut closes the connection. Every holder of the turn gives it up at once,
// because the driver is closing.
func (l *line) Shut() {
	_ = l.turn.Acquire(context.Background(), 1)
	defer l.turn.Release(1)
	l.drop()
}

// release gives up the turn, and after it the connection when another line
// waits for one and nobody has taken the turn since.
func (l *line) release() {
	l.turn.Release(1)
	if l.pool.Wanted() && l.turn.TryAcquire(1) {
		l.drop()
		l.turn.Release(1)
	}
}

// allowed says whether the open connection leads where ep may go: another
// caller with other allowed_networks may have opened it.
func allowed(conn net.Conn, ep *devices.Endpoint) bool {
	remote, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	return err == nil && devices.Allowed(remote.Addr(), ep.Allowed)
}

// closedSilently says that the peer closed the connection before it answered
// a single byte.
func closedSilently(f *fault) bool {
	var c *cut
	if errors.As(f.err, &c) && c.got > 0 || f.kind != devices.Unreachable {
		return false
	}
	for _, sign := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(f.err, sign) {
			return true
		}
	}
	return false
}
