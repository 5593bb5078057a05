// Package filelock holds an exclusive lock on a file, which the operating
// system releases when the process ends, whatever the reason.
package filelock

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
)

// HeldError says that another holder has the lock.
type HeldError struct {
	Path string
	// PID is the holder's process ID, or 0 when it isn't known.
	PID int
}

func (e *HeldError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("%s is locked by another process", e.Path)
	}
	return fmt.Sprintf("%s is locked by process %d", e.Path, e.PID)
}

// errHeld is what the platform's tryLock returns when another holder has it.
var errHeld = errors.New("held")

// Lock is a lock that is held.
type Lock struct{ file *os.File }

// Take takes the lock without waiting, creating the file when it doesn't
// exist, and writes the process ID into it. It returns a *HeldError when
// another process, or this one, already holds it.
func Take(path string) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := tryLock(f); err != nil {
		defer func() { _ = f.Close() }()
		if errors.Is(err, errHeld) {
			return nil, &HeldError{Path: path, PID: readPID(f)}
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	// The number only serves the message of the one who comes second, so
	// that a failure to write it is no reason to refuse the lock.
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return &Lock{file: f}, nil
}

// Release gives the lock back. The file stays: removing it would let two
// processes lock two files of the same name.
func (l *Lock) Release() error {
	if l == nil || l.file == nil {
		return nil
	}
	f := l.file
	l.file = nil
	return f.Close()
}

func readPID(r io.ReaderAt) int {
	buf := make([]byte, 16)
	n, err := r.ReadAt(buf, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(buf[:n])))
	if err != nil {
		return 0
	}
	return pid
}
