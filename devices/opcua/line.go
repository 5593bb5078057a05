package opcua

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"edgefleet/devices"
	"edgefleet/devices/dial"
	"edgefleet/devices/pool"
)

// leaveWithin bounds the orderly end of a session.
const leaveWithin = time.Second

// line is the one session with an endpoint under an identity.
type line struct {
	key  string
	pool *lines
	sec  *security

	// turn is held by the one who may use the fields below. It is first come,
	// first served.
	turn     *semaphore.Weighted
	session  *session
	known    *target // how the endpoint was reached last time
	idle     *time.Timer
	lastUsed time.Time
	// failedAt and failure are the last connection attempt, when it failed.
	failedAt time.Time
	failure  *fault

	// connected says, to those without the turn, that there is a session.
	connected atomic.Bool
}

// call is one operation under way.
type call struct {
	*session
	ctx     context.Context
	timeout time.Duration
}

// do runs an operation on a session, which it opens when there is none. On a
// session that stood already, the operation may be run a second time, in a
// fresh session, and goes on from where it was: when the server says that it
// has forgotten the session, and so has not done the request, or when a read
// finds the idle connection closed.
func (l *line) do(ctx context.Context, ep *devices.Endpoint, write bool, operation func(c call) *fault) *fault {
	asked := time.Now()
	ctx, release := l.pool.Bind(ctx)
	defer release()
	if l.turn.Acquire(ctx, 1) != nil {
		return &fault{err: fmt.Errorf("waiting for the session: %w", pool.End(ctx))}
	}
	defer l.release()
	if l.pool.Base().Err() != nil {
		return &fault{err: ErrClosed}
	}
	if err := l.pause(ctx, ep.Gap); err != nil {
		return &fault{err: fmt.Errorf("waiting for the gap between requests: %w", err)}
	}
	reused, f := l.ready(ctx, ep, asked)
	if f != nil {
		return f
	}
	f = l.run(ctx, ep, operation)
	if f == nil || !reused {
		return f
	}
	forgotten := lost(f.status) && !f.sent
	closed := !write && l.session == nil && cutSilently(f.err)
	if !forgotten && !closed {
		return f
	}
	l.drop()
	if f := l.connect(ctx, ep); f != nil {
		return f
	}
	return l.run(ctx, ep, operation)
}

// run lets nothing that a server can say end more than this operation.
func (l *line) run(ctx context.Context, ep *devices.Endpoint, operation func(c call) *fault) (f *fault) {
	defer func() {
		if p := recover(); p != nil {
			l.session.dead = true
			f = &fault{kind: devices.Rejected, sent: true, err: fmt.Errorf("the answer broke the driver: %v\n%s", p, debug.Stack())}
		}
		l.lastUsed = time.Now()
		if l.session.dead {
			l.drop()
			return
		}
		l.idle.Reset(l.pool.options.IdleClose)
	}()
	return operation(call{l.session, ctx, responseTimeout(ep)})
}

// pause waits until gap has passed since the last use of the line.
func (l *line) pause(ctx context.Context, gap time.Duration) error {
	wait := time.Until(l.lastUsed.Add(gap))
	if gap <= 0 || wait <= 0 {
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

// ready sees to it that there is a session that ep may use. It is reused when
// it was open before.
func (l *line) ready(ctx context.Context, ep *devices.Endpoint, asked time.Time) (reused bool, f *fault) {
	if s := l.session; s != nil {
		remote, err := netip.ParseAddrPort(s.conn.RemoteAddr().String())
		if err != nil || !devices.Allowed(remote.Addr(), ep.Allowed) {
			return false, &fault{kind: devices.Auth, err: fmt.Errorf("%s is outside allowed_networks", s.conn.RemoteAddr())}
		}
		switch {
		case dial.Stale(s.conn):
			l.drop()
		case time.Now().After(s.replaceAt):
			l.leave()
		default:
			return true, nil
		}
	}
	if l.failure != nil && l.failedAt.After(asked) {
		return false, l.failure
	}
	return false, l.connect(ctx, ep)
}

func (l *line) connect(ctx context.Context, ep *devices.Endpoint) *fault {
	l.failure = nil
	if err := l.pool.TakeSlot(ctx); err != nil {
		return &fault{err: err}
	}
	s, f := l.establish(ctx, ep)
	if f != nil {
		l.pool.GiveSlot()
		// Nothing that a caller wants has been sent yet.
		f.sent = false
		// What a caller may dial is its own affair; that nobody answered
		// holds for all who were waiting.
		if f.kind == devices.Unreachable {
			l.failedAt, l.failure = time.Now(), f
		}
		return f
	}
	l.session = s
	l.connected.Store(true)
	if l.idle == nil {
		l.idle = time.AfterFunc(l.pool.options.IdleClose, l.closeIdle)
	} else {
		l.idle.Reset(l.pool.options.IdleClose)
	}
	return nil
}

// dialFault keeps what the dialer says.
func dialFault(ctx context.Context, err error) *fault {
	var e *devices.Error
	if !errors.As(err, &e) {
		return &fault{err: fmt.Errorf("connecting: %w", pool.End(ctx))}
	}
	return &fault{kind: e.Kind, err: fmt.Errorf("%s: %w", e.Op, e.Err)}
}

// leave ends the session in order, drop without a word; the caller has the
// turn.
func (l *line) leave() {
	if l.session != nil && !dial.Stale(l.session.conn) {
		l.session.leave(leaveWithin)
	}
	l.drop()
}

func (l *line) drop() {
	if l.session == nil {
		return
	}
	_ = l.session.conn.Close()
	l.session = nil
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
	if time.Since(l.lastUsed) >= l.pool.options.IdleClose {
		l.leave()
	}
	l.release()
	l.pool.Forget(l.key)
}

// Connected says whether there is a session.
func (l *line) Connected() bool { return l.connected.Load() }

// Yield ends, in order, a session that nobody is using.
func (l *line) Yield() bool {
	if !l.turn.TryAcquire(1) {
		return false
	}
	defer l.turn.Release(1)
	found := l.session != nil
	l.leave()
	return found
}

// Shut ends the session in order. Every holder of the turn gives it up at once,
// because the driver is closing.
func (l *line) Shut() {
	_ = l.turn.Acquire(context.Background(), 1)
	defer l.turn.Release(1)
	l.leave()
}

// release gives up the turn, and after it the session when another line waits
// for a connection and nobody has taken the turn since.
func (l *line) release() {
	l.turn.Release(1)
	if l.pool.Wanted() && l.turn.TryAcquire(1) {
		l.leave()
		l.turn.Release(1)
	}
}
