package service

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/singleflight"

	"edgefleet/devices/fleet"
	"edgefleet/devices/fleetdir"
)

const (
	// maxProbes bounds the probes at once; a scrape that finds no room waits.
	maxProbes = 64
	// probeTimeout bounds a probe, and the wait for it where the scraper does
	// not say how long it waits.
	probeTimeout = 9 * time.Second
	// scrapeHeader is how Prometheus says how long it waits, in seconds.
	scrapeHeader = "X-Prometheus-Scrape-Timeout-Seconds"
	// scrapeMargin is what is left of that time for the answer's way back.
	scrapeMargin = 500 * time.Millisecond
)

// diagnoser is what probing needs of fleet.Operator.
type diagnoser interface {
	Fleet() *fleetdir.Fleet
	Probe(ctx context.Context, id string) (fleet.Diagnosis, error)
	Drift(ctx context.Context, id string) (fleet.DriftReport, error)
}

// prober answers /probe?device=ID for Prometheus: the device's series, or 503
// when it is dark, so that the scrape fails and up is 0. Concurrent scrapes of
// one device share one probe.
type prober struct {
	// now gives what is served: an operator, and this worker's regions.
	now     func() (diagnoser, []string)
	slots   chan struct{}
	flights singleflight.Group
	results *prometheus.CounterVec
}

func newProber(now func() (diagnoser, []string), r prometheus.Registerer) *prober {
	p := &prober{now: now, slots: make(chan struct{}, maxProbes)}
	p.results = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "edgefleet_probes_total",
		Help: "Probes of devices for Prometheus, by result: ok, unreachable, or error when nothing could be found out.",
	}, []string{"result"})
	r.MustRegister(p.results)
	return p
}

// probed is what a probe found; err and dark exclude each other.
type probed struct {
	dark    string
	drifted int
	checked int
	took    time.Duration
}

func (p *prober) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	id := r.URL.Query().Get("device")
	operator, regions := p.now()
	d, _, err := operator.Fleet().Device(id)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusNotFound)
		return
	}
	if !slices.Contains(regions, d.Region) {
		// From here it would look dark, which says nothing of it.
		http.Error(rw, fmt.Sprintf("%s is in region %s, which this worker does not serve", id, d.Region), http.StatusNotFound)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), patienceOf(r))
	defer cancel()
	flight := p.flights.DoChan(id, func() (any, error) {
		// The first scraper may hang up; the others still want the answer.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), probeTimeout)
		defer cancel()
		return p.probe(ctx, operator, id)
	})
	select {
	case <-ctx.Done():
		http.Error(rw, "the probe of "+id+" took too long", http.StatusServiceUnavailable)
	case answer := <-flight:
		found, _ := answer.Val.(probed)
		switch {
		case answer.Err != nil:
			http.Error(rw, answer.Err.Error(), http.StatusServiceUnavailable)
		case found.dark != "":
			http.Error(rw, found.dark, http.StatusServiceUnavailable)
		default:
			found.serve(rw, r)
		}
	}
}

// patienceOf is how long the scraper waits for an answer.
func patienceOf(r *http.Request) time.Duration {
	seconds, err := strconv.ParseFloat(r.Header.Get(scrapeHeader), 64)
	wait := time.Duration(seconds*float64(time.Second)) - scrapeMargin
	if err != nil || wait <= 0 || wait > probeTimeout {
		return probeTimeout
	}
	return wait
}

func (p *prober) probe(ctx context.Context, operator diagnoser, id string) (probed, error) {
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return probed{}, fmt.Errorf("probe %s: %w", id, ctx.Err())
	}
	began := time.Now()
	found, err := operator.Probe(ctx, id)
	if err != nil {
		p.results.WithLabelValues("error").Inc()
		return probed{}, err
	}
	if !found.Reachable {
		p.results.WithLabelValues("unreachable").Inc()
		return probed{dark: found.Summary}, nil
	}
	drift, err := operator.Drift(ctx, id)
	if err != nil {
		p.results.WithLabelValues("error").Inc()
		return probed{}, err
	}
	p.results.WithLabelValues("ok").Inc()
	return probed{drifted: len(drift.Drifted), checked: drift.Checked, took: time.Since(began)}, nil
}

func (f probed) serve(rw http.ResponseWriter, r *http.Request) {
	registry := prometheus.NewRegistry()
	gauge := func(name, help string, value float64) {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
		g.Set(value)
		registry.MustRegister(g)
	}
	gauge("edge_probe_duration_seconds", "How long the device took to answer the probe.", f.took.Seconds())
	gauge("edge_config_drift_settings", "How many settings of the device differ from its baseline.", float64(f.drifted))
	gauge("edge_config_settings", "How many settings of the device were compared with its baseline.", float64(f.checked))
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(rw, r)
}
