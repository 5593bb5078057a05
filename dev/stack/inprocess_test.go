package stack_test

import (
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"edgefleet/dev/stack"
)

const anyPort = "127.0.0.1:0"

// options are those of a stack in this process, on free ports, without
// Prometheus, Alertmanager and Web UI.
func options(t testing.TB, dir string, devices int) stack.Options {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	return stack.Options{
		DataDir: dir, Devices: devices, NoMonitoring: true, NoUI: true,
		TemporalAddr: anyPort, UIAddr: anyPort, PrometheusAddr: anyPort, AlertmanagerAddr: anyPort,
		BridgeAddr: anyPort, WorkerAddr: anyPort,
		Exe: exe, FleetArgs: []string{"simulate", "--data-dir", dir, "--devices", strconv.Itoa(devices)},
		Logger: zap.NewNop(),
	}
}

// startStack runs a stack in this process until the test ends.
func startStack(t testing.TB, devices int) *site {
	t.Helper()
	dir := t.TempDir()
	endFleet(t, dir)
	s := stack.New(options(t, dir, devices))
	require.NoError(t, s.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, s.Stop()) })
	return &site{
		t: t, dir: dir, temporal: s.Conn().Client, bridgeURL: s.BridgeURL(), fleet: s.Fleet(), store: openStore(t, dir),
	}
}
