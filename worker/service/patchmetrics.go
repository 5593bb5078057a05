package service

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"edgefleet/activities"
	"edgefleet/devices/fleetdir"
	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

// versionsPage is how many devices the store is asked for at once.
const versionsPage = 1000

// patchFor names the devices of a region for which one patch is the newest.
type patchFor struct{ patch, region string }

// patchMetrics show for how long patches have been owed, as the report of
// patches counts it: excepted devices do not count. It is of the whole fleet,
// whatever regions the worker serves. There is no label for the device, of which
// there are many; the report names them.
type patchMetrics struct {
	owed cached[map[patchFor]time.Duration]
	desc *prometheus.Desc
}

func newPatchMetrics(versions func(ctx context.Context, after string, limit int) ([]store.PatchedDevice, error),
	fleet func() *fleetdir.Fleet, logger *zap.Logger, r prometheus.Registerer) *patchMetrics {
	m := &patchMetrics{
		owed: cached[map[patchFor]time.Duration]{clock: time.Now, logger: logger, complaint: "which patches are owed cannot be found out"},
		desc: prometheus.NewDesc("edgefleet_patch_owed_seconds",
			"For how long the device that owes the longest has owed a patch, by the patch that would settle it; 0 when none owes.",
			[]string{"patch", "region"}, nil),
	}
	m.owed.ask = func(ctx context.Context) (map[patchFor]time.Duration, error) {
		return patchesOwed(ctx, versions, fleet(), m.owed.clock())
	}
	r.MustRegister(m)
	return m
}

// patchesOwed goes through what all devices in service said that they run. A
// patch that is for a device in service is there also when nobody owes it: a
// series that goes to 0 must not vanish.
func patchesOwed(ctx context.Context, versions func(ctx context.Context, after string, limit int) ([]store.PatchedDevice, error),
	fleet *fleetdir.Fleet, now time.Time) (map[patchFor]time.Duration, error) {
	longest := map[patchFor]time.Duration{}
	for after := ""; ; {
		page, err := versions(ctx, after, versionsPage)
		if err != nil {
			return nil, err
		}
		for _, d := range page {
			row := activities.PatchStatus(fleet, d, now)
			if row.Patch == "" {
				continue
			}
			key := patchFor{row.Patch, row.Region}
			since := time.Duration(0)
			if row.State == contract.PatchOwed {
				since = now.Sub(*row.OwedSince)
			}
			longest[key] = max(longest[key], since)
		}
		if len(page) < versionsPage {
			return longest, nil
		}
		after = page[len(page)-1].DeviceID
	}
}

// Describe is of prometheus.Collector.
func (m *patchMetrics) Describe(to chan<- *prometheus.Desc) { to <- m.desc }

// Collect is of prometheus.Collector.
func (m *patchMetrics) Collect(to chan<- prometheus.Metric) {
	longest, ok := m.owed.now()
	if !ok {
		return
	}
	for key, d := range longest {
		to <- prometheus.MustNewConstMetric(m.desc, prometheus.GaugeValue, d.Seconds(), key.patch, key.region)
	}
}
