package sim

import (
	"context"
	"log"
	"time"

	"github.com/simonvetter/modbus"

	"edgefleet/devices"
	"edgefleet/devices/sim/chassis"
)

// idleTimeout is after how long without a request the device drops a client.
const idleTimeout = 2 * time.Minute

// session is the healthy face: the Modbus server. There is one for each time
// that the device comes back, because the server's own restart races with its
// accept loop.
type session struct {
	server *modbus.ModbusServer
	mem    *memory
	pause  func(context.Context) bool
	wrote  func([]Write)
	life   context.Context
	cancel context.CancelFunc
	ended  bool // guarded by mem.mu
}

func serve(addr string, clients uint, logger *log.Logger, s *session) (chassis.Face, error) {
	s.life, s.cancel = context.WithCancel(context.Background())
	err := chassis.WhenFree(func() error {
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

// End implements chassis.Face.
func (s *session) End() {
	s.mem.mu.Lock()
	s.ended = true
	s.mem.mu.Unlock()
	s.cancel()
	// Its only failure is that of closing a listener, which is closed then.
	_ = s.server.Stop()
}

// answer is the way of all requests to the memory.
func (s *session) answer(table devices.ModbusTable, address, n uint16, write []uint16) ([]uint16, error) {
	if !s.pause(s.life) {
		return nil, modbus.ErrServerDeviceFailure
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
