package service

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"edgefleet/internal/store"
	"edgefleet/internal/temporalx"
	"edgefleet/workflows/contract"
)

// rolloutKeeper is what the store has of rollouts.
type rolloutKeeper interface {
	OpenRollouts(ctx context.Context) ([]store.Rollout, error)
	NoteRollout(ctx context.Context, n store.RolloutNote) error
}

// endRollouts gives rollouts an end whose workflow ended without a word: as
// long as one is open, its devices are in no other. What was written stays, and
// can still be taken back. One that is just being taken back is left alone.
func (h housekeeper) endRollouts(ctx context.Context) error {
	open, err := h.rollouts.OpenRollouts(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range open {
		ended := true
		// Without a run ID it is the newest run: a long rollout has several.
		for _, id := range []string{contract.RolloutWorkflowID(r.RolloutID), contract.RollbackID(r.RolloutID)} {
			closed, err := h.closed(ctx, store.Owner{WorkflowID: id})
			if err != nil && temporalx.Away(err) {
				return errors.Join(append(errs, err)...)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("rollout %s: %w", r.RolloutID, err))
			}
			ended = ended && err == nil && closed
		}
		if !ended {
			continue
		}
		h.logger.Info("a rollout's workflow ended without a word", zap.String("rollout", r.RolloutID))
		if err := h.rollouts.NoteRollout(ctx, store.RolloutNote{
			RolloutID: r.RolloutID, State: contract.RolloutFailed, Ended: true, Event: "abandoned", Actor: "edgefleet:housekeeping",
			Detail: "its workflow ended without a word: terminated, or timed out. What it wrote stays; edgefleet rollout rollback " + r.RolloutID + " takes it back",
			Owner:  r.Owner, ActivityID: "housekeeping",
		}); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
