package sshhost

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"edgefleet/devices"
)

// discard removes the candidates of a change that is not made, when the host
// can still be asked for it. What it cannot remove, the next write does.
func (w *write) discard(ctx context.Context) {
	ctx, cancel := w.outlive(ctx)
	defer cancel()
	for _, j := range w.plan.jobs {
		if j.candidate != "" || j.marked {
			if w.on(ctx, j, "tidy up", (*files).discard) != nil {
				return
			}
		}
	}
}

// outlive returns a context that ends a while after its parent's caller has
// given up, and with the driver.
func (w *write) outlive(ctx context.Context) (context.Context, context.CancelFunc) {
	bound, release := w.pool().Bind(context.WithoutCancel(ctx))
	bound, cancel := context.WithTimeout(bound, w.plan.undoWithin(response(&w.ep)))
	return bound, func() {
		cancel()
		release()
	}
}

// back ends a change that failed: it puts back what was, as far as anything was
// changed and the host still answers, and says in its fault what came of it.
func (w *write) back(ctx context.Context, why *fault) *fault {
	lost := why.lost && why.kind != ""
	if !w.did {
		if !lost {
			w.discard(ctx)
		}
		return why
	}
	if lost {
		return &fault{kind: devices.Indeterminate, err: fmt.Errorf("the change had begun: %w", why.err)}
	}
	restarted := w.restarted
	ctx, cancel := w.outlive(ctx)
	defer cancel()
	if f := w.putBack(ctx); f != nil {
		return &fault{kind: devices.Indeterminate, err: fmt.Errorf("%w; what was before could not be put back: %w", why.err, f.err)}
	}
	what := "what was before has been put back"
	if restarted {
		what += " and restarted"
		if f := w.healthy(ctx); f != nil {
			what += fmt.Sprintf(", and that is not healthy either (%v)", f.err)
		}
	}
	if f := w.unmark(ctx); f != nil {
		return &fault{kind: devices.Indeterminate, err: fmt.Errorf("%w; %s, which could not be noted: %w", why.err, what, f.err)}
	}
	kind := why.kind
	if kind == devices.Unreachable {
		// It says that nothing was sent, which is no longer so.
		kind = devices.Indeterminate
	}
	return &fault{kind: kind, err: fmt.Errorf("%w; %s", why.err, what)}
}

func (w *write) putBack(ctx context.Context) *fault {
	for i := len(w.changed) - 1; i >= 0; i-- {
		j := w.changed[i]
		if !j.committed && j.pending == nil {
			if f := w.on(ctx, j, "tidy up", (*files).discard); f != nil {
				return f
			}
			continue
		}
		if f := w.on(ctx, j, "put back", (*files).restore); f != nil {
			return f
		}
	}
	if f := w.setModes(ctx, func(m planned) string { return w.before[m.index].value }); f != nil {
		return f
	}
	if !w.restarted {
		return nil
	}
	if f := w.restart(ctx); f != nil && (f.lost || f.kind != devices.Rejected) {
		return f
	}
	return nil
}

// setModes sets permissions and owners, in one command for all that need root
// and one for all others.
func (w *write) setModes(ctx context.Context, value func(planned) string) *fault {
	for _, become := range []bool{false, true} {
		s := newScript(w.opts.Path)
		var names []string
		for _, m := range w.modes {
			want := value(m)
			if m.Point.Host.Become != become || want == devices.HostAbsent {
				continue
			}
			mode, owner, _ := strings.Cut(want, " ")
			n := strconv.Itoa(m.index)
			// The owner first: a change of it clears set-user-ID.
			if _, had, _ := strings.Cut(w.before[m.index].value, " "); had != ownerOf(m) {
				s.once("owner "+n, 1024, "run", "chown", "--", owner, m.Point.Host.Path)
				names = append(names, "owner "+n)
			}
			s.once("mode "+n, 1024, "run", "chmod", "--", mode, m.Point.Host.Path)
			names = append(names, "mode "+n)
		}
		if s.empty() {
			continue
		}
		c, f := w.conn(ctx)
		if f != nil {
			return f
		}
		w.did = true
		records, f := c.script(ctx, &w.ep, s, become)
		if f != nil {
			return f
		}
		var wrong []error
		for _, n := range names {
			if r := records[n]; r.word != "0" {
				wrong = append(wrong, fmt.Errorf("%s", excerpt(r.payload)))
			}
		}
		if len(wrong) > 0 {
			return &fault{kind: devices.Rejected, err: errors.Join(wrong...)}
		}
	}
	return nil
}

// ownerOf is the owner that a mode's setting wants.
func ownerOf(m planned) string {
	_, owner, _ := strings.Cut(m.Value.(string), " ")
	return owner
}
