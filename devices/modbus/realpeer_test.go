package modbus

import (
	"context"
	"fmt"
	"io"
	"log"
	"math"
	"net"
	"sync"
	"testing"
	"time"

	sv "github.com/simonvetter/modbus"
	"github.com/stretchr/testify/require"

	"edgefleet/devices"
)

// device is the memory behind github.com/simonvetter/modbus, a Modbus server
// that shares no code with this driver.
type device struct {
	mu              sync.Mutex
	holding, input  [1 << 16]uint16
	coils, discrete [1 << 16]bool
	// writes lists the write requests, as "holding 100+2".
	writes []string
}

func (d *device) HandleCoils(r *sv.CoilsRequest) ([]bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r.IsWrite {
		d.writes = append(d.writes, fmt.Sprintf("coil %d+%d", r.Addr, r.Quantity))
		copy(d.coils[r.Addr:], r.Args)
	}
	return append([]bool(nil), d.coils[r.Addr:][:r.Quantity]...), nil
}

func (d *device) HandleDiscreteInputs(r *sv.DiscreteInputsRequest) ([]bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]bool(nil), d.discrete[r.Addr:][:r.Quantity]...), nil
}

func (d *device) HandleHoldingRegisters(r *sv.HoldingRegistersRequest) ([]uint16, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r.Addr >= 60000 {
		return nil, sv.ErrIllegalDataAddress
	}
	if r.IsWrite {
		d.writes = append(d.writes, fmt.Sprintf("holding %d+%d", r.Addr, r.Quantity))
		copy(d.holding[r.Addr:], r.Args)
	}
	return append([]uint16(nil), d.holding[r.Addr:][:r.Quantity]...), nil
}

func (d *device) HandleInputRegisters(r *sv.InputRegistersRequest) ([]uint16, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]uint16(nil), d.input[r.Addr:][:r.Quantity]...), nil
}

func (d *device) takeWrites() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer func() { d.writes = nil }()
	return d.writes
}

// serve runs the server on a free port of the loopback. The server takes no
// listener, so the port is found first, and another one when it is snatched.
func serve(t testing.TB, d *device) devices.Endpoint {
	t.Helper()
	for range 20 {
		free, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		address := free.Addr().String()
		require.NoError(t, free.Close())
		server, err := sv.NewServer(&sv.ServerConfiguration{
			URL: "tcp://" + address, Timeout: time.Minute, MaxClients: 10, Logger: log.New(io.Discard, "", 0),
		}, d)
		require.NoError(t, err)
		if server.Start() != nil {
			continue
		}
		t.Cleanup(func() { _ = server.Stop() })
		return devices.Endpoint{DeviceID: "dev-1", Address: address, Unit: 1, Allowed: loopback,
			ConnectTimeout: 10 * time.Second, ResponseTimeout: 10 * time.Second}
	}
	t.Fatal("no free port")
	return devices.Endpoint{}
}

// otherClient reads with the peer's own client, whose idea of word order and
// floats is not ours.
func otherClient(t *testing.T, ep devices.Endpoint, order sv.WordOrder) *sv.ModbusClient {
	t.Helper()
	c, err := sv.NewClient(&sv.ClientConfiguration{URL: "tcp://" + ep.Address, Timeout: 10 * time.Second, Logger: log.New(io.Discard, "", 0)})
	require.NoError(t, err)
	require.NoError(t, c.SetEncoding(sv.BIG_ENDIAN, order))
	require.NoError(t, c.Open())
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestEveryTypeAgainstARealServer(t *testing.T) {
	ep := serve(t, &device{})
	_, l := open(t, Options{}, ep)
	high, low := otherClient(t, ep, sv.HIGH_WORD_FIRST), otherClient(t, ep, sv.LOW_WORD_FIRST)
	const at = 1000
	for _, c := range []struct {
		name   string
		point  devices.Point
		length uint16
		value  devices.Value
		theirs func(c *sv.ModbusClient) (any, error)
		wire   any
	}{
		{name: "bool", point: devices.Point{Type: devices.Bool}, value: true,
			theirs: func(c *sv.ModbusClient) (any, error) { return c.ReadRegister(at, sv.HOLDING_REGISTER) }, wire: uint16(1)},
		{name: "int16", point: devices.Point{Type: devices.Int16}, value: int64(-720),
			theirs: func(c *sv.ModbusClient) (any, error) { return c.ReadRegister(at, sv.HOLDING_REGISTER) }, wire: uint16(0xFD30)},
		{name: "uint16 with a scale", point: devices.Point{Type: devices.Uint16, Scale: 0.01}, value: 50.1,
			theirs: func(c *sv.ModbusClient) (any, error) { return c.ReadRegister(at, sv.HOLDING_REGISTER) }, wire: uint16(5010)},
		{name: "uint16 with an enum", point: devices.Point{Type: devices.Uint16, Enum: map[string]int64{"off": 0, "on": 1}}, value: "on",
			theirs: func(c *sv.ModbusClient) (any, error) { return c.ReadRegister(at, sv.HOLDING_REGISTER) }, wire: uint16(1)},
		{name: "int32", point: devices.Point{Type: devices.Int32}, value: int64(-70000),
			theirs: func(c *sv.ModbusClient) (any, error) { return c.ReadUint32(at, sv.HOLDING_REGISTER) }, wire: uint32(0xFFFEEE90)},
		{name: "uint32", point: devices.Point{Type: devices.Uint32, Scale: 0.01}, value: 630.0,
			theirs: func(c *sv.ModbusClient) (any, error) { return c.ReadUint32(at, sv.HOLDING_REGISTER) }, wire: uint32(63000)},
		{name: "int64", point: devices.Point{Type: devices.Int64}, value: int64(math.MinInt64),
			theirs: func(c *sv.ModbusClient) (any, error) { return c.ReadUint64(at, sv.HOLDING_REGISTER) }, wire: uint64(1 << 63)},
		{name: "uint64", point: devices.Point{Type: devices.Uint64}, value: uint64(math.MaxUint64 - 1),
			theirs: func(c *sv.ModbusClient) (any, error) { return c.ReadUint64(at, sv.HOLDING_REGISTER) }, wire: uint64(math.MaxUint64 - 1)},
		{name: "float32", point: devices.Point{Type: devices.Float32}, value: 4500.25,
			theirs: func(c *sv.ModbusClient) (any, error) { return c.ReadFloat32(at, sv.HOLDING_REGISTER) }, wire: float32(4500.25)},
		{name: "float64", point: devices.Point{Type: devices.Float64}, value: math.Pi,
			theirs: func(c *sv.ModbusClient) (any, error) { return c.ReadFloat64(at, sv.HOLDING_REGISTER) }, wire: math.Pi},
		{name: "string", point: devices.Point{Type: devices.String}, length: 8, value: "FR-200 ü",
			theirs: func(c *sv.ModbusClient) (any, error) {
				b, err := c.ReadBytes(at, 16, sv.HOLDING_REGISTER)
				return string(b), err
			}, wire: "FR-200 ü\x00\x00\x00\x00\x00\x00\x00"},
	} {
		for _, swap := range []bool{false, true} {
			if swap && c.point.Type == devices.String {
				continue // A text has no least significant register.
			}
			t.Run(fmt.Sprintf("%s, swapped %v", c.name, swap), func(t *testing.T) {
				p := c.point
				p.Name = c.name
				p.Modbus = &devices.ModbusAddress{Table: devices.Holding, Address: at, Length: c.length, WordSwap: swap}
				require.NoError(t, l.Write(t.Context(), []devices.Setting{{Point: p, Value: c.value}}))
				client := high
				if swap {
					client = low
				}
				wire, err := c.theirs(client)
				require.NoError(t, err)
				require.Equal(t, c.wire, wire)
				values, err := l.Read(t.Context(), []devices.Point{p})
				require.NoError(t, err)
				require.Equal(t, []devices.Value{c.value}, values)
			})
		}
	}
}

func TestEveryTableAgainstARealServer(t *testing.T) {
	mem := &device{}
	mem.holding[9], mem.input[9], mem.coils[9], mem.discrete[11] = 21, 22, true, true
	_, l := open(t, Options{}, serve(t, mem))
	point := func(table devices.ModbusTable, address uint16) devices.Point {
		p := devices.Point{Name: string(table), Type: devices.Uint16, Modbus: &devices.ModbusAddress{Table: table, Address: address}}
		if isBits(table) {
			p.Type = devices.Bool
		}
		return p
	}
	values, err := l.Read(t.Context(), []devices.Point{
		point(devices.Discrete, 11), point(devices.Discrete, 10), point(devices.Coil, 9), point(devices.Coil, 8),
		point(devices.Input, 9), point(devices.Holding, 9),
	})
	require.NoError(t, err)
	require.Equal(t, []devices.Value{true, false, true, false, int64(22), int64(21)}, values, "in the order of the question")

	t.Run("a coil takes FC05, several FC15", func(t *testing.T) {
		require.NoError(t, l.Write(t.Context(), []devices.Setting{{Point: point(devices.Coil, 100), Value: true}}))
		var many []devices.Setting
		for i := range uint16(11) {
			many = append(many, devices.Setting{Point: point(devices.Coil, 200+i), Value: i%3 == 0})
		}
		require.NoError(t, l.Write(t.Context(), many))
		require.Equal(t, []string{"coil 100+1", "coil 200+11"}, mem.takeWrites())
		require.True(t, mem.coils[100])
		for i := range 11 {
			require.Equal(t, i%3 == 0, mem.coils[200+i], "coil %d", i)
		}
	})
	t.Run("the server's refusal is Rejected and names the registers", func(t *testing.T) {
		_, err := l.Read(t.Context(), []devices.Point{register("gone", 60000)})
		require.Equal(t, devices.Rejected, devices.KindOf(err))
		require.ErrorContains(t, err, "dev-1: read holding 60000+1: rejected: ")
		require.ErrorContains(t, err, "illegal data address")
	})
	t.Run("ping", func(t *testing.T) { require.NoError(t, l.Ping(t.Context())) })
}

// TestAWriteThatStopsHalfway covers what the caller learns when one of several
// requests fails.
func TestAWriteThatStopsHalfway(t *testing.T) {
	three := []devices.Setting{set("a", 100, 1), set("c", 60000, 3), set("b", 200, 2)}
	t.Run("refused by the device", func(t *testing.T) {
		mem := &device{}
		_, l := open(t, Options{}, serve(t, mem))
		err := l.Write(t.Context(), three)
		require.Equal(t, devices.Rejected, devices.KindOf(err))
		require.ErrorContains(t, err, "write holding 60000+1 (c): rejected: ")
		require.ErrorContains(t, err, "(2 of 3 requests before it were written)")
		require.Equal(t, []string{"holding 100+1", "holding 200+1"}, mem.takeWrites(), "in ascending order")
	})
	t.Run("ended by the caller before the next is sent", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p := newPeer(t, func(c *net.TCPConn, request []byte) bool {
			defer cancel()
			return honest(c, request)
		})
		ep := p.endpoint()
		ep.Gap = time.Hour
		_, l := open(t, Options{}, ep)
		err := l.Write(ctx, three)
		require.Equal(t, devices.Indeterminate, devices.KindOf(err))
		require.ErrorIs(t, err, context.Canceled)
		_, requests := p.seen()
		require.Equal(t, 1, requests)
	})
	// vanishes answers one request, and is gone.
	vanishes := func(t *testing.T) *peer {
		var p *peer
		p = newPeer(t, func(c *net.TCPConn, request []byte) bool {
			_ = p.listener.Close()
			honest(c, request)
			return false
		})
		return p
	}
	t.Run("the device vanishes after the first request", func(t *testing.T) {
		_, l := open(t, Options{}, vanishes(t).endpoint())
		err := l.Write(t.Context(), three)
		require.Equal(t, devices.Indeterminate, devices.KindOf(err))
	})
	t.Run("the device vanishes before the first request", func(t *testing.T) {
		ep := vanishes(t).endpoint()
		d, l := open(t, Options{}, ep)
		require.NoError(t, l.Write(t.Context(), three[:1]))
		waitFor(t, "the end arrives", func() bool { return lineIsStale(d, ep.Address) })
		err := l.Write(t.Context(), three)
		require.Equal(t, devices.Unreachable, devices.KindOf(err), "nothing of this Write was sent")
		require.ErrorContains(t, err, "the connection was refused")
	})
}
