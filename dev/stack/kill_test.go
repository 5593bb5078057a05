package stack_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	sdkclient "go.temporal.io/sdk/client"

	"edgefleet/dev/simfleet"
	"edgefleet/devices/sim"
	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

// TestAKilledStackGoesOnWhereItWas kills the whole process again and again,
// each time in the middle of another device's remediation, and starts it on
// the same folder. The remediations that earlier kills have hit are hit again
// by the later ones, wherever they are then.
func TestAKilledStackGoesOnWhereItWas(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed of the random points: %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	const reset, apply = contract.ActionTriggerNetworkReset, contract.ActionApplyBaselineConfig
	points := []struct {
		name    string
		reached func(s *site, device string) bool
	}{
		{"when the ledger has the reset's intent", func(s *site, device string) bool {
			return s.entries(device, reset, store.PhaseIntent) == 1
		}},
		{"when the outlet has been told and the ledger has no result", func(s *site, device string) bool {
			return s.pulses(device) == 1
		}},
		{"while it waits for the device", func(s *site, device string) bool {
			return s.entries(device, reset, store.PhaseResult) == 1
		}},
		{"when some settings are written and others are not", func(s *site, device string) bool {
			return len(s.written(device)) > 0
		}},
		{"when all settings are written and none is read back", func(s *site, device string) bool {
			return s.entries(device, apply, store.PhaseIntent) == 1 && len(s.device(device).Drifted) == 0
		}},
		{"at a random moment", after(time.Duration(random.Int64N(int64(4 * time.Second))))},
	}

	dir := t.TempDir()
	endFleet(t, dir)
	p := startDev(t, dir, "--no-monitoring", "--devices", "8")
	s := openStore(t, dir)
	p.store = s
	fleet := p.fleet
	// Everything takes long enough to be caught in the middle.
	_, err := fleet.SetLatency(t.Context(), "switch-01", 200*time.Millisecond)
	require.NoError(t, err)

	var alerts []alert
	var runs []sdkclient.WorkflowRun
	for i, point := range points {
		device := simfleet.DeviceID(i + 1)
		_, err := fleet.Break(t.Context(), device, sim.FaultOffline, false)
		require.NoError(t, err)
		_, err = fleet.Break(t.Context(), device, sim.FaultDrift, false)
		require.NoError(t, err)
		_, err = fleet.SetLatency(t.Context(), device, 150*time.Millisecond)
		require.NoError(t, err)

		a := firing(offlineAlert, device)
		code, summary := p.post(a)
		require.Equal(t, 200, code)
		require.Equal(t, 1, summary.Started)
		alerts = append(alerts, a)
		d, err := p.temporal.DescribeWorkflowExecution(t.Context(), a.workflowID(), "")
		require.NoError(t, err)
		runID := d.GetWorkflowExecutionInfo().GetExecution().GetRunId()

		until(t, patience, func() error {
			if !point.reached(&p.site, device) {
				return errNotYet
			}
			return nil
		})
		p.kill()
		t.Logf("%s: killed %s: reset has %d intents and %d results, apply %d and %d; drifted: %v", device, point.name,
			p.entries(device, reset, store.PhaseIntent), p.entries(device, reset, store.PhaseResult),
			p.entries(device, apply, store.PhaseIntent), p.entries(device, apply, store.PhaseResult), p.device(device).Drifted)

		p = startDev(t, dir, "--no-monitoring", "--devices", "8")
		p.store = s
		require.Equal(t, fleet.PID(), p.fleet.PID(), "the fleet that runs is taken over")
		for i := range runs {
			runs[i] = p.temporal.GetWorkflow(t.Context(), runs[i].GetID(), runs[i].GetRunID())
		}
		runs = append(runs, p.temporal.GetWorkflow(t.Context(), a.workflowID(), runID))
		// Alertmanager sends everything again to a bridge that is new to it.
		code, summary = p.post(alerts...)
		require.Equal(t, 200, code)
		require.Equal(t, len(alerts), summary.Duplicates, "what runs, or has ended well, is not started again: %+v", summary)
	}

	for i, point := range points {
		t.Run(point.name, func(t *testing.T) {
			device, at := simfleet.DeviceID(i+1), p.in(t)
			at.resolved(runs[i])
			incident := at.incident(runs[i])
			require.Equal(t, store.StatusResolved, incident.Status)
			require.Equal(t, device, incident.DeviceID)
			require.Equal(t, 1, at.pulses(device), "pulses of the outlet's port")
			require.Equal(t, restoredOnce(), at.written(device), "writes by register")
			require.Equal(t, at.entries(device, reset, store.PhaseIntent), at.entries(device, reset, store.PhaseResult), "every intent has its result")
			require.Equal(t, at.entries(device, apply, store.PhaseIntent), at.entries(device, apply, store.PhaseResult), "every intent has its result")
			at.free(device)
		})
	}
	p.intact()
}

// TestAStartThatIsKilledCanBeMadeAgain kills the first start on a folder, and
// the ones after it, before they are done.
func TestAStartThatIsKilledCanBeMadeAgain(t *testing.T) {
	const kills = 4
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed of the random points: %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	endFleet(t, dir)
	for range kills {
		p := launchDev(t, dir, "--no-monitoring", "--devices", "2")
		moment := time.Duration(random.Int64N(int64(1500 * time.Millisecond)))
		timer := time.NewTimer(moment)
		select {
		case <-p.ended:
			require.Fail(t, "dev ended by itself", "%s", &p.err)
		case <-timer.C:
		}
		p.kill()
		t.Logf("killed after %s", moment)
	}
	p := startDev(t, dir, "--no-monitoring", "--devices", "2")
	p.store = openStore(t, dir)
	p.resolved(p.remediate("edge-001", inline(looksOnly)))
	p.intact()
	require.Zero(t, p.interrupt())
}

// after is reached when so much time has passed since it was first asked.
func after(d time.Duration) func(*site, string) bool {
	var since time.Time
	return func(*site, string) bool {
		if since.IsZero() {
			since = time.Now()
		}
		return time.Since(since) >= d
	}
}
