package modbus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"edgefleet/devices"
	"edgefleet/devices/dial"
)

// TestOneConnectionOneRequest has fifty callers on fifty units of a gateway,
// which answers with the unit's number and finds any request that is sent
// before the last was answered.
func TestOneConnectionOneRequest(t *testing.T) {
	var pipelined atomic.Int32
	p := newPeer(t, func(c *net.TCPConn, request []byte) bool {
		_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
		if n, _ := c.Read(make([]byte, 1)); n > 0 {
			pipelined.Add(1)
		}
		_ = c.SetReadDeadline(time.Time{})
		_, err := c.Write(reply(request, request[7], 2, 0, request[6]))
		return err == nil
	})
	d := New(Options{})
	defer d.Close()
	var callers errgroup.Group
	for unit := uint8(1); unit <= 50; unit++ {
		callers.Go(func() error {
			ep := p.endpoint()
			ep.Unit = unit
			l, err := d.Open(t.Context(), ep)
			if err != nil {
				return err
			}
			defer l.Close()
			for range 5 {
				values, err := l.Read(t.Context(), []devices.Point{register("a", 0)})
				if err != nil {
					return err
				}
				if values[0] != int64(unit) {
					return fmt.Errorf("unit %d got the answer of unit %v", unit, values[0])
				}
			}
			return nil
		})
	}
	require.NoError(t, callers.Wait())
	dials, requests := p.seen()
	require.Equal(t, 1, dials)
	require.Equal(t, 250, requests)
	require.Zero(t, pipelined.Load(), "requests that did not wait for an answer")
}

type resolverFunc func(host string) ([]netip.Addr, error)

func (f resolverFunc) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	return f(host)
}

// queue puts ten callers in line behind a held turn, one after the other.
func queue(t *testing.T, resolve resolverFunc) []error {
	var errs [10]error
	p := newLines(dial.Dialer{Resolver: resolve}, 1, time.Second)
	defer p.Shut()
	held, err := p.get("plc:502")
	require.NoError(t, err)
	l := held.Line
	require.NoError(t, l.turn.Acquire(t.Context(), 1))
	var callers sync.WaitGroup
	for i := range errs {
		callers.Go(func() {
			k := &link{Hold: held, ep: devices.Endpoint{Unit: 1, DeviceID: fmt.Sprintf("dev-%d", i), Address: fmt.Sprintf("plc-%d:502", i), Allowed: loopback}}
			_, errs[i] = k.Read(t.Context(), []devices.Point{register("a", 0)})
		})
		synctest.Wait()
		time.Sleep(time.Millisecond)
	}
	l.release()
	callers.Wait()
	return errs[:]
}

func TestCallersComeFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var order []string
		queue(t, func(host string) ([]netip.Addr, error) {
			order = append(order, host)
			return nil, errors.New("the name server is down")
		})
		want := make([]string, 10)
		for i := range want {
			want[i] = fmt.Sprintf("plc-%d", i)
		}
		require.Equal(t, want, order)
	})
}

func TestAFailedConnectionFailsAllWhoWaitedForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		errs := queue(t, func(string) ([]netip.Addr, error) {
			tries++
			time.Sleep(time.Second)
			return nil, &net.DNSError{Err: "no such host", IsNotFound: true}
		})
		for i, err := range errs {
			require.Equal(t, devices.Unreachable, devices.KindOf(err))
			require.ErrorContains(t, err, fmt.Sprintf("dev-%d: ", i))
		}
		require.Equal(t, 1, tries)
	})
}

func TestTheGapSeparatesRequests(t *testing.T) {
	const gap = 20 * time.Millisecond
	var last time.Time
	var shortest atomic.Int64
	shortest.Store(int64(time.Hour))
	p := newPeer(t, func(c *net.TCPConn, request []byte) bool {
		if !last.IsZero() {
			shortest.Store(min(shortest.Load(), int64(time.Since(last))))
		}
		last = time.Now()
		return honest(c, request)
	})
	ep := p.endpoint()
	ep.Gap = gap
	_, l := open(t, Options{}, ep)
	for range 5 {
		require.NoError(t, l.Ping(t.Context()))
	}
	require.GreaterOrEqual(t, time.Duration(shortest.Load()), gap)
}

func TestAnIdleConnectionIsClosedAndForgotten(t *testing.T) {
	p := newPeer(t, nil)
	d, l := open(t, Options{IdleClose: 20 * time.Millisecond}, p.endpoint())
	require.NoError(t, l.Ping(t.Context()))
	waitFor(t, "the peer sees the end", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.open) == 0
	})
	require.NoError(t, l.Ping(t.Context()), "the link is good for another connection")
	l.Close()
	l.Close()
	waitFor(t, "the line is forgotten", func() bool { return linesOf(d) == 0 })
	require.ErrorIs(t, l.Ping(t.Context()), ErrClosed)
}

func linesOf(d *Driver) int {
	return len(d.lines.Lines())
}

// TestConnectionsAreBounded has more endpoints in use than connections: every
// call succeeds, and there are never more connections than allowed.
func TestConnectionsAreBounded(t *testing.T) {
	const most = 2
	var open, highest atomic.Int32
	d := New(Options{MaxConnections: most, IdleClose: time.Hour})
	t.Cleanup(d.Close)
	var callers errgroup.Group
	for range 6 {
		p := newPeer(t, func(c *net.TCPConn, request []byte) bool {
			now := open.Add(1)
			for seen := highest.Load(); now > seen && !highest.CompareAndSwap(seen, now); seen = highest.Load() {
			}
			defer open.Add(-1)
			return honest(c, request)
		})
		for range 3 {
			callers.Go(func() error {
				l, err := d.Open(t.Context(), p.endpoint())
				if err != nil {
					return err
				}
				defer l.Close()
				for range 20 {
					if _, err := l.Read(t.Context(), []devices.Point{register("a", 7)}); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	require.NoError(t, callers.Wait())
	require.LessOrEqual(t, highest.Load(), int32(most))
	connected := 0
	for _, l := range d.lines.Lines() {
		if l.Connected() {
			connected++
		}
	}
	require.LessOrEqual(t, connected, most)
}

func TestAnIdleConnectionMakesRoomForAnother(t *testing.T) {
	idle, wanted := newPeer(t, nil), newPeer(t, nil)
	d, l := open(t, Options{MaxConnections: 1, IdleClose: time.Hour}, idle.endpoint())
	require.NoError(t, l.Ping(t.Context()))
	other, err := d.Open(t.Context(), wanted.endpoint())
	require.NoError(t, err)
	require.NoError(t, other.Ping(t.Context()))
	require.NoError(t, l.Ping(t.Context()), "and the other way round")
}

func TestAnOpenConnectionIsNotAWayAroundAllowedNetworks(t *testing.T) {
	p := newPeer(t, nil)
	d, l := open(t, Options{}, p.endpoint())
	require.NoError(t, l.Ping(t.Context()))
	other := p.endpoint()
	other.Allowed = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	stranger, err := d.Open(t.Context(), other)
	require.NoError(t, err)
	_, before := p.seen()
	require.Equal(t, devices.Auth, devices.KindOf(stranger.Ping(t.Context())))
	require.Equal(t, devices.Auth, devices.KindOf(stranger.Write(t.Context(), []devices.Setting{set("a", 1, 1)})))
	_, after := p.seen()
	require.Equal(t, before, after)
	require.NoError(t, l.Ping(t.Context()), "the connection serves those that may")
}

// TestAClosedIdleLine covers a device that hangs up on idle clients.
func TestAClosedIdleLine(t *testing.T) {
	hangsUpAfter := func(n int32) func(*net.TCPConn, []byte) bool {
		var served atomic.Int32
		return func(c *net.TCPConn, request []byte) bool { return honest(c, request) && served.Add(1) != n }
	}
	t.Run("is noticed before a write is sent", func(t *testing.T) {
		p := newPeer(t, hangsUpAfter(1))
		d, l := open(t, Options{}, p.endpoint())
		require.NoError(t, l.Ping(t.Context()))
		waitFor(t, "the end arrives", func() bool { return lineIsStale(d, p.endpoint().Address) })
		require.NoError(t, l.Write(t.Context(), []devices.Setting{set("a", 1, 1)}))
		dials, requests := p.seen()
		require.Equal(t, 2, dials)
		require.Equal(t, 2, requests)
	})

	// silentAt makes the peer hang up on the nth request without an answer, as
	// when its notice crosses with the request.
	silentAt := func(nth ...int32) func(*net.TCPConn, []byte) bool {
		var served atomic.Int32
		return func(c *net.TCPConn, request []byte) bool {
			now := served.Add(1)
			for _, n := range nth {
				if n == now {
					return false
				}
			}
			return honest(c, request)
		}
	}
	for _, c := range []struct {
		name     string
		answer   func(*net.TCPConn, []byte) bool
		write    bool
		kind     devices.Kind
		requests int
	}{
		{"that crosses with a read is dialled again", silentAt(2), false, "", 3},
		{"is dialled again only once", silentAt(2, 3), false, devices.Unreachable, 3},
		{"that crosses with a write leaves it open what happened", silentAt(2), true, devices.Indeterminate, 2},
		{"that has begun an answer is not dialled again", onSecond(sayAndCut(3)), false, devices.Unreachable, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPeer(t, c.answer)
			_, l := open(t, Options{}, p.endpoint())
			_, err := l.Read(t.Context(), []devices.Point{register("a", 7)})
			require.NoError(t, err)
			if c.write {
				err = l.Write(t.Context(), []devices.Setting{set("a", 7, 1)})
			} else {
				_, err = l.Read(t.Context(), []devices.Point{register("a", 7)})
			}
			require.Equal(t, c.kind, devices.KindOf(err), "%v", err)
			_, requests := p.seen()
			require.Equal(t, c.requests, requests)
		})
	}
}

func onSecond(answer func(*net.TCPConn, []byte) bool) func(*net.TCPConn, []byte) bool {
	var served atomic.Int32
	return func(c *net.TCPConn, request []byte) bool {
		if served.Add(1) == 2 {
			return answer(c, request)
		}
		return honest(c, request)
	}
}

func lineIsStale(d *Driver, address string) bool {
	held, err := d.lines.get(address)
	if err != nil {
		return false
	}
	defer held.Close()
	l := held.Line
	_ = l.turn.Acquire(context.Background(), 1)
	defer l.turn.Release(1)
	return l.conn != nil && dial.Stale(l.conn)
}

// TestACallOnAClosingLinkKeepsTheLine makes sure that a link that is closed
// while it dials does not lead to a second connection to the endpoint.
func TestACallOnAClosingLinkKeepsTheLine(t *testing.T) {
	p := newPeer(t, nil)
	_, port, err := net.SplitHostPort(p.endpoint().Address)
	require.NoError(t, err)
	ep := p.endpoint()
	ep.Address = net.JoinHostPort("plc", port)
	var d *Driver
	var first, second devices.Link
	d = New(Options{Dialer: dial.Dialer{Resolver: resolverFunc(func(string) ([]netip.Addr, error) {
		first.Close()
		second, err = d.Open(t.Context(), ep)
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, err
	})}})
	defer d.Close()
	first, err = d.Open(t.Context(), ep)
	require.NoError(t, err)
	require.NoError(t, first.Ping(t.Context()), "what was begun is finished")
	require.NoError(t, second.Ping(t.Context()))
	require.ErrorIs(t, first.Ping(t.Context()), ErrClosed)
	dials, _ := p.seen()
	require.Equal(t, 1, dials)
}

// TestAMalformedRequestIsNeverSent goes past the planner, whose requests are
// always well-formed.
func TestAMalformedRequestIsNeverSent(t *testing.T) {
	p := newPeer(t, nil)
	d := New(Options{})
	defer d.Close()
	l, err := d.open(p.endpoint())
	require.NoError(t, err)
	for name, call := range map[string]func() error{
		"FC16 with more data than registers": func() error {
			_, err := l.client(t.Context(), true).WriteMultipleRegisters(1, 1, []byte{1, 2, 3, 4})
			return err
		},
		"FC16 with less data than registers": func() error {
			_, err := l.client(t.Context(), true).WriteMultipleRegisters(1, 3, []byte{1, 2, 3, 4})
			return err
		},
		"FC15 with no data": func() error {
			_, err := l.client(t.Context(), true).WriteMultipleCoils(1, 3, nil)
			return err
		},
		"a function that this driver does not use": func() error {
			_, err := l.client(t.Context(), true).MaskWriteRegister(1, 2, 3)
			return err
		},
	} {
		require.Equal(t, devices.Unsupported, devices.KindOf(l.verdict("write", true, call())), name)
	}
	dials, _ := p.seen()
	require.Zero(t, dials)
	require.Error(t, checkRequest(nil))
	require.Error(t, checkRequest([]byte{3, 0, 0, 0}))
	require.Error(t, checkRequest(binary.BigEndian.AppendUint32([]byte{16}, 0)))
	require.Error(t, checkRequest(make([]byte, maxPDU+1)))
}

func TestOneLineForAllWritingsOfAnAddress(t *testing.T) {
	p := newLines(dial.Dialer{}, 1, time.Second)
	defer p.Shut()
	first, err := p.get("GW-7.example.:502")
	require.NoError(t, err)
	second, err := p.get("gw-7.example:502")
	require.NoError(t, err)
	require.Same(t, first.Line, second.Line)
	other, err := p.get("gw-7.example:503")
	require.NoError(t, err)
	require.NotSame(t, first.Line, other.Line)
}
