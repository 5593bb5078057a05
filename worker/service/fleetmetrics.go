package service

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Results of a reload, as a label.
const (
	resultOK     = "ok"
	resultFailed = "failed"
)

// fleetMetrics show which fleet is served, and whether the directory is ahead
// of it.
type fleetMetrics struct {
	now     *atomic.Pointer[served]
	info    *prometheus.Desc
	devices *prometheus.Desc
	failed  prometheus.Gauge
	reloads *prometheus.CounterVec
}

func newFleetMetrics(now *atomic.Pointer[served], r prometheus.Registerer) *fleetMetrics {
	m := &fleetMetrics{
		now: now,
		info: prometheus.NewDesc("edgefleet_fleet_info",
			"1, with the revision of the fleet that is served, and the Git commit where its directory was checked out.", []string{"revision", "commit"}, nil),
		devices: prometheus.NewDesc("edgefleet_fleet_devices", "Devices that the fleet declares, of all regions.", nil, nil),
		failed: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "edgefleet_fleet_reload_failed",
			Help: "1 while the fleet directory holds what could not be taken up, and an older revision is served; else 0.",
		}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "edgefleet_fleet_reloads_total",
			Help: "Changes of the fleet directory that were taken up (ok), or were not (failed).",
		}, []string{"result"}),
	}
	for _, result := range []string{resultOK, resultFailed} {
		m.reloads.WithLabelValues(result)
	}
	r.MustRegister(m, m.failed, m.reloads)
	return m
}

func (m *fleetMetrics) say(failed bool) {
	m.failed.Set(0)
	if failed {
		m.failed.Set(1)
	}
}

// Describe is of prometheus.Collector.
func (m *fleetMetrics) Describe(to chan<- *prometheus.Desc) {
	to <- m.info
	to <- m.devices
}

// Collect is of prometheus.Collector. Both series are of one revision.
func (m *fleetMetrics) Collect(to chan<- prometheus.Metric) {
	now := m.now.Load()
	to <- prometheus.MustNewConstMetric(m.info, prometheus.GaugeValue, 1, now.declared().Revision(), now.commit)
	to <- prometheus.MustNewConstMetric(m.devices, prometheus.GaugeValue, float64(len(now.declared().Inventory.Devices)))
}
