package sample_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"edgefleet/dev/sample"
	"edgefleet/dev/simfleet"
	"edgefleet/devices"
	"edgefleet/devices/credentials"
	"edgefleet/devices/fleet"
	"edgefleet/devices/fleetdir"
	"edgefleet/devices/modbus"
	"edgefleet/devices/opcua"
	"edgefleet/devices/sim"
	"edgefleet/devices/sshhost"
	"edgefleet/devices/sunspec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// journal is one of operations that nobody takes up again.
type journal struct{}

func (journal) Capture(context.Context, string, []fleet.Captured) error           { return nil }
func (journal) Captured(context.Context, string) ([]fleet.Captured, error)        { return nil, nil }
func (journal) Prior(context.Context, string) (*fleet.Record, error)              { return nil, nil }
func (journal) Intent(context.Context, fleet.Change, []fleet.Captured) error      { return nil }
func (journal) Result(context.Context, fleet.Change, fleet.Outcome, string) error { return nil }

// declare writes the sample for a running fleet, as dev does.
func declare(t *testing.T, dir string, c *simfleet.Client) []simfleet.Device {
	t.Helper()
	all, err := c.Devices(t.Context())
	require.NoError(t, err)
	var declared []sample.Device
	for _, d := range all {
		declared = append(declared, sample.Of(d))
	}
	require.NoError(t, sample.Write(dir, strings.TrimPrefix(c.URL(), "http://"), declared))
	return all
}

// TestAMixedFleetIsAsItsBaselinesWantItButForWhatHasDrifted loads the sample
// over a running fleet of all kinds, compares every device with its baseline,
// and brings those back that had drifted.
func TestAMixedFleetIsAsItsBaselinesWantItButForWhatHasDrifted(t *testing.T) {
	dir := t.TempDir()
	state := filepath.Join(dir, "simfleet.json")
	f, err := simfleet.Start(simfleet.Options{Devices: 40, Mix: simfleet.DefaultMix(), StateFile: state, Boot: time.Millisecond, Init: time.Millisecond})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Stop()) })
	c, err := simfleet.Find(t.Context(), state)
	require.NoError(t, err)
	all := declare(t, filepath.Join(dir, "fleet"), c)

	loaded, err := fleetdir.Load(filepath.Join(dir, "fleet"))
	require.NoError(t, err)
	require.False(t, loaded.Inventory.Security.TrustFirstUse)
	require.True(t, loaded.Inventory.Security.EnableEncryption)
	folder, err := credentials.Open(filepath.Join(dir, "credentials"))
	require.NoError(t, err)
	require.Empty(t, folder.Check(loaded.Inventory.Devices))
	catalog, err := sunspec.NewCatalog()
	require.NoError(t, err)
	m, o, s := modbus.New(modbus.Options{}), opcua.New(opcua.Options{}), sshhost.New(sshhost.Options{})
	t.Cleanup(m.Close)
	t.Cleanup(o.Close)
	t.Cleanup(s.Close)
	op, err := fleet.New(fleet.Options{Fleet: loaded, Drivers: []devices.Driver{m, o, s}, Credentials: folder, SunSpec: catalog, ResponseTimeout: 10 * time.Second})
	require.NoError(t, err)

	seen := map[string]bool{}
	// One more of each kind drifts while the fleet runs.
	for _, d := range all[20:40] {
		_, err := c.Break(t.Context(), d.ID, sim.FaultDrift, false)
		require.NoError(t, err)
	}
	all, err = c.Devices(t.Context())
	require.NoError(t, err)
	for _, d := range all[:40] {
		drift, err := op.Drift(t.Context(), d.ID)
		require.NoError(t, err, d.ID)
		require.NotZero(t, drift.Checked, "%s, a %s, has a baseline", d.ID, d.Profile)
		require.Equal(t, len(d.Drifted) > 0, len(drift.Drifted) > 0, "%s, a %s: %v", d.ID, d.Profile, drift.Drifted)
		seen[d.Profile] = true
		if len(drift.Drifted) > 0 {
			_, err := op.ApplyBaseline(t.Context(), d.ID, journal{}, nil)
			require.NoError(t, err, d.ID)
		}
		health, err := op.Verify(t.Context(), d.ID)
		require.NoError(t, err)
		require.True(t, health.Healthy, "%s, a %s: %s", d.ID, d.Profile, health.Detail)
	}
	require.Len(t, seen, 6)
}

func TestAFleetFileThatSomebodyElseOwnsIsLeftAloneWithAllBesideIt(t *testing.T) {
	dir := t.TempDir()
	fleetFile, devicesFile := filepath.Join(dir, "fleet.yaml"), filepath.Join(dir, "devices", "simulated.yaml")
	write := func(address string) {
		require.NoError(t, sample.Write(dir, "127.0.0.1:1", []sample.Device{{ID: "edge-001", Profile: "feeder-rtu", Class: "rtu", Address: address}}))
	}
	read := func(file string) string {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		return string(data)
	}
	write("127.0.0.1:2")
	write("127.0.0.1:3")
	require.Contains(t, read(devicesFile), "127.0.0.1:3", "ports may have changed")

	// As when it is handed over to Terraform.
	const theirs = "# edgefleet-owner: terraform\nfleet: {}\n"
	require.NoError(t, os.Remove(devicesFile))
	require.NoError(t, os.Remove(filepath.Join(dir, "edge-configs", "feeder-standard.yaml")))
	require.NoError(t, os.WriteFile(fleetFile, []byte(theirs), 0o600))
	write("127.0.0.1:4")
	require.Equal(t, theirs, read(fleetFile))
	require.NoFileExists(t, devicesFile)
	require.NoFileExists(t, filepath.Join(dir, "edge-configs", "feeder-standard.yaml"))

	require.NoError(t, os.Remove(fleetFile))
	write("127.0.0.1:5")
	require.Contains(t, read(devicesFile), "127.0.0.1:5", "a destroyed fleet is dev's again")
}
