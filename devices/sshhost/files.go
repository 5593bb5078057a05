package sshhost

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"edgefleet/devices"
)

// files is a file session on a connection. SFTP alone would have the rights of
// the log-in, so for root it is the same server, run by sudo.
type files struct {
	c       *conn
	client  *sftp.Client
	session *ssh.Session
	timeout time.Duration
	// noLinks keeps earlier contents as copies, for file systems that have no
	// hard links.
	noLinks bool
}

// rootServer runs the first SFTP server that is found where the distributions
// have it: Debian, Fedora, SUSE and Arch, OpenWrt.
const rootServer = `for s in /usr/lib/openssh/sftp-server /usr/libexec/openssh/sftp-server /usr/lib/ssh/sftp-server /usr/libexec/sftp-server; do [ -x "$s" ] && exec "$s"; done; echo "no sftp-server was found" >&2; exit 127`

// files opens a file session.
func (c *conn) files(ctx context.Context, ep *devices.Endpoint, become bool) (*files, *fault) {
	c.line.execs.Add(1)
	f := &files{c: c, timeout: response(ep)}
	bounded, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	stderr := newBounded(4096)
	client, err := await(bounded, c, func() (*sftp.Client, error) {
		session, err := c.client.NewSession()
		if err != nil {
			return nil, err
		}
		session.Stderr = stderr
		in, err := session.StdinPipe()
		if err != nil {
			return nil, err
		}
		out, err := session.StdoutPipe()
		if err != nil {
			return nil, err
		}
		if become {
			err = session.Start(commandLine(c.line.pool.opts.Path, true, "/bin/sh", "-c", rootServer))
		} else {
			err = session.RequestSubsystem("sftp")
		}
		if err != nil {
			_ = session.Close()
			return nil, &noServer{err}
		}
		f.session = session
		client, err := sftp.NewClientPipe(out, in, sftp.UseConcurrentWrites(true))
		if err != nil {
			// The reason is on its way; it ends with the session.
			_ = session.Wait()
			_ = session.Close()
			return nil, &noServer{err}
		}
		return client, nil
	})
	var none *noServer
	switch {
	case errors.As(err, &none):
		said := withoutHome(stderr.text())
		if f := sudoFault(result{status: 1, stderr: said}, become); f != nil {
			return nil, f
		}
		if said == "" && lostErr(none.err) && !strings.Contains(none.Error(), "subsystem request failed") {
			return nil, c.sessionFault(ctx, none.err, f.timeout)
		}
		return nil, &fault{kind: devices.Unsupported, err: fmt.Errorf("the host has no file transfer (SFTP): %w %s", none.err, excerpt(said))}
	case err != nil:
		return nil, c.sessionFault(ctx, err, f.timeout)
	}
	f.client = client
	if _, ok := client.HasExtension("posix-rename@openssh.com"); !ok {
		f.close()
		return nil, &fault{kind: devices.Unsupported, err: errors.New("the host's SFTP server cannot replace a file at once (posix-rename@openssh.com); use OpenSSH's")}
	}
	return f, nil
}

// noServer says that the session is there, and the SFTP server is not.
type noServer struct{ err error }

func (n *noServer) Error() string { return n.err.Error() }
func (n *noServer) Unwrap() error { return n.err }

// close ends the session without waiting for the host's goodbye.
func (f *files) close() {
	f.c.line.pool.goWait(func() {
		_ = f.session.Close()
		_ = f.client.Close()
	})
}

// doFor makes requests of the file session. A fault with lost says that it is
// not known whether the last of them was done; the value is then nothing when
// the requests were left behind.
func doFor[T any](ctx context.Context, f *files, what string, requests func() (T, error)) (T, *fault) {
	bounded, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	v, err := await(bounded, f.c, requests)
	switch {
	case err == nil:
		return v, nil
	case lostErr(err):
		return v, f.c.sessionFault(ctx, err, f.timeout)
	}
	return v, &fault{kind: devices.Rejected, err: fmt.Errorf("%s: %w", what, err)}
}

// lostErr says that an error is no answer of the SFTP server.
func lostErr(err error) bool {
	var status *sftp.StatusError
	var own *refusal
	return !errors.As(err, &status) && !errors.As(err, &own) && !errors.Is(err, os.ErrPermission) && !errors.Is(err, os.ErrNotExist)
}

// refusal is what this program has against what it found on the host.
type refusal struct{ text string }

func (r *refusal) Error() string { return r.text }

func refuse(format string, args ...any) error { return &refusal{fmt.Sprintf(format, args...)} }

// attributes are what a file that replaces another one takes over.
type attributes struct {
	mode     os.FileMode
	uid, gid uint32
	// size and time tell whether the file was changed meanwhile.
	size int64
	time time.Time
}

const modeBits = os.ModePerm | os.ModeSetuid | os.ModeSetgid | os.ModeSticky

// lstat returns a regular file's attributes, or nil when there is no file.
func (f *files) lstat(name string) (*attributes, error) {
	info, err := f.client.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, refuse("%s is not a regular file (%s); it is not replaced", name, info.Mode().Type())
	}
	stat, ok := info.Sys().(*sftp.FileStat)
	if !ok {
		return nil, refuse("the host does not say who owns %s", name)
	}
	return &attributes{mode: info.Mode() & modeBits, uid: stat.UID, gid: stat.GID, size: info.Size(), time: info.ModTime()}, nil
}

// read returns the first limit bytes of a file.
func (f *files) read(name string, limit int) (string, error) {
	file, err := f.client.Open(name)
	if err != nil {
		return "", err
	}
	// Nothing was written, so nothing can be lost by closing.
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(io.LimitReader(file, int64(limit)))
	return string(data), err
}

// create writes a new file of that exact content and attributes, safely on the
// disk. Nobody else can read it before it has its own mode. What is left of it
// after a failure is removed as far as the host still answers.
func (f *files) create(name, content string, mode os.FileMode, owner *attributes) error {
	file, err := f.client.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	err = f.fill(file, content, mode, owner)
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		return nil
	}
	if lostErr(err) {
		return err
	}
	var full error
	if space, statErr := f.client.StatVFS(path.Dir(name)); statErr == nil && space.Bavail*space.Bsize < uint64(len(content)) {
		full = refuse("the file system has %d bytes left", space.Bavail*space.Bsize)
	}
	_ = f.client.Remove(name)
	return errors.Join(err, full)
}

func (f *files) fill(file *sftp.File, content string, mode os.FileMode, owner *attributes) error {
	if err := file.Chmod(0o600); err != nil {
		return err
	}
	if _, err := file.ReadFrom(strings.NewReader(content)); err != nil {
		return err
	}
	if owner != nil {
		info, err := file.Stat()
		if err != nil {
			return err
		}
		if stat, ok := info.Sys().(*sftp.FileStat); !ok || stat.UID != owner.uid || stat.GID != owner.gid {
			if err := file.Chown(int(owner.uid), int(owner.gid)); err != nil {
				return fmt.Errorf("give it the owner %d:%d of the present file: %w", owner.uid, owner.gid, err)
			}
		}
	}
	if err := file.Chmod(mode); err != nil {
		return err
	}
	if _, ok := f.client.HasExtension("fsync@openssh.com"); !ok {
		return nil
	}
	return file.Sync()
}

// put replaces a file at once by a new one.
func (f *files) put(name, content string, mode os.FileMode, owner *attributes) error {
	fresh := unpredictable(name)
	if err := f.create(fresh, content, mode, owner); err != nil {
		return err
	}
	return f.replace(fresh, name)
}

// replace gives a file another's name. When both are names of one file, the
// system leaves both, so what is left of the first is removed.
func (f *files) replace(from, to string) error {
	if err := f.client.PosixRename(from, to); err != nil {
		return err
	}
	return ignoreAbsent(f.client.Remove(from))
}

// twin makes to another name of the file from, or a copy of it.
func (f *files) twin(from, to string) error {
	fresh := unpredictable(to)
	if !f.noLinks && f.client.Link(from, fresh) == nil {
		return f.replace(fresh, to)
	}
	at, err := f.lstat(from)
	if err != nil {
		return err
	}
	if at == nil {
		return fs.ErrNotExist
	}
	content, err := f.read(from, devices.MaxHostFile+1)
	if err != nil {
		return err
	}
	if len(content) > devices.MaxHostFile {
		return refuse("%s is longer than %d bytes, and its file system has no hard links to keep it by", from, devices.MaxHostFile)
	}
	return f.put(to, content, at.mode, at)
}

// clean removes what killed attempts have left beside a file.
func (f *files) clean(target string) error {
	entries, err := f.client.ReadDir(path.Dir(target))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if isLeftover(target, e.Name()) && e.Mode().IsRegular() {
			if err := ignoreAbsent(f.client.Remove(path.Join(path.Dir(target), e.Name()))); err != nil {
				return err
			}
		}
	}
	return nil
}

const freshEnding = ".new"

// unpredictable names a new file beside target, or beside what is beside it.
func unpredictable(target string) string {
	var b [8]byte
	// Reading random bytes does not fail.
	_, _ = rand.Read(b[:])
	if base, mine, ok := strings.Cut(path.Base(target), ".edgefleet-"); ok && strings.HasPrefix(base, ".") && mine != "" {
		target = path.Join(path.Dir(target), base[1:])
	}
	return beside(target, hex.EncodeToString(b[:])+freshEnding)
}

func isLeftover(target, name string) bool {
	middle, ok := strings.CutPrefix(name, path.Base(beside(target, "")))
	if !ok {
		return false
	}
	middle, ok = strings.CutSuffix(middle, freshEnding)
	_, err := hex.DecodeString(middle)
	return ok && err == nil && len(middle) == 16
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
