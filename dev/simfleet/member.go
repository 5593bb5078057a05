package simfleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
	"time"

	"go.uber.org/zap"

	"edgefleet/devices/sim"
	"edgefleet/devices/sim/opcuasim"
	"edgefleet/devices/sim/sshsim"
	"edgefleet/devices/sunspec/sunspecsim"
)

// The built-in profiles that the devices fit.
const (
	feederProfile   = "feeder-rtu"
	plcProfile      = "register-plc"
	inverterProfile = "sunspec-inverter"
	batteryProfile  = "sunspec-battery"
	opcuaProfile    = opcuasim.Profile
	gatewayProfile  = sshsim.Profile
	outletProfile   = "switched-outlet"
)

// Which devices of a mixed fleet have settings from the start that
// somebody has changed: one in so many, beginning with this one.
const (
	driftsEvery = 12
	driftsFirst = 5
)

// simulated is what every kind of simulated device can do.
type simulated interface {
	sim.Load
	Addr() string
	Status() sim.Status
	Break(f sim.Fault, stuck bool) error
	Heal() error
	SetLatency(latency time.Duration) error
	Writes() []sim.Counter
	Log() []sim.Write
	Close() error
}

// member is a device of the fleet, with the outlet and port that it hangs on.
type member struct {
	simulated
	id     string
	outlet string
	port   int
	// class is that of its profile.
	class string
	// login is how the device is logged in to, of those that ask for it.
	login Login
	// memory returns what the next process has to be told.
	memory func() any
}

// Login is how a device is logged in to, and what it is known by.
type Login struct {
	// Credentials is the folder's name below Options.CredentialsDir.
	Credentials string `json:"credentials,omitempty"`
	// Thumbprint is the SHA-256 of an OPC UA server's certificate, which
	// carries ApplicationURI.
	Thumbprint     string `json:"thumbprint,omitempty"`
	ApplicationURI string `json:"application_uri,omitempty"`
	// HostKey is the fingerprint of a gateway's host key, "SHA256:...".
	HostKey string `json:"host_key,omitempty"`
}

// startMember starts a device of a profile where an earlier one of its ID was,
// or elsewhere when that address is taken.
func (f *Fleet) startMember(id, profile string, past deviceMemory) (*member, error) {
	if past.Profile != profile {
		// Another kind of device had the ID: of it only the address stays.
		past.Memory = nil
	}
	m, err := f.build(id, profile, past)
	if errors.Is(err, syscall.EADDRINUSE) && past.Address != "" {
		f.o.Logger.Warn("the address of a simulated device is taken; it gets another one",
			zap.String("device", id), zap.String("address", past.Address))
		past.Address = ""
		m, err = f.build(id, profile, past)
	}
	return m, err
}

// remember returns what is written down of a member.
func (m *member) remember() (deviceMemory, error) {
	text, err := json.Marshal(m.memory())
	return deviceMemory{Address: m.Addr(), Profile: m.Status().Profile, Memory: text}, err
}

// keep makes a member of a device that was started.
func keep[D interface {
	simulated
	Memory() M
}, M any](id, class string, d D, err error) (*member, error) {
	if err != nil {
		return nil, err
	}
	return &member{simulated: d, id: id, class: class, memory: func() any { return d.Memory() }}, nil
}

// recall reads what an earlier device wrote down.
func recall[M any](id string, past deviceMemory) (M, error) {
	var m M
	if past.Memory == nil {
		return m, nil
	}
	if err := json.Unmarshal(past.Memory, &m); err != nil {
		return m, fmt.Errorf("the memory of %s: %w", id, err)
	}
	return m, nil
}

func (f *Fleet) build(id, profile string, past deviceMemory) (*member, error) {
	changed := func() { f.dirty.Store(true) }
	switch profile {
	case opcuaProfile:
		memory, err := recall[opcuasim.Memory](id, past)
		if err != nil {
			return nil, err
		}
		d, err := opcuasim.Start(opcuasim.Config{
			ID: id, Address: past.Address, Memory: memory, Boot: f.o.Boot, Init: f.o.Init, MaxClients: f.o.MaxClients,
			Identity: f.keys.identity, User: f.keys.opcua.User, Password: f.keys.opcua.Password, Trusted: f.keys.trusted(),
			OnChange: changed, Logger: f.o.Logger,
		})
		m, err := keep[*opcuasim.Device, opcuasim.Memory](id, "plc", d, err)
		if err == nil {
			m.login = Login{Credentials: controllerLogin, Thumbprint: f.keys.identity.Thumbprint(), ApplicationURI: opcuasim.ApplicationURI}
		}
		return m, err
	case gatewayProfile:
		memory, err := recall[sshsim.Memory](id, past)
		if err != nil {
			return nil, err
		}
		d, err := sshsim.Start(sshsim.Config{
			ID: id, Address: past.Address, Memory: memory, Boot: f.o.Boot, Init: f.o.Init, MaxClients: f.o.MaxClients,
			User: f.keys.sshUser, Keys: f.keys.sshKeys(), OnChange: changed, Logger: f.o.Logger,
		})
		m, err := keep[*sshsim.Device, sshsim.Memory](id, "gateway", d, err)
		if err == nil {
			m.login = Login{Credentials: gatewayLogin, HostKey: d.Fingerprint()}
		}
		return m, err
	}
	memory, err := recall[sim.Memory](id, past)
	if err != nil {
		return nil, err
	}
	cfg := sim.Config{
		ID: id, Address: past.Address, Memory: memory, Boot: f.o.Boot, Init: f.o.Init, MaxClients: f.o.MaxClients,
		OnChange: changed, Logger: f.o.Logger,
	}
	return f.buildModbus(cfg, profile)
}

func (f *Fleet) buildModbus(cfg sim.Config, profile string) (*member, error) {
	switch profile {
	case plcProfile:
		d, err := sim.StartPLC(cfg)
		return keep[*sim.PLC, sim.Memory](cfg.ID, "plc", d, err)
	case inverterProfile, batteryProfile:
		c := sunspecsim.Inverter("NL-" + cfg.ID)
		if profile == batteryProfile {
			c = sunspecsim.Battery("NL-" + cfg.ID)
		}
		c.Sim = cfg
		d, err := sunspecsim.Start(c)
		return keep[*sunspecsim.Device, sim.Memory](cfg.ID, "gateway", d, err)
	case outletProfile:
		d, err := sim.StartOutlet(cfg, f.o.Off)
		return keep[*sim.Outlet, sim.Memory](cfg.ID, "gateway", d, err)
	}
	model, err := sim.FeederRTU(cfg.ID)
	if err != nil {
		return nil, err
	}
	cfg.Model = model
	d, err := sim.Start(cfg)
	return keep[*sim.Device, sim.Memory](cfg.ID, "rtu", d, err)
}
