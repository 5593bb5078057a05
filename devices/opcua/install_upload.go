package opcua

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/gopcua/opcua/ua"

	"edgefleet/devices"
)

const (
	// uploadPart is what one Write carries.
	uploadPart = 8 << 10
	// openForWriting is the mode of Open: write, and erase what is there.
	openForWriting byte = 2 | 4
	// pendingVersion selects the version that is to be installed next, of
	// SoftwareVersionFileType.
	pendingVersion int32 = 1
)

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
