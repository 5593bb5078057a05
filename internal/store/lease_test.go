package store

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var (
	ownerA = Owner{"remediate/edge-001/EdgeDeviceOffline/f00-1", "run-a"}
	ownerB = Owner{"remediate/edge-001/EdgeConfigDrift/f01-2", "run-b"}
)

func TestLease(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		c := newClock()
		s := p.open(t, Options{Clock: c.Now})
		const device = "edge-001"
		acquire := func(o Owner) Lease {
			l, err := s.AcquireLease(bg, device, o)
			require.NoError(t, err)
			return l
		}
		intent := func(l Lease, activity string) Record {
			rec := record(1)
			rec.DeviceID, rec.WorkflowID, rec.RunID, rec.ActivityID = device, l.WorkflowID, l.RunID, activity
			_, err := s.AppendIntent(bg, rec, l.Token, c.Now().Add(time.Minute))
			require.NoError(t, err)
			return rec
		}
		first := acquire(ownerA)

		t.Run("the same owner gets the same lease", func(t *testing.T) {
			c.Advance(time.Second)
			require.Equal(t, first, acquire(ownerA))
		})
		t.Run("another owner is told who holds it since when", func(t *testing.T) {
			_, err := s.AcquireLease(bg, device, ownerB)
			require.ErrorIs(t, err, ErrLeaseHeld)
			var held *LeaseHeldError
			require.ErrorAs(t, err, &held)
			require.Equal(t, first, held.Lease)
			require.ErrorContains(t, err, "edge-001 is held by "+ownerA.WorkflowID+" (run run-a) since 2026-03-01T12:00:00Z")
			require.False(t, IsTransient(err))
		})
		t.Run("another run of the same workflow is another owner", func(t *testing.T) {
			_, err := s.AcquireLease(bg, device, Owner{ownerA.WorkflowID, "run-2"})
			require.ErrorIs(t, err, ErrLeaseHeld)
		})
		t.Run("a wrong token releases nothing", func(t *testing.T) {
			require.NoError(t, s.ReleaseLease(bg, device, first.Token+1))
			require.NoError(t, s.Reap(bg, device, first.Token+1))
			require.Equal(t, first, acquire(ownerA))
		})
		t.Run("release is idempotent and makes the device free", func(t *testing.T) {
			require.NoError(t, s.ReleaseLease(bg, device, first.Token))
			require.NoError(t, s.ReleaseLease(bg, device, first.Token))
			_, err := s.LeaseOf(bg, device)
			require.ErrorIs(t, err, ErrNotFound)
		})
		t.Run("tokens grow, for the same owner too", func(t *testing.T) {
			second := acquire(ownerA)
			require.Greater(t, second.Token, first.Token)
			require.NoError(t, s.ReleaseLease(bg, device, first.Token), "an old token")
			require.Equal(t, second, acquire(ownerA))
			require.NoError(t, s.ReleaseLease(bg, device, second.Token))
		})
		t.Run("a dead owner's lease is reaped", func(t *testing.T) {
			l := acquire(ownerA)
			require.NoError(t, s.Reap(bg, device, l.Token))
			require.NoError(t, s.Reap(bg, device, l.Token))
			require.NoError(t, s.ReleaseLease(bg, device, acquire(ownerB).Token))
		})
		t.Run("a lease with a write in flight is not reaped before its deadline", func(t *testing.T) {
			l := acquire(ownerA)
			intent(l, "1")
			var busy *LeaseBusyError
			err := s.Reap(bg, device, l.Token)
			require.ErrorIs(t, err, ErrLeaseBusy)
			require.ErrorAs(t, err, &busy)
			require.Equal(t, c.Now().Add(time.Minute).UTC(), *busy.Lease.BusyUntil)
			c.Advance(time.Minute)
			require.NoError(t, s.Reap(bg, device, l.Token))
		})
		t.Run("a lease is busy until the last of several writes has its result", func(t *testing.T) {
			l := acquire(ownerA)
			one, two := intent(l, "2"), intent(l, "3")
			_, err := s.AppendResult(bg, one)
			require.NoError(t, err)
			require.ErrorIs(t, s.Reap(bg, device, l.Token), ErrLeaseBusy)
			_, err = s.AppendResult(bg, two)
			require.NoError(t, err)
			require.NoError(t, s.Reap(bg, device, l.Token))
		})
		t.Run("a device released while busy is taken until the result", func(t *testing.T) {
			l := acquire(ownerA)
			rec := intent(l, "4")
			require.NoError(t, s.ReleaseLease(bg, device, l.Token))
			_, err := s.AcquireLease(bg, device, ownerB)
			require.ErrorIs(t, err, ErrLeaseHeld)
			require.ErrorContains(t, err, "in flight until")
			_, err = s.AcquireLease(bg, device, ownerA)
			require.ErrorIs(t, err, ErrLeaseHeld, "its own owner waits, too")
			rec.ActivityID = "5"
			_, err = s.AppendIntent(bg, rec, l.Token, c.Now().Add(time.Minute))
			require.ErrorIs(t, err, ErrLeaseLost, "nothing is written with a released token")
			leases, err := s.Leases(bg, "", 0)
			require.NoError(t, err)
			require.Len(t, leases, 1)
			require.True(t, leases[0].Released)

			rec.ActivityID = "4"
			_, err = s.AppendResult(bg, rec)
			require.NoError(t, err)
			leases, err = s.Leases(bg, "", 0)
			require.NoError(t, err)
			require.Empty(t, leases)
			require.NoError(t, s.ReleaseLease(bg, device, acquire(ownerB).Token))
		})
		t.Run("a device released while busy is free at the deadline", func(t *testing.T) {
			l := acquire(ownerA)
			intent(l, "6")
			require.NoError(t, s.ReleaseLease(bg, device, l.Token))
			c.Advance(time.Minute)
			_, err := s.LeaseOf(bg, device)
			require.ErrorIs(t, err, ErrNotFound)
			b := acquire(ownerB)
			require.Nil(t, b.BusyUntil)
			require.NoError(t, s.ReleaseLease(bg, device, b.Token))
		})
		t.Run("leases are listed in pages", func(t *testing.T) {
			for i := range 5 {
				_, err := s.AcquireLease(bg, fmt.Sprintf("Edge_%d", i), ownerA)
				require.NoError(t, err)
			}
			page, err := s.Leases(bg, "", 3)
			require.NoError(t, err)
			require.Len(t, page, 3)
			rest, err := s.Leases(bg, page[2].DeviceID, 3)
			require.NoError(t, err)
			require.Len(t, rest, 2)
			require.Equal(t, "Edge_3", rest[0].DeviceID)
		})
	})
}

func TestOneOfManyGetsTheDevice(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		stores := []*Store{p.open(t, Options{}), p.open(t, Options{})}
		var got atomic.Int64
		var wg sync.WaitGroup
		for i := range 32 {
			wg.Go(func() {
				_, err := retry(func() (Lease, error) {
					return stores[i%2].AcquireLease(bg, "edge-001", Owner{"wf", fmt.Sprint(i)})
				})
				if err == nil {
					got.Add(1)
				} else if !errors.Is(err, ErrLeaseHeld) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		require.Equal(t, int64(1), got.Load())
	})
}

// leaseModel is what leases shall do, in memory: for each device at most one
// lease, and the deadlines of its writes without a result.
type leaseModel struct {
	owner    Owner
	token    int64
	released bool
	writes   map[string]time.Time
}

func (m *leaseModel) busy(now time.Time) bool {
	for _, until := range m.writes {
		if until.After(now) {
			return true
		}
	}
	return false
}

// TestLeasesBehaveLikeTheirModel plays random calls of several owners, with
// right and wrong tokens, against the store and against the model.
func TestLeasesBehaveLikeTheirModel(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		c := newClock()
		s := p.open(t, Options{Clock: c.Now})
		runs, lastToken := 0, int64(0)
		rapid.Check(t, func(rt *rapid.T) {
			runs++
			prefix := fmt.Sprintf("run%d-", runs)
			models := map[string]*leaseModel{}
			effects := 0
			owners := []Owner{{prefix + "a", "1"}, {prefix + "a", "2"}, {prefix + "b", "1"}}
			device := func() string { return prefix + rapid.SampledFrom([]string{"x", "y"}).Draw(rt, "device") }
			token := func(d string) int64 {
				if m := models[d]; m != nil && rapid.IntRange(0, 3).Draw(rt, "right token") > 0 {
					return m.token
				}
				return lastToken + int64(rapid.IntRange(-2, 1).Draw(rt, "token"))
			}
			// free drops what the model holds but nobody has any more.
			free := func(d string) {
				if m := models[d]; m != nil && m.released && !m.busy(c.Now()) {
					delete(models, d)
				}
			}
			rt.Repeat(map[string]func(*rapid.T){
				"acquire": func(rt *rapid.T) {
					d, o := device(), rapid.SampledFrom(owners).Draw(rt, "owner")
					free(d)
					l, err := s.AcquireLease(bg, d, o)
					switch m := models[d]; {
					case m == nil:
						require.NoError(rt, err)
						require.Greater(rt, l.Token, lastToken, "a token that is not new")
						lastToken = l.Token
						models[d] = &leaseModel{owner: o, token: l.Token, writes: map[string]time.Time{}}
					case m.owner == o && !m.released:
						require.NoError(rt, err)
						require.Equal(rt, m.token, l.Token)
					default:
						require.ErrorIs(rt, err, ErrLeaseHeld)
					}
				},
				"release": func(rt *rapid.T) {
					d := device()
					tok := token(d)
					require.NoError(rt, s.ReleaseLease(bg, d, tok))
					if m := models[d]; m != nil && m.token == tok {
						m.released = true
						free(d)
					}
				},
				"reap": func(rt *rapid.T) {
					d := device()
					tok := token(d)
					err := s.Reap(bg, d, tok)
					if m := models[d]; m != nil && m.token == tok && m.busy(c.Now()) {
						require.ErrorIs(rt, err, ErrLeaseBusy)
					} else {
						require.NoError(rt, err)
						if m != nil && m.token == tok {
							delete(models, d)
						}
					}
				},
				"intent": func(rt *rapid.T) {
					d := device()
					tok := token(d)
					effects++
					rec := record(effects)
					rec.DeviceID, rec.WorkflowID = d, prefix
					until := c.Now().Add(time.Duration(rapid.IntRange(1, 20).Draw(rt, "seconds")) * time.Second)
					_, err := s.AppendIntent(bg, rec, tok, until)
					if m := models[d]; m != nil && m.token == tok && !m.released {
						require.NoError(rt, err)
						m.writes[rec.ActivityID] = until
					} else {
						require.ErrorIs(rt, err, ErrLeaseLost)
					}
				},
				"result": func(rt *rapid.T) {
					d := device()
					m := models[d]
					if m == nil || len(m.writes) == 0 {
						rt.Skip("no write")
					}
					for activity := range m.writes {
						rec := record(1)
						rec.DeviceID, rec.WorkflowID, rec.ActivityID = d, prefix, activity
						found, err := s.FindIntent(bg, rec.Key())
						require.NoError(rt, err)
						_, err = s.AppendResult(bg, found.Record())
						require.NoError(rt, err)
						delete(m.writes, activity)
						break
					}
					free(d)
				},
				"time goes on": func(rt *rapid.T) {
					c.Advance(time.Duration(rapid.IntRange(1, 10).Draw(rt, "seconds")) * time.Second)
				},
				"": func(rt *rapid.T) {
					leases, err := s.Leases(bg, prefix, 0)
					require.NoError(rt, err)
					held := map[string]bool{}
					for _, l := range leases {
						if l.DeviceID > prefix+"z" {
							continue
						}
						m := models[l.DeviceID]
						require.NotNil(rt, m, "%s is leased", l.DeviceID)
						require.Equal(rt, m.token, l.Token)
						require.Equal(rt, m.released, l.Released)
						require.Equal(rt, m.busy(c.Now()), l.busy(c.Now()))
						held[l.DeviceID] = true
					}
					for d, m := range models {
						require.Equal(rt, !m.released || m.busy(c.Now()), held[d], "%s is held", d)
					}
				},
			})
		})
		v, err := s.Verify(bg, Anchor{})
		require.NoError(t, err)
		require.True(t, v.OK, v.Detail)
	})
}
