package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/urfave/cli/v2"

	"edgefleet/internal/httpserve"
	"edgefleet/internal/logging"
	"edgefleet/internal/telemetry"
	"edgefleet/internal/temporalx"
)

// Names of the bridge's own flags.
const (
	flagListen    = "listen"
	flagRoutes    = "routes"
	flagTokenFile = "bearer-token-file"
	flagMaxBody   = "max-body"
	flagCheck     = "check"

	flagAlertmanager = "alertmanager.url"
	flagReceiver     = "alertmanager.receiver"
	flagReconcile    = "alertmanager.interval"
)

// Exit codes of the program.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// runError is a failure of a bridge that was configured well.
type runError struct{ error }

func (e runError) Unwrap() error { return e.error }

// Main is the program: it runs the bridge that args ask for until ctx ends,
// reloading the routes whenever reload receives, and returns the exit code: 0
// done, 1 failed, 2 bad usage or configuration. Logs and errors go to stderr.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer, reload <-chan os.Signal) int {
	err := app(stdout, stderr, reload).RunContext(ctx, args)
	if err == nil {
		return exitDone
	}
	_, _ = fmt.Fprintf(stderr, "alertbridge: %v\n", err)
	if failed := (runError{}); errors.As(err, &failed) {
		return exitFailed
	}
	return exitUsage
}

func app(stdout, stderr io.Writer, reload <-chan os.Signal) *cli.App {
	flags := []cli.Flag{
		&cli.StringFlag{
			Name: flagListen, Value: DefaultListen, EnvVars: []string{"EDGEFLEET_BRIDGE_LISTEN"},
			Usage: "`ADDRESS` to listen on; port 0 is any",
		},
		&cli.StringFlag{
			Name: httpserve.FlagWebConfig, EnvVars: []string{"EDGEFLEET_BRIDGE_WEB_CONFIG_FILE"},
			Usage: "web configuration `FILE` (TLS, client certificates, basic authentication) as Prometheus programs have it",
		},
		&cli.StringFlag{
			Name: flagRoutes, EnvVars: []string{"EDGEFLEET_BRIDGE_ROUTES"},
			Usage: "`FILE` that says which runbook answers which alerts; read again on SIGHUP",
		},
		&cli.StringFlag{
			Name: flagTokenFile, EnvVars: []string{"EDGEFLEET_BRIDGE_BEARER_TOKEN_FILE"},
			Usage: "`FILE` with the bearer tokens that a sender may show, one in a line; read for every message",
		},
		&cli.StringFlag{
			Name: flagMaxBody, Value: "4MiB", EnvVars: []string{"EDGEFLEET_BRIDGE_MAX_BODY"},
			Usage: "largest message, in bytes or with KiB or MiB, as `SIZE`",
		},
		&cli.StringSliceFlag{
			Name: flagAlertmanager, EnvVars: []string{"EDGEFLEET_ALERTMANAGER_URL"},
			Usage: "`URL` of the Alertmanager whose standing alerts are compared with the remediations, so that none is missed; several for a pair",
		},
		&cli.StringFlag{
			Name: flagReceiver, Value: DefaultReceiver, EnvVars: []string{"EDGEFLEET_BRIDGE_RECEIVER"},
			Usage: "`RECEIVER` of Alertmanager that posts here",
		},
		&cli.DurationFlag{
			Name: flagReconcile, Value: time.Minute, EnvVars: []string{"EDGEFLEET_BRIDGE_RECONCILE_INTERVAL"},
			Usage: "`TIME` between two comparisons with Alertmanager",
		},
		&cli.BoolFlag{Name: flagCheck, Usage: "check flags and files, say what is wrong, and exit"},
	}
	flags = append(flags, logging.Flags()...)
	flags = append(flags, temporalx.Flags()...)
	return &cli.App{
		Name:            "alertbridge",
		Usage:           "start a remediation for every alert that Alertmanager sends",
		UsageText:       "alertbridge [flags]",
		HideHelpCommand: true,
		Flags:           flags,
		Writer:          stdout,
		ErrWriter:       stderr,
		// Main prints the error, once, and chooses the exit code.
		OnUsageError:   func(_ *cli.Context, err error, _ bool) error { return err },
		ExitErrHandler: func(*cli.Context, error) {},
		Action:         func(c *cli.Context) error { return run(c, stderr, reload) },
	}
}

func run(c *cli.Context, stderr io.Writer, reload <-chan os.Signal) (err error) {
	if c.NArg() > 0 {
		return fmt.Errorf("unknown argument %q: the bridge takes flags only, see --help", c.Args().First())
	}
	maxBody, err := parseSize(c.String(flagMaxBody))
	if err != nil {
		return err
	}
	logger, err := logging.New(logging.FromContext(c, stderr))
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	tracing, err := telemetry.New(c.Context, "edgefleet-alertbridge", logger.Named("tracing"))
	if err != nil {
		return err
	}
	defer tracing.Close(logger)
	temporal := temporalx.FromContext(c, logger.Named("temporal"))
	temporal.Interceptors = tracing.Interceptors()
	if temporal.Metrics, err = telemetry.SDKMetrics(registry); err != nil {
		return err
	}
	conn, err := temporalx.NewLazy(temporal)
	if err != nil {
		return err
	}
	defer conn.Close()
	b, err := New(Options{
		Tracing:         tracing,
		Temporal:        FromConn(conn),
		Logger:          logger,
		Registry:        registry,
		Listen:          c.String(flagListen),
		WebConfigFile:   c.String(httpserve.FlagWebConfig),
		RoutesFile:      c.String(flagRoutes),
		BearerTokenFile: c.String(flagTokenFile),
		MaxBody:         maxBody,
		Alertmanagers:   c.StringSlice(flagAlertmanager),
		Receiver:        c.String(flagReceiver),
		ReconcileEvery:  c.Duration(flagReconcile),
	})
	if err != nil {
		return err
	}
	if c.Bool(flagCheck) {
		return nil
	}
	if err := b.Run(c.Context, reload); err != nil {
		return runError{err}
	}
	return nil
}

// parseSize reads a size above 0: bytes, or a number of KiB or MiB.
func parseSize(s string) (int64, error) {
	number, unit := s, int64(1)
	if kib, ok := strings.CutSuffix(s, "KiB"); ok {
		number, unit = kib, 1<<10
	} else if mib, ok := strings.CutSuffix(s, "MiB"); ok {
		number, unit = mib, 1<<20
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n <= 0 || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("--%s %q: want a number of bytes above 0, or one of KiB or MiB, as in 4MiB", flagMaxBody, s)
	}
	return n * unit, nil
}
