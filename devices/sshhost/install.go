package sshhost

import (
	"context"
	"errors"
	"fmt"
	"time"

	"edgefleet/devices"
	"edgefleet/devices/pool"
)

var _ devices.InstallDriver = (*Driver)(nil)

// OpenInstaller returns a way to install software on a host, as the profile says
// (devices.HostInstall); it does not dial.
//
// The artifact is uploaded beside the place where it belongs, under a name that
// is made of its hash, in parts that are each acknowledged before the next. What
// a killed attempt has left is gone on from. When it is complete and on the
// host's disk, its SHA-256 is compared there, and it takes the place's name at
// once: under that name there is never half of an artifact.
func (d *Driver) OpenInstaller(_ context.Context, ep devices.Endpoint, how devices.Installation) (devices.Installer, error) {
	l, err := d.open(ep)
	if err != nil {
		return nil, err
	}
	if how.Host == nil {
		l.Close()
		return nil, l.fail(devices.Unsupported, "install", errors.New("the installation is none of a Linux host"))
	}
	if err := how.Host.Check(); err != nil {
		l.Close()
		return nil, l.fail(devices.Unsupported, "install", err)
	}
	return &installer{link: l, how: *how.Host}, nil
}

// installer is a link that installs.
type installer struct {
	*link
	how devices.HostInstall
}

// Stage uploads the artifact, compares its SHA-256 on the host, and has the
// profile's verification accept it.
func (i *installer) Stage(ctx context.Context, a devices.Artifact, progress func(done int64)) error {
	return i.writing(ctx, "bring "+i.how.Upload, func(ctx context.Context, w *write) *fault {
		s := &staging{write: w, artifact: a, how: i.how, progress: progress}
		return s.run(ctx)
	})
}

// Install runs the command that installs. When its end is not known, the error
// has kind Indeterminate: it may run on.
func (i *installer) Install(ctx context.Context, _ devices.Artifact) error {
	return i.effect(ctx, "install", i.how.Install)
}

// Restart runs the profile's restart, if it has one.
func (i *installer) Restart(ctx context.Context) error {
	return i.effect(ctx, "restart", i.how.Restart)
}

// Revert runs the command that brings back what ran before.
func (i *installer) Revert(ctx context.Context) error {
	return i.effect(ctx, "roll back", i.how.Rollback)
}

// Check runs the profile's health check once, if it has one.
func (i *installer) Check(ctx context.Context) error {
	if i.how.Health == nil {
		return ctx.Err()
	}
	_, f := ask(ctx, i.link, func(ctx context.Context, c *conn) (struct{}, *fault) {
		r, f := c.run(ctx, i.how.Health, "")
		if f == nil && !r.ok() {
			f = &fault{kind: devices.Rejected, err: fmt.Errorf("%q %s", i.how.Health.Name, r.says())}
		}
		return struct{}{}, f
	})
	if f != nil {
		return i.verdict("check what is installed", f)
	}
	return nil
}

// Confirm has nothing to do: a host keeps what it was given.
func (i *installer) Confirm(ctx context.Context) error { return ctx.Err() }

// effect runs a command that changes the host, once.
func (i *installer) effect(ctx context.Context, what string, cmd *devices.HostCommand) error {
	if cmd == nil {
		return ctx.Err()
	}
	op := fmt.Sprintf("%s (%q)", what, cmd.Name)
	return i.writing(ctx, op, func(ctx context.Context, w *write) *fault {
		c, f := w.conn(ctx)
		if f != nil {
			return f
		}
		r, f := c.run(ctx, cmd, i.how.Upload)
		switch {
		case f != nil && f.lost:
			return &fault{kind: devices.Indeterminate, err: f.err}
		case f != nil:
			return f
		case r.status == 127 || r.status == 126:
			return &fault{kind: devices.Unsupported, err: fmt.Errorf("the host cannot run it: it %s", r.says())}
		case !r.ok():
			return &fault{kind: devices.Rejected, err: fmt.Errorf("it %s", r.says())}
		}
		return nil
	})
}

// writing does something as the one who writes to the host, on a connection
// that was just found to be alive: an idle one that turns out to be closed must
// not look as if the step was begun.
func (i *installer) writing(ctx context.Context, op string, do func(context.Context, *write) *fault) error {
	if err := i.Ping(ctx); err != nil {
		return err
	}
	done, err := i.Begin()
	if err != nil {
		return i.verdict(op, &fault{err: err})
	}
	defer done()
	asked := time.Now()
	bound, release := i.Line.pool.Bind(ctx)
	defer release()
	if i.Line.writing.Acquire(bound, 1) != nil {
		return i.verdict(op, &fault{err: fmt.Errorf("waiting for another write: %w", pool.End(bound))})
	}
	defer i.Line.writing.Release(1)
	w := &write{link: i.link, asked: asked, sessions: map[bool]*files{}}
	defer w.giveBack()
	if f := do(bound, w); f != nil {
		return i.verdict(op, f)
	}
	return nil
}
