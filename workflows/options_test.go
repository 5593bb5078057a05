package workflows

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"edgefleet/workflows/contract"
)

func TestEveryActivityIsBoundedNamedAndRetried(t *testing.T) {
	all := map[string]workflow.ActivityOptions{
		"lease": leaseOptions(time.Hour, "edge-001"), "record": recordOptions("close incident, resolved"), "escalate": escalateOptions("edge-001"), "decommission": decommissionOptions("edge-001"), "await lease": awaitLeaseOptions(time.Hour, "edge-001"),
	}
	for _, a := range contract.Actions() {
		all[a.Name] = actionOptions(a, "north", a.Verb)
	}
	for name, o := range all {
		require.Positive(t, o.StartToCloseTimeout, name)
		require.GreaterOrEqual(t, o.ScheduleToCloseTimeout, o.StartToCloseTimeout, name)
		require.NotEmpty(t, o.Summary, name)
		// The engine refuses a longer summary, and with it the workflow task.
		require.Less(t, len(o.Summary), 400, name)
		require.Positive(t, o.RetryPolicy.InitialInterval, name)
		require.Positive(t, o.RetryPolicy.MaximumInterval, name)
	}
	require.Equal(t, time.Hour, all["lease"].ScheduleToCloseTimeout)
	require.True(t, all["lease"].WaitForCancellation, "a cancelled workflow has to know whether it got the lease")
	require.Equal(t, "take lease, open incident, edge-001", all["lease"].Summary)
	require.Equal(t, "edgefleet.north", all[contract.ActionVerifyDevice].TaskQueue)
	for _, name := range []string{"lease", "record", "escalate", "decommission", "await lease"} {
		require.Zero(t, all[name].RetryPolicy.MaximumAttempts, "%s is bounded by time alone", name)
		require.Empty(t, all[name].TaskQueue, "%s needs no device", name)
	}
}

func TestActivitiesRunOnTheQueueThatReachesWhatTheyNeed(t *testing.T) {
	w := newWorld(t)
	w.reachable, w.drifted = false, true
	_, err := w.remediate(theInput())
	require.NoError(t, err)
	for _, a := range contract.Actions() {
		want := "edgefleet.north"
		if a.Central {
			want = contract.TaskQueue
		}
		require.Equal(t, want, w.info(a.Name).TaskQueue, a.Name)
	}
}

func TestAFailureHasTheTypeOfItsCause(t *testing.T) {
	app := temporal.NewApplicationError("no", contract.ErrBusy)
	for _, tt := range []struct {
		name    string
		cause   error
		kind    string
		message string
	}{
		{"an application error keeps its type", app, contract.ErrBusy, "no"},
		{"a time-out with a last error has that one's", temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE, app), contract.ErrBusy, "no"},
		{"a time-out without one is a time-out", temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_START_TO_CLOSE, nil), contract.ErrTimeout, "time ran out"},
		{"a time-out after another says both", temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE,
			temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_START_TO_CLOSE, nil)), contract.ErrTimeout, "time ran out; last: time ran out"},
		{"an application error without a type", temporal.NewApplicationError("what", ""), contract.ErrInternal, "what"},
		{"anything else is ours", errors.New("broken"), contract.ErrInternal, "broken"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := failure("in words", tt.cause)
			require.Equal(t, "in words", requireType(t, tt.kind, got))
			var app *temporal.ApplicationError
			require.ErrorAs(t, got, &app)
			require.True(t, app.NonRetryable(), "the workflow is not tried again by itself")
			require.Equal(t, tt.message, rootMessage(tt.cause))
		})
	}
}
