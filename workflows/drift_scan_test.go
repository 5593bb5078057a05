package workflows

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
	"pgregory.net/rapid"

	"edgefleet/workflows/contract"
)

// scanWorld is a world in which the devices are selected, and look decides what
// becomes of each batch.
func scanWorld(t *testing.T, devices []contract.DeviceRef, look func(contract.ScanDriftInput) contract.ScanDriftResult) *world {
	w := newWorld(t)
	serve(w, contract.ActivitySelect, func(contract.Selection) any { return contract.Selected{Devices: devices, Revision: "r1"} })
	serve(w, contract.ActivityScanDrift, func(in contract.ScanDriftInput) any { return look(in) })
	return w
}

func allInSync(in contract.ScanDriftInput) contract.ScanDriftResult {
	return contract.ScanDriftResult{DriftCounts: contract.DriftCounts{InSync: len(in.IDs)}}
}

func scanInput() contract.DriftScanInput {
	return contract.DriftScanInput{Selection: contract.Selection{All: true}, Reason: "a test",
		Actor: contract.Actor{Kind: contract.ActorOperator, Name: "ann"}}
}

func (w *world) scan(in contract.DriftScanInput) (contract.DriftScanProgress, error) {
	w.t.Helper()
	w.env.ExecuteWorkflow(contract.WorkflowDriftScan, in)
	require.True(w.t, w.env.IsWorkflowCompleted())
	var out contract.DriftScanProgress
	if err := w.env.GetWorkflowError(); err != nil {
		return out, err
	}
	require.NoError(w.t, w.env.GetWorkflowResult(&out))
	return out, nil
}

func (w *world) scanned() contract.DriftScanProgress {
	w.t.Helper()
	value, err := w.env.QueryWorkflow(contract.QueryProgress)
	require.NoError(w.t, err)
	var p contract.DriftScanProgress
	require.NoError(w.t, value.Get(&p))
	return p
}

func TestEveryDeviceIsInOneBatchOfItsRegion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var devices []contract.DeviceRef
		region := map[string]string{}
		for n := range rapid.IntRange(0, 400).Draw(t, "devices") {
			site := rapid.IntRange(0, 9).Draw(t, "site")
			d := contract.DeviceRef{ID: fmt.Sprintf("edge-%03d", n), Site: fmt.Sprint("s", site), Region: fmt.Sprint("r", site%3)}
			devices, region[d.ID] = append(devices, d), d.Region
		}
		var ids []string
		for n, b := range batchesOf(devices) {
			require.Equal(t, n, b.Number)
			require.NotEmpty(t, b.Sites)
			require.LessOrEqual(t, len(b.IDs), contract.MaxScanBatch)
			for _, id := range b.IDs {
				require.Equal(t, region[id], b.Region)
			}
			ids = append(ids, b.IDs...)
		}
		require.ElementsMatch(t, idsOf(devices), ids)
	})
}

func TestAScanCountsWhatTheBatchesFound(t *testing.T) {
	w := scanWorld(t, someRefs(120), func(in contract.ScanDriftInput) contract.ScanDriftResult {
		return contract.ScanDriftResult{DriftCounts: contract.DriftCounts{InSync: len(in.IDs) - 4, Drifted: 1, Unreadable: 1, UnderChange: 1, NoBaseline: 1},
			Found: []contract.DriftFinding{
				{DeviceID: in.IDs[0], Outcome: contract.DriftDrifted, Drifted: 2, Unauthorised: true},
				{DeviceID: in.IDs[1], Outcome: contract.DriftUnreadable}}}
	})
	p, err := w.scan(scanInput())
	require.NoError(t, err, "that devices drifted is no failure of the scan")
	require.Equal(t, contract.DriftCounts{InSync: 104, Drifted: 4, Unreadable: 4, UnderChange: 4, NoBaseline: 4}, p.DriftCounts)
	require.Equal(t, []int{120, 120, 4, 4, 4, 4}, []int{p.Total, p.Done(), p.Batches, p.Unauthorised, len(p.Found), len(p.Missed)})
	require.Equal(t, "r1", p.Revision)
	require.True(t, inputs[contract.Selection](w, contract.ActivitySelect)[0].Again, "onboarded devices are scanned too")
	for _, c := range w.calls {
		if in, ok := c.input.(contract.ScanDriftInput); ok {
			require.Equal(t, contract.RegionQueue(in.Region), c.info.TaskQueue)
			require.Positive(t, c.info.HeartbeatTimeout)
		}
	}
}

func TestTheFirstDriftedDevicesAreNamedAndAllAreCounted(t *testing.T) {
	w := scanWorld(t, someRefs(maxFindings+30), func(in contract.ScanDriftInput) (out contract.ScanDriftResult) {
		out.Drifted = len(in.IDs)
		for _, id := range in.IDs {
			out.Found = append(out.Found, contract.DriftFinding{DeviceID: id, Outcome: contract.DriftDrifted, Drifted: 1})
		}
		return out
	})
	p, err := w.scan(scanInput())
	require.NoError(t, err)
	require.Len(t, p.Found, maxFindings)
	require.Equal(t, maxFindings+30, p.Drifted)
}

func TestABatchThatNobodyLooksAtIsUnreadable(t *testing.T) {
	w := scanWorld(t, someRefs(10), allInSync)
	w.before = func(name string, _ int) error {
		if name == contract.ActivityScanDrift {
			return temporal.NewNonRetryableApplicationError("no such region", contract.ErrConfig, nil)
		}
		return nil
	}
	p, err := w.scan(scanInput())
	require.NoError(t, err)
	require.Equal(t, contract.DriftCounts{Unreadable: 10}, p.DriftCounts)
	require.Equal(t, "not looked at: no such region", p.Missed[0].Detail)
}

func TestBatchesThatRunAtOnceShareNoSiteAndKeepTheBounds(t *testing.T) {
	var devices []contract.DeviceRef
	for n := range 3000 {
		devices = append(devices, contract.DeviceRef{ID: fmt.Sprintf("edge-%04d", n), Site: fmt.Sprint("s", n%40), Region: fmt.Sprint("r", n%40%5)})
	}
	site := map[string]string{}
	for _, d := range devices {
		site[d.ID] = d.Site
	}
	var mu sync.Mutex
	now, most, seen := map[string]int{}, map[string]int{}, map[string]int{}
	count := func(in contract.ScanDriftInput, by int) {
		mu.Lock()
		defer mu.Unlock()
		keys := []string{"region " + in.Region, "total"}
		for _, id := range in.IDs {
			seen[id] += max(by, 0)
			if key := "site " + site[id]; !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
		for _, key := range keys {
			now[key] += by
			most[key] = max(most[key], now[key])
		}
	}
	w := scanWorld(t, devices, func(in contract.ScanDriftInput) contract.ScanDriftResult {
		count(in, 1)
		defer count(in, -1)
		runtime.Gosched()
		return allInSync(in)
	})
	p, err := w.scan(scanInput())
	require.NoError(t, err)
	require.Equal(t, 3000, p.InSync)
	require.Len(t, seen, 3000)
	for id, n := range seen {
		require.Equal(t, 1, n, id)
	}
	for key, n := range most {
		limit := map[byte]int{'t': allBatches, 's': 1, 'r': regionBatches}[key[0]]
		require.LessOrEqual(t, n, limit, key)
	}
}

func TestASpreadScanBeginsItsBatchesOverTheTime(t *testing.T) {
	var began []time.Duration
	start := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	w := scanWorld(t, someRefs(400), allInSync)
	w.env.SetStartTime(start)
	w.env.SetOnTimerScheduledListener(func(_ string, d time.Duration) { began = append(began, d) })
	in := scanInput()
	in.Spread = 8 * time.Hour
	p, err := w.scan(in)
	require.NoError(t, err)
	require.Equal(t, 400, p.InSync)
	require.Equal(t, 8, p.Batches)
	require.Len(t, began, 7, "one timer between two batches, and none before the first")
	for _, d := range began {
		require.InDelta(t, time.Hour, d, float64(time.Minute))
	}
}

func TestALongScanContinuesAsNewWithWhatIsLeft(t *testing.T) {
	w := scanWorld(t, someRefs(400), allInSync)
	w.env.RegisterDelayedCallback(func() { w.env.SetCurrentHistoryLength(maxHistory + 1) }, 150*time.Minute)
	in := scanInput()
	in.Spread = 8 * time.Hour
	_, err := w.scan(in)
	var next *workflow.ContinueAsNewError
	require.ErrorAs(t, err, &next)
	var again contract.DriftScanInput
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &again))
	done := again.Resume.Progress.Done()
	require.Positive(t, done)
	for _, b := range again.Resume.Pending {
		done += len(b.IDs)
	}
	require.Equal(t, 400, done, "what is neither done nor left would never be scanned")

	rest := scanWorld(t, nil, allInSync)
	rest.env.SetStartTime(again.Resume.Progress.Began.Add(9 * time.Hour))
	p, err := rest.scan(again)
	require.NoError(t, err)
	require.Equal(t, 400, p.InSync)
	require.Empty(t, inputs[contract.Selection](rest, contract.ActivitySelect), "it is not selected anew")
}

func TestACancelledScanBeginsNothingMore(t *testing.T) {
	w := scanWorld(t, someRefs(400), allInSync)
	w.env.RegisterDelayedCallback(w.env.CancelWorkflow, 90*time.Minute)
	in := scanInput()
	in.Spread = 8 * time.Hour
	_, err := w.scan(in)
	require.True(t, temporal.IsCanceledError(err), "%v", err)
	require.Len(t, inputs[contract.ScanDriftInput](w, contract.ActivityScanDrift), 2)
	p := w.scanned()
	require.Equal(t, []int{100, 0}, []int{p.Done(), p.Running})
}
