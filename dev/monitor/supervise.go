package monitor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"time"
)

// supervisorEnv turns this program into the supervisor of the command in its
// arguments. Its value is how long that command may take to end.
const supervisorEnv = "EDGEFLEET_DEV_SUPERVISE"

// Supervise has to be called first thing in main by every program that starts
// servers. It returns at once, except in the process that was started as a
// supervisor, which runs the command in its arguments and exits with it.
//
// The supervisor ends the command when its standard input closes, which the
// operating system does for the parent when that dies, however it dies.
func Supervise() {
	grace := os.Getenv(supervisorEnv)
	if grace == "" {
		return
	}
	os.Exit(supervise(grace, os.Args[1:]))
}

// exitSupervisor is the exit code for what went wrong in the supervisor
// itself, as in the shell for a command that can't be run.
const exitSupervisor = 126

func supervise(grace string, command []string) int {
	timeout, err := time.ParseDuration(grace)
	if err != nil || len(command) == 0 {
		fmt.Fprintf(os.Stderr, "supervisor: needs a duration in %s and a command\n", supervisorEnv)
		return exitSupervisor
	}
	// The kernel ends the command with the thread that started it, so that
	// this thread has to live as long as the supervisor.
	runtime.LockOSThread()
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, stopSignals()...)

	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = withoutSupervisor(os.Environ())
	dieWithParent(cmd)
	if err := cmd.Start(); err != nil {
		fmt.Fprintf(os.Stderr, "supervisor: %v\n", err)
		return exitSupervisor
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	orphaned := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(orphaned)
	}()

	select {
	case err := <-ended:
		return exitCode(err)
	case <-orphaned:
	case <-asked:
	}
	terminate(cmd.Process)
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case err := <-ended:
		return exitCode(err)
	case <-timer.C:
		fmt.Fprintf(os.Stderr, "supervisor: %s didn't end within %s and is killed\n", command[0], timeout)
		_ = cmd.Process.Kill()
		return exitCode(<-ended)
	}
}

func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return exit.ExitCode()
	default:
		fmt.Fprintf(os.Stderr, "supervisor: %v\n", err)
		return 1
	}
}

func withoutSupervisor(env []string) []string {
	kept := make([]string, 0, len(env))
	for _, entry := range env {
		if len(entry) <= len(supervisorEnv) || entry[:len(supervisorEnv)+1] != supervisorEnv+"=" {
			kept = append(kept, entry)
		}
	}
	return kept
}
