package service

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"edgefleet/devices/fleetdir"
	"edgefleet/internal/store"
)

// patchedFleet declares PLCs of two regions and two patches for them. One of the
// PLCs is excepted until 2999.
func patchedFleet(t *testing.T) *fleetdir.Fleet {
	t.Helper()
	dir := t.TempDir()
	var plcs strings.Builder
	for i, region := range []string{"north", "north", "south", "north"} {
		fmt.Fprintf(&plcs, "  - {id: plc-%d, site: s, region: %s, profile: register-plc, address: \"127.0.0.1:%d\", unit: 1}\n", i, region, 5000+i)
	}
	write(t, filepath.Join(dir, "fleet.yaml"),
		"fleet:\n  name: f\n  regions: {north: {}, south: {}}\n  security: {allowed_networks: [127.0.0.0/8]}\ndevices:\n"+plcs.String(), 0o600)
	for _, p := range []struct{ version, released, more string }{
		{"3.2.0", "2026-01-01", ""}, {"3.3.0", "2026-02-01", "exceptions: [{ids: [plc-3], by: J. Doe, reason: isolated, until: 2999-01-01}]\n"},
	} {
		write(t, filepath.Join(dir, "patches", "plc-"+p.version+".yaml"), fmt.Sprintf(
			"name: plc-%s\nprofile: register-plc\nversion: %[1]s\nfile: plc.pkg\nsha256: \"%s\"\nsize: 1\nreleased: %s\n%s",
			p.version, strings.Repeat("0", 64), p.released, p.more), 0o600)
	}
	f, err := fleetdir.Load(dir)
	require.NoError(t, err)
	return f
}

func TestThePatchOwedTheLongestIsShownByTheOneThatSettlesIt(t *testing.T) {
	declared := patchedFleet(t)
	now := time.Date(2026, 2, 10, 0, 0, 0, 0, time.UTC)
	commissioned := time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC)
	runs := func(id, version string) store.PatchedDevice {
		return store.PatchedDevice{DeviceID: id, Version: version, OnboardedAt: &commissioned}
	}
	fleet := []store.PatchedDevice{runs("gone", "1.0.0"), runs("plc-0", "3.2.0"), runs("plc-1", "3.1.0"), runs("plc-2", "3.3.0"), runs("plc-3", "")}
	var away error
	asked := 0
	versions := func(ctx context.Context, after string, limit int) ([]store.PatchedDevice, error) {
		_, bounded := ctx.Deadline()
		require.True(t, bounded)
		asked++
		page := []store.PatchedDevice{}
		for _, d := range fleet {
			if d.DeviceID > after && len(page) < limit {
				page = append(page, d)
			}
		}
		return page, away
	}
	registry := prometheus.NewRegistry()
	m := newPatchMetrics(versions, func() *fleetdir.Fleet { return declared }, zap.NewNop(), registry)
	m.owed.clock = func() time.Time { return now }
	shows := func(want map[string]float64, why string) {
		t.Helper()
		families, err := registry.Gather()
		require.NoError(t, err, "the other metrics are still scraped")
		got := map[string]float64{}
		for _, f := range families {
			require.Equal(t, "edgefleet_patch_owed_seconds", f.GetName())
			for _, metric := range f.GetMetric() {
				labels := metric.GetLabel()
				require.Len(t, labels, 2)
				got[labels[0].GetValue()+" "+labels[1].GetValue()] = metric.GetGauge().GetValue()
			}
		}
		require.Equal(t, want, got, why)
	}
	day := (24 * time.Hour).Seconds()
	require.Zero(t, asked, "nothing is asked before a scrape")
	shows(map[string]float64{"plc-3.3.0 north": 40 * day, "plc-3.3.0 south": 0},
		"the first of the patches that plc-1 lacks counts, plc-2 owes none, and plc-3 is excepted")

	fleet[2] = runs("plc-1", "3.2.0")
	shows(map[string]float64{"plc-3.3.0 north": 40 * day, "plc-3.3.0 south": 0}, "an answer is shown for a while")
	now = now.Add(cachedFresh)
	shows(map[string]float64{"plc-3.3.0 north": 9*day + cachedFresh.Seconds(), "plc-3.3.0 south": 0}, "it owes the newest alone")

	fleet[1], fleet[2] = runs("plc-0", "3.3.0"), runs("plc-1", "3.4.0")
	now = now.Add(cachedFresh)
	shows(map[string]float64{"plc-3.3.0 north": 0, "plc-3.3.0 south": 0}, "a series that goes to 0 does not vanish")

	away = errors.New("the store is away")
	now = now.Add(cachedFresh)
	shows(map[string]float64{}, "an old number would look like a present one")

	away, asked = nil, 0
	for i := range versionsPage {
		fleet = append(fleet, runs(fmt.Sprintf("unknown-%04d", i), ""))
	}
	fleet[1] = runs("plc-0", "")
	now = now.Add(cachedFresh)
	shows(map[string]float64{"plc-3.3.0 north": 40*day + 4*cachedFresh.Seconds(), "plc-3.3.0 south": 0}, "a version that is not known counts as owing")
	require.Equal(t, 2, asked, "over all pages")
}
