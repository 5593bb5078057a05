package activities

import (
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
			Help: "Attempts of activities, by activity and reason: ok, or one of the bounded reasons of a failure.",
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
	r.MustRegister(m.actions, m.duration, m.endings, m.pages)
	return m
}

func (m *metrics) observe(name string, took time.Duration, err error) {
	reason := "ok"
	if err != nil {
		reason, _ = reasonOf(err)
	}
	m.actions.WithLabelValues(name, reason).Inc()
	m.duration.WithLabelValues(name).Observe(took.Seconds())
}
