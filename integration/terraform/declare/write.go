package declare

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"strings"

	"edgefleet/devices/fleetdir"
	"edgefleet/devices/profile/strictyaml"
)

// Change is one file that shall hold something else.
type Change struct {
	// Before is what the file is believed to declare; nil is that it is not
	// there. After is what it shall declare; nil removes it.
	Before, After Declaration
}

// File is the file that changes.
func (c Change) File() string {
	if c.After != nil {
		return c.After.File()
	}
	return c.Before.File()
}

// Applied is what came of a Change.
type Applied struct {
	// Adopted says that the file was there already, exactly as it was to be
	// written.
	Adopted bool
	Err     error
}

// Apply makes changes, all of one moment where that can be: workers follow the
// directory as a whole, and devices may name each other. A change that the
// directory would not load with is refused with what would be wrong; the
// others are made without it.
func (d *Dir) Apply(changes []Change) []Applied {
	out := make([]Applied, len(changes))
	ready := make([]step, 0, len(changes))
	first := map[string]bool{}
	for i, c := range changes {
		s, adopted, err := d.prepare(c)
		if err == nil && first[c.File()] {
			err = fmt.Errorf("two resources declare %s; remove one of them", c.File())
		}
		first[c.File()] = true
		out[i] = Applied{Adopted: adopted, Err: err}
		if err == nil && s.differs {
			s.index = i
			ready = append(ready, s)
		}
	}
	for _, s := range d.allowed(ready, out) {
		out[s.index].Err = d.carryOut(s)
	}
	return out
}

// step is a change that may be made as far as its own file is concerned.
type step struct {
	index   int
	file    string
	content []byte // nil removes
	before  []byte
	differs bool
}

// prepare compares the file with what the change believes of it.
func (d *Dir) prepare(c Change) (s step, adopted bool, err error) {
	s = step{file: c.File()}
	if c.After != nil {
		if s.content, err = render(d.owner, c.After); err != nil {
			return s, false, err
		}
	}
	s.before, err = d.owned(s.file)
	var foreign *ForeignError
	switch {
	case errors.Is(err, ErrAbsent):
		// What was removed behind our back is as good as removed, and is
		// written again where it shall be.
		s.differs = c.After != nil
		return s, false, nil
	case errors.As(err, &foreign) && foreign.Owner != "":
		return s, false, fmt.Errorf("%w, and this configuration is %q; let one of them declare it", err, d.owner)
	case errors.As(err, &foreign):
		return s, false, fmt.Errorf("%w; move what it declares away, or let it be", err)
	case err != nil:
		return s, false, err
	}
	s.differs = !bytes.Equal(s.before, s.content)
	if c.Before == nil {
		if s.differs {
			return s, false, fmt.Errorf("%s is there already, Terraform's, and says something else; import it, or remove it", s.file)
		}
		return s, true, nil
	}
	same, err := d.says(s.before, c.Before)
	if err == nil && !same {
		err = fmt.Errorf("%s has changed since the plan; plan again", s.file)
	}
	return s, false, err
}

// says tells whether a file's text declares what is believed. Comments and
// order do not count.
func (d *Dir) says(data []byte, want Declaration) (bool, error) {
	text, err := render(d.owner, want)
	if err != nil {
		return false, err
	}
	if bytes.Equal(text, data) {
		return true, nil
	}
	kind := reflect.TypeOf(want.document())
	got, again := reflect.New(kind), reflect.New(kind)
	if err := errors.Join(parse(want.File(), data, got.Interface()), parse(want.File(), text, again.Interface())); err != nil {
		return false, err
	}
	return reflect.DeepEqual(got.Interface(), again.Interface()), nil
}

// allowed returns the steps with which the directory loads, and notes why the
// others are refused.
func (d *Dir) allowed(steps []step, out []Applied) []step {
	if len(steps) == 0 {
		return nil
	}
	if d.loads(steps) == nil {
		return steps
	}
	// One at a time, and again as long as that lets one more pass: devices may
	// name each other.
	var good []step
	left := steps
	for progress := true; progress && len(left) > 0; {
		progress = false
		var still []step
		for _, s := range left {
			if err := d.loads(append(append([]step{}, good...), s)); err != nil {
				out[s.index].Err = err
				still = append(still, s)
				continue
			}
			out[s.index].Err = nil
			good = append(good, s)
			progress = true
		}
		left = still
	}
	return good
}

// loads tells what would be wrong with the directory after the steps. It looks
// at a shadow of it, made of links, so that no worker sees the attempt. A
// directory that would have no fleet file is not loaded by anybody, and is
// allowed when it would declare no device.
func (d *Dir) loads(steps []step) error {
	shadow, err := os.MkdirTemp("", "edgefleet-check-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(shadow) }()
	changed := map[string][]byte{}
	for _, s := range steps {
		changed[s.file] = s.content
	}
	if err := d.mirror(shadow, changed); err != nil {
		return err
	}
	for file, content := range changed {
		if content == nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(shadow, filepath.FromSlash(file)), content, 0o600); err != nil {
			return err
		}
	}
	if content, ok := changed[fleetdir.FleetFile]; ok && content == nil {
		return d.emptied(shadow)
	}
	_, err = fleetdir.Load(shadow)
	var problems strictyaml.Problems
	if errors.As(err, &problems) {
		return fmt.Errorf("with this, no worker could load the fleet directory, so nothing was written:\n%w\nIf it is about a device, region or site that another resource declares, refer to that resource, or name it in depends_on", problems)
	}
	if err != nil && strings.Contains(err.Error(), fleetdir.FleetFile) {
		return fmt.Errorf("%s has no %s yet; declare an edgefleet_fleet, and let this resource depend on it", d.root, fleetdir.FleetFile)
	}
	return err
}

// emptied lets the fleet file go when nothing needs it any more: no device, and
// no baseline that a resource declares. A baseline that is a file of somebody's
// own stays where it is, and nothing acts on it.
func (d *Dir) emptied(shadow string) error {
	var left []string
	for _, folder := range []string{fleetdir.DevicesDir, fleetdir.ConfigsDir} {
		entries, err := os.ReadDir(filepath.Join(shadow, folder))
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.IsDir() {
				continue
			}
			if folder == fleetdir.ConfigsDir {
				data, err := os.ReadFile(filepath.Join(shadow, folder, e.Name()))
				if err != nil {
					return err
				}
				if ownerOf(data) == "" {
					continue
				}
			}
			left = append(left, folder+"/"+e.Name())
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("%s stays, because %s need it; remove them first, or let their resources depend on this one", fleetdir.FleetFile, strings.Join(left, ", "))
	}
	return nil
}

// mirror links every YAML file that counts but those that change. Runbooks
// are no matter of ours, and cannot make a directory load or not.
func (d *Dir) mirror(shadow string, changed map[string][]byte) error {
	link := func(file string) error {
		if _, ok := changed[file]; ok {
			return nil
		}
		return os.Symlink(d.full(file), filepath.Join(shadow, filepath.FromSlash(file)))
	}
	if _, err := os.Stat(d.full(fleetdir.FleetFile)); err == nil {
		if err := link(fleetdir.FleetFile); err != nil {
			return err
		}
	}
	for _, folder := range []string{fleetdir.DevicesDir, fleetdir.ProfilesDir, fleetdir.ConfigsDir} {
		if err := os.Mkdir(filepath.Join(shadow, folder), 0o700); err != nil {
			return err
		}
		entries, err := os.ReadDir(d.full(folder))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), ".") {
				continue
			}
			if e.IsDir() {
				// Templates are read as runbooks are: no link leads out of their
				// folder.
				below := path.Join(folder, e.Name())
				if err := os.CopyFS(filepath.Join(shadow, filepath.FromSlash(below)), os.DirFS(d.full(below))); err != nil {
					return err
				}
				continue
			}
			if err := link(path.Join(folder, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// carryOut replaces, creates or removes the file, as a whole and for good.
func (d *Dir) carryOut(s step) error {
	full := d.full(s.file)
	folder := filepath.Dir(full)
	if s.content == nil {
		return errors.Join(os.Remove(full), syncFolder(folder))
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	// Loaders leave alone what begins with a dot.
	f, err := os.CreateTemp(folder, ".terraform-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(s.content)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	if s.before == nil {
		// A link fails where somebody was faster; a rename would not.
		err = os.Link(f.Name(), full)
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s was created by somebody else meanwhile; plan again", s.file)
		}
		if err != nil {
			return err
		}
	} else if err := os.Rename(f.Name(), full); err != nil {
		return err
	}
	return syncFolder(folder)
}

func syncFolder(folder string) error {
	f, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
