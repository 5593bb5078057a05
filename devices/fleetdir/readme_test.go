package fleetdir_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/devices/fleetdir"
)

// TestTheExamplesOfTheReferenceLoad writes every YAML block of the reference
// page to the file that its first line names, and loads the directory.
func TestTheExamplesOfTheReferenceLoad(t *testing.T) {
	page, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	dir := t.TempDir()
	blocks := regexp.MustCompile("(?s)```yaml\n# (\\S+)\n(.*?)```").FindAllSubmatch(page, -1)
	require.Len(t, blocks, 3, "fleet, baseline and profile")
	for _, b := range blocks {
		file := filepath.Join(dir, string(b[1]))
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, b[2], 0o644))
	}
	loaded, err := fleetdir.Load(dir)
	require.NoError(t, err)
	d, p, err := loaded.Device("edge-001")
	require.NoError(t, err)
	require.Equal(t, "feeder-rtu", p.Name)
	desired, ok := loaded.Baseline(d)
	require.True(t, ok)
	require.Len(t, desired.Settings, 5, "four settings, and the device's own limit")
}
