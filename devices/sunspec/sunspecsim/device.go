package sunspecsim

import (
	"cmp"
	"fmt"
	"sync"
	"time"

	"edgefleet/devices"
	"edgefleet/devices/sim"
)

// Results that AdptCrvRslt and AdptCtlRslt take.
const (
	inProgress = 0
	completed  = 1
	failed     = 2
)

// Kind is a kind of device.
type Kind string

// The kinds, by the profiles that their models state.
const (
	// KindInverter is a 50 kW three-phase PV inverter with the models 1, 103,
	// 120, 121, 123 and 701 to 712. Of model 121 it lacks VMax, VMin and ConnPh.
	KindInverter Kind = InverterProfile
	// KindLegacyInverter has the models 1, 101, 120, 121, 123 and 126.
	KindLegacyInverter Kind = LegacyInverterProfile
	// KindBattery has the models 1, 124 and 802.
	KindBattery Kind = BatteryProfile
)

// Config says what device to simulate.
type Config struct {
	// Sim is all but the model; ID is 1 to 29 bytes.
	Sim  sim.Config
	Kind Kind
	// Serial is the serial number in model 1, at most 32 bytes (empty: "NL-"
	// and the ID).
	Serial string
	// AdoptDelay is how long the device takes over a curve (0: 50 ms).
	AdoptDelay time.Duration
}

// Inverter is a PV inverter of the profile sunspec-inverter, Northline PV-50,
// with a serial number of at most 32 bytes. The caller fills in Sim.
func Inverter(serial string) Config { return Config{Kind: KindInverter, Serial: serial} }

// Battery is a battery of the profile sunspec-battery, Northline BT-100, with a
// serial number of at most 32 bytes. The caller fills in Sim.
func Battery(serial string) Config { return Config{Kind: KindBattery, Serial: serial} }

// Device is a simulated SunSpec device.
type Device struct {
	*sim.Device
	adopts []adoption
	delay  time.Duration

	mu      sync.Mutex
	closed  bool
	failing bool
	timers  map[uint16]*time.Timer // by the address of the request
}

// Start puts a device on its address.
func Start(cfg Config) (*Device, error) {
	parts := map[Kind]func(serial string) []part{
		KindInverter: inverter, KindLegacyInverter: legacyInverter, KindBattery: battery,
	}[cfg.Kind]
	if parts == nil {
		return nil, fmt.Errorf("simulated device %s: unknown kind %q", cfg.Sim.ID, cfg.Kind)
	}
	serial := cmp.Or(cfg.Serial, "NL-"+cfg.Sim.ID)
	if cfg.Sim.ID == "" || len(serial) > 32 {
		return nil, fmt.Errorf("simulated device %q: want an ID, and a serial number of at most 32 bytes (%q)", cfg.Sim.ID, serial)
	}
	model, adopts, err := build(string(cfg.Kind), parts(serial))
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
