package modbus

import (
	"encoding/binary"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	pdus "github.com/goburrow/modbus"
	"github.com/stretchr/testify/require"

	"edgefleet/devices"
)

// say writes bytes and keeps the connection.
func say(make func(request []byte) []byte) func(*net.TCPConn, []byte) bool {
	return func(c *net.TCPConn, request []byte) bool {
		_, err := c.Write(make(request))
		return err == nil
	}
}

// sayAndCut writes the first n bytes of the honest answer and hangs up.
func sayAndCut(n int) func(*net.TCPConn, []byte) bool {
	return func(c *net.TCPConn, request []byte) bool {
		_, _ = c.Write(honestAnswer(request)[:n])
		return false
	}
}

// hang says the first n bytes of the honest answer, and nothing more until the
// client hangs up.
func hang(n int) func(*net.TCPConn, []byte) bool {
	return func(c *net.TCPConn, request []byte) bool {
		_, _ = c.Write(honestAnswer(request)[:n])
		_, _ = io.Copy(io.Discard, c)
		return false
	}
}

// edit changes the honest answer.
func edit(change func(answer []byte)) func(*net.TCPConn, []byte) bool {
	return say(func(request []byte) []byte {
		answer := honestAnswer(request)
		change(answer)
		return answer
	})
}

func setLength(n uint16) func([]byte) {
	return func(answer []byte) { binary.BigEndian.PutUint16(answer[4:], n) }
}

// TestHostilePeer lets a device misbehave at the first request of a line, in
// every way that has been seen in the field, and requires the right kind of
// error for a read and a write, and that the next call is as good as new.
func TestHostilePeer(t *testing.T) {
	const brief = 300 * time.Millisecond
	for _, c := range []struct {
		name    string
		bad     func(*net.TCPConn, []byte) bool
		timeout time.Duration // 0: one that is not reached
		read    devices.Kind
		words   string
	}{
		{name: "accepts and hangs", bad: hang(0), timeout: brief, read: devices.Unreachable, words: "within 300ms: no answer"},
		{name: "hangs inside the header", bad: hang(5), timeout: brief, read: devices.Unreachable, words: "broke off after 5 bytes"},
		{name: "hangs inside the data", bad: hang(9), timeout: brief, read: devices.Unreachable, words: "broke off after 9 bytes"},
		{name: "dribbles for longer than the time-out", bad: dribble(50 * time.Millisecond), timeout: brief, read: devices.Unreachable, words: "broke off after"},
		{name: "answers after the time-out", bad: answerLate, timeout: brief, read: devices.Unreachable, words: "within 300ms: no answer"},
		{name: "hangs up without an answer", bad: sayAndCut(0), read: devices.Unreachable, words: "no answer: EOF"},
		{name: "hangs up inside the header", bad: sayAndCut(6), read: devices.Unreachable, words: "broke off after 6 bytes"},
		{name: "hangs up inside the data", bad: sayAndCut(10), read: devices.Unreachable, words: "broke off after 10 bytes"},
		{name: "resets the connection", bad: reset, read: devices.Unreachable, words: "connection reset"},
		{name: "a foreign transaction", bad: edit(func(a []byte) { a[1]++ }), read: devices.Unreachable, words: "transaction"},
		{name: "a foreign protocol", bad: edit(func(a []byte) { a[3] = 7 }), read: devices.Unreachable, words: "protocol 7"},
		{name: "a foreign unit", bad: edit(func(a []byte) { a[6] = 9 }), read: devices.Unreachable, words: "unit 9, not 1"},
		{name: "a foreign function", bad: edit(func(a []byte) { a[7] = 0x2B }), read: devices.Unreachable, words: "function 43"},
		{name: "an exception to a foreign function", bad: say(func(r []byte) []byte { return reply(r, 0x81, 2) }), read: devices.Unreachable, words: "function 129"},
		{name: "a length of zero", bad: edit(setLength(0)), read: devices.Unreachable, words: "0 bytes, which no answer has"},
		{name: "a length without a function", bad: edit(setLength(1)), read: devices.Unreachable, words: "1 bytes"},
		{name: "a length without data", bad: edit(setLength(2)), read: devices.Unreachable, words: "2 bytes"},
		{name: "a length over the limit", bad: edit(setLength(255)), read: devices.Unreachable, words: "255 bytes"},
		{name: "the largest length", bad: edit(setLength(65535)), read: devices.Unreachable, words: "65535 bytes"},
		{name: "garbage", bad: say(func([]byte) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n\r\n") }), read: devices.Unreachable, words: "transaction"},
		{name: "a short answer in a right frame", bad: say(shortAnswer), read: devices.Rejected, words: "the answer"},
		{name: "bytes behind the data", bad: say(longAnswer), read: devices.Rejected, words: "the answer"},
		{name: "a byte count that is not the data's", bad: edit(func(a []byte) { a[8] ^= 0x40 }), read: devices.Rejected, words: "the answer"},
		{name: "an exception without a code", bad: say(func(r []byte) []byte { return reply(r, r[7]|0x80, 2, 0) }), read: devices.Rejected, words: "an exception of 3 bytes"},
	} {
		for _, write := range []bool{false, true} {
			name, want := c.name+", read", c.read
			if write {
				name, want = c.name+", write", devices.Indeterminate
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				var bad atomic.Bool
				bad.Store(true)
				p := newPeer(t, func(conn *net.TCPConn, request []byte) bool {
					if bad.Swap(false) {
						return c.bad(conn, request)
					}
					return honest(conn, request)
				})
				ep := p.endpoint()
				patient := ep
				if c.timeout > 0 {
					ep.ResponseTimeout = c.timeout
				}
				d, l := open(t, Options{}, ep)
				var err error
				if write {
					err = l.Write(t.Context(), []devices.Setting{set("a", 100, 7), set("b", 101, 8)})
				} else {
					_, err = l.Read(t.Context(), []devices.Point{register("a", 100), register("b", 101)})
				}
				require.Equal(t, want, devices.KindOf(err), "%v", err)
				if !write {
					require.ErrorContains(t, err, c.words)
				}

				// The next call, of another link to the same endpoint, has a
				// connection of its own and the right values.
				next, err := d.Open(t.Context(), patient)
				require.NoError(t, err)
				values, err := next.Read(t.Context(), []devices.Point{register("x", 300)})
				require.NoError(t, err)
				require.Equal(t, []devices.Value{int64(300)}, values)
				dials, requests := p.seen()
				require.Equal(t, 2, dials, "the line is dropped")
				require.Equal(t, 2, requests, "the request is made once")
			})
		}
	}
}

// dribble answers honestly, one byte at a time.
func dribble(pace time.Duration) func(*net.TCPConn, []byte) bool {
	return func(c *net.TCPConn, request []byte) bool {
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for _, b := range honestAnswer(request) {
			if _, err := c.Write([]byte{b}); err != nil {
				return false
			}
			<-tick.C
		}
		return true
	}
}

// answerLate answers when the client has given up.
func answerLate(c *net.TCPConn, request []byte) bool {
	_, _ = io.Copy(io.Discard, c)
	_, _ = c.Write(honestAnswer(request))
	return false
}

func reset(c *net.TCPConn, _ []byte) bool {
	_ = c.SetLinger(0)
	return false
}

// shortAnswer is well-formed in itself, and has one register too few.
func shortAnswer(request []byte) []byte {
	if request[7] == pdus.FuncCodeReadHoldingRegisters {
		return reply(request, request[7], 2, 0, 100)
	}
	return reply(request, request[7], 0)
}

// longAnswer has one byte more than its byte count says.
func longAnswer(request []byte) []byte {
	return reply(request, append(honestAnswer(request)[headerLen:], 9)...)
}

func TestASlowAnswerWithinTheTimeOutIsRight(t *testing.T) {
	_, l := open(t, Options{}, newPeer(t, dribble(time.Millisecond)).endpoint())
	values, err := l.Read(t.Context(), []devices.Point{register("a", 100), register("b", 101)})
	require.NoError(t, err)
	require.Equal(t, []devices.Value{int64(100), int64(101)}, values)
}

// TestAnAnswerTooMany covers the answer to an earlier request that comes when
// nobody waits for it any more.
func TestAnAnswerTooMany(t *testing.T) {
	t.Run("before the next request is thrown away with the line", func(t *testing.T) {
		p := newPeer(t, say(func(r []byte) []byte { return append(honestAnswer(r), honestAnswer(r)...) }))
		_, l := open(t, Options{}, p.endpoint())
		for i := range uint16(20) {
			values, err := l.Read(t.Context(), []devices.Point{register("a", i)})
			require.NoError(t, err)
			require.Equal(t, int64(i), values[0])
		}
	})
	t.Run("after the next request never passes for its answer", func(t *testing.T) {
		var before []byte
		p := newPeer(t, say(func(r []byte) []byte {
			answer := append(before, honestAnswer(r)...)
			before = honestAnswer(r)
			return answer
		}))
		_, l := open(t, Options{}, p.endpoint())
		_, err := l.Read(t.Context(), []devices.Point{register("a", 1)})
		require.NoError(t, err)
		_, err = l.Read(t.Context(), []devices.Point{register("a", 2)})
		require.Equal(t, devices.Unreachable, devices.KindOf(err))
		require.ErrorContains(t, err, "transaction")
	})
}

func TestAWriteIsConfirmedByItsOwnEcho(t *testing.T) {
	for _, c := range []struct {
		name     string
		settings []devices.Setting
		change   func(answer []byte)
	}{
		{"FC06 with another address", []devices.Setting{set("a", 100, 7)}, func(a []byte) { a[9]++ }},
		{"FC06 with another value", []devices.Setting{set("a", 100, 7)}, func(a []byte) { a[11]++ }},
		{"FC16 with another address", []devices.Setting{set("a", 100, 7), set("b", 101, 7)}, func(a []byte) { a[9]++ }},
		{"FC16 with another quantity", []devices.Setting{set("a", 100, 7), set("b", 101, 7)}, func(a []byte) { a[11]-- }},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, l := open(t, Options{}, newPeer(t, edit(c.change)).endpoint())
			err := l.Write(t.Context(), c.settings)
			require.Equal(t, devices.Indeterminate, devices.KindOf(err))
			require.ErrorContains(t, err, "does not confirm the write")
		})
	}
}

func TestExceptions(t *testing.T) {
	for _, c := range []struct {
		code              byte
		read, write, ping devices.Kind // ping "" is a success
	}{
		{1, devices.Unsupported, devices.Unsupported, ""},
		{2, devices.Rejected, devices.Rejected, ""},
		{3, devices.Rejected, devices.Rejected, ""},
		{4, devices.Rejected, devices.Rejected, ""},
		{5, devices.Busy, devices.Indeterminate, ""},
		{6, devices.Busy, devices.Busy, ""},
		{8, devices.Rejected, devices.Rejected, ""},
		{10, devices.Unreachable, devices.Unreachable, devices.Unreachable},
		{11, devices.Unreachable, devices.Indeterminate, devices.Unreachable},
		{200, devices.Rejected, devices.Rejected, ""},
	} {
		t.Run("exception "+devices.FormatValue(int64(c.code)), func(t *testing.T) {
			p := newPeer(t, say(func(r []byte) []byte { return reply(r, r[7]|0x80, c.code) }))
			_, l := open(t, Options{}, p.endpoint())
			_, err := l.Read(t.Context(), []devices.Point{register("a", 100)})
			require.Equal(t, c.read, devices.KindOf(err))
			require.ErrorContains(t, err, "dev-1: read holding 100+1: ")
			err = l.Write(t.Context(), []devices.Setting{set("a", 100, 7)})
			require.Equal(t, c.write, devices.KindOf(err))
			require.ErrorContains(t, err, "dev-1: write holding 100+1 (a): ")
			err = l.Ping(t.Context())
			require.Equal(t, c.ping, devices.KindOf(err), "%v", err)
			dials, _ := p.seen()
			require.Equal(t, 1, dials, "an exception is an answer, and the line stays")
		})
	}
}
