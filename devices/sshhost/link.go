package sshhost

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/ssh"

	"edgefleet/devices"
	"edgefleet/devices/pool"
)

// maxTries bounds how often a read is made that finds its connection closed:
// on the idle one, on one that another caller has just opened, on its own.
const maxTries = 3

// link is one caller's way to a host. Closed, it gives its hold back; calls in
// flight end as they would have.
type link struct {
	*pool.Hold[*line]
	ep     devices.Endpoint
	opts   *Options
	signer ssh.Signer
}

var _ devices.Link = (*link)(nil)

// Ping asks the host for a sign of life over an authenticated connection. A
// host that has a pinned key and refuses the log-in is alive.
func (l *link) Ping(ctx context.Context) error {
	_, f := ask(ctx, l, func(ctx context.Context, c *conn) (struct{}, *fault) {
		timeout := response(&l.ep)
		bounded, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		// The answer is no, and that is an answer.
		_, err := await(bounded, c, func() (bool, error) {
			ok, _, err := c.client.SendRequest("keepalive@openssh.com", true, nil)
			return ok, err
		})
		if err != nil {
			return struct{}{}, c.sessionFault(ctx, err, timeout)
		}
		return struct{}{}, nil
	})
	if f == nil || f.refused {
		return nil
	}
	return l.verdict("ping", f)
}

// ask makes a call that changes nothing, so that it can be made again on a
// fresh connection when the one that was open turns out to have been closed.
func ask[T any](ctx context.Context, l *link, call func(context.Context, *conn) (T, *fault)) (T, *fault) {
	var none T
	done, err := l.Begin()
	if err != nil {
		return none, &fault{err: err}
	}
	defer done()
	asked := time.Now()
	ctx, release := l.Line.pool.Bind(ctx)
	defer release()
	if l.Line.sessions.Acquire(ctx, 1) != nil {
		return none, &fault{err: fmt.Errorf("waiting for a session: %w", pool.End(ctx))}
	}
	defer l.Line.sessions.Release(1)
	for tries := 1; ; tries++ {
		c, reused, f := l.Line.take(ctx, &l.ep, l.signer, asked)
		if f != nil {
			return none, f
		}
		value, f := call(ctx, c)
		c.release()
		var slow *late
		if f == nil || !reused || tries == maxTries || !f.lost || f.kind == "" || errors.As(f.err, &slow) {
			return value, f
		}
	}
}

// verdict gives a fault the words and the kind that the caller sees.
func (l *link) verdict(op string, f *fault) error {
	if f.kind == "" {
		return fmt.Errorf("%s: %s: %w", l.name(), op, f.err)
	}
	return l.fail(f.kind, op, f.err)
}

func (l *link) fail(kind devices.Kind, op string, err error) *devices.Error {
	return &devices.Error{Kind: kind, Device: l.name(), Op: op, Err: err}
}

func (l *link) name() string {
	if l.ep.DeviceID != "" {
		return l.ep.DeviceID
	}
	return l.ep.Address
}
