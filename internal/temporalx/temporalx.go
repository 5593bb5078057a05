package temporalx

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	sdkclient "go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/interceptor"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"edgefleet/internal/logging"
)

// Names of the flags that Flags returns.
const (
	FlagAddress   = "temporal-address"
	FlagNamespace = "temporal-namespace"
)

// Where a program connects when nothing says otherwise.
const (
	DefaultAddress   = "127.0.0.1:7233"
	DefaultNamespace = "default"
)

// checkTimeout bounds a Check whose context has no deadline.
const checkTimeout = 10 * time.Second

// Options say where to connect, and with what. The zero value connects where
// the environment says.
type Options struct {
	// Address ("host:port") and Namespace override the environment unless "".
	Address, Namespace string
	// Identity is how this program is named in the server's histories; "" is
	// the SDK's choice, process and host.
	Identity string
	// Logger takes what the SDK logs; nil is silence.
	Logger *zap.Logger
	// Metrics takes what the SDK measures; nil is nowhere.
	Metrics sdkclient.MetricsHandler
	// Interceptors trace what goes through the connection, and through workers
	// that are made of it.
	Interceptors []interceptor.ClientInterceptor
	// Env replaces the process's environment in tests; nil is the process's.
	Env envconfig.EnvLookup
}

// Flags returns --temporal-address and --temporal-namespace, with their
// environment equivalents EDGEFLEET_TEMPORAL_ADDRESS and
// EDGEFLEET_TEMPORAL_NAMESPACE.
func Flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{
			Name: FlagAddress, EnvVars: []string{"EDGEFLEET_TEMPORAL_ADDRESS"},
			Usage: "`HOST:PORT` of Temporal (default: TEMPORAL_ADDRESS, the profile's, or " + DefaultAddress + ")",
		},
		&cli.StringFlag{
			Name: FlagNamespace, EnvVars: []string{"EDGEFLEET_TEMPORAL_NAMESPACE"},
			Usage: "`NAMESPACE` in Temporal (default: TEMPORAL_NAMESPACE, the profile's, or " + DefaultNamespace + ")",
		},
	}
}

// FromContext reads the flags that Flags declared.
func FromContext(c *cli.Context, logger *zap.Logger) Options {
	return Options{Address: c.String(FlagAddress), Namespace: c.String(FlagNamespace), Logger: logger}
}

// Conn is a connection to one namespace of Temporal.
type Conn struct {
	// Client is the SDK's own: what a worker has to be given.
	Client sdkclient.Client
	// Address and Namespace are where the connection goes, after all sources.
	Address, Namespace string
}

// NewLazy makes a connection that dials at its first use. It fails on a
// configuration that can never work: an unreadable certificate, an unknown
// profile, an address without a port.
func NewLazy(o Options) (*Conn, error) {
	opts, err := clientOptions(o)
	if err != nil {
		return nil, oneLine("Temporal's connection cannot be configured", err,
			"check TEMPORAL_CONFIG_FILE, TEMPORAL_PROFILE, TEMPORAL_ADDRESS and TEMPORAL_TLS_*")
	}
	if err := validAddress(opts.HostPort); err != nil {
		return nil, err
	}
	client, err := sdkclient.NewLazyClient(opts)
	if err != nil {
		return nil, oneLine("Temporal at "+opts.HostPort+" cannot be connected to", err, "check TEMPORAL_ADDRESS, TEMPORAL_API_KEY and TEMPORAL_TLS_*")
	}
	return &Conn{Client: client, Address: opts.HostPort, Namespace: opts.Namespace}, nil
}

// Dial makes a connection and checks it, for programs that can do nothing
// without Temporal.
func Dial(ctx context.Context, o Options) (*Conn, error) {
	conn, err := NewLazy(o)
	if err != nil {
		return nil, err
	}
	if err := conn.Check(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// Close ends the connection.
func (c *Conn) Close() { c.Client.Close() }

// Check asks Temporal whether it answers and has the namespace; the error is
// already explained. A server that answers but does not let these credentials
// describe the namespace passes: what they may do is for the call itself to
// find out. Without a deadline in ctx it gives up after 10 seconds.
func (c *Conn) Check(ctx context.Context) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, checkTimeout)
		defer cancel()
	}
	_, err := c.Client.WorkflowService().DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: c.Namespace})
	if denied := (*serviceerror.PermissionDenied)(nil); errors.As(err, &denied) {
		return nil
	}
	return c.Explain(err)
}

func clientOptions(o Options) (sdkclient.Options, error) {
	env := o.Env
	if env == nil {
		env = envconfig.EnvLookupOS
	}
	// A file that somebody named and that is not there would otherwise be
	// passed over without a word, and the program would talk to localhost.
	if file, _ := env.LookupEnv("TEMPORAL_CONFIG_FILE"); file != "" {
		if _, err := os.Stat(file); err != nil {
			return sdkclient.Options{}, fmt.Errorf("TEMPORAL_CONFIG_FILE: %w", err)
		}
	}
	opts, err := envconfig.LoadClientOptions(envconfig.LoadClientOptionsRequest{EnvLookup: env})
	if err != nil {
		return sdkclient.Options{}, err
	}
	opts.HostPort = firstOf(o.Address, opts.HostPort, DefaultAddress)
	opts.Namespace = firstOf(o.Namespace, opts.Namespace, DefaultNamespace)
	opts.Identity = o.Identity
	opts.MetricsHandler = o.Metrics
	opts.Interceptors = append(opts.Interceptors, o.Interceptors...)
	logger := o.Logger
	if logger == nil {
		logger = zap.NewNop()
	}
	opts.Logger = logging.Temporal(logger)
	opts.ConnectionOptions.DialOptions = append(opts.ConnectionOptions.DialOptions, grpc.WithChainUnaryInterceptor(observeStart))
	return opts, nil
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// validAddress refuses an address that gRPC would dial at a wrong port, or not
// at all, long after the program has started. One with a resolver's scheme
// ("dns:///host:port") is gRPC's to judge.
func validAddress(address string) error {
	if strings.Contains(address, ":///") {
		return nil
	}
	host, port, err := net.SplitHostPort(address)
	if err == nil && host != "" && port != "" {
		return nil
	}
	return fmt.Errorf("the Temporal address %q: want host:port, as in %s; set --%s or TEMPORAL_ADDRESS", address, DefaultAddress, FlagAddress)
}
