//go:build unix

package simfleet

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// lock takes the lock of the state file until release is called or the
// process ends in any way. A held lock is errLocked.
func lock(stateFile string) (release func(), err error) {
	f, err := os.OpenFile(lockFile(stateFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	// Somebody who looks whether the lock is held holds it for an instant.
	giveUp := time.Now().Add(300 * time.Millisecond)
	for {
		err = flock(f, syscall.LOCK_EX)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, errLocked) || time.Now().After(giveUp) {
			return nil, errors.Join(err, f.Close())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// locked says whether a living process holds the lock.
func locked(stateFile string) (bool, error) {
	f, err := os.Open(lockFile(stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	// Shared, so that two who look do not see each other.
	err = flock(f, syscall.LOCK_SH)
	if errors.Is(err, errLocked) {
		return true, nil
	}
	return false, err
}

var errLocked = errors.New("the lock is held by another process")

func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EWOULDBLOCK):
			return errLocked
		default:
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		}
	}
}

// detached gives a child a session of its own: no terminal's Ctrl-C or hangup
// reaches it, and it outlives its parent.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
