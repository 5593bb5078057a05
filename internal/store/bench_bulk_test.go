package store

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// eachBulk runs a benchmark of bulk work on both databases, with full fsync.
func eachBulk(b *testing.B, run func(b *testing.B, s *Store)) {
	for _, p := range benchPlaces(b) {
		b.Run(p.kind, func(b *testing.B) { run(b, p.make(b).open(b, Options{LedgerKey: testKey})) })
	}
}

// acquireAll takes the leases on devices "edge-0" and so on.
func acquireAll(b *testing.B, s *Store, n int) []Lease {
	leases := make([]Lease, n)
	var wg sync.WaitGroup
	for g := range 64 {
		wg.Go(func() {
			for i := g; i < n; i += 64 {
				var err error
				if leases[i], err = s.AcquireLease(bg, fmt.Sprintf("edge-%d", i), ownerA); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	return leases
}

// BenchmarkRegisterBatch is 1,000 devices that become onboarded in one call:
// each with a row, a pin and an event in the ledger.
func BenchmarkRegisterBatch(b *testing.B) {
	eachBulk(b, func(b *testing.B, s *Store) {
		leases := acquireAll(b, s, MaxBulk)
		b.ResetTimer()
		for i := range b.N {
			batch := make([]Registration, MaxBulk)
			for k, l := range leases {
				batch[k] = registration(l.DeviceID, l, StateOnboarded)
				batch[k].DeclaredHash, batch[k].ActivityID, batch[k].Pin = fmt.Sprint(i), fmt.Sprint(i), fmt.Sprint("pin ", i)
			}
			_, err := s.RegisterBatch(bg, batch)
			require.NoError(b, err)
		}
		b.ReportMetric(float64(b.N*MaxBulk)/b.Elapsed().Seconds(), "devices/s")
	})
}

// BenchmarkRegister is one device that becomes onboarded, 64 at a time.
func BenchmarkRegister(b *testing.B) {
	eachSpeed(b, func(b *testing.B, s *Store, call int64) {
		device := fmt.Sprintf("edge-%d", call)
		l, err := s.AcquireLease(bg, device, ownerA)
		if err == nil {
			_, err = s.Register(bg, registration(device, l, StateOnboarded))
		}
		if err != nil {
			b.Error(err)
		}
	})
}

// BenchmarkRecordEvidence is the evidence of 1,000 devices in one call.
func BenchmarkRecordEvidence(b *testing.B) {
	eachBulk(b, func(b *testing.B, s *Store) {
		batch := make([]Evidence, MaxBulk)
		for b.Loop() {
			for k := range batch {
				batch[k] = evidence(fmt.Sprintf("edge-%d", k), EvidenceDrifted)
			}
			require.NoError(b, s.RecordEvidence(bg, batch))
		}
		b.ReportMetric(float64(b.N*MaxBulk)/b.Elapsed().Seconds(), "devices/s")
	})
}

// BenchmarkEvidenceOf10000 is what a dashboard asks of a fleet of 10,000.
func BenchmarkEvidenceOf10000(b *testing.B) {
	eachBulk(b, func(b *testing.B, s *Store) {
		for i := range 10 {
			batch := make([]Evidence, MaxBulk)
			for k := range batch {
				batch[k] = evidence(fmt.Sprintf("edge-%d-%d", i, k), []string{EvidenceInSync, EvidenceDrifted, EvidenceUnreadable}[k%3])
				batch[k].Region = fmt.Sprint("region-", k%8)
			}
			require.NoError(b, s.RecordEvidence(bg, batch))
		}
		b.Run("summary", func(b *testing.B) {
			for b.Loop() {
				sum, err := s.EvidenceSummary(bg, 0)
				require.NoError(b, err)
				require.Equal(b, int64(10_000), sum.Devices)
			}
		})
		b.Run("page", func(b *testing.B) {
			for b.Loop() {
				_, err := s.ListEvidence(bg, EvidenceQuery{After: "edge-5", OlderThan: time.Nanosecond, Limit: 100})
				require.NoError(b, err)
			}
		})
	})
}
