package activities

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"edgefleet/workflows/contract"
)

type metrics struct {
	actions  *prometheus.CounterVec
	duration *prometheus.HistogramVec
	endings  *prometheus.CounterVec
	pages    *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		actions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "edgefleet_activities_total",
			Help: "Attempts of activities, by activity and reason: ok, cancelled, or one of the bounded reasons of a failure.",
		}, []string{"activity", "reason"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "edgefleet_activity_duration_seconds",
			Help:    "Duration of one attempt of an activity.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 9),
		}, []string{"activity"}),
		endings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "edgefleet_incidents_ended_total",
			Help: "Incidents that got their end, by outcome.",
		}, []string{"outcome"}),
		pages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "edgefleet_escalations_total",
			Help: "Alerts " + contract.AlertRemediationFailed + " posted to Alertmanager, by result: ok or failed.",
		}, []string{"result"}),
	}
	// Series that exist from the start can be alerted on: the first increase of
	// a counter that appears with 1 is no increase to Prometheus.
	for _, result := range []string{"ok", "failed"} {
		m.pages.WithLabelValues(result)
	}
	r.MustRegister(m.actions, m.duration, m.endings, m.pages)
	return m
}

// reasonCancelled counts the attempts that the workflow called off: they are
// no failure of anything.
const reasonCancelled = "cancelled"

func (m *metrics) observe(ctx context.Context, name string, took time.Duration, err error) {
	reason := "ok"
	switch {
	case asked(ctx, err):
		reason = reasonCancelled
	case err != nil:
		reason, _ = reasonOf(ctx, err)
	}
	m.actions.WithLabelValues(name, reason).Inc()
	m.duration.WithLabelValues(name).Observe(took.Seconds())
}
