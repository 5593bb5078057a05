package temporalx_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	sdkclient "go.temporal.io/sdk/client"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"edgefleet/internal/temporalx"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// env is an environment of its own, with no configuration file in it.
type env map[string]string

func (e env) Environ() (list []string) {
	for k, v := range e {
		list = append(list, k+"="+v)
	}
	return list
}

func (e env) LookupEnv(k string) (string, bool) { v, ok := e[k]; return v, ok }

// server answers like Temporal's frontend where a test says how.
type server struct {
	workflowservice.UnimplementedWorkflowServiceServer
	describe func(string) error
	started  bool
}

func (s *server) GetSystemInfo(context.Context, *workflowservice.GetSystemInfoRequest) (*workflowservice.GetSystemInfoResponse, error) {
	return &workflowservice.GetSystemInfoResponse{}, nil
}

func (s *server) DescribeNamespace(_ context.Context, r *workflowservice.DescribeNamespaceRequest) (*workflowservice.DescribeNamespaceResponse, error) {
	return &workflowservice.DescribeNamespaceResponse{}, s.describe(r.Namespace)
}

func (s *server) StartWorkflowExecution(context.Context, *workflowservice.StartWorkflowExecutionRequest) (*workflowservice.StartWorkflowExecutionResponse, error) {
	return &workflowservice.StartWorkflowExecutionResponse{RunId: "run", Started: s.started}, nil
}

func serve(t *testing.T, s *server) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	g := grpc.NewServer()
	workflowservice.RegisterWorkflowServiceServer(g, s)
	done := make(chan struct{})
	go func() { defer close(done); _ = g.Serve(ln) }()
	t.Cleanup(func() { g.Stop(); <-done })
	return ln.Addr().String()
}

// closedPort is an address of this machine on which nothing listens.
func closedPort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, ln.Close()) }()
	return ln.Addr().String()
}

func TestNewLazyTakesFlagsOverEnvironmentOverProfileOverDefaults(t *testing.T) {
	profile := filepath.Join(t.TempDir(), "temporal.toml")
	require.NoError(t, os.WriteFile(profile, []byte("[profile.default]\naddress = \"profile:1\"\nnamespace = \"profile\"\n"), 0o600))
	for name, tc := range map[string]struct {
		opts               temporalx.Options
		address, namespace string
	}{
		"nothing said":         {temporalx.Options{Env: env{}}, "127.0.0.1:7233", "default"},
		"profile":              {temporalx.Options{Env: env{"TEMPORAL_CONFIG_FILE": profile}}, "profile:1", "profile"},
		"environment":          {temporalx.Options{Env: env{"TEMPORAL_CONFIG_FILE": profile, "TEMPORAL_ADDRESS": "env:1"}}, "env:1", "profile"},
		"flag":                 {temporalx.Options{Address: "flag:1", Namespace: "flag", Env: env{"TEMPORAL_ADDRESS": "env:1"}}, "flag:1", "flag"},
		"a resolver's address": {temporalx.Options{Address: "dns:///temporal:7233", Env: env{}}, "dns:///temporal:7233", "default"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("XDG_CONFIG_HOME", t.TempDir())
			conn, err := temporalx.NewLazy(tc.opts)
			require.NoError(t, err)
			defer conn.Close()
			require.Equal(t, tc.address, conn.Address)
			require.Equal(t, tc.namespace, conn.Namespace)
		})
	}
}

func TestNewLazyRefusesInOneLineWhatCanNeverWork(t *testing.T) {
	for name, tc := range map[string]struct {
		opts temporalx.Options
		want []string
	}{
		"an address without a port": {
			temporalx.Options{Address: "temporal", Env: env{}},
			[]string{`the Temporal address "temporal": want host:port`, "--temporal-address"},
		},
		"a configuration file that is not there": {
			temporalx.Options{Env: env{"TEMPORAL_CONFIG_FILE": "/nowhere.toml"}},
			[]string{"TEMPORAL_CONFIG_FILE", "/nowhere.toml"},
		},
		"a profile that is not there": {
			temporalx.Options{Env: env{"TEMPORAL_PROFILE": "plant"}},
			[]string{"profile plant", "TEMPORAL_PROFILE"},
		},
		"a certificate that is not there": {
			temporalx.Options{Env: env{"TEMPORAL_TLS_CLIENT_CERT_PATH": "/nowhere.pem", "TEMPORAL_TLS_CLIENT_KEY_PATH": "/nowhere.key"}},
			[]string{"/nowhere.pem", "TEMPORAL_TLS_*"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("XDG_CONFIG_HOME", t.TempDir())
			_, err := temporalx.NewLazy(tc.opts)
			require.Error(t, err)
			require.NotContains(t, err.Error(), "\n")
			for _, want := range tc.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

func TestCheckSaysWhatIsWrongAndWhatToDo(t *testing.T) {
	for name, tc := range map[string]struct {
		answer error
		want   []string
	}{
		"serving":                                {nil, nil},
		"may not describe, but answers":          {serviceerror.NewPermissionDenied("no", ""), nil},
		"no such namespace":                      {serviceerror.NewNamespaceNotFound("plant"), []string{`has no namespace "plant"`, "temporal operator namespace create --namespace plant", "TEMPORAL_NAMESPACE"}},
		"credentials refused":                    {status.Error(codes.Unauthenticated, "who?"), []string{"refuses these credentials", "TEMPORAL_API_KEY"}},
		"down for maintenance":                   {status.Error(codes.Unavailable, "shutting\ndown"), []string{"does not answer: shutting down", "--temporal-address"}},
		"something that is not about connecting": {serviceerror.NewInternal("bug"), []string{"bug"}},
	} {
		t.Run(name, func(t *testing.T) {
			address := serve(t, &server{describe: func(string) error {
				var s serviceerror.ServiceError
				if errors.As(tc.answer, &s) {
					return s.Status().Err()
				}
				return tc.answer
			}})
			conn, err := temporalx.NewLazy(temporalx.Options{Address: address, Namespace: "plant", Env: env{}})
			require.NoError(t, err)
			defer conn.Close()
			err = conn.Check(t.Context())
			if tc.want == nil {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			for _, want := range tc.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

func TestDialSaysThatNobodyAnswers(t *testing.T) {
	address := closedPort(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := temporalx.Dial(ctx, temporalx.Options{Address: address, Env: env{}})
	require.ErrorContains(t, err, "Temporal at "+address+" does not answer")
	require.ErrorContains(t, err, "TEMPORAL_ADDRESS")
}

func TestDialSaysThatTheServerDoesNotSpeakTLS(t *testing.T) {
	address := serve(t, &server{describe: func(string) error { return nil }})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := temporalx.Dial(ctx, temporalx.Options{Address: address, Env: env{"TEMPORAL_TLS": "true"}})
	require.ErrorContains(t, err, "does not agree on TLS")
	require.ErrorContains(t, err, "TEMPORAL_TLS_SERVER_CA_CERT_PATH")
}

func TestDialReturnsAConnectionThatWasChecked(t *testing.T) {
	conn, err := temporalx.Dial(t.Context(), temporalx.Options{Address: serve(t, &server{describe: func(string) error { return nil }}), Env: env{}})
	require.NoError(t, err)
	conn.Close()
}

func TestWatchStartTellsANewRunFromOneThatWasRunning(t *testing.T) {
	for name, started := range map[string]bool{"new": true, "running already": false} {
		t.Run(name, func(t *testing.T) {
			conn, err := temporalx.NewLazy(temporalx.Options{Address: serve(t, &server{started: started}), Env: env{}})
			require.NoError(t, err)
			defer conn.Close()
			ctx, isNew := temporalx.WatchStart(t.Context())
			require.False(t, isNew(), "nothing was started yet")
			_, err = conn.Client.ExecuteWorkflow(ctx, sdkclient.StartWorkflowOptions{
				ID: "x", TaskQueue: "q", WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
			}, "type")
			require.NoError(t, err)
			require.Equal(t, started, isNew())
		})
	}
}

func TestExplainLeavesAloneWhatIsNotAboutTheConnection(t *testing.T) {
	conn := &temporalx.Conn{Address: "a:1", Namespace: "n"}
	require.NoError(t, conn.Explain(nil))
	plain := errors.New("plain")
	require.Equal(t, plain, conn.Explain(plain))
	notFound := serviceerror.NewNotFound("workflow not found")
	require.Equal(t, notFound, conn.Explain(notFound))
	require.ErrorIs(t, conn.Explain(context.DeadlineExceeded), context.DeadlineExceeded)
}

func TestFlagsComeFromTheCommandLineAndTheEnvironment(t *testing.T) {
	t.Setenv("EDGEFLEET_TEMPORAL_NAMESPACE", "plant")
	var got temporalx.Options
	app := &cli.App{
		Flags:  temporalx.Flags(),
		Action: func(c *cli.Context) error { got = temporalx.FromContext(c, nil); return nil },
	}
	require.NoError(t, app.Run([]string{"x", "--temporal-address", "t:1"}))
	require.Equal(t, temporalx.Options{Address: "t:1", Namespace: "plant"}, got)
}

func TestAwayTellsAServerThatIsDownFromOneThatRefuses(t *testing.T) {
	conn := &temporalx.Conn{Address: "a:1", Namespace: "n"}
	for _, err := range []error{
		context.DeadlineExceeded, context.Canceled, serviceerror.NewUnavailable("x"), serviceerror.NewDeadlineExceeded("x"),
		serviceerror.NewResourceExhausted(enumspb.RESOURCE_EXHAUSTED_CAUSE_RPS_LIMIT, "x"), status.Error(codes.Unavailable, "x"),
	} {
		require.True(t, temporalx.Away(err), err)
		require.True(t, temporalx.Away(conn.Explain(err)), err)
	}
	for _, err := range []error{nil, errors.New("x"), serviceerror.NewInvalidArgument("x"), serviceerror.NewPermissionDenied("x", ""), serviceerror.NewNamespaceNotFound("n")} {
		require.False(t, temporalx.Away(err), err)
		require.False(t, temporalx.Away(conn.Explain(err)), err)
	}
}
