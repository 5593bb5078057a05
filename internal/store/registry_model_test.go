package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// registryModel is what the registry shall know of one device, in memory.
type registryModel struct {
	state, hash, pin string
	owner            Owner
	onboardings      int64
	standing         bool
	// held are the pins that the device had, the present one last.
	held []string
	// told are the events that the ledger has, by key, with their hash.
	told map[EffectKey]string
}

// apply does in the model what a registration shall do, and returns the error
// that it shall give. present is the token of the device's lease, 0 for none.
func (m *registryModel) apply(r Registration, present int64) error {
	key, known, same := r.key(), m.state != "", m.owner == r.Owner
	if r.State == StateDecommissioned {
		if !known {
			return ErrNotFound
		}
		if m.state == StateDecommissioned {
			return nil
		}
	} else if same && m.state == StateOnboarded && m.hash == r.DeclaredHash {
		return nil
	}
	progress := same && m.state == StateOnboarding && r.State == StateOnboarding
	if hash, told := m.told[key]; told && !progress {
		switch {
		case hash != r.DeclaredHash:
			return ErrLedgerConflict
		case !same:
			return ErrLeaseLost
		}
		return nil
	}
	if present == 0 || r.LeaseToken != present {
		return ErrLeaseLost
	}
	if m.state == StateDecommissioned {
		m.pin, m.hash, m.standing = "", "", false
	}
	pin := m.pin
	switch {
	case r.State == StateOnboarded:
		m.hash, m.standing = r.DeclaredHash, true
		m.onboardings++
		fallthrough
	case r.State != StateDecommissioned && !m.standing:
		m.hash = r.DeclaredHash
		if r.Pin != "" {
			m.pin = r.Pin
		}
	}
	if m.pin != pin {
		m.held = append(m.held, m.pin)
	}
	if !progress {
		m.told[key] = r.DeclaredHash
	}
	m.state, m.owner = r.State, r.Owner
	return nil
}

// TestRegistryBehavesLikeItsModel plays random registrations of several runs,
// with right and wrong tokens, new and retried activities, against the store
// and against the model.
func TestRegistryBehavesLikeItsModel(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		c := newClock()
		s := p.open(t, Options{Clock: c.Now})
		runs := 0
		rapid.Check(t, func(rt *rapid.T) {
			runs++
			prefix := fmt.Sprintf("run%d-", runs)
			devices := []string{prefix + "x", prefix + "y"}
			owners := []Owner{{prefix + "a", "1"}, {prefix + "a", "2"}, {prefix + "b", "1"}}
			models, leases := map[string]*registryModel{}, map[string]Lease{}
			for _, d := range devices {
				models[d] = &registryModel{told: map[EffectKey]string{}}
			}
			draw := func(rt *rapid.T, d string) Registration {
				r := registration(d, Lease{Owner: rapid.SampledFrom(owners).Draw(rt, "owner")},
					rapid.SampledFrom([]string{StateOnboarding, StateOnboarded, StateFailed}).Draw(rt, "state"))
				if l, held := leases[d]; held && rapid.IntRange(0, 4).Draw(rt, "rightful") > 0 {
					r.Owner, r.LeaseToken = l.Owner, l.Token
				}
				r.DeclaredHash = rapid.SampledFrom([]string{"d1", "d2"}).Draw(rt, "hash")
				r.Pin = rapid.SampledFrom([]string{"", "p1", "p2"}).Draw(rt, "pin")
				r.ActivityID = fmt.Sprint(rapid.IntRange(1, 4).Draw(rt, "activity"))
				return r
			}
			answer := func(rt *rapid.T, want, err error) {
				if want == nil {
					require.NoError(rt, err)
				} else {
					require.ErrorIs(rt, err, want)
				}
			}
			rt.Repeat(map[string]func(*rapid.T){
				"the lease changes hands": func(rt *rapid.T) {
					d := rapid.SampledFrom(devices).Draw(rt, "device")
					require.NoError(rt, s.ReleaseLease(bg, d, leases[d].Token))
					delete(leases, d)
					if rapid.IntRange(0, 3).Draw(rt, "taken") > 0 {
						l, err := s.AcquireLease(bg, d, rapid.SampledFrom(owners).Draw(rt, "new owner"))
						require.NoError(rt, err)
						leases[d] = l
					}
				},
				"register": func(rt *rapid.T) {
					d := rapid.SampledFrom(devices).Draw(rt, "device")
					r := draw(rt, d)
					want := models[d].apply(r, leases[d].Token)
					_, err := s.Register(bg, r)
					answer(rt, want, err)
				},
				"register both": func(rt *rapid.T) {
					batch := []Registration{draw(rt, devices[0]), draw(rt, devices[1])}
					// All or none: the model tries on copies first.
					var wants []error
					for _, r := range batch {
						if want := models[r.DeviceID].clone().apply(r, leases[r.DeviceID].Token); want != nil {
							wants = append(wants, want)
						}
					}
					_, err := s.RegisterBatch(bg, batch)
					if len(wants) == 0 {
						require.NoError(rt, err)
						for _, r := range batch {
							require.NoError(rt, models[r.DeviceID].apply(r, leases[r.DeviceID].Token))
						}
					}
					for _, want := range wants {
						require.ErrorIs(rt, err, want)
					}
				},
				"decommission": func(rt *rapid.T) {
					d := rapid.SampledFrom(devices).Draw(rt, "device")
					r := draw(rt, d)
					gone := Decommissioning{DeviceID: d, Owner: r.Owner, LeaseToken: r.LeaseToken, Actor: r.Actor, ActivityID: r.ActivityID}
					r.State, r.Facts = StateDecommissioned, Facts{}
					want := models[d].apply(r, leases[d].Token)
					_, err := s.Decommission(bg, gone)
					answer(rt, want, err)
				},
				"": func(rt *rapid.T) {
					c.Advance(time.Second)
					for d, m := range models {
						m.agree(rt, s, d)
					}
				},
			})
		})
		v, err := s.Verify(bg, Anchor{})
		require.NoError(t, err)
		require.True(t, v.OK, v.Detail)
	})
}

func (m *registryModel) clone() *registryModel {
	c := *m
	c.told = map[EffectKey]string{}
	for k, v := range m.told {
		c.told[k] = v
	}
	return &c
}

// agree compares the model with what the store says of a device.
func (m *registryModel) agree(t *rapid.T, s *Store, device string) {
	got, err := s.Registered(bg, device)
	if m.state == "" {
		require.ErrorIs(t, err, ErrNotFound)
		return
	}
	require.NoError(t, err)
	require.Equal(t, []any{m.state, m.hash, m.pin, m.owner, m.onboardings, m.standing},
		[]any{got.State, got.DeclaredHash, got.Pin, got.Owner, got.Onboardings, got.OnboardedAt != nil})
	present := ""
	pins, err := s.PinHistory(bg, device)
	require.NoError(t, err)
	held := []string{}
	for _, p := range pins {
		held = append(held, p.Pin)
		if p.Until == nil {
			require.Empty(t, present, "two present pins")
			present = p.Pin
		}
	}
	require.Equal(t, append([]string{}, m.held...), held)
	pin, err := s.Pin(bg, device)
	if m.state == StateDecommissioned {
		require.ErrorIs(t, err, ErrNotFound)
		require.Empty(t, present)
	} else {
		require.NoError(t, err)
		require.Equal(t, []string{m.pin, m.pin}, []string{pin, present})
	}
	// Every onboarding is in the ledger, once.
	page, err := s.ListLedger(bg, LedgerQuery{DeviceID: device, Limit: maxLimit})
	require.NoError(t, err)
	require.Len(t, page.Entries, len(m.told))
	onboarded := int64(0)
	for _, e := range page.Entries {
		if e.Outcome == StateOnboarded {
			onboarded++
		}
	}
	require.Equal(t, m.onboardings, onboarded)
}
