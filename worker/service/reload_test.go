package service

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
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
	"edgefleet/internal/temporalx"
)

// watched is a worker that was not started, whose watcher looks when the test
// says so, and whose queues are names.
type watched struct {
	*Worker
	t        *testing.T
	logs     *observer.ObservedLogs
	registry *prometheus.Registry
	queued   []string
	// refusal is why regions cannot be taken up.
	refusal error
}

func watch(t *testing.T, change func(*Options)) *watched {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	o := options(t, temporalx.Options{})
	w := &watched{t: t, logs: logs, registry: prometheus.NewRegistry()}
	o.Logger, o.Registerer, o.Gatherer = zap.New(core), w.registry, w.registry
	if change != nil {
		change(&o)
	}
	var err error
	w.Worker, err = New(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Stop(t.Context())) })
	w.queued = w.now.Load().regions
	w.watcher.follow = func(regions []string) (taken, left []string, err error) {
		if fmt.Sprint(w.queued) == fmt.Sprint(regions) {
			return nil, nil, nil
		}
		if w.refusal != nil {
			return nil, nil, w.refusal
		}
		w.queued = regions
		return regions, nil, nil
	}
	return w
}

// put writes a file of the fleet directory.
func (w *watched) put(name, text string) {
	w.t.Helper()
	write(w.t, filepath.Join(w.opts.FleetDir, filepath.FromSlash(name)), text, 0o600)
}

// edit replaces text in fleet.yaml.
func (w *watched) edit(old, new string) {
	w.t.Helper()
	text := read(w.t, filepath.Join(w.opts.FleetDir, "fleet.yaml"))
	require.Contains(w.t, text, old)
	w.put("fleet.yaml", strings.Replace(text, old, new, 1))
}

// look has the watcher look n times.
func (w *watched) look(n int) {
	for range n {
		w.watcher.round()
	}
}

func (w *watched) revision() string { return w.now.Load().declared().Revision() }

// onDisk is the revision of the directory as it stands.
func (w *watched) onDisk() string {
	w.t.Helper()
	f, err := fleetdir.Load(w.opts.FleetDir)
	require.NoError(w.t, err)
	return f.Revision()
}

// series are the fleet's, as "name{label,label} value".
func (w *watched) series() map[string]float64 {
	w.t.Helper()
	families, err := w.registry.Gather()
	require.NoError(w.t, err)
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			if name, ok := strings.CutPrefix(f.GetName(), "edgefleet_fleet_"); ok {
				out[name+"{"+strings.Join(labels, ",")+"}"] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return out
}

const third = "  - {id: edge-003, site: s1, region: north, class: rtu, profile: feeder-rtu, address: \"127.0.0.1:4\"}\n"

func TestAChangeIsTakenUpAfterTwoEqualLooks(t *testing.T) {
	w := watch(t, nil)
	first := w.revision()
	w.look(3)
	require.Equal(t, first, w.revision())
	require.Zero(t, w.logs.Len(), "nothing changed, so nothing is said")

	w.edit("devices:\n", "devices:\n"+third)
	held := w.now.Load().operator
	w.look(1)
	require.Equal(t, first, w.revision(), "somebody may still be writing")
	w.look(1)
	require.Equal(t, w.onDisk(), w.revision())
	require.NotEqual(t, first, w.revision())
	require.Equal(t, []string{first}, w.now.Load().former, "a plan that was begun with it is told that it is over")
	require.Equal(t, map[string]float64{"info{," + w.revision() + "}": 1, "devices{}": 3,
		"reload_failed{}": 0, "reloads_total{ok}": 1, "reloads_total{failed}": 0}, w.series())
	entry := w.logs.FilterMessage("fleet directory reloaded").All()
	require.Len(t, entry, 1)
	require.Equal(t, first, entry[0].ContextMap()["before"])
	require.Equal(t, w.revision(), entry[0].ContextMap()["revision"])

	_, _, err := held.Fleet().Device("edge-003")
	require.Error(t, err, "work that began before ends with what it began with")
	answer := httptest.NewRecorder()
	w.serviceDiscovery(answer, httptest.NewRequest(http.MethodGet, "/sd", nil))
	require.Contains(t, answer.Body.String(), "edge-003")
	operator, _ := w.probed()
	_, _, err = operator.Fleet().Device("edge-003")
	require.NoError(t, err)
}

func TestADirectoryThatIsBeingWrittenIsLeftAlone(t *testing.T) {
	w := watch(t, nil)
	first := w.revision()
	for i := range 5 {
		w.put("runbooks/new.py", strings.Repeat("#", i+1))
		w.look(1)
		require.Equal(t, first, w.revision())
	}
	require.Zero(t, w.logs.Len())
	w.look(1)
	require.Equal(t, w.onDisk(), w.revision())
	source, err := w.now.Load().declared().Runbooks.Source("new.py")
	require.NoError(t, err)
	require.Equal(t, "#####", source)
}

func TestADirectoryWithAMistakeChangesNothing(t *testing.T) {
	w := watch(t, nil)
	first := w.revision()
	broken := "the fleet directory is not taken up; the revision before it stays"

	w.edit("region: south", "region: mars")
	w.put("edge-configs/standard.yaml", "name: feeder-standard\nversion: 8\nprofile: feeder-rtu\nsettings: {undervoltage_trip: 1000}\n")
	w.look(10)
	require.Equal(t, first, w.revision())
	entries := w.logs.FilterMessage(broken).All()
	require.Len(t, entries, 1, "it is said once")
	mistakes := entries[0].ContextMap()["mistakes"].([]any)
	require.Len(t, mistakes, 2, "all of them: %v", mistakes)
	require.Contains(t, mistakes[0], "edge-configs/standard.yaml:4: ")
	require.Contains(t, mistakes[1], `fleet.yaml:9: unknown region "mars"`)
	require.Equal(t, 1.0, w.series()["reload_failed{}"])
	require.Equal(t, 1.0, w.series()["reloads_total{failed}"], "what did not change is not tried again")
	require.Equal(t, 1.0, w.series()["info{,"+first+"}"])

	w.put("edge-configs/standard.yaml", baseline)
	w.look(2)
	require.Equal(t, 2, w.logs.FilterMessage(broken).Len(), "another mistake is said as well")
	w.edit("region: mars", "region: south")
	w.look(2)
	require.Equal(t, first, w.revision())
	require.Zero(t, w.series()["reload_failed{}"])
	require.Equal(t, 1, w.logs.FilterMessage("the fleet directory is again what is served").Len())
	require.Zero(t, w.series()["reloads_total{ok}"], "it is the revision that was served all the time")
}

func TestWhatWouldKeepAWorkerFromStartingIsNotTakenUp(t *testing.T) {
	for name, c := range map[string]struct {
		options func(*Options)
		change  func(w *watched)
		says    string
	}{
		"a region of --regions is gone": {func(o *Options) { o.Regions = []string{"south"} },
			func(w *watched) { w.edit("region: south", "region: north"); w.edit(", south: {}", "") }, `--regions: the fleet has no region "south"; it has north`},
		"the fleet file is gone": {nil, func(w *watched) {
			require.NoError(w.t, os.RemoveAll(w.opts.FleetDir))
		}, "a fleet directory has a fleet.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			w := watch(t, c.options)
			first := w.revision()
			c.change(w)
			w.look(4)
			require.Equal(t, first, w.revision())
			entries := w.logs.All()
			require.Len(t, entries, 1)
			require.Contains(t, fmt.Sprint(entries[0].ContextMap()["mistakes"]), c.says)
			require.Equal(t, 1.0, w.series()["reload_failed{}"])
		})
	}
}

func TestWhatTheMachineRefusesToReadIsTriedAgainWithoutAChange(t *testing.T) {
	w := watch(t, nil)
	first, serve := w.revision(), w.watcher.serve
	refused := 0
	w.watcher.serve = func(f *fleetdir.Fleet) (*served, error) {
		if refused++; refused <= 3 {
			return nil, fmt.Errorf("read the fleet directory: %w", &fs.PathError{Op: "open", Path: "fleet.yaml", Err: errors.New("input/output error")})
		}
		return serve(f)
	}
	w.edit("devices:\n", "devices:\n"+third)
	w.look(4)
	require.Equal(t, first, w.revision())
	require.Equal(t, 3.0, w.series()["reloads_total{failed}"])
	require.Equal(t, 1, w.logs.Len(), "it is said once")
	w.look(1)
	require.Equal(t, w.onDisk(), w.revision())
	require.Zero(t, w.series()["reload_failed{}"])
}

func TestRegionsFollowTheFleetWhereNoneWereNamed(t *testing.T) {
	w := watch(t, nil)
	require.Equal(t, []string{"north", "south"}, w.queued)
	w.edit("south: {}", "south: {}, east: {}")
	w.look(2)
	require.Equal(t, []string{"east", "north", "south"}, w.queued)
	w.edit(", east: {}", "")
	w.look(2)
	require.Equal(t, []string{"north", "south"}, w.queued)

	named := watch(t, func(o *Options) { o.Regions = []string{"north"} })
	named.edit("south: {}", "south: {}, east: {}")
	named.look(2)
	require.Equal(t, named.onDisk(), named.revision())
	require.Equal(t, []string{"north"}, named.queued, "the operator said which")
}

func TestARegionThatCannotBeTakenUpIsTriedAgain(t *testing.T) {
	w := watch(t, nil)
	w.refusal = errors.New("Temporal does not answer")
	w.edit("south: {}", "south: {}, east: {}")
	w.look(5)
	require.Equal(t, w.onDisk(), w.revision())
	require.Equal(t, 1, w.logs.FilterMessage("a region is not served yet; it is tried again").Len())
	require.Equal(t, 1.0, w.series()["reload_failed{}"])
	w.refusal = nil
	w.look(1)
	require.Equal(t, []string{"east", "north", "south"}, w.queued)
	require.Zero(t, w.series()["reload_failed{}"])
}

func TestTheCommitIsFollowedEvenWhenItChangesNothingElse(t *testing.T) {
	w := watch(t, nil)
	for _, commit := range []string{strings.Repeat("1", 40), strings.Repeat("2", 40)} {
		w.put(".git/HEAD", commit+"\n")
		w.look(1)
		require.Equal(t, 1.0, w.series()["info{"+commit+","+w.revision()+"}"])
	}
	require.Zero(t, w.logs.Len())
	w.edit("region: south", "region: mars")
	w.put(".git/HEAD", strings.Repeat("3", 40)+"\n")
	w.look(3)
	require.Equal(t, 1.0, w.series()["info{"+strings.Repeat("2", 40)+","+w.revision()+"}"], "the commit of what is served")
}

// TestWhatIsServedIsAlwaysARevisionThatStood changes the directory at random
// between looks.
func TestWhatIsServedIsAlwaysARevisionThatStood(t *testing.T) {
	w := watch(t, nil)
	good := map[string]bool{w.revision(): true}
	stamp := time.Now()
	rapid.Check(t, func(rt *rapid.T) {
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"look", "good", "broken"}).Draw(rt, "step") {
			case "look":
				w.look(1)
			case "good":
				n := rapid.IntRange(1, 4).Draw(rt, "version")
				w.put("edge-configs/standard.yaml", strings.Replace(baseline, "version: 7", fmt.Sprintf("version: %d", n), 1))
				good[w.onDisk()] = true
			case "broken":
				w.put("edge-configs/standard.yaml", "name: [")
			}
			// Writes within one tick of the file system's clock are told apart.
			stamp = stamp.Add(time.Millisecond)
			require.NoError(t, os.Chtimes(filepath.Join(w.opts.FleetDir, "edge-configs", "standard.yaml"), stamp, stamp))
			if !good[w.revision()] {
				rt.Fatalf("%s never stood", w.revision())
			}
		}
		w.look(2)
		f, err := fleetdir.Load(w.opts.FleetDir)
		if err == nil && f.Revision() != w.revision() {
			rt.Fatalf("two equal looks at %s, and %s is served", f.Revision(), w.revision())
		}
		if failed := w.series()["reload_failed{}"] == 1; failed != (err != nil) {
			rt.Fatalf("reload_failed is %v, and the directory says %v", failed, err)
		}
	})
}
