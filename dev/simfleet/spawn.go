package simfleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// maxLog is the size from which on the log of earlier processes is dropped.
const maxLog = 1 << 20

// Spawn returns a client of the fleet that lives on the state file, or else
// starts one: exe with args, which has to call Main with the same state file,
// in that very process.
// The child has a session of its own, so that neither Ctrl-C in the terminal
// nor the end of this process ends it; its output goes to STATE.log.
//
// A fleet that lives is taken over as it is: a caller who wants another size
// compares Client.Size, calls Stop and spawns again. ctx bounds only the wait
// for the first answer (30 seconds without a deadline); when it ends, so does
// the child.
func Spawn(ctx context.Context, exe string, args []string, stateFile string) (*Client, error) {
	ctx, cancel := withDeadline(ctx, 30*time.Second)
	defer cancel()
	if c, err := settled(ctx, stateFile); !errors.Is(err, ErrNotRunning) {
		return c, err
	}
	if err := os.MkdirAll(filepath.Dir(stateFile), 0o700); err != nil {
		return nil, err
	}
	output, began, err := openLog(logFile(stateFile))
	if err != nil {
		return nil, err
	}
	child := exec.Command(exe, args...)
	child.Stdout, child.Stderr = output, output
	child.SysProcAttr = detached()
	err = child.Start()
	closed := output.Close()
	if err != nil {
		return nil, fmt.Errorf("start the simulated fleet: %w", errors.Join(err, closed))
	}
	// Somebody has to wait for the child as long as this process lives, or
	// its remains would stay in the process table.
	var exit error
	ended := make(chan struct{})
	go func() {
		exit = child.Wait()
		close(ended)
	}()
	for {
		select {
		case <-ended:
			// Another process may have been faster with a fleet of its own.
			if c, found := settled(ctx, stateFile); found == nil {
				return c, nil
			}
			if exit == nil {
				exit = errors.New("it returned at once")
			}
			return nil, fmt.Errorf("the simulated fleet did not start: %w: %s", exit, tail(logFile(stateFile), began))
		default:
		}
		c, err := Find(ctx, stateFile)
		if err == nil {
			if c.PID() != child.Process.Pid {
				// Another process was faster. The child must not go on trying,
				// and become a second fleet as soon as the first one ends.
				_ = child.Process.Kill()
				<-ended
			}
			return c, nil
		}
		if pause(ctx, 10*time.Millisecond) != nil {
			_ = child.Process.Kill()
			<-ended
			return nil, fmt.Errorf("the simulated fleet did not answer in time: %w: %s", err, tail(logFile(stateFile), began))
		}
	}
}

// settled is Find, which waits for a fleet that is just starting or ending.
func settled(ctx context.Context, stateFile string) (*Client, error) {
	for {
		c, err := Find(ctx, stateFile)
		if !errors.Is(err, ErrSilent) || pause(ctx, 10*time.Millisecond) != nil {
			return c, err
		}
	}
}

// openLog opens the log for appending and returns where it ends now.
func openLog(path string) (*os.File, int64, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, 0, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil && size > maxLog {
		size, err = 0, f.Truncate(0)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, size, nil
}

// tail returns the last words of the log after the offset, on one line.
func tail(path string, from int64) string {
	const length = 1 << 11
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err == nil {
		from = max(from, info.Size()-length)
	}
	b := make([]byte, length)
	n, err := f.ReadAt(b, from)
	if err != nil && !errors.Is(err, io.EOF) {
		return err.Error()
	}
	said := strings.Join(strings.Fields(string(b[:n])), " ")
	if said == "" {
		said = "it said nothing"
	}
	return said + " (" + path + ")"
}
