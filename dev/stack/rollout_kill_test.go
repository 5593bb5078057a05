package stack_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/dev/monitor"
	"edgefleet/dev/simfleet"
	"edgefleet/dev/tools/toolchain"
	"edgefleet/devices/fleet"
	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

const (
	// envKills and envKilledDevices make the test of the kills as long as
	// somebody has time for: 10 kills of a rollout of 300 devices take minutes.
	envKills         = "EDGEFLEET_TEST_KILLS"
	envKilledDevices = "EDGEFLEET_TEST_KILLED_DEVICES"
)

// numberOf is a number from the environment.
func numberOf(t testing.TB, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, name)
	return n
}

// unheard are the devices whose alerts an Alertmanager keeps to itself.
func unheard(t testing.TB, alertmanager string) (devices []string) {
	t.Helper()
	response, err := http.Get(alertmanager + "/api/v2/silences")
	require.NoError(t, err)
	defer response.Body.Close()
	var all []struct {
		Status   struct{ State string }
		Matchers []struct{ Name, Value string }
	}
	require.NoError(t, json.NewDecoder(response.Body).Decode(&all))
	for _, s := range all {
		if s.Status.State != "expired" {
			devices = append(devices, s.Matchers[0].Value)
		}
	}
	return devices
}

// pickedUp is what the kills' baseline writes to every feeder: settings in
// three places, one of them of two words, by the words as they stand in the
// device.
func pickedUp() (settings map[string]string, words map[string]uint16) {
	return map[string]string{"undervoltage_trip": "80.0", "overcurrent_pickup": "800.00", "report_interval": "300"},
		map[string]uint16{"undervoltage_trip@102": 800, "overcurrent_pickup@106": 80000 >> 16, "overcurrent_pickup@107": 80000 & 0xFFFF, "report_interval@112": 300}
}

// Engine and worker are killed at random moments while a rollout is under way,
// again and again. It goes on each time, and comes to its end: each register of
// each device was written once, the ledger says what the devices say, and
// nothing is left behind that would keep a device or its alerts.
func TestARolloutThatIsKilledAgainAndAgainWritesEachDeviceOnce(t *testing.T) {
	n, kills := numberOf(t, envKilledDevices, 60), numberOf(t, envKills, 4)
	seed := uint64(time.Now().UnixNano())
	t.Logf("%d devices, %d kills, seed of the random points: %d", n, kills, seed)
	random := rand.New(rand.NewPCG(seed, 0))

	s := newPlant(t, n, simfleet.Mix{}, nil)
	s.store = openStore(t, s.dir)
	alerts := s.alertmanager()
	p := s.launch(alerts)
	s.does("onboard", "--all", "--reason", "commissioning")

	settings, words := pickedUp()
	plan := s.plans(s.proposed("feeder-standard.yaml", merged(settings, "version", "2026.12.1")), "--at-once", strconv.Itoa(max(8, n/15)), "--device-deadline", "20m")
	require.Equal(t, n, plan.RolloutPlan.Devices())
	before := s.counts(feeders(n)...)
	for _, id := range feeders(n) {
		// Long enough for the kills to come in the middle.
		_, err := s.fleet.SetLatency(t.Context(), id, 40*time.Millisecond)
		require.NoError(t, err)
	}
	began := time.Now()
	id, workflow := s.starts(plan)

	quiet := 0
	ended := func() (done, atWork int) {
		list, err := s.store.RolloutDevices(t.Context(), store.RolloutDeviceQuery{RolloutID: id, Limit: 1000})
		require.NoError(t, err)
		for _, d := range list {
			if d.EndedAt != nil {
				done++
			} else {
				atWork++
			}
		}
		if quiet == 0 && atWork > 0 {
			quiet = len(unheard(t, alerts))
		}
		return done, atWork
	}
	for kill := range kills {
		// Most kills come when so many devices are done, and a moment later;
		// some after a while, whatever has come of the kill before by then.
		from := kill * n * 9 / 10 / kills
		threshold, moment := from+random.IntN(max(1, n*9/10/kills)), time.Duration(random.Int64N(int64(400*time.Millisecond)))
		reached := func() bool { done, _ := ended(); return done >= threshold }
		if kill%3 == 2 {
			moment = time.Duration(random.Int64N(int64(8 * time.Second)))
			reached = func() bool { return true }
		}
		until(t, 2*patience, func() error {
			if !reached() {
				return errNotYet
			}
			return nil
		})
		wait(p, moment)
		done, atWork := ended()
		p.kill()
		t.Logf("kill %d after %s: %d of %d were done and %d in work", kill+1, time.Since(began).Round(time.Millisecond), done, n, atWork)
		p = s.launch(alerts)
	}
	var out contract.RolloutProgress
	require.NoError(t, s.temporal.GetWorkflow(t.Context(), workflow, "").Get(t.Context(), &out))
	t.Logf("it is %s after %s: %+v", out.State, time.Since(began).Round(time.Millisecond), out.RolloutCounts)

	require.Equal(t, contract.RolloutDone, out.State, out.Detail)
	require.Equal(t, contract.RolloutCounts{Healthy: n}, out.RolloutCounts)
	once := map[string]int{}
	for what := range words {
		once[what] = 1
	}
	for _, device := range feeders(n) {
		require.Equal(t, once, s.since(before, device), "writes to %s, by setting and register", device)
		s.agrees(device, plan.Hash, words)
		assigned, err := s.store.Assignment(t.Context(), device)
		require.NoError(t, err)
		require.Equal(t, "2026.12.1", assigned.Version)
	}
	s.nobodyHolds()
	require.Positive(t, quiet, "alerts were silenced on the way")
	until(t, 20*time.Second, func() error {
		if left := unheard(t, alerts); len(left) > 0 {
			return fmt.Errorf("the alerts of %v are still silenced", left)
		}
		return nil
	})
	s.intact()
	s.does("audit", "verify")
	s.does("drift", "scan", "--reason", "after the rollout")
}

// held stands before an Alertmanager, and holds what would end a silence for as
// long as it is closed.
func held(t testing.TB, alertmanager string) (address string, open func()) {
	t.Helper()
	target, err := url.Parse(alertmanager)
	require.NoError(t, err)
	behind, opened := httputil.NewSingleHostReverseProxy(target), make(chan struct{})
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete {
			select {
			case <-opened:
			case <-r.Context().Done():
				return
			}
		}
		behind.ServeHTTP(w, r)
	}))
	open = sync.OnceFunc(func() { close(opened) })
	t.Cleanup(func() { open(); front.Close() })
	return front.URL, open
}

// The process dies when a device has its verdict, and still its silence. The wave
// goes on for as long as its checks take, and nobody waits for that: not who wants
// the device, which is free with its verdict, and not who is paged about it.
func TestWhatAnAttemptHeldThatDiedAfterItsVerdictIsLetGo(t *testing.T) {
	const device = "edge-001"
	s := newPlant(t, 1, simfleet.Mix{}, nil)
	s.store = openStore(t, s.dir)
	alerts := s.alertmanager()
	front, open := held(t, alerts)
	p := s.launch(front)
	s.does("onboard", "--all", "--reason", "commissioning")
	id, _ := s.starts(s.plans(s.proposed("feeder-standard.yaml", map[string]string{"report_interval": "90"}), "--soak", "1h"))
	until(t, patience, func() error {
		list, err := s.store.RolloutDevices(t.Context(), store.RolloutDeviceQuery{RolloutID: id, Limit: 1})
		if err == nil && (len(list) == 0 || list[0].EndedAt == nil) {
			err = errNotYet
		}
		return err
	})
	p.kill()
	require.Equal(t, []string{device}, unheard(t, alerts))
	s.free(device)

	open()
	s.launch(front)
	until(t, patience, func() error {
		if left := unheard(t, alerts); len(left) > 0 {
			return fmt.Errorf("silenced is %v", left)
		}
		return nil
	})
	now := s.status(id)
	require.Equal(t, contract.RolloutRunning, now.State, now.Detail)
	require.NotEmpty(t, now.WaveID, "the wave still soaks")
	s.does("rollout", "abort", id)
	s.stands(id, contract.RolloutAborted)
	s.intact()
}

// alertmanager runs a real Alertmanager until the test ends.
func (s *site) alertmanager() (address string) {
	s.t.Helper()
	alerts, err := monitor.StartAlertmanager(s.t.Context(), monitor.AlertmanagerOptions{
		Common:    monitor.Common{DataDir: filepath.Join(s.dir, "alertmanager"), Program: toolchain.ForTest(s.t, "alertmanager"), Addr: anyPort},
		BridgeURL: "http://" + anyPort,
	})
	require.NoError(s.t, err)
	s.t.Cleanup(func() { require.NoError(s.t, alerts.Stop()) })
	return alerts.URL()
}

// agrees requires that the ledger's last word on a device is what the device
// has by its own account, that each intent has its result, and that all of it
// belongs to the plan.
func (s *site) agrees(device, planHash string, words map[string]uint16) {
	s.t.Helper()
	s.neverMixed(device)
	var last store.LedgerEntry
	for _, e := range s.ledger(device) {
		if e.Action == contract.ActivityRollOutDevice {
			require.Equal(s.t, planHash, e.PlanHash)
			last = e
		}
	}
	require.Equal(s.t, store.PhaseResult, last.Phase)
	// What an attempt that was killed had written is confirmed by the next.
	require.Contains(s.t, []string{string(fleet.Applied), string(fleet.Confirmed)}, last.Outcome, "%s: %s", device, last.Reason)
	w, err := s.fleet.Writes(s.t.Context(), device)
	require.NoError(s.t, err)
	var told map[string]string
	require.NoError(s.t, json.Unmarshal([]byte(last.After), &told))
	has := map[string]uint16{}
	for _, c := range w.Counters {
		if _, ok := told[c.Name]; ok {
			has[fmt.Sprintf("%s@%d", c.Name, c.Address)] = c.New
		}
	}
	require.Equal(s.t, words, has, "what the ledger names %v stands in %s", told, device)
}

// wait lets a moment pass, unless the process ends by itself.
func wait(p *plantProcess, moment time.Duration) {
	timer := time.NewTimer(moment)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.ended:
	}
}

// merged is a map with one more entry.
func merged(m map[string]string, key, value string) map[string]string {
	out := map[string]string{key: value}
	for k, v := range m {
		out[k] = v
	}
	return out
}
