package sshsim

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"

	"edgefleet/devices/sim/chassis"
)

// Profile is the built-in profile that the gateway fits.
const Profile = "linux-gateway"

// Config says what gateway to simulate.
type Config struct {
	// ID is the host's name, and what its machine ID is made of.
	ID string
	// Address is an IPv4 loopback address with a port; port 0 and an empty
	// address mean any free one.
	Address string
	// Boot is how long the gateway is dark after its power came back (0: 1 s);
	// Init is how long the agent takes to start, then and after a restart (0:
	// half of Boot).
	Boot, Init time.Duration
	// MaxClients bounds the connections (0: 8); the oldest makes room.
	MaxClients uint
	// User logs in with one of the Keys.
	User string
	Keys []ssh.PublicKey
	// Memory is what an earlier device of this ID remembered, its host key
	// included.
	Memory Memory
	// Now is the clock of everything that a client can read (nil: time.Now).
	Now func() time.Time
	// OnChange is told that Memory would now return something else. It must
	// not call the device.
	OnChange func()
	// Logger may be nil.
	Logger *zap.Logger
}

// Device is a simulated Linux gateway. Its methods are safe for concurrent
// use.
type Device struct {
	cfg     Config
	body    *chassis.Chassis
	ready   chan struct{} // closed when body is there
	host    *host
	hostKey ssh.Signer
	seed    []byte
}

// Start makes a gateway and puts it on its address.
func Start(cfg Config) (*Device, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	d := &Device{cfg: cfg, ready: make(chan struct{}), seed: cfg.Memory.HostKey}
	if len(d.seed) == 0 {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		d.seed = key.Seed()
	}
	if len(d.seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("simulated device %s: the remembered host key is none", cfg.ID)
	}
	var err error
	if d.hostKey, err = ssh.NewSignerFromSigner(ed25519.NewKeyFromSeed(d.seed)); err != nil {
		return nil, err
	}
	d.host = newHost(cfg.ID, cfg.User, cfg.Init, cfg.Now, authorizedKeys(cfg.Keys), string(ssh.MarshalAuthorizedKey(d.hostKey.PublicKey())))
	d.host.journal = chassis.NewJournal(cfg.Now, cfg.Memory.Counters, cfg.Memory.Log)
	d.host.onChange = cfg.OnChange
	if err := d.host.recall(cfg.Memory); err != nil {
		return nil, fmt.Errorf("simulated device %s: %w", cfg.ID, err)
	}
	d.body, err = chassis.Start(chassis.Config{
		ID: cfg.ID, Profile: Profile, Address: cfg.Address, Boot: cfg.Boot, MaxClients: cfg.MaxClients,
		Fault: cfg.Memory.Fault, Stuck: cfg.Memory.Stuck, Latency: cfg.Memory.Latency,
		Serve:  func(addr string) (chassis.Face, error) { return chassis.Listen(addr, cfg.MaxClients, d.serve) },
		Booted: func() { d.host.boot(cfg.Init) }, OnChange: cfg.OnChange, Logger: cfg.Logger,
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
	case c.User == "" || c.User == "root" || len(c.Keys) == 0:
		return fmt.Errorf("simulated device %s: it has no user with a key", c.ID)
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

// Addr returns host:port.
func (d *Device) Addr() string { return d.body.Addr() }

// Fingerprint is that of the host key, "SHA256:...", as ssh-keygen -lf shows
// it.
func (d *Device) Fingerprint() string { return ssh.FingerprintSHA256(d.hostKey.PublicKey()) }

// Break gives the device a fault. A stuck one outlives power cycles; of a
// drift it means that what a client writes is put back at once, as another
// program on the gateway would.
func (d *Device) Break(f chassis.Fault, stuck bool) error {
	if f != chassis.FaultDrift {
		return d.body.Break(f, stuck)
	}
	d.host.drift(stuck)
	d.cfg.OnChange()
	return nil
}

// Heal ends all faults and undoes what is left of a drift.
func (d *Device) Heal() error {
	d.host.heal()
	return d.body.Heal()
}

// PowerOff takes the device's power, and with it a fault that is not stuck.
func (d *Device) PowerOff() { d.body.PowerOff() }

// PowerOn gives the device its power back: it boots, and then answers.
func (d *Device) PowerOn() { d.body.PowerOn() }

// SetLatency delays every log-in and every command.
func (d *Device) SetLatency(latency time.Duration) error { return d.body.SetLatency(latency) }

// Status returns the present state.
func (d *Device) Status() chassis.Status {
	s := d.body.Status(d.host.uptime())
	s.Drifted, s.DriftStuck = d.host.drifted()
	s.Writes = d.host.journal.Total()
	return s
}

// Writes returns a counter for each setting that clients wrote, and each unit
// that they gave an order.
func (d *Device) Writes() []chassis.Counter { return d.host.journal.Counters() }

// Log returns the last 256 writes and orders of clients, oldest first.
func (d *Device) Log() []chassis.Write { return d.host.journal.Log() }

// Running is the configuration that the agent has loaded.
func (d *Device) Running() string {
	d.host.mu.Lock()
	defer d.host.mu.Unlock()
	return d.host.running
}

// ReadFile returns the content of a file without a client.
func (d *Device) ReadFile(name string) (string, error) {
	d.host.mu.Lock()
	defer d.host.mu.Unlock()
	data, err := d.host.fs.read(root(), name)
	if err != nil {
		return "", fmt.Errorf("%s: %s: %w", d.cfg.ID, name, err)
	}
	return string(data), nil
}

// WriteFile stores a file of root's without a client: not counted. A file that
// is there keeps its mode and owner.
func (d *Device) WriteFile(name, text string, mode fs.FileMode) error {
	d.host.mu.Lock()
	n, err := d.host.fs.open(root(), name, true, false, true, mode)
	if err == nil {
		n.data = []byte(text)
	}
	d.host.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%s: %s: %w", d.cfg.ID, name, err)
	}
	d.cfg.OnChange()
	return nil
}

// RemoveFile removes a file without a client: not counted.
func (d *Device) RemoveFile(name string) error {
	d.host.mu.Lock()
	err := d.host.fs.remove(root(), name)
	d.host.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%s: %s: %w", d.cfg.ID, name, err)
	}
	d.cfg.OnChange()
	return nil
}

// Memory returns what the device would have to be told to continue as it is.
func (d *Device) Memory() Memory {
	out := d.host.remember()
	out.HostKey = d.seed
	out.Latency = d.body.Latency()
	out.Fault, out.Stuck = d.body.Fault()
	return out
}

// Close takes the device from its address. It can still be asked for its
// Memory, Status and Writes.
func (d *Device) Close() error { return d.body.Close() }
