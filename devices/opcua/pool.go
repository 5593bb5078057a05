package opcua

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// ErrClosed is in the chain of the error of every call on a link or a driver
// that was closed. It has no kind: it says nothing about the device.
var ErrClosed = errors.New("the link or the driver was closed")

// pool holds the lines, one for each endpoint address and identity, and bounds
// how many of them are connected.
type pool struct {
	options Options
	// base ends, with cause ErrClosed, when the driver is closed.
	base  context.Context
	close context.CancelCauseFunc

	// slots has one unit for each connection that may be open; wanting counts
	// the lines that wait for one.
	slots   *semaphore.Weighted
	wanting atomic.Int32

	mu     sync.Mutex
	closed bool
	lines  map[string]*line
}

func newPool(o Options) *pool {
	p := &pool{options: o, slots: semaphore.NewWeighted(int64(o.MaxConnections)), lines: map[string]*line{}}
	p.base, p.close = context.WithCancelCause(context.Background())
	return p
}

// get returns the line of an address and identity, with one more reference.
func (p *pool) get(address string, sec *security) (*line, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	key := lineKey(address, sec)
	l := p.lines[key]
	if l == nil {
		l = &line{key: key, pool: p, sec: sec, turn: semaphore.NewWeighted(1)}
		p.lines[key] = l
	}
	l.refs++
	return l, nil
}

// put gives back a reference. A line without references goes when it has no
// session either; one that is connected waits for its idle time-out, so that
// the next caller finds it warm.
func (p *pool) put(l *line) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l.refs--
	p.forget(l)
}

// forget removes a line that nobody refers to and that is not connected. It
// needs p.mu. Without references nobody connects the line, so it cannot come
// to life in between.
func (p *pool) forget(l *line) {
	if l.refs == 0 && !l.connected.Load() && p.lines[l.key] == l {
		delete(p.lines, l.key)
	}
}

// bind returns a context that ends with ctx or with the driver.
func (p *pool) bind(ctx context.Context) (bound context.Context, release func()) {
	bound, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(p.base, func() { cancel(ErrClosed) })
	return bound, func() {
		stop()
		cancel(nil)
	}
}

// takeSlot waits for leave to open a connection. The slot goes back when the
// connection is closed.
func (p *pool) takeSlot(ctx context.Context) error {
	if p.slots.TryAcquire(1) {
		return nil
	}
	// A line that becomes idle looks at wanting after it has given up its
	// turn, so one that dropIdle finds in use gives up its session by itself.
	p.wanting.Add(1)
	defer p.wanting.Add(-1)
	p.dropIdle()
	if p.slots.Acquire(ctx, 1) != nil {
		return fmt.Errorf("waiting for one of the other sessions to close: %w", end(ctx))
	}
	return nil
}

// dropIdle closes one session that nobody is using.
func (p *pool) dropIdle() {
	for _, l := range p.all() {
		if !l.turn.TryAcquire(1) {
			continue
		}
		found := l.session != nil
		l.leave()
		l.turn.Release(1)
		p.mu.Lock()
		p.forget(l)
		p.mu.Unlock()
		if found {
			return
		}
	}
}

func (p *pool) all() []*line {
	p.mu.Lock()
	defer p.mu.Unlock()
	lines := make([]*line, 0, len(p.lines))
	for _, l := range p.lines {
		lines = append(lines, l)
	}
	return lines
}

// shut ends all requests, closes all sessions and waits for both. The sessions
// are closed side by side, because each may take a moment.
func (p *pool) shut() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.close(ErrClosed)
	var left sync.WaitGroup
	for _, l := range p.all() {
		left.Go(func() {
			// Every holder of the turn gives it up at once, because base ended.
			_ = l.turn.Acquire(context.Background(), 1)
			l.leave()
			l.turn.Release(1)
		})
	}
	left.Wait()
}

// lineKey makes one of addresses that differ in case or in the writing of an
// IP address, and keeps identities apart. It holds no secret in the clear.
func lineKey(address string, sec *security) string {
	h := sha256.New()
	add := func(parts ...string) {
		for _, part := range parts {
			_, _ = fmt.Fprintf(h, "%d:%s,", len(part), part)
		}
	}
	if host, port, err := net.SplitHostPort(address); err == nil {
		address = net.JoinHostPort(strings.TrimSuffix(strings.ToLower(host), "."), port)
	}
	add(address, sec.policy, sec.Mode, fmt.Sprintf("%x", sec.pins), sec.ApplicationURI, sec.User, sec.Password, fmt.Sprint(sec.AllowPlaintext))
	if sec.ClientCert != nil {
		add("client", string(sec.ClientCert.Raw))
	}
	if sec.UserCert != nil {
		add("user", string(sec.UserCert.Raw))
	}
	return string(h.Sum(nil))
}
