package simfleet_test

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/dev/simfleet"
	"edgefleet/devices/sim"
)

func executable(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	return exe
}

func spawn(t *testing.T, stateFile string, devices int) *simfleet.Client {
	t.Helper()
	c, err := simfleet.Spawn(t.Context(), executable(t), []string{asFleet, stateFile, strconv.Itoa(devices)}, stateFile)
	require.NoError(t, err)
	t.Cleanup(func() { endFleet(t, stateFile) })
	return c
}

// endFleet ends whatever lives on the state file.
func endFleet(t *testing.T, stateFile string) {
	c, err := simfleet.Find(context.Background(), stateFile)
	if errors.Is(err, simfleet.ErrNotRunning) {
		return
	}
	require.NoError(t, err)
	require.NoError(t, c.Stop(context.Background()))
}

func TestTheFleetOutlivesAKilledParentAndIsTakenOver(t *testing.T) {
	stateFile := newStateFile(t)
	parent := exec.Command(executable(t), asParent, stateFile, "3")
	parent.Stderr = os.Stderr
	out, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	t.Cleanup(func() { endFleet(t, stateFile) })
	fleet, err := strconv.Atoi(strings.TrimSpace(line))
	require.NoError(t, err)
	require.NotEqual(t, parent.Process.Pid, fleet)

	first, err := simfleet.Find(t.Context(), stateFile)
	require.NoError(t, err)
	require.Equal(t, fleet, first.PID())
	d := device(t, first, "edge-002")
	write(t, d.Address, 102, 870)
	_, err = first.Break(t.Context(), "edge-003", sim.FaultResetOnly, false)
	require.NoError(t, err)

	require.NoError(t, parent.Process.Kill()) // SIGKILL
	require.Error(t, parent.Wait())
	require.True(t, alive(d.Address), "the devices are as they were")

	second := spawn(t, stateFile, 3)
	require.Equal(t, fleet, second.PID(), "the living fleet, not another one")
	require.EqualValues(t, 870, setting(t, d.Address, 102))
	require.Equal(t, d.Address, device(t, second, "edge-002").Address)
	require.Equal(t, sim.FaultResetOnly, device(t, second, "edge-003").Fault)

	require.NoError(t, second.Stop(t.Context()))
	require.False(t, alive(d.Address))
	_, err = simfleet.Find(t.Context(), stateFile)
	require.ErrorIs(t, err, simfleet.ErrNotRunning)
	require.NoError(t, second.Stop(t.Context()), "what has ended is ended")
}

func TestTheFleetHasASessionOfItsOwn(t *testing.T) {
	c := spawn(t, newStateFile(t), 1)
	group, err := syscall.Getpgid(c.PID())
	require.NoError(t, err)
	require.Equal(t, c.PID(), group, "a signal to the group of the terminal does not reach it")
}

func TestAKilledFleetContinuesFromWhatItHadWrittenDown(t *testing.T) {
	stateFile := newStateFile(t)
	c := spawn(t, stateFile, 2)
	d := device(t, c, "edge-001")
	write(t, d.Address, 109, 42)
	// The write is written down within the interval; the fault at once.
	require.Eventually(t, func() bool {
		b, err := os.ReadFile(stateFile + ".memory")
		return err == nil && strings.Contains(string(b), `"reclose_delay":[42]`)
	}, patience, time.Millisecond)
	_, err := c.Break(t.Context(), "edge-002", sim.FaultOffline, true)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(c.PID(), syscall.SIGKILL))
	require.Eventually(t, func() bool {
		_, err := simfleet.Find(t.Context(), stateFile)
		return errors.Is(err, simfleet.ErrNotRunning)
	}, patience, time.Millisecond)

	again := spawn(t, stateFile, 2)
	require.NotEqual(t, c.PID(), again.PID())
	require.EqualValues(t, 42, setting(t, device(t, again, "edge-001").Address, 109))
	require.Equal(t, sim.FaultOffline, device(t, again, "edge-002").Fault)
	require.EqualValues(t, 1, device(t, again, "edge-001").Writes)
}

func TestSIGTERMEndsTheFleetAndWritesEverythingDown(t *testing.T) {
	stateFile := newStateFile(t)
	c := spawn(t, stateFile, 1)
	d := device(t, c, "edge-001")
	write(t, d.Address, 109, 43)
	require.NoError(t, syscall.Kill(c.PID(), syscall.SIGTERM))
	require.Eventually(t, func() bool {
		_, err := simfleet.Find(t.Context(), stateFile)
		return errors.Is(err, simfleet.ErrNotRunning)
	}, patience, time.Millisecond)
	require.NoFileExists(t, stateFile)
	again := spawn(t, stateFile, 1)
	require.EqualValues(t, 43, setting(t, device(t, again, "edge-001").Address, 109))
}

func TestSpawnsAtTheSameTimeMakeOneFleet(t *testing.T) {
	stateFile := newStateFile(t)
	t.Cleanup(func() { endFleet(t, stateFile) })
	exe := executable(t)
	pids := make([]int, 4)
	errs := make([]error, len(pids))
	var all sync.WaitGroup
	for i := range pids {
		all.Go(func() {
			c, err := simfleet.Spawn(t.Context(), exe, []string{asFleet, stateFile, "2"}, stateFile)
			if errs[i] = err; err == nil {
				pids[i] = c.PID()
			}
		})
	}
	all.Wait()
	for i := range pids {
		require.NoError(t, errs[i])
		require.Equal(t, pids[0], pids[i])
	}
}

func TestAChildThatFailsIsReportedInItsOwnWords(t *testing.T) {
	stateFile := newStateFile(t)
	_, err := simfleet.Spawn(t.Context(), executable(t), []string{asBroken}, stateFile)
	require.EqualError(t, err, "the simulated fleet did not start: exit status 1: the sky is falling ("+stateFile+".log)")
	_, err = simfleet.Spawn(t.Context(), "/nowhere/edgefleet", nil, stateFile)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestAStoppedProcessIsSilentAndNotAbsent(t *testing.T) {
	stateFile := newStateFile(t)
	c := spawn(t, stateFile, 1)
	require.NoError(t, syscall.Kill(c.PID(), syscall.SIGSTOP))
	t.Cleanup(func() { require.NoError(t, syscall.Kill(c.PID(), syscall.SIGCONT)) })
	find := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := simfleet.Find(ctx, stateFile)
		return err
	}
	// A signal to another process takes its time to arrive.
	require.Eventually(t, func() bool { return errors.Is(find(), simfleet.ErrSilent) }, patience, time.Millisecond)
	require.ErrorContains(t, find(), "end the process "+strconv.Itoa(c.PID()))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := simfleet.Spawn(ctx, executable(t), []string{asBroken}, stateFile)
	require.ErrorIs(t, err, simfleet.ErrSilent, "no second fleet beside it")
}
