package stack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"

	"edgefleet/alertbridge/bridge"
	"edgefleet/dev/engine"
	"edgefleet/dev/monitor"
	"edgefleet/dev/simfleet"
	"edgefleet/internal/telemetry"
	"edgefleet/internal/temporalx"
	"edgefleet/worker/service"
)

// Options say what to run and where. Addresses are loopback host:port; port 0
// is any free one.
type Options struct {
	DataDir string
	// Devices is the number of simulated devices, and Mix says of what kinds
	// they are; the zero Mix is feeders alone.
	Devices int
	Mix     simfleet.Mix
	// NoMonitoring leaves Prometheus and Alertmanager out.
	NoMonitoring bool
	// Prometheus and Alertmanager say where the programs come from: build,
	// path, or a file.
	Prometheus, Alertmanager string

	TemporalAddr, UIAddr, PrometheusAddr, AlertmanagerAddr, BridgeAddr, WorkerAddr string
	// NoUI leaves the Web UI out.
	NoUI bool

	// Exe is this program, which is run again as the simulated fleet with the
	// arguments FleetArgs.
	Exe       string
	FleetArgs []string

	// Address, when it is set, gives the address at which a simulated device
	// is declared, so that something can stand before it.
	Address func(device, address string) (string, error)

	// Pending is how long a device is dark before its alert fires.
	Pending time.Duration
	// Progress gets a line for each thing that takes long.
	Progress io.Writer
	Logger   *zap.Logger
}

// Stack is a running stack. Its life is New, Start, Stop.
type Stack struct {
	opts   Options
	engine *engine.Engine
	fleet  *simfleet.Client
	conn   *temporalx.Conn
	bridge *bridge.Bridge
	worker *service.Worker
	prom   *monitor.Server
	alerts *monitor.Server
	// tracing is on when the environment names a collector.
	tracing *telemetry.Tracing
	// bridgeMetrics are shown by the bridge, with those of the connection.
	bridgeMetrics *prometheus.Registry

	undo     []step
	stopOnce sync.Once
	stopErr  error
}

type step struct {
	what string
	stop func(context.Context) error
}

// New returns a stack that is not yet started.
func New(o Options) *Stack {
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	return &Stack{opts: o}
}

// Start starts everything, each thing after what it needs. When it fails, what
// it had started is stopped.
func (s *Stack) Start(ctx context.Context) error {
	if err := s.start(ctx); err != nil {
		return errors.Join(err, s.Stop())
	}
	return nil
}

func (s *Stack) start(ctx context.Context) error {
	if err := os.MkdirAll(s.opts.DataDir, 0o700); err != nil {
		return fmt.Errorf("data folder: %w; give another one with --data-dir", err)
	}
	// The engine comes first: it holds the folder's lock, so that nothing
	// below is done to the folder of a stack that runs.
	for _, start := range []func(context.Context) error{
		s.startEngine, s.checkAddresses, s.startFleet, s.startBridge, s.startAlertmanager, s.startWorker, s.startPrometheus,
	} {
		if err := start(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *Stack) started(what string, stop func(context.Context) error) {
	s.undo = append(s.undo, step{what, stop})
}

func (s *Stack) startEngine(ctx context.Context) error {
	e, err := engine.New(engine.Options{
		DataDir: filepath.Join(s.opts.DataDir, "temporal"), FrontendAddr: s.opts.TemporalAddr,
		UIAddr: s.opts.UIAddr, NoUI: s.opts.NoUI, Logger: s.opts.Logger.Named("engine"),
	})
	if err != nil {
		return err
	}
	if err := e.Start(ctx); err != nil {
		return err
	}
	s.engine = e
	s.started("Temporal", func(context.Context) error { return e.Stop() })
	if s.tracing, err = telemetry.New(ctx, "edgefleet-dev", s.opts.Logger.Named("tracing")); err != nil {
		return err
	}
	s.started("tracing", s.tracing.Shutdown)
	s.bridgeMetrics = newRegistry()
	conn := s.Temporal()
	if conn.Metrics, err = telemetry.SDKMetrics(s.bridgeMetrics); err != nil {
		return err
	}
	s.conn, err = temporalx.NewLazy(conn)
	if err != nil {
		return err
	}
	s.started("connection", func(context.Context) error { s.conn.Close(); return nil })
	return nil
}

// checkAddresses tells of a taken port before seconds of work, and how to
// choose another one.
func (s *Stack) checkAddresses(ctx context.Context) error {
	wanted := []struct{ what, addr, flag string }{
		{"alertbridge", s.opts.BridgeAddr, "bridge"}, {"worker", s.opts.WorkerAddr, "worker"},
	}
	if !s.opts.NoMonitoring {
		wanted = append(wanted, []struct{ what, addr, flag string }{
			{"Alertmanager", s.opts.AlertmanagerAddr, "alertmanager"}, {"Prometheus", s.opts.PrometheusAddr, "prometheus"},
		}...)
	}
	for _, w := range wanted {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", w.addr)
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("%s address %s is taken by another program: stop that one, or choose another port (--%s-port 0 means any free one)", w.what, w.addr, w.flag)
		}
		if err != nil {
			return fmt.Errorf("%s address %s: %w", w.what, w.addr, err)
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}

// startFleet takes over the fleet that a kill left behind, or starts one.
func (s *Stack) startFleet(ctx context.Context) error {
	spawn := func() (*simfleet.Client, error) {
		return simfleet.Spawn(ctx, s.opts.Exe, s.opts.FleetArgs, FleetState(s.opts.DataDir))
	}
	fleet, err := spawn()
	if err == nil && (fleet.Size() != s.opts.Devices || fleet.Mix() != s.opts.Mix.String()) {
		if err := fleet.Stop(ctx); err != nil {
			return err
		}
		fleet, err = spawn()
	}
	if err != nil {
		return err
	}
	s.fleet = fleet
	s.started("simulated fleet", fleet.Stop)
	return s.declare(ctx)
}

func (s *Stack) startBridge(ctx context.Context) error {
	o := bridge.Options{
		Temporal: bridge.FromConn(s.conn), Logger: s.opts.Logger.Named("bridge"), Registry: s.bridgeMetrics,
		Listen: s.opts.BridgeAddr, Tracing: s.tracing,
	}
	if !s.opts.NoMonitoring {
		// The bridge and Alertmanager each have to know where the other is.
		addr, err := chosen(ctx, s.opts.AlertmanagerAddr)
		if err != nil {
			return err
		}
		s.opts.AlertmanagerAddr = addr
		o.Alertmanagers, o.ReconcileEvery = []string{"http://" + addr}, 5*time.Second
	}
	b, err := bridge.New(o)
	if err != nil {
		return err
	}
	if err := b.Start(ctx); err != nil {
		return err
	}
	s.bridge = b
	s.started("alertbridge", b.Stop)
	return nil
}

// chosen gives an address with port 0 a port that is free now.
func chosen(ctx context.Context, addr string) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return "", fmt.Errorf("address of Alertmanager: %w", err)
	}
	return l.Addr().String(), l.Close()
}

func (s *Stack) startWorker(ctx context.Context) error {
	database := filepath.Join(s.opts.DataDir, "store.db")
	key, err := ensureKey(filepath.Join(s.opts.DataDir, "ledger.key"), database)
	if err != nil {
		return err
	}
	registry := newRegistry()
	o := service.Options{
		FleetDir: s.FleetDir(), CredentialsDir: s.CredentialsDir(), StoreURL: "sqlite:" + database, LedgerKeyFile: key,
		AdminAddr: s.opts.WorkerAddr, WebURL: s.webURL(), Housekeeping: 5 * time.Second,
		// The simulated devices are there from the first moment, and Prometheus
		// looks at each of them once a second.
		Watch: service.WatchDeclared, ProbeMaxAge: 500 * time.Millisecond,
		Temporal: s.Temporal(), Logger: s.opts.Logger.Named("worker"), Registerer: registry, Gatherer: registry,
	}
	o.Tracing = s.tracing
	if o.Temporal.Metrics, err = telemetry.SDKMetrics(registry); err != nil {
		return err
	}
	if s.alerts != nil {
		o.AlertmanagerURL = s.alerts.URL()
	}
	if _, port, err := net.SplitHostPort(s.opts.PrometheusAddr); err == nil && !s.opts.NoMonitoring && port != "0" {
		// Prometheus is started after the worker that it scrapes.
		o.PrometheusURL = "http://" + s.opts.PrometheusAddr
	}
	w, err := service.New(o)
	if err != nil {
		return err
	}
	if err := w.Start(ctx); err != nil {
		return err
	}
	s.worker = w
	s.started("worker", w.Stop)
	return nil
}

func (s *Stack) startAlertmanager(ctx context.Context) error {
	if s.opts.NoMonitoring {
		return nil
	}
	server, err := monitor.StartAlertmanager(ctx, monitor.AlertmanagerOptions{
		Common:    s.monitored(s.opts.Alertmanager, s.opts.AlertmanagerAddr),
		BridgeURL: s.BridgeURL() + bridge.PathAlertmanager,
	})
	if err != nil {
		return err
	}
	s.alerts = server
	s.started("Alertmanager", func(context.Context) error { return server.Stop() })
	return nil
}

func (s *Stack) startPrometheus(ctx context.Context) error {
	if s.opts.NoMonitoring {
		return nil
	}
	every, pending := scrapeInterval(s.opts.Devices), s.opts.Pending
	if every > time.Second {
		// One scrape that came late is no dark device.
		pending = max(pending, 2*every)
	}
	server, err := monitor.StartPrometheus(ctx, monitor.PrometheusOptions{
		Common:     s.monitored(s.opts.Prometheus, s.opts.PrometheusAddr),
		WorkerAddr: s.worker.AdminAddr(), BridgeAddr: s.bridge.Addr(), AlertmanagerAddr: s.alerts.Addr(),
		ScrapeInterval: every, Pending: pending,
	})
	if err != nil {
		return err
	}
	s.prom = server
	s.started("Prometheus", func(context.Context) error { return server.Stop() })
	return nil
}

// scrapeInterval is how often a fleet of so many devices is scraped: what one
// machine bears beside all that it runs, which is 50 devices a second.
func scrapeInterval(devices int) time.Duration {
	return max(time.Second, time.Duration(devices/50)*time.Second)
}

func (s *Stack) monitored(program, addr string) monitor.Common {
	return monitor.Common{DataDir: s.opts.DataDir, Program: program, Addr: addr, Progress: s.opts.Progress}
}

// Stop stops everything, last in first out, the simulated fleet included. It
// is idempotent, and goes on when one thing does not stop.
func (s *Stack) Stop() error {
	s.stopOnce.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		var errs []error
		for _, u := range slices.Backward(s.undo) {
			if err := u.stop(ctx); err != nil {
				errs = append(errs, fmt.Errorf("stop %s: %w", u.what, err))
			}
		}
		s.stopErr = errors.Join(errs...)
	})
	return s.stopErr
}

// Run starts the stack, calls up when it runs, and stops it when ctx ends or
// a part of it does. That ctx ends before it is up is no error.
func (s *Stack) Run(ctx context.Context, up func()) error {
	if err := s.Start(ctx); err != nil {
		if ctx.Err() != nil {
			fmt.Fprintln(s.opts.Progress, "stopped before it was up")
			return s.Stop()
		}
		return err
	}
	up()
	err := s.wait(ctx)
	fmt.Fprintln(s.opts.Progress, "stopping")
	return errors.Join(err, s.Stop())
}

func (s *Stack) wait(ctx context.Context) error {
	var prom, alerts <-chan struct{}
	if s.prom != nil {
		prom, alerts = s.prom.Done(), s.alerts.Done()
	}
	select {
	case <-ctx.Done():
		return nil
	case <-s.engine.Done():
		return s.engine.Err()
	case <-prom:
		return s.prom.Err()
	case <-alerts:
		return s.alerts.Err()
	}
}

func newRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// ensureKey makes the ledger's key at the first start. A new key for a store
// that has a ledger already would only hide that the old one is lost.
func ensureKey(path, database string) (string, error) {
	_, err := os.Stat(path)
	if err == nil {
		return path, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("ledger key: %w", err)
	}
	if _, err := os.Stat(database); err == nil {
		return "", fmt.Errorf("ledger key %s is gone, and the ledger in %s was begun with it: restore the key, or move the store away to begin a new ledger", path, database)
	}
	// Under another name until it is whole, since a start can be killed here.
	fresh := path + ".new"
	f, err := os.OpenFile(fresh, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return "", fmt.Errorf("ledger key: %w", err)
	}
	_, err = f.WriteString(rand.Text() + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		return "", fmt.Errorf("ledger key: %w", err)
	}
	return path, nil
}
