// Package app is the command line of the dev program.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"edgefleet/dev/simfleet"
	"edgefleet/dev/stack"
	"edgefleet/internal/logging"
)

// usageError is bad usage: exit code 2.
type usageError struct{ error }

// Main runs the dev program until ctx ends, and returns the exit code: 0 done,
// 1 failed, 2 bad usage.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	a := &app{out: stdout, err: stderr}
	err := a.cli().RunContext(ctx, args)
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "dev: %v\n", err)
	if usage := (usageError{}); errors.As(err, &usage) {
		return 2
	}
	return 1
}

type app struct{ out, err io.Writer }

const (
	defaultDataDir = ".edgefleet"
	defaultDevices = 12
	// mixedFrom is the number of devices from which on a fleet has all kinds:
	// a small one is for watching, where one kind is easier to follow.
	mixedFrom = 100
	// pending is how long a device is dark before its alert fires. On a real
	// fleet it is minutes; here somebody is watching.
	pending = 3 * time.Second
)

func (a *app) cli() *cli.App {
	refuse := func(_ *cli.Context, err error, _ bool) error { return usageError{err} }
	dataDir := func() cli.Flag {
		return &cli.StringFlag{Name: "data-dir", Value: defaultDataDir, EnvVars: []string{"EDGEFLEET_DATA_DIR"}, Usage: "`FOLDER` of all state; it survives a restart"}
	}
	devices := func() cli.Flag {
		return &cli.IntFlag{Name: "devices", Value: defaultDevices, Usage: "`NUMBER` of simulated devices"}
	}
	mix := func() cli.Flag {
		return &cli.StringFlag{Name: "mix", Usage: fmt.Sprintf("of what kinds the devices are, as `PERCENTAGES`: %s, which is the default from %d devices on; fewer are feeders alone", simfleet.DefaultMix(), mixedFrom)}
	}
	programs := func() []cli.Flag {
		return []cli.Flag{
			&cli.StringFlag{Name: "prometheus", Value: "build", EnvVars: []string{"EDGEFLEET_PROMETHEUS"}, Usage: "which Prometheus: build it, path for the one in PATH, or a `FILE`"},
			&cli.StringFlag{Name: "alertmanager", Value: "build", EnvVars: []string{"EDGEFLEET_ALERTMANAGER"}, Usage: "which Alertmanager: build it, path for the one in PATH, or a `FILE`"},
		}
	}
	run := append([]cli.Flag{
		devices(), mix(), dataDir(),
		&cli.BoolFlag{Name: "no-monitoring", Usage: "leave Prometheus and Alertmanager out"},
		portFlag("temporal", 7233), portFlag("ui", 8233), portFlag("prometheus", 9090),
		portFlag("alertmanager", 9093), portFlag("bridge", 9087), portFlag("worker", 9464),
	}, programs()...)
	out := &cli.App{
		Name:            "dev",
		Usage:           "run all of edgefleet on this machine, with a simulated fleet, until Ctrl-C",
		HideHelpCommand: true,
		HideVersion:     true,
		Flags:           append(run, logFlags()...),
		Writer:          a.out,
		ErrWriter:       a.err,
		OnUsageError:    refuse,
		ExitErrHandler:  func(*cli.Context, error) {},
		Action:          a.run,
		Commands: []*cli.Command{
			{Name: "demo", Usage: "break two devices, watch them heal by themselves, and exit", Action: a.demo,
				Flags: append([]cli.Flag{devices(),
					&cli.DurationFlag{Name: "within", Value: 3 * time.Minute, Usage: "fail after this `TIME`"},
					&cli.StringFlag{Name: "data-dir", Usage: "keep the state in this `FOLDER`, which must be empty (default: a temporary one)"}}, programs()...)},
			{Name: "bench", Usage: "measure remediations against the engine's own ceiling", Action: a.bench,
				Flags: []cli.Flag{
					&cli.IntFlag{Name: "devices", Value: 200, Usage: "devices that alert at once, as `NUMBER`"},
					&cli.IntFlag{Name: "light", Value: 100, Usage: "`NUMBER` of alerts one after the other, for the latency at light load"},
					&cli.StringFlag{Name: "cpuprofile", Usage: "write a CPU profile to `FILE`"}}},
			{Name: "break", Usage: "break a simulated device: offline, drift, hang or reset-only", ArgsUsage: "DEVICE FAULT", Action: a.breakDevice,
				Description: "offline     its socket is closed\nhang        it accepts and never answers\nreset-only  it resets every connection\ndrift       some of its settings are changed\n\nThe first three last until a network reset reaches the device's outlet.",
				Flags:       []cli.Flag{dataDir(), &cli.BoolFlag{Name: "stuck", Usage: "the fault outlasts a network reset, so that the remediation escalates"}}},
			{Name: "heal", Usage: "take every fault from a simulated device", ArgsUsage: "DEVICE", Action: a.healDevice, Flags: []cli.Flag{dataDir()}},
			{Name: "simulate", Hidden: true, Usage: "be the simulated fleet", Action: a.simulate, Flags: []cli.Flag{devices(), mix(), dataDir()}},
		},
	}
	for _, c := range out.Commands {
		c.OnUsageError = refuse
	}
	return out
}

// logFlags are everybody's, but for people: a terminal is not a log collector.
func logFlags() []cli.Flag {
	flags := logging.Flags()
	for _, f := range flags {
		if s, ok := f.(*cli.StringFlag); ok && s.Name == logging.FlagFormat {
			s.Value = logging.FormatConsole
		}
	}
	return flags
}

func portFlag(name string, port int) cli.Flag {
	return &cli.IntFlag{Name: name + "-port", Value: port, Usage: "`PORT` on 127.0.0.1; 0 is any free one"}
}

// ports are the names of what dev listens on.
func ports() []string {
	return []string{"temporal", "ui", "prometheus", "alertmanager", "bridge", "worker"}
}

func checkDevices(c *cli.Context) error {
	if n := c.Int("devices"); n < 1 || n > simfleet.MaxDevices {
		return usageError{fmt.Errorf("--devices %d: want 1 to %d", n, simfleet.MaxDevices)}
	}
	return nil
}

func addr(c *cli.Context, name string) string {
	return "127.0.0.1:" + strconv.Itoa(c.Int(name+"-port"))
}

func (a *app) run(c *cli.Context) error {
	if c.NArg() > 0 {
		return usageError{fmt.Errorf("no command %q; see --help", c.Args().First())}
	}
	logger, err := logging.New(logging.FromContext(c, a.err))
	if err != nil {
		return usageError{err}
	}
	for _, name := range ports() {
		if n := c.Int(name + "-port"); n < 0 || n > 65535 {
			return usageError{fmt.Errorf("--%s-port %d: want a port from 0 to 65535, where 0 means any free one", name, n)}
		}
	}
	if err := checkDevices(c); err != nil {
		return err
	}
	mix, err := mixOf(c)
	if err != nil {
		return err
	}
	exe, args, err := fleetCommand(c.String("data-dir"), c.Int("devices"), mix)
	if err != nil {
		return err
	}
	s := stack.New(stack.Options{
		DataDir: c.String("data-dir"), Devices: c.Int("devices"), Mix: mix, NoMonitoring: c.Bool("no-monitoring"),
		Prometheus: c.String("prometheus"), Alertmanager: c.String("alertmanager"),
		TemporalAddr: addr(c, "temporal"), UIAddr: addr(c, "ui"), PrometheusAddr: addr(c, "prometheus"),
		AlertmanagerAddr: addr(c, "alertmanager"), BridgeAddr: addr(c, "bridge"), WorkerAddr: addr(c, "worker"),
		Exe: exe, FleetArgs: args, Pending: pending, Progress: a.err, Logger: logger,
	})
	return s.Run(c.Context, func() { a.welcome(s, c.String("data-dir")) })
}

// fleetCommand is how this program is run again as the simulated fleet.
func fleetCommand(dataDir string, devices int, mix simfleet.Mix) (exe string, args []string, err error) {
	exe, err = os.Executable()
	if err != nil {
		return "", nil, err
	}
	dir, err := filepath.Abs(dataDir)
	return exe, []string{"simulate", "--data-dir", dir, "--devices", strconv.Itoa(devices), "--mix", mix.String()}, err
}

// mixOf is the mix of the fleet to run.
func mixOf(c *cli.Context) (simfleet.Mix, error) {
	if !c.IsSet("mix") && c.Int("devices") >= mixedFrom {
		return simfleet.DefaultMix(), nil
	}
	mix, err := simfleet.ParseMix(c.String("mix"))
	if err != nil {
		return mix, usageError{fmt.Errorf("--mix: %w", err)}
	}
	return mix, nil
}

func (a *app) simulate(c *cli.Context) error {
	logger, err := logging.New(logging.Options{Writer: a.err})
	if err != nil {
		return err
	}
	mix, err := simfleet.ParseMix(c.String("mix"))
	if err != nil {
		return err
	}
	return simfleet.Main(c.Context, simfleet.Options{
		Devices: c.Int("devices"), Mix: mix, StateFile: stack.FleetState(c.String("data-dir")), Logger: logger,
	})
}

func (a *app) welcome(s *stack.Stack, dataDir string) {
	w := func(format string, args ...any) { fmt.Fprintf(a.out, format+"\n", args...) }
	w("")
	w("edgefleet is up, with %d simulated devices; state in %s", s.Fleet().Size(), dataDir)
	w("")
	w("  Temporal Web UI  %s", s.RemediationsURL())
	if url := s.PrometheusURL(); url != "" {
		w("  Prometheus       %s/alerts", url)
		w("  Alertmanager     %s", s.AlertmanagerURL())
	}
	w("  alertbridge      %s/api/v1/alertmanager", s.BridgeURL())
	w("  worker           %s/metrics", s.WorkerURL())
	w("  Temporal         %s", s.Temporal().Address)
	w("  fleet directory  %s", s.FleetDir())
	w("")
	w("Try, in another terminal:")
	folder := ""
	if dataDir != defaultDataDir {
		folder = " --data-dir " + dataDir
	}
	w("  go run ./dev break%s edge-003 offline    # then watch it come back in the Web UI", folder)
	address := ""
	if s.Temporal().Address != "127.0.0.1:7233" {
		address = " --temporal-address " + s.Temporal().Address
	}
	w("  go run ./starter%s device list", address)
	w("  go run ./starter%s remediate edge-007", address)
	w("  go run ./starter%s audit verify", address)
	w("")
	w("Ctrl-C stops everything.")
}
