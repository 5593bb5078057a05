package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"time"

	"github.com/urfave/cli/v2"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"edgefleet/internal/temporalx"
)

// Exit codes of the command line.
const (
	ExitDone   = 0
	ExitFailed = 1
	ExitUsage  = 2
)

// Temporal is what the command line needs of a Temporal client.
type Temporal interface {
	ExecuteWorkflow(ctx context.Context, options client.StartWorkflowOptions, workflow any, args ...any) (client.WorkflowRun, error)
	QueryWorkflow(ctx context.Context, workflowID, runID, queryType string, args ...any) (converter.EncodedValue, error)
	UpdateWorkflow(ctx context.Context, options client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error)
	Close()
}

// Options are what the command line is built from; the zero value of every
// field but the writers has a default.
type Options struct {
	Out, Err io.Writer
	// Dial connects to Temporal when a command first needs it.
	Dial func(ctx context.Context, o temporalx.Options) (Temporal, error)
	// User names the operator in workflows and in the ledger.
	User string
	// Nonce makes workflow IDs distinct.
	Nonce func() string
	// Poll is the time between two looks at a running workflow.
	Poll time.Duration
}

// App is the command line.
type App struct {
	opts Options
	cli  *cli.App
}

// usageError is bad usage or bad input: exit code 2.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// errQuiet fails with exit code 1 without a word more: the command has
// already shown what is wrong.
var errQuiet = errors.New("failed")

// New returns the command line.
func New(opts Options) *App {
	if opts.Dial == nil {
		opts.Dial = dial
	}
	if opts.User == "" {
		opts.User = operatorName()
	}
	if opts.Nonce == nil {
		opts.Nonce = func() string { return fmt.Sprintf("%d-%d", time.Now().UnixNano(), os.Getpid()) }
	}
	if opts.Poll == 0 {
		opts.Poll = 300 * time.Millisecond
	}
	a := &App{opts: opts}
	a.cli = &cli.App{
		Name:                 "edgefleet",
		Usage:                "keep a fleet of energy-sector edge devices alive",
		Writer:               opts.Out,
		ErrWriter:            opts.Err,
		EnableBashCompletion: true,
		HideVersion:          true,
		ExitErrHandler:       func(*cli.Context, error) {},
		OnUsageError: func(_ *cli.Context, err error, _ bool) error {
			return usageError{err}
		},
		CommandNotFound: func(*cli.Context, string) {},
		Flags:           temporalx.Flags(),
		Commands: []*cli.Command{
			a.deviceCommand(), a.incidentCommand(), a.auditCommand(),
			a.remediateCommand(), a.runbookCommand(), a.completionCommand(),
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usagef("no command %q; see edgefleet --help", c.Args().First())
			}
			return cli.ShowAppHelp(c)
		},
	}
	for _, c := range a.cli.Commands {
		prepare(c)
	}
	return a
}

// prepare gives every group the same answer to a wrong subcommand, and every
// command the same exit code for bad usage.
func prepare(c *cli.Command) {
	c.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return usageError{err} }
	if len(c.Subcommands) > 0 && c.Action == nil {
		name := c.Name
		c.Action = func(ctx *cli.Context) error {
			if ctx.Args().Present() {
				return usagef("no command %q; see edgefleet %s --help", name+" "+ctx.Args().First(), name)
			}
			return cli.ShowSubcommandHelp(ctx)
		}
	}
	for _, sub := range c.Subcommands {
		prepare(sub)
	}
}

// Run runs the command line with args, the program's name first, and returns
// the exit code.
func (a *App) Run(ctx context.Context, args []string) int {
	err := a.cli.RunContext(ctx, interspersed(a.cli, args))
	var usage usageError
	switch {
	case err == nil:
		return ExitDone
	case errors.Is(err, errQuiet):
		return ExitFailed
	case errors.As(err, &usage):
		fmt.Fprintf(a.opts.Err, "edgefleet: %v\n", err)
		return ExitUsage
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(a.opts.Err, "edgefleet: interrupted; what was started goes on (see the Temporal Web UI)")
		return ExitFailed
	}
	fmt.Fprintf(a.opts.Err, "edgefleet: %v\n", err)
	return ExitFailed
}

// dial connects to Temporal, once per command.
func (a *App) dial(c *cli.Context) (Temporal, error) {
	o := temporalx.FromContext(c, nil)
	o.Identity = "edgefleet:" + a.opts.User
	return a.opts.Dial(c.Context, o)
}

func dial(ctx context.Context, o temporalx.Options) (Temporal, error) {
	conn, err := temporalx.Dial(ctx, o)
	if err != nil {
		return nil, err
	}
	return conn.Client, nil
}

// operatorName is EDGEFLEET_USER, or the name of the login.
func operatorName() string {
	if name := os.Getenv("EDGEFLEET_USER"); name != "" {
		return name
	}
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return "unknown"
}
