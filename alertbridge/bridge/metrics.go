package bridge

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// Values of bounded labels.
const (
	resultSent       = "sent"
	resultNoWorkflow = "no_workflow"
	resultFailed     = "failed"
	resultSuccess    = "success"

	ignoredNoRoute  = "no_route"
	ignoredOwnAlert = "own_alert"

	failureAway         = "away"
	failureRefused      = "refused"
	failureNotAttempted = "not_attempted"
)

// answerCodes are the status codes that a message can be answered with.
func answerCodes() []int {
	return []int{
		http.StatusOK, http.StatusBadRequest, http.StatusUnauthorized, http.StatusRequestEntityTooLarge,
		http.StatusUnsupportedMediaType, http.StatusServiceUnavailable,
	}
}

type metrics struct {
	messages      *prometheus.CounterVec
	messageTime   prometheus.Histogram
	inFlight      prometheus.Gauge
	lastSuccess   prometheus.Gauge
	alerts        *prometheus.CounterVec
	ignored       *prometheus.CounterVec
	refused       *prometheus.CounterVec
	truncated     prometheus.Counter
	starts        prometheus.Counter
	duplicates    prometheus.Counter
	startFailures *prometheus.CounterVec
	startTime     prometheus.Histogram
	signals       *prometheus.CounterVec
	reloads       *prometheus.CounterVec
	reloadOK      prometheus.Gauge
	rounds        *prometheus.CounterVec
	roundFailed   prometheus.Gauge
	reconciled    prometheus.Counter
}

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "edgefleet", Subsystem: "bridge", Name: name, Help: help}
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "edgefleet", Subsystem: "bridge", Name: name, Help: help})
	}
	histogram := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "edgefleet", Subsystem: "bridge", Name: name, Help: help,
			Buckets: []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20},
		})
	}
	m := &metrics{
		messages:      prometheus.NewCounterVec(counter("messages_total", "Messages received, by the status code that answered them."), []string{"code"}),
		messageTime:   histogram("message_duration_seconds", "Time from a message's header to its answer."),
		inFlight:      gauge("messages_in_flight", "Messages that are being worked on."),
		lastSuccess:   gauge("last_success_timestamp_seconds", "When a message was last answered 200, in Unix time; 0 is never."),
		alerts:        prometheus.NewCounterVec(counter("alerts_total", "Alerts received, by status."), []string{"status"}),
		ignored:       prometheus.NewCounterVec(counter("ignored_total", "Alerts passed over, by reason."), []string{"reason"}),
		refused:       prometheus.NewCounterVec(counter("refused_total", "Alerts that can never work as they are, by reason."), []string{"reason"}),
		truncated:     prometheus.NewCounter(counter("truncated_alerts_total", "Alerts that Alertmanager left out because of the receiver's max_alerts.")),
		starts:        prometheus.NewCounter(counter("starts_total", "Remediations started.")),
		duplicates:    prometheus.NewCounter(counter("duplicates_total", "Starts that met a remediation of the same episode.")),
		startFailures: prometheus.NewCounterVec(counter("start_failures_total", "Starts that Temporal did not acknowledge, by reason."), []string{"reason"}),
		startTime:     histogram("start_duration_seconds", "Time that Temporal took to acknowledge, or not, a start."),
		signals:       prometheus.NewCounterVec(counter("signals_total", "Resolved alerts passed on to their remediation, by result."), []string{"result"}),
		reloads:       prometheus.NewCounterVec(counter("routes_reloads_total", "Reloads of the routes file, by result."), []string{"result"}),
		rounds:        prometheus.NewCounterVec(counter("reconciliations_total", "Comparisons of the alerts that stand at Alertmanager with the remediations, by result."), []string{"result"}),
		roundFailed:   gauge("reconciliation_failed", "1 while Alertmanager cannot be asked, or Temporal does not acknowledge what is missing; else 0."),
		reconciled:    prometheus.NewCounter(counter("reconciled_starts_total", "Remediations started for alerts that stood at Alertmanager without one.")),
		reloadOK:      gauge("routes_last_reload_successful", "Whether the last reload of the routes file succeeded."),
	}
	m.reloadOK.Set(1)
	// Series that exist from the start can be alerted on: the first increase
	// of a counter that appears with 1 is no increase to Prometheus.
	for _, code := range answerCodes() {
		m.messages.WithLabelValues(strconv.Itoa(code))
	}
	for _, r := range reasons() {
		m.refused.WithLabelValues(string(r))
	}
	initialise(m.alerts, statusFiring, statusResolved, "other")
	initialise(m.ignored, ignoredNoRoute, ignoredOwnAlert)
	initialise(m.startFailures, failureAway, failureRefused, failureNotAttempted)
	initialise(m.signals, resultSent, resultNoWorkflow, resultFailed)
	initialise(m.reloads, resultSuccess, resultFailed)
	initialise(m.rounds, resultSuccess, resultFailed)
	return m
}

func initialise(v *prometheus.CounterVec, values ...string) {
	for _, value := range values {
		v.WithLabelValues(value)
	}
}

func (m *metrics) register(r prometheus.Registerer) error {
	for _, c := range []prometheus.Collector{
		m.messages, m.messageTime, m.inFlight, m.lastSuccess, m.alerts, m.ignored, m.refused, m.truncated,
		m.starts, m.duplicates, m.startFailures, m.startTime, m.signals, m.reloads, m.reloadOK,
		m.rounds, m.roundFailed, m.reconciled,
	} {
		if err := r.Register(c); err != nil {
			return err
		}
	}
	return nil
}
