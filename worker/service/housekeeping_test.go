package service

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"edgefleet/internal/store"
)

// house is leases in memory, and what became of them.
type house struct {
	mu        sync.Mutex
	leases    []store.Lease
	listErr   error
	closed    map[string]bool
	closedErr map[string]error
	busy      map[string]bool
	asked     []string
	abandoned []string
}

func newHouse(n int) *house {
	h := &house{closed: map[string]bool{}, closedErr: map[string]error{}, busy: map[string]bool{}}
	for i := range n {
		id := fmt.Sprintf("edge-%04d", i)
		h.leases = append(h.leases, store.Lease{DeviceID: id, Token: int64(i + 1), Owner: store.Owner{WorkflowID: "remediate/" + id, RunID: "run"}})
	}
	return h
}

func (h *house) Leases(_ context.Context, after string, limit int) ([]store.Lease, error) {
	var out []store.Lease
	for _, l := range h.leases {
		if l.DeviceID > after && len(out) < limit {
			out = append(out, l)
		}
	}
	return out, h.listErr
}

func (h *house) keeper() housekeeper {
	return housekeeper{
		leases: h, rollouts: &openRollouts{}, logger: zap.NewNop(),
		closed: func(_ context.Context, o store.Owner) (bool, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.asked = append(h.asked, o.WorkflowID)
			return h.closed[o.WorkflowID], h.closedErr[o.WorkflowID]
		},
		abandon: func(_ context.Context, l store.Lease) error {
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.busy[l.DeviceID] {
				return &store.LeaseBusyError{Lease: store.Lease{BusyUntil: &time.Time{}}}
			}
			h.abandoned = append(h.abandoned, l.DeviceID)
			return nil
		},
	}
}

func TestOnlyLeasesOfEndedRunsAreAbandoned(t *testing.T) {
	h := newHouse(3)
	h.closed["remediate/edge-0001"] = true
	require.NoError(t, h.keeper().round(context.Background()))
	require.Equal(t, []string{"edge-0001"}, h.abandoned)
	require.Len(t, h.asked, 3)
}

func TestEveryPageOfLeasesIsLookedAt(t *testing.T) {
	for _, n := range []int{0, leasePage - 1, leasePage, 2*leasePage + 1} {
		h := newHouse(n)
		for _, l := range h.leases {
			h.closed[l.WorkflowID] = true
		}
		require.NoError(t, h.keeper().round(context.Background()))
		require.Len(t, h.abandoned, n)
	}
}

func TestALeaseWithAWriteInFlightIsLeftForTheNextLook(t *testing.T) {
	h := newHouse(2)
	h.closed["remediate/edge-0000"], h.closed["remediate/edge-0001"], h.busy["edge-0000"] = true, true, true
	require.NoError(t, h.keeper().round(context.Background()), "it is nothing to warn of")
	require.Equal(t, []string{"edge-0001"}, h.abandoned)
	h.busy["edge-0000"] = false
	require.NoError(t, h.keeper().round(context.Background()))
	require.Contains(t, h.abandoned, "edge-0000")
}

func TestOneLeaseThatCannotBeLookedAfterDoesNotStopTheOthers(t *testing.T) {
	h := newHouse(2)
	h.closedErr["remediate/edge-0000"] = errors.New("bad run ID")
	h.closed["remediate/edge-0001"] = true
	require.EqualError(t, h.keeper().round(context.Background()), "lease on edge-0000: bad run ID")
	require.Equal(t, []string{"edge-0001"}, h.abandoned)
}

func TestWhileTemporalIsAwayNothingIsAbandonedAndItIsAskedOnce(t *testing.T) {
	h := newHouse(50)
	for _, l := range h.leases {
		h.closedErr[l.WorkflowID] = serviceerror.NewUnavailable("restarting")
	}
	require.Error(t, h.keeper().round(context.Background()))
	require.Empty(t, h.abandoned)
	require.Len(t, h.asked, 1)
}

func TestAStoreThatIsAwayIsTried(t *testing.T) {
	h := newHouse(1)
	h.listErr = errors.New("database is locked")
	core, logs := observer.New(zap.WarnLevel)
	k := h.keeper()
	k.logger = zap.New(core)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); k.run(ctx, time.Millisecond) }()
	require.Eventually(t, func() bool { return logs.FilterMessage("housekeeping failed; it is tried again").Len() > 2 }, 10*time.Second, time.Millisecond)
	cancel()
	<-done
}

func TestHousekeepingBeginsAtOnce(t *testing.T) {
	h := newHouse(1)
	h.closed["remediate/edge-0000"] = true
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); h.keeper().run(ctx, time.Hour) }()
	require.Eventually(t, func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.abandoned) == 1
	}, 10*time.Second, time.Millisecond, "a worker that was killed may have left leases behind")
	cancel()
	<-done
}
