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
	"go.uber.org/zap/zaptest/observer"
	"pgregory.net/rapid"

	"edgefleet/devices/fleetdir"
	"edgefleet/devices/inventory"
	"edgefleet/internal/store"
)

// observed is a meter over a real store, with a clock that the test moves.
type observed struct {
	*meter
	t        testing.TB
	store    *store.Store
	registry *prometheus.Registry
	now      time.Time
}

func openUptime(t testing.TB, url string, clock func() time.Time) *store.Store {
	t.Helper()
	s, err := store.Open(context.Background(), url, store.Options{Clock: clock})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func newObserved(t testing.TB, url string, inv *inventory.Inventory) *observed {
	t.Helper()
	w := &observed{t: t, registry: prometheus.NewRegistry(), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	w.store = openUptime(t, url, func() time.Time { return w.now })
	w.meter = newMeter(func() (*inventory.Inventory, []string) { return inv, []string{"north"} }, zap.NewNop(), w.registry)
	w.clock = func() time.Time { return w.now }
	return w
}

// sees lets the device be seen in states, seconds apart.
func (w *observed) sees(device string, seconds int, states ...string) {
	for _, s := range states {
		w.now = w.now.Add(time.Duration(seconds) * time.Second)
		w.observe(device, s)
	}
}

// series are the counters as Prometheus reads them.
func (w *observed) series() map[string]float64 {
	w.t.Helper()
	families, err := w.registry.Gather()
	require.NoError(w.t, err)
	out := map[string]float64{}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "edge_") {
			continue
		}
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			out[f.GetName()+" "+strings.Join(labels, ",")] = m.GetCounter().GetValue()
		}
	}
	return out
}

func twoNorthOneSouth(t testing.TB) *inventory.Inventory {
	t.Helper()
	// fleetDir is a test's; a testing.TB of a benchmark is never given.
	f, err := fleetdir.Load(fleetDir(t.(*testing.T), "127.0.0.1:1", "edge-001 127.0.0.1:2 north", "edge-002 127.0.0.1:3 north", "edge-003 127.0.0.1:4 south"))
	require.NoError(t, err)
	return f.Inventory
}

const edge001 = "class=rtu,device_id=edge-001,region=north,site=s1"

func TestUptimeIsWhatTheProbesSaw(t *testing.T) {
	for name, c := range map[string]struct {
		every    int
		states   []string
		up, down float64
	}{
		"one look tells of no time":                        {30, []string{"up"}, 0, 0},
		"between two looks that agree, it was as they say": {30, []string{"up", "up", "up"}, 60, 0},
		"dark is down":                               {30, []string{"down", "down"}, 0, 30},
		"a change is taken to be in the middle":      {30, []string{"up", "down"}, 15, 15},
		"what could not be found out counts nowhere": {30, []string{"up", "", "up"}, 30, 0},
		"nor does what nobody saw":                   {121, []string{"up", "up", "down", "down"}, 0, 0},
		"two minutes are not too long":               {120, []string{"down", "down"}, 0, 120},
	} {
		t.Run(name, func(t *testing.T) {
			w := newObserved(t, "sqlite:"+filepath.Join(t.TempDir(), "store.db"), twoNorthOneSouth(t))
			require.Empty(t, w.series(), "before the store was read there are no counters that begin anew")
			w.sees("edge-001", c.every, c.states...)
			w.save(context.Background(), w.store)
			require.Equal(t, map[string]float64{
				"edge_uptime_total " + edge001: c.up, "edge_downtime_total " + edge001: c.down,
				"edge_uptime_total class=rtu,device_id=edge-002,region=north,site=s1":   0,
				"edge_downtime_total class=rtu,device_id=edge-002,region=north,site=s1": 0,
			}, w.series(), "of the devices of this worker's regions, and of no others")
		})
	}
}

func TestUptimeGoesOnOverARestart(t *testing.T) {
	url, inv := "sqlite:"+filepath.Join(t.TempDir(), "store.db"), twoNorthOneSouth(t)
	w := newObserved(t, url, inv)
	w.sees("edge-001", 30, "up", "up")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	w.run(ctx, w.store, time.Hour)
	again := newObserved(t, url, inv)
	again.now = w.now
	again.save(context.Background(), again.store)
	require.Equal(t, 30.0, again.series()["edge_uptime_total "+edge001], "before anything is seen")
	again.sees("edge-001", 50, "down")
	again.save(context.Background(), again.store)
	require.Equal(t, 55.0, again.series()["edge_uptime_total "+edge001], "a short restart is between two looks")
	require.Equal(t, 25.0, again.series()["edge_downtime_total "+edge001])
}

// flaky is a store that sometimes says that it is away, after it has done what
// it was asked, or before.
type flaky struct {
	*store.Store
	fail func() (before, after bool)
}

func (f *flaky) AddUptime(ctx context.Context, spans []store.UptimeSpan) ([]store.Uptime, error) {
	before, after := f.fail()
	if before {
		return nil, errors.New("away")
	}
	out, err := f.Store.AddUptime(ctx, spans)
	if after {
		return nil, errors.New("away before it could say so")
	}
	return out, err
}

// TestNoSecondIsLostOrCountedTwiceWhileTheStoreComesAndGoes plays two workers
// of one region whose store fails at any time: in the end, up and down are the
// time from the first look to the last.
func TestNoSecondIsLostOrCountedTwiceWhileTheStoreComesAndGoes(t *testing.T) {
	inv, dir, runs := twoNorthOneSouth(t), t.TempDir(), 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		w := newObserved(t, fmt.Sprintf("sqlite:%s/%d.db", dir, runs), inv)
		other := newMeter(w.declared, zap.NewNop(), prometheus.NewRegistry())
		other.clock = w.clock
		f := &flaky{w.store, func() (bool, bool) { return rapid.Bool().Draw(rt, "before"), rapid.Bool().Draw(rt, "after") }}
		workers := []*meter{w.meter, other}
		state := rapid.SampledFrom([]string{"up", "down"})
		began := w.now
		for range rapid.IntRange(1, 12).Draw(rt, "looks") {
			// Every worker looks within maxUnseen, so all of the time is told.
			for _, m := range workers {
				m.observe("edge-001", state.Draw(rt, "state"))
			}
			if rapid.Bool().Draw(rt, "save") {
				workers[rapid.IntRange(0, 1).Draw(rt, "who")].save(context.Background(), f)
			}
			w.now = w.now.Add(time.Duration(rapid.IntRange(0, 100).Draw(rt, "seconds")) * time.Second)
		}
		for _, m := range workers {
			m.observe("edge-001", state.Draw(rt, "state"))
			m.save(context.Background(), w.store)
		}
		list, err := w.store.Uptimes(context.Background(), "", 0)
		require.NoError(rt, err)
		require.Len(rt, list, 1)
		require.InDelta(rt, w.now.Sub(began).Seconds(), (list[0].Up + list[0].Down).Seconds(), 0.001)
	})
}

func TestAStoreThatIsAwayIsToldOnce(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	w := newObserved(t, "sqlite:"+filepath.Join(t.TempDir(), "store.db"), twoNorthOneSouth(t))
	w.logger = zap.New(core)
	away := true
	f := &flaky{w.store, func() (bool, bool) { return away, false }}
	for range 3 {
		w.sees("edge-001", 30, "up")
		w.save(context.Background(), f)
	}
	require.Equal(t, 1, logs.Len())
	away = false
	w.save(context.Background(), f)
	require.Equal(t, 60.0, w.series()["edge_uptime_total "+edge001])
}
