package opcua

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gopcua/opcua/ua"

	"edgefleet/devices"
)

var _ devices.InstallDriver = (*Driver)(nil)

// OpenInstaller returns a way to install software on a server
// (devices.NodeInstall): by an object of SoftwareUpdateType (OPC 10000-100,
// section 8), or by a file (OPC 10000-20) and methods of the server's own. It
// does not dial.
//
// A file handle is worth something in its session only. So an upload whose
// session was lost begins anew, and its hash is compared before it is committed.
func (d *Driver) OpenInstaller(_ context.Context, ep devices.Endpoint, how devices.Installation) (devices.Installer, error) {
	l, err := d.open(ep)
	if err != nil {
		return nil, err
	}
	refuse := func(err error) (devices.Installer, error) {
		l.Close()
		return nil, l.fail(devices.Unsupported, "install", err)
	}
	if how.OPCUA == nil {
		return refuse(errors.New("the installation is none of an OPC UA server"))
	}
	i := &installer{link: l, how: *how.OPCUA}
	for _, n := range []struct {
		node *devices.NodeAddress
		into *nodeRef
	}{{i.how.Update, &i.update}, {i.how.File, &i.file}} {
		if n.node == nil {
			continue
		}
		if *n.into, err = parseNode(n.node.Namespace, n.node.ID); err != nil {
			return refuse(err)
		}
	}
	if i.how.Update == nil && (i.how.File == nil || i.how.Install == nil) {
		return refuse(errors.New("it has neither an object of SoftwareUpdateType, nor a file and a method that installs it"))
	}
	return i, nil
}

// installer is a link that installs.
type installer struct {
	*link
	how          devices.NodeInstall
	update, file nodeRef
}

const (
	// uploadTries bounds how often an upload begins anew.
	uploadTries = 3
	// lookEach is the longest pause between two looks at a state.
	lookEach = 2 * time.Second
)

// Stage writes the artifact to the server.
func (i *installer) Stage(ctx context.Context, a devices.Artifact, progress func(done int64)) error {
	const op = "bring the patch"
	if i.how.Update != nil {
		if there, err := i.pending(ctx, a); err != nil || there {
			return err
		}
	} else if i.how.Prepare != nil {
		if err := i.method(ctx, "prepare", i.how.Prepare, a); err != nil {
			return err
		}
	}
	var failed error
	for range uploadTries {
		u := &upload{installer: i, artifact: a, progress: progress}
		if failed = u.run(ctx); failed == nil {
			break
		}
		if ctx.Err() != nil || !errors.Is(failed, errOtherSession) && devices.KindOf(failed) != devices.Indeterminate {
			return failed
		}
	}
	if failed != nil {
		// Nothing that runs has changed: it may be tried again.
		return i.fail(devices.Unreachable, op, failed)
	}
	if i.how.Update == nil {
		return nil
	}
	return i.accepted(ctx, a)
}

// accepted waits until the server has the artifact as what is to be installed.
func (i *installer) accepted(ctx context.Context, a devices.Artifact) error {
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, lookEach) {
		there, err := i.pending(ctx, a)
		if err != nil || there {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return i.fail(devices.Rejected, "bring the patch", fmt.Errorf("the server does not have %s as its pending version: %w", a.Version, ctx.Err()))
		case <-timer.C:
		}
		if text, err := i.text(ctx, "Loading", "ErrorMessage"); err == nil && text != "" {
			return i.fail(devices.Rejected, "bring the patch", fmt.Errorf("the server does not accept it: %s", clip(text)))
		}
	}
}

// pending says whether the server has the artifact already, to install it next.
func (i *installer) pending(ctx context.Context, a devices.Artifact) (bool, error) {
	var same bool
	f := i.do(ctx, false, func(c call) *fault {
		version, f := c.valueAt(i.update, "Loading", "PendingVersion", "SoftwareRevision")
		if f != nil {
			return f
		}
		hash, f := c.valueAt(i.update, "Loading", "PendingVersion", "Hash")
		if f != nil {
			return f
		}
		raw, hashed := hash.value.([]byte)
		same = version.value == a.Version && (!hashed || string(raw) == string(a.SHA256[:]))
		return nil
	})
	if f != nil {
		return false, i.verdict("read the pending version", false, f)
	}
	return same, nil
}

// text reads a variable below the update's object, "" where there is none.
func (i *installer) text(ctx context.Context, path ...string) (string, error) {
	var v variant
	f := i.do(ctx, false, func(c call) (f *fault) {
		v, f = c.valueAt(i.update, path...)
		return f
	})
	if f != nil {
		return "", i.verdict("read "+path[len(path)-1], false, f)
	}
	text, _ := v.value.(string)
	return text, nil
}

// Install has the server install what was staged.
func (i *installer) Install(ctx context.Context, a devices.Artifact) error {
	if i.how.Update == nil {
		return i.method(ctx, "install", i.how.Install, a)
	}
	if err := i.prepare(ctx); err != nil {
		return err
	}
	return i.installPackage(ctx, "PendingVersion", a.SHA256[:])
}

// Revert has the server install what it ran before.
func (i *installer) Revert(ctx context.Context) error {
	if i.how.Update == nil {
		return i.method(ctx, "roll back", i.how.Rollback, devices.Artifact{})
	}
	if err := i.prepare(ctx); err != nil {
		return err
	}
	return i.installPackage(ctx, "FallbackVersion", nil)
}

// prepare has a server that asks for it get ready.
func (i *installer) prepare(ctx context.Context) error {
	called := false
	err := i.change(ctx, "prepare for the update", func(c call) *fault {
		machine, f := c.find(i.update, "PrepareForUpdate")
		if f != nil || machine == nil {
			return f
		}
		called = true
		_, f = c.invoke(machine, "Prepare")
		return f.unless(ua.StatusBadInvalidState)
	})
	for wait := 10 * time.Millisecond; err == nil && called; wait = min(2*wait, lookEach) {
		var state string
		if state, err = i.text(ctx, "PrepareForUpdate", "CurrentState"); err != nil || state == "PreparedForUpdate" {
			break
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return i.fail(devices.Busy, "prepare for the update", fmt.Errorf("the server is %q, and was to be prepared: %w", clip(state), ctx.Err()))
		case <-timer.C:
		}
	}
	return err
}

// installPackage installs a version that the server has, by its own words for
// it.
func (i *installer) installPackage(ctx context.Context, which string, hash []byte) error {
	return i.change(ctx, "install the "+which, func(c call) *fault {
		maker, f := c.valueAt(i.update, "Loading", which, "ManufacturerUri")
		if f != nil {
			return f
		}
		version, f := c.valueAt(i.update, "Loading", which, "SoftwareRevision")
		if f != nil {
			return f
		}
		uri, _ := maker.value.(string)
		revision, _ := version.value.(string)
		if revision == "" {
			return &fault{kind: devices.Rejected, err: fmt.Errorf("the server has no %s", which)}
		}
		machine, f := c.need(i.update, "Installation")
		if f != nil {
			return f
		}
		_, f = c.invoke(machine, "InstallSoftwarePackage", uri, revision, []string{}, hash)
		return f
	})
}

// Restart has nothing to do: servers restart by themselves.
func (i *installer) Restart(ctx context.Context) error { return ctx.Err() }

// Check has nothing to ask beyond what the profile's health does.
func (i *installer) Check(ctx context.Context) error { return ctx.Err() }

// Confirm tells the server that the new version is to stay, where it asks.
func (i *installer) Confirm(ctx context.Context) error {
	if i.how.Update == nil {
		if i.how.Confirm == nil {
			return ctx.Err()
		}
		return i.method(ctx, "confirm", i.how.Confirm, devices.Artifact{})
	}
	return i.change(ctx, "confirm the update", func(c call) *fault {
		machine, f := c.find(i.update, "Confirmation")
		if f != nil || machine == nil {
			return f
		}
		_, f = c.invoke(machine, "Confirm")
		return f.unless(ua.StatusBadInvalidState)
	})
}

// method calls a method of the profile, with what it says of the artifact.
func (i *installer) method(ctx context.Context, what string, m *devices.MethodAddress, a devices.Artifact) error {
	filled := *m
	filled.Args = make([]devices.MethodArgument, len(m.Args))
	for n, arg := range m.Args {
		switch arg.Value {
		case devices.ArgumentVersion:
			arg.Value = a.Version
		case devices.ArgumentSHA256:
			arg.Value = a.Digest()
		}
		filled.Args[n] = arg
	}
	op := what + " (" + clip(m.Method) + ")"
	prepared, f := prepareCall(filled)
	if f != nil {
		return i.verdict(op, true, f)
	}
	return i.change(ctx, op, func(c call) *fault {
		answer, f := prepared.run(c)
		if f == nil && answer.status != ua.StatusOK {
			f = &fault{kind: answerKind(answer.status), status: answer.status, err: fmt.Errorf("%w%s", &refused{status: answer.status}, answer.blame(filled.Args))}
		}
		return f
	})
}

// change does something that changes the server, once.
func (i *installer) change(ctx context.Context, op string, operation func(c call) *fault) error {
	if f := i.do(ctx, true, operation); f != nil {
		return i.verdict(op, true, f)
	}
	return nil
}

// unless is no fault where the server's answer was this one.
func (f *fault) unless(status ua.StatusCode) *fault {
	if f != nil && f.status == status {
		return nil
	}
	return f
}
