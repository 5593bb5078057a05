package sshsim

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"
)

// program is what a path of an executable does; its result is the exit
// status.
type program func(h *host, p *process) int

// programs are all that the gateway has.
func programs() map[string]program {
	out := map[string]program{
		"/usr/bin/env": (*host).env, "/usr/bin/sudo": (*host).sudo, "/bin/sh": (*host).sh, "/usr/bin/systemctl": (*host).systemctl,
		"/usr/sbin/sshd": (*host).sshd, sftpServer: (*host).sftp,
		"/usr/local/bin/edge-validate": (*host).edgeValidate, "/usr/local/bin/edge-agent": (*host).edgeAgent,
	}
	for name, do := range map[string]program{
		"cat": (*host).cat, "head": (*host).head, "base64": (*host).base64, "tr": (*host).tr, "sha256sum": (*host).sha256sum,
		"stat": (*host).stat, "chmod": (*host).chmod, "chown": (*host).chown, "mv": (*host).mv, "cp": (*host).cp, "rm": (*host).rm,
		"mkdir": (*host).mkdir, "ls": (*host).ls, "id": (*host).identity, "uname": (*host).uname, "hostname": (*host).hostname,
		"sleep": (*host).sleep, "sync": func(*host, *process) int { return 0 },
	} {
		out["/usr/bin/"+name] = do
	}
	return out
}

// operands takes the options off; "--" ends them.
func (p *process) operands() (options string, rest []string) {
	for i, arg := range p.args[1:] {
		switch {
		case arg == "--":
			return options, append(rest, p.args[i+2:]...)
		case strings.HasPrefix(arg, "-") && len(arg) > 1:
			options += arg[1:]
		default:
			rest = append(rest, arg)
		}
	}
	return options, rest
}

// input is what a program reads: its files one after another, or its standard
// input when there are none.
func (h *host) input(p *process, files []string) ([]byte, int) {
	if len(files) == 0 {
		data, err := io.ReadAll(io.LimitReader(p.stdin, maxFile))
		if err != nil {
			return data, p.fail(1, "%s: %v", p.args[0], err)
		}
		return data, 0
	}
	var all []byte
	status := 0
	for _, name := range files {
		h.mu.Lock()
		data, err := h.fs.read(p.who, name)
		h.mu.Unlock()
		if err != nil {
			status = p.fail(1, "%s: %s: %s", p.args[0], name, strerror(err))
			continue
		}
		all = append(all, data...)
	}
	return all, status
}

func (h *host) cat(p *process) int {
	_, files := p.operands()
	data, status := h.input(p, files)
	return p.write(data, status)
}

// head is head -c BYTES [--] [FILE].
func (h *host) head(p *process) int {
	if len(p.args) < 3 || p.args[1] != "-c" {
		return p.fail(1, "head: want -c BYTES")
	}
	limit, err := strconv.ParseUint(p.args[2], 10, 31)
	if err != nil {
		return p.fail(1, "head: invalid number of bytes: '%s'", p.args[2])
	}
	rest := p.args[3:]
	if len(rest) > 0 && rest[0] == "--" {
		rest = rest[1:]
	}
	data, status := h.input(p, rest)
	return p.write(data[:min(len(data), int(limit))], status)
}

func (h *host) base64(p *process) int {
	_, files := p.operands()
	data, status := h.input(p, files)
	text := base64.StdEncoding.EncodeToString(data)
	const width = 76
	var out strings.Builder
	for len(text) > 0 {
		n := min(width, len(text))
		out.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	return p.write([]byte(out.String()), status)
}

// tr is tr -d CHARACTERS.
func (h *host) tr(p *process) int {
	if len(p.args) != 3 || p.args[1] != "-d" {
		return p.fail(1, "tr: want -d CHARACTERS")
	}
	data, status := h.input(p, nil)
	unwanted := strings.NewReplacer(`\n`, "\n", `\r`, "\r", `\t`, "\t").Replace(p.args[2])
	out := strings.Map(func(r rune) rune {
		if strings.ContainsRune(unwanted, r) {
			return -1
		}
		return r
	}, string(data))
	return p.write([]byte(out), status)
}

func (h *host) sha256sum(p *process) int {
	_, files := p.operands()
	if len(files) == 0 {
		files = []string{"-"}
	}
	status := 0
	for _, name := range files {
		from := []string{name}
		if name == "-" {
			from = nil
		}
		data, failed := h.input(p, from)
		if failed != 0 {
			status = failed
			continue
		}
		sum := sha256.Sum256(data)
		p.print("%s  %s\n", hex.EncodeToString(sum[:]), name)
	}
	return status
}

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

func (h *host) identity(p *process) int {
	switch options, _ := p.operands(); options {
	case "u":
		p.print("%d\n", p.who.uid)
	case "un":
		p.print("%s\n", name(h.users, p.who.uid))
	default:
		p.print("uid=%d(%s) gid=%d(%s)\n", p.who.uid, name(h.users, p.who.uid), p.who.groups[0], name(h.groups, p.who.groups[0]))
	}
	return 0
}

func (h *host) uname(p *process) int {
	values := map[string]string{"s": "Linux", "n": h.id, "r": "6.1.0-28-arm64", "m": "aarch64", "": "Linux"}
	options, _ := p.operands()
	value, ok := values[options]
	if !ok {
		return p.fail(1, "uname: invalid option -- '%s'", options)
	}
	p.print("%s\n", value)
	return 0
}

func (h *host) hostname(p *process) int {
	p.print("%s\n", h.id)
	return 0
}

func (h *host) sleep(p *process) int {
	if len(p.args) != 2 {
		return p.fail(1, "sleep: missing operand")
	}
	seconds, err := strconv.ParseFloat(p.args[1], 64)
	if err != nil || seconds < 0 || seconds > 1e6 {
		return p.fail(1, "sleep: invalid time interval '%s'", p.args[1])
	}
	timer := time.NewTimer(time.Duration(seconds * float64(time.Second)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return 0
	case <-p.ctx.Done():
		return 143
	}
}
