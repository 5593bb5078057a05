package sshsim

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"
)

// maxFile is the largest file, in bytes, that the gateway has room for.
const maxFile = 4 << 20

// maxLinks bounds the symbolic links that one path leads over.
const maxLinks = 16

// inode is a file, directory or symbolic link. Several names may lead to one.
type inode struct {
	mode     fs.FileMode // with fs.ModeDir or fs.ModeSymlink
	uid, gid uint32
	data     []byte
	target   string // of a symbolic link
	modified time.Time
	children map[string]*inode
}

// who is the one on whose behalf something is done.
type who struct {
	uid    uint32
	groups []uint32 // the first is the own one
}

func root() who { return who{groups: []uint32{0}} }

func (w who) isRoot() bool { return w.uid == 0 }

// The rights, as the bits of one digit of a mode.
const (
	mayRead    = 4
	mayWrite   = 2
	mayExecute = 1
)

func (w who) may(n *inode, right fs.FileMode) bool {
	perm := n.mode.Perm()
	switch {
	case w.isRoot():
		return right&mayExecute == 0 || n.mode.IsDir() || perm&0o111 != 0
	case w.uid == n.uid:
		perm >>= 6
	case slices.Contains(w.groups, n.gid):
		perm >>= 3
	}
	return perm&right == right
}

// The errors are those of the system's calls.
var (
	errAbsent   = error(syscall.ENOENT)
	errDenied   = error(syscall.EACCES)
	errNotOwner = error(syscall.EPERM)
	errExists   = error(syscall.EEXIST)
	errNoDir    = error(syscall.ENOTDIR)
	errIsDir    = error(syscall.EISDIR)
	errNotEmpty = error(syscall.ENOTEMPTY)
	errLoop     = error(syscall.ELOOP)
	errTooLarge = error(syscall.EFBIG)
	errInvalid  = error(syscall.EINVAL)
)

// strerror is an error as programs print it.
func strerror(err error) string {
	var n syscall.Errno
	if !errors.As(err, &n) {
		return err.Error()
	}
	words := map[syscall.Errno]string{
		syscall.ENOENT: "No such file or directory", syscall.EACCES: "Permission denied", syscall.EPERM: "Operation not permitted",
		syscall.EEXIST: "File exists", syscall.ENOTDIR: "Not a directory", syscall.EISDIR: "Is a directory",
		syscall.ENOTEMPTY: "Directory not empty", syscall.ELOOP: "Too many levels of symbolic links", syscall.EFBIG: "File too large",
		syscall.EINVAL: "Invalid argument",
	}
	return words[n]
}

// filesystem is a tree of inodes. It is not safe for concurrent use.
type filesystem struct {
	root *inode
	now  func() time.Time
}

func newFilesystem(now func() time.Time) *filesystem {
	return &filesystem{now: now, root: &inode{mode: fs.ModeDir | 0o755, children: map[string]*inode{}, modified: now()}}
}

// walk returns the directory that holds the last part of a path, and what has
// that name there, or nil. A last part that is a link is followed only when it
// shall be.
func (f *filesystem) walk(w who, name string, follow bool) (dir *inode, base string, n *inode, err error) {
	name = path.Clean("/" + name)
	links := 0
again:
	if name == "/" {
		return nil, "", f.root, nil
	}
	parts := strings.Split(name[1:], "/")
	dir = f.root
	for i, part := range parts {
		if !dir.mode.IsDir() {
			return nil, "", nil, errNoDir
		}
		if !w.may(dir, mayExecute) {
			return nil, "", nil, errDenied
		}
		last := i == len(parts)-1
		n = dir.children[part]
		switch {
		case n == nil && last:
			return dir, part, nil, nil
		case n == nil:
			return nil, "", nil, errAbsent
		case n.mode&fs.ModeSymlink != 0 && (!last || follow):
			if links++; links > maxLinks {
				return nil, "", nil, errLoop
			}
			target := n.target
			if !path.IsAbs(target) {
				target = path.Join("/", path.Join(parts[:i]...), target)
			}
			name = path.Clean(path.Join(target, path.Join(parts[i+1:]...)))
			goto again
		case last:
			return dir, part, n, nil
		}
		dir = n
	}
	return nil, "", nil, errAbsent
}

// find returns what stands at a path.
func (f *filesystem) find(w who, name string, follow bool) (*inode, error) {
	_, _, n, err := f.walk(w, name, follow)
	if err == nil && n == nil {
		err = errAbsent
	}
	return n, err
}

func (f *filesystem) read(w who, name string) ([]byte, error) {
	n, err := f.find(w, name, true)
	switch {
	case err != nil:
		return nil, err
	case n.mode.IsDir():
		return nil, errIsDir
	case !w.may(n, mayRead):
		return nil, errDenied
	}
	return n.data, nil
}

// open returns a file for writing, which it makes when it shall and can.
func (f *filesystem) open(w who, name string, create, exclusive, truncate bool, perm fs.FileMode) (*inode, error) {
	dir, base, n, err := f.walk(w, name, !exclusive)
	switch {
	case err != nil:
		return nil, err
	case n != nil && create && exclusive:
		return nil, errExists
	case n != nil && n.mode.IsDir():
		return nil, errIsDir
	case n != nil && !w.may(n, mayWrite):
		return nil, errDenied
	case n == nil && !create:
		return nil, errAbsent
	case n == nil:
		if !w.may(dir, mayWrite) {
			return nil, errDenied
		}
		n = f.make(dir, base, w, perm&fs.ModePerm)
	}
	if truncate {
		n.data, n.modified = nil, f.now()
	}
	return n, nil
}

func (f *filesystem) make(dir *inode, base string, w who, mode fs.FileMode) *inode {
	n := &inode{mode: mode, uid: w.uid, gid: w.groups[0], modified: f.now()}
	if mode.IsDir() {
		n.children = map[string]*inode{}
	}
	dir.children[base] = n
	dir.modified = f.now()
	return n
}

func (f *filesystem) writeAt(n *inode, b []byte, at int64) error {
	end := at + int64(len(b))
	if at < 0 || end > maxFile {
		return errTooLarge
	}
	// Never in place: a reader may hold the earlier content.
	data := make([]byte, max(int64(len(n.data)), end))
	copy(data, n.data)
	copy(data[at:], b)
	n.data, n.modified = data, f.now()
	return nil
}

func (f *filesystem) mkdir(w who, name string, perm fs.FileMode) error {
	dir, base, n, err := f.walk(w, name, false)
	switch {
	case err != nil:
		return err
	case n != nil:
		return errExists
	case !w.may(dir, mayWrite):
		return errDenied
	}
	f.make(dir, base, w, fs.ModeDir|perm&fs.ModePerm)
	return nil
}

// list returns the names in a directory, in order.
func (f *filesystem) list(w who, name string) ([]string, *inode, error) {
	n, err := f.find(w, name, true)
	switch {
	case err != nil:
		return nil, nil, err
	case !n.mode.IsDir():
		return nil, nil, errNoDir
	case !w.may(n, mayRead):
		return nil, nil, errDenied
	}
	names := make([]string, 0, len(n.children))
	for name := range n.children {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, n, nil
}

// held says whether a sticky directory keeps w from moving n.
func held(w who, dir, n *inode) bool {
	return dir.mode&fs.ModeSticky != 0 && !w.isRoot() && w.uid != n.uid && w.uid != dir.uid
}

func (f *filesystem) remove(w who, name string) error {
	dir, base, n, err := f.walk(w, name, false)
	switch {
	case err != nil:
		return err
	case n == nil:
		return errAbsent
	case dir == nil:
		return errInvalid
	case !w.may(dir, mayWrite), held(w, dir, n):
		return errDenied
	case n.mode.IsDir() && len(n.children) > 0:
		return errNotEmpty
	}
	delete(dir.children, base)
	dir.modified = f.now()
	return nil
}

// rename is rename(2): what had the new name has it no more, at once. Two
// names of one file both stay.
func (f *filesystem) rename(w who, from, to string) error {
	fromDir, fromBase, n, err := f.walk(w, from, false)
	if err != nil {
		return err
	}
	toDir, toBase, old, err := f.walk(w, to, false)
	switch {
	case err != nil:
		return err
	case n == nil:
		return errAbsent
	case fromDir == nil || toDir == nil:
		return errInvalid
	case !w.may(fromDir, mayWrite), !w.may(toDir, mayWrite), held(w, fromDir, n), old != nil && held(w, toDir, old):
		return errDenied
	case old == n:
		return nil
	case old != nil && old.mode.IsDir() != n.mode.IsDir():
		if old.mode.IsDir() {
			return errIsDir
		}
		return errNoDir
	case old != nil && len(old.children) > 0:
		return errNotEmpty
	case n.mode.IsDir() && strings.HasPrefix(path.Clean("/"+to)+"/", path.Clean("/"+from)+"/"):
		return errInvalid
	}
	delete(fromDir.children, fromBase)
	toDir.children[toBase] = n
	fromDir.modified, toDir.modified = f.now(), f.now()
	return nil
}

// link gives a file a further name.
func (f *filesystem) link(w who, from, to string) error {
	n, err := f.find(w, from, false)
	if err != nil {
		return err
	}
	dir, base, old, err := f.walk(w, to, false)
	switch {
	case err != nil:
		return err
	case n.mode.IsDir():
		return errNotOwner
	case old != nil:
		return errExists
	case !w.may(dir, mayWrite):
		return errDenied
	}
	dir.children[base] = n
	dir.modified = f.now()
	return nil
}

func (f *filesystem) symlink(w who, target, name string) error {
	dir, base, old, err := f.walk(w, name, false)
	switch {
	case err != nil:
		return err
	case old != nil:
		return errExists
	case !w.may(dir, mayWrite):
		return errDenied
	}
	f.make(dir, base, w, fs.ModeSymlink|0o777).target = target
	return nil
}

const modeBits = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky

func (f *filesystem) chmod(w who, n *inode, mode fs.FileMode) error {
	if !w.isRoot() && w.uid != n.uid {
		return errNotOwner
	}
	n.mode = n.mode&^modeBits | mode&modeBits
	return nil
}

// chown gives a file away, which only root may; an owner may give it to a
// group of its own.
func (f *filesystem) chown(w who, n *inode, uid, gid uint32) error {
	own := w.uid == n.uid && uid == n.uid && (gid == n.gid || slices.Contains(w.groups, gid))
	if !w.isRoot() && !own {
		return errNotOwner
	}
	n.uid, n.gid = uid, gid
	return nil
}

// octal is a mode as chmod takes it.
func octal(mode fs.FileMode) uint32 {
	out := uint32(mode.Perm())
	for bit, flag := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if mode&flag != 0 {
			out |= bit
		}
	}
	return out
}

// fromOctal is the inverse of octal.
func fromOctal(n uint32) fs.FileMode {
	out := fs.FileMode(n & 0o777)
	for bit, flag := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if n&bit != 0 {
			out |= flag
		}
	}
	return out
}
