package store

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// benchPlace makes new stores of one kind.
type benchPlace struct {
	kind string
	make func(b *testing.B) place
}

// benchPlaces returns both databases, or SQLite alone where there is no
// PostgreSQL. A server of our own is switched to full fsync.
func benchPlaces(b *testing.B) []benchPlace {
	places := []benchPlace{{"sqlite", func(b *testing.B) place { return sqlitePlace(b) }}}
	base, err := pgServer.URL()
	if errors.Is(err, errNoPostgres) {
		return places
	}
	require.NoError(b, err)
	return append(places, benchPlace{"postgres", func(b *testing.B) place {
		p := postgresPlace(b, base)
		if os.Getenv(postgresURLEnv) == "" {
			db := p.raw(b)
			for _, stmt := range []string{`ALTER SYSTEM SET fsync = on`, `SELECT pg_reload_conf()`} {
				_, err := db.Exec(stmt)
				require.NoError(b, err)
			}
		}
		return p
	}})
}

// eachSpeed runs a benchmark on both databases with full fsync, with 1 and with
// 64 callers at once, with and without committing them together.
func eachSpeed(b *testing.B, run func(b *testing.B, s *Store, call int64)) {
	for _, p := range benchPlaces(b) {
		for _, c := range []struct{ callers, batch int }{{1, 0}, {64, 1}, {64, 0}} {
			name := fmt.Sprintf("%s/callers=%d/together=%t", p.kind, c.callers, c.batch != 1)
			b.Run(name, func(b *testing.B) {
				s := p.make(b).open(b, Options{LedgerKey: testKey, MaxBatch: c.batch})
				var calls atomic.Int64
				done := make(chan struct{})
				b.ResetTimer()
				for range c.callers {
					go func() {
						for n := calls.Add(1); n <= int64(b.N); n = calls.Add(1) {
							run(b, s, n)
						}
						done <- struct{}{}
					}()
				}
				for range c.callers {
					<-done
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
			})
		}
	}
}

// BenchmarkIntentResult is a device write's intent and result, each confirmed
// by itself. The lease is taken beforehand by most calls.
func BenchmarkIntentResult(b *testing.B) {
	eachSpeed(b, func(b *testing.B, s *Store, call int64) {
		rec := record(0)
		rec.DeviceID, rec.ActivityID = fmt.Sprintf("edge-%d", call%64), fmt.Sprint(call)
		l, err := s.LeaseOf(bg, rec.DeviceID)
		if errors.Is(err, ErrNotFound) {
			l, err = s.AcquireLease(bg, rec.DeviceID, ownerA)
		}
		if err == nil {
			_, err = s.AppendIntent(bg, rec, l.Token, s.now().Add(time.Minute))
		}
		if err == nil {
			_, err = s.AppendResult(bg, rec)
		}
		if err != nil {
			b.Error(err)
		}
	})
}

// BenchmarkBeginEnd is a remediation's beginning and end.
func BenchmarkBeginEnd(b *testing.B) {
	eachSpeed(b, func(b *testing.B, s *Store, call int64) {
		device := fmt.Sprintf("edge-%d", call)
		ep, err := s.BeginEpisode(bg, EpisodeBegin{DeviceID: device, Owner: Owner{"wf", device}, AlertName: "EdgeDeviceOffline", Reason: "up == 0"})
		if err == nil {
			_, err = s.EndEpisode(bg, end(ep, StatusResolved))
		}
		if err != nil {
			b.Error(err)
		}
	})
}

// BenchmarkVerify is the check of one entry of a long ledger.
func BenchmarkVerify(b *testing.B) {
	s := sqlitePlace(b).open(b, Options{LedgerKey: testKey})
	done := make(chan struct{})
	var calls atomic.Int64
	for range 64 {
		go func() {
			for n := calls.Add(1); n <= int64(b.N); n = calls.Add(1) {
				if _, err := s.AppendEvent(bg, record(int(n))); err != nil {
					b.Error(err)
				}
			}
			done <- struct{}{}
		}()
	}
	for range 64 {
		<-done
	}
	b.ResetTimer()
	v, err := s.Verify(bg, Anchor{})
	require.NoError(b, err)
	require.True(b, v.OK, v.Detail)
}
