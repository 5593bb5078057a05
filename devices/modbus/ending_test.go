package modbus

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
)

// TestTheCallersEnd covers cancellation, deadlines and Close, at each place
// where a call can be waiting. A call that learnt nothing has no kind.
func TestTheCallersEnd(t *testing.T) {
	asked := make(chan struct{}, 10)
	hangs := func(c *net.TCPConn, _ []byte) bool {
		asked <- struct{}{}
		_, _ = io.Copy(io.Discard, c)
		return false
	}
	read := func(ctx context.Context, l devices.Link) error {
		_, err := l.Read(ctx, []devices.Point{register("a", 7)})
		return err
	}
	write := func(ctx context.Context, l devices.Link) error {
		return l.Write(ctx, []devices.Setting{set("a", 7, 1)})
	}
	for _, c := range []struct {
		name string
		call func(context.Context, devices.Link) error
		kind devices.Kind
	}{
		{"of a read that waits for its answer", read, ""},
		{"of a write that waits for its answer", write, devices.Indeterminate},
	} {
		t.Run("cancels "+c.name, func(t *testing.T) {
			_, l := open(t, Options{}, newPeer(t, hangs).endpoint())
			ctx, cancel := context.WithCancel(t.Context())
			go func() { <-asked; cancel() }()
			began := time.Now()
			err := c.call(ctx, l)
			require.ErrorIs(t, err, context.Canceled)
			require.Equal(t, c.kind, devices.KindOf(err))
			require.Less(t, time.Since(began), 5*time.Second)
		})
		t.Run("by Close "+c.name, func(t *testing.T) {
			d, l := open(t, Options{}, newPeer(t, hangs).endpoint())
			go func() { <-asked; d.Close() }()
			err := c.call(t.Context(), l)
			require.ErrorIs(t, err, ErrClosed)
			require.Equal(t, c.kind, devices.KindOf(err))
			_, err = d.Open(t.Context(), devices.Endpoint{Address: "127.0.0.1:502"})
			require.ErrorIs(t, err, ErrClosed)
		})
	}
	for name, call := range map[string]func(context.Context, devices.Link) error{"read": read, "write": write} {
		t.Run("ends a "+name+" that waits for its turn", func(t *testing.T) {
			p := newPeer(t, hangs)
			d, l := open(t, Options{}, p.endpoint())
			held, err := d.lines.get(p.endpoint().Address)
			require.NoError(t, err)
			defer held.Close()
			require.NoError(t, held.Line.turn.Acquire(t.Context(), 1))
			defer held.Line.release()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			err = call(ctx, l)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Empty(t, devices.KindOf(err))
			require.ErrorContains(t, err, "waiting for the line")
			dials, _ := p.seen()
			require.Zero(t, dials)
		})
	}
	t.Run("ends a call that waits for a connection", func(t *testing.T) {
		d, l := open(t, Options{MaxConnections: 1}, newPeer(t, hangs).endpoint())
		require.NoError(t, d.lines.TakeSlot(t.Context()))
		defer d.lines.GiveSlot()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		err := read(ctx, l)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Empty(t, devices.KindOf(err))
	})
}

// TestNothingIsSentAfterClose takes the way of a call that had its line before
// the driver was closed.
func TestNothingIsSentAfterClose(t *testing.T) {
	for range 50 {
		p := newPeer(t, nil)
		d := New(Options{})
		k, err := d.open(p.endpoint())
		require.NoError(t, err)
		d.Close()
		_, err = k.Line.exchange(t.Context(), &k.ep, fuzzPDU(3, 1), false)
		require.ErrorIs(t, err, ErrClosed)
		dials, _ := p.seen()
		require.Zero(t, dials)
	}
	d := New(Options{})
	d.Close()
	d.Close()
}

// lastMomentConn ends the context when the whole answer has been read, and goes
// on when that has forced the deadline.
type lastMomentConn struct {
	net.Conn
	left   int
	cancel context.CancelFunc
	forced chan struct{}
}

func (c *lastMomentConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.left -= n; c.left == 0 {
		c.cancel()
		<-c.forced
	}
	return n, err
}

func (c *lastMomentConn) SetDeadline(t time.Time) error {
	if t.Before(time.Now()) {
		close(c.forced)
	}
	return c.Conn.SetDeadline(t)
}

func TestAnAnswerThatMeetsTheEndCountsAndTheLineIsDropped(t *testing.T) {
	d, opened := open(t, Options{}, newPeer(t, nil).endpoint())
	require.NoError(t, opened.Ping(t.Context()))
	k := opened.(*link)
	l := k.Line
	require.NoError(t, l.turn.Acquire(t.Context(), 1))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l.conn = &lastMomentConn{l.conn, headerLen + 4, cancel, make(chan struct{})}
	answer, f := l.talk(ctx, &k.ep, fuzzPDU(3, 1))
	l.release()
	require.Nil(t, f)
	require.Equal(t, []byte{3, 2, 0, 100}, answer)
	require.False(t, l.connected.Load(), "its deadline is spoilt")
	require.NoError(t, opened.Ping(t.Context()))
	d.Close()
}
