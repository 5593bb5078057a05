package service

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"edgefleet/internal/store"
	"edgefleet/internal/temporalx"
)

// housekeeper looks after the leases and rollouts of workflows that ended
// without a word (terminated, or timed out): their incidents get an end, and
// their devices become free. Every worker does it; doing it twice is harmless.
type housekeeper struct {
	leases interface {
		Leases(ctx context.Context, afterDevice string, limit int) ([]store.Lease, error)
	}
	rollouts rolloutKeeper
	// closed says whether a workflow run is known to have ended.
	closed func(context.Context, store.Owner) (bool, error)
	// abandon gives a lease's incidents their end, and the lease back.
	abandon func(context.Context, store.Lease) error
	logger  *zap.Logger
}

func (w *Worker) startHousekeeping() {
	h := housekeeper{leases: w.store, rollouts: w.store, closed: w.closed, abandon: w.acts.Abandon, logger: w.opts.Logger}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.run(ctx, w.opts.Housekeeping)
	}()
	w.undo = append(w.undo, func(context.Context) error {
		cancel()
		<-done
		return nil
	})
}

// run keeps house at once and then at every interval, until ctx ends.
func (h housekeeper) run(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		if err := errors.Join(h.round(ctx), h.endRollouts(ctx)); err != nil && ctx.Err() == nil {
			h.logger.Warn("housekeeping failed; it is tried again", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// leasePage is how many leases are read at once.
const leasePage = 200

// round looks at every lease once. One that cannot be looked after does not
// keep the others from it, but while Temporal is away there is nothing to be
// learnt of any.
func (h housekeeper) round(ctx context.Context) error {
	var errs []error
	for after := ""; ; {
		leases, err := h.leases.Leases(ctx, after, leasePage)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		for _, lease := range leases {
			after = lease.DeviceID
			closed, err := h.closed(ctx, lease.Owner)
			if err != nil && temporalx.Away(err) {
				return errors.Join(append(errs, err)...)
			}
			if err == nil && closed {
				err = h.abandon(ctx, lease)
			}
			// A write may be in flight; the next look comes after its deadline.
			if err != nil && !errors.Is(err, store.ErrLeaseBusy) {
				errs = append(errs, fmt.Errorf("lease on %s: %w", lease.DeviceID, err))
			}
		}
		if len(leases) < leasePage {
			return errors.Join(errs...)
		}
	}
}
