package sunspecsim

import (
	"fmt"
	"sync"
	"time"

	"edgefleet/devices"
	"edgefleet/devices/sim"
)

// Results that AdptCrvRslt takes.
const (
	inProgress = 0
	completed  = 1
	failed     = 2
)

// Kind is a kind of device.
type Kind string

// The kinds, by the profiles that their models state.
const (
	// Inverter is a 50 kW three-phase PV inverter with the models 1, 103, 120,
	// 121, 123 and 701 to 710. Of model 121 it lacks VMax, VMin and ConnPh.
	Inverter Kind = InverterProfile
	// LegacyInverter has the models 1, 101, 120, 121, 123 and 126.
	LegacyInverter Kind = LegacyInverterProfile
	// Battery has the models 1, 124 and 802.
	Battery Kind = BatteryProfile
)

// Config says what device to simulate.
type Config struct {
	// Sim is all but the model; ID is 1 to 29 bytes.
	Sim  sim.Config
	Kind Kind
	// AdoptDelay is how long the device takes over a curve (0: 50 ms).
	AdoptDelay time.Duration
}

// Device is a simulated SunSpec device.
type Device struct {
	*sim.Device
	adopts []adoption
	delay  time.Duration

	mu      sync.Mutex
	closed  bool
	failing bool
	timers  map[uint16]*time.Timer // by the address of AdptCrvReq
}

// Start puts a device on its address.
func Start(cfg Config) (*Device, error) {
	build := map[Kind]func(string) (sim.Model, []adoption, error){
		Inverter: inverter, LegacyInverter: legacyInverter, Battery: battery,
	}[cfg.Kind]
	if build == nil {
		return nil, fmt.Errorf("simulated device %s: unknown kind %q", cfg.Sim.ID, cfg.Kind)
	}
	model, adopts, err := build(cfg.Sim.ID)
	if err != nil {
		return nil, err
	}
	d := &Device{adopts: adopts, delay: cfg.AdoptDelay, timers: map[uint16]*time.Timer{}}
	if d.delay <= 0 {
		d.delay = 50 * time.Millisecond
	}
	cfg.Sim.Model = model
	next := cfg.Sim.OnWrite
	// A client can write before sim.Start has returned the device.
	started := make(chan struct{})
	cfg.Sim.OnWrite = func(w sim.Write) {
		<-started
		if next != nil {
			next(w)
		}
		d.wrote(w)
	}
	d.Device, err = sim.Start(cfg.Sim)
	close(started)
	if err != nil {
		return nil, err
	}
	return d, nil
}

// FailAdoption makes every adoption fail, or ends that.
func (d *Device) FailAdoption(fail bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failing = fail
}

// Close takes the device from its address.
func (d *Device) Close() error {
	d.mu.Lock()
	d.closed = true
	for _, t := range d.timers {
		t.Stop()
	}
	d.mu.Unlock()
	return d.Device.Close()
}

// wrote begins an adoption when the write asks for one.
func (d *Device) wrote(w sim.Write) {
	for _, a := range d.adopts {
		if w.Address != a.request {
			continue
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.closed {
			return
		}
		// The address exists, so a poke cannot fail.
		_ = d.Poke(devices.Holding, a.result, inProgress)
		if t := d.timers[a.request]; t != nil {
			t.Stop()
		}
		d.timers[a.request] = time.AfterFunc(d.delay, func() { d.adopt(a, int(w.New)) })
		return
	}
}

func (d *Device) adopt(a adoption, index int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	result := uint16(failed)
	if !d.failing && index > 1 && index <= a.count {
		from := a.first + uint16(index-1)*a.length
		words, err := d.Peek(devices.Holding, from, a.length)
		if err == nil {
			words[a.keep] = 1 // the curve in force stays read-only
			err = d.Poke(devices.Holding, a.first, words...)
		}
		if err == nil {
			result = completed
		}
	}
	_ = d.Poke(devices.Holding, a.result, result)
}
