package modbus

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	pdus "github.com/goburrow/modbus"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"edgefleet/devices"
)

// rtuPeer is a peer that speaks the frames of the serial line.
func rtuPeer(t testing.TB, answer func(c *net.TCPConn, request []byte) bool) *peer {
	if answer == nil {
		answer = rtuSay(rtuHonest)
	}
	return startPeer(t, &peer{serial: true, answer: answer})
}

func (p *peer) serialEndpoint() devices.Endpoint {
	ep := p.endpoint()
	ep.Framing, ep.Gap = devices.FramingRTU, -1
	return ep
}

func rtuReply(request []byte, pdu ...byte) []byte { return rtu{}.wrap(0, request[0], pdu) }

func rtuHonest(request []byte) []byte {
	return rtuReply(request, honestPDU(request[1:len(request)-crcLen])...)
}

func rtuSay(make func(request []byte) []byte) func(*net.TCPConn, []byte) bool { return say(make) }

// rtuEdit changes the honest answer, and leaves its checksum as it was.
func rtuEdit(change func(answer []byte)) func(*net.TCPConn, []byte) bool {
	return say(func(request []byte) []byte {
		answer := rtuHonest(request)
		change(answer)
		return answer
	})
}

// rtuRight changes the honest answer's PDU, and makes a right frame of it.
func rtuRight(change func(pdu []byte) []byte) func(*net.TCPConn, []byte) bool {
	return say(func(request []byte) []byte {
		return rtuReply(request, change(honestPDU(request[1:len(request)-crcLen]))...)
	})
}

// rtuPart says the first n bytes of the honest answer; then it hangs up, or
// says nothing more until the client does.
func rtuPart(n int, hangs bool) func(*net.TCPConn, []byte) bool {
	return func(c *net.TCPConn, request []byte) bool {
		_, _ = c.Write(rtuHonest(request)[:n])
		if hangs {
			_, _ = io.Copy(io.Discard, c)
		}
		return false
	}
}

func rtuDribble(c *net.TCPConn, request []byte) bool {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for _, b := range rtuHonest(request) {
		if _, err := c.Write([]byte{b}); err != nil {
			return false
		}
		<-tick.C
	}
	return true
}

func rtuLate(c *net.TCPConn, request []byte) bool {
	_, _ = io.Copy(io.Discard, c)
	_, _ = c.Write(rtuHonest(request))
	return false
}

// TestHostileSerialPeer is TestHostilePeer for the frames of the serial line.
func TestHostileSerialPeer(t *testing.T) {
	const brief = 300 * time.Millisecond
	for _, c := range []struct {
		name    string
		bad     func(*net.TCPConn, []byte) bool
		timeout time.Duration // 0: one that is not reached
		read    devices.Kind
		words   string
	}{
		{name: "accepts and hangs", bad: rtuPart(0, true), timeout: brief, read: devices.Unreachable, words: "within 300ms: no answer"},
		{name: "hangs inside the head", bad: rtuPart(3, true), timeout: brief, read: devices.Unreachable, words: "broke off after 3 bytes"},
		{name: "hangs inside the checksum", bad: rtuPart(7, true), timeout: brief, read: devices.Unreachable, words: "broke off after 7 bytes"},
		{name: "dribbles for longer than the time-out", bad: rtuDribble, timeout: brief, read: devices.Unreachable, words: "broke off after"},
		{name: "answers after the time-out", bad: rtuLate, timeout: brief, read: devices.Unreachable, words: "within 300ms: no answer"},
		{name: "hangs up without an answer", bad: rtuPart(0, false), read: devices.Unreachable, words: "no answer: EOF"},
		{name: "hangs up inside the head", bad: rtuPart(2, false), read: devices.Unreachable, words: "broke off after 2 bytes"},
		{name: "hangs up inside the data", bad: rtuPart(6, false), read: devices.Unreachable, words: "broke off after 6 bytes"},
		{name: "resets the connection", bad: reset, read: devices.Unreachable, words: "connection reset"},
		{name: "a foreign unit", bad: say(func(r []byte) []byte { return rtu{}.wrap(0, 9, honestPDU(r[1:])) }), read: devices.Unreachable, words: "unit 9, not 1"},
		{name: "a foreign function", bad: rtuRight(func(p []byte) []byte { p[0] = 0x2B; return p }), read: devices.Unreachable, words: "function 43"},
		{name: "an exception to a foreign function", bad: rtuRight(func([]byte) []byte { return []byte{0x81, 2} }), read: devices.Unreachable, words: "function 129"},
		{name: "a damaged checksum", bad: rtuEdit(func(a []byte) { a[len(a)-1] ^= 1 }), read: devices.Unreachable, words: "the checksum of the answer"},
		{name: "a damaged bit", bad: rtuEdit(func(a []byte) { a[4] ^= 0x10 }), read: devices.Unreachable, words: "the checksum of the answer"},
		{name: "a checksum with its bytes exchanged", bad: rtuEdit(func(a []byte) { n := len(a); a[n-1], a[n-2] = a[n-2], a[n-1] }), read: devices.Unreachable, words: "the checksum of the answer"},
		{name: "a damaged exception", bad: say(func(r []byte) []byte { a := rtuReply(r, r[1]|0x80, 2); a[2] = 6; return a }), read: devices.Unreachable, words: "the checksum of the answer"},
		{name: "the frame of Modbus TCP", bad: say(func(r []byte) []byte { return newFrame(1, r[0], honestPDU(r[1:])) }), read: devices.Unreachable, words: "unit 0, not 1"},
		{name: "garbage", bad: say(func([]byte) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n\r\n") }), read: devices.Unreachable, words: "unit 72, not 1"},
		{name: "silence ends a frame that says it is longer", bad: rtuEdit(func(a []byte) { a[2] = 200 }), timeout: brief, read: devices.Unreachable, words: ""},
		{name: "more data than a frame has", bad: rtuEdit(func(a []byte) { a[2] = 255 }), timeout: brief, read: devices.Unreachable, words: "255 bytes of data"},
		{name: "a short answer in a right frame", bad: rtuRight(rtuShort), read: devices.Rejected, words: "asked for 4 bytes, the answer has 2"},
		{name: "a long answer in a right frame", bad: rtuRight(rtuLong), read: devices.Rejected, words: "asked for 4 bytes, the answer has 6"},
		{name: "an answer without data in a right frame", bad: rtuRight(func(p []byte) []byte { return rtuNothing(p) }), read: devices.Rejected, words: "asked for 4 bytes, the answer has 0"},
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
				p := rtuPeer(t, func(conn *net.TCPConn, request []byte) bool {
					if bad.Swap(false) {
						return c.bad(conn, request)
					}
					_, err := conn.Write(rtuHonest(request))
					return err == nil
				})
				ep := p.serialEndpoint()
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

// rtuShort has one register too few, or confirms one too few.
func rtuShort(pdu []byte) []byte {
	if pdu[0] == pdus.FuncCodeReadHoldingRegisters {
		return []byte{pdu[0], 2, 0, 100}
	}
	return []byte{pdu[0], pdu[1], pdu[2], 0, 1}
}

// rtuLong has one register too many, or confirms one too many.
func rtuLong(pdu []byte) []byte {
	if pdu[0] == pdus.FuncCodeReadHoldingRegisters {
		return []byte{pdu[0], 6, 0, 100, 0, 101, 0, 102}
	}
	return []byte{pdu[0], pdu[1], pdu[2], 0, 3}
}

func rtuNothing(pdu []byte) []byte {
	if pdu[0] == pdus.FuncCodeReadHoldingRegisters {
		return []byte{pdu[0], 0}
	}
	return []byte{pdu[0], 0, 0, 0, 0}
}

func TestASerialWriteIsConfirmedByItsOwnEcho(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(pdu []byte) []byte
	}{
		{"another address", func(p []byte) []byte { p[2]++; return p }},
		{"another value", func(p []byte) []byte { p[4]++; return p }},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, l := open(t, Options{}, rtuPeer(t, rtuRight(c.change)).serialEndpoint())
			err := l.Write(t.Context(), []devices.Setting{set("a", 100, 7)})
			require.Equal(t, devices.Indeterminate, devices.KindOf(err))
			require.ErrorContains(t, err, "does not confirm the write")
		})
	}
}

func TestSerialExceptionsKeepTheLine(t *testing.T) {
	for code, kind := range map[byte]devices.Kind{1: devices.Unsupported, 2: devices.Rejected, 6: devices.Busy, 11: devices.Unreachable} {
		p := rtuPeer(t, say(func(r []byte) []byte { return rtuReply(r, r[1]|0x80, code) }))
		_, l := open(t, Options{}, p.serialEndpoint())
		for range 2 {
			_, err := l.Read(t.Context(), []devices.Point{register("a", 100)})
			require.Equal(t, kind, devices.KindOf(err))
		}
		dials, _ := p.seen()
		require.Equal(t, 1, dials)
	}
}

// TestALateSerialAnswerNeverPassesForTheNext has a transparent gateway that
// gives the answer to a request that was given up to whoever connects next. The
// next request is for as many registers, so that nothing but its silence tells
// the late answer from its own.
func TestALateSerialAnswerNeverPassesForTheNext(t *testing.T) {
	p := &peer{serial: true}
	var late []byte
	p.answer = func(c *net.TCPConn, request []byte) bool {
		if late == nil {
			late = rtuHonest(request)
			_, _ = io.Copy(io.Discard, c)
			return false
		}
		_, err := c.Write(rtuHonest(request))
		return err == nil
	}
	var connections atomic.Int32
	p.greet = func(c *net.TCPConn) {
		if connections.Add(1) == 2 {
			_, _ = c.Write(late)
		}
	}
	startPeer(t, p)
	ep := p.serialEndpoint()
	ep.Gap, ep.ResponseTimeout = 200*time.Millisecond, 200*time.Millisecond
	_, l := open(t, Options{}, ep)
	_, err := l.Read(t.Context(), []devices.Point{register("a", 1)})
	require.Equal(t, devices.Unreachable, devices.KindOf(err))
	_, err = l.Read(t.Context(), []devices.Point{register("b", 2)})
	require.Equal(t, devices.Unreachable, devices.KindOf(err))
	require.ErrorContains(t, err, "something came that nobody had asked for")
	values, err := l.Read(t.Context(), []devices.Point{register("b", 2)})
	require.NoError(t, err)
	require.Equal(t, []devices.Value{int64(2)}, values)
}

// TestASerialAnswerTooMany covers a frame that comes when nobody waits for one.
func TestASerialAnswerTooMany(t *testing.T) {
	p := rtuPeer(t, say(func(r []byte) []byte { return append(rtuHonest(r), rtuHonest(r)...) }))
	_, l := open(t, Options{}, p.serialEndpoint())
	for i := range uint16(20) {
		values, err := l.Read(t.Context(), []devices.Point{register("a", i)})
		require.NoError(t, err)
		require.Equal(t, int64(i), values[0])
	}
}

// TestTheUnitsOfASerialGatewayShareOneLine is TestOneConnectionOneRequest for
// the frames of the serial line, where nothing but the order of the requests
// tells whose an answer is.
func TestTheUnitsOfASerialGatewayShareOneLine(t *testing.T) {
	var pipelined atomic.Int32
	p := rtuPeer(t, func(c *net.TCPConn, request []byte) bool {
		_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
		if n, _ := c.Read(make([]byte, 1)); n > 0 {
			pipelined.Add(1)
		}
		_ = c.SetReadDeadline(time.Time{})
		_, err := c.Write(rtuReply(request, request[1], 2, 0, request[0]))
		return err == nil
	})
	d := New(Options{})
	defer d.Close()
	var callers errgroup.Group
	for unit := uint8(1); unit <= 50; unit++ {
		callers.Go(func() error {
			ep := p.serialEndpoint()
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

func TestThePaceOfAnEndpoint(t *testing.T) {
	for _, c := range []struct {
		name         string
		ep           devices.Endpoint
		gap, timeout time.Duration
	}{
		{"Modbus TCP has no gap and 2 s", devices.Endpoint{}, 0, 2 * time.Second},
		{"a serial gateway has 100 ms and 5 s", devices.Endpoint{SerialGateway: true}, 100 * time.Millisecond, 5 * time.Second},
		{"so has RTU framing", devices.Endpoint{Framing: devices.FramingRTU}, 100 * time.Millisecond, 5 * time.Second},
		{"what is stated holds", devices.Endpoint{SerialGateway: true, Gap: time.Millisecond, ResponseTimeout: time.Second}, time.Millisecond, time.Second},
		{"less than no gap is none", devices.Endpoint{SerialGateway: true, Gap: -1}, 0, 5 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			gap, timeout := pace(&c.ep)
			require.Equal(t, c.gap, gap)
			require.Equal(t, c.timeout, timeout)
		})
	}
}

func TestWhatCannotBeASerialEndpoint(t *testing.T) {
	d := New(Options{})
	defer d.Close()
	for _, c := range []struct {
		name  string
		ep    devices.Endpoint
		words string
	}{
		{"no unit", devices.Endpoint{Framing: devices.FramingRTU}, "unit 0 on a serial line: want 1 to 247"},
		{"a unit that a bus does not have", devices.Endpoint{Framing: devices.FramingRTU, Unit: 255}, "unit 255 on a serial line"},
		{"an unknown framing", devices.Endpoint{Framing: "ascii", Unit: 1}, `framing "ascii" is not one: want tcp or rtu`},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.ep.Address = "10.0.0.1:502"
			_, err := d.Open(t.Context(), c.ep)
			require.Equal(t, devices.Unsupported, devices.KindOf(err))
			require.ErrorContains(t, err, c.words)
		})
	}
}

func TestIdentifyOverASerialLine(t *testing.T) {
	p := rtuPeer(t, say(func(r []byte) []byte {
		return rtuReply(r, page(0, object(0, "Northline"), object(1, ""), object(2, "3.2.1"))...)
	}))
	d := New(Options{})
	defer d.Close()
	got, err := d.Identify(t.Context(), p.serialEndpoint())
	require.NoError(t, err)
	require.Equal(t, Identification{Vendor: "Northline", Revision: "3.2.1"}, got)
	_, requests := p.seen()
	require.Equal(t, 1, requests)
	require.Equal(t, []byte{1, funcEncapsulated, meiDeviceID, 1, 0, 0x70, 0x77}, p.requests[0])

	long := rtuPeer(t, say(func(r []byte) []byte {
		return rtuReply(r, page(0, object(0, string(make([]byte, 120))), object(1, string(make([]byte, 120))), object(2, string(make([]byte, 100))))...)
	}))
	_, err = d.Identify(t.Context(), long.serialEndpoint())
	require.Equal(t, devices.Unreachable, devices.KindOf(err))
	require.ErrorContains(t, err, "longer than a frame")
}

// TestTheChecksumIsThatOfTheStandard has the example of Modbus over Serial Line
// V1.02, section 6.2.2, and the usual check value of CRC-16/MODBUS.
func TestTheChecksumIsThatOfTheStandard(t *testing.T) {
	require.Equal(t, []byte{2, 7, 0x41, 0x12}, rtu{}.wrap(0, 2, []byte{7}))
	require.Equal(t, uint16(0x4B37), crc16([]byte("123456789")))
}

// FuzzDecodeRTU gives the serial framing any bytes as the answer to a request.
// What it accepts belongs to the request, has the form that was asked for and a
// right checksum, and no byte behind the frame is read.
func FuzzDecodeRTU(f *testing.F) {
	for _, function := range []byte{1, 2, 3, 4, 5, 6, 15, 16} {
		request := rtu{}.wrap(0, 17, fuzzPDU(function, 5))
		f.Add(function, uint16(5), rtuHonest(request))
		f.Add(function, uint16(5), append(rtuReply(request, function|exceptionBit, 2), 1, 2, 3))
	}
	f.Add(byte(43), uint16(0), rtuReply([]byte{17}, 43, 14, 1, 1, 0, 0, 1, 0, 2, 'N', 'L'))
	f.Add(byte(43), uint16(0), rtuReply([]byte{17}, 43, 14, 1, 1, 0xFF, 1, 2, 0, 1, 'N', 1, 0))
	f.Add(byte(3), uint16(1), []byte{17, 3, 255, 0, 0})
	f.Fuzz(func(t *testing.T, function byte, count uint16, stream []byte) {
		pdu := fuzzPDU(function, count)
		r := bytes.NewReader(stream)
		answer, err := rtu{}.readAnswer(r, rtu{}.wrap(0, 17, pdu))
		if err != nil {
			require.LessOrEqual(t, len(stream)-r.Len(), maxRTUFrame)
			return
		}
		require.Equal(t, rtu{}.wrap(0, 17, answer), stream[:len(stream)-r.Len()], "nothing but the frame is read")
		require.NoError(t, checkAnswer(pdu, answer))
		require.LessOrEqual(t, len(answer), maxPDU)
	})
}
