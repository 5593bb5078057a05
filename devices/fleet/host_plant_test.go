package fleet_test

import (
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"edgefleet/devices"
	"edgefleet/devices/credentials"
	"edgefleet/devices/fleet"
	"edgefleet/devices/fleetdir"
)

// hostProfile is a gateway of which every kind of value is a setting: a file, a
// secret file, and a line.
const hostProfile = `name: small-gateway
protocol: ssh
class: gateway
commands:
  edge-validate: {run: "/usr/local/bin/edge-validate %s", timeout: 40s}
  restart-edge: {run: "systemctl restart edge", timeout: 50s}
  edge-healthy: {run: "systemctl is-active edge", within: 15s}
  edge-version: {run: "/usr/local/bin/edge --version"}
identity:
  - {name: maker, fact: os, equals: debian}
  - {name: serial, fact: machine_id}
  - {name: firmware, output: edge-version}
settings:
  - {name: edge_config, file: /etc/edge/config.yaml, validate: edge-validate, restart: restart-edge, health: edge-healthy}
  - {name: edge_token, file: /etc/edge/token, secret: true}
  - {name: log_level, line: {path: /etc/edge/agent.conf, key: log_level, separator: "="}}
measurements:
  - {name: agent, service: edge.service}
settle: {wait: 1ms, up_to: 100ms}
health:
  - {point: agent, equals: enabled active}
actions:
  - {name: restart, run: restart-edge}
`

const hostBaseline = `name: gateways
version: 3
profile: small-gateway
settings:
  edge_config: "poll: 10\nupstream: 10.0.0.1\n"
  edge_token: "s3cr3t"
  log_level: info
`

// keyA, keyB and keyC are fingerprints of host keys.
var keyA, keyB, keyC = hostKey("A"), hostKey("B"), hostKey("C")

func hostKey(letter string) string { return "SHA256:" + strings.Repeat(letter, 42) + "A" }

// host is a driver and the one device behind it: what it proves, and what it
// has by the name of the setting. The real ones are tested with their driver;
// here it is the boundary.
type host struct {
	mu     sync.Mutex
	keys   []string
	has    map[string]string
	writes map[string]int
	dark   bool
	// asked counts the questions for fingerprints, sent the requests that took
	// a log-in.
	asked, sent int
	// onWrite is called after each write.
	onWrite func()
}

func newHost() *host {
	return &host{keys: []string{keyA, keyB}, writes: map[string]int{}, has: map[string]string{
		"maker": "debian", "serial": "m-0001", "firmware": "edge 3.2.1", "agent": "enabled active",
		"edge_config": "poll: 10\nupstream: 10.6.6.6\n", "edge_token": "old-token", "log_level": "debug",
	}}
}

func (h *host) Protocol() string { return "ssh" }

func (h *host) fail(kind devices.Kind, why string) error {
	return &devices.Error{Kind: kind, Device: "gw-1", Op: "ask", Err: errors.New(why)}
}

func (h *host) Fingerprints(_ context.Context, ep devices.Endpoint) ([]string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked++
	switch {
	case h.dark:
		return nil, h.fail(devices.Unreachable, "no answer")
	case ep.SSH != nil:
		return nil, h.fail(devices.Auth, "nothing secret is needed to see what a host shows")
	}
	return slices.Clone(h.keys), nil
}

func (h *host) Open(_ context.Context, ep devices.Endpoint) (devices.Link, error) {
	if ep.SSH == nil {
		return nil, h.fail(devices.Auth, "the endpoint has no user")
	}
	if err := ep.SSH.Check(); err != nil {
		return nil, h.fail(devices.Auth, err.Error())
	}
	return &hostLink{h, ep}, nil
}

type hostLink struct {
	*host
	ep devices.Endpoint
}

// enter proves the host key before anything is said.
func (l *hostLink) enter() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dark {
		return l.fail(devices.Unreachable, "no answer")
	}
	for _, k := range l.keys {
		if slices.Contains(l.ep.SSH.HostKeys, k) {
			l.sent++
			return nil
		}
	}
	return l.fail(devices.Auth, "the host key is not a pinned one")
}

func (l *hostLink) Ping(context.Context) error { return l.enter() }
func (l *hostLink) Close()                     {}

func (l *hostLink) Read(_ context.Context, points []devices.Point) ([]devices.Value, error) {
	if err := l.enter(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []devices.Value
	for _, p := range points {
		if p.Host == nil || p.Host.Kind == devices.HostRun {
			return nil, l.fail(devices.Unsupported, p.Name+" cannot be read")
		}
		text, ok := l.has[p.Name]
		if !ok {
			text = devices.HostAbsent
		}
		v, err := p.FromRaw(devices.Raw{Text: text})
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func (l *hostLink) Write(_ context.Context, settings []devices.Setting) error {
	if err := l.enter(); err != nil {
		return err
	}
	l.mu.Lock()
	for _, s := range settings {
		l.writes[s.Point.Name]++
		if l.has[s.Point.Name] = s.Value.(string); s.Value == devices.HostAbsent {
			delete(l.has, s.Point.Name)
		}
	}
	done := l.onWrite
	l.mu.Unlock()
	if done != nil {
		done()
	}
	return nil
}

func (h *host) set(name, value string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.has[name] = value
}

func (h *host) now() map[string]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.has)
}

// pinBoard is fleet.Pins in memory.
type pinBoard map[string]string

func (p pinBoard) Pin(_ context.Context, id string) (string, error) {
	if p[id] == "!" {
		return "", errors.New("the store is away")
	}
	return p[id], nil
}

// gateway is a site with one host, and the credentials for it.
type gateway struct {
	t       *testing.T
	dir     string
	secrets string
	host    *host
	pins    pinBoard
}

func newGateway(t *testing.T) *gateway {
	t.Helper()
	g := &gateway{t: t, dir: t.TempDir(), secrets: t.TempDir(), host: newHost(), pins: pinBoard{}}
	g.write("profiles/small-gateway.yaml", hostProfile)
	g.write("edge-configs/gateways.yaml", hostBaseline)
	g.declare("trust_first_use: true", "")
	g.login()
	return g
}

func (g *gateway) write(name, text string) {
	g.t.Helper()
	file := filepath.Join(g.dir, filepath.FromSlash(name))
	require.NoError(g.t, os.MkdirAll(filepath.Dir(file), 0o700))
	require.NoError(g.t, os.WriteFile(file, []byte(text), 0o600))
}

// declare writes the fleet file with a line of security and the device's
// fingerprints, of which either may be empty.
func (g *gateway) declare(security, hostKeys string) {
	known := ""
	if hostKeys != "" {
		known = fmt.Sprintf(", ssh: {host_keys: [%s]}", hostKeys)
	}
	if security != "" {
		security = ", " + security
	}
	g.write("fleet.yaml", fmt.Sprintf(`fleet:
  name: gateways
  regions: {north: {}}
  security: {enable_encryption: true, allowed_networks: [127.0.0.0/8]%s}
devices:
  - {id: gw-1, site: s1, region: north, profile: small-gateway, address: "127.0.0.1:22", credentials: gateways%s}
`, security, known))
}

// login writes the credentials.
func (g *gateway) login() {
	g.t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	require.NoError(g.t, err)
	block, err := ssh.MarshalPrivateKey(key, "")
	require.NoError(g.t, err)
	dir := filepath.Join(g.secrets, "gateways")
	require.NoError(g.t, os.MkdirAll(dir, 0o700))
	require.NoError(g.t, os.WriteFile(filepath.Join(dir, credentials.Username), []byte("edgefleet\n"), 0o600))
	require.NoError(g.t, os.WriteFile(filepath.Join(dir, credentials.SSHPrivateKey), pem.EncodeToMemory(block), 0o600))
}

func (g *gateway) operator(d devices.Driver) *fleet.Operator {
	g.t.Helper()
	f, err := fleetdir.Load(g.dir)
	require.NoError(g.t, err)
	secrets, err := credentials.Open(g.secrets)
	require.NoError(g.t, err)
	if d == nil {
		d = g.host
	}
	o, err := fleet.New(fleet.Options{Fleet: f, Drivers: []devices.Driver{d}, Credentials: secrets, Pins: g.pins,
		SecretKey: func() []byte { return fleet.SecretKey([]byte("the key of the ledger")) }})
	require.NoError(g.t, err)
	return o
}

func (g *gateway) onboard(opts fleet.OnboardOptions, j fleet.Journal) (fleet.OnboardReport, error) {
	g.t.Helper()
	return g.operator(nil).Onboard(g.t.Context(), "gw-1", opts, j, nil)
}

// mortalHost is the host under a life.
type mortalHost struct {
	*host
	life *life
}

func (m mortalHost) Fingerprints(ctx context.Context, ep devices.Endpoint) (got []string, err error) {
	err = m.life.do("fingerprints", func() (err error) { got, err = m.host.Fingerprints(ctx, ep); return err })
	return got, err
}

func (m mortalHost) Open(ctx context.Context, ep devices.Endpoint) (devices.Link, error) {
	link, err := m.host.Open(ctx, ep)
	if err != nil {
		return nil, err
	}
	h := mortalDriver(m.host, m.life).(*hookedDriver)
	return &hookedLink{Link: link, h: h}, nil
}

// lyingHost shows a key that it does not have.
type lyingHost struct{ *host }

func (l *lyingHost) Fingerprints(context.Context, devices.Endpoint) ([]string, error) {
	return []string{keyC}, nil
}
