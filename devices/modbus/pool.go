package modbus

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"edgefleet/devices/dial"
)

// ErrClosed is in the chain of the error of every call on a link or a driver
// that was closed. It has no kind: it says nothing about the device.
var ErrClosed = errors.New("the link or the driver was closed")

// pool holds the lines, one for each endpoint address, and bounds how many of
// them are connected.
type pool struct {
	dialer    dial.Dialer
	idleClose time.Duration
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

func newPool(dialer dial.Dialer, maxConnections int, idleClose time.Duration) *pool {
	p := &pool{
		dialer:    dialer,
		idleClose: idleClose,
		slots:     semaphore.NewWeighted(int64(maxConnections)),
		lines:     map[string]*line{},
	}
	p.base, p.close = context.WithCancelCause(context.Background())
	return p
}

// get returns the line of an address, with one more reference to it.
func (p *pool) get(address string) (*line, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	key := lineKey(address)
	l := p.lines[key]
	if l == nil {
		l = &line{key: key, pool: p, turn: semaphore.NewWeighted(1)}
		p.lines[key] = l
	}
	l.refs++
	return l, nil
}

// put gives back a reference. A line without references goes when it has no
// connection either; one that is connected waits for its idle time-out, so
// that the next caller finds it warm.
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

// takeSlot waits for leave to open a connection; the caller has the turn of its
// line. The slot goes back with line.drop.
func (p *pool) takeSlot(ctx context.Context) error {
	if p.slots.TryAcquire(1) {
		return nil
	}
	// A line that becomes idle looks at wanting after it has given up its
	// turn, so one that dropIdle finds in use gives up its connection by itself.
	p.wanting.Add(1)
	defer p.wanting.Add(-1)
	p.dropIdle()
	return p.slots.Acquire(ctx, 1)
}

// dropIdle closes one connection that nobody is using.
func (p *pool) dropIdle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.lines {
		if !l.turn.TryAcquire(1) {
			continue
		}
		found := l.conn != nil
		l.drop()
		l.turn.Release(1)
		if found {
			p.forget(l)
			return
		}
	}
}

// shut ends all requests, closes all connections and waits for both.
func (p *pool) shut() {
	p.mu.Lock()
	p.closed = true
	lines := make([]*line, 0, len(p.lines))
	for _, l := range p.lines {
		lines = append(lines, l)
	}
	p.mu.Unlock()
	p.close(ErrClosed)
	for _, l := range lines {
		// Every holder of the turn gives it up at once, because base ended.
		_ = l.turn.Acquire(context.Background(), 1)
		l.drop()
		l.turn.Release(1)
	}
}

// lineKey makes addresses that differ in case or in the writing of an IP
// address one.
func lineKey(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return net.JoinHostPort(strings.TrimSuffix(strings.ToLower(host), "."), port)
}
