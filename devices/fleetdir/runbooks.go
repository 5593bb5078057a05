package fleetdir

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"

	"edgefleet/devices/inventory"
)

const (
	// MaxRunbook bounds a runbook's source, in bytes.
	MaxRunbook = 256 << 10
	// maxRunbooks bounds what is kept of all of them, in bytes.
	maxRunbooks = 32 << 20
	// maxDepth bounds how deep runbooks may stand, which also ends a loop of
	// symbolic links.
	maxDepth = 8
)

// Runbooks are the files of the runbooks folder, as they stood when they were
// read, by their paths below it.
type Runbooks map[string]runbook

// runbook is a file of the runbooks folder: its text, or why it has none.
type runbook struct{ source, wrong string }

// LoadRunbooks reads the runbooks folder alone, for what is to be said of
// runbooks where the rest of the directory does not load.
func LoadRunbooks(dir string) (Runbooks, error) {
	d := &directory{root: dir}
	d.readRunbooks()
	if d.err != nil {
		return nil, fmt.Errorf("read the runbooks: %w", d.err)
	}
	return d.runbooks, d.problems.Err()
}

// Source returns the text of a runbook by its path below RunbooksDir. The
// error says why there is none, and what to do.
func (rs Runbooks) Source(name string) (string, error) {
	if !filepath.IsLocal(name) {
		return "", fmt.Errorf("runbook %.80q: want a path inside the fleet directory's %s folder", name, RunbooksDir)
	}
	switch r, ok := rs[path.Clean(filepath.ToSlash(name))]; {
	case !ok:
		return "", fmt.Errorf("runbook %.80s: the fleet directory's %s folder has no such file; add it, or correct the routes that name it", name, RunbooksDir)
	case r.wrong != "":
		return "", fmt.Errorf("runbook %s %s", name, r.wrong)
	default:
		return r.source, nil
	}
}

// Paths returns the paths of all files, in order.
func (rs Runbooks) Paths() []string { return slices.Sorted(maps.Keys(rs)) }

// readRunbooks reads everything in the runbooks folder. What a link there
// shows of the rest of the machine is left alone: the text of a runbook goes
// to Temporal, where more people read it than the machine's files.
func (d *directory) readRunbooks() {
	d.runbooks = Runbooks{}
	root, err := os.OpenRoot(filepath.Join(d.root, RunbooksDir))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		d.fail(err)
		return
	}
	defer root.Close() //nolint:errcheck // it was only read from
	d.tree(root, ".", 0)
	if d.kept > maxRunbooks {
		d.problem(RunbooksDir, fmt.Sprintf("holds more than %d bytes", maxRunbooks), "keep runbooks there, and other files elsewhere")
	}
}

func (d *directory) tree(root *os.Root, folder string, depth int) {
	for _, e := range d.list(path.Join(RunbooksDir, folder)) {
		below := path.Join(folder, e.Name())
		name := path.Join(RunbooksDir, below)
		info, err := root.Stat(filepath.FromSlash(below))
		if err != nil && e.Type()&fs.ModeSymlink != 0 {
			d.outside(below)
			continue
		}
		switch {
		case err != nil:
			d.fail(err)
		case info.IsDir() && depth == maxDepth:
			d.problem(name, fmt.Sprintf("stands deeper than %d folders", maxDepth), "move it up")
		case info.IsDir() && e.Name() != "__pycache__":
			d.tree(root, below, depth+1)
		case info.Mode().IsRegular():
			d.keep(below, d.file(name))
		}
	}
}

// outside notes a link that leads nowhere, or out of the folder.
func (d *directory) outside(below string) {
	name := path.Join(RunbooksDir, below)
	d.runbooks[below] = runbook{wrong: "is a link that leads nowhere, or out of the folder; put the file itself there"}
	d.read = append(d.read, inventory.Source{Name: name})
	d.looks = append(d.looks, name)
}

func (d *directory) keep(below string, s inventory.Source) {
	if len(s.Data) > MaxRunbook {
		d.runbooks[below] = runbook{wrong: fmt.Sprintf("has more than %d bytes", MaxRunbook)}
		return
	}
	if d.kept += len(s.Data); d.kept <= maxRunbooks {
		d.runbooks[below] = runbook{source: string(s.Data)}
	}
}
