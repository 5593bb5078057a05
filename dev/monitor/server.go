package monitor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// pollEvery is how often readiness is asked for.
const pollEvery = 50 * time.Millisecond

// Server is a program that runs as a child of this process.
type Server struct {
	title, addr, logPath string
	stopTimeout          time.Duration

	cmd      *exec.Cmd
	lifeline io.Closer // the supervisor ends the program when this closes
	done     chan struct{}
	waitErr  error // set when done is closed

	mu       sync.Mutex
	stopping bool
	stopOnce sync.Once
	stopErr  error
}

// EarlyExitError says that a program ended when nobody asked it to.
type EarlyExitError struct {
	Title   string
	Status  string
	LogPath string
	// LastLines is the end of its log.
	LastLines []string
}

func (e *EarlyExitError) Error() string {
	said := "it logged nothing"
	if len(e.LastLines) > 0 {
		said = "its last words were\n  " + strings.Join(e.LastLines, "\n  ")
	}
	return fmt.Sprintf("%s ended by itself (%s); its log is %s, %s", e.Title, e.Status, e.LogPath, said)
}

func (e *EarlyExitError) portTaken() bool {
	return strings.Contains(strings.Join(e.LastLines, "\n"), "address already in use")
}

// startServer runs the program under a supervisor and waits until it is ready.
func startServer(ctx context.Context, p program, addr, file string, args []string, logPath string) (*Server, error) {
	s := &Server{
		title: p.title, addr: addr, logPath: logPath, stopTimeout: p.common.StopTimeout,
		done: make(chan struct{}),
	}
	if err := s.spawn(file, args); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.title, err)
	}
	ctx, cancel := context.WithTimeout(ctx, p.common.StartTimeout)
	defer cancel()
	if err := s.awaitReady(ctx); err != nil {
		_ = s.Stop()
		return nil, err
	}
	return s, nil
}

func (s *Server) spawn(file string, args []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	// The log of the run before is the one that tells what went wrong.
	if err := os.Rename(s.logPath, s.logPath+".old"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	log, err := os.OpenFile(s.logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the child has its own
	s.cmd = exec.Command(self, append([]string{file}, args...)...)
	s.cmd.Env = append(os.Environ(), supervisorEnv+"="+s.stopTimeout.String())
	s.cmd.Dir = filepath.Dir(s.logPath)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	ownGroup(s.cmd)
	if s.lifeline, err = s.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	go func() {
		s.waitErr = s.cmd.Wait()
		close(s.done)
	}()
	return nil
}

// awaitReady asks until the program says that it is ready.
func (s *Server) awaitReady(ctx context.Context) error {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 2 * time.Second}
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		select {
		case <-s.done:
			return s.early()
		case <-ctx.Done():
			return fmt.Errorf("%s was not ready in time (%w); its log is %s", s.title, ctx.Err(), s.logPath)
		case <-ticker.C:
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL()+"/-/ready", nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			continue
		}
		_ = response.Body.Close()
		if response.StatusCode == http.StatusOK {
			return nil
		}
	}
}

// Addr is the host:port that the program listens on.
func (s *Server) Addr() string { return s.addr }

// URL is the program's page, without a slash at the end.
func (s *Server) URL() string { return "http://" + s.addr }

// LogPath is the file with everything that the program printed.
func (s *Server) LogPath() string { return s.logPath }

// Done is closed when the program has ended, for whatever reason.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err is an *EarlyExitError once the program has ended without being asked to,
// and nil otherwise.
func (s *Server) Err() error {
	select {
	case <-s.done:
	default:
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return nil
	}
	return s.early()
}

func (s *Server) early() error {
	status := "exit status 0"
	if s.waitErr != nil {
		status = s.waitErr.Error()
	}
	return &EarlyExitError{Title: s.title, Status: status, LogPath: s.logPath, LastLines: lastLines(s.logPath)}
}

// Stop asks the program to end, and kills it after the stop timeout. It may be
// called more than once; later calls return what the first did.
func (s *Server) Stop() error {
	s.stopOnce.Do(func() {
		s.mu.Lock()
		select {
		case <-s.done: // it ended before, and Err goes on to say so
		default:
			s.stopping = true
		}
		s.mu.Unlock()
		_ = s.lifeline.Close()
		// The supervisor kills the program after the stop timeout; what
		// remains then is a supervisor that doesn't do its work.
		timer := time.NewTimer(s.stopTimeout + 2*time.Second)
		defer timer.Stop()
		select {
		case <-s.done:
		case <-timer.C:
			killGroup(s.cmd)
			<-s.done
			s.stopErr = fmt.Errorf("%s didn't stop within %s and was killed", s.title, s.stopTimeout)
		}
	})
	return s.stopErr
}

// lastLines returns up to 8 lines from the end of a log.
func lastLines(path string) []string {
	const most, window = 8, 8 << 10
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, size-window), io.SeekStart)
	}
	tail, err := io.ReadAll(f)
	tail = bytes.TrimSpace(tail)
	if err != nil || len(tail) == 0 {
		return nil
	}
	lines := strings.Split(string(tail), "\n")
	return lines[max(0, len(lines)-most):]
}
