package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	sdkworker "go.temporal.io/sdk/worker"
	"go.uber.org/zap"

	"edgefleet/activities"
	"edgefleet/devices"
	"edgefleet/devices/credentials"
	"edgefleet/devices/dial"
	"edgefleet/devices/fleet"
	"edgefleet/devices/fleetdir"
	"edgefleet/devices/inventory"
	"edgefleet/devices/modbus"
	"edgefleet/devices/opcua"
	"edgefleet/devices/patch"
	"edgefleet/devices/sshhost"
	"edgefleet/devices/sunspec"
	"edgefleet/internal/httpserve"
	"edgefleet/internal/pager"
	"edgefleet/internal/promcheck"
	"edgefleet/internal/silence"
	"edgefleet/internal/store"
	"edgefleet/internal/temporalx"
	"edgefleet/workflows"
	"edgefleet/workflows/contract"
)

// Worker is a running worker. Its life is New, Start, Stop; it is not started
// twice.
type Worker struct {
	opts    Options
	now     atomic.Pointer[served]
	watcher *watcher
	queues  *queues
	// drivers outlive every revision of the fleet, and so do their connections.
	drivers     []driver
	dialer      dial.Dialer
	sunspec     *sunspec.Catalog
	credentials *credentials.Folder
	// secretKey is that of the texts of secret settings; set by start.
	secretKey []byte
	// artifacts remembers which artifacts were checked, over all revisions.
	artifacts *patch.Shelf
	pager     *pager.Pager
	// silences and metrics are for rollouts.
	silences *silence.Client
	metrics  *promcheck.Checker
	conn     *temporalx.Conn
	store    *store.Store
	acts     *activities.Activities
	admin    *httpserve.Server
	meter    *meter

	// life says why the worker is not ready, or nothing while it serves.
	life atomic.Pointer[string]
	// undo holds what was started, to be stopped last in, first out.
	undo     []func(context.Context) error
	stopOnce sync.Once
	stopErr  error
	fatal    chan error
}

// New checks the options and loads the fleet directory, so that a mistake
// shows before anything runs.
func New(o Options) (*Worker, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	page, err := pager.New(o.AlertmanagerURL)
	if err != nil {
		return nil, fmt.Errorf("--alertmanager.url: %w", err)
	}
	silences, err := silence.New(o.AlertmanagerURL)
	if err != nil {
		return nil, fmt.Errorf("--alertmanager.url: %w", err)
	}
	metrics, err := promcheck.New(o.PrometheusURL)
	if err != nil {
		return nil, fmt.Errorf("--prometheus.url: %w", err)
	}
	// The look comes first: what changes after it is loaded again.
	look := fleetdir.Look(o.FleetDir)
	declared, err := fleetdir.Load(o.FleetDir)
	if err != nil {
		return nil, err
	}
	w := &Worker{opts: o, pager: page, silences: silences, metrics: metrics, fatal: make(chan error, 1), artifacts: &patch.Shelf{Artifacts: o.ArtifactsDir}}
	if o.CredentialsDir != "" {
		if w.credentials, err = credentials.Open(o.CredentialsDir); err != nil {
			return nil, fmt.Errorf("--credentials: %w", err)
		}
	}
	if w.sunspec, err = sunspec.NewCatalog(); err != nil {
		return nil, err
	}
	w.drivers = []driver{
		modbus.New(modbus.Options{Dialer: w.dialer}), opcua.New(opcua.Options{Dialer: w.dialer}), sshhost.New(sshhost.Options{Dialer: w.dialer}),
	}
	first, err := w.serve(declared)
	if err != nil {
		return nil, errors.Join(err, w.closeDrivers(context.Background()))
	}
	w.now.Store(first)
	w.queues = &queues{start: w.startRegion, running: map[string]stopper{}}
	w.watcher = &watcher{dir: o.FleetDir, now: &w.now, serve: w.serve, follow: w.queues.follow,
		metrics: newFleetMetrics(&w.now, o.Registerer), logger: o.Logger, settled: look, last: look}
	w.meter = newMeter(func() (*inventory.Inventory, []string) {
		now := w.now.Load()
		return now.declared().Inventory, now.regions
	}, o.Logger, o.Registerer)
	w.watcher.taken = w.checkCredentials
	newCredentialMetrics(w)
	w.checkCredentials(first)
	w.isNow("starting")
	w.undo = append(w.undo, w.closeDrivers)
	if w.admin, err = w.newAdmin(); err != nil {
		return nil, errors.Join(err, w.closeDrivers(context.Background()))
	}
	return w, nil
}

// driver is a devices.Driver that keeps connections.
type driver interface {
	devices.Driver
	Close()
}

func (w *Worker) closeDrivers(context.Context) error {
	for _, d := range w.drivers {
		d.Close()
	}
	return nil
}

// isNow sets what /readyz answers; "" is ready.
func (w *Worker) isNow(word string) { w.life.Store(&word) }

// Start connects to Temporal and the store, and takes up work. When it fails,
// what it had started is stopped.
func (w *Worker) Start(ctx context.Context) error {
	if err := w.start(ctx); err != nil {
		return errors.Join(err, w.Stop(context.WithoutCancel(ctx)))
	}
	w.isNow("")
	w.opts.Logger.Info("worker is up", append(w.now.Load().fields(), zap.String("admin", w.admin.Addr()))...)
	return nil
}

// start starts everything, each thing after what it needs, and work last:
// nothing is taken up by a worker that cannot start.
func (w *Worker) start(ctx context.Context) error {
	key, err := w.opts.ledgerKey()
	if err != nil {
		return err
	}
	// Every worker of the fleet has the ledger's key, so that one of them can
	// compare what another has written down.
	w.secretKey = fleet.SecretKey(key)
	if w.store, err = store.Open(ctx, w.opts.StoreURL, store.Options{LedgerKey: key, Logger: w.opts.Logger}); err != nil {
		return err
	}
	w.undo = append(w.undo, func(context.Context) error { return w.store.Close() })
	if w.conn, err = temporalx.Dial(ctx, w.opts.Temporal); err != nil {
		return err
	}
	w.undo = append(w.undo, func(context.Context) error { w.conn.Close(); return nil })
	if err := ensureSearchAttributes(ctx, w.conn); err != nil {
		return err
	}
	if err := w.admin.Start(ctx); err != nil {
		return fmt.Errorf("--admin: %w", err)
	}
	w.undo = append(w.undo, w.admin.Stop)
	w.acts = activities.New(activities.Dependencies{
		Operator: func() *fleet.Operator { return w.now.Load().operator }, Commit: func() string { return w.now.Load().commit },
		Former: func(revision string) bool { return slices.Contains(w.now.Load().former, revision) },
		Store:  w.store, Pager: w.pager, Silences: w.silences, Metrics: w.metrics,
		Closed: w.closed, WebURL: w.opts.WebURL, Logger: w.opts.Logger, Registerer: w.opts.Registerer,
	})
	newEvidenceMetrics(w.store, w.opts.Logger, w.opts.Registerer)
	newPatchMetrics(w.store.Versions, func() *fleetdir.Fleet { return w.now.Load().declared() }, w.opts.Logger, w.opts.Registerer)
	newRunningMetrics(w.conn, w.opts.Logger, w.opts.Registerer)
	newQueueMetrics(w.conn, w.declaredRegions, w.opts.Logger, w.opts.Registerer)
	w.startMeter()
	w.startHousekeeping()
	if err := w.startWorkers(); err != nil {
		return err
	}
	w.startWatching()
	return nil
}

// pollers are the polls in flight on each queue: with fewer, a burst of alerts
// waits for the next poll and not for the engine.
const pollers = 10

// startWorkers takes up the work of the common queue and of the regions'.
func (w *Worker) startWorkers() error {
	w.undo = append(w.undo, func(context.Context) error { w.queues.stop(); return nil })
	central := sdkworker.New(w.conn.Client, contract.TaskQueue, w.workerOptions())
	workflows.Register(central)
	w.acts.RegisterCentral(central)
	if err := w.startWorker(central); err != nil {
		return err
	}
	w.queues.common = central
	_, _, err := w.queues.follow(w.now.Load().regions)
	return err
}

func (w *Worker) startRegion(region string) (stopper, error) {
	options := w.workerOptions()
	options.DisableWorkflowWorker = true
	regional := sdkworker.New(w.conn.Client, contract.RegionQueue(region), options)
	w.acts.RegisterDevice(regional)
	return regional, w.startWorker(regional)
}

func (w *Worker) startWorker(worker sdkworker.Worker) error {
	if err := worker.Start(); err != nil {
		return w.conn.Explain(fmt.Errorf("start the worker: %w", err))
	}
	return nil
}

func (w *Worker) workerOptions() sdkworker.Options {
	return sdkworker.Options{
		MaxConcurrentActivityExecutionSize:      w.opts.MaxActivities,
		MaxConcurrentActivityTaskPollers:        pollers,
		MaxConcurrentWorkflowTaskPollers:        pollers,
		MaxConcurrentWorkflowTaskExecutionSize:  w.opts.MaxActivities,
		WorkerStopTimeout:                       w.opts.StopTimeout,
		OnFatalError:                            w.fail,
		MaxConcurrentLocalActivityExecutionSize: 1,
	}
}

func (w *Worker) fail(err error) {
	select {
	case w.fatal <- err:
	default:
	}
}

// AdminAddr is where the admin port listens, and "" before Start.
func (w *Worker) AdminAddr() string { return w.admin.Addr() }

// Stop ends the worker: no new work is taken, what runs is given StopTimeout.
// It is idempotent.
func (w *Worker) Stop(ctx context.Context) error {
	w.stopOnce.Do(func() {
		w.isNow("stopping")
		var errs []error
		for _, undo := range slices.Backward(w.undo) {
			errs = append(errs, undo(ctx))
		}
		w.stopErr = errors.Join(errs...)
	})
	return w.stopErr
}

// Run starts the worker and stops it when ctx ends, or when it can no longer
// work.
func (w *Worker) Run(ctx context.Context) error {
	if err := w.Start(ctx); err != nil {
		return err
	}
	var cause error
	select {
	case <-ctx.Done():
	case cause = <-w.fatal:
		cause = w.conn.Explain(cause)
	case <-w.admin.Done():
		cause = w.admin.Err()
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.opts.StopTimeout+10*time.Second)
	defer cancel()
	return errors.Join(cause, w.Stop(stopCtx))
}
