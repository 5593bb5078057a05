package modbus

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	pdus "github.com/goburrow/modbus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"edgefleet/devices"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// waitFor polls until cond holds, and fails the test after ten seconds.
func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	require.Eventually(t, cond, 10*time.Second, time.Millisecond, what)
}

// peer is a Modbus device whose every answer the test decides.
type peer struct {
	listener net.Listener
	// serial peers take and give frames of the serial line; see rtuPeer.
	serial bool
	// answer is called for each request, one at a time per connection; when
	// it returns false the connection is closed.
	answer func(c *net.TCPConn, request []byte) bool
	// greet is called for each connection; nil does nothing.
	greet func(c *net.TCPConn)

	mu       sync.Mutex
	requests [][]byte
	dials    int
	open     map[net.Conn]bool
	mostOpen int
	served   sync.WaitGroup
}

// newPeer starts a peer; without an answer function it is an honest one.
func newPeer(t testing.TB, answer func(c *net.TCPConn, request []byte) bool) *peer {
	t.Helper()
	if answer == nil {
		answer = honest
	}
	return startPeer(t, &peer{answer: answer})
}

func startPeer(t testing.TB, p *peer) *peer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p.listener, p.open = listener, map[net.Conn]bool{}
	p.served.Go(p.accept)
	t.Cleanup(p.stop)
	return p
}

func (p *peer) stop() {
	_ = p.listener.Close()
	p.mu.Lock()
	for c := range p.open {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.served.Wait()
}

func (p *peer) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.dials++
		p.open[c] = true
		p.mostOpen = max(p.mostOpen, len(p.open))
		p.mu.Unlock()
		p.served.Go(func() { p.serve(c.(*net.TCPConn)) })
	}
}

func (p *peer) serve(c *net.TCPConn) {
	defer func() {
		// Forgotten first, so that a peer that has seen the client hang up
		// never counts two where there was one.
		p.mu.Lock()
		delete(p.open, c)
		p.mu.Unlock()
		_ = c.Close()
	}()
	if p.greet != nil {
		p.greet(c)
	}
	for {
		request, err := readRequest(c, p.serial)
		if err != nil {
			return
		}
		p.mu.Lock()
		p.requests = append(p.requests, request)
		p.mu.Unlock()
		if !p.answer(c, request) {
			return
		}
	}
}

// readRequest reads the frame of a request.
func readRequest(r io.Reader, serial bool) ([]byte, error) {
	request := make([]byte, maxFrame)
	n := headerLen
	if serial {
		n = 7
	}
	if _, err := io.ReadFull(r, request[:n]); err != nil {
		return nil, err
	}
	length := headerLen - 1 + int(binary.BigEndian.Uint16(request[4:]))
	switch {
	case !serial:
	case request[1] == funcEncapsulated:
		length = 7
	case request[1] == pdus.FuncCodeWriteMultipleRegisters, request[1] == pdus.FuncCodeWriteMultipleCoils:
		length = 9 + int(request[6])
	default:
		length = 8
	}
	_, err := io.ReadFull(r, request[n:length])
	return request[:length], err
}

// seen returns how many connections and requests the peer has seen.
func (p *peer) seen() (dials, requests int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dials, len(p.requests)
}

func (p *peer) endpoint() devices.Endpoint {
	return devices.Endpoint{
		DeviceID: "dev-1", Address: p.listener.Addr().String(), Unit: 1, Allowed: loopback,
		ConnectTimeout: 10 * time.Second, ResponseTimeout: 10 * time.Second,
	}
}

// honest answers every request as a device would whose registers hold their
// own addresses, and which accepts every write.
func honest(c *net.TCPConn, request []byte) bool {
	_, err := c.Write(honestAnswer(request))
	return err == nil
}

func honestAnswer(request []byte) []byte {
	return reply(request, honestPDU(request[headerLen:])...)
}

func honestPDU(pdu []byte) []byte {
	address := binary.BigEndian.Uint16(pdu[1:])
	switch pdu[0] {
	case pdus.FuncCodeReadHoldingRegisters, pdus.FuncCodeReadInputRegisters:
		data := []byte{pdu[0], byte(2 * quantity(pdu))}
		for i := range quantity(pdu) {
			data = binary.BigEndian.AppendUint16(data, address+uint16(i))
		}
		return data
	case pdus.FuncCodeReadCoils, pdus.FuncCodeReadDiscreteInputs:
		n := (quantity(pdu) + 7) / 8
		return append([]byte{pdu[0], byte(n)}, make([]byte, n)...)
	}
	return pdu[:5]
}

// reply frames a PDU as the answer to a request.
func reply(request []byte, pdu ...byte) []byte {
	return newFrame(binary.BigEndian.Uint16(request), request[6], pdu)
}

// open returns a link over a driver of its own.
func open(t testing.TB, o Options, ep devices.Endpoint) (*Driver, devices.Link) {
	t.Helper()
	d := New(o)
	t.Cleanup(d.Close)
	l, err := d.Open(t.Context(), ep)
	require.NoError(t, err)
	return d, l
}

// register is a uint16 in a holding register.
func register(name string, address uint16) devices.Point {
	return devices.Point{Name: name, Type: devices.Uint16, Writable: true,
		Modbus: &devices.ModbusAddress{Table: devices.Holding, Address: address}}
}

func set(name string, address uint16, value uint64) devices.Setting {
	return devices.Setting{Point: register(name, address), Value: int64(value)}
}
