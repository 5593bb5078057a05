package fleetdir

import (
	"crypto/sha256"
	"encoding/hex"
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
	"edgefleet/devices/profile/strictyaml"
)

// maxFile bounds what is read of one file, in bytes.
const maxFile = 16 << 20

// directory reads files once, and remembers them for the revision.
type directory struct {
	root string
	// lookOnly has files looked at and not read.
	lookOnly bool
	looks    []string
	read     []inventory.Source
	runbooks Runbooks
	// templates are by their paths below edge-configs.
	templates baseline.Templates
	problems  strictyaml.Problems
	// unread says that a file that counts was refused unread.
	unread bool
	err    error
}

// walk goes over every file that counts.
func (d *directory) walk() (fleetFile inventory.Source, deviceFiles, profileFiles, configFiles, patchFiles []inventory.Source) {
	fleetFile = d.file(FleetFile)
	deviceFiles = d.yamls(DevicesDir)
	profileFiles = d.yamls(ProfilesDir)
	configFiles = d.yamls(ConfigsDir)
	patchFiles = d.yamls(PatchesDir)
	d.readTemplates()
	d.readRunbooks()
	return fleetFile, deviceFiles, profileFiles, configFiles, patchFiles
}

// Look says in a short text how the files of a fleet directory stand: their
// names, sizes, modes and times. It costs one stat of each file. As long as
// two looks are equal nothing was changed in between; what cannot be looked at
// is part of the text, because why a directory does not load can change too.
func Look(dir string) string {
	d := &directory{root: dir, lookOnly: true}
	d.walk()
	h := sha256.New()
	for _, line := range d.looks {
		fmt.Fprintf(h, "%d %s\n", len(line), line)
	}
	fmt.Fprint(h, d.problems.Error(), d.err)
	return hex.EncodeToString(h.Sum(nil))
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
		d.unread = true
		return s
	case info.Size() > maxFile:
		d.problem(name, fmt.Sprintf("has %d bytes", info.Size()), fmt.Sprintf("keep files under %d bytes", maxFile))
		d.unread = true
		return s
	}
	if d.lookOnly {
		d.looks = append(d.looks, fmt.Sprintf("%s %d %v %d", name, info.Size(), info.Mode(), info.ModTime().UnixNano()))
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
