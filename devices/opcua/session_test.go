package opcua

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gopcua/opcua/ua"
	"github.com/stretchr/testify/require"

	"edgefleet/devices"
)

func state() []devices.Point {
	return []devices.Point{{Name: "state", Type: devices.Int32, OPCUA: &devices.NodeAddress{ID: "i=2259"}}}
}

func TestCallersOfOneEndpointAndIdentityShareASession(t *testing.T) {
	s := plain(t)
	d, l := open(t, Options{}, s.endpoint())
	require.NoError(t, l.Ping(t.Context()))
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			other, err := d.Open(t.Context(), s.endpoint())
			if err == nil {
				_, err = other.Read(t.Context(), state())
				other.Close()
			}
			require.NoError(t, err)
		})
	}
	wait.Wait()
	require.Equal(t, 1, s.count("CreateSession"))

	// Another identity is another session.
	ep := s.endpoint()
	ep.OPCUA.User = "operator"
	other, err := d.Open(t.Context(), ep)
	require.NoError(t, err)
	defer other.Close()
	require.NoError(t, other.Ping(t.Context()))
	require.Equal(t, 2, s.count("CreateSession"))
}

func TestAnIdleSessionIsClosedInOrder(t *testing.T) {
	s := plain(t)
	_, l := open(t, Options{IdleClose: 20 * time.Millisecond}, s.endpoint())
	require.NoError(t, l.Ping(t.Context()))
	require.Eventually(t, func() bool { return s.count("CloseSession") == 1 && s.open() == 0 }, 10*time.Second, 5*time.Millisecond)
	require.NoError(t, l.Ping(t.Context()))
}

func TestCloseOfTheDriverClosesTheSessionsInOrder(t *testing.T) {
	s := plain(t)
	d, l := open(t, Options{}, s.endpoint())
	require.NoError(t, l.Ping(t.Context()))
	d.Close()
	require.Equal(t, 1, s.count("CloseSession"))
	err := l.Ping(t.Context())
	require.ErrorIs(t, err, ErrClosed)
	require.Empty(t, devices.KindOf(err))
	_, err = d.Open(t.Context(), s.endpoint())
	require.ErrorIs(t, err, ErrClosed)
	d.Close()
}

func TestAServerThatForgotTheSessionIsAskedAgainOnce(t *testing.T) {
	for _, status := range []ua.StatusCode{ua.StatusBadSessionIDInvalid, ua.StatusBadSessionClosed, ua.StatusBadSecureChannelIDInvalid} {
		for _, step := range []string{"Read", "Write"} {
			t.Run(step+" "+statusName(status), func(t *testing.T) {
				s := plain(t)
				s.set("ns=1;s=a", int32(1))
				_, l := open(t, Options{}, s.endpoint())
				require.NoError(t, l.Ping(t.Context()))
				forget := func(res ua.Response) ua.Response {
					// Only the session that stands has been forgotten.
					s.change[step] = nil
					return faulty(status)(res)
				}
				s.answer(step, func(res ua.Response) ua.Response {
					s.mu.Lock()
					defer s.mu.Unlock()
					return forget(res)
				})
				if step == "Read" {
					_, err := l.Read(t.Context(), state())
					require.NoError(t, err)
				} else {
					p := set("a", devices.Int32, int64(2))
					p.Point.OPCUA.Type = "Int32"
					require.NoError(t, l.Write(t.Context(), []devices.Setting{p}))
				}
				require.Equal(t, 2, s.count("CreateSession"))

				s.answer(step, faulty(status))
				_, err := l.Read(t.Context(), state())
				if step == "Read" {
					require.Equal(t, devices.Unreachable, devices.KindOf(err), "%v", err)
				}
			})
		}
	}
}

func TestAnIdleConnectionThatTheServerClosedIsOpenedAgain(t *testing.T) {
	s := plain(t)
	s.set("ns=1;s=a", int32(1))
	_, l := open(t, Options{}, s.endpoint())
	require.NoError(t, l.Ping(t.Context()))
	s.cutAll()
	require.Eventually(t, func() bool { return s.open() == 0 }, 10*time.Second, time.Millisecond)
	require.NoError(t, l.Write(t.Context(), []devices.Setting{set("a", devices.Int32, int64(2))}))

	// Closed only when the request comes: a read is made again, a write is not.
	s.once("Read", sayAndCut(0))
	_, err := l.Read(t.Context(), state())
	require.NoError(t, err)
	s.once("Write", sayAndCut(0))
	err = l.Write(t.Context(), []devices.Setting{set("a", devices.Int32, int64(3))})
	require.Equal(t, devices.Indeterminate, devices.KindOf(err), "%v", err)
}

func TestAChannelIsReplacedBeforeItsKeysExpire(t *testing.T) {
	s := plain(t)
	s.lifetime = 1
	_, l := open(t, Options{}, s.endpoint())
	require.Eventually(t, func() bool {
		return l.Ping(t.Context()) == nil && s.count("CreateSession") >= 3
	}, 10*time.Second, time.Millisecond, "each call works, and those after a channel's millisecond have a fresh one")
}

func TestTheCallersEndSaysNothingOfTheDevice(t *testing.T) {
	s := plain(t)
	s.set("ns=1;s=a", int32(1))
	d, l := open(t, Options{}, s.endpoint())
	require.NoError(t, l.Ping(t.Context()))
	for _, step := range []string{"Read", "Write", "HEL"} {
		ctx, cancel := context.WithCancel(t.Context())
		s.once(step, func(c net.Conn, chunk []byte) bool {
			cancel()
			return hang(0)(c, chunk)
		})
		var err error
		want := devices.Kind("")
		switch step {
		case "Write":
			p := set("a", devices.Int32, int64(2))
			p.Point.OPCUA.Type = "Int32"
			err = l.Write(ctx, []devices.Setting{p})
			want = devices.Indeterminate
		default:
			_, err = l.Read(ctx, state())
		}
		require.Equal(t, want, devices.KindOf(err), "%v", err)
		require.ErrorIs(t, err, context.Canceled, step)
	}
	// The driver's end as well.
	s.once("Read", func(c net.Conn, chunk []byte) bool {
		go d.Close()
		return hang(0)(c, chunk)
	})
	_, err := l.Read(t.Context(), state())
	require.ErrorIs(t, err, ErrClosed)
	require.Empty(t, devices.KindOf(err))
	d.Close()
}

func TestADeadServerCostsAllWhoWaitOneTimeOut(t *testing.T) {
	s := plain(t)
	ep := s.endpoint()
	ep.ConnectTimeout, ep.ResponseTimeout = 300*time.Millisecond, 300*time.Millisecond
	d := New(Options{})
	defer d.Close()
	var dark func(c net.Conn, chunk []byte) bool
	dark = func(c net.Conn, chunk []byte) bool {
		s.once("HEL", dark)
		return hang(0)(c, chunk)
	}
	s.once("HEL", dark)
	began := time.Now()
	errs := make(chan error, 8)
	for range cap(errs) {
		go func() {
			l, err := d.Open(t.Context(), ep)
			if err == nil {
				err = l.Ping(t.Context())
				l.Close()
			}
			errs <- err
		}()
	}
	for range cap(errs) {
		require.Equal(t, devices.Unreachable, devices.KindOf(<-errs))
	}
	require.Less(t, time.Since(began), 8*300*time.Millisecond)
}

func TestSessionsAreBoundedOverAllEndpoints(t *testing.T) {
	one, two := plain(t), plain(t)
	d, l1 := open(t, Options{MaxConnections: 1, IdleClose: time.Hour}, one.endpoint())
	l2, err := d.Open(t.Context(), two.endpoint())
	require.NoError(t, err)
	defer l2.Close()
	for range 3 {
		require.NoError(t, l1.Ping(t.Context()))
		require.NoError(t, l2.Ping(t.Context()))
		require.Eventually(t, func() bool { return one.open() == 0 }, 10*time.Second, time.Millisecond)
	}
	require.Equal(t, 3, one.count("CloseSession"))
	var wait sync.WaitGroup
	for _, l := range []devices.Link{l1, l2, l1, l2, l1, l2} {
		wait.Go(func() { require.NoError(t, l.Ping(t.Context())) })
	}
	wait.Wait()
}

func TestPingTakesARefusalForAnAnswer(t *testing.T) {
	s := plain(t)
	_, l := open(t, Options{}, s.endpoint())
	for status, want := range map[ua.StatusCode]devices.Kind{
		ua.StatusBadNodeIDUnknown: "", ua.StatusBadTooManyOperations: "", ua.StatusBadServiceUnsupported: "", ua.StatusBadSessionClosed: devices.Unreachable,
	} {
		s.answer("Read", faulty(status))
		require.Equal(t, want, devices.KindOf(l.Ping(t.Context())), statusName(status))
	}
	s.answer("Read", nil)
	s.answer("CreateSession", faulty(ua.StatusBadTooManySessions))
	s.cutAll()
	err := l.Ping(t.Context())
	require.Equal(t, devices.Busy, devices.KindOf(err))
	require.ErrorContains(t, err, "another client has to close its session")
}

func TestAClosedLinkIsOfNoUse(t *testing.T) {
	s := plain(t)
	_, l := open(t, Options{}, s.endpoint())
	l.Close()
	l.Close()
	_, err := l.Read(t.Context(), state())
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, l.Write(t.Context(), []devices.Setting{set("a", devices.Int32, int64(1))}), ErrClosed)
}

func TestABrokenDriverIsAnErrorAndNotTheEnd(t *testing.T) {
	s := plain(t)
	_, opened := open(t, Options{}, s.endpoint())
	l := opened.(*link)
	f := l.do(t.Context(), true, func(call) *fault { panic("bug") })
	require.NotNil(t, f)
	require.Equal(t, devices.Indeterminate, devices.KindOf(l.verdict("write", true, f)))
	require.True(t, strings.Contains(f.Error(), "bug"))
	require.NoError(t, l.Ping(t.Context()))
	require.False(t, errors.Is(f, ErrClosed))
}
