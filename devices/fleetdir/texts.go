package fleetdir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"edgefleet/devices/inventory"
)

// maxDepth bounds how deep texts may stand in their folder, which also ends a
// loop of symbolic links.
const maxDepth = 8

// text is a file of a folder of texts: what stands in it, or why nothing does
// and what to do about it, where that is not plain.
type text struct{ source, wrong, remedy string }

// texts are the files of a folder of which each is read where it is named.
type texts struct {
	d      *directory
	folder string
	// maxOne and maxAll bound one file and all of them, in bytes.
	maxOne, maxAll int
	kept           int
	found          map[string]text
}

// texts reads everything in a folder, which need not be there, by the paths
// below it. What a link there shows of the rest of the machine is left alone:
// the text of a runbook goes to Temporal, and that of a template to a device,
// where more people read it than the machine's files.
func (d *directory) texts(folder string, maxOne, maxAll int, remedy string) map[string]text {
	t := &texts{d: d, folder: folder, maxOne: maxOne, maxAll: maxAll, found: map[string]text{}}
	root, err := os.OpenRoot(filepath.Join(d.root, filepath.FromSlash(folder)))
	if errors.Is(err, fs.ErrNotExist) {
		return t.found
	}
	if err != nil {
		d.fail(err)
		return t.found
	}
	defer root.Close() //nolint:errcheck // it was only read from
	t.tree(root, ".", 0)
	if t.kept > maxAll {
		d.problem(folder, fmt.Sprintf("holds more than %d bytes", maxAll), remedy)
	}
	return t.found
}

func (t *texts) tree(root *os.Root, folder string, depth int) {
	for _, e := range t.d.list(path.Join(t.folder, folder)) {
		below := path.Join(folder, e.Name())
		name := path.Join(t.folder, below)
		info, err := root.Stat(filepath.FromSlash(below))
		if err != nil && e.Type()&fs.ModeSymlink != 0 {
			t.outside(below)
			continue
		}
		switch {
		case err != nil:
			t.d.fail(err)
		case info.IsDir() && depth == maxDepth:
			t.d.problem(name, fmt.Sprintf("stands deeper than %d folders", maxDepth), "move it up")
		case info.IsDir() && e.Name() != "__pycache__":
			t.tree(root, below, depth+1)
		case info.Mode().IsRegular():
			t.keep(below, t.d.file(name))
		}
	}
}

// outside notes a link that leads nowhere, or out of the folder.
func (t *texts) outside(below string) {
	name := path.Join(t.folder, below)
	t.found[below] = text{wrong: "is a link that leads nowhere, or out of the folder", remedy: "put the file itself there"}
	t.d.read = append(t.d.read, inventory.Source{Name: name})
	t.d.looks = append(t.d.looks, name)
}

func (t *texts) keep(below string, s inventory.Source) {
	if len(s.Data) > t.maxOne {
		t.found[below] = text{wrong: fmt.Sprintf("has more than %d bytes", t.maxOne)}
		return
	}
	if t.kept += len(s.Data); t.kept <= t.maxAll {
		t.found[below] = text{source: string(s.Data)}
	}
}
