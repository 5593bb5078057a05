package sim_test

import (
	"encoding/binary"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/goburrow/modbus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"edgefleet/devices/sim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	quick    = 20 * time.Millisecond // boot, init and cycle times of tests
	patience = 10 * time.Second      // how long a poll goes on
)

// clock is a clock that stands until it is moved.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func startFeeder(t *testing.T, change ...func(*sim.Config)) *sim.Device {
	t.Helper()
	model, err := sim.FeederRTU("edge-001")
	require.NoError(t, err)
	cfg := sim.Config{ID: "edge-001", Model: model, Boot: quick, Init: quick}
	for _, c := range change {
		c(&cfg)
	}
	d, err := sim.Start(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

func startOutlet(t *testing.T, change ...func(*sim.Config)) *sim.Outlet {
	t.Helper()
	cfg := sim.Config{ID: "switch-01", Boot: quick, Init: quick}
	for _, c := range change {
		c(&cfg)
	}
	o, err := sim.StartOutlet(cfg, quick)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, o.Close()) })
	return o
}

// dial returns a client of its own connection, and the handler to close it.
func dial(t *testing.T, addr string) (modbus.Client, *modbus.TCPClientHandler) {
	t.Helper()
	h := modbus.NewTCPClientHandler(addr)
	h.Timeout = 2 * time.Second
	h.SlaveId = 255
	require.NoError(t, h.Connect())
	t.Cleanup(func() { _ = h.Close() })
	return modbus.NewClient(h), h
}

func words(b []byte) []uint16 {
	out := make([]uint16, len(b)/2)
	for i := range out {
		out[i] = binary.BigEndian.Uint16(b[2*i:])
	}
	return out
}

func payload(w ...uint16) []byte {
	out := make([]byte, 0, 2*len(w))
	for _, v := range w {
		out = binary.BigEndian.AppendUint16(out, v)
	}
	return out
}

// requireException wants the device's refusal with that code.
func requireException(t *testing.T, code byte, err error) {
	t.Helper()
	var refusal *modbus.ModbusError
	require.Truef(t, errors.As(err, &refusal), "want exception %d, got %v", code, err)
	require.Equal(t, code, refusal.ExceptionCode)
}

// answers says whether a fresh connection gets an answer within the time.
func answers(addr string, within time.Duration) error {
	h := modbus.NewTCPClientHandler(addr)
	h.Timeout = within
	h.SlaveId = 255
	defer func() { _ = h.Close() }()
	_, err := modbus.NewClient(h).ReadHoldingRegisters(0, 1)
	return err
}

func requireAnswers(t *testing.T, addr string) {
	t.Helper()
	require.Eventually(t, func() bool { return answers(addr, time.Second) == nil }, patience, 2*time.Millisecond)
}
