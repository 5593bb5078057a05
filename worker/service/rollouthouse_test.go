package service

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"

	"edgefleet/internal/store"
)

// openRollouts is rollouts in memory, and what was noted of them.
type openRollouts struct {
	ids   []string
	noted []store.RolloutNote
}

func (o *openRollouts) OpenRollouts(context.Context) (out []store.Rollout, _ error) {
	for _, id := range o.ids {
		out = append(out, store.Rollout{RolloutID: id, Owner: store.Owner{WorkflowID: "rollout/" + id, RunID: "first"}})
	}
	return out, nil
}

func (o *openRollouts) NoteRollout(_ context.Context, n store.RolloutNote) error {
	o.noted = append(o.noted, n)
	return nil
}

func TestARolloutEndsWithItsWorkflow(t *testing.T) {
	for name, c := range map[string]struct {
		closed map[string]bool
		errs   map[string]error
		ends   bool
	}{
		"one that runs goes on":                          {closed: map[string]bool{"rollback/0123456789ab": true}},
		"one that was terminated is ended":               {closed: map[string]bool{"rollout/0123456789ab": true, "rollback/0123456789ab": true}, ends: true},
		"one that is being taken back is left":           {closed: map[string]bool{"rollout/0123456789ab": true}},
		"one of which nobody can tell is left, and said": {closed: map[string]bool{"rollback/0123456789ab": true}, errs: map[string]error{"rollout/0123456789ab": errors.New("no")}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(0)
			o := &openRollouts{ids: []string{"0123456789ab"}}
			h.closed = c.closed
			if c.errs != nil {
				h.closedErr = c.errs
			}
			k := h.keeper()
			k.rollouts = o
			err := k.endRollouts(context.Background())
			if c.errs != nil {
				require.ErrorContains(t, err, "rollout 0123456789ab: no")
			} else {
				require.NoError(t, err)
			}
			if !c.ends {
				require.Empty(t, o.noted)
				return
			}
			require.Len(t, o.noted, 1)
			require.True(t, o.noted[0].Ended)
			require.Equal(t, "failed", o.noted[0].State)
			require.Contains(t, o.noted[0].Detail, "edgefleet rollout rollback 0123456789ab takes it back")
		})
	}
}

func TestNothingIsEndedWhileTemporalIsAway(t *testing.T) {
	h := newHouse(0)
	h.closedErr = map[string]error{"rollout/0123456789ab": serviceerror.NewUnavailable("away")}
	o := &openRollouts{ids: []string{"0123456789ab", "ba9876543210"}}
	k := h.keeper()
	k.rollouts = o
	require.Error(t, k.endRollouts(context.Background()))
	require.Len(t, h.asked, 1, "nothing can be learnt of the others")
	require.Empty(t, o.noted)
}
