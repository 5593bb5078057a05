package bridge_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/alertbridge/bridge"
	"edgefleet/internal/routes"
)

// locked is a buffer that a program writes while a test reads.
type locked struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func TestTheProgramRunsReloadsAndStops(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	routes := writeFile(t, "routes.yaml", routes.Default)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	reload, stderr, code := make(chan os.Signal), &locked{}, make(chan int, 1)
	go func() {
		code <- bridge.Main(ctx, []string{"alertbridge", "--listen", "127.0.0.1:0", "--routes", routes, "--temporal-address", "127.0.0.1:1", "--log-format", "console"}, io.Discard, stderr, reload)
	}()
	address := regexp.MustCompile(`waiting for Alertmanager.*"address": "([^"]+)"`)
	require.Eventually(t, func() bool { return address.MatchString(stderr.String()) }, 10*time.Second, 5*time.Millisecond)
	url := "http://" + address.FindStringSubmatch(stderr.String())[1]
	c := client(t)
	require.Equal(t, 200, get(t, c, url+"/healthz").code)
	require.Contains(t, get(t, c, url+"/metrics").text, "go_goroutines")

	reload <- syscall.SIGHUP
	require.Eventually(t, func() bool { return strings.Contains(stderr.String(), "routes reloaded") }, 10*time.Second, 5*time.Millisecond)
	require.NoError(t, os.WriteFile(routes, []byte("routes: 5\n"), 0o600))
	reload <- syscall.SIGHUP
	require.Eventually(t, func() bool { return strings.Contains(stderr.String(), "the old ones stand") }, 10*time.Second, 5*time.Millisecond)

	c.CloseIdleConnections()
	stop()
	require.Equal(t, 0, <-code, stderr.String())
}

func TestTheExitCodeTellsBadUsageFromAFailure(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	taken := run(t, bridge.Options{Temporal: &fakeTemporal{}})
	for name, tc := range map[string]struct {
		args []string
		code int
		says string
	}{
		"an unknown flag":             {[]string{"--nope"}, 2, "flag provided but not defined: -nope"},
		"an argument":                 {[]string{"serve"}, 2, `unknown argument "serve": the bridge takes flags only, see --help`},
		"a size that is none":         {[]string{"--max-body", "4MB"}, 2, `--max-body "4MB": want`},
		"a level that is none":        {[]string{"--log-level", "loud"}, 2, `--log-level "loud": want`},
		"an address without a port":   {[]string{"--temporal-address", "temporal"}, 2, `the Temporal address "temporal": want host:port`},
		"routes with a mistake":       {[]string{"--routes", writeFile(t, "r.yaml", "routes: 5\n")}, 2, "r.yaml:1:9: routes: want"},
		"a port that is taken":        {[]string{"--listen", taken.Addr()}, 1, "cannot listen on " + taken.Addr()},
		"a check of what is good":     {[]string{"--check"}, 0, ""},
		"a check of what is not good": {[]string{"--check", "--web.config.file", "/nowhere.yml"}, 2, "/nowhere.yml"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := bridge.Main(t.Context(), append([]string{"alertbridge", "--log-level", "error"}, tc.args...), &stdout, &stderr, nil)
			require.Equal(t, tc.code, code, stderr.String())
			require.Empty(t, stdout.String())
			require.Contains(t, stderr.String(), tc.says)
			require.Equal(t, tc.code != 0, strings.HasPrefix(stderr.String(), "alertbridge: "), stderr.String())
		})
	}
}

func TestFlagsComeFromTheEnvironmentToo(t *testing.T) {
	t.Setenv("EDGEFLEET_BRIDGE_MAX_BODY", "many")
	var stderr bytes.Buffer
	require.Equal(t, 2, bridge.Main(t.Context(), []string{"alertbridge"}, io.Discard, &stderr, nil))
	require.Contains(t, stderr.String(), `--max-body "many"`)
}

func TestHelpNamesEveryFlagAndExitsWell(t *testing.T) {
	var stdout bytes.Buffer
	require.Equal(t, 0, bridge.Main(t.Context(), []string{"alertbridge", "--help"}, &stdout, io.Discard, nil))
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	flags := regexp.MustCompile(`--[a-z][a-z.-]+`).FindAllString(stdout.String(), -1)
	require.Greater(t, len(flags), 9)
	for _, flag := range flags {
		require.Contains(t, string(readme), "`"+flag, "the README documents every flag")
	}
}

func TestTheReadmeShowsTheRoutesAndMetricsThatThereAre(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	require.Contains(t, string(readme), routes.Default)
	b := run(t, bridge.Options{Temporal: &fakeTemporal{}})
	text := get(t, client(t), "http://"+b.Addr()+"/metrics").text
	names := regexp.MustCompile(`(?m)^# TYPE (edgefleet_bridge_\w+)`).FindAllStringSubmatch(text, -1)
	require.Len(t, names, 18)
	for _, name := range names {
		require.Contains(t, string(readme), "`"+name[1]+"`", "the README documents every metric")
	}
}

// The bridge stands where no device and no database can be reached, and must
// not carry what could reach them. The package database/sql itself comes with
// Prometheus's client library, which measures pools; it drives nothing.
func TestTheProgramLinksNoDriver(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "edgefleet/alertbridge").Output()
	require.NoError(t, err)
	deps := strings.Fields(string(out))
	require.Contains(t, deps, "edgefleet/alertbridge/bridge")
	forbidden := regexp.MustCompile(`^edgefleet/(devices|activities|worker|starter|dev|integration)\b|^edgefleet/internal/store|sqlite|pgx|lib/pq|go-sql-driver|gocql|modbus|opcua|^golang\.org/x/crypto/ssh$|^go\.temporal\.io/server|^go\.starlark\.net`)
	allowed := regexp.MustCompile(`^edgefleet/(alertbridge|internal|workflows/contract)\b`)
	for _, dep := range deps {
		require.NotRegexp(t, forbidden, dep)
		if strings.HasPrefix(dep, "edgefleet/") {
			require.Regexp(t, allowed, dep)
		}
	}
}
