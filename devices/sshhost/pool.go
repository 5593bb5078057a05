package sshhost

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/semaphore"

	"edgefleet/devices"
	"edgefleet/devices/pool"
)

// ErrClosed is in the chain of the error of every call on a link or a driver
// that was closed. It has no kind: it says nothing about the device.
var ErrClosed = pool.ErrClosed

// maxSessions bounds the reads on one connection at a time. A write takes at
// most three sessions besides; an SSH server allows ten by default.
const maxSessions = 4

// fault is why a request failed, before it is known what that means for the
// caller.
type fault struct {
	kind    devices.Kind // "" says nothing about the device
	lost    bool         // the connection or the answer was lost
	refused bool         // a host with the right key refused the log-in
	err     error
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

// lines holds one line for each endpoint, user and key.
type lines struct {
	*pool.Pool[*line]
	opts Options
	// background counts the goroutines that a closing driver waits for; it
	// counts no more of them once the driver waits.
	background sync.WaitGroup
	waiting    bool
	counting   sync.Mutex

	// mu guards the connections of all lines. It is the inner one: whoever
	// holds it calls nothing of the Pool that locks.
	mu    sync.Mutex
	conns map[*conn]struct{}
}

func newLines(o Options) *lines {
	return &lines{Pool: pool.New[*line](o.MaxConnections), opts: o, conns: map[*conn]struct{}{}}
}

// line is the way to one endpoint with one key. It has one connection, which
// is dialled when it is first needed; one that is being given up can end its
// last calls beside it.
type line struct {
	key  string
	pool *lines
	// turn is held while the connection is made; writing by the one write.
	turn, writing *semaphore.Weighted
	sessions      *semaphore.Weighted
	// execs counts the commands and file sessions, for tests of their number.
	execs atomic.Int64

	// guarded by pool.mu
	conn     *conn
	failedAt time.Time
	failure  *fault
}

// get returns a hold on the line of an endpoint.
func (p *lines) get(ep devices.Endpoint, signer ssh.Signer) (*pool.Hold[*line], error) {
	key := strings.Join([]string{pool.AddressKey(ep.Address), ep.SSH.User, ssh.FingerprintSHA256(signer.PublicKey())}, " ")
	return p.Open(key, func() *line {
		return &line{key: key, pool: p, turn: semaphore.NewWeighted(1), writing: semaphore.NewWeighted(1), sessions: semaphore.NewWeighted(maxSessions)}
	})
}

// Connected says whether there is a connection for the next call.
func (l *line) Connected() bool {
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	return l.conn != nil
}

// Yield closes a connection that nobody is using.
func (l *line) Yield() bool {
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	if l.conn == nil || l.conn.users > 0 {
		return false
	}
	l.conn.retire()
	return true
}

// Shut closes nothing: shut does that for the connections of all lines, those
// that are being given up included.
func (l *line) Shut() {}

// goWait starts a goroutine that shut waits for.
func (p *lines) goWait(f func()) {
	p.counting.Lock()
	defer p.counting.Unlock()
	if p.waiting {
		// Its connection is closed, so it ends by itself.
		go f()
		return
	}
	p.background.Add(1)
	go func() {
		defer p.background.Done()
		f()
	}()
}

// take returns a connection to the endpoint for one call; release gives it
// back. It is reused when it was open before.
func (l *line) take(ctx context.Context, ep *devices.Endpoint, signer ssh.Signer, asked time.Time) (c *conn, reused bool, f *fault) {
	if l.turn.Acquire(ctx, 1) != nil {
		return nil, false, &fault{err: fmt.Errorf("waiting for the connection: %w", pool.End(ctx))}
	}
	defer l.turn.Release(1)
	p := l.pool
	p.mu.Lock()
	c, failure := l.conn, l.failure
	if p.Base().Err() != nil {
		p.mu.Unlock()
		return nil, false, &fault{err: ErrClosed}
	}
	if c != nil {
		c.users++
		c.idle.Stop()
		p.mu.Unlock()
		if f := mayUse(c, ep, devices.Allowed); f != nil {
			c.release()
			return nil, false, f
		}
		return c, true, nil
	}
	// Those who waited while an attempt failed share its failure: a dark host
	// costs all of them one time-out, not one each.
	if failure != nil && l.failedAt.After(asked) {
		p.mu.Unlock()
		return nil, false, failure
	}
	p.mu.Unlock()
	c, f = l.connect(ctx, ep, signer)
	return c, false, f
}

// connect makes the connection; the caller has the turn.
func (l *line) connect(ctx context.Context, ep *devices.Endpoint, signer ssh.Signer) (*conn, *fault) {
	p := l.pool
	if err := p.TakeSlot(ctx); err != nil {
		return nil, &fault{err: err}
	}
	h, f := p.login(ctx, ep, signer)
	p.mu.Lock()
	defer p.mu.Unlock()
	l.failure = nil
	if f != nil {
		p.GiveSlot()
		if f.kind == devices.Unreachable {
			l.failedAt, l.failure = time.Now(), f
		}
		return nil, f
	}
	c := &conn{line: l, client: h.client, tcp: h.tcp, hostKey: h.key, users: 1, gone: make(chan struct{})}
	c.idle = time.AfterFunc(p.opts.IdleClose, c.closeIdle)
	c.idle.Stop()
	l.conn = c
	p.conns[c] = struct{}{}
	p.goWait(c.watch)
	p.goWait(c.keepAlive)
	// Either this sees that the driver is closing, or shut sees the connection.
	if p.Base().Err() != nil {
		_ = c.tcp.Close()
	}
	return c, nil
}

// shut ends all calls, closes all connections and waits for both.
func (p *lines) shut() {
	p.Shut()
	p.mu.Lock()
	for c := range p.conns {
		_ = c.tcp.Close()
	}
	p.mu.Unlock()
	p.counting.Lock()
	p.waiting = true
	p.counting.Unlock()
	p.background.Wait()
}

// conn is one authenticated connection.
type conn struct {
	line    *line
	client  *ssh.Client
	tcp     net.Conn
	hostKey ssh.PublicKey
	// gone is closed when the connection has ended.
	gone chan struct{}

	// guarded by pool.mu
	users   int
	retired bool
	idle    *time.Timer
}

// watch waits for the end of the connection, however it comes.
func (c *conn) watch() {
	_ = c.client.Wait()
	close(c.gone)
	_ = c.tcp.Close()
	p := c.line.pool
	p.mu.Lock()
	c.idle.Stop()
	c.retired = true
	delete(p.conns, c)
	if c.line.conn == c {
		c.line.conn = nil
	}
	p.mu.Unlock()
	p.GiveSlot()
	p.Forget(c.line.key)
}

// keepAlive asks the host, so that a connection that leads nowhere any more
// ends although nobody writes to it.
func (c *conn) keepAlive() {
	every := c.line.pool.opts.Keepalive
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-c.gone:
			return
		case <-ticker.C:
		}
		patience := time.AfterFunc(every, func() { _ = c.tcp.Close() })
		_, _, err := c.client.SendRequest("keepalive@openssh.com", true, nil)
		patience.Stop()
		if err != nil {
			return
		}
	}
}

// release gives the connection back after a call.
func (c *conn) release() {
	p := c.line.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	c.users--
	switch {
	case c.users > 0:
	case c.retired || p.Wanted():
		c.retire()
	default:
		c.idle.Reset(p.opts.IdleClose)
	}
}

// drop takes the connection from the line, so that the next call has a fresh
// one. Calls of others that are on it end as they would have; after the last
// one it is closed.
func (c *conn) drop() {
	p := c.line.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	c.retire()
}

// retire needs pool.mu.
func (c *conn) retire() {
	c.retired = true
	if c.line.conn == c {
		c.line.conn = nil
	}
	if c.users == 0 {
		_ = c.tcp.Close()
	}
}

func (c *conn) closeIdle() {
	p := c.line.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	// A call since the timer fired has stopped it, or will set it again.
	if c.users == 0 {
		c.retire()
	}
}

// await runs f, which speaks over the connection, in a goroutine of its own.
// When ctx ends first, the connection is dropped and f is left behind: it ends
// when the connection does, and its result is thrown away.
func await[T any](ctx context.Context, c *conn, f func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	done := make(chan answer, 1)
	c.line.pool.goWait(func() {
		v, err := f()
		done <- answer{v, err}
	})
	select {
	case a := <-done:
		return a.value, a.err
	case <-ctx.Done():
		c.drop()
		var none T
		return none, &abandoned{pool.End(ctx)}
	}
}

// abandoned says that a call ended before its answer came.
type abandoned struct{ cause error }

func (a *abandoned) Error() string { return "waiting for the answer: " + a.cause.Error() }
func (a *abandoned) Unwrap() error { return a.cause }

func dialFault(ctx context.Context, err error) *fault {
	var e *devices.Error
	if !errors.As(err, &e) {
		return &fault{err: fmt.Errorf("connecting: %w", pool.End(ctx))}
	}
	return &fault{kind: e.Kind, err: fmt.Errorf("%s: %w", e.Op, e.Err)}
}

// cutOff says that the peer ended the connection.
func cutOff(err error) bool {
	for _, sign := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, sign) {
			return true
		}
	}
	return false
}
