package service

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"edgefleet/internal/httpserve"
)

func (w *Worker) newAdmin() (*httpserve.Server, error) {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(w.opts.Gatherer, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", w.ready)
	mux.HandleFunc("GET /sd", w.serviceDiscovery)
	mux.Handle("GET /probe", newProber(proberOptions{
		now: w.probed, writing: w.writeInFlight, observe: w.meter.observe, maxAge: w.opts.ProbeMaxAge,
	}, w.opts.Registerer))
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
