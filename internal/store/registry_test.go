package store

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// registration is one of a device by the owner of a lease.
func registration(device string, l Lease, state string) Registration {
	return Registration{
		DeviceID: device, State: state, Detail: "as declared",
		Facts: Facts{
			DeclaredHash: "d1", Revision: "r1", Site: "substation-7", Region: "us-east-1", Profile: "sunspec-inverter",
			Maker: "Example", Model: "X1", Firmware: "1.2", Serial: "S-" + device, Pin: "SHA256:one", Baseline: "inverters", BaselineVersion: "1.4.0",
		},
		Phases: []Phase{{"probe", time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), 2 * time.Second, "ok"}},
		Owner:  l.Owner, LeaseToken: l.Token, Actor: "operator:kim", ActivityID: "act-" + state,
	}
}

func decommissioning(device string, l Lease) Decommissioning {
	return Decommissioning{DeviceID: device, Owner: l.Owner, LeaseToken: l.Token, Actor: "operator:kim", ActivityID: "act-gone", Reason: "replaced"}
}

func lease(t testing.TB, s *Store, device string, o Owner) Lease {
	t.Helper()
	l, err := s.AcquireLease(bg, device, o)
	require.NoError(t, err)
	return l
}

func registryEvents(t testing.TB, s *Store, device string) []string {
	t.Helper()
	events := []string{}
	for e, err := range s.Export(bg, LedgerQuery{DeviceID: device}) {
		require.NoError(t, err)
		events = append(events, e.Action+" "+e.Item)
	}
	return events
}

func TestRegistry(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		c := newClock()
		s := p.open(t, Options{LedgerKey: testKey, Clock: c.Now})
		const device = "edge-001"
		register := func(r Registration) Registered {
			t.Helper()
			c.Advance(time.Second)
			got, err := s.Register(bg, r)
			require.NoError(t, err)
			kept, err := s.Registered(bg, device)
			require.NoError(t, err)
			require.Equal(t, kept, got, "what is returned is what is kept")
			return got
		}
		_, err := s.Registered(bg, device)
		require.ErrorIs(t, err, ErrNotFound)
		_, err = s.Pin(bg, device)
		require.ErrorIs(t, err, ErrNotFound)
		a := lease(t, s, device, ownerA)

		t.Run("without the device's lease nothing is written", func(t *testing.T) {
			for _, token := range []int64{0, a.Token + 1} {
				r := registration(device, a, StateOnboarding)
				r.LeaseToken = token
				_, err := s.Register(bg, r)
				require.ErrorIs(t, err, ErrLeaseLost)
			}
			_, err := s.Register(bg, registration("edge-002", a, StateOnboarding))
			require.ErrorIs(t, err, ErrLeaseLost, "the lease is on another device")
			require.Empty(t, registryEvents(t, s, ""))
		})
		t.Run("a device that is not registered cannot be decommissioned", func(t *testing.T) {
			_, err := s.Decommission(bg, decommissioning(device, a))
			require.ErrorIs(t, err, ErrNotFound)
		})
		first := Registration{}
		t.Run("an onboarding learns as it goes, with one event", func(t *testing.T) {
			first = registration(device, a, StateOnboarding)
			first.Phases, first.Serial, first.Pin = nil, "", ""
			got := register(first)
			require.Nil(t, got.OnboardedAt)
			require.Zero(t, got.Onboardings)
			pin, err := s.Pin(bg, device)
			require.NoError(t, err)
			require.Empty(t, pin)

			more := registration(device, a, StateOnboarding)
			more.Model = ""
			got = register(more)
			require.Equal(t, "X1", got.Model, "what is left empty stays")
			require.Equal(t, "S-edge-001", got.Serial)
			require.Equal(t, more.Phases, got.Phases)
			require.Equal(t, got, register(first), "fewer phases come late")
			require.Equal(t, []string{"onboard edge-001/onboarding"}, registryEvents(t, s, device))
			pin, err = s.Pin(bg, device)
			require.NoError(t, err)
			require.Equal(t, "SHA256:one", pin)
		})
		var onboarded Registered
		t.Run("an onboarded device has all facts, and the ledger says so", func(t *testing.T) {
			onboarded = register(registration(device, a, StateOnboarded))
			require.Equal(t, Registered{
				DeviceID: device, State: StateOnboarded, Facts: registration(device, a, "").Facts, OnboardedAt: onboarded.OnboardedAt,
				ChangedAt: c.Now().UTC(), Detail: "as declared", Owner: ownerA, Phases: registration(device, a, "").Phases, Onboardings: 1,
			}, onboarded)
			require.Equal(t, c.Now().UTC(), *onboarded.OnboardedAt)
			page, err := s.ListLedger(bg, LedgerQuery{DeviceID: device, Newest: true, Limit: 1})
			require.NoError(t, err)
			e := page.Entries[0]
			require.Equal(t, "onboard edge-001/onboarded onboarded as declared d1",
				e.Action+" "+e.Item+" "+e.Outcome+" "+e.Reason+" "+e.PlanHash)
			require.Contains(t, e.Before, `{"state":"onboarding","declared_hash":"d1"`)
			require.Contains(t, e.After, `{"state":"onboarded","declared_hash":"d1","revision":"r1","site":"substation-7"`)
			require.Contains(t, e.After, `"pin":"SHA256:one"`)
		})
		t.Run("a device is onboarded once by a run and a declaration", func(t *testing.T) {
			require.NoError(t, s.ReleaseLease(bg, device, a.Token))
			again := registration(device, a, StateOnboarded)
			again.Firmware, again.ActivityID, again.LeaseToken = "9.9", "another", 0
			require.Equal(t, onboarded, register(again))
			again.State = StateOnboarding
			require.Equal(t, onboarded, register(again))
			failed, err := s.FailRegistration(bg, again)
			require.NoError(t, err)
			require.Equal(t, onboarded, failed)
			require.Len(t, registryEvents(t, s, device), 2)
		})
		t.Run("a retried activity with another declaration is a conflict", func(t *testing.T) {
			other := registration(device, a, StateOnboarded)
			other.DeclaredHash = "d2"
			_, err := s.Register(bg, other)
			require.ErrorIs(t, err, ErrLedgerConflict)
			require.ErrorContains(t, err, `onboard "edge-001/onboarded" of activity act-onboarded`)
		})
		b := lease(t, s, device, ownerB)
		t.Run("a later run that fails leaves what the device was onboarded with", func(t *testing.T) {
			r := registration(device, b, StateOnboarding)
			r.DeclaredHash, r.Pin, r.Firmware = "d2", "SHA256:two", "2.0"
			got := register(r)
			require.Equal(t, StateOnboarding, got.State)
			require.Equal(t, onboarded.Facts, got.Facts)
			require.Equal(t, onboarded.OnboardedAt, got.OnboardedAt)
			r.Detail, r.ActivityID = "no answer", "act-failed"
			c.Advance(time.Second)
			got, err := s.FailRegistration(bg, r)
			require.NoError(t, err)
			require.Equal(t, []any{StateFailed, "no answer", onboarded.Facts, ownerB}, []any{got.State, got.Detail, got.Facts, got.Owner})
			pin, err := s.Pin(bg, device)
			require.NoError(t, err)
			require.Equal(t, "SHA256:one", pin, "an onboarding that failed does not make a new pin trusted")

			r.Detail = "told differently"
			again, err := s.FailRegistration(bg, r)
			require.NoError(t, err)
			require.Equal(t, got, again, "the retried activity's first word stays")
		})
		t.Run("phases are a run's own, and an end without them keeps what it told", func(t *testing.T) {
			l := lease(t, s, "edge-005", ownerA)
			r := registration("edge-005", l, StateOnboarding)
			r.Phases = append(r.Phases, Phase{Phase: "apply", Started: c.Now().UTC(), Outcome: "ok"})
			told, err := s.Register(bg, r)
			require.NoError(t, err)
			require.Len(t, told.Phases, 2)
			r.State, r.Phases = StateOnboarded, nil
			ended, err := s.Register(bg, r)
			require.NoError(t, err)
			require.Equal(t, told.Phases, ended.Phases)
			require.NoError(t, s.ReleaseLease(bg, "edge-005", l.Token))
			next, err := s.Register(bg, registration("edge-005", lease(t, s, "edge-005", ownerB), StateFailed))
			require.NoError(t, err)
			require.Equal(t, registration("", Lease{}, "").Phases, next.Phases)
		})
		t.Run("the earlier run has lost the device", func(t *testing.T) {
			r := registration(device, a, StateOnboarded)
			_, err := s.Register(bg, r)
			require.ErrorIs(t, err, ErrLeaseLost)
			require.ErrorContains(t, err, "(run run-b) has registered edge-001 since")
			r.ActivityID = "new"
			_, err = s.Register(bg, r)
			require.ErrorIs(t, err, ErrLeaseLost)
		})
		t.Run("a run may begin again after it failed", func(t *testing.T) {
			r := registration(device, b, StateOnboarding)
			r.ActivityID, r.Phases = "second try", nil
			require.Equal(t, StateOnboarding, register(r).State)
			r.State, r.Pin, r.Firmware, r.Baseline, r.BaselineVersion = StateOnboarded, "SHA256:two", "2.0", "", ""
			got := register(r)
			require.Equal(t, int64(2), got.Onboardings)
			require.Equal(t, []string{"SHA256:two", "2.0", "", ""}, []string{got.Pin, got.Firmware, got.Baseline, got.BaselineVersion})
			r.ActivityID, r.DeclaredHash, r.Pin = "third", "d3", ""
			got = register(r)
			require.Equal(t, int64(3), got.Onboardings, "another declaration is another onboarding")
			require.Equal(t, "SHA256:two", got.Pin, "a pin is not lost by leaving it out")
		})
		t.Run("a decommissioned device keeps its row and its pins", func(t *testing.T) {
			before, err := s.Registered(bg, device)
			require.NoError(t, err)
			_, err = s.Decommission(bg, decommissioning(device, a))
			require.ErrorIs(t, err, ErrLeaseLost)
			gone, err := s.Decommission(bg, decommissioning(device, b))
			require.NoError(t, err)
			require.Equal(t, []any{StateDecommissioned, "replaced", before.Facts, int64(3)}, []any{gone.State, gone.Detail, gone.Facts, gone.Onboardings})
			_, err = s.Pin(bg, device)
			require.ErrorIs(t, err, ErrNotFound)
			require.ErrorContains(t, err, "it is decommissioned since 2026-03-01T12:00:")
			c.Advance(time.Second)
			again, err := s.Decommission(bg, Decommissioning{DeviceID: device, Owner: ownerA, Actor: "x", ActivityID: "1"})
			require.NoError(t, err)
			require.Equal(t, gone, again)
			pins, err := s.PinHistory(bg, device)
			require.NoError(t, err)
			require.Len(t, pins, 2)
			require.Equal(t, []any{"SHA256:one", ownerA, *pins[0].Until}, []any{pins[0].Pin, pins[0].Owner, pins[1].Since})
			require.Equal(t, []any{"SHA256:two", ownerB, gone.ChangedAt}, []any{pins[1].Pin, pins[1].Owner, *pins[1].Until})
		})
		t.Run("a decommissioned device begins with new facts", func(t *testing.T) {
			r := registration(device, b, StateOnboarding)
			r.ActivityID, r.Serial, r.Pin = "anew", "", ""
			got := register(r)
			require.Equal(t, r.Facts, got.Facts)
			require.Nil(t, got.OnboardedAt)
			require.Equal(t, int64(3), got.Onboardings)
			r.State, r.Pin = StateOnboarded, "SHA256:two"
			require.Equal(t, int64(4), register(r).Onboardings)
			pins, err := s.PinHistory(bg, device)
			require.NoError(t, err)
			require.Len(t, pins, 3, "the same pin again is held anew")
			require.Nil(t, pins[2].Until)
			v, err := s.Verify(bg, Anchor{})
			require.NoError(t, err)
			require.True(t, v.OK, v.Detail)
		})
	})
}

func TestRegistrationThatCannotBeIsRefused(t *testing.T) {
	s := sqlitePlace(t).open(t, Options{})
	l := lease(t, s, "edge-001", ownerA)
	for want, change := range map[string]func(*Registration){
		`state "there", want one of onboarding, onboarded, failed`: func(r *Registration) { r.State = "there" },
		"state decommissioned: use Decommission":                   func(r *Registration) { r.State = StateDecommissioned },
		"device ID is empty":                                       func(r *Registration) { r.DeviceID = "" },
		"declared hash is empty":                                   func(r *Registration) { r.DeclaredHash = "" },
		"actor is empty":                                           func(r *Registration) { r.Actor = "" },
		"activity ID is empty":                                     func(r *Registration) { r.ActivityID = "" },
		"run ID is empty":                                          func(r *Registration) { r.RunID = "" },
		"edge-001 has 101 phases, want at most 100":                func(r *Registration) { r.Phases = make([]Phase, 101) },
		"phase is empty":                                           func(r *Registration) { r.Phases = []Phase{{}} },
		"phase probe of edge-001 started in the year 12000":        func(r *Registration) { r.Phases[0].Started = time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC) },
	} {
		r := registration("edge-001", l, StateOnboarded)
		change(&r)
		_, err := s.Register(bg, r)
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorContains(t, err, want)
		if r.State != StateDecommissioned {
			_, err = s.RegisterBatch(bg, []Registration{r})
			require.ErrorIs(t, err, ErrInvalid)
		}
	}
	_, err := s.RegisterBatch(bg, []Registration{registration("edge-001", l, StateDecommissioned)})
	require.ErrorContains(t, err, "state decommissioned of edge-001: use Decommission")
	_, err = s.RegisterBatch(bg, nil)
	require.ErrorContains(t, err, "0 devices in one call, want 1 to 1000")
	_, err = s.RegisterBatch(bg, make([]Registration, MaxBulk+1))
	require.ErrorContains(t, err, "1001 devices in one call")
	_, err = s.RegisterBatch(bg, []Registration{registration("edge-001", l, StateOnboarded), registration("edge-001", l, StateFailed)})
	require.ErrorContains(t, err, "device edge-001 is there twice")
}

func TestRegisterBatch(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		s := p.open(t, Options{LedgerKey: testKey})
		var batch []Registration
		for i := range 150 {
			device := fmt.Sprintf("edge-%03d", i)
			r := registration(device, lease(t, s, device, ownerA), StateOnboarded)
			r.Site, r.Region = fmt.Sprintf("site-%d", i%3), fmt.Sprintf("region-%d", i%2)
			if i%10 == 0 {
				r.State = StateFailed
			}
			batch = append(batch, r)
		}
		t.Run("one that is refused keeps all from being written, and each is named", func(t *testing.T) {
			bad := append([]Registration(nil), batch...)
			bad[7].LeaseToken, bad[140].LeaseToken = 0, 1
			_, err := s.RegisterBatch(bg, bad)
			var refused *BatchError
			require.ErrorAs(t, err, &refused)
			require.ErrorIs(t, err, ErrLeaseLost)
			require.ErrorContains(t, err, "nothing was written, because of 2 of 150 devices: the first is edge-007: the lease on the device is lost")
			require.Equal(t, []string{"edge-007", "edge-140"}, []string{refused.Failed[0].DeviceID, refused.Failed[1].DeviceID})
			list, err := s.ListRegistered(bg, RegisteredQuery{})
			require.NoError(t, err)
			require.Empty(t, list)
			require.Empty(t, registryEvents(t, s, ""))
		})
		t.Run("a repeated batch is the first one", func(t *testing.T) {
			first, err := s.RegisterBatch(bg, batch)
			require.NoError(t, err)
			require.Len(t, first, 150)
			again, err := s.RegisterBatch(bg, batch)
			require.NoError(t, err)
			require.Equal(t, first, again)
			require.Equal(t, "edge-149", again[149].DeviceID)
			require.Equal(t, int64(1), again[149].Onboardings)
			require.Zero(t, again[140].Onboardings)
			require.Len(t, registryEvents(t, s, ""), 150)
		})
		t.Run("a batch that overlaps with an earlier one adds what is new", func(t *testing.T) {
			more := append([]Registration(nil), batch[100:]...)
			more = append(more, registration("new", lease(t, s, "new", ownerA), StateOnboarded))
			got, err := s.RegisterBatch(bg, more)
			require.NoError(t, err)
			require.Equal(t, int64(1), got[50].Onboardings)
			require.Len(t, registryEvents(t, s, ""), 151)
		})
		t.Run("devices are listed in pages, by what they are", func(t *testing.T) {
			ids := func(q RegisteredQuery) []string {
				list, err := s.ListRegistered(bg, q)
				require.NoError(t, err)
				out := []string{}
				for _, r := range list {
					out = append(out, r.DeviceID)
				}
				return out
			}
			require.Equal(t, []string{"edge-000", "edge-010"}, ids(RegisteredQuery{State: StateFailed, Limit: 2}))
			require.Equal(t, []string{"edge-020"}, ids(RegisteredQuery{State: StateFailed, After: "edge-010", Limit: 1}))
			require.Equal(t, []string{"edge-001", "edge-007"}, ids(RegisteredQuery{Site: "site-1", Region: "region-1", Limit: 2}))
			require.Len(t, ids(RegisteredQuery{}), 100)
			require.Len(t, ids(RegisteredQuery{Limit: 5000}), 151)
			require.Empty(t, ids(RegisteredQuery{State: StateOnboarding}))
		})
		v, err := s.Verify(bg, Anchor{})
		require.NoError(t, err)
		require.True(t, v.OK, v.Detail)
	})
}

func TestDamagedPhasesAreNamed(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		s := p.open(t, Options{})
		_, err := s.Register(bg, registration("edge-001", lease(t, s, "edge-001", ownerA), StateOnboarded))
		require.NoError(t, err)
		_, err = p.raw(t).Exec(`UPDATE registered_device SET phases = 'nothing'`)
		require.NoError(t, err)
		_, err = s.Registered(bg, "edge-001")
		require.ErrorIs(t, err, ErrDamaged)
		require.ErrorContains(t, err, "the phases of edge-001 cannot be read")
		require.False(t, errors.Is(err, ErrNotFound))
	})
}
