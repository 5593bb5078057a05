//go:build unix

package monitor

import (
	"os"
	"os/exec"
	"syscall"
)

// ownGroup puts the supervisor, and so its command, into a process group of
// their own, which the terminal's Ctrl-C doesn't reach.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}

func killGroup(cmd *exec.Cmd) {
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
}

func terminate(p *os.Process) { _ = p.Signal(syscall.SIGTERM) }

func stopSignals() []os.Signal {
	return []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP}
}
