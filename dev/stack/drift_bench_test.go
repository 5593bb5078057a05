package stack_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/goburrow/modbus"
	"github.com/stretchr/testify/require"
	sdkclient "go.temporal.io/sdk/client"
	"golang.org/x/sync/errgroup"

	"edgefleet/dev/simfleet"
	"edgefleet/workflows/contract"
)

// The bounds of a drift scan, which the bare loop keeps as well: devices of a
// site at once, and batches of a region at once.
const (
	benchPerSite = 4
	benchBatches = 4
)

// BenchmarkDriftScanOfAThousandDevices scans 1,000 feeders that answer 20 ms
// away, each way, and compares that with a loop that does nothing but connect
// to the same devices and read the same registers, within the same bounds. The
// ratio is what the engine, the comparison and the evidence cost; the times are
// the machine's. One iteration is one scan and one loop.
func BenchmarkDriftScanOfAThousandDevices(b *testing.B) {
	const feeders, away = 1000, 20 * time.Millisecond
	// One in seven is a controller that has other registers.
	p := startMix(b, feeders*7/6+1, simfleet.Mix{Modbus: 100})
	list := p.feederStatuses(feeders)
	var ids []string
	for _, d := range list {
		ids = append(ids, d.ID)
	}
	var latencies errgroup.Group
	latencies.SetLimit(16)
	for _, d := range list {
		latencies.Go(func() error {
			_, err := p.fleet.SetLatency(b.Context(), d.ID, 2*away)
			return err
		})
	}
	require.NoError(b, latencies.Wait())
	scan := func(n int) time.Duration {
		began := time.Now()
		run, err := p.temporal.ExecuteWorkflow(b.Context(), sdkclient.StartWorkflowOptions{
			ID: fmt.Sprintf("drift-scan/bench-%d-%d", b.N, n), TaskQueue: contract.TaskQueue,
		}, contract.WorkflowDriftScan, contract.DriftScanInput{
			Selection: contract.Selection{IDs: ids}, Reason: "benchmark", Actor: contract.Actor{Kind: contract.ActorOperator, Name: "kim"},
		})
		require.NoError(b, err)
		var done contract.DriftScanProgress
		require.NoError(b, run.Get(b.Context(), &done))
		require.Equal(b, feeders, done.InSync+done.Drifted, "every device was read: %+v", done.DriftCounts)
		return time.Since(began)
	}
	scan(0) // the first one fills the caches of the store and of the engine
	var scans, loops time.Duration
	n := 0
	for b.Loop() {
		n++
		scans += scan(n)
		loops += bareLoop(b, list)
	}
	b.ReportMetric(scans.Seconds()/float64(n), "s/scan")
	b.ReportMetric(loops.Seconds()/float64(n), "s/loop")
	b.ReportMetric(scans.Seconds()/loops.Seconds(), "ratio")
}

// bareLoop reads all devices once, in batches as a scan has them.
func bareLoop(b *testing.B, list []contract.DeviceStatus) time.Duration {
	b.Helper()
	list = slices.SortedStableFunc(slices.Values(list), func(a, b contract.DeviceStatus) int {
		return cmp.Or(cmp.Compare(a.Region, b.Region), cmp.Compare(a.Site, b.Site))
	})
	regions := map[string][]contract.DeviceStatus{}
	for _, d := range list {
		regions[d.Region] = append(regions[d.Region], d)
	}
	sites := newTurns()
	began := time.Now()
	var reading errgroup.Group
	for _, region := range regions {
		batches := make(chan []contract.DeviceStatus, len(region))
		for batch := range slices.Chunk(region, contract.MaxScanBatch) {
			batches <- batch
		}
		close(batches)
		for range benchBatches {
			reading.Go(func() error {
				for batch := range batches {
					var within errgroup.Group
					for _, d := range batch {
						within.Go(func() error {
							defer sites.take(d.Site, benchPerSite)()
							return readBare(d.Address)
						})
					}
					if err := within.Wait(); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	require.NoError(b, reading.Wait())
	return time.Since(began)
}

// readBare reads the settings of a feeder by itself.
func readBare(address string) error {
	return askBare(address, func(c modbus.Client) error {
		_, err := c.ReadHoldingRegisters(100, 15)
		return err
	})
}

// feederStatuses are the first n feeders of the device list.
func (s *site) feederStatuses(n int) (list []contract.DeviceStatus) {
	s.t.Helper()
	var all []contract.DeviceStatus
	require.NoError(s.t, json.Unmarshal([]byte(s.does("device", "list", "-o", "json")), &all))
	for _, d := range all {
		if d.Profile == "feeder-rtu" && len(list) < n {
			list = append(list, d)
		}
	}
	require.Len(s.t, list, n)
	return list
}
