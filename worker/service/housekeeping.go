package service

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"edgefleet/internal/store"
)

// startHousekeeping looks after the leases of workflows that ended without a
// word (terminated, or timed out): their incidents get an end, and their
// devices become free. Every worker does it; doing it twice is harmless.
func (w *Worker) startHousekeeping() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(w.opts.Housekeeping)
		defer ticker.Stop()
		for {
			if err := w.keepHouse(ctx); err != nil && ctx.Err() == nil {
				w.opts.Logger.Warn("housekeeping failed; it is tried again", zap.Error(err))
			}
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
	}()
	w.undo = append(w.undo, func(context.Context) error {
		cancel()
		<-done
		return nil
	})
}

func (w *Worker) keepHouse(ctx context.Context) error {
	const page = 200
	var errs []error
	for after := ""; ; {
		leases, err := w.store.Leases(ctx, after, page)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		for _, lease := range leases {
			after = lease.DeviceID
			errs = append(errs, w.lookAfter(ctx, lease))
		}
		if len(leases) < page {
			return errors.Join(errs...)
		}
	}
}

func (w *Worker) lookAfter(ctx context.Context, lease store.Lease) error {
	closed, err := w.closed(ctx, lease.Owner)
	if err != nil || !closed {
		return err
	}
	err = w.acts.Abandon(ctx, lease)
	if errors.Is(err, store.ErrLeaseBusy) {
		// A write may be in flight; the next look comes after its deadline.
		return nil
	}
	return err
}
