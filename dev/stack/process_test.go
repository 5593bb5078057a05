package stack_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/internal/temporalx"
)

// transcript is what a process prints, to be read while it prints.
type transcript struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (w *transcript) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.Write(p)
}

func (w *transcript) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}

// devProcess is the dev program in a process of its own.
type devProcess struct {
	site
	cmd      *exec.Cmd
	out, err transcript
	ended    chan struct{}
}

// launchDev runs dev on a folder, on free ports.
func launchDev(t testing.TB, dir string, more ...string) *devProcess {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	args := []string{"--data-dir", dir, "--log-level", "warn"}
	for _, port := range []string{"temporal", "ui", "prometheus", "alertmanager", "bridge", "worker"} {
		args = append(args, "--"+port+"-port", "0")
	}
	p := &devProcess{site: site{t: t, dir: dir}, cmd: exec.Command(exe, append(args, more...)...), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), playDev+"=1")
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	require.NoError(t, p.cmd.Start())
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("process %d said:\n%s\n%s", p.cmd.Process.Pid, &p.out, &p.err)
		}
	})
	return p
}

// startDev is launchDev, and returns when it is up.
func startDev(t testing.TB, dir string, more ...string) *devProcess {
	t.Helper()
	p := launchDev(t, dir, more...)
	until(t, patience, func() error {
		select {
		case <-p.ended:
			require.FailNow(t, "dev ended by itself", "%s\n%s", &p.out, &p.err)
		default:
		}
		if !strings.Contains(p.out.String(), "Ctrl-C stops everything.") {
			return fmt.Errorf("dev is not up: %s", &p.out)
		}
		return nil
	})
	p.bridgeURL = "http://" + p.address("alertbridge")
	conn, err := temporalx.Dial(t.Context(), temporalx.Options{Address: p.address("Temporal"), Namespace: temporalx.DefaultNamespace})
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	p.temporal = conn.Client
	p.fleet = findFleet(t, dir)
	return p
}

// address is the host:port that the welcome tells for a part.
func (p *devProcess) address(part string) string {
	p.t.Helper()
	found := regexp.MustCompile(`(?m)^  ` + part + ` +(?:http://)?([0-9.]+:\d+)`).FindStringSubmatch(p.out.String())
	require.NotNil(p.t, found, "the welcome does not name %s:\n%s", part, &p.out)
	return found[1]
}

// kill ends the process as a power cut would.
func (p *devProcess) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// interrupt asks the process to end and returns its exit code.
func (p *devProcess) interrupt() int {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
		require.FailNow(p.t, "dev has not ended", "%s", &p.err)
	}
	return p.cmd.ProcessState.ExitCode()
}

// alive says whether a process exists.
func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }
