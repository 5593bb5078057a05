package declare

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"edgefleet/devices/fleetdir"
)

// marker begins the first line of a file that Terraform owns; the owner's name
// follows.
const marker = "# edgefleet-owner: "

// DefaultOwner is the owner of a configuration that names none.
const DefaultOwner = "terraform"

var ownerPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// ErrAbsent says that a file is not there.
var ErrAbsent = errors.New("no such file")

// ForeignError says that a file is there and somebody else's.
type ForeignError struct {
	// File is relative to the fleet directory, Owner the name in its first
	// line, or "".
	File, Owner string
}

func (e *ForeignError) Error() string {
	if e.Owner == "" {
		return fmt.Sprintf("%s is not Terraform's: its first line is not %q", e.File, marker+"NAME")
	}
	return fmt.Sprintf("%s belongs to the owner %q", e.File, e.Owner)
}

// Dir is a fleet directory as one owner sees it. It is safe for concurrent
// use.
type Dir struct {
	root, owner string

	mu     sync.Mutex
	look   string
	places map[string][]Place
	loaded *fleetdir.Fleet
	failed error
	ready  bool
}

// Open returns the fleet directory at root, which has to exist.
func Open(root, owner string) (*Dir, error) {
	if !ownerPattern.MatchString(owner) {
		return nil, fmt.Errorf("owner %q: want 1 to 63 letters, digits, '.', '-' or '_', beginning with a letter or digit", owner)
	}
	full, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(full)
	if err != nil {
		return nil, fmt.Errorf("fleet directory: %w; create it, or name the one that the workers read", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("fleet directory: %s is a file; name the directory that the workers read", full)
	}
	return &Dir{root: full, owner: owner}, nil
}

// Root is the absolute path.
func (d *Dir) Root() string { return d.root }

// Owner is whose files are written.
func (d *Dir) Owner() string { return d.owner }

// Device reads the declaration of a device. The error is ErrAbsent, or a
// *ForeignError.
func (d *Dir) Device(id string) (Device, error) {
	var f deviceFile
	want := Device{ID: id}
	if err := d.read(want.File(), &f); err != nil {
		return Device{}, err
	}
	if len(f.Devices) != 1 || f.Devices[0].ID != id {
		return Device{}, fmt.Errorf("%s, which Terraform owns, does not declare %s and nothing else; put it back, or remove the file", want.File(), id)
	}
	return f.Devices[0], nil
}

// Fleet reads fleet.yaml. The error is ErrAbsent, or a *ForeignError.
func (d *Dir) Fleet() (Fleet, error) {
	var f fleetFile
	if err := d.read(fleetdir.FleetFile, &f); err != nil {
		return Fleet{}, err
	}
	if len(f.Devices) > 0 {
		return Fleet{}, fmt.Errorf("%s, which Terraform owns, declares %d devices; move them into a file of their own in %s, or into resources", fleetdir.FleetFile, len(f.Devices), fleetdir.DevicesDir)
	}
	return f.Fleet, nil
}

// Baseline reads a baseline. The error is ErrAbsent, or a *ForeignError.
func (d *Dir) Baseline(name string) (Baseline, error) {
	var b Baseline
	if err := d.read(Baseline{Name: name}.File(), &b); err != nil {
		return Baseline{}, err
	}
	return b, nil
}

func (d *Dir) read(file string, into any) error {
	data, err := d.owned(file)
	if err != nil {
		return err
	}
	return parse(file, data, into)
}

// owned returns the text of a file that is the owner's.
func (d *Dir) owned(file string) ([]byte, error) {
	data, err := os.ReadFile(d.full(file))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrAbsent
	}
	if err != nil {
		return nil, err
	}
	if owner := ownerOf(data); owner != d.owner {
		return nil, &ForeignError{File: file, Owner: owner}
	}
	return data, nil
}

func ownerOf(data []byte) string {
	line, _, _ := bytes.Cut(data, []byte("\n"))
	owner, ok := strings.CutPrefix(string(line), marker)
	if !ok {
		return ""
	}
	return strings.TrimSpace(owner)
}

func (d *Dir) full(file string) string { return filepath.Join(d.root, filepath.FromSlash(file)) }

// Place is where a device is declared.
type Place struct {
	File string
	Line int
	// Own says that the file is this owner's.
	Own bool
}

// String returns "file:line".
func (p Place) String() string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// Elsewhere returns where the device is declared other than in the owner's
// file for it. A file that is not YAML declares nothing here; loading the
// directory says what is wrong with it.
func (d *Dir) Elsewhere(id string) ([]Place, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.refresh(); err != nil {
		return nil, err
	}
	var out []Place
	for _, p := range d.places[id] {
		if !p.Own || p.File != (Device{ID: id}).File() {
			out = append(out, p)
		}
	}
	return out, nil
}

// Load loads the directory as workers do; unchanged, it is loaded once.
func (d *Dir) Load() (*fleetdir.Fleet, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.refresh(); err != nil {
		return nil, err
	}
	if !d.ready {
		d.loaded, d.failed = fleetdir.Load(d.root)
		d.ready = true
	}
	return d.loaded, d.failed
}

// refresh finds every declared device, when anything has changed since the
// last time.
func (d *Dir) refresh() error {
	look := fleetdir.Look(d.root)
	if look == d.look && d.places != nil {
		return nil
	}
	places := map[string][]Place{}
	files := []string{fleetdir.FleetFile}
	entries, err := os.ReadDir(d.full(fleetdir.DevicesDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if name := e.Name(); !strings.HasPrefix(name, ".") && filepath.Ext(name) == ".yaml" {
			files = append(files, fleetdir.DevicesDir+"/"+name)
		}
	}
	for _, file := range files {
		data, err := os.ReadFile(d.full(file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		own := ownerOf(data) == d.owner
		for _, at := range declared(data) {
			places[at.id] = append(places[at.id], Place{File: file, Line: at.line, Own: own})
		}
	}
	d.look, d.places, d.ready = look, places, false
	return nil
}

type idLine struct {
	id   string
	line int
}

// declared finds the IDs under devices: without a judgement on anything else.
func declared(data []byte) []idLine {
	var doc struct {
		Devices []struct {
			ID yaml.Node `yaml:"id"`
		} `yaml:"devices"`
	}
	if yaml.Unmarshal(data, &doc) != nil {
		return nil
	}
	out := make([]idLine, 0, len(doc.Devices))
	for _, e := range doc.Devices {
		if e.ID.Value != "" {
			out = append(out, idLine{e.ID.Value, e.ID.Line})
		}
	}
	return out
}
