package store

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestEvidenceArrivesInAnyOrder plays attempts of one device at different times
// in any order: what stays is the last attempt, and the last evidence.
func TestEvidenceArrivesInAnyOrder(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		c := newClock()
		s := p.open(t, Options{Clock: c.Now})
		start := c.Now().UTC()
		c.Advance(1000 * time.Hour)
		runs := 0
		rapid.Check(t, func(rt *rapid.T) {
			runs++
			device := fmt.Sprintf("run-%d", runs)
			hours := rapid.SliceOfNDistinct(rapid.IntRange(1, 500), 1, 12, rapid.ID[int]).Draw(rt, "hours")
			attempts := make([]Evidence, len(hours))
			for i, h := range hours {
				e := evidence(device, rapid.SampledFrom([]string{EvidenceInSync, EvidenceDrifted, EvidenceUnreadable, EvidenceUnderChange, EvidenceNoBaseline}).Draw(rt, "outcome"))
				e.At, e.BaselineVersion = start.Add(time.Duration(h)*time.Hour), fmt.Sprint(h)
				attempts[i] = e
				require.NoError(rt, s.RecordEvidence(bg, []Evidence{e}))
			}
			slices.SortFunc(attempts, func(a, b Evidence) int { return a.At.Compare(b.At) })
			last, want := attempts[len(attempts)-1], attempts[0].At
			var found Evidence
			for _, e := range attempts {
				if e.compared() {
					found, want = e, e.At
				}
			}
			list, err := s.ListEvidence(bg, EvidenceQuery{DeviceID: device})
			require.NoError(rt, err)
			got := list[0]
			require.Equal(rt, []any{last.Outcome, last.At}, []any{got.Outcome, *got.AttemptedAt})
			require.Equal(rt, want, got.LackingSince)
			require.Equal(rt, found.Drifted, got.Drifted)
			if found.At.IsZero() {
				require.Equal(rt, []any{"", (*time.Time)(nil), ""}, []any{got.Found, got.EvidenceAt, got.BaselineVersion})
				return
			}
			require.Equal(rt, []any{found.Outcome, found.At, found.BaselineVersion}, []any{got.Found, *got.EvidenceAt, got.BaselineVersion})
			require.Equal(rt, found.Outcome == EvidenceDrifted, got.DriftedSince != nil)
			if got.DriftedSince != nil {
				require.False(rt, got.DriftedSince.After(found.At))
			}
		})
	})
}
