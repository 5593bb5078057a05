//go:build !linux

package monitor

import "os/exec"

// dieWithParent has no equivalent here: a supervisor that is itself killed
// leaves its command behind.
func dieWithParent(*exec.Cmd) {}
