//go:build unix

package prometheus_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	client "github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"edgefleet/dev/app"
	"edgefleet/dev/engine"
	"edgefleet/dev/monitor"
	"edgefleet/dev/sample"
	"edgefleet/dev/simfleet"
	"edgefleet/dev/tools/toolchain"
	"edgefleet/internal/temporalx"
	"edgefleet/worker/service"
)

// TestMain lets the test program play the supervisor of Prometheus and the
// simulated fleet, too.
func TestMain(m *testing.M) {
	monitor.Supervise()
	if len(os.Args) > 1 && os.Args[1] == "simulate" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		code := app.Main(ctx, os.Args, os.Stdout, os.Stderr)
		stop()
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// scraped is a worker in this process with devices in another, and Prometheus
// in a third.
type scraped struct {
	b    *testing.B
	prom *monitor.Server
}

func scrape(b *testing.B, devices int, every time.Duration) *scraped {
	b.Helper()
	const anyPort = "127.0.0.1:0"
	prometheus := toolchain.ForTest(b, "prometheus")
	dir := b.TempDir()
	exe, err := os.Executable()
	require.NoError(b, err)
	state := filepath.Join(dir, "simfleet.json")
	fleet, err := simfleet.Spawn(b.Context(), exe, []string{"simulate", "--data-dir", dir, "--devices", strconv.Itoa(devices)}, state)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, fleet.Stop(context.Background())) })
	running, err := fleet.Devices(b.Context())
	require.NoError(b, err)
	var declared []sample.Device
	for _, d := range running {
		if d.Profile == "feeder-rtu" && len(declared) < devices {
			declared = append(declared, sample.Device{ID: d.ID, Profile: d.Profile, Address: d.Address, Class: "rtu"})
		}
	}
	require.Len(b, declared, devices)
	require.NoError(b, sample.Write(filepath.Join(dir, "fleet"), strings.TrimPrefix(fleet.URL(), "http://"), declared))

	e, err := engine.New(engine.Options{DataDir: filepath.Join(dir, "temporal"), FrontendAddr: anyPort, NoUI: true})
	require.NoError(b, err)
	require.NoError(b, e.Start(b.Context()))
	b.Cleanup(func() { require.NoError(b, e.Stop()) })
	registry := client.NewRegistry()
	w, err := service.New(service.Options{
		FleetDir: filepath.Join(dir, "fleet"), StoreURL: "sqlite:" + filepath.Join(dir, "store.db"), AdminAddr: anyPort,
		Watch: service.WatchDeclared, Temporal: temporalx.Options{Address: e.Addr(), Namespace: e.Namespace()},
		Registerer: registry, Gatherer: registry,
	})
	require.NoError(b, err)
	require.NoError(b, w.Start(b.Context()))
	b.Cleanup(func() { require.NoError(b, w.Stop(context.Background())) })
	prom, err := monitor.StartPrometheus(b.Context(), monitor.PrometheusOptions{
		Common:     monitor.Common{DataDir: dir, Program: prometheus, Addr: anyPort},
		WorkerAddr: w.AdminAddr(), BridgeAddr: "127.0.0.1:1", AlertmanagerAddr: "127.0.0.1:1", ScrapeInterval: every,
	})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, prom.Stop()) })
	return &scraped{b, prom}
}

// value is the one result of a query, or -1 while there is none.
func (s *scraped) value(query string) float64 {
	s.b.Helper()
	response, err := http.Get(s.prom.URL() + "/api/v1/query?query=" + url.QueryEscape(query))
	require.NoError(s.b, err)
	defer response.Body.Close()
	var answer struct {
		Data struct{ Result []struct{ Value [2]any } }
	}
	require.NoError(s.b, json.NewDecoder(response.Body).Decode(&answer))
	if len(answer.Data.Result) == 0 {
		return -1
	}
	value, err := strconv.ParseFloat(fmt.Sprint(answer.Data.Result[0].Value[1]), 64)
	require.NoError(s.b, err)
	return value
}

// used is the processor time of this process so far.
func used(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkThousandDevices says what 1,000 devices cost that are scraped every
// 30 seconds. One iteration is one such interval; run it with -benchtime 2x.
// The processor time and the memory are those of the worker and of Temporal's
// embedded server, which idles.
func BenchmarkThousandDevices(b *testing.B) {
	const devices, every = 1000, 30 * time.Second
	s := scrape(b, devices, every)
	defer http.DefaultClient.CloseIdleConnections()
	deadline := time.Now().Add(4 * every)
	poll := time.NewTicker(time.Second)
	defer poll.Stop()
	for s.value(`sum(up{job="edge-fleet"})`) < devices {
		require.True(b, time.Now().Before(deadline), "%v devices are up", s.value(`sum(up{job="edge-fleet"})`))
		<-poll.C
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	before := used(b)
	b.ResetTimer()
	for range b.N {
		<-ticker.C
	}
	b.StopTimer()
	cpu := used(b) - before
	var memory runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&memory)
	require.EqualValues(b, devices, s.value(`sum(up{job="edge-fleet"})`))
	b.ReportMetric(100*cpu.Seconds()/(every.Seconds()*float64(b.N)), "%cpu-of-one-core")
	b.ReportMetric(float64(cpu.Microseconds())/float64(devices*b.N), "µs-cpu/probe")
	b.ReportMetric(float64(memory.HeapInuse)/(1<<20), "MiB-heap")
	b.ReportMetric(float64(memory.Sys)/(1<<20), "MiB-from-system")
	b.ReportMetric(1000*s.value(`quantile(0.5, scrape_duration_seconds{job="edge-fleet"})`), "ms-scrape-p50")
	b.ReportMetric(1000*s.value(`quantile(0.99, scrape_duration_seconds{job="edge-fleet"})`), "ms-scrape-p99")
	b.ReportMetric(1000*s.value(`scrape_duration_seconds{job="edgefleet-worker"}`), "ms-scrape-worker")
}
