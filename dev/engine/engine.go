package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"go.temporal.io/server/temporal"
	"go.uber.org/zap"

	"edgefleet/dev/engine/internal/filelock"
)

// portAttempts is how often the server is started again with other internal
// ports when one of them was taken between the reservation and its use.
const portAttempts = 3

// Engine is a Temporal server in this process. It is started and stopped once;
// make a new one to start again on the same folder.
type Engine struct {
	opts     Options
	database string
	fatal    *fatal

	mu       sync.Mutex
	started  bool
	stopped  bool
	addr     string
	uiAddr   string
	stops    []stopper // in the order of starting; undone from the end
	stopOnce sync.Once
	stopErr  error
	doneOnce sync.Once
	done     chan struct{}
}

// stopper undoes one step of Start.
type stopper struct {
	name string
	stop func(context.Context) error
}

// New checks the options. Nothing is opened before Start.
func New(o Options) (*Engine, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(o.DataDir)
	if err != nil {
		return nil, fmt.Errorf("data folder %s: %w", o.DataDir, err)
	}
	o.DataDir = dir
	return &Engine{
		opts:     o,
		database: filepath.Join(dir, databaseFile),
		fatal:    newFatal(),
		done:     make(chan struct{}),
	}, nil
}

// Start returns when the engine answers clients: the namespace exists, and its
// search attributes can be used. When it fails, nothing is left running.
func (e *Engine) Start(ctx context.Context) error {
	e.mu.Lock()
	if e.started {
		e.mu.Unlock()
		return errors.New("the engine was started before: make a new one")
	}
	e.started = true
	e.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, e.opts.StartTimeout)
	defer cancel()
	begin := time.Now()
	err := e.start(ctx)
	if e.wasStopped() {
		return errors.New("the engine was stopped while it started")
	}
	if err != nil {
		return errors.Join(err, e.Stop())
	}
	go e.watch()
	e.opts.Logger.Info("engine ready", zap.String("temporal", e.addr), zap.String("ui", e.uiAddr),
		zap.String("folder", e.opts.DataDir), zap.Duration("after", time.Since(begin)))
	return nil
}

func (e *Engine) start(ctx context.Context) error {
	if err := e.takeFolder(); err != nil {
		return err
	}
	// The Web UI's port is taken first: a taken port should be told before
	// seconds of work.
	var uiListener net.Listener
	if !e.opts.NoUI {
		l, err := listen("Web UI", e.opts.UIAddr, "--ui-port")
		if err != nil {
			return err
		}
		uiListener = l
		e.undo("Web UI listener", func(context.Context) error {
			if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				return err
			}
			return nil
		})
	}
	// Known before the database is touched, for the same reason.
	probe, err := reservePorts(e.opts.FrontendAddr)
	if err != nil {
		return err
	}
	probe.release()
	if err := prepareDatabase(ctx, e.database, e.opts.Logger); err != nil {
		return err
	}
	if err := createNamespace(e.database, e.opts); err != nil {
		return err
	}
	e.undo("database", func(ctx context.Context) error { return foldWAL(ctx, e.database) })
	if err := e.startServer(ctx); err != nil {
		return err
	}
	if err := awaitReady(ctx, e.addr, e.opts, e.fatal); err != nil {
		return err
	}
	if uiListener != nil {
		u, err := startUI(uiListener, e.addr, e.opts.Namespace)
		if err != nil {
			return err
		}
		e.uiAddr = uiListener.Addr().String()
		e.undo("Web UI", u.stop)
	}
	return nil
}

// undo keeps what Stop has to do for a step of Start. When Stop came in the
// middle of Start, it is done at once.
func (e *Engine) undo(name string, stop func(context.Context) error) {
	e.mu.Lock()
	if !e.stopped {
		e.stops = append(e.stops, stopper{name, stop})
		e.mu.Unlock()
		return
	}
	e.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), e.opts.StopTimeout)
	defer cancel()
	if err := stop(ctx); err != nil {
		e.opts.Logger.Warn("stop "+name, zap.Error(err))
	}
}

func (e *Engine) wasStopped() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.stopped
}

func (e *Engine) takeFolder() error {
	dir := e.opts.DataDir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("data folder %s can't be made (%w): use another one with --data-dir", dir, err)
	}
	lock, err := filelock.Take(filepath.Join(dir, lockFile))
	var held *filelock.HeldError
	switch {
	case errors.As(err, &held) && held.PID != 0:
		return fmt.Errorf("data folder %s is in use by another engine (process %d): stop that one, or use another folder with --data-dir", dir, held.PID)
	case errors.As(err, &held):
		return fmt.Errorf("data folder %s is in use by another engine: stop that one, or use another folder with --data-dir", dir)
	case errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EROFS):
		return fmt.Errorf("data folder %s can't be written: give this user the folder, or use another one with --data-dir", dir)
	case err != nil:
		return fmt.Errorf("data folder %s: %w", dir, err)
	}
	e.undo("folder lock", func(context.Context) error { return lock.Release() })
	return nil
}

func (e *Engine) startServer(ctx context.Context) error {
	for attempt := 1; ; attempt++ {
		r, err := reservePorts(e.opts.FrontendAddr)
		if err != nil {
			return err
		}
		r.release()
		err = e.startServerOn(ctx, r.ports)
		if err == nil {
			e.addr = net.JoinHostPort(r.ports.frontendHost, strconv.Itoa(r.ports.frontend))
			return nil
		}
		if attempt == portAttempts || !errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("start the Temporal server: %w", err)
		}
		e.fatal = newFatal()
	}
}

// startServerOn builds and starts the server in a goroutine of its own,
// because the server's fatal errors end the goroutine in which they occur.
func (e *Engine) startServerOn(ctx context.Context, p ports) error {
	logger := &serverLogger{zap: e.opts.Logger.Named("temporal"), fatal: e.fatal}
	result := make(chan error, 1)
	var server temporal.Server
	go func() {
		var err error
		defer func() {
			if fatal := e.fatal.get(); fatal != nil {
				err = fatal
			}
			result <- err
		}()
		if server, err = buildServer(e.database, p, logger); err == nil {
			err = server.Start()
		}
	}()
	select {
	case err := <-result:
		if server == nil {
			return err
		}
		stop := func(ctx context.Context) error { return stopServer(ctx, server) }
		if err != nil {
			return errors.Join(err, stop(ctx))
		}
		e.undo("Temporal server", stop)
		return nil
	case <-ctx.Done():
		return fmt.Errorf("not up within %s: %w", e.opts.StartTimeout, ctx.Err())
	}
}

// buildServer is newServer with the server's fatal errors as errors.
func buildServer(database string, p ports, logger *serverLogger) (server temporal.Server, err error) {
	logger.fatal.building.Store(true)
	defer logger.fatal.building.Store(false)
	defer func() {
		if reason := recover(); reason != nil {
			fatal := logger.fatal.get()
			if fatal == nil {
				panic(reason) // a bug, not a refusal
			}
			server, err = nil, fatal
		}
	}()
	return newServer(database, p, logger)
}

// stopServer bounds the server's own Stop, which takes no context.
func stopServer(ctx context.Context, server temporal.Server) error {
	stopped := make(chan error, 1)
	go func() {
		finished := false
		defer func() {
			if !finished { // a fatal error while stopping: it has stopped
				stopped <- nil
			}
		}()
		err := server.Stop()
		finished = true
		stopped <- err
	}()
	select {
	case err := <-stopped:
		return err
	case <-ctx.Done():
		return fmt.Errorf("the Temporal server didn't stop in time; what it acknowledged is on the disk: %w", ctx.Err())
	}
}
