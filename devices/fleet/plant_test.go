package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"edgefleet/devices"
	"edgefleet/devices/dial"
	"edgefleet/devices/fleet"
	"edgefleet/devices/fleetdir"
	"edgefleet/devices/modbus"
	"edgefleet/devices/sim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// plant is a feeder behind port 1 of an outlet, both speaking Modbus over
// loopback, and the fleet directory that declares them.
type plant struct {
	t      *testing.T
	dir    string
	feeder *sim.Device
	outlet *sim.Outlet
	// reference is the region's reference target.
	reference net.Listener
	driver    *modbus.Driver
}

const plantBaseline = `name: standard
version: 7
profile: fast-feeder
settings:
  undervoltage_trip: 85
  undervoltage_delay: 1500
  overvoltage_trip: 110
  overcurrent_pickup: 630
  reclose_enabled: on
  active_power_limit: 4500
`

func newPlant(t *testing.T) *plant {
	t.Helper()
	model, err := sim.FeederRTU("edge-001")
	require.NoError(t, err)
	p := &plant{t: t, dir: t.TempDir()}
	p.feeder, err = sim.Start(sim.Config{ID: "edge-001", Model: model, Boot: 20 * time.Millisecond, Init: time.Millisecond})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.feeder.Close()) })
	p.outlet, err = sim.StartOutlet(sim.Config{ID: "switch-01"}, 20*time.Millisecond)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.outlet.Close()) })
	require.NoError(t, p.outlet.Connect(1, p.feeder))
	p.reference, err = net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { p.reference.Close() })
	p.driver = modbus.New(modbus.Options{})
	t.Cleanup(p.driver.Close)

	p.write("profiles/fast-feeder.yaml", variant(t, "feeder-rtu", "fast-feeder", "settle: {wait: 1ms, up_to: 150ms}\nrestart: {back_within: 2s}\n"))
	p.write("profiles/fast-outlet.yaml", strings.ReplaceAll(variant(t, "switched-outlet", "fast-outlet", ""), "_cycles}", "_cycles, confirm_within: 300ms}"))
	p.write("profiles/blind-outlet.yaml", withoutCounters(variant(t, "switched-outlet", "blind-outlet", "")))
	p.write("edge-configs/standard.yaml", plantBaseline)
	p.declare("fast-feeder", "fast-outlet", p.reference.Addr().String())
	return p
}

// variant is a built-in profile under another name, made for short tests.
func variant(t *testing.T, builtin, name, more string) string {
	t.Helper()
	data, err := os.ReadFile("../profile/builtin/" + builtin + ".yaml")
	require.NoError(t, err)
	return strings.Replace(string(data), "name: "+builtin, "name: "+name, 1) + more
}

func withoutCounters(profile string) string {
	for port := 1; port <= sim.Ports; port++ {
		profile = strings.Replace(profile, fmt.Sprintf(", confirm: port_%d_cycles", port), "", 1)
	}
	return profile
}

func (p *plant) write(name, text string) {
	p.t.Helper()
	file := filepath.Join(p.dir, filepath.FromSlash(name))
	require.NoError(p.t, os.MkdirAll(filepath.Dir(file), 0o700))
	require.NoError(p.t, os.WriteFile(file, []byte(text), 0o600))
}

// declare writes the fleet file; no reference is declared when it is empty.
func (p *plant) declare(feederProfile, outletProfile, reference string) {
	p.t.Helper()
	p.declareAt(p.feeder.Addr(), feederProfile, outletProfile, reference)
}

// declareAt is declare with another way to the feeder.
func (p *plant) declareAt(feeder, feederProfile, outletProfile, reference string) {
	p.t.Helper()
	region := "{}"
	if reference != "" {
		region = fmt.Sprintf("{reference: %q}", reference)
	}
	p.write("fleet.yaml", fmt.Sprintf(`fleet:
  name: plant
  regions: {north: %s}
  security: {allowed_networks: [127.0.0.0/8]}
devices:
  - {id: edge-001, site: s1, region: north, profile: %s, address: %q, network_reset: {device: switch-01, action: cycle-port-1}}
  - {id: switch-01, site: s1, region: north, profile: %s, address: %q}
`, region, feederProfile, feeder, outletProfile, p.outlet.Addr()))
}

// operator loads the directory and returns an operator over the driver.
func (p *plant) operator(driver devices.Driver) *fleet.Operator {
	p.t.Helper()
	if driver == nil {
		driver = p.driver
	}
	return p.operatorWithin(driver, 2*time.Second)
}

// operatorWithin is operator with another time-out of answers.
func (p *plant) operatorWithin(driver devices.Driver, response time.Duration) *fleet.Operator {
	p.t.Helper()
	f, err := fleetdir.Load(p.dir)
	require.NoError(p.t, err)
	o, err := fleet.New(fleet.Options{Fleet: f, Drivers: []devices.Driver{driver}, Dialer: dial.Dialer{},
		ConnectTimeout: 2 * time.Second, ResponseTimeout: response})
	require.NoError(p.t, err)
	return o
}

// poke changes a setting as somebody on site would.
func (p *plant) poke(address uint16, words ...uint16) {
	p.t.Helper()
	require.NoError(p.t, p.feeder.Poke(devices.Holding, address, words...))
}

// writes returns how often clients wrote to each setting of the feeder, by
// name; a value of two registers counts once.
func (p *plant) writes() map[string]int {
	out := map[string]int{}
	for _, c := range p.feeder.Writes() {
		out[c.Name] = max(out[c.Name], int(c.Count))
	}
	return out
}

// cycles returns how often clients wrote to the coil of port 1.
func (p *plant) cycles() int {
	n := 0
	for _, c := range p.outlet.Writes() {
		n += int(c.Count)
	}
	return n
}

func (p *plant) requireInSync() {
	p.t.Helper()
	report, err := p.operator(nil).Drift(p.t.Context(), "edge-001")
	require.NoError(p.t, err)
	require.Equal(p.t, 6, report.Checked)
	require.Empty(p.t, report.Drifted)
}

// memory is a journal that keeps its promises, in memory.
type memory struct {
	mu       sync.Mutex
	steps    []string
	captured map[string]string
	records  map[string]*fleet.Record
	// refuse makes the named step fail.
	refuse string
}

func newMemory() *memory {
	return &memory{captured: map[string]string{}, records: map[string]*fleet.Record{}}
}

var errRefused = errors.New("the store is not there")

func (m *memory) step(name string) error {
	m.steps = append(m.steps, name)
	if m.refuse == name {
		return errRefused
	}
	return nil
}

func (m *memory) Capture(_ context.Context, _ string, values []fleet.Captured) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step("capture"); err != nil {
		return err
	}
	m.keep(values)
	return nil
}

// keep keeps of each setting what is captured first.
func (m *memory) keep(values []fleet.Captured) {
	for _, v := range values {
		if _, first := m.captured[v.Setting]; !first {
			m.captured[v.Setting] = v.Value
		}
	}
}

func (m *memory) Captured(context.Context, string) ([]fleet.Captured, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []fleet.Captured
	for name, value := range m.captured {
		out = append(out, fleet.Captured{Setting: name, Value: value})
	}
	return out, nil
}

func (m *memory) Prior(_ context.Context, item string) (*fleet.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rec := m.records[item]
	if rec == nil {
		return nil, nil
	}
	clone := *rec
	return &clone, nil
}

func (m *memory) Intent(_ context.Context, c fleet.Change, replaces []fleet.Captured) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step("intent"); err != nil {
		return err
	}
	if rec := m.records[c.Item]; rec != nil {
		if rec.Outcome != "" || !maps.Equal(rec.Change.Before, c.Before) || !maps.Equal(rec.Change.After, c.After) {
			return fmt.Errorf("another intent under %q", c.Item)
		}
		return nil
	}
	m.records[c.Item] = &fleet.Record{Change: c}
	m.keep(replaces)
	return nil
}

func (m *memory) Result(ctx context.Context, c fleet.Change, o fleet.Outcome, detail string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step("result"); err != nil {
		return err
	}
	rec := m.records[c.Item]
	if rec == nil || rec.Outcome != "" && rec.Outcome != o {
		return fmt.Errorf("result %s of %q has no open intent", o, c.Item)
	}
	rec.Outcome, rec.Detail = o, detail
	return ctx.Err()
}

// outcomes returns the outcome of every item.
func (m *memory) outcomes() []fleet.Outcome {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []fleet.Outcome
	for _, rec := range m.records {
		out = append(out, rec.Outcome)
	}
	return out
}

// life is a process that dies at its n-th step; a call has two steps, before
// and after its effect. Once dead, nothing has an effect any more.
type life struct {
	mu    sync.Mutex
	left  int
	dead  bool
	where string
}

var errDied = errors.New("the process has died")

func (l *life) step(where string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return errDied
	}
	if l.left--; l.left < 0 {
		l.dead, l.where = true, where
		return errDied
	}
	return nil
}

// do runs one call of a life.
func (l *life) do(what string, call func() error) error {
	if err := l.step("before " + what); err != nil {
		return err
	}
	err := call()
	if died := l.step("after " + what); died != nil {
		return died
	}
	return err
}

// mortalJournal and mortalDriver share one life.
type mortalJournal struct {
	*life
	j fleet.Journal
}

func (m mortalJournal) Capture(ctx context.Context, device string, values []fleet.Captured) error {
	return m.do("capture", func() error { return m.j.Capture(ctx, device, values) })
}

func (m mortalJournal) Captured(ctx context.Context, device string) (got []fleet.Captured, err error) {
	err = m.do("captured", func() (err error) { got, err = m.j.Captured(ctx, device); return err })
	return got, err
}

func (m mortalJournal) Prior(ctx context.Context, item string) (rec *fleet.Record, err error) {
	err = m.do("prior", func() (err error) { rec, err = m.j.Prior(ctx, item); return err })
	return rec, err
}

func (m mortalJournal) Intent(ctx context.Context, c fleet.Change, replaces []fleet.Captured) error {
	return m.do("intent", func() error { return m.j.Intent(ctx, c, replaces) })
}

func (m mortalJournal) Result(ctx context.Context, c fleet.Change, o fleet.Outcome, detail string) error {
	return m.do("result", func() error { return m.j.Result(ctx, c, o, detail) })
}

// hookedDriver lets a test stand between an operator and the real driver.
type hookedDriver struct {
	devices.Driver
	read  func(call func() error) error
	write func(settings []devices.Setting, call func([]devices.Setting) error) error
}

func (h *hookedDriver) Open(ctx context.Context, ep devices.Endpoint) (devices.Link, error) {
	link, err := h.Driver.Open(ctx, ep)
	return &hookedLink{Link: link, h: h}, err
}

type hookedLink struct {
	devices.Link
	h *hookedDriver
}

func (l *hookedLink) Read(ctx context.Context, points []devices.Point) (got []devices.Value, err error) {
	call := func() error { got, err = l.Link.Read(ctx, points); return err }
	if l.h.read != nil {
		err = l.h.read(call)
	} else {
		err = call()
	}
	if err != nil {
		return nil, err
	}
	return got, nil
}

func (l *hookedLink) Ping(ctx context.Context) error {
	call := func() error { return l.Link.Ping(ctx) }
	if l.h.read != nil {
		return l.h.read(call)
	}
	return call()
}

func (l *hookedLink) Write(ctx context.Context, settings []devices.Setting) error {
	call := func(s []devices.Setting) error { return l.Link.Write(ctx, s) }
	if l.h.write != nil {
		return l.h.write(settings, call)
	}
	return call(settings)
}

func mortalDriver(d devices.Driver, l *life) devices.Driver {
	return &hookedDriver{Driver: d,
		read: func(call func() error) error { return l.do("read", call) },
		write: func(settings []devices.Setting, call func([]devices.Setting) error) error {
			return l.do("write", func() error { return call(settings) })
		},
	}
}

func lost(device string) error {
	return &devices.Error{Kind: devices.Indeterminate, Device: device, Op: "write", Err: errors.New("no answer")}
}

func fleetText(p *plant) string {
	data, err := os.ReadFile(filepath.Join(p.dir, "fleet.yaml"))
	require.NoError(p.t, err)
	return string(data)
}

func profileText(p *plant) string {
	data, err := os.ReadFile(filepath.Join(p.dir, "profiles", "fast-feeder.yaml"))
	require.NoError(p.t, err)
	return string(data)
}
