package sim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"edgefleet/devices"
	"edgefleet/devices/sim/chassis"
)

// Config says what device to simulate.
type Config struct {
	// ID is 1 to 13 bytes, because the serial number is made of it.
	ID    string
	Model Model
	// Address is an IPv4 loopback address with a port; port 0 and an empty
	// address mean any free one.
	Address string
	// Boot is how long the device is dark after its power came back (0: 1 s);
	// Init is how long its state is init then (0: half of Boot).
	Boot, Init time.Duration
	// MaxClients bounds the connections (0: 8); a further one is closed.
	MaxClients uint
	// Memory is what an earlier device of this ID remembered.
	Memory Memory
	// Now is the clock of everything that a client can read (nil: time.Now).
	Now func() time.Time
	// OnWrite is told of every word that a client wrote, in the order of
	// writing, before the client gets its answer. It may call the device.
	OnWrite func(Write)
	// OnChange is told that Memory would now return something else.
	OnChange func()
	// Logger may be nil.
	Logger *zap.Logger
}

// Phases of a device, as Status gives them.
const (
	PhaseOff     = chassis.PhaseOff
	PhaseBooting = chassis.PhaseBooting
	PhaseInit    = chassis.PhaseInit
	PhaseRunning = chassis.PhaseRunning
)

// Status is the present state of a device.
type Status = chassis.Status

// Device is a simulated Modbus device. Its methods are safe for concurrent
// use.
type Device struct {
	cfg  Config
	body *chassis.Chassis
	mem  *memory
}

// Start makes a device and puts it on its address. It runs at once, with the
// faults of its memory.
func Start(cfg Config) (*Device, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	std, err := zap.NewStdLogAt(cfg.Logger.With(zap.String("device", cfg.ID)), zap.DebugLevel)
	if err != nil {
		return nil, err
	}
	d := &Device{cfg: cfg, mem: newMemory(cfg.ID, cfg.Model, cfg.Now)}
	d.mem.recall(cfg.Memory)
	// A client may find the socket before the chassis is there.
	ready := make(chan struct{})
	pause := func(ctx context.Context) bool {
		<-ready
		return d.body != nil && d.body.Pause(ctx)
	}
	d.body, err = chassis.Start(chassis.Config{
		ID: cfg.ID, Profile: cfg.Model.Profile, Address: cfg.Address, Boot: cfg.Boot, MaxClients: cfg.MaxClients,
		Fault: cfg.Memory.Fault, Stuck: cfg.Memory.Stuck, Latency: cfg.Memory.Latency,
		Serve: func(addr string) (chassis.Face, error) {
			return serve(addr, cfg.MaxClients, std, &session{mem: d.mem, pause: pause, wrote: d.wrote})
		},
		Booted: func() { d.mem.boot(cfg.Init) }, OnChange: cfg.OnChange, Logger: cfg.Logger,
	})
	close(ready)
	if err != nil {
		return nil, err
	}
	return d, nil
}

func (c *Config) complete() error {
	if err := c.Model.validate(); err != nil {
		return err
	}
	if c.ID == "" || len(c.Model.Registers) == 0 {
		return errors.New("a simulated device needs an ID and a model")
	}
	if c.Boot < 0 || c.Init < 0 || c.Memory.Latency < 0 {
		return fmt.Errorf("simulated device %s: negative duration", c.ID)
	}
	if c.Boot == 0 {
		c.Boot = time.Second
	}
	if c.Init == 0 {
		c.Init = c.Boot / 2
	}
	if c.MaxClients == 0 {
		c.MaxClients = 8
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.OnWrite == nil {
		c.OnWrite = func(Write) {}
	}
	if c.OnChange == nil {
		c.OnChange = func() {}
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return nil
}

// Addr returns host:port.
func (d *Device) Addr() string { return d.body.Addr() }

func (d *Device) wrote(writes []Write) {
	for _, w := range writes {
		d.cfg.OnWrite(w)
	}
	d.cfg.OnChange()
}

// Break gives the device a fault. A stuck one outlives power cycles; of a
// drift it means that writes are acknowledged and forgotten. It fails for a
// drift of a model without settings.
func (d *Device) Break(f Fault, stuck bool) error {
	if f != FaultDrift {
		return d.body.Break(f, stuck)
	}
	defer d.cfg.OnChange()
	if !d.mem.drift(stuck) {
		return fmt.Errorf("%s is a %s, which has no settings that could drift", d.cfg.ID, d.cfg.Model.Profile)
	}
	return nil
}

// Heal ends all faults and undoes what is left of a drift. It does not give
// power to a device without, nor hurry one that boots.
func (d *Device) Heal() error {
	d.mem.restore()
	return d.body.Heal()
}

// PowerOff takes the device's power, and with it a fault that is not stuck.
func (d *Device) PowerOff() { d.body.PowerOff() }

// PowerOn gives the device its power back: it boots, and then answers with an
// uptime of 0.
func (d *Device) PowerOn() { d.body.PowerOn() }

// SetLatency delays every answer.
func (d *Device) SetLatency(latency time.Duration) error { return d.body.SetLatency(latency) }

// Status returns the present state.
func (d *Device) Status() Status {
	d.mem.mu.Lock()
	at := d.mem.moment()
	total := d.mem.total
	d.mem.mu.Unlock()
	s := d.body.Status(at.Up, at.Starting)
	s.Drifted, s.DriftStuck = d.mem.drifted()
	s.Writes = total
	return s
}

// Writes returns a counter for each address that clients wrote to, by table
// and address.
func (d *Device) Writes() []Counter { return d.mem.countersByAddress() }

// Log returns the last 256 words that clients wrote, oldest first.
func (d *Device) Log() []Write { return d.Memory().Log }

// Peek returns n raw words without a client, whatever the device's faults.
func (d *Device) Peek(table devices.ModbusTable, address, n uint16) ([]uint16, error) {
	words, err := d.mem.read(table, address, n)
	if err != nil {
		return nil, fmt.Errorf("%s has no %s %d+%d", d.cfg.ID, table, address, n)
	}
	return words, nil
}

// Poke puts raw words without a client: neither checked nor counted.
func (d *Device) Poke(table devices.ModbusTable, address uint16, words ...uint16) error {
	if !d.mem.poke(table, address, words...) {
		return fmt.Errorf("%s cannot store to %s %d+%d", d.cfg.ID, table, address, len(words))
	}
	d.cfg.OnChange()
	return nil
}

// Memory returns what the device would have to be told to continue as it is.
func (d *Device) Memory() Memory {
	out := d.mem.snapshot()
	out.Latency = d.body.Latency()
	out.Fault, out.Stuck = d.body.Fault()
	return out
}

// Close takes the device from its address. It can still be asked for its
// Memory, Status and Writes.
func (d *Device) Close() error { return d.body.Close() }
