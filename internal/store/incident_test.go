package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func begin(t testing.TB, s *Store, device string, o Owner) Episode {
	t.Helper()
	ep, err := s.BeginEpisode(bg, EpisodeBegin{DeviceID: device, Owner: o, AlertName: "EdgeDeviceOffline", Reason: "up == 0"})
	require.NoError(t, err)
	return ep
}

func end(ep Episode, status string) EpisodeEnd {
	return EpisodeEnd{
		DeviceID: ep.Incident.DeviceID, LeaseToken: ep.Lease.Token, IncidentID: ep.Incident.ID, Status: status,
		Detail: "the device answers again", Actor: "alert:EdgeDeviceOffline", ActivityID: "9", Owner: ep.Lease.Owner,
	}
}

func TestEpisode(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		c := newClock()
		s := p.open(t, Options{LedgerKey: testKey, Clock: c.Now})
		ep := begin(t, s, "edge-001", ownerA)

		t.Run("it begins with a lease and an open incident", func(t *testing.T) {
			require.Equal(t, Incident{
				ID: "inc-1", DeviceID: "edge-001", AlertName: "EdgeDeviceOffline", Status: StatusOpen, Reason: "up == 0",
				WorkflowID: ownerA.WorkflowID, RunID: ownerA.RunID, OpenedAt: c.Now().UTC(),
			}, ep.Incident)
			l, err := s.LeaseOf(bg, "edge-001")
			require.NoError(t, err)
			require.Equal(t, ep.Lease, l)
		})
		t.Run("a retried begin is the same episode", func(t *testing.T) {
			c.Advance(time.Minute)
			require.Equal(t, ep, begin(t, s, "edge-001", ownerA))
		})
		t.Run("without the lease there is no incident", func(t *testing.T) {
			_, err := s.BeginEpisode(bg, EpisodeBegin{DeviceID: "edge-001", Owner: ownerB})
			require.ErrorIs(t, err, ErrLeaseHeld)
			incidents, err := s.Incidents(bg, IncidentQuery{})
			require.NoError(t, err)
			require.Equal(t, []Incident{ep.Incident}, incidents)
		})
		t.Run("one run can have an incident on each of several devices", func(t *testing.T) {
			other := begin(t, s, "edge-002", ownerA)
			require.Equal(t, "inc-2", other.Incident.ID)
			_, err := s.EndEpisode(bg, end(other, StatusCancelled))
			require.NoError(t, err)
		})
		t.Run("an end that cannot be is refused", func(t *testing.T) {
			for want, change := range map[string]func(*EpisodeEnd){
				`status "open", want one of resolved, cleared, escalated, cancelled, abandoned`: func(e *EpisodeEnd) { e.Status = StatusOpen },
				"incident ID is empty":          func(e *EpisodeEnd) { e.IncidentID = "" },
				"incident inc-77: not found":    func(e *EpisodeEnd) { e.IncidentID = "inc-77" },
				"incident inc-1 is of edge-001": func(e *EpisodeEnd) { e.DeviceID = "edge-002" },
				"actor is empty":                func(e *EpisodeEnd) { e.Actor = "" },
			} {
				e := end(ep, StatusResolved)
				change(&e)
				_, err := s.EndEpisode(bg, e)
				require.ErrorContains(t, err, want)
			}
			_, err := s.LeaseOf(bg, "edge-001")
			require.NoError(t, err, "and the lease is kept")
		})
		t.Run("it ends with the incident, the ledger and the lease at once", func(t *testing.T) {
			i, err := s.EndEpisode(bg, end(ep, StatusResolved))
			require.NoError(t, err)
			now := c.Now().UTC()
			want := ep.Incident
			want.Status, want.Detail, want.EndedAt = StatusResolved, "the device answers again", &now
			require.Equal(t, want, i)
			stored, err := s.Incident(bg, i.ID)
			require.NoError(t, err)
			require.Equal(t, want, stored)
			_, err = s.LeaseOf(bg, "edge-001")
			require.ErrorIs(t, err, ErrNotFound)
			page, err := s.ListLedger(bg, LedgerQuery{IncidentID: "inc-1"})
			require.NoError(t, err)
			require.Len(t, page.Entries, 1)
			e := page.Entries[0]
			require.Equal(t, []string{PhaseEvent, ActionEndIncident, "inc-1", StatusOpen, StatusResolved, "the device answers again"},
				[]string{e.Phase, e.Action, e.Item, e.Before, e.After, e.Reason})
		})
		t.Run("the first end stays, and a later one only gives back the lease", func(t *testing.T) {
			first, err := s.Incident(bg, "inc-1")
			require.NoError(t, err)
			l, err := s.AcquireLease(bg, "edge-001", ownerA)
			require.NoError(t, err)
			for _, status := range []string{StatusResolved, StatusAbandoned} {
				e := end(ep, status)
				e.LeaseToken = l.Token
				again, err := s.EndEpisode(bg, e)
				require.NoError(t, err)
				require.Equal(t, first, again)
			}
			_, err = s.LeaseOf(bg, "edge-001")
			require.ErrorIs(t, err, ErrNotFound)
			page, err := s.ListLedger(bg, LedgerQuery{IncidentID: "inc-1"})
			require.NoError(t, err)
			require.Len(t, page.Entries, 1)
		})
		t.Run("a run whose incident has ended does not begin again", func(t *testing.T) {
			_, err := s.BeginEpisode(bg, EpisodeBegin{DeviceID: "edge-001", Owner: ownerA})
			require.ErrorIs(t, err, ErrIncidentEnded)
			_, err = s.LeaseOf(bg, "edge-001")
			require.ErrorIs(t, err, ErrNotFound, "and takes no lease")
		})
		t.Run("an end with a ledger that cannot append changes nothing", func(t *testing.T) {
			ep := begin(t, s, "edge-003", ownerB)
			db := p.raw(t)
			_, err := db.Exec(`UPDATE ledger_head SET mac = 'x'`)
			require.NoError(t, err)
			_, err = s.EndEpisode(bg, end(ep, StatusResolved))
			require.ErrorIs(t, err, ErrLedgerDamaged)
			i, err := s.Incident(bg, ep.Incident.ID)
			require.NoError(t, err)
			require.Equal(t, StatusOpen, i.Status)
			l, err := s.LeaseOf(bg, "edge-003")
			require.NoError(t, err)
			require.Equal(t, ep.Lease, l)
		})
	})
}

func TestUpdateIncident(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		c := newClock()
		s := p.open(t, Options{Clock: c.Now})
		ep := begin(t, s, "edge-001", ownerA)
		update := func(u IncidentUpdate) Incident {
			u.IncidentID = ep.Incident.ID
			c.Advance(time.Second)
			i, err := s.UpdateIncident(bg, u)
			require.NoError(t, err)
			return i
		}
		require.Equal(t, StatusInvestigating, update(IncidentUpdate{Status: StatusInvestigating, Key: "run/1"}).Status)
		require.Equal(t, StatusMitigated, update(IncidentUpdate{Status: StatusMitigated, Note: "reset the port", Key: "run/2"}).Status)
		require.Equal(t, StatusMitigated, update(IncidentUpdate{Status: StatusInvestigating, Key: "run/1"}).Status, "a late retry does not turn the status back")
		update(IncidentUpdate{Note: "reset the port", Key: "run/2"})
		update(IncidentUpdate{Note: "called the site"})
		update(IncidentUpdate{Note: "called the site"})
		notes, err := s.Notes(bg, ep.Incident.ID)
		require.NoError(t, err)
		texts := []string{}
		for _, n := range notes {
			texts = append(texts, n.Text)
		}
		require.Equal(t, []string{"status: investigating", "reset the port", "called the site", "called the site"}, texts)
		require.True(t, notes[0].At.Before(notes[1].At))

		_, err = s.EndEpisode(bg, end(ep, StatusEscalated))
		require.NoError(t, err)
		update(IncidentUpdate{Note: "post-mortem"})
		_, err = s.UpdateIncident(bg, IncidentUpdate{IncidentID: ep.Incident.ID, Status: StatusMitigated})
		require.ErrorIs(t, err, ErrIncidentEnded)
		require.ErrorContains(t, err, "it is escalated since")
		_, err = s.UpdateIncident(bg, IncidentUpdate{IncidentID: "inc-99", Note: "x"})
		require.ErrorIs(t, err, ErrNotFound)
		_, err = s.UpdateIncident(bg, IncidentUpdate{IncidentID: ep.Incident.ID})
		require.ErrorContains(t, err, "note is empty")
		_, err = s.UpdateIncident(bg, IncidentUpdate{IncidentID: ep.Incident.ID, Status: StatusResolved})
		require.ErrorContains(t, err, `status "resolved", want one of open, investigating, mitigated`)
	})
}

func TestIncidents(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		s := p.open(t, Options{})
		var all []Episode
		for i := range 12 {
			all = append(all, begin(t, s, fmt.Sprintf("edge-%03d", i%3), Owner{"wf", fmt.Sprint(i)}))
			if i < 11 {
				_, err := s.EndEpisode(bg, end(all[i], endStatuses()[i%2]))
				require.NoError(t, err)
			}
		}
		ids := func(q IncidentQuery) []string {
			incidents, err := s.Incidents(bg, q)
			require.NoError(t, err)
			ids := []string{}
			for _, i := range incidents {
				ids = append(ids, i.ID)
			}
			return ids
		}
		require.Equal(t, []string{"inc-12", "inc-11", "inc-10"}, ids(IncidentQuery{Limit: 3}), "newest first, counted as numbers")
		require.Equal(t, []string{"inc-10", "inc-7", "inc-4", "inc-1"}, ids(IncidentQuery{DeviceID: "edge-000"}))
		require.Equal(t, []string{"inc-10", "inc-4"}, ids(IncidentQuery{DeviceID: "edge-000", Status: StatusCleared}))
		require.Equal(t, []string{"inc-12"}, ids(IncidentQuery{Going: true}))
		require.Equal(t, []string{}, ids(IncidentQuery{WorkflowID: "none"}))
		_, err := s.Incident(bg, "inc-99")
		require.ErrorIs(t, err, ErrNotFound)
	})
}
