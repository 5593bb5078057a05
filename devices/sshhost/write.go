package sshhost

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"edgefleet/devices"
	"edgefleet/devices/pool"
)

// Write makes the settings true, and does nothing about those that are.
//
// All files come first, as one change: candidates are uploaded beside the
// files and validated; then they replace the files, modes are set, each restart
// is run once, and each health check has to succeed. When anything of that
// fails, the files and modes from before are put back and, if a restart was
// run, it is run again: the error then has kind Rejected and the host is as it
// was. The same is done when the caller gives up in between. After that come
// services and commands, one by one.
//
// Only a connection that is lost after a first file was replaced leaves
// something open: kind Indeterminate. The host then has whole files, and the
// next write completes the change or makes another.
//
// WriteWithin says how long that may take. A caller whose context ends waits for
// what was to be put back: for as long as the files, the restart and the health
// check may take once more.
func (l *link) Write(ctx context.Context, settings []devices.Setting) error {
	plan, f := planWrite(settings)
	names := make([]devices.Point, len(settings))
	for i, s := range settings {
		names[i] = s.Point
	}
	op := "write " + pointNames(names)
	if f != nil {
		return l.verdict(op, f)
	}
	done, err := l.Begin()
	if err != nil {
		return l.verdict(op, &fault{err: err})
	}
	defer done()
	asked := time.Now()
	bound, release := l.Line.pool.Bind(ctx)
	defer release()
	if l.Line.writing.Acquire(bound, 1) != nil {
		return l.verdict(op, &fault{err: fmt.Errorf("waiting for another write: %w", pool.End(bound))})
	}
	defer l.Line.writing.Release(1)
	w := &write{link: l, plan: plan, asked: asked, sessions: map[bool]*files{}, before: make([]found, len(settings))}
	defer w.giveBack()
	if f := w.run(bound); f != nil {
		return l.verdict(op, f)
	}
	return nil
}

// write is one call of Write.
type write struct {
	*link
	plan  *plan
	asked time.Time
	// before is what each setting was, by its place in the call.
	before []found

	c        *conn
	sessions map[bool]*files
	// changed are the jobs that change their file, or complete a change.
	changed []*job
	modes   []planned
	// did says that something on the host is no longer as it was; restarted
	// that a restart may have been run.
	did, restarted bool
}

// conn returns the connection of the write, a fresh one when a command that did
// not end has cost the last one.
func (w *write) conn(ctx context.Context) (*conn, *fault) {
	if w.c != nil {
		w.pool().mu.Lock()
		good := !w.c.retired
		w.pool().mu.Unlock()
		if good {
			return w.c, nil
		}
		w.giveBack()
	}
	c, _, f := w.Line.take(ctx, &w.ep, w.signer, w.asked)
	if f != nil {
		return nil, f
	}
	w.c = c
	return c, nil
}

func (w *write) pool() *lines { return w.Line.pool }

func (w *write) giveBack() {
	for _, f := range w.sessions {
		f.close()
	}
	clear(w.sessions)
	if w.c != nil {
		w.c.release()
		w.c = nil
	}
}

// files returns the file session with the rights that the path needs.
func (w *write) files(ctx context.Context, become bool) (*files, *fault) {
	c, f := w.conn(ctx)
	if f != nil {
		return nil, f
	}
	if s := w.sessions[become]; s != nil {
		return s, nil
	}
	s, f := c.files(ctx, &w.ep, become)
	if f != nil {
		return nil, f
	}
	w.sessions[become] = s
	return s, nil
}

// on makes requests about a job's file. They work on a copy of the job, which
// counts when there was an answer: requests that are left behind may go on.
func (w *write) on(ctx context.Context, j *job, what string, requests func(*files, *job) error) *fault {
	s, f := w.files(ctx, j.become)
	if f != nil {
		return f
	}
	mine := *j
	done, f := doFor(ctx, s, what+" "+j.path, func() (*job, error) {
		err := requests(s, &mine)
		return &mine, err
	})
	if done != nil {
		*j = *done
	}
	return f
}

func (w *write) run(ctx context.Context) *fault {
	if f := w.look(ctx); f != nil {
		return f
	}
	if f := w.prepare(ctx); f != nil {
		return w.back(ctx, f)
	}
	if len(w.changed)+len(w.modes) > 0 {
		if f := w.change(ctx); f != nil {
			return w.back(ctx, f)
		}
	}
	return w.rest(ctx)
}

// look reads the settings as they are. Nothing has been sent yet, so an idle
// connection that turns out to be closed is opened again.
func (w *write) look(ctx context.Context) *fault {
	if len(w.plan.watch) == 0 {
		return nil
	}
	states, f := []found(nil), (*fault)(nil)
	for range maxTries {
		var c *conn
		if c, f = w.conn(ctx); f != nil {
			return f
		}
		states, f = c.read(ctx, &w.ep, w.plan.watch)
		var slow *late
		if f == nil || !f.lost || f.kind == "" || errors.As(f.err, &slow) {
			break
		}
	}
	if f != nil {
		return f
	}
	for i, place := range w.plan.place {
		w.before[place] = states[i]
	}
	for _, m := range w.plan.modes {
		was := w.before[m.index].value
		switch {
		case was == m.Value:
		case m.Value == devices.HostAbsent:
			return &fault{kind: devices.Unsupported, err: fmt.Errorf("%s: a mode cannot be removed", m.Point.Name)}
		default:
			w.modes = append(w.modes, m)
		}
	}
	return nil
}

// prepare uploads and validates all candidates.
func (w *write) prepare(ctx context.Context) *fault {
	for _, j := range w.plan.jobs {
		j.candidate = unpredictable(j.path)
		if f := w.on(ctx, j, "prepare", (*files).prepare); f != nil {
			return f
		}
		if !j.changes() && j.pending == nil {
			continue
		}
		w.changed = append(w.changed, j)
		v := j.address.Validate
		if j.candidate == "" || v == nil {
			continue
		}
		c, f := w.conn(ctx)
		if f != nil {
			return f
		}
		r, f := c.run(ctx, v, j.candidate)
		switch {
		case f != nil:
			return w.slow(v, f)
		case r.status == 127 || r.status == 126:
			return &fault{kind: devices.Unsupported, err: fmt.Errorf("%s was not replaced: the host cannot run %q, which %s", j.path, v.Name, r.says())}
		case !r.ok():
			return &fault{kind: devices.Rejected, err: fmt.Errorf("%s was not replaced: %q refused its new content and %s", j.path, v.Name, r.says())}
		}
	}
	return nil
}

// slow is the fault of a command: one that does not end in time is the
// command's failure, and none of the line.
func (w *write) slow(cmd *devices.HostCommand, f *fault) *fault {
	var late *late
	if errors.As(f.err, &late) {
		return &fault{kind: devices.Rejected, err: fmt.Errorf("%q did not end within %v", cmd.Name, commandTimeout(cmd))}
	}
	if f.kind == "" {
		return f
	}
	g := *f
	g.err = fmt.Errorf("%q: %w", cmd.Name, f.err)
	return &g
}

// change replaces the files and does what belongs to it.
func (w *write) change(ctx context.Context) *fault {
	for _, j := range w.changed {
		j.marked = j.marked || j.watched()
		if f := w.on(ctx, j, "keep", func(s *files, j *job) error { return s.keep(j, w.opts.Generations, w.before) }); f != nil {
			return f
		}
	}
	for _, j := range w.changed {
		if !j.changes() {
			w.did = true
			continue
		}
		// Only an answer says that it was not.
		j.committed = true
		f := w.on(ctx, j, "replace", (*files).commit)
		w.did = w.did || j.committed
		if f != nil {
			return f
		}
	}
	if f := w.verifyFiles(ctx); f != nil {
		return f
	}
	if f := w.setModes(ctx, func(m planned) string { return m.Value.(string) }); f != nil {
		return f
	}
	if f := w.restart(ctx); f != nil {
		return f
	}
	if f := w.healthy(ctx); f != nil {
		return f
	}
	return w.unmark(ctx)
}

func (w *write) unmark(ctx context.Context) *fault {
	for _, j := range w.changed {
		if !j.marked {
			continue
		}
		if f := w.on(ctx, j, "complete the change of", (*files).unmark); f != nil {
			return f
		}
	}
	return nil
}

// verifyFiles compares the hashes of what is on the host's disk with those of
// what was wanted.
func (w *write) verifyFiles(ctx context.Context) *fault {
	for _, become := range []bool{false, true} {
		s := newScript(w.opts.Path)
		for i, j := range w.changed {
			if j.become == become && j.changes() {
				sumLine(s, strconv.Itoa(i), j.path)
			}
		}
		if s.empty() {
			continue
		}
		c, f := w.conn(ctx)
		if f != nil {
			return f
		}
		records, f := c.script(ctx, &w.ep, s, become)
		if f != nil {
			return f
		}
		for i, j := range w.changed {
			if j.become != become || !j.changes() {
				continue
			}
			sum := sha256.Sum256([]byte(j.want))
			got := records[strconv.Itoa(i)]
			hash, _, _ := strings.Cut(got.payload, " ")
			if right := got.word == "0" && hash == hex.EncodeToString(sum[:]); right && !j.gone || j.gone && got.word == "absent" {
				continue
			}
			return &fault{kind: devices.Rejected, err: fmt.Errorf("%s does not have the content that was written (%s %.80q)", j.path, got.word, excerpt(got.payload))}
		}
	}
	return nil
}

// restart runs each restart once.
func (w *write) restart(ctx context.Context) *fault {
	for _, cmd := range handlers(w.changed, func(a *devices.HostAddress) *devices.HostCommand { return a.Restart }) {
		c, f := w.conn(ctx)
		if f != nil {
			return f
		}
		w.restarted = true
		r, f := c.run(ctx, cmd, "")
		if f != nil {
			return w.slow(cmd, f)
		}
		if !r.ok() {
			return &fault{kind: devices.Rejected, err: fmt.Errorf("%q %s", cmd.Name, r.says())}
		}
	}
	return nil
}

// healthy asks each health check until it succeeds or its time is over.
func (w *write) healthy(ctx context.Context) *fault {
	for _, cmd := range handlers(w.changed, func(a *devices.HostAddress) *devices.HostCommand { return a.Health }) {
		within := healthWithin(cmd)
		deadline := time.Now().Add(within)
		for interval := 100 * time.Millisecond; ; interval = min(2*interval, 2*time.Second) {
			f := w.checkHealth(ctx, cmd, deadline)
			if f == nil {
				break
			}
			if f.lost || f.kind != devices.Rejected {
				return f
			}
			if time.Now().Add(interval).After(deadline) {
				return &fault{kind: devices.Rejected, err: fmt.Errorf("not healthy within %v: %w", within, f.err)}
			}
			if pause(ctx, interval) != nil {
				return &fault{err: fmt.Errorf("waiting for it to be healthy: %w", pool.End(ctx))}
			}
		}
	}
	return nil
}

func (w *write) checkHealth(ctx context.Context, cmd *devices.HostCommand, deadline time.Time) *fault {
	c, f := w.conn(ctx)
	if f != nil {
		return f
	}
	one := *cmd
	one.Timeout = max(min(commandTimeout(cmd), time.Until(deadline)), time.Second)
	r, f := c.run(ctx, &one, "")
	if f != nil {
		return w.slow(&one, f)
	}
	if !r.ok() {
		return &fault{kind: devices.Rejected, err: fmt.Errorf("%q %s", cmd.Name, r.says())}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
