package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"edgefleet/internal/store"
	"edgefleet/internal/temporalx"
	"edgefleet/workflows/contract"
)

func started(t *testing.T, o Options) *Worker {
	t.Helper()
	w, err := New(o)
	require.NoError(t, err)
	require.NoError(t, w.Start(context.Background()))
	t.Cleanup(func() { require.NoError(t, w.Stop(context.Background())) })
	return w
}

func fetch(t *testing.T, w *Worker, path string) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	answer, err := client.Get("http://" + w.AdminAddr() + path)
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(body)
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(text)
}

func TestTwoWorkersRunSideBySideEachForItsRegions(t *testing.T) {
	f, temporal := newFrontend(t)
	o := options(t, temporal)
	north, south := o, o
	north.Regions, south.Regions = []string{"north"}, []string{"south"}
	a, b := started(t, north), started(t, south)
	require.NotEqual(t, a.AdminAddr(), b.AdminAddr())
	require.Eventually(t, func() bool { return len(f.queues()) == 4 }, 10*time.Second, time.Millisecond)
	require.Equal(t, map[string]bool{
		"workflows of edgefleet": true, "activities of edgefleet": true,
		"activities of edgefleet.north": true, "activities of edgefleet.south": true,
	}, f.queues())

	_, body := fetch(t, a, "/sd")
	var groups []targetGroup
	require.NoError(t, json.Unmarshal([]byte(body), &groups))
	require.Equal(t, []targetGroup{{Targets: []string{"127.0.0.1:2"}, Labels: map[string]string{
		"device_id": "edge-001", "site": "s1", "region": "north", "class": "rtu", "profile": "feeder-rtu",
		"__meta_edgefleet_tag_environment": "production", "__meta_edgefleet_tag_cost_centre": "42",
	}}}, groups)
	_, body = fetch(t, b, "/sd")
	require.Contains(t, body, "edge-002")
	require.NotContains(t, body, "edge-001")

	code, body := fetch(t, a, "/metrics")
	require.Equal(t, http.StatusOK, code)
	require.NotContains(t, body, "edge-002")
	code, _ = fetch(t, a, "/healthz")
	require.Equal(t, http.StatusOK, code)
}

func TestServiceDiscoveryIsEmptyWithoutMonitoring(t *testing.T) {
	_, temporal := newFrontend(t)
	o := options(t, temporal)
	file := filepath.Join(o.FleetDir, "fleet.yaml")
	write(t, file, strings.Replace(read(t, file), "monitoring: true", "monitoring: false", 1), 0o600)
	_, body := fetch(t, started(t, o), "/sd")
	require.Equal(t, "[]\n", body)
}

func TestReadyzSaysWhatIsAway(t *testing.T) {
	f, temporal := newFrontend(t)
	w := started(t, options(t, temporal))
	code, body := fetch(t, w, "/readyz")
	require.Equal(t, http.StatusOK, code, body)

	f.locked(func() { f.away = serviceerror.NewNamespaceNotFound("default") })
	code, body = fetch(t, w, "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Contains(t, body, `has no namespace "default"`)
	f.locked(func() { f.away = nil })

	require.NoError(t, w.store.Close())
	code, body = fetch(t, w, "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Contains(t, body, "closed")

	w.isNow("stopping")
	_, body = fetch(t, w, "/readyz")
	require.Equal(t, "stopping\n", body)
}

func TestStopIsIdempotent(t *testing.T) {
	_, temporal := newFrontend(t)
	w := started(t, options(t, temporal))
	addr := w.AdminAddr()
	require.NoError(t, w.Stop(context.Background()))
	require.NoError(t, w.Stop(context.Background()))
	_, err := net.DialTimeout("tcp", addr, time.Second)
	require.Error(t, err, "the admin port is closed")
	require.ErrorContains(t, w.store.Ping(context.Background()), "closed")
}

func TestAWorkerThatNeverStartedStops(t *testing.T) {
	w, err := New(options(t, temporalx.Options{}))
	require.NoError(t, err)
	require.Empty(t, w.AdminAddr())
	require.NoError(t, w.Stop(context.Background()))
}

func TestAStartThatFailsLeavesNothingBehind(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	for _, c := range []struct {
		name   string
		change func(*Options, *frontend)
		says   string
	}{
		{"Temporal is away", func(o *Options, _ *frontend) { o.Temporal.Address = closedPort(t) }, "does not answer"},
		{"the store's folder is not there", func(o *Options, _ *frontend) {
			o.StoreURL = "sqlite:" + filepath.Join(t.TempDir(), "absent", "store.db")
		}, "open store"},
		{"the admin port is taken", func(o *Options, _ *frontend) { o.AdminAddr = taken.Addr().String() }, "--admin: cannot listen on"},
		{"an attribute has another type", func(_ *Options, f *frontend) {
			f.attributes[contract.AttrSite] = enumspb.INDEXED_VALUE_TYPE_INT
		}, "use a namespace of its own for edgefleet"},
		{"attributes are missing and may not be made", func(_ *Options, f *frontend) {
			f.addErr = serviceerror.NewPermissionDenied("not yours", "")
		}, "create them as Keyword with: temporal operator search-attribute create"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, temporal := newFrontend(t)
			o := options(t, temporal)
			c.change(&o, f)
			w, err := New(o)
			require.NoError(t, err)
			require.ErrorContains(t, w.Start(context.Background()), c.says)
			require.Empty(t, f.queues(), "no work was taken up")
			if w.store != nil {
				require.Error(t, w.store.Ping(context.Background()), "the store is closed")
			}
		})
	}
}

func TestSearchAttributesAreCreatedWhereTheyAreMissing(t *testing.T) {
	for name, prepare := range map[string]func(*frontend){
		"none is there": func(*frontend) {},
		"one is there":  func(f *frontend) { f.attributes[contract.AttrSite] = enumspb.INDEXED_VALUE_TYPE_KEYWORD },
		"another worker was faster": func(f *frontend) {
			f.addErr = serviceerror.NewAlreadyExists("there already")
		},
		"this worker may not even look": func(f *frontend) { f.listErr = serviceerror.NewPermissionDenied("not yours", "") },
	} {
		t.Run(name, func(t *testing.T) {
			f, temporal := newFrontend(t)
			prepare(f)
			started(t, options(t, temporal))
			if f.addErr == nil && f.listErr == nil {
				require.Len(t, f.attributes, len(contract.SearchAttributes()))
			}
		})
	}
}

func TestWhatIsKnownOfARun(t *testing.T) {
	f, temporal := newFrontend(t)
	w := started(t, options(t, temporal))
	f.locked(func() {
		f.statuses["w running"] = enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING
		f.statuses["w terminated"] = enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED
	})
	for run, want := range map[string]bool{"running": false, "terminated": true, "outlived its retention": true} {
		closed, err := w.closed(context.Background(), store.Owner{WorkflowID: "w", RunID: run})
		require.NoError(t, err)
		require.Equal(t, want, closed, run)
	}
	f.locked(func() { f.away = serviceerror.NewNamespaceNotFound("default") })
	closed, err := w.closed(context.Background(), store.Owner{WorkflowID: "w", RunID: "terminated"})
	require.Error(t, err)
	require.False(t, closed, "that Temporal cannot say is never a yes")
}

func TestTheLeaseOfATerminatedRunIsGivenBack(t *testing.T) {
	f, temporal := newFrontend(t)
	o := options(t, temporal)
	o.Housekeeping = 5 * time.Millisecond
	w := started(t, o)
	ctx := context.Background()
	owner := store.Owner{WorkflowID: "w", RunID: "r"}
	f.locked(func() { f.statuses["w r"] = enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING })
	episode, err := w.store.BeginEpisode(ctx, store.EpisodeBegin{DeviceID: "edge-001", Owner: owner, Reason: "drill"})
	require.NoError(t, err)
	_, err = w.store.LeaseOf(ctx, "edge-001")
	require.NoError(t, err)

	f.locked(func() { f.statuses["w r"] = enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED })
	require.Eventually(t, func() bool {
		_, err := w.store.LeaseOf(ctx, "edge-001")
		return errors.Is(err, store.ErrNotFound)
	}, 10*time.Second, 5*time.Millisecond)
	incident, err := w.store.Incident(ctx, episode.Incident.ID)
	require.NoError(t, err)
	require.Equal(t, store.StatusAbandoned, incident.Status)
}

func TestRunEndsWithItsContext(t *testing.T) {
	_, temporal := newFrontend(t)
	core, logs := observer.New(zap.InfoLevel)
	o := options(t, temporal)
	o.Logger = zap.New(core)
	w, err := New(o)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()
	require.Eventually(t, func() bool { return logs.FilterMessage("worker is up").Len() == 1 }, 10*time.Second, time.Millisecond)
	cancel()
	require.NoError(t, <-ended)
}

func TestRunEndsWhenItCanNoLongerWork(t *testing.T) {
	_, temporal := newFrontend(t)
	w, err := New(options(t, temporal))
	require.NoError(t, err)
	w.fail(fmt.Errorf("poll: %w", serviceerror.NewNamespaceNotFound("default")))
	w.fail(errors.New("a second one is not waited for"))
	require.ErrorContains(t, w.Run(context.Background()), `has no namespace "default"`)
}

func TestTwoWorkersWithRegistriesOfTheirOwnDoNotMeet(t *testing.T) {
	for range 2 {
		r := prometheus.NewRegistry()
		o := options(t, temporalx.Options{})
		o.Registerer, o.Gatherer = r, r
		w, err := New(o)
		require.NoError(t, err)
		require.NoError(t, w.Stop(context.Background()))
	}
}
