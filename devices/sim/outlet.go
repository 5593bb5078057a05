package sim

import (
	"fmt"
	"sync"
	"time"

	"edgefleet/devices"
)

// Load is what an outlet's port gives power to. *Device is one.
type Load interface {
	PowerOff()
	PowerOn()
}

// Outlet is a simulated switched outlet. A client that writes ON to coil n
// cycles port n+1: the load is without power for the off time; then it gets
// it back, the port's counter counts the completed cycle, and the coil clears
// itself. A further ON during a cycle has no effect, and OFF never has one.
type Outlet struct {
	*Device
	off time.Duration

	mu     sync.Mutex
	loads  [Ports]Load
	cycles [Ports]*time.Timer // not nil while the port cycles
	closed bool
}

// StartOutlet makes an outlet; cfg.Model is not looked at. off is how long a
// cycle lasts (0: 250 ms).
func StartOutlet(cfg Config, off time.Duration) (*Outlet, error) {
	model, err := SwitchedOutlet(cfg.ID)
	if err != nil {
		return nil, err
	}
	if off < 0 {
		return nil, fmt.Errorf("simulated outlet %s: negative off time", cfg.ID)
	}
	if off == 0 {
		off = 250 * time.Millisecond
	}
	o := &Outlet{off: off}
	told := cfg.OnWrite
	cfg.Model = model
	cfg.OnWrite = func(w Write) {
		if w.Table == devices.Coil && w.New != 0 {
			o.cycle(int(w.Address - outletCoilBase))
		}
		if told != nil {
			told(w)
		}
	}
	// A client may find the socket before Start has returned; its request
	// waits here until the outlet is whole.
	o.mu.Lock()
	defer o.mu.Unlock()
	o.Device, err = Start(cfg)
	if err != nil {
		return nil, err
	}
	return o, nil
}

// Connect puts a load behind a port, 1 to 8.
func (o *Outlet) Connect(port int, load Load) error {
	if port < 1 || port > Ports {
		return fmt.Errorf("outlet %s has no port %d; it has 1 to %d", o.cfg.ID, port, Ports)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.loads[port-1] = load
	return nil
}

func (o *Outlet) cycle(i int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.cycles[i] != nil {
		return
	}
	// The coil again, because a cycle that ended just now has cleared it.
	o.mem.poke(devices.Coil, outletCoilBase+uint16(i), 1)
	o.mem.poke(devices.Discrete, outletStateBase+uint16(i), 0)
	if load := o.loads[i]; load != nil {
		load.PowerOff()
	}
	o.cycles[i] = time.AfterFunc(o.off, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.completeLocked(i)
	})
}

func (o *Outlet) completeLocked(i int) {
	if o.cycles[i] == nil {
		return
	}
	o.cycles[i].Stop()
	o.cycles[i] = nil
	if load := o.loads[i]; load != nil {
		load.PowerOn()
	}
	o.mem.poke(devices.Discrete, outletStateBase+uint16(i), 1)
	o.mem.add(devices.Input, outletCounterBase+uint16(i))
	o.mem.poke(devices.Coil, outletCoilBase+uint16(i), 0)
	o.cfg.OnChange()
}

// Close completes the cycles that are going on, so that no
// acknowledged command is without its count, and takes the outlet from its address.
func (o *Outlet) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	// First the socket: no command is acknowledged after the last was completed.
	err := o.Device.Close()
	o.closed = true
	for i := range o.cycles {
		o.completeLocked(i)
	}
	return err
}
