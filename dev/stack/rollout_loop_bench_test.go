package stack_test

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/goburrow/modbus"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"edgefleet/dev/simfleet"
	"edgefleet/devices/profile"
	"edgefleet/workflows/contract"
)

// BenchmarkRolloutBesideABareLoop rolls one changed setting out to 1,000 feeders
// that answer 20 ms away, each way, in one wave with the default bounds, and
// compares that with a loop that holds the same conversations with the same
// devices within the same bounds, and does nothing else. The ratio is what the
// engine, the lease, the ledger and the comparisons cost; the times are the
// machine's. One iteration is one rollout and one loop.
func BenchmarkRolloutBesideABareLoop(b *testing.B) {
	const n, away = 1000, 20 * time.Millisecond
	s := startMix(b, n, simfleet.Mix{})
	s.onboardAll()
	list := s.feederStatuses(n)
	var latencies errgroup.Group
	latencies.SetLimit(16)
	for _, d := range list {
		latencies.Go(func() error {
			_, err := s.fleet.SetLatency(b.Context(), d.ID, 2*away)
			return err
		})
	}
	require.NoError(b, latencies.Wait())
	var rollouts, loops time.Duration
	round := 0
	for b.Loop() {
		round++
		interval := 90 + round
		text := newBaseline(b, s, fmt.Sprintf("2026.12.%d", round), map[string]string{"report_interval": strconv.Itoa(interval)})
		plan := s.planRollout(text, "", contract.RolloutStrategy{Canary: contract.RolloutCanary{None: true}, Waves: []string{"100%"}, NoSilences: true})
		require.Equal(b, n, plan.Devices())
		began := time.Now()
		out := s.rolledOut(s.startRollout(plan))
		rollouts += time.Since(began)
		require.Equal(b, contract.RolloutCounts{Healthy: n}, out.RolloutCounts)
		loops += loopRollout(b, list, uint16(interval))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(rollouts.Seconds()/float64(round), "s/rollout")
	b.ReportMetric(loops.Seconds()/float64(round), "s/loop")
	b.ReportMetric(rollouts.Seconds()/loops.Seconds(), "ratio")
}

// loopRollout writes the setting to every device and looks at each, then looks
// at each once more, as a wave and its check do.
func loopRollout(b *testing.B, list []contract.DeviceStatus, interval uint16) time.Duration {
	b.Helper()
	bounds := contract.Bounds{}.WithDefaults()
	began := time.Now()
	within := func(total, perRegion int, each func(address string) error) {
		var all errgroup.Group
		turns := newTurns()
		for _, d := range list {
			all.Go(func() error {
				defer turns.take("site "+d.Site, bounds.PerSite)()
				defer turns.take("region "+d.Region, perRegion)()
				defer turns.take("all", total)()
				return each(d.Address)
			})
		}
		require.NoError(b, all.Wait())
	}
	within(bounds.Total, bounds.PerRegion, func(address string) error { return writeBare(address, interval) })
	// The check of a wave asks all sites at once.
	within(len(list), len(list), func(address string) error {
		return askBare(address, func(c modbus.Client) error { return verifyBare(c) })
	})
	return time.Since(began)
}

// turns bound how many have a name at once.
type turns struct {
	mu    sync.Mutex
	slots map[string]chan struct{}
}

func newTurns() *turns { return &turns{slots: map[string]chan struct{}{}} }

// take waits for a turn and returns what gives it back.
func (t *turns) take(name string, most int) (give func()) {
	t.mu.Lock()
	slots := t.slots[name]
	if slots == nil {
		slots = make(chan struct{}, most)
		t.slots[name] = slots
	}
	t.mu.Unlock()
	slots <- struct{}{}
	return func() { <-slots }
}

func askBare(address string, talk func(modbus.Client) error) error {
	handler := modbus.NewTCPClientHandler(address)
	handler.Timeout, handler.SlaveId = 5*time.Second, 255
	if err := handler.Connect(); err != nil {
		return err
	}
	defer func() { _ = handler.Close() }()
	return talk(modbus.NewClient(handler))
}

// writeBare is the conversation of one device: who it is, its interlock, its
// settings, the write, the time that the profile gives it to settle, what it has
// then, and how it is.
func writeBare(address string, interval uint16) error {
	return askBare(address, func(c modbus.Client) error {
		if _, err := c.ReadHoldingRegisters(0, 16); err != nil {
			return err
		}
		if _, err := c.ReadDiscreteInputs(0, 1); err != nil {
			return err
		}
		if _, err := c.ReadHoldingRegisters(100, 15); err != nil {
			return err
		}
		if _, err := c.WriteSingleRegister(112, interval); err != nil {
			return err
		}
		settled := time.NewTimer(profile.DefaultSettleWait)
		defer settled.Stop()
		<-settled.C
		if _, err := c.ReadHoldingRegisters(112, 1); err != nil {
			return err
		}
		return verifyBare(c)
	})
}

// verifyBare asks who a device is, how it is, and what its settings are.
func verifyBare(c modbus.Client) error {
	if _, err := c.ReadHoldingRegisters(0, 16); err != nil {
		return err
	}
	if _, err := c.ReadInputRegisters(12, 1); err != nil {
		return err
	}
	_, err := c.ReadHoldingRegisters(100, 15)
	return err
}
