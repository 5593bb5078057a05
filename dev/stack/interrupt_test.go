package stack_test

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/dev/simfleet"
	"edgefleet/dev/stack"
	"edgefleet/dev/tools/toolchain"
	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

func TestAnInterruptStopsEverythingAndTheNextStartGoesOn(t *testing.T) {
	dir := t.TempDir()
	endFleet(t, dir)
	p := startDev(t, dir, "--devices", "2",
		"--prometheus", toolchain.ForTest(t, "prometheus"), "--alertmanager", toolchain.ForTest(t, "alertmanager"))
	p.store = openStore(t, dir)
	waiting := p.remediate("edge-001", inline(asksFirst))
	p.waits(waiting, "go")
	fleet, address := p.fleet.PID(), p.device("edge-001").Address
	parts := map[string]string{}
	for _, part := range []string{"Temporal Web UI", "Temporal", "Prometheus", "Alertmanager", "alertbridge", "worker"} {
		parts[part] = p.address(part)
		conn, err := net.Dial("tcp", parts[part])
		require.NoError(t, err, part)
		require.NoError(t, conn.Close())
	}

	require.Zero(t, p.interrupt())

	_, afterwards, stopping := strings.Cut(p.err.String(), "stopping\n")
	require.True(t, stopping, "%s", &p.err)
	require.Empty(t, afterwards, "a stop in order has nothing to complain about")
	for part, addr := range parts {
		_, err := net.Dial("tcp", addr)
		require.Error(t, err, "%s still listens", part)
	}
	_, err := simfleet.Find(t.Context(), stack.FleetState(dir))
	require.ErrorIs(t, err, simfleet.ErrNotRunning)
	require.False(t, alive(fleet), "the fleet's process %d is still there", fleet)
	_, err = p.store.LeaseOf(t.Context(), "edge-001")
	require.NoError(t, err, "the remediation that waits keeps its device")

	// Without monitoring now: the stack is the same one.
	p = startDev(t, dir, "--devices", "2", "--no-monitoring")
	p.store = openStore(t, dir)
	require.Equal(t, address, p.device("edge-001").Address)
	waiting = p.temporal.GetWorkflow(t.Context(), waiting.GetID(), waiting.GetRunID())
	p.waits(waiting, "go")
	require.NoError(t, p.decide(waiting, contract.Decision{Gate: "go", Approved: true, By: "ann"}))
	p.resolved(waiting)
	require.Equal(t, store.StatusResolved, p.incident(waiting).Status)
	p.free("edge-001")
	p.intact()
	response, err := http.Get("http://" + p.address("worker") + "/readyz")
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode)
}

func TestAnInterruptBeforeItIsUpIsNoFailure(t *testing.T) {
	dir := t.TempDir()
	endFleet(t, dir)
	for _, moment := range []time.Duration{0, 300 * time.Millisecond, 600 * time.Millisecond, 900 * time.Millisecond} {
		p := launchDev(t, dir, "--no-monitoring", "--devices", "2")
		// It has got its signal handler when it takes the folder.
		until(t, patience, func() error {
			_, err := os.Stat(filepath.Join(dir, "temporal", "engine.lock"))
			return err
		})
		timer := time.NewTimer(moment)
		<-timer.C
		require.Zero(t, p.interrupt(), "%s", &p.err)
		require.NotContains(t, p.err.String(), "dev: ", "nothing has failed")
		_, err := simfleet.Find(t.Context(), stack.FleetState(dir))
		require.ErrorIs(t, err, simfleet.ErrNotRunning)
		require.NoError(t, os.Remove(filepath.Join(dir, "temporal", "engine.lock")))
	}
}
