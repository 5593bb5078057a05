package sshsim

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
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
		"/usr/bin/env": (*host).env, "/usr/bin/sudo": (*host).sudo, "/bin/sh": (*host).sh, "/usr/bin/sh": (*host).sh, "/usr/bin/systemctl": (*host).systemctl,
		"/usr/sbin/sshd": (*host).sshd, sftpServer: (*host).sftp,
		"/usr/local/bin/edge-validate": (*host).edgeValidate, "/usr/local/bin/edge-agent": (*host).edgeAgent,
		edgeInstall: (*host).edgeInstall,
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

// head is head [-c BYTES | -n LINES] [--] [FILE]...
func (h *host) head(p *process) int {
	unit, limit, rest := "-n", uint64(10), p.args[1:]
	if len(rest) > 1 && (rest[0] == "-c" || rest[0] == "-n") {
		var err error
		if limit, err = strconv.ParseUint(rest[1], 10, 31); err != nil {
			return p.fail(1, "head: invalid number of lines or bytes: '%s'", rest[1])
		}
		unit, rest = rest[0], rest[2:]
	}
	if len(rest) > 0 && rest[0] == "--" {
		rest = rest[1:]
	}
	data, status := h.input(p, rest)
	if unit == "-c" {
		return p.write(data[:min(len(data), int(limit))], status)
	}
	at := 0
	for ; limit > 0 && at < len(data); limit-- {
		if n := bytes.IndexByte(data[at:], '\n'); n >= 0 {
			at += n + 1
		} else {
			at = len(data)
		}
	}
	return p.write(data[:at], status)
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
	values["a"] = strings.Join([]string{values["s"], values["n"], values["r"], values["m"]}, " ")
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
