package store

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// group is how many devices a child writes in one batch.
const group = 20

// registerForEver onboards one device after the other, and a group of devices
// and their evidence in batches whose rows are all alike. It confirms the event
// of each onboarding of a single device.
func registerForEver(s *Store, g int, confirmed chan<- string) error {
	owner := Owner{"onboard", fmt.Sprint(os.Getpid(), g)}
	leases := make([]Lease, group)
	for k := range leases {
		var err error
		if leases[k], err = s.AcquireLease(bg, fmt.Sprintf("batch-%d-%02d", g, k), owner); err != nil {
			return err
		}
	}
	for i := 0; ; i++ {
		single := registration(fmt.Sprintf("single-%d-%d", g, i%4), Lease{}, StateOnboarding)
		l, err := s.AcquireLease(bg, single.DeviceID, Owner{"onboard", fmt.Sprint(owner.RunID, i)})
		if err != nil {
			return err
		}
		single.Owner, single.LeaseToken, single.Pin = l.Owner, l.Token, fmt.Sprint("pin ", i)
		if _, err := s.Register(bg, single); err != nil {
			return err
		}
		single.State, single.ActivityID = StateOnboarded, "end"
		if _, err := s.Register(bg, single); err != nil {
			return err
		}
		confirmed <- fmt.Sprintf("%s/%s", single.RunID, single.record().Item)
		if err := s.ReleaseLease(bg, l.DeviceID, l.Token); err != nil {
			return err
		}
		var batch []Registration
		var seen []Evidence
		for _, l := range leases {
			r := registration(l.DeviceID, l, StateOnboarded)
			r.DeclaredHash, r.ActivityID = fmt.Sprint(owner.RunID, i), fmt.Sprint(i)
			batch = append(batch, r)
			e := evidence(l.DeviceID, EvidenceDrifted)
			e.Drifted = i + 1
			seen = append(seen, e)
		}
		if _, err := s.RegisterBatch(bg, batch); err != nil {
			return err
		}
		if err := s.RecordEvidence(bg, seen); err != nil {
			return err
		}
	}
}

func TestKilledWhileRegisteringLeavesNothingHalf(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		confirmed := map[string]bool{}
		for round := range 3 {
			for _, line := range killedChild(t, p, "register", 30+17*round) {
				confirmed[line] = true
			}
			s, err := Open(bg, p.url, Options{LedgerKey: testKey})
			require.NoError(t, err)
			v, err := s.Verify(bg, Anchor{})
			require.NoError(t, err)
			require.True(t, v.OK, "%s %d %s", v.Finding, v.Seq, v.Detail)

			told, onboarded := map[string]bool{}, map[string]int64{}
			for e, err := range s.Export(bg, LedgerQuery{}) {
				require.NoError(t, err)
				told[e.RunID+"/"+e.Item] = true
				if e.Outcome == StateOnboarded {
					onboarded[e.DeviceID]++
				}
			}
			for key := range confirmed {
				require.True(t, told[key], "confirmed, but lost: %s", key)
			}
			alike := map[string]map[string]int{}
			count := func(device, what string) {
				g := device[:strings.LastIndexByte(device, '-')]
				if alike[g] == nil {
					alike[g] = map[string]int{}
				}
				alike[g][what]++
			}
			list, err := s.ListRegistered(bg, RegisteredQuery{Limit: maxLimit})
			require.NoError(t, err)
			for _, r := range list {
				require.Equal(t, onboarded[r.DeviceID], r.Onboardings, "%s: each onboarding has its event, and each event its onboarding", r.DeviceID)
				pins, err := s.PinHistory(bg, r.DeviceID)
				require.NoError(t, err)
				require.Equal(t, r.Pin, pins[len(pins)-1].Pin)
				if strings.HasPrefix(r.DeviceID, "batch") {
					count(r.DeviceID, "registered with "+r.DeclaredHash)
				}
			}
			seen, err := s.ListEvidence(bg, EvidenceQuery{Limit: maxLimit})
			require.NoError(t, err)
			for _, e := range seen {
				if strings.HasPrefix(e.DeviceID, "batch") && e.Outcome != EvidenceUnchecked {
					count(e.DeviceID, fmt.Sprint("seen drifted by ", e.Drifted))
				}
			}
			require.NotEmpty(t, alike)
			for g, kinds := range alike {
				for what, n := range kinds {
					require.Equal(t, group, n, "%s: some are %s, others not", g, what)
				}
			}
			leases, err := s.Leases(bg, "", maxLimit)
			require.NoError(t, err)
			for _, l := range leases {
				r, err := s.Registered(bg, l.DeviceID)
				if err == nil && r.Owner == l.Owner && r.State == StateOnboarding {
					// The activity is tried again, and ends what the dead began.
					again := registration(l.DeviceID, l, StateOnboarded)
					again.ActivityID = "end"
					r, err = s.Register(bg, again)
					require.NoError(t, err)
					require.Equal(t, onboarded[l.DeviceID]+1, r.Onboardings)
				}
				require.NoError(t, s.Reap(bg, l.DeviceID, l.Token))
			}
			require.NoError(t, s.Close())
		}
	})
}
