package sshhost

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"edgefleet/devices"
)

// preamble is the part of the reading script that is always the same. It asks
// for nothing that a BusyBox system does not have.
//
// Each answer is a line "KEY WORD BASE64". WORD is ok, absent, symlink, other
// or failed, or the exit status of a command. A file's content is followed by
// the exit status of its reading, so that half a file is not taken for one.
// "It is not there" counts only when the system says so: where a directory
// cannot be searched, the answer is failed.
const preamble = `LC_ALL=C; export LC_ALL
b() { base64 | tr -d '\n'; }
missing() {
  e=$(stat -c %a -- "$2" 2>&1 >/dev/null) && return 1
  case $e in
  *": No such file or directory" | *": Not a directory") printf '%s absent\n' "$1" ;;
  *) printf '%s failed ' "$1"; printf %s "$e" | b; echo ;;
  esac
}
file() {
  missing "$1" "$2" && return
  if [ -L "$2" ]; then printf '%s symlink\n' "$1"
  elif [ ! -f "$2" ]; then printf '%s other\n' "$1"
  else printf '%s ok ' "$1"; { head -c "$3" -- "$2" 2>/dev/null; echo "$?"; } | b; echo; fi
}
mode() {
  missing "$1" "$2" && return
  if [ -L "$2" ]; then printf '%s symlink\n' "$1"
  else printf '%s ok ' "$1"; stat -c '%a %U:%G %u:%g' -- "$2" | b; echo; fi
}
run() {
  k=$1; shift
  o=$("$@" 2>&1 </dev/null); s=$?
  printf '%s %s ' "$k" "$s"; printf %s "$o" | b; echo
}
sum() {
  sync -- "$3" 2>/dev/null || sync
  missing "$1" "$2" && return
  o=$(sha256sum <"$2"); s=$?
  printf '%s %s ' "$1" "$s"; printf %s "$o" | b; echo
}
echo begin
`

// record is one answer of the reading script.
type record struct{ word, payload string }

// found is what a point has: its value as the caller sees it, and the contents
// of the file that it stands in.
type found struct {
	value string
	// pending says that the file was changed and what belongs to the change
	// has not all been done; value is then the one from before.
	pending bool
}

// Read returns the values of the points, in order, in one command for all
// points that need root and one for all others, besides one for each point of
// kind output. A point whose change was interrupted before its restart and
// health check had been done has the value from before the change: what is in
// effect, and not what stands in the file.
func (l *link) Read(ctx context.Context, points []devices.Point) ([]devices.Value, error) {
	states, f := ask(ctx, l, func(ctx context.Context, c *conn) ([]found, *fault) {
		return c.read(ctx, &l.ep, points)
	})
	if f != nil {
		return nil, l.verdict("read "+pointNames(points), f)
	}
	values := make([]devices.Value, len(points))
	for i := range points {
		values[i] = states[i].value
	}
	return values, nil
}

// read reads points over one connection.
func (c *conn) read(ctx context.Context, ep *devices.Endpoint, points []devices.Point) ([]found, *fault) {
	states := make([]found, len(points))
	for _, become := range []bool{false, true} {
		s := newScript(c.line.pool.opts.Path)
		for i, p := range points {
			if err := checkPoint(p); err != nil {
				return nil, &fault{kind: devices.Unsupported, err: err}
			}
			if p.Host.Kind == devices.HostRun {
				return nil, &fault{kind: devices.Unsupported, err: fmt.Errorf("%s is run, and cannot be read", p.Name)}
			}
			if p.Host.Become == become {
				s.add(i, p.Host)
			}
		}
		if s.empty() {
			continue
		}
		records, f := c.script(ctx, ep, s, become)
		if f != nil {
			return nil, f
		}
		for i, p := range points {
			if p.Host.Become != become || p.Host.Kind == devices.HostOutput {
				continue
			}
			var err error
			if states[i], err = s.interpret(records, i, p); err != nil {
				return nil, &fault{kind: devices.Rejected, err: fmt.Errorf("%s: %w", p.Name, err)}
			}
		}
	}
	for i, p := range points {
		if p.Host.Kind != devices.HostOutput {
			continue
		}
		r, f := c.run(ctx, p.Host.Command, "")
		if f != nil {
			return nil, f
		}
		if !r.ok() {
			return nil, &fault{kind: devices.Rejected, err: fmt.Errorf("%s: %q %s", p.Name, p.Host.Command.Name, r.says())}
		}
		line, _, _ := strings.Cut(strings.TrimSpace(r.stdout), "\n")
		states[i].value = excerpt(strings.TrimSpace(line))
	}
	return states, nil
}

func checkPoint(p devices.Point) error {
	if p.Host == nil {
		return fmt.Errorf("%s has no place on a Linux host", p.Name)
	}
	if p.Type != devices.String || len(p.Enum) > 0 {
		return fmt.Errorf("%s is a %s, and points of Linux hosts are texts", p.Name, p.Type)
	}
	if err := p.Host.Check(); err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	return nil
}

func pointNames(points []devices.Point) string {
	names := make([]string, len(points))
	for i, p := range points {
		names[i] = p.Name
	}
	const most = 5
	if len(names) > most {
		names = append(names[:most], fmt.Sprintf("and %d more", len(names)-most))
	}
	return strings.Join(names, ", ")
}

// script is the reading of many points in one command.
type script struct {
	lines []string
	limit int
	units []string
	asked map[string]bool
}

func newScript(path string) *script {
	return &script{lines: []string{preamble + "PATH=" + quote(path) + "; export PATH"}, limit: maxOutput, asked: map[string]bool{}}
}

func (s *script) empty() bool { return len(s.lines) == 1 && len(s.units) == 0 }

// once adds a line unless the same key has been asked for.
func (s *script) once(key string, limit int, words ...string) {
	if s.asked[key] {
		return
	}
	s.asked[key] = true
	line := words[0] + " " + quote(key)
	for _, w := range words[1:] {
		line += " " + quote(w)
	}
	s.lines = append(s.lines, line)
	// Base64 makes four bytes of three.
	s.limit += limit*4/3 + len(key) + 64
}

// add asks for what a point needs. Keys are the point's number and what is
// asked, or one that several points share.
func (s *script) add(i int, a *devices.HostAddress) {
	n := strconv.Itoa(i)
	switch a.Kind {
	case devices.HostFile, devices.HostLine:
		limit := a.Limit() + 1
		s.once(n, limit+8, "file", a.Path, strconv.Itoa(limit))
	case devices.HostMode:
		s.once(n, 1024, "mode", a.Path)
	case devices.HostSSHD:
		words := []string{"run", "sshd", "-T"}
		if a.Config != "" {
			words = append(words, "-f", a.Config)
		}
		s.once(sshdKey(a), maxOutput, words...)
	case devices.HostService:
		if !slices.Contains(s.units, a.Key) {
			s.units = append(s.units, a.Key)
		}
	case devices.HostFact:
		switch a.Key {
		case "os", "os_version":
			s.once("os", 8192, "run", "cat", "/etc/os-release")
		case "kernel":
			s.once("kernel", 1024, "run", "uname", "-r")
		case "arch":
			s.once("arch", 1024, "run", "uname", "-m")
		case "hostname":
			s.once("hostname", 1024, "run", "uname", "-n")
		case "machine_id":
			s.once("machine", 1024, "run", "cat", "/etc/machine-id")
		}
	}
	if watched(a) {
		s.once(markerKey(a.Path), maxMarker, "file", markerOf(a.Path), strconv.Itoa(maxMarker))
	}
}

func sshdKey(a *devices.HostAddress) string { return "sshd:" + strconv.Quote(a.Config) }

// text is the whole script.
func (s *script) text() string {
	lines := s.lines
	if len(s.units) > 0 {
		line := "run units systemctl show --no-pager --property=LoadState,UnitFileState,ActiveState --"
		for _, u := range s.units {
			line += " " + quote(u)
		}
		lines = append(lines, line)
		s.limit += 512 * len(s.units)
	}
	return strings.Join(lines, "\n") + "\necho end\n"
}

// maxScript bounds the answer to one script, in bytes.
const maxScript = 32 << 20

// script runs a script and returns its records by key.
func (c *conn) script(ctx context.Context, ep *devices.Endpoint, s *script, become bool) (map[string]record, *fault) {
	text := s.text()
	r, f := c.exec(ctx, max(response(ep), DefaultCommandTimeout), commandLine(c.line.pool.opts.Path, become, "/bin/sh", "-s"), text, min(s.limit, maxScript))
	if f != nil {
		return nil, f
	}
	if f := sudoFault(r, become); f != nil {
		return nil, f
	}
	records, err := parseRecords(r.stdout)
	if err != nil {
		return nil, &fault{kind: devices.Rejected, err: fmt.Errorf("the host's answer cannot be understood, %w; the command %s", err, r.says())}
	}
	return records, nil
}

// parseRecords reads what the script printed. A login shell may have printed
// something of its own before.
func parseRecords(text string) (map[string]record, error) {
	lines := strings.Split(text, "\n")
	begin := slices.Index(lines, "begin")
	if begin < 0 {
		return nil, errors.New("it does not begin")
	}
	records := map[string]record{}
	for _, line := range lines[begin+1:] {
		if line == "end" {
			return records, nil
		}
		if line == "" {
			break
		}
		// The payload has no spaces; a key may have.
		i := strings.LastIndexByte(line, ' ')
		if i < 0 {
			return nil, errors.New("it has a line without words")
		}
		key, word, payload := line[:i], line[i+1:], ""
		if j := strings.LastIndexByte(key, ' '); j >= 0 && isWord(key[j+1:]) {
			key, word, payload = key[:j], key[j+1:], word
		}
		if !isWord(word) {
			return nil, fmt.Errorf("it has the word %.40q", word)
		}
		decoded, err := base64.StdEncoding.DecodeString(payload)
		if err != nil {
			return nil, errors.New("its content is not base64")
		}
		if _, twice := records[key]; twice {
			return nil, fmt.Errorf("it answers %.40q twice", key)
		}
		records[key] = record{word, string(decoded)}
	}
	return nil, errors.New("it does not end")
}

func isWord(w string) bool {
	if slices.Contains([]string{"ok", "absent", "symlink", "other", "failed"}, w) {
		return true
	}
	n, err := strconv.Atoi(w)
	return err == nil && n >= 0 && n <= 255 && len(w) <= 3
}
