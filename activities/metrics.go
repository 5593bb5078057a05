package activities

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

type metrics struct {
	actions  *prometheus.CounterVec
	duration *prometheus.HistogramVec
	endings  *prometheus.CounterVec
	repairs  *prometheus.HistogramVec
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
		// An hour is a human's: most of what a runbook repairs takes seconds.
		repairs: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "edgefleet_incident_duration_seconds",
			Help:    "From the opening of an incident to its end, by outcome. resolved is the time to repair.",
			Buckets: []float64{1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 4 * 3600, 24 * 3600},
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
	for _, outcome := range []string{contract.OutcomeResolved, contract.OutcomeCleared, contract.OutcomeEscalated, contract.OutcomeCancelled, store.StatusAbandoned} {
		m.endings.WithLabelValues(outcome)
		m.repairs.WithLabelValues(outcome)
	}
	r.MustRegister(m.actions, m.duration, m.endings, m.repairs, m.pages)
	return m
}

// ended counts an incident that got its end.
func (m *metrics) ended(i store.Incident) {
	m.endings.WithLabelValues(i.Status).Inc()
	if i.EndedAt != nil {
		m.repairs.WithLabelValues(i.Status).Observe(i.EndedAt.Sub(i.OpenedAt).Seconds())
	}
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
