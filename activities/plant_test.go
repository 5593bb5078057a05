package activities

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/converter"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	sdkworker "go.temporal.io/sdk/worker"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"edgefleet/devices"
	"edgefleet/devices/fleet"
	"edgefleet/devices/fleetdir"
	"edgefleet/devices/modbus"
	"edgefleet/devices/sim"
	"edgefleet/internal/pager"
	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Identity of what TestActivityEnvironment executes. A new environment begins
// to count its activities anew, so that the same call in a new one is a retry.
const (
	testWorkflow = "default-test-workflow-id"
	testRun      = "default-test-run-id"
)

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

// plant is a feeder behind port 1 of an outlet, both speaking Modbus over
// loopback, with the activities over a store of their own and an Alertmanager
// of which only the API's shape is real.
type plant struct {
	t         *testing.T
	dir       string
	feeder    *sim.Device
	outlet    *sim.Outlet
	reference net.Listener
	driver    *hookedDriver
	store     *store.Store
	// database is the store's file.
	database string
	// ago is how far the store's clock is behind.
	ago      time.Duration
	pages    *pageTaker
	acts     *Activities
	registry *prometheus.Registry
	operator *fleet.Operator
	// closed says of a run whether it has ended.
	closed func(store.Owner) (bool, error)
	// ctx is the context of every activity.
	ctx context.Context
}

func newPlant(t *testing.T) *plant {
	t.Helper()
	model, err := sim.FeederRTU("edge-001")
	require.NoError(t, err)
	p := &plant{t: t, dir: t.TempDir(), registry: prometheus.NewRegistry(), ctx: context.Background()}
	p.closed = func(store.Owner) (bool, error) { return false, nil }
	p.feeder, err = sim.Start(sim.Config{ID: "edge-001", Model: model, Boot: 20 * time.Millisecond, Init: time.Millisecond})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.feeder.Close()) })
	p.outlet, err = sim.StartOutlet(sim.Config{ID: "switch-01"}, 20*time.Millisecond)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.outlet.Close()) })
	require.NoError(t, p.outlet.Connect(1, p.feeder))
	p.reference, err = net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.reference.Close() })
	driver := modbus.New(modbus.Options{})
	t.Cleanup(driver.Close)
	p.driver = &hookedDriver{Driver: driver}
	p.database = filepath.Join(t.TempDir(), "store.db")
	p.store, err = store.Open(t.Context(), "sqlite:"+p.database, store.Options{
		LedgerKey: []byte("0123456789abcdef"), Clock: func() time.Time { return time.Now().Add(-p.ago) }})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.store.Close()) })
	p.pages = takePages(t)

	p.write("profiles/fast-feeder.yaml", variant(t, "feeder-rtu", "fast-feeder", "settle: {wait: 1ms, up_to: 150ms}\nrestart: {back_within: 2s}\n"))
	p.write("profiles/fast-outlet.yaml", strings.ReplaceAll(variant(t, "switched-outlet", "fast-outlet", ""), "_cycles}", "_cycles, confirm_within: 300ms}"))
	p.write("edge-configs/standard.yaml", plantBaseline)
	p.write("runbooks/auto_remediation.py", "def handle_device_offline(device_id):\n    check_network(device_id)\n")
	p.write("fleet.yaml", fmt.Sprintf(`fleet:
  name: plant
  regions: {north: {reference: %q}}
  security: {allowed_networks: [127.0.0.0/8]}
devices:
  - {id: edge-001, site: s1, region: north, profile: fast-feeder, address: %q, labels: {feeder: F12}, network_reset: {device: switch-01, action: cycle-port-1}}
  - {id: switch-01, site: s2, region: north, profile: fast-outlet, address: %q}
`, p.reference.Addr().String(), p.feeder.Addr(), p.outlet.Addr()))
	p.load()
	p.build(p.pages.server.URL)
	return p
}

// load reads the fleet directory, as a worker does that starts.
func (p *plant) load() {
	p.t.Helper()
	f, err := fleetdir.Load(p.dir)
	require.NoError(p.t, err)
	p.operator, err = fleet.New(fleet.Options{Fleet: f, Assigned: Assigned(func() *store.Store { return p.store }), Drivers: []devices.Driver{p.driver},
		ConnectTimeout: 300 * time.Millisecond, ResponseTimeout: 200 * time.Millisecond})
	require.NoError(p.t, err)
}

// build makes the activities, with an Alertmanager or none.
func (p *plant) build(alertmanager string) {
	p.t.Helper()
	page, err := pager.New(alertmanager)
	require.NoError(p.t, err)
	p.registry = prometheus.NewRegistry()
	p.acts = New(Dependencies{
		Operator: func() *fleet.Operator { return p.operator }, Commit: func() string { return "c0ffee" }, Store: p.store, Pager: page,
		Closed: func(_ context.Context, o store.Owner) (bool, error) { return p.closed(o) },
		WebURL: "http://127.0.0.1:8233/namespaces/default", Logger: zap.NewNop(), Registerer: p.registry,
	})
}

func variant(t *testing.T, builtin, name, more string) string {
	t.Helper()
	data, err := os.ReadFile("../devices/profile/builtin/" + builtin + ".yaml")
	require.NoError(t, err)
	return strings.Replace(string(data), "name: "+builtin, "name: "+name, 1) + more
}

func (p *plant) write(name, text string) {
	p.t.Helper()
	file := filepath.Join(p.dir, filepath.FromSlash(name))
	require.NoError(p.t, os.MkdirAll(filepath.Dir(file), 0o700))
	require.NoError(p.t, os.WriteFile(file, []byte(text), 0o600))
}

// env is an environment with all activities.
func (p *plant) env() *testsuite.TestActivityEnvironment {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	env := suite.NewTestActivityEnvironment()
	env.SetWorkerOptions(sdkworker.Options{BackgroundActivityContext: p.ctx})
	p.acts.RegisterCentral(env)
	p.acts.RegisterDevice(env)
	return env
}

// do executes an activity as the first of its run: the same again is a retry.
func do[Out any](p *plant, name string, in any) (Out, error) { return next[Out](p.env(), name, in) }

// next executes an activity as the next one of an environment.
func next[Out any](env *testsuite.TestActivityEnvironment, name string, in any) (Out, error) {
	var out Out
	value, err := env.ExecuteActivity(name, in)
	if err == nil {
		err = get(value, &out)
	}
	return out, err
}

func get(value converter.EncodedValue, into any) error {
	if !value.HasValue() {
		return nil
	}
	return value.Get(into)
}

func theActor() contract.Actor {
	return contract.Actor{Kind: contract.ActorAlert, Name: "EdgeDeviceOffline"}
}

func beginInput() contract.BeginInput {
	return contract.BeginInput{DeviceID: "edge-001", Actor: theActor(), Reason: "it does not answer",
		Alert:   &contract.Alert{Name: "EdgeDeviceOffline", Fingerprint: "f00d"},
		Runbook: contract.RunbookRef{Path: "auto_remediation.py", Function: "handle_device_offline"}}
}

// begin begins a remediation, and returns the scope of its actions.
func (p *plant) begin() contract.Scope {
	p.t.Helper()
	begun, err := do[contract.BeginResult](p, contract.ActivityBegin, beginInput())
	require.NoError(p.t, err)
	return contract.Scope{DeviceID: "edge-001", Actor: theActor(), Reason: "it does not answer",
		LeaseToken: begun.LeaseToken, IncidentID: begun.IncidentID, Origin: "auto_remediation.py:2"}
}

// drift changes settings as somebody at the front panel would.
func (p *plant) drift() {
	p.t.Helper()
	require.NoError(p.t, p.feeder.Poke(devices.Holding, 102, 600))
	require.NoError(p.t, p.feeder.Poke(devices.Holding, 106, 1, 1))
}

// writes returns how often clients wrote to each setting of the feeder.
func (p *plant) writes() map[string]int {
	out := map[string]int{}
	for _, c := range p.feeder.Writes() {
		out[c.Name] = max(out[c.Name], int(c.Count))
	}
	return out
}

// cycles returns how often clients wrote to the outlet.
func (p *plant) cycles() int {
	n := 0
	for _, c := range p.outlet.Writes() {
		n += int(c.Count)
	}
	return n
}

// ledger returns the ledger's entries as "phase action outcome".
func (p *plant) ledger() []string {
	p.t.Helper()
	page, err := p.store.ListLedger(p.t.Context(), store.LedgerQuery{})
	require.NoError(p.t, err)
	out := []string{}
	for _, e := range page.Entries {
		out = append(out, strings.TrimSpace(e.Phase+" "+e.Action+" "+e.Outcome))
	}
	return out
}

func (p *plant) incident(id string) store.Incident {
	p.t.Helper()
	i, err := p.store.Incident(p.t.Context(), id)
	require.NoError(p.t, err)
	return i
}

// requireFree wants that nobody holds the device.
func (p *plant) requireFree() {
	p.t.Helper()
	_, err := p.store.LeaseOf(p.t.Context(), "edge-001")
	require.ErrorIs(p.t, err, store.ErrNotFound)
}

// requireType wants an application error of the type, and returns its message.
func requireType(t *testing.T, kind string, retryable bool, err error) string {
	t.Helper()
	var app *temporal.ApplicationError
	require.ErrorAs(t, err, &app)
	require.Equal(t, kind, app.Type(), app.Message())
	require.Equal(t, retryable, !app.NonRetryable(), app.Message())
	return app.Message()
}

// hookedDriver lets a test stand between an operator and the real driver.
type hookedDriver struct {
	devices.Driver
	write func(call func() error) error
	// open is told of every link that is opened.
	open func()
}

func (h *hookedDriver) Open(ctx context.Context, ep devices.Endpoint) (devices.Link, error) {
	if h.open != nil {
		h.open()
	}
	link, err := h.Driver.Open(ctx, ep)
	return &hookedLink{Link: link, h: h}, err
}

type hookedLink struct {
	devices.Link
	h *hookedDriver
}

func (l *hookedLink) Write(ctx context.Context, settings []devices.Setting) error {
	call := func() error { return l.Link.Write(ctx, settings) }
	if l.h.write != nil {
		return l.h.write(call)
	}
	return call()
}

// page is an alert as Alertmanager's API takes it.
type page struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"`
	GeneratorURL string            `json:"generatorURL"`
}

// pageTaker stands for Alertmanager's API.
type pageTaker struct {
	server *httptest.Server
	mu     sync.Mutex
	pages  []page
	status int
	// hang makes it take connections and never answer, until it is closed.
	hang chan struct{}
}

func takePages(t *testing.T) *pageTaker {
	a := &pageTaker{status: http.StatusOK}
	a.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		hang, status := a.hang, a.status
		a.mu.Unlock()
		if hang != nil {
			<-hang
			return
		}
		var got []page
		if r.Method != http.MethodPost || r.URL.Path != "/api/v2/alerts" || json.NewDecoder(r.Body).Decode(&got) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if status == http.StatusOK {
			a.mu.Lock()
			a.pages = append(a.pages, got...)
			a.mu.Unlock()
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(func() {
		a.server.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return a
}

func (a *pageTaker) taken() []page {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]page(nil), a.pages...)
}

func (a *pageTaker) answer(status int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.status = status
}
