package stack_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/dev/app"
	"edgefleet/dev/simfleet"
	"edgefleet/dev/stack"
	"edgefleet/dev/tools/toolchain"
	"edgefleet/internal/store"
)

// runDev runs dev in this process, on free ports unless args say otherwise,
// and returns its exit code and with which words it gave up.
func runDev(t testing.TB, dir string, args ...string) (code int, said string) {
	t.Helper()
	line := []string{"dev", "--data-dir", dir, "--devices", "1", "--log-level", "error"}
	for _, port := range []string{"temporal", "ui", "prometheus", "alertmanager", "bridge", "worker"} {
		line = append(line, "--"+port+"-port", "0")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out, errs transcript
	code = app.Main(ctx, append(line, args...), &out, &errs)
	require.NoError(t, ctx.Err(), "dev did not refuse: %s\n%s", &out, &errs)
	// What the parts log while they are stopped stands before it.
	_, said, found := strings.Cut("\n"+errs.String(), "\ndev: ")
	require.True(t, found, "%s", &errs)
	return code, strings.TrimSuffix(said, "\n")
}

func TestAStartThatCannotWorkSaysInOneLineWhatToDo(t *testing.T) {
	taken, err := net.Listen("tcp", anyPort)
	require.NoError(t, err)
	defer taken.Close()
	port := strconv.Itoa(taken.Addr().(*net.TCPAddr).Port)
	prometheus, alertmanager := toolchain.ForTest(t, "prometheus"), toolchain.ForTest(t, "alertmanager")
	quiet := func(more ...string) []string { return append([]string{"--no-monitoring"}, more...) }
	monitored := func(more ...string) []string {
		return append([]string{"--prometheus", prometheus, "--alertmanager", alertmanager}, more...)
	}
	const isTaken = "address 127.0.0.1:PORT is taken by another program: stop that one, or choose another port "
	garbage := strings.Repeat("no database ", 1000)
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, dir string)
		args    []string
		code    int
		// says is the heart of the line, in which DIR is the data folder and
		// PORT the port that is taken.
		says string
	}{
		{"Temporal's port is taken", nil, quiet("--temporal-port", port), 1, "Temporal " + isTaken + "(--temporal-port 0 means any free one)"},
		{"the Web UI's port is taken", nil, quiet("--ui-port", port), 1, "Web UI " + isTaken + "(--ui-port 0 means any free one)"},
		{"the bridge's port is taken", nil, quiet("--bridge-port", port), 1, "alertbridge " + isTaken + "(--bridge-port 0 means any free one)"},
		{"the worker's port is taken", nil, quiet("--worker-port", port), 1, "worker " + isTaken + "(--worker-port 0 means any free one)"},
		{"Alertmanager's port is taken", nil, monitored("--alertmanager-port", port), 1, "Alertmanager " + isTaken + "(--alertmanager-port 0 means any free one)"},
		{"Prometheus' port is taken", nil, monitored("--prometheus-port", port), 1, "Prometheus " + isTaken + "(--prometheus-port 0 means any free one)"},
		{"the data folder is a file", put("", "", 0o600), quiet(), 1,
			"data folder: mkdir DIR: not a directory; give another one with --data-dir"},
		{"the engine's database is damaged", put("temporal/temporal.db", garbage, 0o600), quiet(), 1,
			"engine database DIR/temporal/temporal.db is damaged"},
		{"the store is damaged", both(put("ledger.key", secret, 0o600), put("store.db", garbage, 0o600)), quiet(), 1,
			"open store: store DIR/store.db: the database file is damaged"},
		{"the memory of the simulated fleet is damaged", put("simfleet.json.memory", "{", 0o600), quiet(), 1,
			"DIR/simfleet.json.memory: unexpected end of JSON input; remove the file"},
		{"the ledger's key can be read by others", put("ledger.key", secret, 0o644), quiet(), 1,
			"--ledger-key-file DIR/ledger.key can be read by others"},
		{"the ledger's key is empty", put("ledger.key", "", 0o600), quiet(), 1,
			"--ledger-key-file DIR/ledger.key"},
		{"the ledger's key is gone", begunStore, quiet(), 1,
			"ledger key DIR/ledger.key is gone, and the ledger in DIR/store.db was begun with it: restore the key, or move the store away to begin a new ledger"},
		{"the ledger's key is another one", both(begunStore, put("ledger.key", "not the secret of before", 0o600)), quiet(), 1,
			"open store: store DIR/store.db: wrong ledger key: the ledger was begun with key KEY and key KEY is given"},
		{"the fleet directory is wrong", put("fleet/edge-configs/more.yaml", "name: more\nprofile: feeder-rtu\n", 0o600), quiet(), 1,
			"edge-configs/more.yaml:1: version is missing"},
		{"Prometheus is not there", nil, monitored("--prometheus", "/nowhere/prometheus"), 1,
			"--prometheus takes build, path or a file"},
		{"Alertmanager is not there", nil, monitored("--alertmanager", "/nowhere/alertmanager"), 1,
			"--alertmanager takes build, path or a file"},
		{"a command that there is not", nil, quiet("demolish"), 2, `no command "demolish"; see --help`},
		{"a flag that there is not", nil, quiet("--demolish"), 2, "flag provided but not defined: -demolish"},
		{"no devices", nil, quiet("--devices", "0"), 2, "--devices 0: want 1 to 10000"},
		{"a port that there is not", nil, quiet("--worker-port", "70000"), 2, "--worker-port 70000: want a port from 0 to 65535, where 0 means any free one"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			if c.prepare != nil {
				c.prepare(t, dir)
			}
			code, said := runDev(t, dir, c.args...)
			said = keyIDs.ReplaceAllString(said, "key KEY")
			said = strings.NewReplacer(dir, "DIR", ":"+port+" ", ":PORT ").Replace(said)
			require.Contains(t, said, c.says)
			require.NotContains(t, said, "\n")
			require.Equal(t, c.code, code)
			if info, err := os.Stat(dir); err == nil && info.IsDir() {
				_, err := simfleet.Find(t.Context(), stack.FleetState(dir))
				require.ErrorIs(t, err, simfleet.ErrNotRunning, "what was started is stopped again")
			}
		})
	}
}

const secret = "a secret of the test alone"

var keyIDs = regexp.MustCompile(`key [0-9a-f]{8,}`)

// put puts a file into the data folder; no name puts it in its place.
func put(name, content string, mode os.FileMode) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(content), mode))
	}
}

func both(first, second func(*testing.T, string)) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		first(t, dir)
		second(t, dir)
	}
}

// begunStore leaves a store whose ledger was begun with a key that is not
// there.
func begunStore(t *testing.T, dir string) {
	require.NoError(t, os.MkdirAll(dir, 0o700))
	s, err := store.Open(t.Context(), "sqlite:"+filepath.Join(dir, "store.db"), store.Options{LedgerKey: []byte(secret)})
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

func TestASecondStartOnAFolderLeavesTheFirstAlone(t *testing.T) {
	dir := t.TempDir()
	endFleet(t, dir)
	first := startDev(t, dir, "--no-monitoring", "--devices", "2")
	code, said := runDev(t, dir, "--no-monitoring")
	require.Equal(t, 1, code)
	require.Equal(t, fmt.Sprintf("data folder %s/temporal is in use by another engine (process %d): stop that one, or use another folder with --data-dir",
		dir, first.cmd.Process.Pid), said)

	again := findFleet(t, dir)
	require.Equal(t, first.fleet.PID(), again.PID(), "the fleet is the first one's, of the size that it asked for")
	require.Equal(t, 2, again.Size())
	first.store = openStore(t, dir)
	first.resolved(first.remediate("edge-001", inline(looksOnly)))
	require.Zero(t, first.interrupt())
}
