package chassis

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Config says what to put on an address.
type Config struct {
	// ID names the device, and Profile the built-in profile that it fits.
	ID, Profile string
	// Address is an IPv4 loopback address with a port; port 0 and an empty
	// address mean any free one.
	Address string
	// Boot is how long the device is dark after its power came back (0: 1 s).
	Boot time.Duration
	// MaxClients bounds the connections of the broken faces (0: 8).
	MaxClients uint
	// Fault, Stuck and Latency are what an earlier device remembered.
	Fault   Fault
	Stuck   bool
	Latency time.Duration
	// Serve makes the face of a healthy device.
	Serve func(addr string) (Face, error)
	// Booted is told that the power is back and the device is about to answer.
	Booted func()
	// OnChange is told that something that is worth remembering has changed.
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
	// Writes counts what clients wrote, over all addresses and places.
	Writes uint64 `json:"writes"`
	// Problem says why the device is dark although it should not be.
	Problem string `json:"problem,omitempty"`
}

// Chassis is the body of a simulated device. Its methods are safe for
// concurrent use.
type Chassis struct {
	cfg     Config
	addr    netip.AddrPort
	latency atomic.Int64

	mu sync.Mutex
	// release lets go of the address while nothing listens there; it is nil
	// while a face does.
	release func()
	closed  bool
	powered bool
	booting bool
	power   int // counts power events, so that a late timer finds out that it is late
	timer   *time.Timer
	fault   Fault
	stuck   bool
	face    Face
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

// Start puts a device on its address. It runs at once, with the faults that it
// remembered. Serve and Booted may be called before Start has returned.
func Start(cfg Config) (*Chassis, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	want, err := loopback(cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("simulated device %s: %w", cfg.ID, err)
	}
	c := &Chassis{cfg: cfg, powered: true, fault: cfg.Fault, stuck: cfg.Stuck}
	c.latency.Store(int64(cfg.Latency))

	// Where a port cannot be kept (see hold), another program may take one
	// that was just found free; then another one is as good.
	const tries = 5
	for try := 1; ; try++ {
		got, release, err := hold(want)
		if err != nil {
			return nil, fmt.Errorf("simulated device %s on %s: %w", cfg.ID, want, err)
		}
		c.addr, c.release = got, release
		c.mu.Lock()
		err = c.showLocked()
		c.mu.Unlock()
		if err == nil {
			return c, nil
		}
		c.letGoLocked()
		if want.Port() != 0 || try == tries {
			return nil, fmt.Errorf("simulated device %s on %s: %w", cfg.ID, c.addr, err)
		}
	}
}

func (c *Config) complete() error {
	if c.ID == "" || c.Serve == nil {
		return errors.New("a simulated device needs an ID and a face")
	}
	if c.Boot < 0 || c.Latency < 0 {
		return fmt.Errorf("simulated device %s: negative duration", c.ID)
	}
	if c.Boot == 0 {
		c.Boot = time.Second
	}
	if c.MaxClients == 0 {
		c.MaxClients = 8
	}
	if c.Booted == nil {
		c.Booted = func() {}
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
func (c *Chassis) Addr() string { return c.addr.String() }

// lookLocked says what the device should look like.
func (c *Chassis) lookLocked() look {
	switch {
	case c.closed, !c.powered, c.booting, c.fault == FaultOffline:
		return looksDark
	case c.fault == FaultHang:
		return looksHung
	case c.fault == FaultResetOnly:
		return looksReset
	}
	return looksHealthy
}

// showLocked makes the device look as it should.
func (c *Chassis) showLocked() error {
	want := c.lookLocked()
	if c.problem == nil && want == c.shows && (c.face != nil || want == looksDark) {
		return nil
	}
	if c.face != nil {
		c.face.End()
		c.face = nil
		c.holdLocked()
	}
	c.shows = want
	c.problem = nil
	addr := c.addr.String()
	switch want {
	case looksHealthy:
		c.face, c.problem = c.cfg.Serve(addr)
	case looksHung:
		c.face, c.problem = Listen(addr, c.cfg.MaxClients, hung)
	case looksReset:
		c.face, c.problem = Listen(addr, c.cfg.MaxClients, reset)
	}
	if c.problem != nil {
		c.face = nil
		c.cfg.Logger.Error("simulated device cannot take its address", zap.String("device", c.cfg.ID),
			zap.String("address", addr), zap.Error(c.problem))
	}
	if c.face != nil {
		// A face keeps the address by itself, and a large fleet has no file
		// descriptor to spare.
		c.letGoLocked()
	}
	return c.problem
}

// holdLocked keeps the address while nothing listens there. That it cannot is
// not the end: the device waits for its address when it comes back.
func (c *Chassis) holdLocked() {
	_, release, err := hold(c.addr)
	if err != nil {
		c.cfg.Logger.Warn("simulated device cannot keep its address", zap.String("device", c.cfg.ID), zap.Stringer("address", c.addr), zap.Error(err))
		return
	}
	c.release = release
}

func (c *Chassis) letGoLocked() {
	if c.release != nil {
		c.release()
		c.release = nil
	}
}

// Break gives the device a fault of its network side. A stuck one outlives
// power cycles. FaultDrift is not one of them.
func (c *Chassis) Break(f Fault, stuck bool) error {
	if _, err := ParseFault(string(f)); err != nil {
		return err
	}
	if f == FaultDrift {
		return fmt.Errorf("%s is a fault of the settings, and none of the network side", f)
	}
	defer c.cfg.OnChange()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault, c.stuck = f, stuck
	return c.showLocked()
}

// Heal ends the fault of the network side. It does not give power to a device
// without, nor hurry one that boots.
func (c *Chassis) Heal() error {
	defer c.cfg.OnChange()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault, c.stuck = "", false
	return c.showLocked()
}

// PowerOff takes the device's power, and with it a fault that is not stuck.
func (c *Chassis) PowerOff() {
	defer c.cfg.OnChange()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopTimerLocked()
	c.powered, c.booting = false, false
	if !c.stuck {
		c.fault = ""
	}
	_ = c.showLocked() // darkness cannot fail
}

// PowerOn gives the device its power back: it boots, and then answers.
func (c *Chassis) PowerOn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.powered || c.closed {
		return
	}
	c.stopTimerLocked()
	c.powered, c.booting = true, true
	event := c.power
	c.timer = time.AfterFunc(c.cfg.Boot, func() { c.booted(event) })
}

func (c *Chassis) stopTimerLocked() {
	c.power++
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
}

func (c *Chassis) booted(event int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.power != event {
		return
	}
	c.booting = false
	c.cfg.Booted()
	_ = c.showLocked() // logged there, and kept for Status
}

// SetLatency delays every answer; the faces ask Pause for it.
func (c *Chassis) SetLatency(latency time.Duration) error {
	if latency < 0 || latency > time.Hour {
		return fmt.Errorf("latency %s: want 0 to 1h", latency)
	}
	c.latency.Store(int64(latency))
	c.cfg.OnChange()
	return nil
}

// Latency is how long every answer is delayed.
func (c *Chassis) Latency() time.Duration { return time.Duration(c.latency.Load()) }

// Pause waits for the device's latency, and says no when ctx has ended first.
func (c *Chassis) Pause(ctx context.Context) bool {
	d := c.Latency()
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Fault returns the fault of the network side.
func (c *Chassis) Fault() (f Fault, stuck bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fault, c.stuck
}

// Status returns the part of the present state that the chassis knows. A
// device that runs is starting when it says so.
func (c *Chassis) Status(up time.Duration, starting bool) Status {
	s := Status{ID: c.cfg.ID, Profile: c.cfg.Profile, Address: c.addr.String(), Latency: c.Latency()}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Fault, s.Stuck = c.fault, c.stuck
	switch {
	case !c.powered || c.closed:
		s.Phase = PhaseOff
	case c.booting:
		s.Phase = PhaseBooting
	case starting:
		s.Phase, s.Uptime = PhaseInit, up
	default:
		s.Phase, s.Uptime = PhaseRunning, up
	}
	if c.problem != nil {
		s.Problem = c.problem.Error()
	}
	return s
}

// Close takes the device from its address. It can still be asked for its
// state.
func (c *Chassis) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	c.stopTimerLocked()
	err := c.showLocked()
	c.letGoLocked()
	return err
}
