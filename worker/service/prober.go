package service

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/singleflight"

	"edgefleet/devices/fleet"
	"edgefleet/devices/fleetdir"
	"edgefleet/internal/store"
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
	// maxAgeWriting bounds the age of an answer that is given again while a
	// write to the device is in flight. It is longer than any write of settings
	// with its reading back; a device that is dark for longer is told.
	maxAgeWriting = 2 * time.Minute
	// leaseWithin bounds the question whether a write is in flight.
	leaseWithin = time.Second
)

// diagnoser is what probing needs of fleet.Operator.
type diagnoser interface {
	Fleet() *fleetdir.Fleet
	Probe(ctx context.Context, id string) (fleet.Diagnosis, error)
	Drift(ctx context.Context, id string) (fleet.DriftReport, error)
}

// proberOptions are what a prober is built from.
type proberOptions struct {
	// now gives what is served: an operator, and this worker's regions.
	now func() (diagnoser, []string)
	// writing says whether a write to the device is in flight; nil is never.
	writing func(ctx context.Context, id string) bool
	// observe hears what each probe found: one of the store's states of uptime.
	observe func(id, state string)
	// maxAge is how old an answer may be that is given to another scrape.
	maxAge time.Duration
	clock  func() time.Time
}

// prober answers /probe?device=ID for Prometheus: the device's series, or 503
// when it is dark, so that the scrape fails and up is 0. Scrapes of one device
// at the same time share one probe, scrapes within maxAge its answer, and
// while a write is in flight nobody asks the device anything.
type prober struct {
	opts    proberOptions
	slots   chan struct{}
	flights singleflight.Group
	results *prometheus.CounterVec

	mu sync.Mutex
	// answers are the last of each device that answered a scrape.
	answers map[string]answered
}

// answered is what a probe came to.
type answered struct {
	at time.Time
	probed
	err error
}

func newProber(o proberOptions, r prometheus.Registerer) *prober {
	if o.clock == nil {
		o.clock = time.Now
	}
	p := &prober{opts: o, slots: make(chan struct{}, maxProbes), answers: map[string]answered{}}
	p.results = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "edgefleet_probes_total",
		Help: "Scrapes of devices, by result: ok, unread when the device answers but its settings could not be compared, unreachable, error when nothing could be found out, or cached when an earlier answer was given again.",
	}, []string{"result"})
	for _, result := range []string{probeOK, probeUnread, probeUnreachable, probeError, probeCached} {
		p.results.WithLabelValues(result)
	}
	r.MustRegister(p.results)
	return p
}

// Results of a probe, as a label.
const (
	probeOK          = "ok"
	probeUnread      = "unread"
	probeUnreachable = "unreachable"
	probeError       = "error"
	probeCached      = "cached"
)

// probed is what a probe found. Of one that answers, unread says that its
// settings could not be compared: then it is up, and nothing is known of drift.
type probed struct {
	dark    string
	unread  bool
	drifted int
	checked int
	took    time.Duration
}

func (p *prober) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	id := r.URL.Query().Get("device")
	operator, regions := p.opts.now()
	d, _, err := operator.Fleet().Device(id)
	if err != nil {
		p.forget(id)
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
	found, err := p.answer(ctx, operator, id)
	switch {
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil:
		http.Error(rw, "the probe of "+id+" took too long", http.StatusServiceUnavailable)
	case err != nil:
		http.Error(rw, err.Error(), http.StatusServiceUnavailable)
	case found.dark != "":
		http.Error(rw, found.dark, http.StatusServiceUnavailable)
	default:
		found.serve(rw, r, p.opts.clock().Sub(found.at))
	}
}

// answer is the last answer while it is fresh enough, and else a new one.
func (p *prober) answer(ctx context.Context, operator diagnoser, id string) (answered, error) {
	last, age := p.lastOf(id)
	if age <= p.opts.maxAge {
		p.results.WithLabelValues(probeCached).Inc()
		return last, last.err
	}
	if p.opts.writing != nil && p.opts.writing(ctx, id) {
		if age > maxAgeWriting {
			return answered{}, fmt.Errorf("a write to %s is in flight, and a probe would go between it and its reading back; nothing is known of the device since", id)
		}
		p.results.WithLabelValues(probeCached).Inc()
		return last, last.err
	}
	flight := p.flights.DoChan(id, func() (any, error) {
		// The first scraper may hang up; the others still want the answer.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
		defer cancel()
		found, err := p.probe(ctx, operator, id)
		now := answered{at: p.opts.clock(), probed: found, err: err}
		p.keep(id, now)
		return now, nil
	})
	select {
	case <-ctx.Done():
		return answered{}, ctx.Err()
	case result := <-flight:
		now, _ := result.Val.(answered)
		return now, now.err
	}
}

// lastOf returns a device's last answer and its age, which is endless where
// there is none.
func (p *prober) lastOf(id string) (answered, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	last, ok := p.answers[id]
	if !ok {
		return answered{}, math.MaxInt64
	}
	return last, p.opts.clock().Sub(last.at)
}

func (p *prober) keep(id string, a answered) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers[id] = a
}

// forget drops the answer of a device that is not declared any more.
func (p *prober) forget(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.answers, id)
}

// writeInFlight asks the store whether a write to the device has begun and not
// yet ended. When the store does not say, the probe goes on: without the store
// no write begins, and the link carries one request at a time.
func (w *Worker) writeInFlight(ctx context.Context, id string) bool {
	ctx, cancel := context.WithTimeout(ctx, leaseWithin)
	defer cancel()
	lease, err := w.store.LeaseOf(ctx, id)
	return err == nil && lease.BusyUntil != nil && lease.BusyUntil.After(time.Now())
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
		p.note(id, probeError, store.UptimeUnknown)
		return probed{}, fmt.Errorf("probe %s: %w", id, ctx.Err())
	}
	began := time.Now()
	found, err := operator.Probe(ctx, id)
	if err != nil {
		p.note(id, probeError, store.UptimeUnknown)
		return probed{}, err
	}
	if !found.Reachable {
		p.note(id, probeUnreachable, store.UptimeDown)
		return probed{dark: found.Summary}, nil
	}
	drift, err := operator.Drift(ctx, id)
	if err != nil {
		// It answered, so it is up, whatever became of the second question: a
		// log-in that is missing must not look like a device that is dark.
		p.note(id, probeUnread, store.UptimeUp)
		return probed{unread: true, took: time.Since(began)}, nil
	}
	p.note(id, probeOK, store.UptimeUp)
	return probed{drifted: len(drift.Drifted), checked: drift.Checked, took: time.Since(began)}, nil
}

func (p *prober) note(id, result, state string) {
	p.results.WithLabelValues(result).Inc()
	if p.opts.observe != nil {
		p.opts.observe(id, state)
	}
}

const readableHelp = "0 when the device answers and its settings could not be compared with its baseline, else 1. At 0 there are no series of drift."

func (f probed) serve(rw http.ResponseWriter, r *http.Request, age time.Duration) {
	registry := prometheus.NewRegistry()
	gauge := func(name, help string, value float64) {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
		g.Set(value)
		registry.MustRegister(g)
	}
	gauge("edge_probe_duration_seconds", "How long the device took to answer the probe.", f.took.Seconds())
	gauge("edge_probe_age_seconds", "How old the answer is; above 0 when scrapes share one, or a write is in flight.", max(0, age).Seconds())
	if f.unread {
		gauge("edge_config_readable", readableHelp, 0)
		promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(rw, r)
		return
	}
	gauge("edge_config_readable", readableHelp, 1)
	gauge("edge_config_drift_settings", "How many settings of the device differ from its baseline.", float64(f.drifted))
	gauge("edge_config_settings", "How many settings of the device were compared with its baseline.", float64(f.checked))
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(rw, r)
}
