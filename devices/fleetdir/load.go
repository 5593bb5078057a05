package fleetdir

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"edgefleet/devices/baseline"
	"edgefleet/devices/inventory"
	"edgefleet/devices/profile"
	"edgefleet/devices/profile/strictyaml"
)

// Names in a fleet directory.
const (
	FleetFile   = "fleet.yaml"
	DevicesDir  = "devices"
	ProfilesDir = "profiles"
	ConfigsDir  = "edge-configs"
	RunbooksDir = "runbooks"
)

const (
	// maxFile bounds what is read of one file, in bytes.
	maxFile = 16 << 20
	// maxDepth bounds how deep runbooks may stand, which also ends a loop of
	// symbolic links.
	maxDepth = 8
)

// Fleet is a loaded fleet directory. It does not change; a changed directory
// is loaded anew.
type Fleet struct {
	Dir       string
	Inventory *inventory.Inventory
	// Profiles by name, the built-in ones included.
	Profiles  map[string]*profile.Profile
	Baselines *baseline.Set
	revision  string
}

// Revision names the state of the directory: 64 hexadecimal digits over the
// paths and contents of every file that counts. Equal content gives the equal
// revision, wherever the directory stands.
func (f *Fleet) Revision() string { return f.revision }

// Device returns the declaration and the profile of a device; the error wraps
// ErrUnknownDevice.
func (f *Fleet) Device(id string) (inventory.Device, *profile.Profile, error) {
	d, ok := f.Inventory.Device(id)
	if !ok {
		return inventory.Device{}, nil, fmt.Errorf("%w: %.80q is not in %s; declare it, or correct the name", ErrUnknownDevice, id, FleetFile)
	}
	return d, f.Profiles[d.Profile], nil
}

// Baseline returns what the device should have, or false when no baseline
// selects it.
func (f *Fleet) Baseline(d inventory.Device) (baseline.Desired, bool) { return f.Baselines.For(d) }

// DeclaredHash names what is declared of a device, its baseline included: 64
// hexadecimal digits that change when any of it does, and not when it moves to
// another line.
func (f *Fleet) DeclaredHash(d inventory.Device) string {
	d.File, d.Line = "", 0
	declared := struct {
		Device   inventory.Device
		Settings []string
	}{Device: d}
	if desired, ok := f.Baseline(d); ok {
		declared.Settings = append(declared.Settings, desired.Baseline, desired.Version)
		for _, s := range desired.Settings {
			declared.Settings = append(declared.Settings, s.Point.Name+"="+s.Point.Text(s.Value))
		}
	}
	text, err := json.Marshal(declared)
	if err != nil {
		// Texts, numbers and maps of texts always have a rendering.
		panic(err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// ErrUnknownDevice says that the fleet does not declare the device.
var ErrUnknownDevice = errors.New("unknown device")

// Load reads a fleet directory, all or nothing. When something in it is wrong,
// the error is a strictyaml.Problems: everything that is wrong, one per line,
// as "file:line: what; remedy" with files relative to dir.
func Load(dir string) (*Fleet, error) {
	d := &directory{root: dir}
	fleetFile := d.file(FleetFile)
	deviceFiles := d.yamls(DevicesDir)
	profileFiles := d.yamls(ProfilesDir)
	configFiles := d.yamls(ConfigsDir)
	d.tree(RunbooksDir, 0)
	if d.err != nil {
		return nil, fmt.Errorf("read the fleet directory: %w", d.err)
	}
	profiles, err := profile.Builtin()
	if err != nil {
		return nil, err
	}
	problems := d.problems
	for _, s := range profileFiles {
		p, wrong := profile.Parse(s.Name, s.Data)
		problems = append(problems, wrong...)
		if p == nil {
			continue
		}
		if first, twice := profiles[p.Name]; twice {
			problems = append(problems, strictyaml.Problem{File: s.Name, Line: 1, What: fmt.Sprintf("a second profile is named %s; the first is %s", p.Name, first.File), Remedy: "give each its own name"})
			continue
		}
		profiles[p.Name] = p
	}
	// What refers to a broken profile would only repeat that it is broken.
	if err := problems.Err(); err != nil {
		return nil, err
	}
	inv, wrong := inventory.Parse(fleetFile, deviceFiles, profiles)
	problems = append(problems, wrong...)
	baselines := make([]*baseline.Baseline, 0, len(configFiles))
	for _, s := range configFiles {
		b, wrong := baseline.Parse(s.Name, s.Data, profiles)
		problems = append(problems, wrong...)
		if b != nil {
			baselines = append(baselines, b)
		}
	}
	var set *baseline.Set
	if inv != nil {
		set, wrong = baseline.Resolve(baselines, inv)
		problems = append(problems, wrong...)
	}
	if err := problems.Err(); err != nil {
		return nil, err
	}
	return &Fleet{Dir: dir, Inventory: inv, Profiles: profiles, Baselines: set, revision: d.revision()}, nil
}

// directory reads files once, and remembers them for the revision.
type directory struct {
	root     string
	read     []inventory.Source
	problems strictyaml.Problems
	err      error
}

func (d *directory) file(name string) inventory.Source {
	s := inventory.Source{Name: name}
	full := filepath.Join(d.root, filepath.FromSlash(name))
	info, err := os.Stat(full)
	switch {
	case errors.Is(err, fs.ErrNotExist) && name == FleetFile:
		d.fail(fmt.Errorf("%s is not there; a fleet directory has a %s", full, FleetFile))
		return s
	case err != nil:
		d.fail(err)
		return s
	case !info.Mode().IsRegular():
		d.problem(name, "is not a regular file", "remove it")
		return s
	case info.Size() > maxFile:
		d.problem(name, fmt.Sprintf("has %d bytes", info.Size()), fmt.Sprintf("keep files under %d bytes", maxFile))
		return s
	}
	if s.Data, err = os.ReadFile(full); err != nil {
		d.fail(err)
	}
	d.read = append(d.read, s)
	return s
}

// yamls reads the .yaml files of a folder that need not be there. Names that
// begin with a dot are left alone: mounted configuration keeps its versions so.
func (d *directory) yamls(folder string) []inventory.Source {
	var out []inventory.Source
	for _, e := range d.list(folder) {
		name := path.Join(folder, e.Name())
		switch path.Ext(name) {
		case ".yaml":
			out = append(out, d.file(name))
		case ".yml":
			d.problem(name, "ends in .yml and would not be read", "rename it to .yaml")
		}
	}
	return out
}

// tree reads everything below a folder, for the revision alone.
func (d *directory) tree(folder string, depth int) {
	for _, e := range d.list(folder) {
		name := path.Join(folder, e.Name())
		info, err := os.Stat(filepath.Join(d.root, filepath.FromSlash(name)))
		switch {
		case err != nil:
			d.fail(err)
		case info.IsDir() && depth == maxDepth:
			d.problem(name, fmt.Sprintf("stands deeper than %d folders", maxDepth), "move it up")
		case info.IsDir() && e.Name() != "__pycache__":
			d.tree(name, depth+1)
		case info.Mode().IsRegular():
			d.file(name)
		}
	}
}

func (d *directory) list(folder string) []fs.DirEntry {
	entries, err := os.ReadDir(filepath.Join(d.root, filepath.FromSlash(folder)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		d.fail(err)
	}
	return slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return strings.HasPrefix(e.Name(), ".") })
}

func (d *directory) problem(name, what, remedy string) {
	d.problems = append(d.problems, strictyaml.Problem{File: name, What: what, Remedy: remedy})
}

func (d *directory) fail(err error) { d.err = errors.Join(d.err, err) }

func (d *directory) revision() string {
	slices.SortFunc(d.read, func(a, b inventory.Source) int { return strings.Compare(a.Name, b.Name) })
	h := sha256.New()
	for _, s := range d.read {
		// Lengths go first, so that no two directories hash the same text.
		fmt.Fprintf(h, "%d %s %d\n", len(s.Name), s.Name, len(s.Data))
		h.Write(s.Data)
	}
	return hex.EncodeToString(h.Sum(nil))
}
