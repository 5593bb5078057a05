package sshsim

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// stat is stat -c FORMAT [--] FILE...
func (h *host) stat(p *process) int {
	if len(p.args) < 4 || p.args[1] != "-c" {
		return p.fail(1, "stat: want -c FORMAT FILE")
	}
	format, files := p.args[2], p.args[3:]
	if files[0] == "--" {
		files = files[1:]
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	status := 0
	for _, file := range files {
		n, err := h.fs.find(p.who, file, false)
		if err != nil {
			status = p.fail(1, "stat: cannot statx '%s': %s", file, strerror(err))
			continue
		}
		kind := "regular file"
		switch {
		case n.mode.IsDir():
			kind = "directory"
		case n.mode&fs.ModeSymlink != 0:
			kind = "symbolic link"
		}
		p.print("%s\n", strings.NewReplacer(
			"%a", strconv.FormatUint(uint64(octal(n.mode)), 8), "%u", fmt.Sprint(n.uid), "%g", fmt.Sprint(n.gid),
			"%U", name(h.users, n.uid), "%G", name(h.groups, n.gid), "%s", fmt.Sprint(len(n.data)), "%n", file,
			"%F", kind, "%Y", fmt.Sprint(n.modified.Unix())).Replace(format))
	}
	return status
}

func (h *host) chmod(p *process) int {
	_, rest := p.operands()
	if len(rest) < 2 {
		return p.fail(1, "chmod: missing operand")
	}
	mode, err := strconv.ParseUint(rest[0], 8, 16)
	if err != nil {
		return p.fail(1, "chmod: invalid mode: '%s'", rest[0])
	}
	return h.alter(p, "chmod: changing permissions of", rest[1:], func(n *inode) error {
		return h.fs.chmod(p.who, n, fromOctal(uint32(mode)))
	})
}

func (h *host) chown(p *process) int {
	_, rest := p.operands()
	if len(rest) < 2 {
		return p.fail(1, "chown: missing operand")
	}
	owner, group, hasGroup := strings.Cut(rest[0], ":")
	uid, ok := number(h.users, owner)
	if !ok {
		return p.fail(1, "chown: invalid user: '%s'", rest[0])
	}
	gid, ok := number(h.groups, group)
	if hasGroup && !ok {
		return p.fail(1, "chown: invalid group: '%s'", rest[0])
	}
	return h.alter(p, "chown: changing ownership of", rest[1:], func(n *inode) error {
		if !hasGroup {
			gid = n.gid
		}
		return h.fs.chown(p.who, n, uid, gid)
	})
}

func (h *host) alter(p *process, what string, files []string, change func(*inode) error) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	status := 0
	for _, file := range files {
		before := h.modeLocked(file)
		n, err := h.fs.find(p.who, file, true)
		if err == nil {
			err = change(n)
		}
		if err != nil {
			status = p.fail(1, "%s '%s': %s", what, file, strerror(err))
			continue
		}
		h.wroteModeLocked(file, before)
	}
	return status
}

func (h *host) mv(p *process) int {
	_, rest := p.operands()
	if len(rest) != 2 {
		return p.fail(1, "mv: want SOURCE DEST")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.renameLocked(p.who, rest[0], h.intoLocked(rest[1], rest[0])); err != nil {
		return p.fail(1, "mv: cannot move '%s' to '%s': %s", rest[0], rest[1], strerror(err))
	}
	return 0
}

// into is the name of a file in a directory, when the destination is one.
func (h *host) intoLocked(to, from string) string {
	if n, err := h.fs.find(root(), to, true); err == nil && n.mode.IsDir() {
		return path.Join(to, path.Base(from))
	}
	return to
}

func (h *host) renameLocked(w who, from, to string) error {
	source, before := h.contentLocked(from), h.contentLocked(to)
	if err := h.fs.rename(w, from, to); err != nil {
		return err
	}
	h.wroteFileLocked(path.Clean(to), before)
	if h.contentLocked(from) == absent {
		h.wroteFileLocked(path.Clean(from), source)
	}
	return nil
}

func (h *host) cp(p *process) int {
	options, rest := p.operands()
	if len(rest) != 2 {
		return p.fail(1, "cp: want SOURCE DEST")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	to := h.intoLocked(rest[1], rest[0])
	data, err := h.fs.read(p.who, rest[0])
	if err != nil {
		return p.fail(1, "cp: cannot open '%s' for reading: %s", rest[0], strerror(err))
	}
	from, err := h.fs.find(p.who, rest[0], true)
	if err != nil {
		return p.fail(1, "cp: '%s': %s", rest[0], strerror(err))
	}
	before := h.contentLocked(to)
	n, err := h.fs.open(p.who, to, true, false, true, from.mode.Perm())
	if err != nil {
		return p.fail(1, "cp: cannot create '%s': %s", to, strerror(err))
	}
	n.data = data
	if strings.ContainsAny(options, "pa") && p.who.isRoot() {
		n.mode, n.uid, n.gid = from.mode, from.uid, from.gid
	}
	h.wroteFileLocked(path.Clean(to), before)
	return 0
}

func (h *host) rm(p *process) int {
	options, rest := p.operands()
	h.mu.Lock()
	defer h.mu.Unlock()
	status := 0
	for _, file := range rest {
		err := h.removeLocked(p.who, file, strings.ContainsAny(options, "rR"))
		if err != nil && (!errors.Is(err, errAbsent) || !strings.Contains(options, "f")) {
			status = p.fail(1, "rm: cannot remove '%s': %s", file, strerror(err))
		}
	}
	return status
}

func (h *host) removeLocked(w who, file string, recursive bool) error {
	n, err := h.fs.find(w, file, false)
	if err != nil {
		return err
	}
	if n.mode.IsDir() {
		if !recursive {
			return errIsDir
		}
		names, _, err := h.fs.list(w, file)
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := h.removeLocked(w, path.Join(file, name), true); err != nil {
				return err
			}
		}
		return h.fs.remove(w, file)
	}
	before := h.contentLocked(file)
	if err := h.fs.remove(w, file); err != nil {
		return err
	}
	h.wroteFileLocked(path.Clean(file), before)
	return nil
}

func (h *host) mkdir(p *process) int {
	_, rest := p.operands()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, file := range rest {
		if err := h.fs.mkdir(p.who, file, 0o755); err != nil {
			return p.fail(1, "mkdir: cannot create directory '%s': %s", file, strerror(err))
		}
	}
	h.onChange()
	return 0
}

func (h *host) ls(p *process) int {
	options, rest := p.operands()
	if len(rest) == 0 {
		rest = []string{"/"}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	status := 0
	for _, file := range rest {
		n, err := h.fs.find(p.who, file, true)
		names := []string{file}
		if err == nil && n.mode.IsDir() {
			names, _, err = h.fs.list(p.who, file)
		}
		if err != nil {
			status = p.fail(2, "ls: cannot access '%s': %s", file, strerror(err))
			continue
		}
		for _, name := range names {
			if !strings.HasPrefix(name, ".") || strings.Contains(options, "a") || strings.Contains(options, "A") {
				p.print("%s\n", name)
			}
		}
	}
	return status
}
