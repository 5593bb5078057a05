package sshsim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// process is a program that runs.
type process struct {
	ctx            context.Context
	who            who
	args           []string
	env            map[string]string
	stdin          io.Reader
	stdout, stderr io.Writer
}

// print writes to the standard output; nobody has to listen.
func (p *process) print(format string, args ...any) { _, _ = fmt.Fprintf(p.stdout, format, args...) }

// fail writes to the standard error and returns the status.
func (p *process) fail(status int, format string, args ...any) int {
	_, _ = fmt.Fprintf(p.stderr, format+"\n", args...)
	return status
}

func (p *process) write(b []byte, status int) int {
	if _, err := p.stdout.Write(b); err != nil {
		return 1
	}
	return status
}

// with is the process with other arguments.
func (p *process) with(args []string) *process {
	q := *p
	q.args = args
	return &q
}

const (
	statusNotFound      = 127
	statusNotExecutable = 126
)

// defaultPath is the search path of a log-in.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// lookup finds a program by its path, or by its name in the search path. What
// it finds may not be executable.
func (h *host) lookup(w who, search, program string) (found string, ok bool) {
	names := []string{program}
	if !strings.Contains(program, "/") {
		names = nil
		for dir := range strings.SplitSeq(search, ":") {
			names = append(names, path.Join("/", dir, program))
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range names {
		if n, err := h.fs.find(w, name, true); err == nil && !n.mode.IsDir() {
			return path.Clean(name), true
		}
	}
	return "", false
}

// start runs the program that the first argument names.
func (h *host) start(p *process) int {
	name, ok := h.lookup(p.who, p.env["PATH"], p.args[0])
	if !ok {
		return p.fail(statusNotFound, "sh: %s: not found", p.args[0])
	}
	h.mu.Lock()
	n, err := h.fs.find(p.who, name, true)
	executable := err == nil && p.who.may(n, mayExecute)
	h.mu.Unlock()
	do := programs()[name]
	switch {
	case !executable:
		return p.fail(statusNotExecutable, "sh: %s: Permission denied", name)
	case do == nil:
		return p.fail(statusNotExecutable, "sh: %s: cannot execute: Exec format error", name)
	}
	return do(h, p.with(append([]string{path.Base(name)}, p.args[1:]...)))
}

// env is env [-i] [NAME=VALUE]... COMMAND...
func (h *host) env(p *process) int {
	env := map[string]string{}
	args := p.args[1:]
	if len(args) > 0 && args[0] == "-i" {
		args = args[1:]
	} else {
		for k, v := range p.env {
			env[k] = v
		}
	}
	for len(args) > 0 {
		key, value, ok := strings.Cut(args[0], "=")
		if !ok || key == "" {
			break
		}
		env[key] = value
		args = args[1:]
	}
	if len(args) == 0 {
		return p.fail(125, "env: no command")
	}
	q := p.with(args)
	q.env = env
	return h.start(q)
}

// sudo is sudo -n [--] COMMAND..., for whom the file in sudoers.d names.
func (h *host) sudo(p *process) int {
	args := p.args[1:]
	if len(args) == 0 || args[0] != "-n" {
		return p.fail(1, "sudo: a terminal is required to read the password")
	}
	args = args[1:]
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	h.mu.Lock()
	rules, _ := h.fs.read(root(), sudoersFile)
	user := name(h.users, p.who.uid)
	h.mu.Unlock()
	allowed := p.who.isRoot()
	for line := range strings.Lines(string(rules)) {
		words := strings.Fields(line)
		allowed = allowed || len(words) > 2 && words[0] == user && strings.Contains(line, "NOPASSWD")
	}
	switch {
	case !allowed:
		return p.fail(1, "sudo: a password is required")
	case len(args) == 0:
		return p.fail(1, "usage: sudo -n command")
	}
	q := p.with(args)
	q.who = root()
	return h.start(q)
}

// sh is sh -s, which reads its script from the standard input, or sh -c TEXT.
func (h *host) sh(p *process) int {
	switch {
	case len(p.args) == 2 && p.args[1] == "-s":
		text, err := io.ReadAll(io.LimitReader(p.stdin, maxFile))
		if err != nil {
			return p.fail(2, "sh: %v", err)
		}
		q := *p
		q.stdin = bytes.NewReader(nil)
		return h.script(&q, string(text))
	case len(p.args) >= 3 && p.args[1] == "-c":
		return h.script(p, p.args[2])
	}
	return p.fail(2, "sh: want -s or -c")
}

// script runs a script.
func (h *host) script(p *process, text string) int {
	file, err := syntax.NewParser(syntax.Variant(syntax.LangPOSIX)).Parse(strings.NewReader(text), "sh")
	if err != nil {
		return p.fail(2, "sh: %v", err)
	}
	stdin, closeStdin, err := pipeFrom(p.stdin)
	if err != nil {
		return p.fail(2, "sh: %v", err)
	}
	defer closeStdin()
	var env []string
	for k, v := range p.env {
		env = append(env, k+"="+v)
	}
	shell := &shell{h, p}
	runner, err := interp.New(
		interp.Env(expand.ListEnviron(env...)), interp.Dir("/"), interp.StdIO(stdin, p.stdout, p.stderr),
		interp.CallHandler(shell.call), interp.OpenHandler(shell.open), interp.StatHandler(shell.stat), interp.ReadDirHandler2(shell.readDir),
		interp.ExecHandlers(func(interp.ExecHandlerFunc) interp.ExecHandlerFunc { return shell.exec }),
	)
	if err != nil {
		return p.fail(2, "sh: %v", err)
	}
	err = runner.Run(p.ctx, file)
	var status interp.ExitStatus
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	}
	return p.fail(2, "sh: %v", err)
}

// pipeFrom makes a file of a reader, which is what the shell's programs share.
func pipeFrom(r io.Reader) (*os.File, func(), error) {
	if f, ok := r.(*os.File); ok {
		return f, func() {}, nil
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	go func() {
		// It ends when the reader does, or when nobody reads any more.
		_, _ = io.Copy(write, r)
		_ = write.Close()
	}()
	return read, func() { _ = read.Close() }, nil
}

// shell is what a script can reach.
type shell struct {
	h *host
	p *process
}

// call answers what the interpreter would ask this machine for, and keeps it
// from changing the directory.
func (s *shell) call(_ context.Context, args []string) ([]string, error) {
	answer := func(yes bool) ([]string, error) {
		if yes {
			return []string{"true"}, nil
		}
		return []string{"false"}, nil
	}
	switch args[0] {
	case "cd", "type", "hash":
		return answer(false)
	case "command":
		if len(args) != 3 || args[1] != "-v" {
			return args, nil
		}
		if found, ok := s.h.lookup(s.p.who, s.p.env["PATH"], args[2]); ok {
			return []string{"echo", found}, nil
		}
		return answer(false)
	case "[", "test":
		rights := map[string]fs.FileMode{"-x": mayExecute, "-r": mayRead, "-w": mayWrite}
		words, negated := args[1:], false
		if !slices.ContainsFunc(words, func(w string) bool { return rights[w] != 0 }) {
			return args, nil
		}
		if words[0] == "!" {
			words, negated = words[1:], true
		}
		if len(words) < 2 || rights[words[0]] == 0 {
			return nil, fmt.Errorf("%s: the simulated shell asks for one right at a time", strings.Join(args, " "))
		}
		s.h.mu.Lock()
		defer s.h.mu.Unlock()
		n, err := s.h.fs.find(s.p.who, words[1], true)
		return answer(negated != (err == nil && s.p.who.may(n, rights[words[0]])))
	}
	return args, nil
}

func (s *shell) exec(ctx context.Context, args []string) error {
	hc := interp.HandlerCtx(ctx)
	p := &process{ctx: ctx, who: s.p.who, args: args, env: map[string]string{}, stdin: hc.Stdin, stdout: hc.Stdout, stderr: hc.Stderr}
	if f, ok := hc.Stdin.(*os.File); !ok || f == nil {
		p.stdin = bytes.NewReader(nil)
	}
	hc.Env.Each(func(name string, v expand.Variable) bool {
		if v.Exported || name == "PATH" {
			p.env[name] = v.String()
		}
		return true
	})
	if status := s.h.start(p); status != 0 {
		return interp.ExitStatus(uint8(status))
	}
	return nil
}

func (s *shell) open(_ context.Context, name string, flag int, perm os.FileMode) (io.ReadWriteCloser, error) {
	if name == os.DevNull {
		return os.OpenFile(os.DevNull, os.O_RDWR, 0)
	}
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	if flag&(os.O_WRONLY|os.O_RDWR) == 0 {
		data, err := s.h.fs.read(s.p.who, name)
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		read, _, err := pipeFrom(bytes.NewReader(data))
		return read, err
	}
	before := s.h.contentLocked(name)
	n, err := s.h.fs.open(s.p.who, name, flag&os.O_CREATE != 0, flag&os.O_EXCL != 0, flag&os.O_TRUNC != 0, perm)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &handle{h: s.h, n: n, name: path.Clean(name), before: before, at: int64(len(n.data)), wrote: true}, nil
}

func (s *shell) stat(_ context.Context, name string, follow bool) (fs.FileInfo, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	n, err := s.h.fs.find(s.p.who, name, follow)
	if err != nil {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	return newInfo(path.Base(name), n), nil
}

func (s *shell) readDir(_ context.Context, name string) ([]fs.DirEntry, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	names, dir, err := s.h.fs.list(s.p.who, name)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	out := make([]fs.DirEntry, len(names))
	for i, n := range names {
		out[i] = fs.FileInfoToDirEntry(newInfo(n, dir.children[n]))
	}
	return out, nil
}

// info describes a file as it was when it was asked for.
type info struct {
	name     string
	mode     fs.FileMode
	size     int64
	modified time.Time
	uid, gid uint32
}

func newInfo(name string, n *inode) *info {
	return &info{name: name, mode: n.mode, size: int64(len(n.data)), modified: n.modified, uid: n.uid, gid: n.gid}
}

func (i *info) Name() string       { return i.name }
func (i *info) Size() int64        { return i.size }
func (i *info) Mode() fs.FileMode  { return i.mode }
func (i *info) ModTime() time.Time { return i.modified }
func (i *info) IsDir() bool        { return i.mode.IsDir() }
func (i *info) Sys() any           { return nil }

// Uid and Gid tell the SFTP server who owns the file.
func (i *info) Uid() uint32 { return i.uid } //nolint:revive // the interface's name
func (i *info) Gid() uint32 { return i.gid } //nolint:revive // the interface's name
