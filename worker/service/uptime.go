package service

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"edgefleet/devices/inventory"
	"edgefleet/internal/store"
)

const (
	// maxUnseen is the longest time between two looks at a device that is
	// accounted for. What nobody saw for longer is in neither counter: that
	// could not be found out is never down, and never up.
	maxUnseen = 2 * time.Minute
	// uptimeEvery is how often what was seen goes to the store.
	uptimeEvery = 10 * time.Second
	// uptimeWithin bounds one exchange with the store.
	uptimeWithin = 5 * time.Second
	// uptimeRefresh is how often the accounts of all devices are read again,
	// which other workers of the region may have added to.
	uptimeRefresh = time.Minute
)

// uptimeStore is what the meter needs of store.Store.
type uptimeStore interface {
	AddUptime(ctx context.Context, spans []store.UptimeSpan) ([]store.Uptime, error)
	Uptimes(ctx context.Context, afterDevice string, limit int) ([]store.Uptime, error)
}

// look is what a probe saw of a device.
type look struct {
	at    time.Time
	state string
}

// meter counts for how long each device is up and down, from the probes that
// are made anyway. The account is the store's, so that it goes on over a
// restart, and several workers of a region do not count a second twice. It is
// shown on the worker's own /metrics, because a scrape of a dark device
// delivers no samples.
type meter struct {
	// declared gives the fleet and the regions of it that are this worker's.
	declared func() (*inventory.Inventory, []string)
	clock    func() time.Time
	logger   *zap.Logger
	up, down *prometheus.Desc
	saves    *prometheus.CounterVec

	mu      sync.Mutex
	last    map[string]look
	pending map[string]store.UptimeSpan
	// known is what the store said last; nil before it was read, and then
	// there are no series: counters that begin with 0 after each restart would
	// be counters that were reset.
	known map[string]store.Uptime

	// These are the goroutine's alone.
	read   time.Time
	failed bool
}

func newMeter(declared func() (*inventory.Inventory, []string), logger *zap.Logger, r prometheus.Registerer) *meter {
	labels := []string{"device_id", "site", "region", "class"}
	m := &meter{
		declared: declared, clock: time.Now, logger: logger,
		up: prometheus.NewDesc("edge_uptime_total",
			"Seconds for which the device is known to have been up.", labels, nil),
		down: prometheus.NewDesc("edge_downtime_total",
			"Seconds for which the device is known to have been down.", labels, nil),
		saves: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "edgefleet_uptime_saves_total",
			Help: "Times that the devices' uptime was brought to the store, by result: ok or failed.",
		}, []string{"result"}),
		last: map[string]look{}, pending: map[string]store.UptimeSpan{},
	}
	for _, result := range []string{resultOK, resultFailed} {
		m.saves.WithLabelValues(result)
	}
	r.MustRegister(m, m.saves)
	return m
}

// observe notes what a probe saw. Each look stands for half of the time to the
// one before it and half of the time to the one after it.
func (m *meter) observe(device, state string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := look{m.clock(), state}
	before, seen := m.last[device]
	m.last[device] = now
	if !seen || now.at.Before(before.at) {
		before = look{at: now.at}
	}
	span := store.UptimeSpan{DeviceID: device, From: before.at, To: now.at, State: state}
	if gap := now.at.Sub(before.at); gap <= maxUnseen {
		for half, l := range []look{before, now} {
			part := gap / 2
			if half == 1 {
				part = gap - gap/2
			}
			switch l.state {
			case store.UptimeUp:
				span.Up += part
			case store.UptimeDown:
				span.Down += part
			}
		}
	}
	m.pending[device] = joined(m.pending[device], span)
}

// joined is one span of two that follow on each other.
func joined(first, second store.UptimeSpan) store.UptimeSpan {
	if first.DeviceID == "" {
		return second
	}
	if first.From.Before(second.From) {
		second.From = first.From
	}
	second.Up += first.Up
	second.Down += first.Down
	return second
}

// run brings what was seen to the store at every interval, and once more when
// ctx ends.
func (m *meter) run(ctx context.Context, s uptimeStore, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		m.save(context.WithoutCancel(ctx), s)
		select {
		case <-ctx.Done():
			m.save(context.WithoutCancel(ctx), s)
			return
		case <-ticker.C:
		}
	}
}

// save brings everything that was seen to the store, or keeps it for the next
// time.
func (m *meter) save(ctx context.Context, s uptimeStore) {
	ctx, cancel := context.WithTimeout(ctx, uptimeWithin)
	defer cancel()
	err := m.load(ctx, s)
	for err == nil {
		spans := m.take()
		if len(spans) == 0 {
			break
		}
		var added []store.Uptime
		if added, err = s.AddUptime(ctx, spans); err != nil {
			m.giveBack(spans)
			break
		}
		m.learn(added)
	}
	if err == nil {
		m.saves.WithLabelValues(resultOK).Inc()
	} else {
		m.saves.WithLabelValues(resultFailed).Inc()
	}
	if err != nil && !m.failed {
		m.logger.Warn("the devices' uptime could not be brought to the store; it is tried again", zap.Error(err))
	}
	m.failed = err != nil
}

// load reads the accounts of all devices, at the first time and then whenever
// they are old.
func (m *meter) load(ctx context.Context, s uptimeStore) error {
	if now := m.clock(); m.read.IsZero() || now.Sub(m.read) >= uptimeRefresh {
		var all []store.Uptime
		for after := ""; ; {
			page, err := s.Uptimes(ctx, after, store.MaxBulk)
			if err != nil {
				return err
			}
			all = append(all, page...)
			if len(page) < store.MaxBulk {
				break
			}
			after = page[len(page)-1].DeviceID
		}
		m.learn(all)
		m.read = now
	}
	return nil
}

// learn takes over what the store says. Where this worker has not looked at a
// device yet, the last look of whoever did is the one before its own first.
func (m *meter) learn(list []store.Uptime) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil {
		m.known = map[string]store.Uptime{}
	}
	for _, u := range list {
		m.known[u.DeviceID] = u
		if _, seen := m.last[u.DeviceID]; !seen {
			m.last[u.DeviceID] = look{u.ObservedAt, u.State}
		}
	}
}

// take removes up to a store's call full of spans from those that wait.
func (m *meter) take() []store.UptimeSpan {
	m.mu.Lock()
	defer m.mu.Unlock()
	var spans []store.UptimeSpan
	for id, span := range m.pending {
		if len(spans) == store.MaxBulk {
			break
		}
		spans = append(spans, span)
		delete(m.pending, id)
	}
	return spans
}

func (m *meter) giveBack(spans []store.UptimeSpan) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, span := range spans {
		if later, ok := m.pending[span.DeviceID]; ok {
			span = joined(span, later)
		}
		m.pending[span.DeviceID] = span
	}
}

// Describe is of prometheus.Collector.
func (m *meter) Describe(to chan<- *prometheus.Desc) {
	to <- m.up
	to <- m.down
}

// Collect is of prometheus.Collector. Every device that is watched has both
// series from the start, so that the first increase is one.
func (m *meter) Collect(to chan<- prometheus.Metric) {
	inv, regions := m.declared()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil || !inv.Monitoring {
		return
	}
	for _, d := range inv.Devices {
		if !slices.Contains(regions, d.Region) {
			continue
		}
		u := m.known[d.ID]
		labels := []string{d.ID, d.Site, d.Region, d.Class}
		to <- prometheus.MustNewConstMetric(m.up, prometheus.CounterValue, u.Up.Seconds(), labels...)
		to <- prometheus.MustNewConstMetric(m.down, prometheus.CounterValue, u.Down.Seconds(), labels...)
	}
}

// startMeter counts until the worker stops, and brings what it has to the
// store before that is closed.
func (w *Worker) startMeter() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.meter.run(ctx, w.store, uptimeEvery)
	}()
	w.undo = append(w.undo, func(context.Context) error {
		cancel()
		<-done
		return nil
	})
}
