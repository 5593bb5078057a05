package sshhost

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"github.com/pkg/sftp"

	"edgefleet/devices"
)

const (
	// uploadPart is what is sent before it is acknowledged as a whole: little
	// enough for a slow line within one answer's time, and four of SFTP's
	// packets at once for a fast one.
	uploadPart = 128 << 10
	// hashRate is what the slowest host hashes in a second, in bytes.
	hashRate = 2 << 20
	// artifactMode is that of an uploaded artifact.
	artifactMode = 0o640
	partEnding   = ".part"
)

// staging is one upload under way.
type staging struct {
	*write
	artifact devices.Artifact
	how      devices.HostInstall
	progress func(done int64)
}

// part is where the upload stands until it is complete. Its name has the hash,
// so that no upload goes on from the part of another artifact.
func (s *staging) part() string {
	return beside(s.how.Upload, hex.EncodeToString(s.artifact.SHA256[:8])+partEnding)
}

func (s *staging) run(ctx context.Context) *fault {
	there, f := s.has(ctx, s.how.Upload)
	if f != nil {
		return f
	}
	if !there {
		if f := s.upload(ctx); f != nil {
			return f
		}
	}
	s.say(s.artifact.Size)
	return s.verify(ctx)
}

func (s *staging) say(done int64) {
	if s.progress != nil {
		s.progress(done)
	}
}

// has says whether the file is the artifact.
func (s *staging) has(ctx context.Context, name string) (bool, *fault) {
	at, f := sftpDo(ctx, s, "look at "+name, func(f *files) (*attributes, error) { return f.lstat(name) })
	if f != nil || at == nil || at.size != s.artifact.Size {
		return false, f
	}
	return s.hashed(ctx, name)
}

// hashed compares the SHA-256 of a file on the host.
func (s *staging) hashed(ctx context.Context, name string) (bool, *fault) {
	c, f := s.conn(ctx)
	if f != nil {
		return false, f
	}
	within := DefaultCommandTimeout + time.Duration(s.artifact.Size/hashRate)*time.Second
	r, f := c.exec(ctx, within, commandLine(s.opts.Path, s.how.Become, "sha256sum", "--", name), "", maxOutput)
	if f != nil {
		return false, f
	}
	if f := sudoFault(r, s.how.Become); f != nil {
		return false, f
	}
	hash, _, _ := strings.Cut(r.stdout, " ")
	// A name with a special character makes sha256sum begin with a backslash.
	hash = strings.TrimPrefix(hash, `\`)
	if !r.ok() || len(hash) != 2*len(s.artifact.SHA256) {
		return false, &fault{kind: devices.Rejected, err: fmt.Errorf("sha256sum of %s %s", name, r.says())}
	}
	return hash == s.artifact.Digest(), nil
}

// upload brings the artifact to its place. A part that is complete and wrong is
// thrown away, and then the upload is made once more from its beginning.
func (s *staging) upload(ctx context.Context) *fault {
	for again := range 2 {
		if f := s.send(ctx); f != nil {
			return f
		}
		right, f := s.hashed(ctx, s.part())
		if f != nil {
			return f
		}
		if right {
			_, f := sftpDo(ctx, s, "put "+s.how.Upload, func(f *files) (struct{}, error) {
				return struct{}{}, f.replace(s.part(), s.how.Upload)
			})
			return f
		}
		if _, f := sftpDo(ctx, s, "remove "+s.part(), func(f *files) (struct{}, error) {
			return struct{}{}, ignoreAbsent(f.client.Remove(s.part()))
		}); f != nil {
			return f
		}
		if again == 1 {
			break
		}
	}
	return &fault{kind: devices.Rejected, err: fmt.Errorf("what came to the host is not what was sent: its SHA-256 is not %s; look at the host's disk", s.artifact.Digest())}
}

// send writes what the part does not have yet.
func (s *staging) send(ctx context.Context) *fault {
	type opened struct {
		file *sftp.File
		from int64
	}
	o, f := sftpDo(ctx, s, "prepare "+s.part(), func(f *files) (opened, error) {
		from, err := s.prepare(f)
		if err != nil {
			return opened{}, err
		}
		file, err := f.client.OpenFile(s.part(), os.O_WRONLY|os.O_CREATE)
		if err != nil {
			return opened{}, err
		}
		return opened{file, from}, file.Chmod(0o600)
	})
	if f != nil {
		return f
	}
	for at := o.from; at < s.artifact.Size; {
		// Each has its own, because requests that are left behind go on
		// reading what they were given.
		part := make([]byte, min(uploadPart, s.artifact.Size-at))
		if n, err := s.artifact.Content.ReadAt(part, at); n < len(part) {
			return &fault{err: fmt.Errorf("read the artifact: %w", err)}
		}
		if _, f := sftpDo(ctx, s, "write "+s.part(), func(*files) (int, error) { return o.file.WriteAt(part, at) }); f != nil {
			return f
		}
		at += int64(len(part))
		s.say(at)
	}
	_, f = sftpDo(ctx, s, "complete "+s.part(), func(f *files) (struct{}, error) { return struct{}{}, s.complete(f, o.file) })
	return f
}

// prepare returns where the upload goes on. Each part was acknowledged before
// the next was sent, so only the last one that was begun may have holes.
func (s *staging) prepare(f *files) (from int64, err error) {
	if err := s.tidy(f); err != nil {
		return 0, err
	}
	at, err := f.lstat(s.part())
	if err != nil {
		return 0, err
	}
	if at != nil && at.size > s.artifact.Size {
		if err := ignoreAbsent(f.client.Remove(s.part())); err != nil {
			return 0, err
		}
		at = nil
	}
	if at != nil && at.size > 0 {
		from = (at.size - 1) / uploadPart * uploadPart
	}
	space, err := f.client.StatVFS(path.Dir(s.how.Upload))
	if err == nil && space.Bavail*space.Bsize < uint64(s.artifact.Size-from) {
		return 0, refuse("the file system has %d bytes left, and %d are to come", space.Bavail*space.Bsize, s.artifact.Size-from)
	}
	return from, nil
}

// tidy removes parts of other artifacts, which nobody will go on with.
func (s *staging) tidy(f *files) error {
	entries, err := f.client.ReadDir(path.Dir(s.how.Upload))
	if err != nil {
		return err
	}
	head := path.Base(beside(s.how.Upload, ""))
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, head) && strings.HasSuffix(name, partEnding) && name != path.Base(s.part()) && e.Mode().IsRegular() {
			if err := ignoreAbsent(f.client.Remove(path.Join(path.Dir(s.how.Upload), name))); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *staging) complete(f *files, file *sftp.File) error {
	err := file.Chmod(artifactMode)
	if _, ok := f.client.HasExtension("fsync@openssh.com"); ok && err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// verify has the profile's command accept the artifact. One that is refused is
// removed, so that nothing installs it by mistake.
func (s *staging) verify(ctx context.Context) *fault {
	cmd := s.how.Verify
	if cmd == nil {
		return nil
	}
	c, f := s.conn(ctx)
	if f != nil {
		return f
	}
	r, f := c.run(ctx, cmd, s.how.Upload)
	switch {
	case f != nil:
		return s.slow(cmd, f)
	case r.status == 127 || r.status == 126:
		return &fault{kind: devices.Unsupported, err: fmt.Errorf("the host cannot run %q, which %s", cmd.Name, r.says())}
	case r.ok():
		return nil
	}
	_, f = sftpDo(ctx, s, "remove "+s.how.Upload, func(f *files) (struct{}, error) {
		return struct{}{}, ignoreAbsent(f.client.Remove(s.how.Upload))
	})
	refused := &fault{kind: devices.Rejected, err: fmt.Errorf("%q refused the patch and %s", cmd.Name, r.says())}
	if f != nil {
		refused.err = errors.Join(refused.err, f)
	}
	return refused
}

// sftpDo makes requests of the file session with the rights that the artifact
// needs.
func sftpDo[T any](ctx context.Context, s *staging, what string, requests func(*files) (T, error)) (T, *fault) {
	f, fault := s.files(ctx, s.how.Become)
	if fault != nil {
		var none T
		return none, fault
	}
	return doFor(ctx, f, what, func() (T, error) { return requests(f) })
}
