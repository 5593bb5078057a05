package cli_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"

	"edgefleet/workflows/contract"
)

func TestWhatARemediationIsStartedWith(t *testing.T) {
	f := &fakeTemporal{}
	require.Zero(t, newSession(t, f).run("remediate", "edge-003", "--runbook", "line.py", "--function", "heal", "--detach"))
	require.Equal(t, []contract.RemediateInput{{
		DeviceID: "edge-003", Reason: "started by hand",
		Actor:   contract.Actor{Kind: contract.ActorOperator, Name: "kim"},
		Runbook: contract.RunbookRef{Path: "line.py", Function: "heal"},
	}}, f.started)
	o := f.options[len(f.options)-1]
	require.Equal(t, contract.TaskQueue, o.TaskQueue)
	require.Equal(t, contract.ManualRemediateID("edge-003", "nonce"), o.ID)
	require.Equal(t, 48*time.Hour, o.WorkflowExecutionTimeout)
	require.Equal(t, enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE, o.WorkflowIDReusePolicy)
	require.Equal(t, "remediate edge-003: started by hand", o.StaticSummary)
	id, ok := o.TypedSearchAttributes.GetKeyword(temporal.NewSearchAttributeKeyKeyword(contract.AttrDeviceID))
	require.True(t, ok)
	require.Equal(t, "edge-003", id)
	outcome, _ := o.TypedSearchAttributes.GetKeyword(temporal.NewSearchAttributeKeyKeyword(contract.AttrOutcome))
	require.Equal(t, contract.OutcomeRunning, outcome)
}

func TestTheDeviceIsLookedUpBeforeARemediation(t *testing.T) {
	f := &fakeTemporal{}
	require.Zero(t, newSession(t, f).run("remediate", "edge-003", "--detach"))
	require.Len(t, f.asked, 1)
	require.Equal(t, contract.AskDeviceShow, f.asked[0].Question)
	require.Equal(t, 10*time.Second, f.options[0].WorkflowExecutionTimeout, "nobody waits for long for a look")

	f = failing(appError(contract.ErrUnknownDevice, "unknown device"))
	require.Equal(t, 2, newSession(t, f).run("remediate", "edge-00l"))
	require.Empty(t, f.started, "its failure would page somebody")
}

func TestTheNameOfTheOperator(t *testing.T) {
	t.Setenv("EDGEFLEET_USER", "night shift")
	f := &fakeTemporal{}
	s := newSession(t, f)
	s.options.User = ""
	require.Zero(t, s.run("device", "list"))
	require.Equal(t, "night shift", f.asked[0].By)

	t.Setenv("EDGEFLEET_USER", "")
	require.Zero(t, s.run("device", "list"))
	require.NotEmpty(t, f.asked[1].By, "it is the login's")
}
