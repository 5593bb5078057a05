package service

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"edgefleet/devices/credentials"
	"edgefleet/devices/inventory"
)

// devices are the declared devices of the regions that are served.
func (s *served) devices() []inventory.Device {
	return slices.DeleteFunc(slices.Clone(s.declared().Inventory.Devices), func(d inventory.Device) bool {
		return !slices.Contains(s.regions, d.Region)
	})
}

// checkCredentials warns of devices that cannot be logged in to, and of
// credentials that are due for rotation. Neither keeps a worker from serving:
// the other devices have to be cared for.
func (w *Worker) checkCredentials(now *served) {
	const named = 10
	type lack struct{ credentials, why string }
	var order []lack
	lacking := map[lack][]string{}
	for _, p := range w.credentials.Check(now.devices()) {
		l := lack{p.Credentials, p.Err.Error()}
		if lacking[l] == nil {
			order = append(order, l)
		}
		lacking[l] = append(lacking[l], p.Device)
	}
	for _, l := range order {
		ids := lacking[l]
		w.opts.Logger.Warn("devices cannot be logged in to", zap.String("credentials", l.credentials), zap.String("why", l.why),
			zap.Int("devices", len(ids)), zap.Strings("first", ids[:min(len(ids), named)]))
	}
	ages, err := w.credentials.Ages()
	if err != nil {
		w.opts.Logger.Warn("the age of the credentials is not known", zap.Error(err))
	}
	period := now.declared().Inventory.Security.RotationPeriod
	for _, a := range ages {
		if age := time.Since(a.Since); period > 0 && age > period {
			w.opts.Logger.Warn("credentials are due for rotation", zap.String("credentials", a.Name),
				zap.Duration("age", age.Round(time.Minute)), zap.Duration("rotation_period", period))
		}
	}
}

// credentialsFresh is how long an answer is shown before the files are looked at
// again: several may scrape.
const credentialsFresh = 15 * time.Second

// credentialMetrics show whether devices can be logged in to, and since when
// credentials are in use. They look at the files at a scrape, because what was
// rotated counts at once.
type credentialMetrics struct {
	w       *Worker
	missing *prometheus.Desc
	age     *prometheus.Desc
	due     *prometheus.Desc

	mu    sync.Mutex
	asked time.Time
	lacks int
	ages  []credentials.Age
}

func newCredentialMetrics(w *Worker) {
	w.opts.Registerer.MustRegister(&credentialMetrics{
		w: w,
		missing: prometheus.NewDesc("edgefleet_credentials_missing",
			"Devices of this worker's regions that cannot be logged in to, because their credentials are missing, expired or refused.", nil, nil),
		age: prometheus.NewDesc("edgefleet_credentials_age_seconds",
			"Age of the oldest file of the credentials with that name.", []string{"name"}, nil),
		due: prometheus.NewDesc("edgefleet_credentials_due",
			"Credentials that are older than the fleet's rotation_period; 0 where it has none.", nil, nil),
	})
}

// Describe is of prometheus.Collector.
func (m *credentialMetrics) Describe(to chan<- *prometheus.Desc) {
	to <- m.missing
	to <- m.age
	to <- m.due
}

// Collect is of prometheus.Collector.
func (m *credentialMetrics) Collect(to chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Since(m.asked) > credentialsFresh {
		m.lacks = len(m.w.credentials.Check(m.w.now.Load().devices()))
		// Without an answer there are no series, rather than old ones.
		m.ages, _ = m.w.credentials.Ages()
		m.asked = time.Now()
	}
	to <- prometheus.MustNewConstMetric(m.missing, prometheus.GaugeValue, float64(m.lacks))
	due, period := 0, m.w.now.Load().declared().Inventory.Security.RotationPeriod
	for _, a := range m.ages {
		age := time.Since(a.Since)
		if period > 0 && age > period {
			due++
		}
		to <- prometheus.MustNewConstMetric(m.age, prometheus.GaugeValue, age.Seconds(), a.Name)
	}
	to <- prometheus.MustNewConstMetric(m.due, prometheus.GaugeValue, float64(due))
}
