package sshhost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"edgefleet/devices"
	"edgefleet/devices/pool"
)

// maxOutput bounds what a command of a profile may print, in bytes.
const maxOutput = 64 << 10

// result is what a command that ended came to.
type result struct {
	stdout, stderr string
	status         int
	signal         string
}

func (r result) ok() bool { return r.status == 0 && r.signal == "" }

// says is how the command ended, with what it printed about it.
func (r result) says() string {
	how := fmt.Sprintf("ended with status %d", r.status)
	if r.signal != "" {
		how = "was ended by signal " + r.signal
	}
	text := strings.TrimSpace(r.stderr)
	if text == "" {
		text = strings.TrimSpace(r.stdout)
	}
	if text == "" {
		return how + " and printed nothing"
	}
	return how + ": " + excerpt(text)
}

// excerpt keeps the end of a text, where the reason is, in printable form.
func excerpt(text string) string {
	const most = 800
	if len(text) > most {
		text = "..." + text[len(text)-most:]
	}
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}

// errOverflow says that a command printed more than it may.
var errOverflow = errors.New("it printed more than it may")

// bounded keeps the first bytes of a stream, and says when there are more.
type bounded struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	limit int
	over  chan struct{}
	once  sync.Once
}

func newBounded(limit int) *bounded { return &bounded{limit: limit, over: make(chan struct{})} }

func (b *bounded) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	room := b.limit - b.buf.Len()
	if len(p) > room {
		b.buf.Write(p[:max(room, 0)])
		b.once.Do(func() { close(b.over) })
		return 0, errOverflow
	}
	return b.buf.Write(p)
}

func (b *bounded) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// exec runs one command line and returns what it printed and how it ended,
// whatever its exit status is. A command that does not end in time, or prints
// more than limit bytes, costs the connection.
func (c *conn) exec(ctx context.Context, timeout time.Duration, line, stdin string, limit int) (result, *fault) {
	c.line.execs.Add(1)
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	session, err := await(bounded, c, c.client.NewSession)
	if err != nil {
		return result{}, c.sessionFault(ctx, err, timeout)
	}
	stdout, stderr := newBounded(limit), newBounded(maxOutput)
	session.Stdout, session.Stderr = stdout, stderr
	ended := make(chan error, 1)
	c.line.pool.goWait(func() {
		err := c.runSession(session, line, stdin)
		_ = session.Close()
		ended <- err
	})
	var over bool
	select {
	case err = <-ended:
	case <-stdout.over:
		over = true
	case <-stderr.over:
		over = true
	case <-bounded.Done():
		c.drop()
		return result{}, c.sessionFault(ctx, &abandoned{pool.End(bounded)}, timeout)
	}
	if over || errors.Is(err, errOverflow) {
		c.drop()
		return result{}, &fault{kind: devices.Rejected, err: fmt.Errorf("%w, which is %d bytes", errOverflow, limit)}
	}
	r := result{stdout: stdout.text(), stderr: withoutHome(stderr.text())}
	var exit *ssh.ExitError
	if errors.As(err, &exit) {
		r.status, r.signal = exit.ExitStatus(), exit.Signal()
		return r, nil
	}
	if err != nil {
		return result{}, c.sessionFault(ctx, err, timeout)
	}
	return r, nil
}

// runSession runs a command line to its end. That a command does not read all
// of its input is no failure of the line.
func (c *conn) runSession(session *ssh.Session, line, stdin string) error {
	in, err := session.StdinPipe()
	if err != nil {
		return err
	}
	if err := session.Start(line); err != nil {
		return err
	}
	c.line.pool.goWait(func() {
		_, _ = io.WriteString(in, stdin)
		_ = in.Close()
	})
	return session.Wait()
}

// sessionFault says what the failure of a session means. Nothing but a refusal
// of the session is an answer.
func (c *conn) sessionFault(ctx context.Context, err error, timeout time.Duration) *fault {
	var gone *abandoned
	var refused *ssh.OpenChannelError
	switch {
	case c.line.pool.Base().Err() != nil:
		return &fault{lost: true, err: fmt.Errorf("waiting for the answer: %w", ErrClosed)}
	case errors.As(err, &gone) && ctx.Err() != nil:
		return &fault{lost: true, err: fmt.Errorf("waiting for the answer: %w", pool.End(ctx))}
	case errors.As(err, &gone):
		return &fault{kind: devices.Unreachable, lost: true, err: &late{timeout}}
	case strings.HasPrefix(err.Error(), "ssh: command ") && strings.HasSuffix(err.Error(), " failed"):
		// The library has no type for it.
		return &fault{kind: devices.Rejected, err: errors.New("the host refuses to run commands for this log-in; look for a forced command or a restriction of its key")}
	case errors.As(err, &refused):
		return &fault{kind: devices.Busy, err: fmt.Errorf("the host opens no further session on this connection: %w", err)}
	}
	c.drop()
	return &fault{kind: devices.Unreachable, lost: true, err: fmt.Errorf("the connection ended before the answer: %w", err)}
}

// late says that an answer did not come in time; net.Error takes it for a
// time-out.
type late struct{ after time.Duration }

func (l *late) Error() string   { return fmt.Sprintf("no answer within %v", l.after) }
func (l *late) Timeout() bool   { return true }
func (l *late) Temporary() bool { return true }

// quote makes any text one word of a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// commandLine is what a login shell gets for a command: a fixed environment,
// sudo when it is to be root, and every word in quotes.
func commandLine(path string, become bool, args ...string) string {
	words := []string{"exec /usr/bin/env -i PATH=" + quote(path) + " LC_ALL=C HOME=/"}
	if become {
		words = append(words, "sudo -n --")
	}
	for _, a := range args {
		words = append(words, quote(a))
	}
	return strings.Join(words, " ")
}

// run runs a command of the profile. candidate stands for its %s.
func (c *conn) run(ctx context.Context, cmd *devices.HostCommand, candidate string) (result, *fault) {
	args := make([]string, len(cmd.Args))
	for i, a := range cmd.Args {
		args[i] = strings.ReplaceAll(a, "%s", candidate)
	}
	r, f := c.exec(ctx, commandTimeout(cmd), commandLine(c.line.pool.opts.Path, cmd.Become, args...), "", maxOutput)
	if f != nil {
		return r, f
	}
	return r, sudoFault(r, cmd.Become)
}

// withoutHome removes what sshd itself says before each command when the
// log-in has no home directory: it is not the command's.
func withoutHome(stderr string) string {
	if line, rest, ok := strings.Cut(stderr, "\n"); ok && strings.HasPrefix(line, "Could not chdir to home directory ") {
		return rest
	}
	return stderr
}

// sudoFault finds out that it was sudo that said no, and not the command.
func sudoFault(r result, become bool) *fault {
	if become && !r.ok() && strings.HasPrefix(strings.TrimSpace(r.stderr), "sudo: ") {
		return &fault{kind: devices.Auth, err: fmt.Errorf("the log-in may not become root without a password (%s); give it a rule with NOPASSWD in sudoers", excerpt(r.stderr))}
	}
	return nil
}

func commandTimeout(cmd *devices.HostCommand) time.Duration {
	if cmd.Timeout > 0 {
		return cmd.Timeout
	}
	return DefaultCommandTimeout
}
