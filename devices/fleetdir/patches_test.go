package fleetdir_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/devices/fleetdir"
)

const patchedFleet = `fleet:
  name: gateways
  regions: {north: {}}
  security: {allowed_networks: [10.0.0.0/8], trust_first_use: true}
devices:
  - {id: gw-1, site: s1, region: north, profile: linux-gateway, address: "10.0.0.1:22", credentials: gateways}
`

const agentPatch = `name: edge-agent-3.3.0
profile: linux-gateway
version: 3.3.0
file: edge-agent-3.3.0.pkg
sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
size: 4
released: 2026-11-01
`

func patched(t *testing.T, patch string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, fleetdir.PatchesDir), 0o700))
	for name, text := range map[string]string{"fleet.yaml": patchedFleet, "patches/agent.yaml": patch, "patches/edge-agent-3.3.0.pkg": "test"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	return dir
}

func TestThePatchesOfADirectoryAreLoadedAndOfItsRevision(t *testing.T) {
	dir := patched(t, agentPatch)
	f, err := fleetdir.Load(dir)
	require.NoError(t, err)
	d, _, err := f.Device("gw-1")
	require.NoError(t, err)
	require.Equal(t, "edge-agent-3.3.0", f.Patches.For(d)[0].Name)
	look := fleetdir.Look(dir)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "patches/agent.yaml"), []byte(agentPatch+"notes: new\n"), 0o600))
	require.NotEqual(t, look, fleetdir.Look(dir))
	again, err := fleetdir.Load(dir)
	require.NoError(t, err)
	require.NotEqual(t, f.Revision(), again.Revision())
}

func TestAnArtifactIsNoPartOfTheRevision(t *testing.T) {
	dir := patched(t, agentPatch)
	f, err := fleetdir.Load(dir)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "patches/edge-agent-3.3.0.pkg"), []byte("TEST"), 0o600))
	again, err := fleetdir.Load(dir)
	require.NoError(t, err)
	require.Equal(t, f.Revision(), again.Revision())
}

func TestAMistakeInAPatchIsOneOfTheDirectory(t *testing.T) {
	_, err := fleetdir.Load(patched(t, agentPatch+"select: {ids: [gw-2]}\n"))
	require.ErrorContains(t, err, `patches/agent.yaml:8: select names the unknown device "gw-2"`)
}
