package telemetry

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	sdkclient "go.temporal.io/sdk/client"
)

// sdkBuckets are those of the SDK's latencies, in seconds: a call to Temporal
// takes milliseconds, an activity up to an hour.
func sdkBuckets() []float64 {
	return []float64{0.005, 0.025, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800, 3600}
}

// SDKMetrics returns a handler for Temporal's client options that shows what
// the SDK measures through r, under the names that Temporal documents: temporal_*,
// counters with the suffix _total and latencies in seconds with _seconds. It is
// called once for a registry: two handlers would show the same series twice.
func SDKMetrics(r prometheus.Registerer) (sdkclient.MetricsHandler, error) {
	c := &sdkCollector{series: map[string]prometheus.Collector{}}
	if err := r.Register(c); err != nil {
		return nil, err
	}
	return sdkMetrics{c, nil}, nil
}

// sdkCollector holds every series of the SDK. It describes none of them
// beforehand: which labels a metric has is the SDK's to decide, and it gives
// one name different ones.
type sdkCollector struct {
	mu     sync.RWMutex
	series map[string]prometheus.Collector
}

// Describe is of prometheus.Collector.
func (c *sdkCollector) Describe(chan<- *prometheus.Desc) {}

// Collect is of prometheus.Collector.
func (c *sdkCollector) Collect(to chan<- prometheus.Metric) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, s := range c.series {
		s.Collect(to)
	}
}

// sdkMetrics is the handler with the tags that it was given. It is not changed
// after it was made.
type sdkMetrics struct {
	c    *sdkCollector
	tags map[string]string
}

// WithTags is of client.MetricsHandler.
func (m sdkMetrics) WithTags(tags map[string]string) sdkclient.MetricsHandler {
	all := maps.Clone(m.tags)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, tags)
	return sdkMetrics{m.c, all}
}

// Counter is of client.MetricsHandler.
func (m sdkMetrics) Counter(name string) sdkclient.MetricsCounter {
	c := series(m, name+"_total", func(o prometheus.Opts) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts(o))
	})
	return sdkCounter{c}
}

// Gauge is of client.MetricsHandler.
func (m sdkMetrics) Gauge(name string) sdkclient.MetricsGauge {
	return sdkGauge{series(m, name, func(o prometheus.Opts) prometheus.Gauge { return prometheus.NewGauge(prometheus.GaugeOpts(o)) })}
}

// Timer is of client.MetricsHandler.
func (m sdkMetrics) Timer(name string) sdkclient.MetricsTimer {
	return sdkTimer{series(m, name+"_seconds", func(o prometheus.Opts) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: o.Name, Help: o.Help, ConstLabels: o.ConstLabels, Buckets: sdkBuckets()})
	})}
}

// series returns the series of a name and the handler's tags, making it the
// first time.
func series[S prometheus.Collector](m sdkMetrics, name string, make func(prometheus.Opts) S) S {
	name = clean(name)
	key := &strings.Builder{}
	key.WriteString(name)
	labels := prometheus.Labels{}
	for _, tag := range slices.Sorted(maps.Keys(m.tags)) {
		labels[clean(tag)] = m.tags[tag]
		key.WriteString("\x00" + tag + "\x00" + m.tags[tag])
	}
	m.c.mu.RLock()
	found, ok := m.c.series[key.String()].(S)
	m.c.mu.RUnlock()
	if ok {
		return found
	}
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	if found, ok := m.c.series[key.String()].(S); ok {
		return found
	}
	fresh := make(prometheus.Opts{Name: name, Help: "Measured by Temporal's SDK.", ConstLabels: labels})
	m.c.series[key.String()] = fresh
	return fresh
}

// clean makes a name one that Prometheus takes.
func clean(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || (r >= '0' && r <= '9') || (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z') {
			return r
		}
		return '_'
	}, name)
}

type sdkCounter struct{ prometheus.Counter }

// Inc is of client.MetricsCounter.
func (c sdkCounter) Inc(by int64) { c.Add(float64(by)) }

type sdkGauge struct{ prometheus.Gauge }

// Update is of client.MetricsGauge.
func (g sdkGauge) Update(to float64) { g.Set(to) }

type sdkTimer struct{ prometheus.Histogram }

// Record is of client.MetricsTimer.
func (t sdkTimer) Record(took time.Duration) { t.Observe(took.Seconds()) }
