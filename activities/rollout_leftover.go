package activities

import (
	"context"
	"errors"

	"go.temporal.io/sdk/activity"
	"go.uber.org/zap"

	"edgefleet/internal/silence"
	"edgefleet/internal/store"
)

// letGo lets go of what an attempt that died has left on a device that has its
// verdict: the lease, as far as it is this run's, and the silence. The run goes
// on, perhaps for days, so that nobody else would: housekeeping takes leases
// only from workflows that have ended, and a silence lasts for minutes more.
//
// An attempt that lives on somewhere cannot write any more from here on, because
// its lease's token is worth nothing. That something could not be let go is told,
// and changes no verdict.
func (a *Activities) letGo(ctx context.Context, rolloutID, deviceID string) {
	switch lease, err := a.deps.Store.LeaseOf(ctx, deviceID); {
	case err == nil && lease.Owner == owner(ctx):
		a.release(ctx, lease)
	case err != nil && !errors.Is(err, store.ErrNotFound):
		a.deps.Logger.Warn("whether a lease was left could not be found out; housekeeping releases it", zap.String("device", deviceID), zap.Error(err))
	}
	if err := a.deps.Silences.End(ctx, silenceOf(rolloutID, deviceID)); err != nil {
		a.deps.Logger.Warn("a silence that may be left was not removed; it ends by itself in minutes", zap.String("device", deviceID), zap.Error(err))
	}
}

// retried says that there was an attempt before this one.
func retried(ctx context.Context) bool { return activity.GetInfo(ctx).Attempt > 1 }

// silenceOf is the silence of a device while a rollout is at work on it, without
// its words for people.
func silenceOf(rolloutID, deviceID string) silence.Silence {
	return silence.Silence{Labels: map[string]string{"device_id": deviceID}, Marker: "edgefleet rollout " + rolloutID + " " + deviceID}
}
