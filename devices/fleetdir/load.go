package fleetdir

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"

	"edgefleet/devices/baseline"
	"edgefleet/devices/inventory"
	"edgefleet/devices/patch"
	"edgefleet/devices/profile"
	"edgefleet/devices/profile/strictyaml"
)

// Names in a fleet directory.
const (
	FleetFile   = "fleet.yaml"
	DevicesDir  = "devices"
	ProfilesDir = "profiles"
	ConfigsDir  = "edge-configs"
	PatchesDir  = patch.Dir
	RunbooksDir = "runbooks"
)

// Fleet is a loaded fleet directory. It does not change; a changed directory
// is loaded anew.
type Fleet struct {
	Dir       string
	Inventory *inventory.Inventory
	// Profiles by name, the built-in ones included.
	Profiles  map[string]*profile.Profile
	Baselines *baseline.Set
	Patches   *patch.Set
	// Runbooks are of the revision, whatever became of the files since.
	Runbooks  Runbooks
	templates baseline.Templates
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

// BaselineFile returns the baseline of a file of the directory, by its path
// ("edge-configs/feeder-standard.yaml") or by its name there.
func (f *Fleet) BaselineFile(file string) (*baseline.Baseline, bool) {
	file = path.Clean(filepath.ToSlash(file))
	for _, b := range f.Baselines.Baselines {
		if b.File == file || b.File == path.Join(ConfigsDir, file) {
			return b, true
		}
	}
	return nil, false
}

// Candidate is one baseline in terms of a fleet that it need not be part of.
type Candidate struct {
	Baseline *baseline.Baseline
	// Devices are those that it selects, in the order of their IDs.
	Devices []inventory.Device
	// Others has the devices among them that a baseline of another name selects
	// in the directory, with that name: the two could not stand there together.
	Others map[string]string
}

// Desired returns what the device, one of Devices, should have by the baseline.
func (c *Candidate) Desired(d inventory.Device) (baseline.Desired, error) { return c.Baseline.For(d) }

// LoadBaseline reads the text of one baseline, which need not stand in the
// directory, against the fleet's profiles, templates and devices. The error is
// a strictyaml.Problems with everything that is wrong; file is for its messages.
func LoadBaseline(f *Fleet, file string, text []byte) (*Candidate, error) {
	b, problems := baseline.Parse(file, text, f.Profiles, f.templates)
	if b == nil {
		return nil, problems.Err()
	}
	selected, problems := b.Check(f.Inventory)
	if err := once(problems).Err(); err != nil {
		return nil, err
	}
	c := &Candidate{Baseline: b, Devices: selected, Others: map[string]string{}}
	for _, d := range selected {
		if other, ok := f.Baselines.Baseline(d.ID); ok && other.Name != b.Name {
			c.Others[d.ID] = other.Name
		}
	}
	return c, nil
}

// once leaves out problems that are found twice: a broken template is, by each
// baseline that names it.
func once(problems strictyaml.Problems) strictyaml.Problems {
	seen := make(map[strictyaml.Problem]bool, len(problems))
	return slices.DeleteFunc(problems, func(p strictyaml.Problem) bool {
		twice := seen[p]
		seen[p] = true
		return twice
	})
}

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
	fleetFile, deviceFiles, profileFiles, configFiles, patchFiles := d.walk()
	if d.err != nil {
		return nil, fmt.Errorf("read the fleet directory: %w", d.err)
	}
	profiles, err := profile.Builtin()
	if err != nil {
		return nil, err
	}
	var problems strictyaml.Problems
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
	broken := len(problems) > 0 || d.unread
	problems = append(problems, d.problems...)
	if broken {
		// What refers to a broken profile, or to a file that was not read,
		// would only repeat that it is broken.
		return nil, problems.Err()
	}
	inv, wrong := inventory.Parse(fleetFile, deviceFiles, profiles)
	problems = append(problems, wrong...)
	baselines := make([]*baseline.Baseline, 0, len(configFiles))
	for _, s := range configFiles {
		b, wrong := baseline.Parse(s.Name, s.Data, profiles, d.templates)
		problems = append(problems, wrong...)
		if b != nil {
			baselines = append(baselines, b)
		}
	}
	patches := make([]*patch.Patch, 0, len(patchFiles))
	for _, s := range patchFiles {
		p, wrong := patch.Parse(s.Name, s.Data, profiles)
		problems = append(problems, wrong...)
		if p != nil {
			patches = append(patches, p)
		}
	}
	var set *baseline.Set
	var patchSet *patch.Set
	if inv != nil {
		patchSet, wrong = patch.Resolve(patches, inv)
		problems = append(problems, wrong...)
		set, wrong = baseline.Resolve(baselines, inv)
		problems = append(problems, wrong...)
	}
	if err := once(problems).Err(); err != nil {
		return nil, err
	}
	return &Fleet{Dir: dir, Inventory: inv, Profiles: profiles, Baselines: set, Patches: patchSet, Runbooks: d.runbooks, templates: d.templates, revision: d.revision()}, nil
}
