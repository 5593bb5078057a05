package app

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"
	"go.uber.org/zap"

	"edgefleet/dev/demo"
	"edgefleet/dev/simfleet"
	"edgefleet/dev/stack"
	"edgefleet/internal/logging"
)

const anyPort = "127.0.0.1:0"

// demo runs the whole chain on fresh data and free ports. What the programs
// log stands in a file, which is kept when the demo fails.
func (a *app) demo(c *cli.Context) (err error) {
	if c.NArg() > 0 {
		return usageError{fmt.Errorf("demo: takes no argument, got %q", c.Args().First())}
	}
	if err := checkDevices(c); err != nil {
		return err
	}
	dir, err := freshFolder(c.String("data-dir"))
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir, "demo.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	logger, err := logging.New(logging.Options{Format: logging.FormatConsole, Writer: log})
	if err != nil {
		return err
	}
	defer func() {
		switch {
		case err != nil:
			err = fmt.Errorf("%w\n(logs and state are in %s)", err, dir)
		case c.String("data-dir") == "":
			err = os.RemoveAll(dir)
		}
	}()
	s, err := a.freshStack(dir, c.Int("devices"), logger)
	if err != nil {
		return err
	}
	s.Prometheus, s.Alertmanager = c.String("prometheus"), c.String("alertmanager")
	running := stack.New(s)
	fmt.Fprintln(a.err, "starting Temporal, the bridge, the worker, Alertmanager and Prometheus")
	if err := running.Start(c.Context); err != nil {
		return err
	}
	// Building Prometheus for the first time takes minutes, which don't count.
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("within"))
	defer cancel()
	failed := demo.Run(ctx, running, a.out)
	if stopErr := running.Stop(); failed == nil {
		failed = stopErr
	}
	if failed != nil && ctx.Err() != nil && c.Err() == nil {
		failed = fmt.Errorf("not done within %s: %w", c.Duration("within"), failed)
	}
	return failed
}

// freshStack are the options of a stack on free ports.
func (a *app) freshStack(dir string, devices int, logger *zap.Logger) (stack.Options, error) {
	exe, args, err := fleetCommand(dir, devices, simfleet.Mix{})
	return stack.Options{
		DataDir: dir, Devices: devices,
		TemporalAddr: anyPort, UIAddr: anyPort, PrometheusAddr: anyPort, AlertmanagerAddr: anyPort,
		BridgeAddr: anyPort, WorkerAddr: anyPort,
		Exe: exe, FleetArgs: args, Pending: time.Second, Progress: a.err, Logger: logger,
	}, err
}

// freshFolder makes a temporary folder, or checks that the given one is empty.
func freshFolder(dir string) (string, error) {
	if dir == "" {
		return os.MkdirTemp("", "edgefleet-")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	if len(entries) > 0 {
		return "", usageError{fmt.Errorf("--data-dir %s is not empty; the demo wants fresh data", dir)}
	}
	return dir, nil
}
