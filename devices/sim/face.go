package sim

import (
	"errors"
	"io"
	"log"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/simonvetter/modbus"

	"edgefleet/devices"
)

// idleTimeout is after how long without a request the device drops a client.
const idleTimeout = 2 * time.Minute

// face is what stands at the device's address. end takes it away: afterwards
// nothing listens there, its connections are cut, and no request that came
// through it can change the device.
type face interface{ end() }

// session is the healthy face: the Modbus server. There is one for each time
// that the device comes back, because the server's own restart races with its
// accept loop.
type session struct {
	server  *modbus.ModbusServer
	mem     *memory
	latency *atomic.Int64
	wrote   func([]Write)
	done    chan struct{}
	ended   bool // guarded by mem.mu
}

func serve(addr string, clients uint, logger *log.Logger, s *session) (face, error) {
	s.done = make(chan struct{})
	err := whenFree(func() error {
		var err error
		s.server, err = modbus.NewServer(&modbus.ServerConfiguration{
			URL: "tcp://" + addr, Timeout: idleTimeout, MaxClients: clients, Logger: logger,
		}, s)
		if err != nil {
			return err
		}
		return s.server.Start()
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (s *session) end() {
	s.mem.mu.Lock()
	s.ended = true
	s.mem.mu.Unlock()
	close(s.done)
	// Its only failure is that of closing a listener, which is closed then.
	_ = s.server.Stop()
}

// answer is the way of all requests to the memory.
func (s *session) answer(table devices.ModbusTable, address, n uint16, write []uint16) ([]uint16, error) {
	if d := time.Duration(s.latency.Load()); d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-s.done:
			return nil, modbus.ErrServerDeviceFailure
		}
	}
	if write == nil {
		return s.mem.read(table, address, n)
	}
	writes, err := s.mem.write(table, address, write, func() bool { return !s.ended })
	if err != nil {
		return nil, err
	}
	s.wrote(writes)
	return nil, nil
}

// HandleCoils serves function codes 1, 5 and 15.
func (s *session) HandleCoils(r *modbus.CoilsRequest) ([]bool, error) {
	var write []uint16
	if r.IsWrite {
		write = make([]uint16, len(r.Args))
		for i, on := range r.Args {
			if on {
				write[i] = 1
			}
		}
	}
	words, err := s.answer(devices.Coil, r.Addr, r.Quantity, write)
	return bits(words), err
}

// HandleDiscreteInputs serves function code 2.
func (s *session) HandleDiscreteInputs(r *modbus.DiscreteInputsRequest) ([]bool, error) {
	words, err := s.answer(devices.Discrete, r.Addr, r.Quantity, nil)
	return bits(words), err
}

// HandleHoldingRegisters serves function codes 3, 6 and 16.
func (s *session) HandleHoldingRegisters(r *modbus.HoldingRegistersRequest) ([]uint16, error) {
	var write []uint16
	if r.IsWrite {
		write = r.Args
	}
	return s.answer(devices.Holding, r.Addr, r.Quantity, write)
}

// HandleInputRegisters serves function code 4.
func (s *session) HandleInputRegisters(r *modbus.InputRegistersRequest) ([]uint16, error) {
	return s.answer(devices.Input, r.Addr, r.Quantity, nil)
}

func bits(words []uint16) []bool {
	out := make([]bool, len(words))
	for i, w := range words {
		out[i] = w != 0
	}
	return out
}

// mute is the face of a device that accepts connections and then either says
// nothing, or resets them.
type mute struct {
	listener net.Listener
	reset    bool
	limit    int
	work     sync.WaitGroup
	mu       sync.Mutex
	conns    []net.Conn // oldest first
	ended    bool
}

func silence(addr string, clients uint, reset bool) (face, error) {
	m := &mute{reset: reset, limit: int(clients)}
	err := whenFree(func() error {
		var err error
		m.listener, err = net.Listen("tcp4", addr)
		return err
	})
	if err != nil {
		return nil, err
	}
	m.work.Go(m.accept)
	return m, nil
}

func (m *mute) accept() {
	for {
		conn, err := m.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Out of file descriptors, or a client that left while it waited.
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if m.reset {
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0) // so that Close sends a reset
			}
			_ = conn.Close()
			continue
		}
		m.keep(conn)
	}
}

// keep holds a connection open until the client leaves. The oldest one makes
// room for a new one, so that a client that left without a word does not turn
// silence into something else for the others.
func (m *mute) keep(conn net.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended {
		_ = conn.Close()
		return
	}
	if len(m.conns) >= m.limit {
		_ = m.conns[0].Close()
		m.conns = m.conns[1:]
	}
	m.conns = append(m.conns, conn)
	m.work.Go(func() {
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
		m.mu.Lock()
		defer m.mu.Unlock()
		for i, c := range m.conns {
			if c == conn {
				m.conns = append(m.conns[:i:i], m.conns[i+1:]...)
				break
			}
		}
	})
}

func (m *mute) end() {
	_ = m.listener.Close()
	m.mu.Lock()
	m.ended = true
	for _, c := range m.conns {
		_ = c.Close()
	}
	m.mu.Unlock()
	m.work.Wait()
}

// whenFree calls listen until the address is free: the previous listener on
// it is closed for the kernel only when its accept loop has let go of it.
func whenFree(listen func() error) error {
	const patience = 3 * time.Second
	giveUp := time.Now().Add(patience)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		err := listen()
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(giveUp) {
			return err
		}
		time.Sleep(pause)
	}
}
