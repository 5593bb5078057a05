package store

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLedgerAppend(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		c := newClock()
		s := p.open(t, Options{LedgerKey: testKey, Clock: c.Now})
		rec := record(1)
		lease, err := s.AcquireLease(bg, rec.DeviceID, Owner{rec.WorkflowID, rec.RunID})
		require.NoError(t, err)
		deadline := c.Now().Add(time.Minute)

		t.Run("an intent has all that its caller said, and the chain", func(t *testing.T) {
			e, err := s.AppendIntent(bg, rec, lease.Token, deadline)
			require.NoError(t, err)
			require.Equal(t, rec, e.Record())
			require.Equal(t, int64(1), e.Seq)
			require.Equal(t, PhaseIntent, e.Phase)
			require.Equal(t, c.Now().UTC(), e.Time)
			require.Equal(t, genesisHash, e.PrevHash)
			found, err := s.FindIntent(bg, rec.Key())
			require.NoError(t, err)
			require.Equal(t, e, found)
		})
		t.Run("an intent without a result says that nobody knows", func(t *testing.T) {
			_, err := s.FindResult(bg, rec.Key())
			require.ErrorIs(t, err, ErrNotFound)
		})
		t.Run("a repeated intent is the earlier one, and takes the write up again", func(t *testing.T) {
			c.Advance(30 * time.Second)
			e, err := s.AppendIntent(bg, rec, lease.Token, deadline.Add(time.Minute))
			require.NoError(t, err)
			require.Equal(t, int64(1), e.Seq)
			l, err := s.LeaseOf(bg, rec.DeviceID)
			require.NoError(t, err)
			require.Equal(t, deadline.Add(time.Minute).UTC(), *l.BusyUntil)
		})
		t.Run("another content under the same key is refused", func(t *testing.T) {
			other := rec
			other.After = "6000"
			_, err := s.AppendIntent(bg, other, lease.Token, deadline)
			require.ErrorIs(t, err, ErrLedgerConflict)
			require.ErrorContains(t, err, "entry 1, intent of apply_baseline_config")
		})
		t.Run("a lost lease appends nothing", func(t *testing.T) {
			other := record(9)
			for _, token := range []int64{0, lease.Token + 1} {
				_, err := s.AppendIntent(bg, other, token, deadline)
				require.ErrorIs(t, err, ErrLeaseLost)
			}
			_, err := s.AppendIntent(bg, rec, lease.Token+1, deadline)
			require.ErrorIs(t, err, ErrLeaseLost, "a repeated intent needs the lease, too")
			page, err := s.ListLedger(bg, LedgerQuery{})
			require.NoError(t, err)
			require.Len(t, page.Entries, 1)
		})
		t.Run("a write needs time, and not too much", func(t *testing.T) {
			_, err := s.AppendIntent(bg, record(9), lease.Token, c.Now())
			require.ErrorContains(t, err, "of the write has passed")
			_, err = s.AppendIntent(bg, record(9), lease.Token, c.Now().Add(2*MaxBusy))
			require.ErrorContains(t, err, "is more than 1h0m0s away")
			require.ErrorIs(t, err, ErrInvalid)
		})
		t.Run("a result needs its intent", func(t *testing.T) {
			other := rec
			other.Item = "VRef"
			_, err := s.AppendResult(bg, other)
			require.ErrorIs(t, err, ErrNoIntent)
			other = rec
			other.DeviceID = "edge-777"
			_, err = s.AppendResult(bg, other)
			require.ErrorIs(t, err, ErrNoIntent)
		})
		t.Run("a result ends the write, and comes once", func(t *testing.T) {
			done := rec
			done.Outcome = "done"
			first, err := s.AppendResult(bg, done)
			require.NoError(t, err)
			require.Equal(t, int64(2), first.Seq)
			again, err := s.AppendResult(bg, done)
			require.NoError(t, err)
			require.Equal(t, first, again)
			l, err := s.LeaseOf(bg, rec.DeviceID)
			require.NoError(t, err)
			require.Nil(t, l.BusyUntil)
			found, err := s.FindResult(bg, rec.Key())
			require.NoError(t, err)
			require.Equal(t, first, found)

			done.Outcome = "failed"
			_, err = s.AppendResult(bg, done)
			require.ErrorIs(t, err, ErrLedgerConflict)
		})
		t.Run("an intent that has its result does not begin a write again", func(t *testing.T) {
			e, err := s.AppendIntent(bg, rec, lease.Token, deadline)
			require.NoError(t, err)
			require.Equal(t, int64(1), e.Seq)
			l, err := s.LeaseOf(bg, rec.DeviceID)
			require.NoError(t, err)
			require.Nil(t, l.BusyUntil)
		})
		t.Run("a result is kept after the lease is gone", func(t *testing.T) {
			late := record(1)
			late.ActivityID = "late"
			_, err := s.AppendIntent(bg, late, lease.Token, c.Now().Add(time.Minute))
			require.NoError(t, err)
			c.Advance(2 * time.Minute)
			require.NoError(t, s.ReleaseLease(bg, rec.DeviceID, lease.Token))
			next, err := s.AcquireLease(bg, rec.DeviceID, Owner{"wf-2", "run-2"})
			require.NoError(t, err)
			_, err = s.AppendResult(bg, late)
			require.NoError(t, err)
			l, err := s.LeaseOf(bg, rec.DeviceID)
			require.NoError(t, err)
			require.Equal(t, next, l)
		})
		t.Run("what is missing is named", func(t *testing.T) {
			for want, empty := range map[string]func(*Record){
				"actor is empty": func(r *Record) { r.Actor = "" }, "device ID is empty": func(r *Record) { r.DeviceID = "" },
				"action is empty": func(r *Record) { r.Action = "" }, "workflow ID is empty": func(r *Record) { r.WorkflowID = "" },
				"run ID is empty": func(r *Record) { r.RunID = "" }, "activity ID is empty": func(r *Record) { r.ActivityID = "" },
				"item has 501 bytes, want at most 500": func(r *Record) { r.Item = fmt.Sprintf("%0501d", 1) },
			} {
				rec := record(1)
				empty(&rec)
				_, err := s.AppendEvent(bg, rec)
				require.ErrorContains(t, err, want)
				require.ErrorIs(t, err, ErrInvalid)
			}
		})
		v, err := s.Verify(bg, Anchor{})
		require.NoError(t, err)
		require.True(t, v.OK, v.Detail)
		require.Equal(t, int64(4), v.Entries)
	})
}

// TestHashesCanBeRecomputed is what an auditor does with doc.go and an export.
func TestHashesCanBeRecomputed(t *testing.T) {
	for name, key := range map[string][]byte{"keyed": testKey, "without a key": nil} {
		t.Run(name, func(t *testing.T) {
			s := sqlitePlace(t).open(t, Options{LedgerKey: key})
			appendEvents(t, s, 3)
			prev := "0000000000000000000000000000000000000000000000000000000000000000"
			for e, err := range s.Export(bg, LedgerQuery{}) {
				require.NoError(t, err)
				var enc []byte
				for _, f := range []string{"edgefleet ledger v1", strconv.FormatInt(e.Seq, 10), strconv.FormatInt(e.Time.UnixMicro(), 10),
					e.Phase, e.Actor, e.DeviceID, e.Action, e.Item, e.Before, e.After, e.Outcome, e.Reason, e.IncidentID,
					e.WorkflowID, e.RunID, e.ActivityID, e.PlanHash, prev} {
					enc = append(binary.BigEndian.AppendUint64(enc, uint64(len(f))), f...)
				}
				sum := sha256.Sum256(enc)
				want := sum[:]
				if key != nil {
					mac := hmac.New(sha256.New, key)
					mac.Write(enc)
					want = mac.Sum(nil)
				}
				require.Equal(t, hex.EncodeToString(want), e.Hash)
				prev = e.Hash
			}
		})
	}
}

func TestFieldsCannotRunIntoEachOther(t *testing.T) {
	h := newHasher(testKey)
	require.NotEqual(t, h.entry(LedgerEntry{Before: "ab", After: "c"}), h.entry(LedgerEntry{Before: "a", After: "bc"}))
	require.NotEqual(t, h.entry(LedgerEntry{Before: "x"}), h.entry(LedgerEntry{After: "x"}))
}

func TestListLedger(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		s := p.open(t, Options{})
		all := appendEvents(t, s, 40)
		list := func(q LedgerQuery) LedgerPage {
			page, err := s.ListLedger(bg, q)
			require.NoError(t, err)
			return page
		}
		require.Equal(t, LedgerPage{Entries: all[:15], Next: 15}, list(LedgerQuery{Limit: 15}), "a page from the start")
		require.Equal(t, LedgerPage{Entries: all[30:]}, list(LedgerQuery{After: 30, Limit: 15}), "the last page has no next")
		require.Equal(t, LedgerPage{Entries: all[25:]}, list(LedgerQuery{After: 25, Limit: 15}), "a page that is just full has no next")
		require.Equal(t, LedgerPage{Entries: all[37:]}, list(LedgerQuery{Newest: true, Limit: 3}), "the newest, in order")
		require.Equal(t, LedgerPage{Entries: []LedgerEntry{all[3], all[11]}, Next: 12}, list(LedgerQuery{DeviceID: "edge-003", Limit: 2}), "one device")
		require.Equal(t, LedgerPage{Entries: []LedgerEntry{all[35]}}, list(LedgerQuery{DeviceID: "edge-003", WorkflowID: "remediate/edge", IncidentID: "inc-1", After: 30}))
		require.Equal(t, LedgerPage{Entries: []LedgerEntry{}}, list(LedgerQuery{WorkflowID: "other"}), "no entry is an empty list")
	})
}

func TestExport(t *testing.T) {
	s := sqlitePlace(t).open(t, Options{})
	var wg sync.WaitGroup
	const n = 2*maxLimit + 7
	for g := range 50 {
		wg.Go(func() {
			for i := g; i < n; i += 50 {
				if _, err := s.AppendEvent(bg, record(i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	t.Run("goes over all pages in order", func(t *testing.T) {
		seq := int64(0)
		for e, err := range s.Export(bg, LedgerQuery{Limit: 3}) {
			require.NoError(t, err)
			seq++
			require.Equal(t, seq, e.Seq)
		}
		require.Equal(t, int64(n), seq)
	})
	t.Run("stops when its reader does", func(t *testing.T) {
		for e, err := range s.Export(bg, LedgerQuery{}) {
			require.NoError(t, err)
			if e.Seq == 5 {
				break
			}
		}
	})
	t.Run("gives one error and ends", func(t *testing.T) {
		ctx, cancel := context.WithCancel(bg)
		cancel()
		var errs []error
		for _, err := range s.Export(ctx, LedgerQuery{}) {
			errs = append(errs, err)
		}
		require.Len(t, errs, 1)
		require.ErrorIs(t, errs[0], context.Canceled)
	})
}

func TestManyAppendersKeepOneChain(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		// Two stores on one database are two worker processes.
		stores := []*Store{p.open(t, Options{LedgerKey: testKey}), p.open(t, Options{LedgerKey: testKey})}
		const appenders, each = 64, 6
		var wg sync.WaitGroup
		for g := range appenders {
			wg.Go(func() {
				s := stores[g%len(stores)]
				rec := record(g)
				rec.DeviceID, rec.RunID = fmt.Sprintf("edge-%d", g), fmt.Sprint(g)
				l, err := retry(func() (Lease, error) { return s.AcquireLease(bg, rec.DeviceID, Owner{rec.WorkflowID, rec.RunID}) })
				if err != nil {
					t.Error(err)
					return
				}
				for i := range each {
					rec.ActivityID = fmt.Sprint(i)
					_, err := retry(func() (LedgerEntry, error) { return s.AppendIntent(bg, rec, l.Token, s.now().Add(time.Minute)) })
					if err == nil {
						_, err = retry(func() (LedgerEntry, error) { return s.AppendResult(bg, rec) })
					}
					if err != nil {
						t.Error(err)
					}
					// A caller with a wrong token does not disturb those that are
					// committed with it.
					wrong := rec
					wrong.ActivityID = fmt.Sprint("wrong", i)
					if _, err := s.AppendIntent(bg, wrong, l.Token+100000, s.now().Add(time.Minute)); !errors.Is(err, ErrLeaseLost) {
						t.Error("not ErrLeaseLost:", err)
					}
				}
			})
		}
		wg.Wait()
		v, err := stores[0].Verify(bg, Anchor{})
		require.NoError(t, err)
		require.True(t, v.OK, v.Detail)
		require.Equal(t, int64(2*appenders*each), v.Entries)
	})
}

// retry does what a Temporal retry policy does with a transient error.
func retry[T any](call func() (T, error)) (T, error) {
	for attempt := 0; ; attempt++ {
		v, err := call()
		if err == nil || !IsTransient(err) || attempt == 5 {
			return v, err
		}
	}
}
