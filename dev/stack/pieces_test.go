package stack_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"edgefleet/alertbridge/bridge"
	"edgefleet/dev/engine"
	"edgefleet/dev/monitor"
	"edgefleet/dev/sample"
	"edgefleet/dev/simfleet"
	"edgefleet/dev/stack"
	"edgefleet/dev/tools/toolchain"
	"edgefleet/internal/temporalx"
	"edgefleet/worker/service"
)

// door is an address that stays the same while what is behind it comes and
// goes: the engine's, which a load balancer keeps in a larger installation.
type door struct {
	listener net.Listener
	mu       sync.Mutex
	target   string
	passing  map[net.Conn]bool
}

func newDoor(t testing.TB) *door {
	t.Helper()
	listener, err := net.Listen("tcp", anyPort)
	require.NoError(t, err)
	d := &door{listener: listener, passing: map[net.Conn]bool{}}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			work.Go(func() { d.pass(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		d.lead("")
		work.Wait()
	})
	return d
}

// lead makes the door lead to an address, or nowhere. Who is passing is cut
// off.
func (d *door) lead(target string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.target = target
	for conn := range d.passing {
		_ = conn.Close()
	}
}

func (d *door) pass(conn net.Conn) {
	defer conn.Close()
	d.mu.Lock()
	target := d.target
	d.mu.Unlock()
	if target == "" {
		return
	}
	behind, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer behind.Close()
	if !d.hold(target, conn, behind) {
		return
	}
	defer d.release(conn, behind)
	done := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{conn, behind}, {behind, conn}} {
		go func() {
			_, _ = io.Copy(way[0], way[1])
			_, _ = conn.Close(), behind.Close()
			done <- struct{}{}
		}()
	}
	<-done
	<-done
}

// hold says no when the door leads elsewhere by now.
func (d *door) hold(target string, conns ...net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range conns {
		d.passing[c] = true
	}
	return d.target == target
}

func (d *door) release(conns ...net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range conns {
		delete(d.passing, c)
	}
}

// pieces is an edgefleet whose engine and worker a test stops and starts by
// themselves, with a real Alertmanager beside it.
type pieces struct {
	site
	*parts
}

// parts run until the test that started the first of them ends, also those
// that a test inside of it starts.
type parts struct {
	life   *testing.T
	door   *door
	engine *engine.Engine
	alerts *monitor.Server
	worker *service.Worker
}

// bounded waits a few seconds for a device that a reset did not bring back, so
// that a stuck one fails within a test's patience.
const bounded = `
def handle_device_offline(device_id):
    if not check_network(device_id):
        attempt(trigger_network_reset, device_id, timeout="4s", retries=0)
    if check_network(device_id) and detect_config_drift(device_id):
        apply_baseline_config(device_id)
    update_incident_status(device_id)
`

func startPieces(t *testing.T, devices int) *pieces {
	t.Helper()
	alertmanager := toolchain.ForTest(t, "alertmanager")
	p := &pieces{site{t: t, dir: t.TempDir()}, &parts{life: t, door: newDoor(t)}}
	p.startFleet(devices)
	p.startEngine()

	conn, err := temporalx.NewLazy(p.connection())
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	p.temporal = conn.Client
	b, err := bridge.New(bridge.Options{Temporal: bridge.FromConn(conn), Logger: zap.NewNop(), Listen: anyPort})
	require.NoError(t, err)
	require.NoError(t, b.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, b.Stop(context.Background())) })
	p.bridgeURL = "http://" + b.Addr()

	p.alerts, err = monitor.StartAlertmanager(t.Context(), monitor.AlertmanagerOptions{
		Common:    monitor.Common{DataDir: p.dir, Program: alertmanager, Addr: anyPort},
		BridgeURL: p.bridgeURL + bridge.PathAlertmanager,
		GroupWait: 100 * time.Millisecond, GroupInterval: time.Second,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.alerts.Stop()) })

	require.NoError(t, os.WriteFile(filepath.Join(p.dir, "ledger.key"), []byte("a secret of the test alone"), 0o600))
	p.store = openStore(t, p.dir)
	p.startWorker()
	return p
}

// startFleet runs the simulated fleet and declares it.
func (p *pieces) startFleet(devices int) {
	p.t.Helper()
	o := options(p.t, p.dir, devices)
	endFleet(p.t, p.dir)
	fleet, err := simfleet.Spawn(p.t.Context(), o.Exe, o.FleetArgs, stack.FleetState(p.dir))
	require.NoError(p.t, err)
	p.fleet = fleet
	running, err := fleet.Devices(p.t.Context())
	require.NoError(p.t, err)
	var declared []sample.Device
	for _, d := range running {
		out := sample.Device{ID: d.ID, Profile: d.Profile, Address: d.Address, Class: "gateway"}
		if d.Outlet != "" {
			out.Class, out.ResetDevice, out.ResetAction = "rtu", d.Outlet, fmt.Sprintf("cycle-port-%d", d.Port)
		}
		declared = append(declared, out)
	}
	dir := filepath.Join(p.dir, "fleet")
	require.NoError(p.t, os.MkdirAll(filepath.Join(dir, "runbooks"), 0o700))
	require.NoError(p.t, os.WriteFile(filepath.Join(dir, "runbooks", "auto_remediation.py"), []byte(bounded), 0o600))
	require.NoError(p.t, sample.Write(dir, strings.TrimPrefix(fleet.URL(), "http://"), declared))
}

func (p *pieces) connection() temporalx.Options {
	return temporalx.Options{Address: p.door.listener.Addr().String(), Namespace: temporalx.DefaultNamespace}
}

// startEngine starts Temporal on the test's folder.
func (p *pieces) startEngine() {
	p.t.Helper()
	e, err := engine.New(engine.Options{DataDir: filepath.Join(p.dir, "temporal"), FrontendAddr: anyPort, NoUI: true})
	require.NoError(p.t, err)
	require.NoError(p.t, e.Start(p.life.Context()))
	p.life.Cleanup(func() { require.NoError(p.life, e.Stop()) })
	p.engine = e
	p.door.lead(e.Addr())
}

func (p *pieces) stopEngine() {
	p.t.Helper()
	p.door.lead("")
	require.NoError(p.t, p.engine.Stop())
}

// startWorker starts a worker that is not patient when it is stopped.
func (p *pieces) startWorker() {
	p.t.Helper()
	w, err := service.New(service.Options{
		FleetDir: filepath.Join(p.dir, "fleet"), StoreURL: "sqlite:" + filepath.Join(p.dir, "store.db"),
		LedgerKeyFile: filepath.Join(p.dir, "ledger.key"), AdminAddr: anyPort, AlertmanagerURL: p.alerts.URL(),
		Housekeeping: time.Second, StopTimeout: 100 * time.Millisecond, Temporal: p.connection(),
	})
	require.NoError(p.t, err)
	require.NoError(p.t, w.Start(p.life.Context()))
	p.life.Cleanup(func() { require.NoError(p.life, w.Stop(context.Background())) })
	p.worker = w
}
