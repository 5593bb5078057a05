package monitor

import (
	"os/exec"
	"syscall"
)

// dieWithParent lets the kernel end the command when the supervisor is killed.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
}
