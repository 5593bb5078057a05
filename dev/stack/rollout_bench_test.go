package stack_test

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"

	"edgefleet/dev/simfleet"
	"edgefleet/workflows/contract"
)

// BenchmarkRollout rolls one changed setting out to feeders that answer at
// once, from one canary over 5 % and 25 % to all, 192 devices in work at once:
// what a rollout costs when the devices cost little, with every step on the disk
// before the next. It tells the devices per minute, the most memory that engine
// and worker together had, the events and bytes of history per device, and the
// events of the longest history; at two sizes, so that growth is seen. One
// iteration is one rollout.
func BenchmarkRollout(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		b.Run(fmt.Sprintf("of %d devices", n), func(b *testing.B) { benchRollout(b, n) })
	}
}

func benchRollout(b *testing.B, n int) {
	s := startMix(b, n, simfleet.Mix{})
	s.onboardAll()
	round, took := 0, time.Duration(0)
	var cost historyCost
	peakOfThisProcess(b)
	for b.Loop() {
		round++
		b.StopTimer()
		text := newBaseline(b, s, fmt.Sprintf("2026.12.%d", round), map[string]string{"report_interval": strconv.Itoa(90 + round)})
		plan := s.planRollout(text, "", contract.RolloutStrategy{NoSilences: true, Bounds: contract.Bounds{PerSite: 8, PerRegion: 96, Total: 192}})
		require.Equal(b, n, plan.Devices())
		b.StartTimer()
		began := time.Now()
		out := s.rolledOut(s.startRollout(plan))
		took += time.Since(began)
		require.Equal(b, contract.RolloutDone, out.State, out.Detail)
		require.Equal(b, n, out.Healthy)
		cost.add(s.historyOf(contract.RolloutOf(plan.Hash)))
	}
	rounds := float64(round)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(took.Seconds()/rounds, "s/rollout")
	b.ReportMetric(rounds*float64(n)/took.Minutes(), "devices/min")
	b.ReportMetric(float64(cost.events)/rounds/float64(n), "events/device")
	b.ReportMetric(float64(cost.bytes)/rounds/float64(n), "bytes/device")
	b.ReportMetric(float64(cost.longest), "events-longest")
	if peak, ok := peakOfThisProcess(b); ok {
		b.ReportMetric(float64(peak>>20), "peak-MiB")
	}
}

// historyCost is what histories are in the engine.
type historyCost struct {
	events, bytes, longest int64
}

func (c *historyCost) add(more historyCost) {
	c.events, c.bytes, c.longest = c.events+more.events, c.bytes+more.bytes, max(c.longest, more.longest)
}

// historyOf adds up the histories of a rollout and of its waves.
func (s *site) historyOf(rolloutID string) (c historyCost) {
	s.t.Helper()
	workflow := contract.RolloutWorkflowID(rolloutID)
	query := fmt.Sprintf("WorkflowId BETWEEN %q AND %q AND ExecutionStatus != 'Running'", workflow, workflow+"0")
	until(s.t, patience, func() error {
		c = historyCost{}
		found := map[string]bool{}
		for token := []byte(nil); ; {
			page, err := s.temporal.ListWorkflow(s.t.Context(), &workflowservice.ListWorkflowExecutionsRequest{Query: query, NextPageToken: token})
			if err != nil {
				return err
			}
			for _, e := range page.GetExecutions() {
				found[e.GetExecution().GetWorkflowId()] = true
				c.add(historyCost{e.GetHistoryLength(), e.GetHistorySizeBytes(), e.GetHistoryLength()})
			}
			if token = page.GetNextPageToken(); len(token) == 0 {
				break
			}
		}
		if !found[workflow] || len(found) < 2 {
			return fmt.Errorf("the engine does not list the ends of %s and its waves yet: %v", workflow, found)
		}
		return nil
	})
	return c
}

var highWater = regexp.MustCompile(`(?m)^VmHWM:\s+(\d+) kB$`)

// peakOfThisProcess is the most memory that the process had since it was asked
// for the last time; false where the system does not tell.
func peakOfThisProcess(b *testing.B) (bytes int64, ok bool) {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, false
	}
	found := highWater.FindSubmatch(status)
	if found == nil {
		return 0, false
	}
	kilobytes, err := strconv.ParseInt(string(found[1]), 10, 64)
	require.NoError(b, err)
	return kilobytes << 10, os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) == nil
}
