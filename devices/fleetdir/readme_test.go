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
	require.Len(t, blocks, 7, "fleet, devices, two baselines, template, patch and profile")
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
	require.Len(t, desired.Settings, 4, "three settings, and the device's own limit")
	require.Equal(t, []string{"reclose_enabled"}, desired.Ignored)

	gw, _, err := loaded.Device("gw-1")
	require.NoError(t, err)
	require.Equal(t, "edge-agent-3.3.0", loaded.Patches.For(gw)[0].Name)
	require.Equal(t, "gw-2", loaded.Inventory.Partners(gw)[0].ID)
	desired, ok = loaded.Baseline(gw)
	require.True(t, ok)
	require.Equal(t, "edge_config", desired.Settings[0].Point.Name)
	require.Equal(t, "device_id: gw-1\nsite: substation-7\nring: canary\npoll_interval: 30\nupstream: \"10.0.0.1\"\n", desired.Settings[0].Value)
	require.Len(t, desired.Settings, 5)
	plc, _, err := loaded.Device("plc-7")
	require.NoError(t, err)
	require.Equal(t, "Basic256Sha256/SignAndEncrypt", plc.OPCUA.Policy+"/"+plc.OPCUA.Mode)
	require.Len(t, plc.OPCUA.Thumbprint, 64)
}
