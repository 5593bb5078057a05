package workflows

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"edgefleet/workflows/contract"
)

// requireCancelled wants a cancelled run that ended its incident once, and
// paged nobody.
func (w *world) requireCancelled(err error) contract.FinishInput {
	w.t.Helper()
	require.True(w.t, temporal.IsCanceledError(err), "%v", err)
	require.NotContains(w.t, w.names(), contract.ActivityEscalate)
	require.Equal(w.t, contract.OutcomeCancelled, w.progress().Phase)
	return w.requireEnd(contract.OutcomeCancelled)
}

func TestACancelledRunEndsItsIncidentAndPagesNobody(t *testing.T) {
	for _, tt := range []struct {
		name string
		// during is the activity whose attempt never comes to its end.
		during string
		detail string
		// holds says that the run had the lease.
		holds bool
	}{
		{"while it waits for the lease", contract.ActivityBegin, "could not begin: the remediation was cancelled", false},
		{"in a read of the runbook", contract.ActionCheckNetwork, "the runbook failed: the remediation was cancelled", true},
		{"in a change of the runbook", contract.ActionTriggerNetworkReset, "the runbook failed: the remediation was cancelled", true},
		{"in a record of the runbook", contract.ActionUpdateIncidentStatus, "the runbook failed: the remediation was cancelled", true},
		{"while it verifies", contract.ActionVerifyDevice, "could not verify the device: the remediation was cancelled", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.reachable = false
			w.before = func(name string, _ int) error {
				if name == tt.during {
					w.env.CancelWorkflow()
					<-w.gone
				}
				return nil
			}
			_, err := w.remediate(theInput())
			end := w.requireCancelled(err)
			require.Equal(t, tt.detail, end.Detail)
			require.Equal(t, tt.holds, end.LeaseToken == 7)
			names := w.names()
			require.Equal(t, []string{tt.during, contract.ActivityFinish}, names[len(names)-2:], "and nothing else begins")
		})
	}
}

func TestACancelledRunStillRunsWhatTheRunbookLeftForTheExit(t *testing.T) {
	w := newWorld(t)
	w.source = "def tidy(d):\n    update_incident_status(d, note='left')\n\ndef handle_device_offline(d):\n    on_exit(tidy, d)\n    sleep('1h')\n"
	w.env.RegisterDelayedCallback(w.env.CancelWorkflow, time.Minute)
	_, err := w.remediate(theInput())
	w.requireCancelled(err)
	require.Equal(t, []string{contract.ActivityBegin, contract.ActionUpdateIncidentStatus, contract.ActivityFinish}, w.names())
}

func TestACancellationAtAnApprovalApprovesNothing(t *testing.T) {
	w := newWorld(t)
	w.source = gateRunbook
	w.env.RegisterDelayedCallback(w.env.CancelWorkflow, time.Minute)
	_, err := w.remediate(theInput())
	w.requireCancelled(err)
	require.Equal(t, []string{contract.ActivityBegin, contract.ActivityFinish}, w.names())
}

func TestACancellationInTheLastMomentChangesNothing(t *testing.T) {
	w := newWorld(t)
	w.before = func(name string, _ int) error {
		if name == contract.ActivityFinish {
			w.env.CancelWorkflow()
		}
		return nil
	}
	out, err := w.remediate(theInput())
	require.NoError(t, err)
	require.Equal(t, contract.OutcomeResolved, out.Outcome)
	w.requireEnd(contract.OutcomeResolved)
}

func TestAFailureThatACancellationFollowsIsStillPaged(t *testing.T) {
	w := newWorld(t)
	w.notWell = true
	w.before = func(name string, _ int) error {
		if name == contract.ActivityFinish {
			w.env.CancelWorkflow()
		}
		return nil
	}
	_, err := w.remediate(theInput())
	requireType(t, contract.ErrNotHealthy, err)
	require.Len(t, inputs[contract.EscalateInput](w, contract.ActivityEscalate), 1)
	w.requireEnd(contract.OutcomeEscalated)
}
