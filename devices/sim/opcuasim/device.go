package opcuasim

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"

	"edgefleet/devices/sim/chassis"
)

// Profile is the built-in profile that the controller fits.
const Profile = "opcua-plc"

// Config says what controller to simulate.
type Config struct {
	// ID is part of the serial number.
	ID string
	// Address is an IPv4 loopback address with a port; port 0 and an empty
	// address mean any free one.
	Address string
	// Boot is how long the controller is dark after its power came back (0:
	// 1 s); Init is how long its program is stopped then, and after a restart
	// (0: half of Boot).
	Boot, Init time.Duration
	// MaxClients bounds the connections (0: 8); the oldest makes room.
	MaxClients uint
	// Identity is the server's certificate; servers may share one.
	Identity *Identity
	// User and Password are the one log-in.
	User, Password string
	// Trusted are the clients' certificates that the server takes; none means
	// any.
	Trusted []*x509.Certificate
	// Memory is what an earlier device of this ID remembered.
	Memory Memory
	// Now is the clock of everything that a client can read (nil: time.Now).
	Now func() time.Time
	// OnChange is told that Memory would now return something else. It must
	// not call the device.
	OnChange func()
	// Logger may be nil.
	Logger *zap.Logger
}

// Memory is all of a controller that outlives its process. It is made to be
// kept as JSON.
type Memory struct {
	// Values are those that differ from the factory's, as texts by node.
	Values map[string]string `json:"values,omitempty"`
	// Replaced holds what a drift replaced, as far as it still stands.
	Replaced   map[string]string `json:"replaced,omitempty"`
	DriftStuck bool              `json:"drift_stuck,omitempty"`
	Restarts   uint32            `json:"restarts,omitempty"`
	// Software is the version that runs where it is not the factory's,
	// SoftwareBefore the one before; SoftwareSick says that it is not well.
	Software       string            `json:"software,omitempty"`
	SoftwareBefore string            `json:"software_before,omitempty"`
	SoftwareSick   bool              `json:"software_sick,omitempty"`
	Fault          chassis.Fault     `json:"fault,omitempty"`
	Stuck          bool              `json:"stuck,omitempty"`
	Latency        time.Duration     `json:"latency_ns,omitempty"`
	Counters       []chassis.Counter `json:"counters,omitempty"`
	Log            []chassis.Write   `json:"log,omitempty"`
}

// Device is a simulated controller with an OPC UA server. Its methods are
// safe for concurrent use.
type Device struct {
	cfg   Config
	body  *chassis.Chassis
	ready chan struct{} // closed when body is there
	plant *plant

	mu       sync.Mutex
	sessions int
	channels uint32
}

// Start makes a controller and puts it on its address.
func Start(cfg Config) (*Device, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	plant, err := newPlant(cfg.ID, cfg.Now, cfg.Memory)
	if err != nil {
		return nil, fmt.Errorf("simulated device %s: %w", cfg.ID, err)
	}
	d := &Device{cfg: cfg, plant: plant, ready: make(chan struct{})}
	d.body, err = chassis.Start(chassis.Config{
		ID: cfg.ID, Profile: Profile, Address: cfg.Address, Boot: cfg.Boot, MaxClients: cfg.MaxClients,
		Fault: cfg.Memory.Fault, Stuck: cfg.Memory.Stuck, Latency: cfg.Memory.Latency,
		Serve:  func(addr string) (chassis.Face, error) { return chassis.Listen(addr, cfg.MaxClients, d.serve) },
		Booted: func() { plant.boot(cfg.Init) }, OnChange: cfg.OnChange, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	close(d.ready)
	return d, nil
}

func (c *Config) complete() error {
	switch {
	case c.ID == "":
		return errors.New("a simulated device needs an ID")
	case c.Identity == nil:
		return fmt.Errorf("simulated device %s: it has no certificate", c.ID)
	case c.User == "" || c.Password == "":
		return fmt.Errorf("simulated device %s: it has no user with a password", c.ID)
	case c.Boot < 0 || c.Init < 0 || c.Memory.Latency < 0:
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
	if c.OnChange == nil {
		c.OnChange = func() {}
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return nil
}

// serve speaks to one client.
func (d *Device) serve(ctx context.Context, conn net.Conn) {
	select {
	case <-d.ready:
	case <-ctx.Done():
		return
	}
	log := d.cfg.Logger.With(zap.String("device", d.cfg.ID))
	c := newChannel(d, conn)
	defer c.leave()
	// The library's decoder trusts the lengths that a client states.
	defer func() {
		if r := recover(); r != nil {
			log.Warn("a client's message could not be decoded", zap.Any("panic", r))
		}
	}()
	if err := c.run(ctx); err != nil {
		log.Debug("the connection of a client has ended", zap.Error(err))
	}
}

// Addr returns host:port.
func (d *Device) Addr() string { return d.body.Addr() }

// Break gives the device a fault. A stuck one outlives power cycles; of a
// drift it means that writes are acknowledged and forgotten.
func (d *Device) Break(f chassis.Fault, stuck bool) error {
	if f != chassis.FaultDrift {
		return d.body.Break(f, stuck)
	}
	d.plant.drift(stuck)
	d.cfg.OnChange()
	return nil
}

// Heal ends all faults and undoes what is left of a drift.
func (d *Device) Heal() error {
	d.plant.heal()
	return d.body.Heal()
}

// PowerOff takes the device's power, and with it a fault that is not stuck.
func (d *Device) PowerOff() { d.body.PowerOff() }

// PowerOn gives the device its power back: it boots, and then answers.
func (d *Device) PowerOn() { d.body.PowerOn() }

// SetLatency delays every answer.
func (d *Device) SetLatency(latency time.Duration) error { return d.body.SetLatency(latency) }

// Status returns the present state.
func (d *Device) Status() chassis.Status {
	s := d.body.Status(d.plant.uptime())
	s.Drifted, s.DriftStuck = d.plant.drifted()
	s.Writes = d.plant.journal.Total()
	return s
}

// Writes returns a counter for each node that clients wrote to or called.
func (d *Device) Writes() []chassis.Counter { return d.plant.journal.Counters() }

// Log returns the last 256 writes and calls of clients, oldest first.
func (d *Device) Log() []chassis.Write { return d.plant.journal.Log() }

// Peek returns the value of a node, by its identifier in Namespace:
// "Pump.Ramp".
func (d *Device) Peek(node string) (any, error) { return d.plant.peek(node) }

// Poke stores a value without a client: neither checked nor counted. Its Go
// type has to be the node's.
func (d *Device) Poke(node string, value any) error {
	if err := d.plant.poke(node, value); err != nil {
		return fmt.Errorf("%s: %w", d.cfg.ID, err)
	}
	d.cfg.OnChange()
	return nil
}

// Memory returns what the device would have to be told to continue as it is.
func (d *Device) Memory() Memory {
	out := d.plant.remember()
	out.Latency = d.body.Latency()
	out.Fault, out.Stuck = d.body.Fault()
	return out
}

func (p *plant) remember() Memory {
	out := Memory{Values: map[string]string{}, Replaced: map[string]string{}, Counters: p.journal.Counters(), Log: p.journal.Log()}
	p.mu.Lock()
	defer p.mu.Unlock()
	fresh := factory("")
	for i, n := range p.nodes {
		if n.live == nil && n.id != "Plc.Serial" && n.value != fresh[i].value {
			out.Values[n.id] = format(n.value)
		}
	}
	for nodeID, value := range p.before {
		out.Replaced[nodeID] = format(value)
	}
	out.Restarts = p.restarts
	if p.software.before != "" {
		out.Software, out.SoftwareBefore, out.SoftwareSick = p.software.version, p.software.before, p.software.sick
	}
	out.DriftStuck = p.stuck && len(p.before) > 0
	return out
}

// Close takes the device from its address. It can still be asked for its
// Memory, Status and Writes.
func (d *Device) Close() error { return d.body.Close() }
