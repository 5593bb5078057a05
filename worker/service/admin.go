package service

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"edgefleet/internal/httpserve"
)

func (w *Worker) newAdmin() (*httpserve.Server, error) {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(w.opts.Gatherer, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", w.ready)
	mux.HandleFunc("GET /sd", w.serviceDiscovery)
	mux.Handle("GET /probe", newProber(w.probed, w.opts.Registerer))
	return httpserve.New(httpserve.Options{
		Name: "admin", Address: w.opts.AdminAddr, WebConfigFile: w.opts.WebConfigFile, Handler: mux, Logger: w.opts.Logger,
	})
}

// probed is what /probe works with.
func (w *Worker) probed() (diagnoser, []string) {
	now := w.now.Load()
	return now.operator, now.regions
}

// ready answers 503 with the reason while the worker starts or stops, and
// while Temporal or the store is away.
func (w *Worker) ready(rw http.ResponseWriter, r *http.Request) {
	if word := *w.life.Load(); word != "" {
		http.Error(rw, word, http.StatusServiceUnavailable)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	err := w.conn.Check(ctx)
	if err == nil {
		err = w.store.Ping(ctx)
	}
	if err != nil {
		http.Error(rw, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = rw.Write([]byte("ready\n"))
}

// targetGroup is Prometheus' HTTP service discovery format.
type targetGroup struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// serviceDiscovery lists the devices of this worker's regions: the address of
// the device as the target, which the scrape configuration turns into a probe
// of this worker.
func (w *Worker) serviceDiscovery(rw http.ResponseWriter, _ *http.Request) {
	groups := []targetGroup{}
	now := w.now.Load()
	if inv := now.declared().Inventory; inv.Monitoring {
		for _, d := range inv.Devices {
			if !slices.Contains(now.regions, d.Region) {
				continue
			}
			labels := map[string]string{"device_id": d.ID, "site": d.Site, "region": d.Region, "class": d.Class, "profile": d.Profile}
			for name, value := range inv.Tags {
				labels["__meta_edgefleet_tag_"+labelName(name)] = value
			}
			groups = append(groups, targetGroup{Targets: []string{d.Address}, Labels: labels})
		}
	}
	rw.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(rw).Encode(groups); err != nil {
		w.opts.Logger.Debug("service discovery was not read to its end", zap.Error(err))
	}
}

// labelName makes of a tag's name what Prometheus takes as part of a label's.
func labelName(tag string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || (r >= '0' && r <= '9') || (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z') {
			return r
		}
		return '_'
	}, tag)
}
