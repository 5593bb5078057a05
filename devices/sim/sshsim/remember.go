package sshsim

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"edgefleet/devices/sim/chassis"
)

// Memory is all of a gateway that outlives its process. It is made to be kept
// as JSON; as it has the private host key, nobody else may read it.
type Memory struct {
	// HostKey is the seed of the device's ed25519 key.
	HostKey []byte `json:"host_key,omitempty"`
	// Files are those that differ from the factory's, by path; Removed are
	// those of the factory's that are gone.
	Files   []File   `json:"files,omitempty"`
	Removed []string `json:"removed,omitempty"`
	// Units are those whose states differ from the factory's: "masked inactive".
	Units map[string]string `json:"units,omitempty"`
	// Running is the configuration that the agent has loaded, where that is
	// not the one of the factory.
	Running string `json:"running,omitempty"`
	// Replaced holds what a drift replaced, Forced what a stuck one puts back.
	Replaced   map[string]string `json:"replaced,omitempty"`
	Forced     map[string]string `json:"forced,omitempty"`
	DriftStuck bool              `json:"drift_stuck,omitempty"`
	Fault      chassis.Fault     `json:"fault,omitempty"`
	Stuck      bool              `json:"stuck,omitempty"`
	Latency    time.Duration     `json:"latency_ns,omitempty"`
	Counters   []chassis.Counter `json:"counters,omitempty"`
	Log        []chassis.Write   `json:"log,omitempty"`
}

// File is a file, a directory or a symbolic link.
type File struct {
	Path string `json:"path"`
	// Mode is "0640", with a leading d for a directory and l for a link.
	Mode string `json:"mode"`
	UID  uint32 `json:"uid,omitempty"`
	GID  uint32 `json:"gid,omitempty"`
	// Text is the content, or where a link leads; Data is what is no text.
	Text string `json:"text,omitempty"`
	Data []byte `json:"data,omitempty"`
}

func (f File) same(o File) bool {
	return f.Mode == o.Mode && f.UID == o.UID && f.GID == o.GID && f.Text == o.Text && slices.Equal(f.Data, o.Data)
}

// snapshot flattens the file system.
func (h *host) snapshot() map[string]File {
	out := map[string]File{}
	var visit func(name string, n *inode)
	visit = func(name string, n *inode) {
		f := File{Path: name, Mode: fmt.Sprintf("%04o", octal(n.mode)), UID: n.uid, GID: n.gid}
		switch {
		case n.mode.IsDir():
			f.Mode = "d" + f.Mode
			for child, c := range n.children {
				visit(path.Join(name, child), c)
			}
		case n.mode&fs.ModeSymlink != 0:
			f.Mode, f.Text = "l"+f.Mode, n.target
		case utf8.Valid(n.data):
			f.Text = string(n.data)
		default:
			f.Data = n.data
		}
		out[name] = f
	}
	visit("/", h.fs.root)
	return out
}

// remember returns what the host contributes to Memory.
func (h *host) remember() Memory {
	out := Memory{Counters: h.journal.Counters(), Log: h.journal.Log(), Units: map[string]string{}}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.snapshot()
	for name, f := range now {
		if was, ok := h.pristine[name]; !ok || !was.same(f) {
			out.Files = append(out.Files, f)
		}
	}
	for name := range h.pristine {
		if _, ok := now[name]; !ok {
			out.Removed = append(out.Removed, name)
		}
	}
	slices.SortFunc(out.Files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	slices.Sort(out.Removed)
	for name, u := range h.units {
		if states := h.unitLocked(name); states.String() != factoryUnit(name) {
			out.Units[name] = u.Boot + " " + states.Now
		}
	}
	if h.running != FactoryConfig(h.id) {
		out.Running = h.running
	}
	out.Replaced, out.Forced = maps.Clone(h.before), maps.Clone(h.forced)
	out.DriftStuck = h.stuck && len(h.before) > 0
	return out
}

func factoryUnit(name string) string {
	if name == agentUnit || name == sshUnit {
		return "enabled active"
	}
	return "disabled inactive"
}

// recall is the inverse of remember, for a host just made.
func (h *host) recall(m Memory) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	// Below comes before above, so that directories are empty by then.
	for _, name := range slices.Backward(m.Removed) {
		if err := h.fs.remove(root(), name); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	for _, f := range m.Files {
		if err := h.recallFile(f); err != nil {
			return err
		}
	}
	for name, states := range m.Units {
		if h.units[name] != nil {
			h.storeLocked(name, states)
		}
	}
	if m.Running != "" {
		h.running = m.Running
	}
	maps.Copy(h.before, m.Replaced)
	maps.Copy(h.forced, m.Forced)
	h.stuck = m.DriftStuck
	return nil
}

func (h *host) recallFile(f File) error {
	kind, digits := fs.FileMode(0), f.Mode
	switch {
	case len(digits) == 0:
		return fmt.Errorf("%s has no mode", f.Path)
	case digits[0] == 'd':
		kind, digits = fs.ModeDir, digits[1:]
	case digits[0] == 'l':
		kind, digits = fs.ModeSymlink, digits[1:]
	}
	mode, err := strconv.ParseUint(digits, 8, 16)
	if err != nil {
		return fmt.Errorf("%s has the mode %q", f.Path, f.Mode)
	}
	if f.Path == "/" {
		return nil
	}
	n := h.ensure(f.Path, kind|fromOctal(uint32(mode)), f.UID, f.GID)
	switch {
	case kind == fs.ModeDir:
		if n.children == nil {
			n.children = map[string]*inode{}
		}
	case kind == fs.ModeSymlink:
		n.target = f.Text
	case f.Data != nil:
		n.data = f.Data
	default:
		n.data = []byte(f.Text)
	}
	return nil
}
