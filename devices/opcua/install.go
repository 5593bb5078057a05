package opcua

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/gopcua/opcua/id"
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
	// uploadPart is what one Write carries.
	uploadPart = 8 << 10
	// uploadTries bounds how often an upload begins anew.
	uploadTries = 3
	// openForWriting is the mode of Open: write, and erase what is there.
	openForWriting byte = 2 | 4
	// pendingVersion selects the version that is to be installed next, of
	// SoftwareVersionFileType.
	pendingVersion int32 = 1
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

// errOtherSession says that a file handle is worth nothing any more.
var errOtherSession = errors.New("the session in which the file was opened is gone")

// upload is one try at writing an artifact, in one session.
type upload struct {
	*installer
	artifact devices.Artifact
	progress func(done int64)

	session  *session
	transfer *ua.NodeID // the FileTransfer, or nil
	node     *ua.NodeID
	write    *ua.NodeID
	handle   uint32
}

func (u *upload) run(ctx context.Context) error {
	if err := u.change(ctx, "open the file", u.open); err != nil {
		return err
	}
	hash := sha256.New()
	for at := int64(0); at < u.artifact.Size; {
		part := make([]byte, min(uploadPart, u.artifact.Size-at))
		if n, err := u.artifact.Content.ReadAt(part, at); n < len(part) {
			return fmt.Errorf("%s: read the artifact: %w", name(u.ep), err)
		}
		_, _ = hash.Write(part)
		if err := u.change(ctx, "write the file", func(c call) *fault {
			_, f := u.in(c, func() ([]variant, *fault) { return c.run(u.node, u.write, u.handle, part) })
			return f
		}); err != nil {
			return err
		}
		at += int64(len(part))
		if u.progress != nil {
			u.progress(at)
		}
	}
	if [32]byte(hash.Sum(nil)) != u.artifact.SHA256 {
		// It is not committed: the server forgets it with the session.
		return u.fail(devices.Rejected, "write the file", errors.New("the artifact was changed while it was sent"))
	}
	return u.change(ctx, "commit the file", func(c call) *fault {
		_, f := u.in(c, func() ([]variant, *fault) {
			if u.transfer != nil {
				return c.invoke(u.transfer, "CloseAndCommit", u.handle)
			}
			return c.invoke(u.node, "Close", u.handle)
		})
		return f
	})
}

// open opens the file, and keeps what the session knows it by.
func (u *upload) open(c call) *fault {
	u.session = c.session
	var answer []variant
	var f *fault
	if u.how.Update != nil {
		if u.transfer, f = c.need(u.update, "Loading", "FileTransfer"); f != nil {
			return f
		}
		if answer, f = c.invoke(u.transfer, "GenerateFileForWrite", pendingVersion); f != nil {
			return f
		}
		if len(answer) > 0 {
			u.node, _ = answer[0].value.(*ua.NodeID)
			answer = answer[1:]
		}
	} else {
		nodes, f := c.resolve([]nodeRef{u.file})
		if f != nil {
			return f.onlyAsked()
		}
		u.node = nodes[0]
		if answer, f = c.invoke(u.node, "Open", openForWriting); f != nil {
			return f
		}
	}
	handle, ok := uint32(0), len(answer) > 0 && u.node != nil
	if ok {
		handle, ok = answer[0].value.(uint32)
	}
	if !ok {
		return &fault{kind: devices.Rejected, err: errors.New("the server opened a file, and does not say by which handle")}
	}
	u.handle = handle
	if u.write, f = c.child(u.node, "Write"); f == nil && u.write == nil {
		f = &fault{kind: devices.Unsupported, err: errors.New("the file cannot be written")}
	}
	return f
}

// in does something with the file's handle, if this is still its session.
func (u *upload) in(c call, do func() ([]variant, *fault)) ([]variant, *fault) {
	if c.session != u.session {
		return nil, &fault{kind: devices.Unreachable, err: errOtherSession}
	}
	return do()
}

// child returns the component or property of that name, or nil.
func (c call) child(of *ua.NodeID, browseName string) (*ua.NodeID, *fault) {
	const most = 200
	found, f := c.references(of, ua.BrowseDirectionForward, id.HierarchicalReferences, most)
	if f != nil {
		return nil, f.onlyAsked()
	}
	for _, r := range found {
		if r.browse == browseName && !r.remote && r.uri == "" {
			return r.id, nil
		}
	}
	return nil, nil
}

// find returns what stands at a path of names below a node, or nil.
func (c call) find(from nodeRef, path ...string) (*ua.NodeID, *fault) {
	nodes, f := c.resolve([]nodeRef{from})
	if f != nil {
		return nil, f.onlyAsked()
	}
	at := nodes[0]
	for _, step := range path {
		if at, f = c.child(at, step); f != nil || at == nil {
			return nil, f
		}
	}
	return at, nil
}

// need is find for what has to be there.
func (c call) need(from nodeRef, path ...string) (*ua.NodeID, *fault) {
	at, f := c.find(from, path...)
	if f == nil && at == nil {
		f = &fault{kind: devices.Unsupported, err: fmt.Errorf("the server has no %v below %s", path, from.text)}
	}
	return at, f
}

// valueAt reads the variable at a path, and nothing where there is none.
func (c call) valueAt(from nodeRef, path ...string) (variant, *fault) {
	at, f := c.find(from, path...)
	if f != nil || at == nil {
		return variant{}, f
	}
	values, f := c.read([]*ua.NodeID{at}, ua.AttributeIDValue)
	if f != nil {
		return variant{}, f.onlyAsked()
	}
	if bad(values[0].status) {
		return variant{}, nil
	}
	return values[0].variant, nil
}

// invoke calls the method of that name of an object.
func (c call) invoke(object *ua.NodeID, method string, inputs ...any) ([]variant, *fault) {
	node, f := c.child(object, method)
	if f != nil {
		return nil, f
	}
	if node == nil {
		return nil, &fault{kind: devices.Unsupported, err: fmt.Errorf("the server has no method %s there", method)}
	}
	return c.run(object, node, inputs...)
}

// run calls a method once, with inputs in their exact types.
func (c call) run(object, method *ua.NodeID, inputs ...any) ([]variant, *fault) {
	request := &ua.CallMethodRequest{ObjectID: object, MethodID: method}
	for _, in := range inputs {
		v, err := ua.NewVariant(in)
		if err != nil {
			return nil, &fault{kind: devices.Unsupported, err: err}
		}
		request.InputArguments = append(request.InputArguments, v)
	}
	var answer called
	f := c.query(c.ctx, c.timeout, &ua.CallRequest{MethodsToCall: []*ua.CallMethodRequest{request}}, func(r *reader) { answer = r.called() })
	if f == nil && answer.status != ua.StatusOK {
		f = &fault{kind: answerKind(answer.status), status: answer.status, err: &refused{status: answer.status}}
	}
	return answer.outputs, f
}
