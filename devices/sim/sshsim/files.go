package sshsim

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"sync"

	"github.com/pkg/sftp"
)

// handle is a file that a client has open.
type handle struct {
	h      *host
	n      *inode
	name   string
	before string // the content when it was opened
	at     int64
	wrote  bool // something may have been written
	once   sync.Once
}

// Read implements io.Reader, which files that are written do not need.
func (f *handle) Read([]byte) (int, error) { return 0, errDenied }

func (f *handle) Write(b []byte) (int, error) {
	n, err := f.WriteAt(b, f.at)
	f.at += int64(n)
	return n, err
}

func (f *handle) ReadAt(b []byte, off int64) (int, error) {
	f.h.mu.Lock()
	data := f.n.data
	f.h.mu.Unlock()
	if off < 0 || off >= int64(len(data)) {
		return 0, io.EOF
	}
	n := copy(b, data[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *handle) WriteAt(b []byte, off int64) (int, error) {
	f.h.mu.Lock()
	defer f.h.mu.Unlock()
	f.wrote = true
	if err := f.h.fs.writeAt(f.n, b, off); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Close tells the host that the file may have been changed.
func (f *handle) Close() error {
	f.once.Do(func() {
		f.h.mu.Lock()
		defer f.h.mu.Unlock()
		// What was renamed meanwhile is no more the file of that name.
		if n, err := f.h.fs.find(root(), f.name, true); err == nil && n == f.n && f.wrote {
			f.h.wroteFileLocked(f.name, f.before)
		}
	})
	return nil
}

// sftpFiles serves the file system to one SFTP session.
type sftpFiles struct {
	h *host
	w who
}

// sftp is the SFTP server, on the standard input and output.
func (h *host) sftp(p *process) int {
	files := &sftpFiles{h, p.who}
	server := sftp.NewRequestServer(&stdio{p.stdin, p.stdout}, sftp.Handlers{FileGet: files, FilePut: files, FileCmd: files, FileList: files})
	if err := server.Serve(); err != nil && !errors.Is(err, io.EOF) {
		return 255
	}
	return 0
}

// stdio makes one of a program's input and output. They end with the session.
type stdio struct {
	io.Reader
	io.Writer
}

func (*stdio) Close() error { return nil }

// status is an error as the protocol has it.
func status(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errAbsent):
		return sftp.ErrSSHFxNoSuchFile
	case errors.Is(err, errDenied), errors.Is(err, errNotOwner):
		return sftp.ErrSSHFxPermissionDenied
	}
	return errors.New(strerror(err))
}

func (s *sftpFiles) Fileread(r *sftp.Request) (io.ReaderAt, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	if _, err := s.h.fs.read(s.w, r.Filepath); err != nil {
		return nil, status(err)
	}
	n, err := s.h.fs.find(s.w, r.Filepath, true)
	if err != nil {
		return nil, status(err)
	}
	return &handle{h: s.h, n: n, name: r.Filepath}, nil
}

func (s *sftpFiles) Filewrite(r *sftp.Request) (io.WriterAt, error) { return s.OpenFile(r) }

// OpenFile opens a file for writing, with the flags of the request.
func (s *sftpFiles) OpenFile(r *sftp.Request) (sftp.WriterAtReaderAt, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	flags := r.Pflags()
	perm := fs.FileMode(0o644)
	if r.AttrFlags().Permissions {
		perm = r.Attributes().FileMode().Perm()
	}
	before := s.h.contentLocked(r.Filepath)
	n, err := s.h.fs.open(s.w, r.Filepath, flags.Creat, flags.Excl, flags.Trunc, perm)
	if err != nil {
		return nil, status(err)
	}
	return &handle{h: s.h, n: n, name: path.Clean(r.Filepath), before: before, wrote: flags.Creat || flags.Trunc}, nil
}

func (s *sftpFiles) Filecmd(r *sftp.Request) error {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	switch r.Method {
	case "Setstat":
		return status(s.setstat(r))
	case "Rename":
		if _, err := s.h.fs.find(s.w, r.Target, false); err == nil {
			return status(errExists)
		}
		return status(s.h.renameLocked(s.w, r.Filepath, r.Target))
	case "Rmdir", "Remove":
		n, err := s.h.fs.find(s.w, r.Filepath, false)
		switch {
		case err != nil:
			return status(err)
		case n.mode.IsDir() != (r.Method == "Rmdir"):
			return status(errIsDir)
		case n.mode.IsDir():
			return status(s.h.fs.remove(s.w, r.Filepath))
		}
		return status(s.h.removeLocked(s.w, r.Filepath, false))
	case "Mkdir":
		return status(s.h.fs.mkdir(s.w, r.Filepath, 0o755))
	case "Link":
		return status(s.h.fs.link(s.w, r.Filepath, r.Target))
	case "Symlink":
		return status(s.h.fs.symlink(s.w, r.Filepath, r.Target))
	}
	return sftp.ErrSSHFxOpUnsupported
}

// PosixRename replaces what has the new name.
func (s *sftpFiles) PosixRename(r *sftp.Request) error {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	return status(s.h.renameLocked(s.w, r.Filepath, r.Target))
}

func (s *sftpFiles) setstat(r *sftp.Request) error {
	n, err := s.h.fs.find(s.w, r.Filepath, true)
	if err != nil {
		return err
	}
	flags, to := r.AttrFlags(), r.Attributes()
	before, was := s.h.modeLocked(r.Filepath), s.h.contentLocked(r.Filepath)
	if flags.Size {
		if to.Size > maxFile {
			return errTooLarge
		}
		if !s.w.may(n, mayWrite) {
			return errDenied
		}
		data := make([]byte, to.Size)
		copy(data, n.data)
		n.data = data
		s.h.wroteFileLocked(path.Clean(r.Filepath), was)
	}
	if flags.UidGid {
		if err := s.h.fs.chown(s.w, n, to.UID, to.GID); err != nil {
			return err
		}
	}
	if flags.Permissions {
		if err := s.h.fs.chmod(s.w, n, fromOctal(to.Mode&0o7777)); err != nil {
			return err
		}
	}
	if flags.Acmodtime {
		n.modified = to.ModTime()
	}
	if flags.UidGid || flags.Permissions {
		s.h.wroteModeLocked(path.Clean(r.Filepath), before)
	}
	return nil
}

// StatVFS says that there is room.
func (s *sftpFiles) StatVFS(*sftp.Request) (*sftp.StatVFS, error) {
	const blocks = 1 << 20
	return &sftp.StatVFS{Bsize: 4096, Frsize: 4096, Blocks: blocks, Bfree: blocks / 2, Bavail: blocks / 2, Files: blocks, Ffree: blocks, Favail: blocks, Namemax: 255}, nil
}

// listing is the answer to a listing or a question for one file.
type listing []os.FileInfo

func (l listing) ListAt(out []os.FileInfo, at int64) (int, error) {
	if at >= int64(len(l)) {
		return 0, io.EOF
	}
	n := copy(out, l[at:])
	if n < len(out) {
		return n, io.EOF
	}
	return n, nil
}

func (s *sftpFiles) Filelist(r *sftp.Request) (sftp.ListerAt, error) {
	if r.Method != "List" {
		return s.one(r.Filepath, true)
	}
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	names, dir, err := s.h.fs.list(s.w, r.Filepath)
	if err != nil {
		return nil, status(err)
	}
	out := make(listing, len(names))
	for i, name := range names {
		out[i] = newInfo(name, dir.children[name])
	}
	return out, nil
}

// Lstat is Stat without following a link.
func (s *sftpFiles) Lstat(r *sftp.Request) (sftp.ListerAt, error) { return s.one(r.Filepath, false) }

func (s *sftpFiles) one(file string, follow bool) (sftp.ListerAt, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	n, err := s.h.fs.find(s.w, file, follow)
	if err != nil {
		return nil, status(err)
	}
	return listing{newInfo(path.Base(file), n)}, nil
}

// Readlink says where a link leads.
func (s *sftpFiles) Readlink(file string) (string, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	n, err := s.h.fs.find(s.w, file, false)
	switch {
	case err != nil:
		return "", status(err)
	case n.mode&fs.ModeSymlink == 0:
		return "", status(errInvalid)
	}
	return n.target, nil
}
