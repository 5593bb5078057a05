package stack_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	sdkclient "go.temporal.io/sdk/client"

	"edgefleet/devices/profile"
	"edgefleet/workflows/contract"
)

// Everything is killed while a fleet of all protocols is being onboarded. The
// next start goes on, and each device is onboarded once: one entry in the
// ledger, one write of each setting that had drifted.
func TestAnOnboardingThatIsKilledHalfWayOnboardsEachDeviceOnce(t *testing.T) {
	const devices = 120 // enough for the default mix of all kinds
	dir := t.TempDir()
	endFleet(t, dir)
	p := startDev(t, dir, "--no-monitoring", "--devices", fmt.Sprint(devices))
	s := openStore(t, dir)
	p.store = s

	drifted := map[string][]string{}
	all, err := p.fleet.Devices(t.Context())
	require.NoError(t, err)
	for _, d := range all {
		if len(d.Drifted) > 0 {
			drifted[d.ID] = d.Drifted
		}
		// Long enough for the kills to come in the middle.
		_, err := p.fleet.SetLatency(t.Context(), d.ID, 80*time.Millisecond)
		require.NoError(t, err)
	}
	require.NotEmpty(t, drifted)

	const id = "onboard/commissioning"
	_, err = p.temporal.ExecuteWorkflow(t.Context(), sdkclient.StartWorkflowOptions{
		ID: id, TaskQueue: contract.TaskQueue, WorkflowExecutionTimeout: time.Hour,
		WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
	}, contract.WorkflowOnboard, contract.OnboardInput{
		Selection: contract.Selection{All: true}, Reason: "commissioning",
		Actor: contract.Actor{Kind: contract.ActorOperator, Name: "kim"},
	})
	require.NoError(t, err)
	progress := func() (out contract.OnboardProgress) {
		answer, err := p.temporal.QueryWorkflow(t.Context(), id, "", contract.QueryProgress)
		if err == nil {
			_ = answer.Get(&out)
		}
		return out
	}
	for _, part := range []int{8, 3} {
		until(t, patience, func() error {
			if done := progress(); done.Total == 0 || done.Done < done.Total/part {
				return fmt.Errorf("%w: %d of %d", errNotYet, done.Done, done.Total)
			}
			return nil
		})
		before := progress()
		p.kill()
		t.Logf("killed when %d of %d were onboarded", before.Done, before.Total)
		p = startDev(t, dir, "--no-monitoring", "--devices", fmt.Sprint(devices))
		p.store = s
	}
	until(t, 2*patience, func() error {
		if done := progress(); done.Done+done.Failed < done.Total || done.Total == 0 {
			return fmt.Errorf("%w: %d of %d", errNotYet, done.Done, done.Total)
		}
		return nil
	})
	require.Zero(t, progress().Failed, "%v", progress().Failures)

	var listed []contract.DeviceStatus
	require.NoError(t, json.Unmarshal([]byte(p.does("device", "list", "-o", "json")), &listed))
	kinds := map[string]bool{}
	for _, d := range listed {
		kinds[d.Profile] = true
		require.Equal(t, 1, p.entries(d.ID, "onboard", "event"), "%s is onboarded once", d.ID)
		require.Equal(t, p.entries(d.ID, contract.ActivityOnboard, "intent"), p.entries(d.ID, contract.ActivityOnboard, "result"), "every intent on %s has its result", d.ID)
		p.free(d.ID)
	}
	for _, name := range []string{"feeder-rtu", "switched-outlet", "register-plc", "sunspec-inverter", "sunspec-battery", "opcua-plc", "linux-gateway"} {
		require.Contains(t, kinds, name)
	}
	builtin, err := profile.Builtin()
	require.NoError(t, err)
	profileOf := map[string]string{}
	for _, d := range listed {
		profileOf[d.ID] = d.Profile
	}
	for device := range drifted {
		for what, n := range p.written(device) {
			if builtin[profileOf[device]].Protocol == profile.SSH {
				// A file whose restart was cut off is put there again, with its
				// restart: that is what makes the change whole.
				require.LessOrEqual(t, n, 3, "%s: writes of %s", device, what)
				continue
			}
			require.Equal(t, 1, n, "%s: writes of %s", device, what)
		}
		require.Empty(t, p.device(device).Drifted, "%s is as its baseline says", device)
	}
	p.intact()
}
