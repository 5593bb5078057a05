package sim

import (
	"errors"
	"fmt"
	"log"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"edgefleet/devices"
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
	PhaseOff     = "off"     // without power
	PhaseBooting = "booting" // has power, and is dark
	PhaseInit    = "init"    // answers, and its state is init
	PhaseRunning = "running" // answers, and its state is running
)

// Status is the present state of a device.
type Status struct {
	ID      string `json:"id"`
	Profile string `json:"profile"`
	// Address is host:port, and stays the same for the device's life.
	Address string `json:"address"`
	// Fault is the fault of the network side, or empty; Stuck is its.
	Fault Fault `json:"fault,omitempty"`
	Stuck bool  `json:"stuck,omitempty"`
	// Drifted names the settings that a drift changed and that no client has
	// rewritten since.
	Drifted    []string `json:"drifted,omitempty"`
	DriftStuck bool     `json:"drift_stuck,omitempty"`
	Phase      string   `json:"phase"`
	// Uptime counts from the last boot, or from Start.
	Uptime  time.Duration `json:"uptime_ns"`
	Latency time.Duration `json:"latency_ns,omitempty"`
	// Writes counts the words that clients wrote, over all addresses.
	Writes uint64 `json:"writes"`
	// Problem says why the device is dark although it should not be.
	Problem string `json:"problem,omitempty"`
}

// Device is a simulated Modbus device. Its methods are safe for concurrent
// use.
type Device struct {
	cfg     Config
	addr    string
	release func()
	mem     *memory
	log     *log.Logger
	latency atomic.Int64

	mu      sync.Mutex
	closed  bool
	powered bool
	booting bool
	power   int // counts power events, so that a late timer finds out that it is late
	timer   *time.Timer
	fault   Fault
	stuck   bool
	face    face
	shows   look
	problem error
}

// look is what a face looks like from outside.
type look int

const (
	looksDark look = iota
	looksHealthy
	looksHung
	looksReset
)

// Start makes a device and puts it on its address. It runs at once, with the
// faults of its memory.
func Start(cfg Config) (*Device, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	want, err := loopback(cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("simulated device %s: %w", cfg.ID, err)
	}
	std, err := zap.NewStdLogAt(cfg.Logger.With(zap.String("device", cfg.ID)), zap.DebugLevel)
	if err != nil {
		return nil, err
	}
	d := &Device{cfg: cfg, log: std, mem: newMemory(cfg.ID, cfg.Model, cfg.Now), powered: true}
	d.mem.recall(cfg.Memory)
	d.fault, d.stuck = cfg.Memory.Fault, cfg.Memory.Stuck
	d.latency.Store(int64(cfg.Memory.Latency))

	// Where a port cannot be kept (see hold), another program may take one
	// that was just found free; then another one is as good.
	const tries = 5
	for try := 1; ; try++ {
		got, release, err := hold(want)
		if err != nil {
			return nil, fmt.Errorf("simulated device %s on %s: %w", cfg.ID, want, err)
		}
		d.addr, d.release = got.String(), release
		d.mu.Lock()
		err = d.showLocked()
		d.mu.Unlock()
		if err == nil {
			return d, nil
		}
		release()
		if want.Port() != 0 || try == tries {
			return nil, fmt.Errorf("simulated device %s on %s: %w", cfg.ID, d.addr, err)
		}
	}
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

// loopback refuses what would offer an unprotected device to a network.
func loopback(addr string) (netip.AddrPort, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if !ap.Addr().Is4() || !ap.Addr().IsLoopback() {
		return netip.AddrPort{}, fmt.Errorf("%s is not an IPv4 loopback address; simulated devices have no protection, so they stay on this machine", addr)
	}
	return ap, nil
}

// Addr returns host:port.
func (d *Device) Addr() string { return d.addr }

// lookLocked says what the device should look like.
func (d *Device) lookLocked() look {
	switch {
	case d.closed, !d.powered, d.booting, d.fault == FaultOffline:
		return looksDark
	case d.fault == FaultHang:
		return looksHung
	case d.fault == FaultResetOnly:
		return looksReset
	}
	return looksHealthy
}

// showLocked makes the device look as it should.
func (d *Device) showLocked() error {
	want := d.lookLocked()
	if d.problem == nil && want == d.shows && (d.face != nil || want == looksDark) {
		return nil
	}
	if d.face != nil {
		d.face.end()
		d.face = nil
	}
	d.shows = want
	d.problem = nil
	switch want {
	case looksHealthy:
		d.face, d.problem = serve(d.addr, d.cfg.MaxClients, d.log, &session{mem: d.mem, latency: &d.latency, wrote: d.wrote})
	case looksHung, looksReset:
		d.face, d.problem = silence(d.addr, d.cfg.MaxClients, want == looksReset)
	}
	if d.problem != nil {
		d.face = nil
		d.cfg.Logger.Error("simulated device cannot take its address", zap.String("device", d.cfg.ID),
			zap.String("address", d.addr), zap.Error(d.problem))
	}
	return d.problem
}

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
	if _, err := ParseFault(string(f)); err != nil {
		return err
	}
	defer d.cfg.OnChange()
	if f == FaultDrift {
		if !d.mem.drift(stuck) {
			return fmt.Errorf("%s is a %s, which has no settings that could drift", d.cfg.ID, d.cfg.Model.Profile)
		}
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault, d.stuck = f, stuck
	return d.showLocked()
}

// Heal ends all faults and undoes what is left of a drift. It does not give
// power to a device without, nor hurry one that boots.
func (d *Device) Heal() error {
	defer d.cfg.OnChange()
	d.mem.restore()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault, d.stuck = "", false
	return d.showLocked()
}

// PowerOff takes the device's power, and with it a fault that is not stuck.
func (d *Device) PowerOff() {
	defer d.cfg.OnChange()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopTimerLocked()
	d.powered, d.booting = false, false
	if !d.stuck {
		d.fault = ""
	}
	_ = d.showLocked() // darkness cannot fail
}

// PowerOn gives the device its power back: it boots, and then answers with an
// uptime of 0.
func (d *Device) PowerOn() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.powered || d.closed {
		return
	}
	d.stopTimerLocked()
	d.powered, d.booting = true, true
	event := d.power
	d.timer = time.AfterFunc(d.cfg.Boot, func() { d.booted(event) })
}

func (d *Device) stopTimerLocked() {
	d.power++
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

func (d *Device) booted(event int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || d.power != event {
		return
	}
	d.booting = false
	d.mem.boot(d.cfg.Init)
	_ = d.showLocked() // logged there, and kept for Status
}

// SetLatency delays every answer.
func (d *Device) SetLatency(latency time.Duration) error {
	if latency < 0 || latency > time.Hour {
		return fmt.Errorf("latency %s: want 0 to 1h", latency)
	}
	d.latency.Store(int64(latency))
	d.cfg.OnChange()
	return nil
}

// Status returns the present state.
func (d *Device) Status() Status {
	s := Status{ID: d.cfg.ID, Profile: d.cfg.Model.Profile, Address: d.addr, Latency: time.Duration(d.latency.Load())}
	s.Drifted, s.DriftStuck = d.mem.drifted()
	d.mem.mu.Lock()
	at := d.mem.moment()
	s.Writes = d.mem.total
	d.mem.mu.Unlock()

	d.mu.Lock()
	defer d.mu.Unlock()
	s.Fault, s.Stuck = d.fault, d.stuck
	switch {
	case !d.powered || d.closed:
		s.Phase = PhaseOff
	case d.booting:
		s.Phase = PhaseBooting
	case at.Starting:
		s.Phase, s.Uptime = PhaseInit, at.Up
	default:
		s.Phase, s.Uptime = PhaseRunning, at.Up
	}
	if d.problem != nil {
		s.Problem = d.problem.Error()
	}
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
	out.Latency = time.Duration(d.latency.Load())
	d.mu.Lock()
	defer d.mu.Unlock()
	out.Fault, out.Stuck = d.fault, d.stuck
	return out
}

// Close takes the device from its address. It can still be asked for its
// Memory, Status and Writes.
func (d *Device) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	d.stopTimerLocked()
	err := d.showLocked()
	d.release()
	return err
}
