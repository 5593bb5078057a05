//go:build unix

package prometheus_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/dev/monitor"
	"edgefleet/dev/tools/toolchain"
)

// TestDevicesAreScrapedThroughTheirWorkerOrThroughTheirExporter asks a real
// Prometheus with the shipped configuration whom it scrapes for which device.
func TestDevicesAreScrapedThroughTheirWorkerOrThroughTheirExporter(t *testing.T) {
	exporter := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprintf(w, "node_asked{path=%q} 1\n", r.URL.RequestURI())
	}))
	defer exporter.Close()
	exporterAddr := strings.TrimPrefix(exporter.URL, "http://")
	labels := func(id string) map[string]string {
		return map[string]string{"device_id": id, "site": "s1", "region": "r", "class": "rtu", "profile": "feeder-rtu"}
	}
	worker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.RequestURI() == "/sd?exporters=probe":
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode([]map[string]any{{"targets": []string{"10.0.0.2:502"}, "labels": labels("edge-002")}})
		case r.URL.Path == "/sd":
			own := labels("edge-002")
			own["__meta_edgefleet_exporter"] = exporterAddr
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode([]map[string]any{
				{"targets": []string{"10.0.0.1:502"}, "labels": labels("edge-001")},
				{"targets": []string{exporterAddr}, "labels": own},
			})
		default:
			w.Header().Set("Content-Type", "text/plain; version=0.0.4")
			fmt.Fprintf(w, "worker_asked{path=%q} 1\n", r.URL.RequestURI())
		}
	}))
	defer worker.Close()
	workerAddr := strings.TrimPrefix(worker.URL, "http://")
	prom, err := monitor.StartPrometheus(t.Context(), monitor.PrometheusOptions{
		Common:     monitor.Common{DataDir: t.TempDir(), Program: toolchain.ForTest(t, "prometheus"), Addr: "127.0.0.1:0"},
		WorkerAddr: workerAddr, BridgeAddr: "127.0.0.1:1", AlertmanagerAddr: "127.0.0.1:1", ScrapeInterval: 200 * time.Millisecond,
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, prom.Stop()) }()
	defer http.DefaultClient.CloseIdleConnections()

	asked := func(series string) map[string]map[string]string {
		response, err := http.Get(prom.URL() + "/api/v1/query?query=" + url.QueryEscape(series))
		require.NoError(t, err)
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		var answer struct {
			Data struct {
				Result []struct{ Metric map[string]string }
			}
		}
		require.NoError(t, json.Unmarshal(body, &answer))
		out := map[string]map[string]string{}
		for _, r := range answer.Data.Result {
			delete(r.Metric, "__name__")
			out[r.Metric["job"]+" "+r.Metric["device_id"]] = r.Metric
		}
		return out
	}
	want := func(job, device, path string) map[string]string {
		out := labels(device)
		out["job"], out["instance"], out["worker"], out["path"] = job, device, workerAddr, path
		return out
	}
	require.Eventually(t, func() bool {
		return len(asked(`worker_asked{job=~"edge-.+"}`)) == 2 && len(asked("node_asked")) == 1
	}, 30*time.Second, 50*time.Millisecond)
	require.Equal(t, map[string]map[string]string{
		"edge-fleet edge-001": want("edge-fleet", "edge-001", "/probe?device=edge-001"),
		"edge-probe edge-002": want("edge-probe", "edge-002", "/probe?device=edge-002"),
	}, asked(`worker_asked{job=~"edge-.+"}`), "edge-002 is probed beside its exporter, under a job of its own")
	require.Equal(t, map[string]map[string]string{
		"edge-fleet edge-002": want("edge-fleet", "edge-002", "/metrics"),
	}, asked("node_asked"))
}
