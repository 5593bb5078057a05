package fleetdir_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/devices/fleetdir"
)

const gateways = `name: gateways
version: 1
profile: linux-gateway
values: {poll_interval: 10}
settings:
  edge_config: {template: templates/lib/device-config.tmpl}
`

// withGateways is the good directory with two Linux hosts, and a baseline that
// renders a file for them.
func withGateways(t *testing.T) string {
	t.Helper()
	dir := copyGood(t)
	put(t, filepath.Join(dir, "devices", "gateways.yaml"), `devices:
  - {id: gw-1, site: s1, region: us-east-1, profile: linux-gateway, address: "10.1.2.20:22", credentials: gateways, ssh: {host_keys: ["SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]}}
  - {id: gw-2, site: s1, region: us-east-1, profile: linux-gateway, address: "10.1.2.21:22", credentials: gateways, ssh: {host_keys: ["SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]}}
`)
	put(t, filepath.Join(dir, "edge-configs", "gateways.yaml"), gateways)
	put(t, filepath.Join(dir, "edge-configs", "templates", "lib", "device-config.tmpl"), "id: {{ .device_id }}\ninterval: {{ .settings.poll_interval }}\n")
	return dir
}

func TestATemplateIsPartOfTheRevisionAndOfTheDeclaration(t *testing.T) {
	dir := withGateways(t)
	f, err := fleetdir.Load(dir)
	require.NoError(t, err)
	d, _, err := f.Device("gw-2")
	require.NoError(t, err)
	desired, ok := f.Baseline(d)
	require.True(t, ok)
	require.Equal(t, "id: gw-2\ninterval: 10\n", desired.Settings[0].Value)

	look := fleetdir.Look(dir)
	put(t, filepath.Join(dir, "edge-configs", "templates", "lib", "device-config.tmpl"), "id: {{ .device_id }}\n")
	require.NotEqual(t, look, fleetdir.Look(dir))
	again, err := fleetdir.Load(dir)
	require.NoError(t, err)
	require.NotEqual(t, f.Revision(), again.Revision())
	require.NotEqual(t, f.DeclaredHash(d), again.DeclaredHash(d))
	desired, _ = f.Baseline(d)
	require.Equal(t, "id: gw-2\ninterval: 10\n", desired.Settings[0].Value, "a loaded fleet does not change")
}

func TestATemplateThatNobodyNamesIsNoProblem(t *testing.T) {
	dir := withGateways(t)
	folder := filepath.Join(dir, "edge-configs", "templates")
	put(t, filepath.Join(folder, "broken.tmpl"), "{{ if }}")
	put(t, filepath.Join(folder, "notes.yml"), "not: read")
	put(t, filepath.Join(folder, "large.tmpl"), strings.Repeat("x", fleetdir.MaxTemplate+1))
	require.NoError(t, os.Symlink("../../fleet.yaml", filepath.Join(folder, "out.tmpl")))
	f, err := fleetdir.Load(dir)
	require.NoError(t, err)
	for name, want := range map[string]string{
		"broken.tmpl": "edge-configs/templates/broken.tmpl:1: missing value for if; correct the template",
		"large.tmpl":  "x.yaml:6: edge-configs/templates/large.tmpl has more than 1048576 bytes; make it shorter",
		"out.tmpl":    "x.yaml:6: edge-configs/templates/out.tmpl is a link that leads nowhere, or out of the folder; put the file itself there",
	} {
		_, err := fleetdir.LoadBaseline(f, "x.yaml", []byte(strings.Replace(gateways, "lib/device-config.tmpl", name, 1)))
		require.EqualError(t, err, want)
	}
}

func TestABrokenTemplateIsReportedOnceForAllBaselinesThatNameIt(t *testing.T) {
	dir := withGateways(t)
	put(t, filepath.Join(dir, "edge-configs", "templates", "lib", "device-config.tmpl"), "a\n{{ end }}\n")
	put(t, filepath.Join(dir, "edge-configs", "more.yaml"), strings.Replace(gateways, "name: gateways", "name: more\nselect: {ids: gw-2}", 1))
	_, err := fleetdir.Load(dir)
	require.EqualError(t, err, "edge-configs/templates/lib/device-config.tmpl:2: unexpected {{end}}; correct the template")
}

func TestABaselineCanBeReadAgainstAFleetThatItIsNoPartOf(t *testing.T) {
	f, err := fleetdir.Load(withGateways(t))
	require.NoError(t, err)
	c, err := fleetdir.LoadBaseline(f, "../next.yaml", []byte(strings.NewReplacer("version: 1", "version: 2", "poll_interval: 10", "poll_interval: 20").Replace(gateways)))
	require.NoError(t, err)
	require.Len(t, c.Devices, 2)
	require.Empty(t, c.Others, "it takes the place of the baseline of its name")
	desired, err := c.Desired(c.Devices[0])
	require.NoError(t, err)
	require.Equal(t, "id: gw-1\ninterval: 20\n", desired.Settings[0].Value)
	require.Equal(t, "2", desired.Version)
	now, _ := f.Baseline(c.Devices[0])
	require.NotEqual(t, now.Hash(), desired.Hash())

	c, err = fleetdir.LoadBaseline(f, "canary.yaml", []byte(strings.Replace(gateways, "name: gateways", "name: canary\nselect: {ids: gw-2}", 1)))
	require.NoError(t, err)
	require.Equal(t, map[string]string{"gw-2": "gateways"}, c.Others)
	desired, err = c.Desired(c.Devices[0])
	require.NoError(t, err)
	now, _ = f.Baseline(c.Devices[0])
	require.Equal(t, now.Hash(), desired.Hash(), "equal settings have one hash")

	_, err = fleetdir.LoadBaseline(f, "bad.yaml", []byte(strings.NewReplacer("poll_interval", "interval", "name: gateways", "name: bad\nselect: {ids: [gw-2, gw-9]}").Replace(gateways)))
	require.EqualError(t, err, "bad.yaml:2: unknown device \"gw-9\"; declare it in the fleet file, or remove it here\n"+
		"edge-configs/templates/lib/device-config.tmpl:2: for gw-2: at <.settings.poll_interval>: map has no entry for key \"poll_interval\"; define it, or use default with index")
}

func TestABaselineIsFoundByItsFile(t *testing.T) {
	f, err := fleetdir.Load(withGateways(t))
	require.NoError(t, err)
	for _, file := range []string{"edge-configs/gateways.yaml", "gateways.yaml", "./edge-configs/gateways.yaml"} {
		b, ok := f.BaselineFile(file)
		require.True(t, ok, file)
		require.Equal(t, "gateways", b.Name)
	}
	_, ok := f.BaselineFile("other.yaml")
	require.False(t, ok)
}
