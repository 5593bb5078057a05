package service

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"edgefleet/internal/store"
)

func TestTheEvidenceIsCountedAtAScrapeAndShownForAWhile(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := newEvidenceMetrics(&store.Store{}, zap.NewNop(), registry)
	now, asked := time.Unix(1_700_000_000, 0), 0
	var away error
	drifted := int64(2)
	m.clock = func() time.Time { return now }
	m.summary = func(ctx context.Context, olderThan time.Duration) (store.EvidenceSummary, error) {
		asked++
		deadline, bounded := ctx.Deadline()
		require.True(t, bounded)
		require.LessOrEqual(t, time.Until(deadline), evidenceWithin)
		require.Equal(t, 35*24*time.Hour, olderThan)
		return store.EvidenceSummary{EvidenceCount: store.EvidenceCount{Overdue: 3, OldestAge: 90 * time.Minute},
			ByRegion: map[string]*store.EvidenceCount{"north": {ByOutcome: map[string]int64{store.EvidenceDrifted: drifted}}}}, away
	}
	m.unauthorised = func(context.Context) (map[string]int64, error) { return map[string]int64{"north": 1}, nil }
	shows := func(want map[string]float64) {
		t.Helper()
		families, err := registry.Gather()
		require.NoError(t, err, "the other metrics are still scraped")
		got := map[string]float64{}
		for _, f := range families {
			for _, metric := range f.GetMetric() {
				name := []string{f.GetName()}
				for _, label := range metric.GetLabel() {
					name = append(name, label.GetValue())
				}
				got[strings.Join(name, " ")] = metric.GetGauge().GetValue()
			}
		}
		require.Equal(t, want, got)
	}
	all := func(drifted float64) map[string]float64 {
		return map[string]float64{
			"edgefleet_drift_devices drifted north":      drifted,
			"edgefleet_drift_devices in_sync north":      0,
			"edgefleet_drift_devices no_baseline north":  0,
			"edgefleet_drift_devices unchecked north":    0,
			"edgefleet_drift_devices under_change north": 0,
			"edgefleet_drift_devices unreadable north":   0,
			"edgefleet_drift_unauthorised north":         1,
			"edgefleet_drift_evidence_oldest_seconds":    5400,
			"edgefleet_drift_evidence_overdue":           3,
		}
	}
	require.Zero(t, asked, "nothing is asked before a scrape")
	shows(all(2))
	drifted = 5
	now = now.Add(evidenceFresh - time.Second)
	shows(all(2))
	require.Equal(t, 1, asked)
	now = now.Add(time.Second)
	shows(all(5))

	away = errors.New("the store is away")
	now = now.Add(evidenceFresh)
	shows(map[string]float64{})
	away = nil
	now = now.Add(evidenceFresh)
	shows(all(5))
}
