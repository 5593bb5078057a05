package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func evidence(device, outcome string) Evidence {
	e := Evidence{DeviceID: device, Site: "substation-7", Region: "us-east-1", Outcome: outcome, Detail: "said " + outcome, Owner: ownerA}
	switch outcome {
	case EvidenceDrifted:
		e.Drifted = 2
		fallthrough
	case EvidenceInSync:
		e.Baseline, e.BaselineVersion = "inverters", "1.4.0"
	}
	return e
}

func TestEvidenceOfOneDevice(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		c := newClock()
		s := p.open(t, Options{Clock: c.Now})
		zero := c.Now().UTC()
		at := func(hours int) *time.Time { t := zero.Add(time.Duration(hours) * time.Hour); return &t }
		c.Advance(100 * time.Hour)
		record := func(hour int, outcome string) DeviceEvidence {
			t.Helper()
			e := evidence("edge-001", outcome)
			e.At = *at(hour)
			require.NoError(t, s.RecordEvidence(bg, []Evidence{e}))
			list, err := s.ListEvidence(bg, EvidenceQuery{DeviceID: "edge-001"})
			require.NoError(t, err)
			require.Len(t, list, 1)
			return list[0]
		}
		want := DeviceEvidence{DeviceID: "edge-001", Site: "substation-7", Region: "us-east-1",
			Outcome: EvidenceUnreadable, Detail: "said unreadable", AttemptedAt: at(1), LackingSince: *at(1)}
		require.Equal(t, want, record(1, EvidenceUnreadable), "an attempt is no evidence")

		drifted := want
		drifted.Outcome, drifted.Detail, drifted.AttemptedAt = EvidenceDrifted, "said drifted", at(2)
		drifted.Found, drifted.EvidenceAt, drifted.LackingSince, drifted.Drifted, drifted.DriftedSince = EvidenceDrifted, at(2), *at(2), 2, at(2)
		drifted.Baseline, drifted.BaselineVersion, drifted.Owner = "inverters", "1.4.0", ownerA
		require.Equal(t, drifted, record(2, EvidenceDrifted))
		require.Equal(t, drifted, record(2, EvidenceDrifted), "the same once more is the same")

		for i, outcome := range []string{EvidenceUnreadable, EvidenceUnderChange, EvidenceNoBaseline} {
			want := drifted
			want.Outcome, want.Detail, want.AttemptedAt = outcome, "said "+outcome, at(3+i)
			require.Equal(t, want, record(3+i, outcome), "%s does not renew the evidence", outcome)
		}
		require.Equal(t, EvidenceNoBaseline, record(4, EvidenceUnreadable).Outcome, "an earlier attempt does not replace a later one")

		drifted.AttemptedAt, drifted.EvidenceAt, drifted.LackingSince = at(10), at(10), *at(10)
		require.Equal(t, drifted, record(10, EvidenceDrifted), "it is drifted since it was first seen so")
		require.Equal(t, drifted, record(9, EvidenceInSync), "earlier evidence does not replace later evidence")

		record(20, EvidenceUnreadable)
		got := record(15, EvidenceInSync)
		require.Equal(t, EvidenceUnreadable, got.Outcome)
		require.Equal(t, []any{at(20), at(15), EvidenceInSync, 0, (*time.Time)(nil)},
			[]any{got.AttemptedAt, got.EvidenceAt, got.Found, got.Drifted, got.DriftedSince},
			"evidence that comes late is newer evidence all the same")
		require.Equal(t, at(30), record(30, EvidenceDrifted).DriftedSince, "drift after it was in sync is new drift")

		got = record(5000, EvidenceInSync)
		require.Equal(t, c.Now().UTC(), *got.EvidenceAt, "a time to come is now")
		require.Equal(t, got, record(40, EvidenceDrifted))
	})
}

func TestEvidenceThatCannotBeIsRefused(t *testing.T) {
	s := sqlitePlace(t).open(t, Options{})
	for want, change := range map[string]func(*Evidence){
		`outcome "fine", want one of in_sync, drifted, unreadable`: func(e *Evidence) { e.Outcome = "fine" },
		`outcome "unchecked", want one of`:                         func(e *Evidence) { e.Outcome = EvidenceUnchecked },
		`0 drifted settings of "edge-001", which is drifted`:       func(e *Evidence) { e.Drifted = 0 },
		`2 drifted settings of "edge-001", which is unreadable`:    func(e *Evidence) { e.Outcome = EvidenceUnreadable },
		`-1 drifted settings of "edge-001", which is in_sync`:      func(e *Evidence) { e.Outcome, e.Drifted = EvidenceInSync, -1 },
		"baseline is empty":    func(e *Evidence) { e.Baseline = "" },
		"device ID is empty":   func(e *Evidence) { e.DeviceID = "" },
		"workflow ID is empty": func(e *Evidence) { e.WorkflowID = "" },
	} {
		e := evidence("edge-001", EvidenceDrifted)
		change(&e)
		err := s.RecordEvidence(bg, []Evidence{evidence("edge-002", EvidenceInSync), e})
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorContains(t, err, want)
	}
	require.ErrorContains(t, s.RecordEvidence(bg, nil), "0 devices in one call")
	e := evidence("edge-001", EvidenceInSync)
	require.ErrorContains(t, s.RecordEvidence(bg, []Evidence{e, e}), "device edge-001 is there twice")
	list, err := s.ListEvidence(bg, EvidenceQuery{})
	require.NoError(t, err)
	require.Empty(t, list)
}

func TestEvidenceOfTheFleet(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		const day = 24 * time.Hour
		c := newClock()
		s := p.open(t, Options{Clock: c.Now})
		start := c.Now().UTC()
		register := func(device, state string, o Owner) Lease {
			l := lease(t, s, device, o)
			r := registration(device, l, state)
			r.Region = "us-west-2"
			_, err := s.Register(bg, r)
			require.NoError(t, err)
			return l
		}
		register("u-old", StateOnboarded, ownerA)
		register("u-failed", StateFailed, ownerA)
		gone := register("gone", StateOnboarded, ownerA)
		unseen := register("gone-unseen", StateOnboarded, ownerA)
		require.NoError(t, s.RecordEvidence(bg, []Evidence{evidence("gone", EvidenceInSync), evidence("e-old", EvidenceInSync), evidence("e-dark", EvidenceUnreadable)}))
		c.Advance(30 * day)
		register("u-new", StateOnboarded, ownerA)
		var batch []Evidence
		for i := range 40 {
			e := evidence(fmt.Sprintf("e-%02d", i), EvidenceInSync)
			if i < 4 {
				e = evidence(e.DeviceID, EvidenceDrifted)
				e.Site = "substation-8"
			}
			batch = append(batch, e)
		}
		require.NoError(t, s.RecordEvidence(bg, batch))
		c.Advance(5*day + time.Second)
		require.NoError(t, s.RecordEvidence(bg, []Evidence{evidence("e-dark", EvidenceUnreadable), evidence("e-39", EvidenceUnderChange)}))
		_, err := s.Decommission(bg, decommissioning("gone", gone))
		require.NoError(t, err)
		_, err = s.Decommission(bg, decommissioning("gone-unseen", unseen))
		require.NoError(t, err)

		sum, err := s.EvidenceSummary(bg, 0)
		require.NoError(t, err)
		east := EvidenceCount{Devices: 42, Never: 1, Overdue: 2, LackingSince: &start, OldestAge: 35*day + time.Second,
			ByOutcome: map[string]int64{EvidenceInSync: 36, EvidenceDrifted: 4, EvidenceUnreadable: 1, EvidenceUnderChange: 1}}
		west := EvidenceCount{Devices: 2, Never: 2, Overdue: 1, LackingSince: &start, OldestAge: 35*day + time.Second,
			ByOutcome: map[string]int64{EvidenceUnchecked: 2}}
		total := EvidenceCount{Devices: 44, Never: 3, Overdue: 3, LackingSince: &start, OldestAge: 35*day + time.Second,
			ByOutcome: map[string]int64{EvidenceInSync: 36, EvidenceDrifted: 4, EvidenceUnreadable: 1, EvidenceUnderChange: 1, EvidenceUnchecked: 2}}
		require.Equal(t, EvidenceSummary{At: c.Now().UTC(), OlderThan: EvidenceMaxAge, EvidenceCount: total,
			ByRegion: map[string]*EvidenceCount{"us-east-1": &east, "us-west-2": &west}}, sum)
		sum, err = s.EvidenceSummary(bg, day)
		require.NoError(t, err)
		require.Equal(t, int64(44), sum.Overdue)
		sum, err = s.EvidenceSummary(bg, sum.OldestAge)
		require.NoError(t, err)
		require.Zero(t, sum.Overdue, "what is exactly as old as it may be is not overdue")

		ids := func(q EvidenceQuery) []string {
			list, err := s.ListEvidence(bg, q)
			require.NoError(t, err)
			out := []string{}
			for _, e := range list {
				out = append(out, e.DeviceID)
			}
			return out
		}
		require.Equal(t, []string{"e-dark", "e-old", "u-old"}, ids(EvidenceQuery{OlderThan: EvidenceMaxAge}), "an attempt that failed is no evidence")
		require.Equal(t, []string{"e-old", "u-old"}, ids(EvidenceQuery{OlderThan: EvidenceMaxAge, After: "e-dark"}))
		require.Equal(t, []string{"u-new", "u-old"}, ids(EvidenceQuery{Outcome: EvidenceUnchecked}))
		require.Equal(t, []string{"e-00", "e-01"}, ids(EvidenceQuery{Site: "substation-8", Limit: 2}))
		require.Equal(t, []string{"e-02", "e-03"}, ids(EvidenceQuery{Outcome: EvidenceDrifted, After: "e-01"}))
		require.Equal(t, []string{"u-new", "u-old"}, ids(EvidenceQuery{Region: "us-west-2"}))
		require.Empty(t, ids(EvidenceQuery{OlderThan: sum.OldestAge}))
		require.Len(t, ids(EvidenceQuery{}), 44)

		t.Run("evidence does not outlive its device", func(t *testing.T) {
			require.NoError(t, s.ReleaseLease(bg, "gone", gone.Token))
			register("gone", StateOnboarded, ownerB)
			list, err := s.ListEvidence(bg, EvidenceQuery{DeviceID: "gone"})
			require.NoError(t, err)
			require.Equal(t, []DeviceEvidence{{DeviceID: "gone", Site: "substation-7", Region: "us-west-2", Outcome: EvidenceUnchecked, LackingSince: c.Now().UTC()}}, list)
		})
	})
}
