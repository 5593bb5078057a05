package store

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestReleasedMigrationsStayAsTheyAre(t *testing.T) {
	for name, want := range map[string]string{
		"migrations/sqlite/00001_init.sql":   "645078ec8ce118de86ede04e9526e439b5d99c0c2ae5fc23604c81a31f6dc602",
		"migrations/postgres/00001_init.sql": "16444634486bb7bb5d329b1f8a5242b89a4bca39ff66e4bd502b324703932200",
	} {
		text, err := migrations.ReadFile(name)
		require.NoError(t, err)
		sum := sha256.Sum256(text)
		require.Equal(t, want, hex.EncodeToString(sum[:]), "%s: a change of the schema is a migration of its own", name)
	}
}

// remembered is all that a store of version 1 tells.
type remembered struct {
	states    []DeviceState
	captures  []CapturedSetting
	incidents []Incident
	notes     []Note
	leases    []Lease
	ledger    []LedgerEntry
	verdict   Verdict
}

func remember(t *testing.T, s *Store) (r remembered) {
	t.Helper()
	var err error
	r.states, err = s.DeviceStates(bg, "", 0)
	require.NoError(t, err)
	r.captures, err = s.Captures(bg, CaptureQuery{DeviceID: "edge-001"})
	require.NoError(t, err)
	r.incidents, err = s.Incidents(bg, IncidentQuery{})
	require.NoError(t, err)
	r.notes, err = s.Notes(bg, "inc-1")
	require.NoError(t, err)
	r.leases, err = s.Leases(bg, "", 0)
	require.NoError(t, err)
	for e, err := range s.Export(bg, LedgerQuery{}) {
		require.NoError(t, err)
		r.ledger = append(r.ledger, e)
	}
	r.verdict, err = s.Verify(bg, Anchor{})
	require.NoError(t, err)
	return r
}

func TestStoreOfVersion1KeepsWhatItHas(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		c := newClock()
		opts := Options{LedgerKey: testKey, Clock: c.Now}
		old := opts
		old.schema = 1
		s, err := Open(bg, p.url, old)
		require.NoError(t, err)
		_, err = s.ListRegistered(bg, RegisteredQuery{})
		require.Error(t, err, "version 1 has no registry")

		ended := begin(t, s, "edge-002", ownerB)
		_, err = s.EndEpisode(bg, end(ended, StatusResolved))
		require.NoError(t, err)
		ep := begin(t, s, "edge-001", ownerA)
		_, err = s.UpdateIncident(bg, IncidentUpdate{IncidentID: "inc-1", Note: "looked at"})
		require.NoError(t, err)
		require.NoError(t, s.SetDeviceState(bg, DeviceState{DeviceID: "edge-001", State: "drifted"}))
		_, err = s.CaptureSettings(bg, Capture{"edge-001", ownerA.WorkflowID, ownerA.RunID, "3", []Setting{{"WMax", "4000", "W"}}})
		require.NoError(t, err)
		rec := record(1)
		rec.WorkflowID, rec.RunID = ownerA.WorkflowID, ownerA.RunID
		_, err = s.AppendIntent(bg, rec, ep.Lease.Token, c.Now().Add(time.Minute))
		require.NoError(t, err)
		before := remember(t, s)
		require.True(t, before.verdict.OK)
		require.NoError(t, s.Close())

		s = p.open(t, opts)
		require.Equal(t, before, remember(t, s))
		list, err := s.ListRegistered(bg, RegisteredQuery{})
		require.NoError(t, err)
		require.Empty(t, list)
		sum, err := s.EvidenceSummary(bg, 0)
		require.NoError(t, err)
		require.Zero(t, sum.Devices)

		// What was under way goes on: the write, the lease, the incident.
		_, err = s.AppendResult(bg, rec)
		require.NoError(t, err)
		r := registration("edge-001", ep.Lease, StateOnboarded)
		_, err = s.Register(bg, r)
		require.NoError(t, err)
		require.NoError(t, s.RecordEvidence(bg, []Evidence{evidence("edge-001", EvidenceInSync)}))
		_, err = s.EndEpisode(bg, end(ep, StatusResolved))
		require.NoError(t, err)
		v, err := s.Verify(bg, Anchor{Seq: before.verdict.HeadSeq, Hash: before.verdict.HeadHash})
		require.NoError(t, err)
		require.True(t, v.OK, v.Detail)
		require.Equal(t, before.verdict.Entries+3, v.Entries)
	})
}
