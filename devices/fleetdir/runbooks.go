package fleetdir

import (
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
)

const (
	// MaxRunbook bounds a runbook's source, in bytes.
	MaxRunbook = 256 << 10
	// maxRunbooks bounds what is kept of all of them, in bytes.
	maxRunbooks = 32 << 20
)

// Runbooks are the files of the runbooks folder, as they stood when they were
// read, by their paths below it.
type Runbooks map[string]text

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
	case r.wrong != "" && r.remedy == "":
		return "", fmt.Errorf("runbook %s %s", name, r.wrong)
	case r.wrong != "":
		return "", fmt.Errorf("runbook %s %s; %s", name, r.wrong, r.remedy)
	default:
		return r.source, nil
	}
}

// Paths returns the paths of all files, in order.
func (rs Runbooks) Paths() []string { return slices.Sorted(maps.Keys(rs)) }

// readRunbooks reads everything in the runbooks folder.
func (d *directory) readRunbooks() {
	d.runbooks = d.texts(RunbooksDir, MaxRunbook, maxRunbooks, "keep runbooks there, and other files elsewhere")
}
