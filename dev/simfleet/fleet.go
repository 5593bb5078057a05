package simfleet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"edgefleet/devices/sim"
)

// MaxDevices bounds Options.Devices.
const MaxDevices = 10000

// Options say what fleet to simulate. Zero durations are sim's defaults.
type Options struct {
	// Devices is the number of devices, 1 to MaxDevices. Outlets come on top,
	// one for each eight.
	Devices int
	// Mix says of what kinds they are; the zero Mix is feeders alone.
	Mix Mix
	// CredentialsDir is where the log-ins of a mixed fleet are, and made where
	// there are none (empty: the folder credentials beside the state file).
	CredentialsDir string
	// StateFile is where the process says how it is reached.
	StateFile string
	// Boot, Init and Off are the phases of a power cycle: dark after the
	// power is back, answering but not yet running, and without power.
	Boot, Init, Off time.Duration
	// MaxClients bounds the connections to each device.
	MaxClients uint
	// SaveEvery is how often changes are written down (0: 1 s).
	SaveEvery time.Duration
	// Logger may be nil.
	Logger *zap.Logger
}

func (o *Options) complete() error {
	if o.Devices < 1 || o.Devices > MaxDevices {
		return fmt.Errorf("simulated fleet of %d devices: want 1 to %d", o.Devices, MaxDevices)
	}
	if o.StateFile == "" {
		return errors.New("simulated fleet: no state file is given")
	}
	if o.SaveEvery < 0 {
		return fmt.Errorf("simulated fleet: negative interval %s between saves", o.SaveEvery)
	}
	if o.SaveEvery == 0 {
		o.SaveEvery = time.Second
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.CredentialsDir == "" {
		o.CredentialsDir = filepath.Join(filepath.Dir(o.StateFile), "credentials")
	}
	return nil
}

// DeviceID returns the ID of device i, counted from 1: edge-001.
func DeviceID(i int) string { return fmt.Sprintf("edge-%03d", i) }

// OutletID returns the ID of outlet i, counted from 1: switch-01.
func OutletID(i int) string { return fmt.Sprintf("switch-%02d", i) }

// Fleet is a running simulated fleet.
type Fleet struct {
	o       Options
	unlock  func()
	keys    *keys     // nil in a fleet of feeders alone
	members []*member // devices, then outlets, each in order
	byID    map[string]*member
	// absent remembers the devices that an earlier, larger fleet had.
	absent  map[string]deviceMemory
	token   string
	started time.Time

	listener net.Listener
	server   *http.Server
	work     sync.WaitGroup
	dirty    atomic.Bool
	saving   sync.Mutex

	quit     chan struct{} // closed by Stop
	asked    chan struct{} // closed when the control API asks for the end
	askOnce  sync.Once
	stopOnce sync.Once
	stopErr  error
}

// Main runs a fleet until ctx ends, the control API asks for the end, or the
// process gets SIGTERM or SIGINT; then it writes everything down and returns.
func Main(ctx context.Context, o Options) error {
	ctx, cancel := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer cancel()
	f, err := Start(o)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-f.StopRequested():
	}
	cancel() // a second signal ends the process at once
	return f.Stop()
}

// Start makes the fleet, as it was when it last ran on this state file:
// devices have their addresses of then, as far as those are free. It fails
// when another process runs on the same state file.
func Start(o Options) (f *Fleet, err error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(o.StateFile), 0o700); err != nil {
		return nil, err
	}
	unlock, err := lock(o.StateFile)
	if errors.Is(err, errLocked) {
		return nil, fmt.Errorf("another simulated fleet runs on %s; end it first, or use another data directory", o.StateFile)
	}
	if err != nil {
		return nil, err
	}
	f = &Fleet{
		o: o, unlock: unlock, byID: map[string]*member{}, started: time.Now(),
		quit: make(chan struct{}), asked: make(chan struct{}),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.closeMembers())
			unlock()
			f = nil
		}
	}()
	// What a killed process said of itself is true no more.
	if err := os.Remove(o.StateFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	remembered, err := readMemory(o.StateFile)
	if err != nil {
		return f, err
	}
	if o.Mix != (Mix{}) {
		if f.keys, err = openKeys(f.o); err != nil {
			return f, err
		}
	}
	if err := f.startMembers(remembered.Devices); err != nil {
		return f, err
	}
	// Written before anybody is told, so that a fleet that is killed in its
	// first second comes back at the same addresses.
	if err := f.save(); err != nil {
		return f, err
	}
	if err := f.listen(); err != nil {
		return f, err
	}
	f.work.Go(f.keepSaving)
	o.Logger.Info("simulated fleet is up", zap.Int("devices", o.Devices), zap.Int("outlets", len(f.members)-o.Devices),
		zap.String("control", f.URL()), zap.Duration("took", time.Since(f.started)))
	return f, nil
}

// startMembers starts all devices: first those that have an address to go
// back to, so that none of the others is given it.
func (f *Fleet) startMembers(remembered map[string]deviceMemory) error {
	profiles := f.o.Mix.profiles(f.o.Devices)
	outlets := (f.o.Devices + sim.Ports - 1) / sim.Ports
	f.members = make([]*member, f.o.Devices+outlets)
	for _, known := range []bool{true, false} {
		for i := range f.members {
			id, profile := f.memberAt(i, profiles)
			past, ok := remembered[id]
			if ok != known {
				continue
			}
			m, err := f.startMember(id, profile, past)
			if err != nil {
				return err
			}
			f.members[i] = m
			if f.o.Mix == (Mix{}) || i >= f.o.Devices {
				continue
			}
			if !ok && i%driftsEvery == driftsFirst {
				if err := m.Break(sim.FaultDrift, false); err != nil {
					return err
				}
			}
		}
	}
	for i, m := range f.members[:f.o.Devices] {
		outlet := f.members[f.o.Devices+i/sim.Ports]
		m.outlet, m.port = outlet.id, i%sim.Ports+1
		power, ok := outlet.simulated.(*sim.Outlet)
		if !ok {
			return fmt.Errorf("%s gives no power", outlet.id)
		}
		if err := power.Connect(m.port, m); err != nil {
			return err
		}
	}
	for _, m := range f.members {
		f.byID[m.id] = m
		delete(remembered, m.id)
	}
	f.absent = remembered
	return nil
}

// memberAt returns the ID and the profile of the i-th member.
func (f *Fleet) memberAt(i int, profiles []string) (id, profile string) {
	if i < f.o.Devices {
		return DeviceID(i + 1), profiles[i]
	}
	return OutletID(i - f.o.Devices + 1), outletProfile
}

// URL is the base of the control API.
func (f *Fleet) URL() string { return "http://" + f.listener.Addr().String() }

// StopRequested is closed when the control API was asked to end the fleet.
// Whoever started the fleet calls Stop then.
func (f *Fleet) StopRequested() <-chan struct{} { return f.asked }

func (f *Fleet) keepSaving() {
	tick := time.NewTicker(f.o.SaveEvery)
	defer tick.Stop()
	for {
		select {
		case <-f.quit:
			return
		case <-tick.C:
			if f.dirty.Load() {
				if err := f.save(); err != nil {
					f.o.Logger.Error("the simulated fleet cannot write down its state", zap.Error(err))
				}
			}
		}
	}
}

// save writes the memory of all devices.
func (f *Fleet) save() error {
	f.saving.Lock()
	defer f.saving.Unlock()
	// Before the devices are asked: what changes meanwhile is saved again.
	f.dirty.Store(false)
	m := memory{Devices: make(map[string]deviceMemory, len(f.members)+len(f.absent))}
	for id, past := range f.absent {
		m.Devices[id] = past
	}
	for _, x := range f.members {
		past, err := x.remember()
		if err != nil {
			f.dirty.Store(true)
			return err
		}
		m.Devices[x.id] = past
	}
	if err := writeJSON(memoryFile(f.o.StateFile), m); err != nil {
		f.dirty.Store(true)
		return err
	}
	return nil
}

// closeMembers closes the outlets first: they complete their cycles.
func (f *Fleet) closeMembers() error {
	var errs []error
	for i := len(f.members) - 1; i >= 0; i-- {
		if m := f.members[i]; m != nil {
			errs = append(errs, m.Close())
		}
	}
	return errors.Join(errs...)
}

// Stop ends the fleet and writes everything down. Further calls return the
// result of the first.
func (f *Fleet) Stop() error {
	f.stopOnce.Do(func() {
		close(f.quit)
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		var errs []error
		if err := f.server.Shutdown(ctx); err != nil {
			errs = append(errs, f.server.Close())
		}
		f.work.Wait()
		errs = append(errs, f.closeMembers(), f.save())
		if err := os.Remove(f.o.StateFile); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		f.unlock()
		f.stopErr = errors.Join(errs...)
		f.o.Logger.Info("simulated fleet has ended", zap.Error(f.stopErr))
	})
	return f.stopErr
}

// lookup finds a member; the error lists what there is.
func (f *Fleet) lookup(id string) (*member, error) {
	if m, ok := f.byID[id]; ok {
		return m, nil
	}
	first, last := f.members[0].id, f.members[f.o.Devices-1].id
	outlets := f.members[f.o.Devices:]
	return nil, fmt.Errorf("no simulated device %.80q: there are %s and %s", id,
		span(first, last), span(outlets[0].id, outlets[len(outlets)-1].id))
}

func span(first, last string) string {
	if first == last {
		return first
	}
	return first + " to " + last
}
