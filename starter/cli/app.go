package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.uber.org/zap"

	"edgefleet/internal/telemetry"
	"edgefleet/internal/temporalx"
)

// Exit codes of the command line.
const (
	ExitDone   = 0
	ExitFailed = 1
	ExitUsage  = 2
	// ExitWaiting is for --exit-when-waiting: a rollout waits for a person.
	ExitWaiting = 3
)

// Temporal is what the command line needs of a Temporal client.
type Temporal interface {
	ExecuteWorkflow(ctx context.Context, options client.StartWorkflowOptions, workflow any, args ...any) (client.WorkflowRun, error)
	GetWorkflow(ctx context.Context, workflowID, runID string) client.WorkflowRun
	QueryWorkflow(ctx context.Context, workflowID, runID, queryType string, args ...any) (converter.EncodedValue, error)
	UpdateWorkflow(ctx context.Context, options client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error)
	ScheduleClient() client.ScheduleClient
	DescribeTaskQueue(ctx context.Context, taskQueue string, kind enumspb.TaskQueueType) (*workflowservice.DescribeTaskQueueResponse, error)
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
	// Patience is how long nothing may happen before the reader is told what
	// is waited for.
	Patience time.Duration
	// Every is the least time between two lines about the same progress.
	Every time.Duration
	// Clock tells the time for rates.
	Clock func() time.Time
	// Colour lets diffs be coloured; see Colourful.
	Colour bool
	// Terminal lets a line of progress on Err be written over; see Terminal.
	Terminal bool
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
	if opts.Patience == 0 {
		opts.Patience = patience
	}
	if opts.Every == 0 {
		opts.Every = 5 * time.Second
	}
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	a := &App{opts: opts}
	a.cli = &cli.App{
		Name:           "edgefleet",
		Usage:          "keep a fleet of energy-sector edge devices alive",
		UsageText:      "edgefleet [global options] COMMAND [options] [ARGUMENTS]",
		Description:    description,
		Writer:         opts.Out,
		ErrWriter:      opts.Err,
		HideVersion:    true,
		ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError:   onUsageError,
		Flags:          temporalx.Flags(),
		Commands: []*cli.Command{
			a.deviceCommand(), a.incidentCommand(), a.auditCommand(),
			a.onboardCommand(), a.driftCommand(), a.remediateCommand(), a.scheduleCommand(), a.runbookCommand(), a.fleetCommand(), a.configCommand(), a.rolloutCommand(), a.patchCommand(), a.credentialsCommand(), a.completionCommand(),
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return noCommand(c, "edgefleet", a.cli.Commands)
			}
			return cli.ShowAppHelp(c)
		},
	}
	for _, c := range a.cli.Commands {
		prepare(c, "edgefleet")
	}
	return a
}

const description = `Everything is asked and started through Temporal; nothing else has to be
reachable from here. Flags may stand anywhere; what follows "--" is no flag.

Data goes to stdout, progress and errors to stderr. The exit code is 0 when
it is done, 1 when it failed (a dark device, a drifted one, a remediation that
escalated and a broken ledger are failures too), 2 on bad usage or bad input.

The ledger knows the operator by EDGEFLEET_USER, or else by the login's name.
TLS, API key and profile of the connection are Temporal's own: TEMPORAL_TLS_*,
TEMPORAL_API_KEY, TEMPORAL_PROFILE, TEMPORAL_CONFIG_FILE.`

func onUsageError(c *cli.Context, err error, _ bool) error {
	if name, ok := strings.CutPrefix(err.Error(), "flag provided but not defined: -"); ok {
		return usagef("no flag %q; see %s --help", "--"+strings.TrimLeft(name, "-"), helpName(c))
	}
	return usagef("%w; see %s --help", err, helpName(c))
}

func helpName(c *cli.Context) string {
	if c.Command != nil && c.Command.HelpName != "" {
		return c.Command.HelpName
	}
	return c.App.Name
}

// noCommand is the answer to a command that does not exist.
func noCommand(c *cli.Context, parent string, commands []*cli.Command) error {
	word, near := c.Args().First(), ""
	if hint := cli.SuggestCommand(commands, word); !strings.Contains(hint, `""`) {
		near = hint + " "
	}
	return usagef("no command %q. %sSee %s --help", parent+" "+word, near, parent)
}

// prepare gives every group the same answer to a wrong subcommand, and every
// command the same exit code for bad usage.
func prepare(c *cli.Command, parent string) {
	c.OnUsageError, c.HideHelpCommand = onUsageError, true
	name := parent + " " + c.Name
	if len(c.Subcommands) > 0 && c.Action == nil {
		c.UsageText = name + " COMMAND [options] [ARGUMENTS]"
		c.Action = func(ctx *cli.Context) error {
			if ctx.Args().Present() {
				return noCommand(ctx, name, c.Subcommands)
			}
			return cli.ShowSubcommandHelp(ctx)
		}
	} else {
		c.UsageText = strings.TrimSpace(name + " [options] " + c.ArgsUsage)
	}
	for _, sub := range c.Subcommands {
		prepare(sub, name)
	}
}

// Run runs the command line with args, the program's name first, and returns
// the exit code.
func (a *App) Run(ctx context.Context, args []string) int {
	if len(args) > 1 && args[1] == completeCommand {
		for _, word := range complete(a.cli, args[2:]) {
			fmt.Fprintln(a.opts.Out, word)
		}
		return ExitDone
	}
	args, err := arrange(a.cli, args)
	if err == nil {
		err = a.cli.RunContext(ctx, args)
	}
	var usage usageError
	switch {
	case err == nil:
		return ExitDone
	case errors.Is(err, errQuiet):
		return ExitFailed
	case errors.Is(err, errWaiting):
		return ExitWaiting
	case errors.Is(err, context.Canceled):
		err = errors.New("interrupted")
	}
	fmt.Fprintf(a.opts.Err, "edgefleet: %s\n", lines(err.Error()))
	// An ExitCoder is the library's own: there is no such topic of help.
	var unknownTopic cli.ExitCoder
	if errors.As(err, &usage) || errors.As(err, &unknownTopic) {
		return ExitUsage
	}
	return ExitFailed
}

// dial connects to Temporal, once per command.
func (a *App) dial(c *cli.Context) (Temporal, error) {
	o := temporalx.FromContext(c, nil)
	o.Identity = "edgefleet:" + a.opts.User
	return a.opts.Dial(c.Context, o)
}

func dial(ctx context.Context, o temporalx.Options) (Temporal, error) {
	tracing, err := telemetry.New(ctx, "edgefleet", zap.NewNop())
	if err != nil {
		// It does not talk to the collector: a variable is wrong.
		return nil, usageError{err}
	}
	o.Interceptors = tracing.Interceptors()
	conn, err := temporalx.Dial(ctx, o)
	if err != nil {
		return nil, err
	}
	return traced{conn.Client, tracing}, nil
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
