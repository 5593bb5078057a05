//go:build unix

package monitor_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/dev/monitor"
)

// pid asks the stand-in at the address for its process ID.
func pid(t *testing.T, addr string) int {
	t.Helper()
	defer http.DefaultClient.CloseIdleConnections()
	response, err := http.Get("http://" + addr + "/-/ready")
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	n, err := strconv.Atoi(string(body))
	require.NoError(t, err)
	return n
}

func requireGone(t *testing.T, pid int) {
	t.Helper()
	require.Eventually(t, func() bool { return !alive(pid) }, 10*time.Second, 10*time.Millisecond, "process %d lives on", pid)
}

// alive takes a process that nobody has waited for yet as dead.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return err != nil || !strings.Contains(string(stat), ") Z ")
}

func TestStopAsksTheProgramToEnd(t *testing.T) {
	t.Setenv(playEnv, "serve")
	s, err := monitor.StartAlertmanager(context.Background(), standIn(t.TempDir()))
	require.NoError(t, err)
	program := pid(t, s.Addr())
	group, err := syscall.Getpgid(program)
	require.NoError(t, err)
	require.NotEqual(t, syscall.Getpgrp(), group, "Ctrl-C in the terminal doesn't reach it")

	require.NoError(t, s.Stop())
	require.NoError(t, s.Stop(), "stopping twice is harmless")
	<-s.Done()
	require.NoError(t, s.Err(), "a stop is no failure")
	requireGone(t, program)
	log, err := os.ReadFile(s.LogPath())
	require.NoError(t, err)
	require.Contains(t, string(log), "told to end, ending")
}

func TestAProgramThatDoesNotEndIsKilled(t *testing.T) {
	t.Setenv(playEnv, "stubborn")
	o := standIn(t.TempDir())
	o.StopTimeout = 200 * time.Millisecond
	s, err := monitor.StartAlertmanager(context.Background(), o)
	require.NoError(t, err)
	program := pid(t, s.Addr())
	require.NoError(t, s.Stop())
	requireGone(t, program)
}

func TestAProgramDiesWithAParentThatIsKilled(t *testing.T) {
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), playEnv+"=parent", dataEnv+"="+t.TempDir())
	stdin, err := parent.StdinPipe()
	require.NoError(t, err)
	defer func() { _ = stdin.Close() }()
	stdout, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	addr, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	program := pid(t, strings.TrimSpace(addr))

	require.NoError(t, parent.Process.Kill())
	require.Error(t, parent.Wait())
	requireGone(t, program)
}

func TestAProgramThatEndsByItselfIsReportedWithItsLastWords(t *testing.T) {
	t.Setenv(playEnv, "crash")
	dir := t.TempDir()
	_, err := monitor.StartAlertmanager(context.Background(), standIn(dir))
	var early *monitor.EarlyExitError
	require.ErrorAs(t, err, &early)
	require.Equal(t, "exit status 3", early.Status)
	require.Len(t, early.LastLines, 8)
	require.Equal(t, "Alertmanager ended by itself (exit status 3); its log is "+filepath.Join(dir, "alertmanager", "alertmanager.log")+
		", its last words were\n  line 13\n  line 14\n  line 15\n  line 16\n  line 17\n  line 18\n  line 19\n  cannot go on", err.Error())
}

func TestAProgramThatIsKilledLaterIsReported(t *testing.T) {
	t.Setenv(playEnv, "serve")
	s, err := monitor.StartAlertmanager(context.Background(), standIn(t.TempDir()))
	require.NoError(t, err)
	require.NoError(t, s.Err())
	require.NoError(t, syscall.Kill(pid(t, s.Addr()), syscall.SIGKILL))
	<-s.Done()
	require.ErrorContains(t, s.Err(), "Alertmanager ended by itself (exit status 1); its log is ")
	require.ErrorContains(t, s.Err(), "supervisor: signal: killed")
	require.NoError(t, s.Stop())
	require.Error(t, s.Err(), "stopping afterwards doesn't hide it")
}

func TestAProgramThatIsNeverReadyIsGivenUpAndEnded(t *testing.T) {
	t.Setenv(playEnv, "never ready")
	o := standIn(t.TempDir())
	o.StartTimeout = 500 * time.Millisecond
	_, err := monitor.StartAlertmanager(context.Background(), o)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "Alertmanager was not ready in time (context deadline exceeded); its log is ")
}

func TestTheLogOfTheRunBeforeIsKept(t *testing.T) {
	t.Setenv(playEnv, "crash")
	dir := t.TempDir()
	for range 2 {
		_, err := monitor.StartAlertmanager(context.Background(), standIn(dir))
		require.Error(t, err)
	}
	for _, name := range []string{"alertmanager.log", "alertmanager.log.old"} {
		log, err := os.ReadFile(filepath.Join(dir, "alertmanager", name))
		require.NoError(t, err)
		require.Equal(t, 1, strings.Count(string(log), "cannot go on"), name)
	}
}

func TestAPortOrAProgramThatIsNotToBeHadIsRefusedInOneLine(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, taken.Close()) }()
	for name, c := range map[string]struct {
		change func(*monitor.AlertmanagerOptions)
		want   string
	}{
		"a taken port": {
			func(o *monitor.AlertmanagerOptions) { o.Addr = taken.Addr().String() },
			"Alertmanager address " + taken.Addr().String() + " is taken by another program: stop that one, or choose another port (--alertmanager-port 0 means any free one)"},
		"an address that is not loopback": {
			func(o *monitor.AlertmanagerOptions) { o.Addr = "0.0.0.0:9093" },
			`Alertmanager address "0.0.0.0:9093" is not loopback: beside the dev stack it authenticates nobody, so use 127.0.0.1`},
		"an address without a port": {
			func(o *monitor.AlertmanagerOptions) { o.Addr = "127.0.0.1" },
			`Alertmanager address "127.0.0.1" is not host:port`},
		"a file that is not there": {
			func(o *monitor.AlertmanagerOptions) { o.Program = "/nowhere/alertmanager" },
			"Alertmanager at /nowhere/alertmanager can't be run (exec: \"/nowhere/alertmanager\": stat /nowhere/alertmanager: no such file or directory): --alertmanager takes build, path or a file"},
		"nothing in PATH": {
			func(o *monitor.AlertmanagerOptions) { o.Program = monitor.FromPath },
			"Alertmanager is not in PATH: install it, or let it be built with --alertmanager build, or go without with --no-monitoring"},
		"no data folder": {
			func(o *monitor.AlertmanagerOptions) { o.DataDir = "" }, "Alertmanager needs a data folder"},
		"no bridge": {
			func(o *monitor.AlertmanagerOptions) { o.BridgeURL = "" }, "no URL of the bridge is given for Alertmanager"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("PATH", t.TempDir())
			o := standIn(t.TempDir())
			c.change(&o)
			_, err := monitor.StartAlertmanager(context.Background(), o)
			require.EqualError(t, err, c.want)
		})
	}
}
