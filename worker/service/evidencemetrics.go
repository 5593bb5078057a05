package service

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"edgefleet/internal/store"
)

const (
	// evidenceFresh is how long a summary is shown before the store is asked
	// again: it reads every device's row, and several may scrape.
	evidenceFresh = 15 * time.Second
	// evidenceWithin bounds that question: a scrape does not wait for a store
	// that is busy.
	evidenceWithin = 5 * time.Second
)

// evidenceMetrics show what the store knows of the fleet's drift, and how old
// that is. It is of the whole fleet, whatever regions the worker serves.
type evidenceMetrics struct {
	summary func(ctx context.Context, olderThan time.Duration) (store.EvidenceSummary, error)
	// unauthorised counts drifted devices by region.
	unauthorised func(ctx context.Context) (map[string]int64, error)
	clock        func() time.Time
	logger       *zap.Logger
	devices      *prometheus.Desc
	oldest       *prometheus.Desc
	overdue      *prometheus.Desc
	foreign      *prometheus.Desc

	// mu is held while the store is asked, so that scrapes share the answer.
	mu    sync.Mutex
	asked time.Time
	last  *store.EvidenceSummary
	// byRegion is the answer of unauthorised, as old as last.
	byRegion map[string]int64
}

func newEvidenceMetrics(s *store.Store, logger *zap.Logger, r prometheus.Registerer) *evidenceMetrics {
	m := &evidenceMetrics{
		summary: s.EvidenceSummary, unauthorised: s.UnauthorisedDrift, clock: time.Now, logger: logger,
		devices: prometheus.NewDesc("edgefleet_drift_devices",
			"Devices by the outcome of the last look for drift.", []string{"outcome", "region"}, nil),
		oldest: prometheus.NewDesc("edgefleet_drift_evidence_oldest_seconds",
			"How long the device that lacks evidence the longest has not been compared with its baseline.", nil, nil),
		overdue: prometheus.NewDesc("edgefleet_drift_evidence_overdue",
			"Devices that were not compared with a baseline for over 35 days.", nil, nil),
		foreign: prometheus.NewDesc("edgefleet_drift_unauthorised",
			"Drifted devices of which no change of edgefleet is the cause.", []string{"region"}, nil),
	}
	r.MustRegister(m)
	return m
}

// Describe is of prometheus.Collector.
func (m *evidenceMetrics) Describe(to chan<- *prometheus.Desc) {
	to <- m.devices
	to <- m.oldest
	to <- m.overdue
	to <- m.foreign
}

// Collect is of prometheus.Collector. Without the store's answer there are no
// series: an old number would look like a present one.
func (m *evidenceMetrics) Collect(to chan<- prometheus.Metric) {
	sum, foreign := m.now()
	if sum == nil {
		return
	}
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	for _, region := range slices.Sorted(maps.Keys(sum.ByRegion)) {
		for _, outcome := range outcomes() {
			gauge(m.devices, float64(sum.ByRegion[region].ByOutcome[outcome]), outcome, region)
		}
		gauge(m.foreign, float64(foreign[region]), region)
	}
	gauge(m.oldest, sum.OldestAge.Seconds())
	gauge(m.overdue, float64(sum.Overdue))
}

// outcomes are all that there are: a series that goes to 0 must not vanish.
func outcomes() []string {
	return []string{store.EvidenceInSync, store.EvidenceDrifted, store.EvidenceUnreadable,
		store.EvidenceUnderChange, store.EvidenceNoBaseline, store.EvidenceUnchecked}
}

func (m *evidenceMetrics) now() (*store.EvidenceSummary, map[string]int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := m.clock(); m.asked.IsZero() || now.Sub(m.asked) >= evidenceFresh {
		ctx, cancel := context.WithTimeout(context.Background(), evidenceWithin)
		defer cancel()
		sum, err := m.summary(ctx, store.EvidenceMaxAge)
		var foreign map[string]int64
		if err == nil {
			foreign, err = m.unauthorised(ctx)
		}
		m.asked, m.last, m.byRegion = now, &sum, foreign
		if err != nil {
			m.last = nil
			m.logger.Warn("the evidence of drift could not be counted", zap.Error(err))
		}
	}
	return m.last, m.byRegion
}
