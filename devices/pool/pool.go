package pool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

// ErrClosed is in the chain of the error of every call on a link or a driver
// that was closed. It has no kind: it says nothing about the device.
var ErrClosed = errors.New("the link or the driver was closed")

// Line is a driver's way to one endpoint. Its methods are safe for concurrent
// use, and call no method of the pool but GiveSlot.
type Line interface {
	// Connected says whether there is a connection that a call would use.
	Connected() bool
	// Yield closes the connection, if there is one that nobody is using, and
	// says whether it did.
	Yield() bool
	// Shut closes the connection as soon as nobody uses it any more. It is
	// called when the base of the pool has ended.
	Shut()
}

// Pool holds the lines of one driver. It is safe for concurrent use.
type Pool[L Line] struct {
	// base ends, with cause ErrClosed, when the pool is shut.
	base  context.Context
	close context.CancelCauseFunc

	// slots has one unit for each connection that may be open; wanting counts
	// the lines that wait for one.
	slots   *semaphore.Weighted
	wanting atomic.Int32

	mu      sync.Mutex
	closed  bool
	entries map[string]*entry[L]
}

type entry[L Line] struct {
	key  string
	line L
	// guarded by Pool.mu
	refs int
	used time.Time
}

// New returns a pool that bounds the connections that are open at a time. It
// has to be shut.
func New[L Line](maxConnections int) *Pool[L] {
	p := &Pool[L]{slots: semaphore.NewWeighted(int64(maxConnections)), entries: map[string]*entry[L]{}}
	p.base, p.close = context.WithCancelCause(context.Background())
	return p
}

// Base ends when the pool is shut; its cause is then ErrClosed.
func (p *Pool[L]) Base() context.Context { return p.base }

// Bind returns a context that ends with ctx or with the pool; End says which.
func (p *Pool[L]) Bind(ctx context.Context) (bound context.Context, release func()) {
	bound, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(p.base, func() { cancel(ErrClosed) })
	return bound, func() {
		stop()
		cancel(nil)
	}
}

// End says why a bound context ended: ErrClosed, or ctx.Err().
func End(ctx context.Context) error {
	if cause := context.Cause(ctx); errors.Is(cause, ErrClosed) {
		return cause
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// The deadline has passed, and the timer that says so is about to fire.
	return context.DeadlineExceeded
}

// TakeSlot waits for leave to open a connection, within a bound context; a pool
// that is shut gives none. The slot goes back with GiveSlot, when the connection
// is closed.
func (p *Pool[L]) TakeSlot(ctx context.Context) error {
	if err := p.waitForSlot(ctx); err != nil {
		return fmt.Errorf("waiting for one of the other connections to close: %w", err)
	}
	// The end of the pool frees slots, and one of these may come before it.
	if p.base.Err() != nil {
		p.GiveSlot()
		return ErrClosed
	}
	return nil
}

func (p *Pool[L]) waitForSlot(ctx context.Context) error {
	if p.slots.TryAcquire(1) {
		return nil
	}
	// A line that comes to rest looks at Wanted after it has, so one that
	// makeRoom finds in use gives up its connection by itself.
	p.wanting.Add(1)
	defer p.wanting.Add(-1)
	p.makeRoom()
	if p.slots.Acquire(ctx, 1) != nil {
		return End(ctx)
	}
	return nil
}

// GiveSlot gives a slot back.
func (p *Pool[L]) GiveSlot() { p.slots.Release(1) }

// Wanted says whether somebody waits for a slot: a line that comes to rest then
// gives up its connection.
func (p *Pool[L]) Wanted() bool { return p.wanting.Load() > 0 }

// makeRoom closes the connection that nobody has used for longest.
func (p *Pool[L]) makeRoom() {
	type candidate struct {
		entry *entry[L]
		used  time.Time
	}
	longest := func(a, b candidate) int {
		return cmp.Or(a.used.Compare(b.used), strings.Compare(a.entry.key, b.entry.key))
	}
	yields := func(c candidate) bool {
		if !c.entry.line.Yield() {
			return false
		}
		p.Forget(c.entry.key)
		return true
	}
	p.mu.Lock()
	all := make([]candidate, 0, len(p.entries))
	var idle *candidate
	for _, e := range p.entries {
		c := candidate{e, e.used}
		all = append(all, c)
		if e.refs == 0 && (idle == nil || longest(c, *idle) < 0) {
			idle = &c
		}
	}
	p.mu.Unlock()
	// Of those that no link holds it is nearly always the first one that yields,
	// and nothing has to be sorted.
	if idle != nil && yields(*idle) {
		return
	}
	slices.SortFunc(all, longest)
	_ = slices.ContainsFunc(all, yields)
}

// Forget removes the line of a key when nobody refers to it and it is not
// connected. A driver calls it when a connection has ended by itself. Without
// references nobody connects a line, so it cannot come to life in between.
func (p *Pool[L]) Forget(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.entries[key]; e != nil {
		p.forget(e)
	}
}

// forget needs p.mu.
func (p *Pool[L]) forget(e *entry[L]) {
	if e.refs == 0 && !e.line.Connected() && p.entries[e.key] == e {
		delete(p.entries, e.key)
	}
}

// Lines returns the lines that there are, in no order.
func (p *Pool[L]) Lines() []L {
	p.mu.Lock()
	defer p.mu.Unlock()
	lines := make([]L, 0, len(p.entries))
	for _, e := range p.entries {
		lines = append(lines, e.line)
	}
	return lines
}

// Shut ends all calls and closes all connections, side by side, and waits for
// both. It may be called again.
func (p *Pool[L]) Shut() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.close(ErrClosed)
	var left sync.WaitGroup
	for _, l := range p.Lines() {
		left.Go(l.Shut)
	}
	left.Wait()
}

// Open returns a hold on the line of a key, which fresh makes when there is
// none. The hold has to be closed. A pool that was shut fails with ErrClosed.
func (p *Pool[L]) Open(key string, fresh func() L) (*Hold[L], error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	e := p.entries[key]
	if e == nil {
		e = &entry[L]{key: key, line: fresh()}
		p.entries[key] = e
	}
	e.refs++
	return &Hold[L]{Line: e.line, pool: p, entry: e}, nil
}

// Hold is one link's hold on a line.
type Hold[L Line] struct {
	Line L

	pool   *Pool[L]
	entry  *entry[L]
	closed bool // guarded by pool.mu
}

// Begin keeps the line for a call until end is called, also when the hold is
// closed meanwhile. It fails with ErrClosed when the hold or the pool is closed.
func (h *Hold[L]) Begin() (end func(), err error) {
	h.pool.mu.Lock()
	defer h.pool.mu.Unlock()
	if h.closed || h.pool.closed {
		return nil, ErrClosed
	}
	h.entry.refs++
	return h.give, nil
}

// Close gives the hold back; calls that have begun end as they would have. A
// line that is connected stays for its next caller. It may be called again.
func (h *Hold[L]) Close() {
	h.pool.mu.Lock()
	wasOpen := !h.closed
	h.closed = true
	h.pool.mu.Unlock()
	if wasOpen {
		h.give()
	}
}

func (h *Hold[L]) give() {
	h.pool.mu.Lock()
	defer h.pool.mu.Unlock()
	h.entry.refs--
	h.entry.used = time.Now()
	h.pool.forget(h.entry)
}

// AddressKey makes one of addresses that differ in case, in a final dot of the
// host's name, or in the brackets of an IPv6 address.
func AddressKey(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return net.JoinHostPort(strings.TrimSuffix(strings.ToLower(host), "."), port)
}
