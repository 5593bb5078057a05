package monitor

import (
	"os"
	"os/exec"
	"syscall"
)

// ownGroup keeps the terminal's Ctrl-C away from the supervisor.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

func killGroup(cmd *exec.Cmd) { _ = cmd.Process.Kill() }

// terminate kills: there is no signal that asks.
func terminate(p *os.Process) { _ = p.Kill() }

func stopSignals() []os.Signal { return []os.Signal{os.Interrupt} }
