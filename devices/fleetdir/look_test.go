package fleetdir_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/devices/fleetdir"
)

func TestALookChangesWithEverythingThatCounts(t *testing.T) {
	dir := copyGood(t)
	last := fleetdir.Look(dir)
	require.Equal(t, last, fleetdir.Look(dir))
	put(t, filepath.Join(dir, "README.md"), "hello")
	put(t, filepath.Join(dir, "edge-configs", ".standard.yaml.swp"), "an editor's")
	require.Equal(t, last, fleetdir.Look(dir), "what is not read does not count")

	later := time.Now().Add(time.Hour)
	for _, c := range []struct {
		name   string
		change func() error
	}{
		{"a file that was touched", func() error { return os.Chtimes(filepath.Join(dir, "fleet.yaml"), later, later) }},
		{"a new runbook", func() error { return os.WriteFile(filepath.Join(dir, "runbooks", "more.py"), nil, 0o600) }},
		{"a file of another size", func() error {
			return os.WriteFile(filepath.Join(dir, "devices", "west.yaml"), []byte("devices: []"), 0o600)
		}},
		{"a file that is gone", func() error { return os.Remove(filepath.Join(dir, "edge-configs", "capacitors.yaml")) }},
		{"a file with a name that is refused", func() error { return os.WriteFile(filepath.Join(dir, "profiles", "x.yml"), nil, 0o600) }},
		{"a link out of the runbooks", func() error { return os.Symlink("../fleet.yaml", filepath.Join(dir, "runbooks", "out.py")) }},
		{"a directory that is gone", func() error { return os.RemoveAll(dir) }},
	} {
		require.NoError(t, c.change(), c.name)
		look := fleetdir.Look(dir)
		require.NotEqual(t, last, look, c.name)
		require.Equal(t, look, fleetdir.Look(dir), c.name)
		last = look
	}
}

func TestRunbooksAreThoseOfTheLoadedRevision(t *testing.T) {
	dir := copyGood(t)
	put(t, filepath.Join(dir, "runbooks", "lib", "more.py"), "# more\n")
	put(t, filepath.Join(dir, "runbooks", ".hidden.py"), "# hidden\n")
	f, err := fleetdir.Load(dir)
	require.NoError(t, err)
	put(t, filepath.Join(dir, "runbooks", "lib", "more.py"), "# changed\n")
	source, err := f.Runbooks.Source("lib/more.py")
	require.NoError(t, err)
	require.Equal(t, "# more\n", source)
	require.Equal(t, []string{"auto_remediation.py", "lib/more.py"}, f.Runbooks.Paths())
	_, err = f.Runbooks.Source(".hidden.py")
	require.EqualError(t, err, "runbook .hidden.py: the fleet directory's runbooks folder has no such file; add it, or correct the routes that name it")
}

func TestMoreRunbooksThanAreKeptAreRefused(t *testing.T) {
	dir := copyGood(t)
	full := make([]byte, fleetdir.MaxRunbook)
	for i := range 129 {
		put(t, filepath.Join(dir, "runbooks", "many", string(rune('a'+i/26))+string(rune('a'+i%26))+".py"), string(full))
	}
	_, err := fleetdir.Load(dir)
	require.EqualError(t, err, "runbooks: holds more than 33554432 bytes; keep runbooks there, and other files elsewhere")
}
