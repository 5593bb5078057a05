package sshsim

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"edgefleet/devices/sim/chassis"
)

// Paths of the gateway that this package speaks of.
const (
	edgeConfig  = "/etc/edge/config.yaml"
	agentConf   = "/etc/edge/agent.conf"
	sshdConfig  = "/etc/ssh/sshd_config"
	sshdDropIn  = "/etc/ssh/sshd_config.d/10-edgefleet.conf"
	hostKeyFile = "/etc/ssh/ssh_host_ed25519_key"
	sudoersFile = "/etc/sudoers.d/edgefleet"
	sftpServer  = "/usr/lib/openssh/sftp-server"

	agentUnit = "edge-agent.service"
	sshUnit   = "ssh.service"
)

// Version is what edge-agent --version prints of a gateway fresh from the
// factory, behind its name.
const Version = "3.2.1"

// User and group IDs of the gateway.
const (
	loginID   = 1000
	edgeGroup = 990
	shadowID  = 42
)

// unit is a systemd unit.
type unit struct {
	Boot string `json:"boot"` // enabled, disabled or masked
	Now  string `json:"now"`  // active, inactive, activating or failed
}

func (u unit) String() string { return u.Boot + " " + u.Now }

// host is everything behind the gateway's SSH server.
type host struct {
	id, user string
	now      func() time.Time
	// settle is how long the agent takes to start.
	settle   time.Duration
	journal  *chassis.Journal
	onChange func()

	mu       sync.Mutex
	fs       *filesystem
	users    map[string]uint32
	groups   map[string]uint32
	units    map[string]*unit
	pristine map[string]File
	// before is what a drift replaced: the contents of files by path, and the
	// states of units by name; a client's write takes it away.
	before map[string]string
	// forced is what a stuck drift puts back.
	forced     map[string]string
	stuck      bool
	running    string // the configuration that the agent has loaded
	agentReady time.Time
	upSince    time.Time
	runningAt  time.Time
}

func newHost(id, user string, settle time.Duration, now func() time.Time, keys, hostKey string) *host {
	h := &host{id: id, user: user, settle: settle, now: now, onChange: func() {}, fs: newFilesystem(now),
		users:  map[string]uint32{"root": 0, "daemon": 1, "edge": edgeGroup, user: loginID, "nobody": 65534},
		groups: map[string]uint32{"root": 0, "daemon": 1, "shadow": shadowID, "edge": edgeGroup, user: loginID, "nogroup": 65534},
		units: map[string]*unit{agentUnit: {"enabled", "active"}, sshUnit: {"enabled", "active"},
			"telnet.socket": {"disabled", "inactive"}, "rsh.socket": {"disabled", "inactive"}},
		before: map[string]string{}, forced: map[string]string{},
	}
	h.upSince, h.runningAt, h.agentReady = now(), now(), now()
	h.install(keys, hostKey)
	h.pristine = h.snapshot()
	h.running = string(h.must(edgeConfig))
	return h
}

// Config is what stands in the agent's configuration of a gateway fresh from
// the factory.
func FactoryConfig(id string) string {
	return "# The edge agent's configuration.\n" +
		"device: " + id + "\n" +
		"agent:\n  interval: 60\n  buffer_mb: 64\n  compression: gzip\n" +
		"uplink:\n  address: uplink.example.net:8883\n  tls: true\n  keepalive: 30\n"
}

// install puts the files of the factory in their places.
func (h *host) install(keys, hostKey string) {
	dir := func(name string, mode fs.FileMode, gid uint32) {
		h.ensure(name, fs.ModeDir|mode, 0, gid)
	}
	file := func(name, text string, mode fs.FileMode, gid uint32) {
		n := h.ensure(name, mode, 0, gid)
		n.data = []byte(text)
	}
	machine := sha256.Sum256([]byte("machine " + h.id))
	file("/etc/os-release", "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\n", 0o644, 0)
	file("/etc/machine-id", hex.EncodeToString(machine[:16])+"\n", 0o444, 0)
	file("/etc/hostname", h.id+"\n", 0o644, 0)
	var passwd, group strings.Builder
	for _, name := range slices.Sorted(maps.Keys(h.users)) {
		fmt.Fprintf(&passwd, "%s:x:%d:%d::/home/%s:/bin/sh\n", name, h.users[name], h.users[name], name)
	}
	for _, name := range slices.Sorted(maps.Keys(h.groups)) {
		fmt.Fprintf(&group, "%s:x:%d:\n", name, h.groups[name])
	}
	file("/etc/passwd", passwd.String(), 0o644, 0)
	file("/etc/group", group.String(), 0o644, 0)
	file("/etc/shadow", "root:*:19000:0:99999:7:::\n"+h.user+":*:19000:0:99999:7:::\n", 0o640, shadowID)
	file(sudoersFile, h.user+" ALL=(root) NOPASSWD: ALL\n", 0o440, 0)

	dir("/etc/edge", 0o750, edgeGroup)
	file(edgeConfig, FactoryConfig(h.id), 0o640, edgeGroup)
	file(agentConf, "# Settings of the agent's process.\nlog_level=info\ncache=on\n", 0o644, 0)

	file(sshdConfig, "Include /etc/ssh/sshd_config.d/*.conf\n\nPermitRootLogin no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"+
		"X11Forwarding no\nUsePAM yes\nSubsystem sftp "+sftpServer+"\n", 0o600, 0)
	dir("/etc/ssh/sshd_config.d", 0o755, 0)
	file(hostKeyFile, "(kept by the simulation)\n", 0o600, 0)
	file(hostKeyFile+".pub", hostKey, 0o644, 0)

	dir(incomingDir, 0o750, 0)
	file(agentPackage, "edge-agent "+Version+"\n", 0o644, 0)

	dir("/run", 0o755, 0)
	dir("/var/log", 0o755, 0)
	dir("/tmp", 0o777|fs.ModeSticky, 0)
	for name := range programs() {
		file(name, "\x7fELF", 0o755, 0)
	}
	home := "/home/" + h.user
	for name, mode := range map[string]fs.FileMode{home: 0o750, home + "/.ssh": 0o700} {
		h.ensure(name, fs.ModeDir|mode, loginID, loginID)
	}
	n := h.ensure(home+"/.ssh/authorized_keys", 0o600, loginID, loginID)
	n.data = []byte(keys)
}

// ensure makes a file or directory with all directories above it.
func (h *host) ensure(name string, mode fs.FileMode, uid, gid uint32) *inode {
	parts := strings.Split(strings.Trim(name, "/"), "/")
	at := h.fs.root
	for i, part := range parts {
		child := at.children[part]
		if child == nil {
			kind := fs.ModeDir | 0o755
			if i == len(parts)-1 {
				kind = mode
			}
			child = h.fs.make(at, part, root(), kind)
		}
		at = child
	}
	at.mode, at.uid, at.gid = mode, uid, gid
	return at
}

// must returns what root reads in a file, or nothing.
func (h *host) must(name string) []byte {
	data, err := h.fs.read(root(), name)
	if err != nil {
		return nil
	}
	return data
}

// login is the user who logs in.
func (h *host) login() who { return who{uid: loginID, groups: []uint32{loginID}} }

// name returns the name of an ID, or UNKNOWN.
func name(names map[string]uint32, id uint32) string {
	for _, n := range slices.Sorted(maps.Keys(names)) {
		if names[n] == id {
			return n
		}
	}
	return "UNKNOWN"
}

// number returns the ID of a name, or of its digits.
func number(names map[string]uint32, text string) (uint32, bool) {
	if id, ok := names[text]; ok {
		return id, true
	}
	id, err := strconv.ParseUint(text, 10, 32)
	return uint32(id), err == nil
}

// absent is the content of a file that is not there.
const absent = "(absent)"

func (h *host) contentLocked(name string) string {
	data, err := h.fs.read(root(), name)
	if err != nil {
		return absent
	}
	return string(data)
}

// tracked is a setting of the profile and where it stands.
type tracked struct {
	name, path string
	// key is that of a line; separator stands behind it.
	key, separator string
	mode           bool
}

// trackedSettings are those of the profile that stand in files.
func trackedSettings() []tracked {
	return []tracked{
		{name: "edge_config", path: edgeConfig},
		{name: "edge_config_mode", path: edgeConfig, mode: true},
		{name: "log_level", path: agentConf, key: "log_level", separator: "="},
		{name: "permit_root_login", path: sshdDropIn, key: "PermitRootLogin", separator: " "},
		{name: "password_authentication", path: sshdDropIn, key: "PasswordAuthentication", separator: " "},
		{name: "x11_forwarding", path: sshdDropIn, key: "X11Forwarding", separator: " "},
		{name: "shadow_mode", path: "/etc/shadow", mode: true},
		{name: "sshd_config_mode", path: sshdConfig, mode: true},
	}
}

// unitSettings are those of the profile that are units.
func unitSettings() map[string]string {
	return map[string]string{"telnet.socket": "telnet", "rsh.socket": "rsh"}
}

// lineOf returns the value of a line of a file, or absent.
func lineOf(text, key, separator string) string {
	for line := range strings.Lines(text) {
		k, v, ok := strings.Cut(strings.TrimSpace(line), separator)
		if ok && strings.EqualFold(k, key) {
			return strings.TrimSpace(v)
		}
	}
	return absent
}

// wroteFile records that a client replaced, wrote or removed a file.
func (h *host) wroteFileLocked(name, before string) {
	after := h.contentLocked(name)
	hit := false
	for _, t := range trackedSettings() {
		if t.path != name || t.mode {
			continue
		}
		was, is := before, after
		if t.key != "" {
			if was, is = lineOf(before, t.key, t.separator), lineOf(after, t.key, t.separator); was == is {
				continue
			}
		}
		hit = true
		h.journal.Add(t.name, name, was, is)
	}
	h.rewrittenLocked(name, hit)
}

// wroteMode records that a client set the mode or owner of a file.
func (h *host) wroteModeLocked(name, before string) {
	for _, t := range trackedSettings() {
		if t.path == name && t.mode {
			h.journal.Add(t.name, name, before, h.modeLocked(name))
		}
	}
	h.onChange()
}

func (h *host) modeLocked(file string) string {
	n, err := h.fs.find(root(), file, false)
	if err != nil {
		return absent
	}
	return fmt.Sprintf("%04o %s:%s", octal(n.mode), name(h.users, n.uid), name(h.groups, n.gid))
}

// rewritten ends a drift of what was written again, or puts it back when the
// drift is stuck.
func (h *host) rewrittenLocked(name string, hit bool) {
	if _, drifted := h.before[name]; drifted && hit {
		if h.stuck {
			h.storeLocked(name, h.forced[name])
		} else {
			delete(h.before, name)
		}
	}
	h.onChange()
}

// storeLocked puts the content of a file, or a unit's states, in place.
func (h *host) storeLocked(name, value string) {
	if u := h.units[name]; u != nil {
		u.Boot, u.Now, _ = strings.Cut(value, " ")
		return
	}
	if n, err := h.fs.open(root(), name, true, false, true, 0o640); err == nil {
		n.data = []byte(value)
	}
}

// drift changes the agent's configuration and log level, and switches telnet
// on, as far as none of these has drifted.
func (h *host) drift(stuck bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stuck = stuck
	change := func(name, now string) {
		before := h.contentLocked(name)
		if u := h.units[name]; u != nil {
			before = u.String()
		}
		if _, done := h.before[name]; done || before == now || before == absent {
			return
		}
		h.before[name], h.forced[name] = before, now
		h.storeLocked(name, now)
	}
	config := h.contentLocked(edgeConfig)
	edited := strings.Replace(config, "interval: 60", "interval: 600", 1)
	if edited == config {
		edited += "# somebody was here\n"
	}
	change(edgeConfig, edited)
	conf := h.contentLocked(agentConf)
	level := "log_level=debug"
	if strings.Contains(conf, level) {
		level = "log_level=trace"
	}
	change(agentConf, strings.Replace(conf, "log_level="+lineOf(conf, "log_level", "="), level, 1))
	change("telnet.socket", "enabled active")
}

// heal undoes what is left of a drift.
func (h *host) heal() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, value := range h.before {
		h.storeLocked(name, value)
	}
	clear(h.before)
	clear(h.forced)
	h.stuck = false
}

// drifted returns the names of the settings that a drift changed.
func (h *host) drifted() ([]string, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var names []string
	for _, name := range []struct{ at, setting string }{{edgeConfig, "edge_config"}, {agentConf, "log_level"}, {"telnet.socket", "telnet"}} {
		if _, ok := h.before[name.at]; ok {
			names = append(names, name.setting)
		}
	}
	return names, h.stuck && len(names) > 0
}

// boot is what happens when the power has come back: units start that are to.
func (h *host) boot(starting time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.upSince = h.now()
	h.runningAt = h.upSince.Add(starting)
	for name, u := range h.units {
		u.Now = "inactive"
		if u.Boot == "enabled" {
			h.startUnitLocked(name)
		}
	}
}

func (h *host) uptime() (up time.Duration, starting bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	return now.Sub(h.upSince), now.Before(h.runningAt)
}
