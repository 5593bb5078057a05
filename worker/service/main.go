package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/urfave/cli/v2"

	"edgefleet/internal/httpserve"
	"edgefleet/internal/logging"
	"edgefleet/internal/telemetry"
	"edgefleet/internal/temporalx"
)

// Exit codes of the program.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// runError is a failure of a worker that was configured well.
type runError struct{ error }

func (e runError) Unwrap() error { return e.error }

// Main is the program: it runs the worker that args ask for until ctx ends,
// and returns the exit code: 0 done, 1 failed, 2 bad usage or configuration.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := app(stdout, stderr).RunContext(ctx, args)
	if err == nil {
		return exitDone
	}
	fmt.Fprintf(stderr, "worker: %v\n", err)
	if failed := (runError{}); errors.As(err, &failed) {
		return exitFailed
	}
	return exitUsage
}

func app(stdout, stderr io.Writer) *cli.App {
	flags := []cli.Flag{
		&cli.StringFlag{Name: "fleet", EnvVars: []string{"EDGEFLEET_FLEET"}, Usage: "fleet `DIRECTORY`"},
		&cli.DurationFlag{Name: "fleet-interval", Value: 10 * time.Second, EnvVars: []string{"EDGEFLEET_FLEET_INTERVAL"},
			Usage: "`TIME` between two looks at the fleet directory; a change is taken up after two equal ones"},
		&cli.StringFlag{Name: "credentials", EnvVars: []string{"EDGEFLEET_CREDENTIALS"},
			Usage: "`DIRECTORY` with what devices are logged in to with, one folder for each name in the fleet file"},
		&cli.StringFlag{Name: "artifacts", EnvVars: []string{"EDGEFLEET_ARTIFACTS"},
			Usage: "`DIRECTORY` with artifacts of patches, beside the fleet directory's patches"},
		&cli.StringFlag{Name: "store", EnvVars: []string{"EDGEFLEET_STORE"}, Usage: "`URL` of the store: sqlite:PATH or postgres://user@host/database"},
		&cli.StringFlag{Name: "ledger-key-file", EnvVars: []string{"EDGEFLEET_LEDGER_KEY_FILE"},
			Usage: "`FILE` with the secret of the ledger's chain; without it, whoever can write the database can forge the ledger"},
		&cli.StringSliceFlag{Name: "regions", EnvVars: []string{"EDGEFLEET_REGIONS"}, Usage: "regions to serve, as `A,B` (default: all of the fleet)"},
		&cli.StringFlag{Name: "admin", Value: ":9464", EnvVars: []string{"EDGEFLEET_WORKER_ADMIN"}, Usage: "`ADDRESS` of metrics, health, /probe and /sd; port 0 is any"},
		&cli.StringFlag{Name: httpserve.FlagWebConfig, EnvVars: []string{"EDGEFLEET_WORKER_WEB_CONFIG_FILE"},
			Usage: "web configuration `FILE` (TLS, client certificates, basic authentication) of the admin port"},
		&cli.StringFlag{Name: "alertmanager.url", EnvVars: []string{"EDGEFLEET_ALERTMANAGER_URL"}, Usage: "`URL` of the Alertmanager that pages people"},
		&cli.StringFlag{Name: "watch", Value: WatchOnboarded, EnvVars: []string{"EDGEFLEET_WATCH"},
			Usage: "which `DEVICES` service discovery lists: onboarded (those in service) or declared (all of the fleet file)"},
		&cli.DurationFlag{Name: "probe-max-age", Value: 10 * time.Second, EnvVars: []string{"EDGEFLEET_PROBE_MAX_AGE"},
			Usage: "oldest `AGE` of an answer of a device that is given to another scrape"},
		&cli.StringFlag{Name: "prometheus.url", EnvVars: []string{"EDGEFLEET_PROMETHEUS_URL"}, Usage: "`URL` of the Prometheus that evaluates the checks of rollouts"},
		&cli.StringFlag{Name: "web-url", EnvVars: []string{"EDGEFLEET_WEB_URL"}, Usage: "`URL` of the Temporal Web UI up to the namespace, for links in pages"},
		&cli.IntFlag{Name: "max-activities", Value: 100, EnvVars: []string{"EDGEFLEET_MAX_ACTIVITIES"}, Usage: "activities at once, of each queue"},
	}
	flags = append(flags, logging.Flags()...)
	flags = append(flags, temporalx.Flags()...)
	return &cli.App{
		Name:            "worker",
		Usage:           "run workflows, and reach the devices of its regions",
		UsageText:       "worker --fleet DIRECTORY --store URL [flags]",
		HideHelpCommand: true,
		Flags:           flags,
		Writer:          stdout,
		ErrWriter:       stderr,
		OnUsageError:    func(_ *cli.Context, err error, _ bool) error { return err },
		ExitErrHandler:  func(*cli.Context, error) {},
		Action:          func(c *cli.Context) error { return run(c, stderr) },
	}
}

func run(c *cli.Context, stderr io.Writer) error {
	if c.NArg() > 0 {
		return fmt.Errorf("unknown argument %q: the worker takes flags only, see --help", c.Args().First())
	}
	logger, err := logging.New(logging.FromContext(c, stderr))
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	tracing, err := telemetry.New(c.Context, "edgefleet-worker", logger.Named("tracing"))
	if err != nil {
		return err
	}
	defer tracing.Close(logger)
	temporal := temporalx.FromContext(c, logger.Named("temporal"))
	temporal.Interceptors = tracing.Interceptors()
	if temporal.Metrics, err = telemetry.SDKMetrics(registry); err != nil {
		return err
	}
	w, err := New(Options{
		FleetDir:        c.String("fleet"),
		FleetInterval:   c.Duration("fleet-interval"),
		ArtifactsDir:    c.String("artifacts"),
		CredentialsDir:  c.String("credentials"),
		StoreURL:        c.String("store"),
		LedgerKeyFile:   c.String("ledger-key-file"),
		Regions:         c.StringSlice("regions"),
		AdminAddr:       c.String("admin"),
		WebConfigFile:   c.String(httpserve.FlagWebConfig),
		AlertmanagerURL: c.String("alertmanager.url"),
		PrometheusURL:   c.String("prometheus.url"),
		WebURL:          c.String("web-url"),
		Watch:           c.String("watch"),
		ProbeMaxAge:     c.Duration("probe-max-age"),
		MaxActivities:   c.Int("max-activities"),
		Temporal:        temporal,
		Tracing:         tracing,
		Logger:          logger,
		Registerer:      registry,
		Gatherer:        registry,
	})
	if err != nil {
		return err
	}
	if err := w.Run(c.Context); err != nil {
		return runError{err}
	}
	return nil
}
