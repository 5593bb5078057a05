package sshsim

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// option is an option of sshd: its default, and what it may be.
type option struct {
	value string
	// choices are its words; none means a number.
	choices []string
	text    bool
}

// sshdOptions are those that the gateway's sshd knows, by their names in lower
// case, as sshd -T prints them.
func sshdOptions() map[string]option {
	yes, no := option{value: "yes", choices: []string{"yes", "no"}}, option{value: "no", choices: []string{"yes", "no"}}
	number := func(v string) option { return option{value: v} }
	text := func(v string) option { return option{value: v, text: true} }
	return map[string]option{
		"port": number("22"), "maxauthtries": number("6"), "maxsessions": number("10"), "logingracetime": number("120"),
		"clientaliveinterval": number("0"), "clientalivecountmax": number("3"),
		"permitrootlogin": {value: "without-password",
			choices: []string{"yes", "no", "without-password", "forced-commands-only", "prohibit-password"}},
		"passwordauthentication": yes, "pubkeyauthentication": yes, "kbdinteractiveauthentication": yes, "strictmodes": yes,
		"permitemptypasswords": no, "x11forwarding": no, "usepam": no, "usedns": no, "printmotd": yes, "tcpkeepalive": yes,
		"allowagentforwarding": yes, "gatewayports": no, "ignorerhosts": yes, "hostbasedauthentication": no,
		"allowtcpforwarding": {value: "yes", choices: []string{"yes", "no", "all", "local", "remote"}},
		"loglevel":           {value: "INFO", choices: []string{"QUIET", "FATAL", "ERROR", "INFO", "VERBOSE", "DEBUG"}},
		"banner":             text("none"), "subsystem": text(""), "acceptenv": text(""), "ciphers": text(""), "macs": text(""), "hostkey": text(""),
		"allowusers": text(""), "allowgroups": text(""), "denyusers": text(""), "authorizedkeysfile": text(".ssh/authorized_keys"),
	}
}

// sshdOptionsLocked returns the options that a configuration comes to: the
// first value of each counts, and what stands in a Match block is left out.
func (h *host) sshdOptionsLocked(file string) (map[string]string, error) {
	known := sshdOptions()
	out := map[string]string{}
	if err := h.readSSHD(file, known, out, 0); err != nil {
		return nil, err
	}
	for key, o := range known {
		if _, set := out[key]; !set && o.value != "" {
			out[key] = o.value
		}
	}
	return out, nil
}

func (h *host) readSSHD(file string, known map[string]option, out map[string]string, depth int) error {
	text, err := h.fs.read(root(), file)
	if err != nil {
		return fmt.Errorf("%s: %s", file, strerror(err))
	}
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, _ := strings.Cut(strings.Replace(line, "\t", " ", 1), " ")
		value = strings.TrimSpace(value)
		lower := strings.ToLower(key)
		switch lower {
		case "match":
			return nil
		case "include":
			if err := h.include(value, known, out, depth); err != nil {
				return err
			}
			continue
		}
		o, ok := known[lower]
		switch {
		case !ok:
			return fmt.Errorf("%s: line %d: Bad configuration option: %s\n%s: terminating, 1 bad configuration options", file, number, key, file)
		case value == "":
			return fmt.Errorf("%s line %d: no argument after keyword %q", file, number, key)
		}
		if value, ok = o.canonical(value); !ok {
			return fmt.Errorf("%s line %d: unsupported option %q", file, number, value)
		}
		if _, set := out[lower]; !set {
			out[lower] = value
		}
	}
	return nil
}

func (h *host) include(pattern string, known map[string]option, out map[string]string, depth int) error {
	if depth > 4 {
		return fmt.Errorf("%s: too many nested includes", pattern)
	}
	names, _, err := h.fs.list(root(), path.Dir(pattern))
	if err != nil {
		return nil //nolint:nilerr // what is not there includes nothing, as in sshd
	}
	for _, name := range names {
		// A pattern that begins with * does not match hidden files.
		if ok, _ := path.Match(path.Base(pattern), name); !ok || name[0] == '.' {
			continue
		}
		if err := h.readSSHD(path.Join(path.Dir(pattern), name), known, out, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// canonical is a value as sshd -T prints it.
func (o option) canonical(value string) (string, bool) {
	switch {
	case o.text:
		return value, true
	case o.choices == nil:
		_, err := strconv.ParseUint(value, 10, 31)
		return value, err == nil
	}
	for _, c := range o.choices {
		if strings.EqualFold(c, value) {
			if c == "prohibit-password" {
				c = "without-password"
			}
			return c, true
		}
	}
	return value, false
}

// sshd is the program with -T, which prints the options, or -t, which checks
// the configuration; -f names one.
func (h *host) sshd(p *process) int {
	file, show, check := sshdConfig, false, false
	for i := 1; i < len(p.args); i++ {
		switch arg := p.args[i]; {
		case arg == "-T":
			show = true
		case arg == "-t":
			check = true
		case arg == "-f" && i+1 < len(p.args):
			i++
			file = p.args[i]
		default:
			return p.fail(1, "sshd: unknown option %s", arg)
		}
	}
	if !show && !check {
		return p.fail(1, "sshd: it runs already")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, err := h.fs.read(p.who, file); err != nil {
		return p.fail(1, "%s: %s", file, strerror(err))
	}
	options, err := h.sshdOptionsLocked(file)
	if err != nil {
		return p.fail(255, "%s", err.Error())
	}
	if _, err := h.fs.read(p.who, hostKeyFile); err != nil {
		return p.fail(1, "sshd: no hostkeys available -- exiting.")
	}
	if show {
		keys := make([]string, 0, len(options))
		for key := range options {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		for _, key := range keys {
			p.print("%s %s\n", key, options[key])
		}
	}
	return 0
}
