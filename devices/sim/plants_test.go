package sim_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"golang.org/x/crypto/ssh"

	"edgefleet/devices"
	"edgefleet/devices/credentials"
	"edgefleet/devices/fleet"
	"edgefleet/devices/fleetdir"
	"edgefleet/devices/modbus"
	"edgefleet/devices/opcua"
	"edgefleet/devices/profile"
	"edgefleet/devices/sim"
	"edgefleet/devices/sim/chassis"
	"edgefleet/devices/sim/opcuasim"
	"edgefleet/devices/sim/sshsim"
	"edgefleet/devices/sshhost"
	"edgefleet/devices/sunspec"
	"edgefleet/devices/sunspec/sunspecsim"
)

// simulator is what every simulated device can do.
type simulator interface {
	Addr() string
	Break(f chassis.Fault, stuck bool) error
	Writes() []chassis.Counter
	Status() chassis.Status
	Close() error
}

// plant is a simulated device of a built-in profile, and how it is declared.
type plant struct {
	simulator
	// declared is what the fleet file says of it beside its address.
	declared string
	// lock makes each interlock of the profile hold, in the profile's order.
	lock []func() error
	// texts are legal values of settings that no range gives.
	texts map[string]string
}

// secrets are what the tests log in with.
type secrets struct {
	dir    string
	client ssh.PublicKey
}

const testUser, testPassword = "edgefleet", "a password of the test"

// newSecrets makes the worker's credentials "sim", for both protocols.
func newSecrets(t *testing.T) secrets {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "credentials")
	require.NoError(t, os.MkdirAll(dir, 0o700))
	require.NoError(t, credentials.NewOPCUA(dir, "sim", "urn:test:client"))
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(key, "")
	require.NoError(t, err)
	for name, text := range map[string]string{
		credentials.Username: testUser, credentials.Password: testPassword, credentials.SSHPrivateKey: string(pem.EncodeToMemory(block)),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "sim", name), []byte(text), 0o600))
	}
	public, err := ssh.NewPublicKey(key.Public())
	require.NoError(t, err)
	return secrets{dir, public}
}

// simulators start a device of each built-in profile. A profile without one
// fails the test below.
func simulators() map[string]func(t *testing.T, s secrets) plant {
	modbusDevice := func(d *sim.Device, err error) *sim.Device {
		if err != nil {
			panic(err)
		}
		return d
	}
	poke := func(d *sim.Device, table devices.ModbusTable, address, value uint16) func() error {
		return func() error { return d.Poke(table, address, value) }
	}
	const plain = "plaintext_exception: simulated"
	cfg := func(m sim.Model) sim.Config {
		return sim.Config{ID: "unit-1", Model: m, Boot: quick, Init: quick}
	}
	return map[string]func(t *testing.T, s secrets) plant{
		"feeder-rtu": func(t *testing.T, _ secrets) plant {
			model, err := sim.FeederRTU("unit-1")
			require.NoError(t, err)
			d := modbusDevice(sim.Start(cfg(model)))
			return plant{simulator: d, declared: plain, lock: []func() error{poke(d, devices.Discrete, 0, 1)}}
		},
		"switched-outlet": func(t *testing.T, _ secrets) plant {
			d, err := sim.StartOutlet(cfg(sim.Model{}), quick)
			require.NoError(t, err)
			return plant{simulator: d, declared: plain}
		},
		"register-plc": func(t *testing.T, _ secrets) plant {
			d, err := sim.StartPLC(cfg(sim.Model{}))
			require.NoError(t, err)
			return plant{simulator: d, declared: plain, lock: []func() error{poke(d.Device, devices.Discrete, 0, 1)},
				texts: map[string]string{"station_name": "Station eight"}}
		},
		"sunspec-inverter": func(t *testing.T, _ secrets) plant {
			c := sunspecsim.Inverter("PV-1")
			c.Sim, c.AdoptDelay = cfg(sim.Model{}), time.Millisecond
			d, err := sunspecsim.Start(c)
			require.NoError(t, err)
			return plant{simulator: d, declared: plain}
		},
		"sunspec-battery": func(t *testing.T, _ secrets) plant {
			c := sunspecsim.Battery("BT-1")
			c.Sim = cfg(sim.Model{})
			d, err := sunspecsim.Start(c)
			require.NoError(t, err)
			// 802.LocRemCtl, 1 is local.
			at := registerOf(t, "sunspec-battery", d.Device, "local_control")
			return plant{simulator: d, declared: plain, lock: []func() error{poke(d.Device, devices.Holding, at, 1)}}
		},
		"opcua-plc": func(t *testing.T, _ secrets) plant {
			identity, err := opcuasim.NewIdentity()
			require.NoError(t, err)
			d, err := opcuasim.Start(opcuasim.Config{ID: "unit-1", Identity: identity, User: testUser, Password: testPassword, Boot: quick, Init: quick})
			require.NoError(t, err)
			return plant{simulator: d, lock: []func() error{func() error { return d.Poke("Plc.LocalControl", true) }},
				texts: map[string]string{"station_name": "Station eight"},
				declared: fmt.Sprintf("credentials: sim, opcua: {policy: Basic256Sha256, mode: SignAndEncrypt, thumbprint: %q, application_uri: %q}",
					identity.Thumbprint(), opcuasim.ApplicationURI)}
		},
		"linux-gateway": func(t *testing.T, s secrets) plant {
			d, err := sshsim.Start(sshsim.Config{ID: "unit-1", User: testUser, Keys: []ssh.PublicKey{s.client}, Boot: quick, Init: quick})
			require.NoError(t, err)
			return plant{simulator: d, declared: fmt.Sprintf("credentials: sim, ssh: {host_keys: [%q]}", d.Fingerprint()), texts: map[string]string{
				"edge_config":      strings.Replace(sshsim.FactoryConfig("unit-1"), "interval: 60", "interval: 300", 1),
				"edge_config_mode": "0660 edge:edge", "shadow_mode": "0600 root:root", "sshd_config_mode": "0640 root:root",
				"log_level": "warning", "permit_root_login": "yes", "password_authentication": "yes", "x11_forwarding": "yes",
				"telnet": "enabled active", "rsh": "masked inactive",
			}}
		},
	}
}

// registerOf finds where the model of a SunSpec device that has the point
// stands, by asking for its neighbours: the head of the model is the register
// before its first point.
func registerOf(t *testing.T, name string, d *sim.Device, point string) uint16 {
	t.Helper()
	profiles, err := profile.Builtin()
	require.NoError(t, err)
	pt, ok := profiles[name].Point(point)
	require.True(t, ok)
	catalog, err := sunspec.NewCatalog()
	require.NoError(t, err)
	link := openLink(t, d.Addr())
	chain, err := catalog.Discover(t.Context(), link, "unit-1")
	require.NoError(t, err)
	mapped, err := chain.Map(t.Context(), link, []string{pt.SunSpec})
	require.NoError(t, err)
	return mapped.Points[0].Modbus.Address
}

// other is a legal value of the setting that it does not have now.
func (p plant) other(t *testing.T, pt devices.Point, now devices.Value) devices.Value {
	t.Helper()
	candidates := []any{p.texts[pt.Name]}
	switch {
	case len(pt.Enum) > 0:
		candidates = nil
		for _, name := range slices.Sorted(maps.Keys(pt.Enum)) {
			candidates = append(candidates, name)
		}
	case pt.Type == devices.Bool:
		candidates = []any{true, false}
	case pt.Max != nil:
		candidates = []any{*pt.Max, *pt.Min}
	case pt.SunSpec != "" && pt.Type == devices.String:
		// A curve is a table of points; one that has a point less is another.
		rows := strings.Fields(now.(string))
		candidates = []any{"60/1"}
		if len(rows) > 1 {
			candidates = []any{strings.Join(rows[:len(rows)-1], " ")}
		}
	case pt.SunSpec != "":
		candidates = []any{90, 91}
	}
	for _, c := range candidates {
		value, err := pt.Canonical(c)
		require.NoError(t, err, pt.Name)
		if value != now {
			return value
		}
	}
	t.Fatalf("no other value of %s is known than %v", pt.Name, now)
	return nil
}

// stack is the operator of a fleet of one device, over the real drivers.
type stack struct {
	*fleet.Operator
	dir   string
	model *profile.Profile
	open  func(ctx context.Context) (devices.Link, error)
}

func newStack(t *testing.T, p plant, model *profile.Profile, s secrets) *stack {
	t.Helper()
	st := &stack{dir: t.TempDir(), model: model}
	declared := p.declared
	if declared != "" {
		declared = ", " + declared
	}
	st.write(t, "fleet.yaml", fmt.Sprintf(`fleet:
  name: bench
  regions: {north: {}}
  security: {enable_encryption: true, rotation_period: 72h, allowed_networks: [127.0.0.0/8]}
devices:
  - {id: unit-1, site: s1, region: north, profile: %s, address: %q%s}
`, model.Name, p.Addr(), declared))
	st.load(t, s)
	return st
}

func (st *stack) write(t *testing.T, name, text string) {
	t.Helper()
	file := filepath.Join(st.dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
}

// load reads the fleet directory as it is now.
func (st *stack) load(t *testing.T, s secrets) {
	t.Helper()
	loaded, err := fleetdir.Load(st.dir)
	require.NoError(t, err)
	folder, err := credentials.Open(s.dir)
	require.NoError(t, err)
	catalog, err := sunspec.NewCatalog()
	require.NoError(t, err)
	m, o, h := modbus.New(modbus.Options{}), opcua.New(opcua.Options{}), sshhost.New(sshhost.Options{})
	t.Cleanup(m.Close)
	t.Cleanup(o.Close)
	t.Cleanup(h.Close)
	st.Operator, err = fleet.New(fleet.Options{Fleet: loaded, Drivers: []devices.Driver{m, o, h}, Credentials: folder, SunSpec: catalog,
		ConnectTimeout: patience, ResponseTimeout: patience})
	require.NoError(t, err)
	st.open = func(ctx context.Context) (devices.Link, error) { return st.link(ctx, m, o, h, catalog, folder) }
}

// link opens a link to the device as the operator does, for what has no
// operation of its own.
func (st *stack) link(ctx context.Context, m *modbus.Driver, o *opcua.Driver, h *sshhost.Driver, catalog *sunspec.Catalog, folder *credentials.Folder) (devices.Link, error) {
	d, _, err := st.Fleet().Device("unit-1")
	if err != nil {
		return nil, err
	}
	ep := devices.Endpoint{DeviceID: d.ID, Address: d.Address, Unit: d.Unit, Allowed: st.Fleet().Inventory.Security.AllowedNetworks, ResponseTimeout: patience}
	switch {
	case d.OPCUA != nil:
		c, err := folder.OPCUA(d.Credentials)
		if err != nil {
			return nil, err
		}
		ep.OPCUA = &devices.OPCUASecurity{Policy: d.OPCUA.Policy, Mode: d.OPCUA.Mode, ApplicationURI: d.OPCUA.ApplicationURI,
			ServerThumbprint: d.Fingerprints()[0], ClientCert: c.ClientCert, ClientKey: c.ClientKey, User: c.User, Password: c.Password}
		return o.Open(ctx, ep)
	case d.SSH != nil:
		user, key, err := folder.SSH(d.Credentials)
		if err != nil {
			return nil, err
		}
		ep.SSH = &devices.SSHSecurity{User: user, HostKeys: d.Fingerprints(), Signer: key}
		return h.Open(ctx, ep)
	}
	link, err := m.Open(ctx, ep)
	if err == nil && st.model.SunSpec {
		link = catalog.Link(link, d.ID)
	}
	return link, err
}

// noJournal is a journal of an operation that nobody takes up again.
type noJournal struct{}

func (noJournal) Capture(context.Context, string, []fleet.Captured) error { return nil }
func (noJournal) Captured(context.Context, string) ([]fleet.Captured, error) {
	return nil, nil
}
func (noJournal) Prior(context.Context, string) (*fleet.Record, error)         { return nil, nil }
func (noJournal) Intent(context.Context, fleet.Change, []fleet.Captured) error { return nil }
func (noJournal) Result(context.Context, fleet.Change, fleet.Outcome, string) error {
	return nil
}

// baselineOf writes a baseline of these values.
func (st *stack) baselineOf(t *testing.T, version int, values map[string]any) {
	t.Helper()
	text, err := yaml.Marshal(map[string]any{"name": "bench", "version": fmt.Sprint(version), "profile": st.model.Name, "settings": values})
	require.NoError(t, err)
	st.write(t, "edge-configs/bench.yaml", string(text))
}
