package stack_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	sdkclient "go.temporal.io/sdk/client"

	"edgefleet/dev/simfleet"
	"edgefleet/devices/sim"
	"edgefleet/starter/cli"
	"edgefleet/workflows/contract"
)

// operated is a plant of feeders whose answers take a while, so that an operator
// comes in between.
func operated(t *testing.T, n int) *site {
	s := newPlant(t, n, simfleet.Mix{}, nil).begin()
	s.does("onboard", "--all", "--reason", "commissioning")
	return s
}

// slow lets the devices take a while for each answer.
func (s *site) slow(ids []string, latency time.Duration) {
	s.t.Helper()
	for _, id := range ids {
		_, err := s.fleet.SetLatency(s.t.Context(), id, latency)
		require.NoError(s.t, err)
	}
}

// noted requires that the ledger has an event of a rollout by somebody.
func (s *site) noted(id, event, by string) {
	s.t.Helper()
	var entries []struct {
		Phase, Action, Item, Actor string
	}
	require.NoError(s.t, json.Unmarshal([]byte(s.does("audit", "list", "--limit", "1000", "-o", "json")), &entries))
	for _, e := range entries {
		if e.Phase == "event" && e.Action == "rollout" && strings.HasPrefix(e.Item, id+"/"+event) && e.Actor == "operator:"+by {
			return
		}
	}
	require.Fail(s.t, "not noted", "the ledger has no %q by %s: %v", event, by, entries)
}

// What an operator can say to a rollout, each word with what it does and with
// when it is refused.
func TestARolloutObeysItsOperators(t *testing.T) {
	const n = 8
	s := operated(t, n)
	for _, c := range []struct {
		name string
		run  func(*site, int)
	}{
		{"approve, pause, skip, retry, resume, and back after the end", (*site).obeys},
		{"paused in the middle, it finishes what is in work and begins nothing", (*site).pauses},
		{"aborted, it leaves what was written, until it is rolled back", (*site).aborts},
		{"rolled back in the middle, it takes back what was written", (*site).turnsBack},
		{"refused by an approver, it writes nothing", (*site).isRefused},
	} {
		// Each leaves the devices as it found them, which the next one counts on.
		require.True(t, t.Run(c.name, func(t *testing.T) { c.run(s.in(t), n) }))
	}
	t.Run("what is no rollout is not obeyed", func(t *testing.T) {
		s := s.in(t)
		for _, command := range []string{"pause", "resume", "abort", "approve", "retry", "rollback"} {
			s.refused(cli.ExitUsage, "want the 12 hexadecimal digits", "bob", "rollout", command, "nonsense")
			s.refused(cli.ExitUsage, "", "bob", "rollout", command, "0123456789ab")
			s.refused(cli.ExitUsage, "want the ID of a rollout", "bob", "rollout", command)
		}
	})
	s.nobodyHolds()
	s.intact()
}

func (s *site) obeys(n int) {
	t := s.t
	plan := s.plans(s.proposed("feeder-standard.yaml", map[string]string{"version": "2", "report_interval": "90"}), "--waves", "50%,100%", "--approve", "fleet", "--max-failed", "0")
	turn := waves(plan)
	require.Equal(t, []int{1, 3, 4}, []int{len(turn[1]), len(turn[2]), len(turn[3])})
	changed, left := turn[2][0], turn[3][0]
	before := s.counts(feeders(n)...)
	id, _ := s.starts(plan)
	s.refused(cli.ExitUsage, "was started already, and runs once", "bob", "rollout", "start", "--plan", plan.Hash)
	s.stands(id, contract.RolloutWaiting)
	code, _, said := s.as("ann", "rollout", "watch", id, "--exit-when-waiting")
	require.Equal(t, cli.ExitWaiting, code, said)
	require.Contains(t, said, "edgefleet rollout approve "+id+" --plan "+plan.Hash)

	s.refused(cli.ExitFailed, "kim has asked for this rollout, so somebody else has to approve it", "kim", "rollout", "approve", id)
	s.refused(cli.ExitFailed, "this rollout carries out", "bob", "rollout", "approve", id, "--plan", strings.Repeat("f00d", 16))
	s.refused(cli.ExitUsage, "want the whole hash", "bob", "rollout", "approve", id, "--plan", plan.Hash[:12])
	s.refused(cli.ExitFailed, "waits for the approval", "bob", "rollout", "resume", id)
	for _, device := range feeders(n) {
		if device != turn[1][0] {
			require.Empty(t, s.since(before, device), "only the canary is written without an approval")
		}
	}

	say := func(words string, args ...string) {
		t.Helper()
		code, out, said := s.as("bob", append([]string{"rollout"}, args...)...)
		require.Equal(t, cli.ExitDone, code, said)
		require.Contains(t, out, words)
	}
	say("paused", "pause", id, "--note", "storm")
	s.refused(cli.ExitFailed, "paused already", "bob", "rollout", "pause", id)
	say("approved wave 2", "approve", id, "--plan", plan.Hash)
	s.refused(cli.ExitFailed, "waits for no approval", "bob", "rollout", "approve", id)
	s.refused(cli.ExitUsage, "at least one device", "bob", "rollout", "skip", id)
	say("1 device", "skip", id, left, "--note", "it is exchanged tomorrow")
	say("not left out: nobody-has-this", "skip", id, "nobody-has-this")
	// Somebody else changes a device before its turn.
	_, err := s.fleet.Break(t.Context(), changed, sim.FaultDrift, false)
	require.NoError(t, err)
	s.stands(id, contract.RolloutPaused)
	require.Empty(t, s.since(before, turn[2][1]), "approved, and still paused")

	say("resumed", "resume", id)
	until(t, patience, func() error {
		if p := s.status(id); p.State != contract.RolloutPaused || p.Changed != 1 {
			return fmt.Errorf("%s: %s, %+v", p.State, p.Detail, p.RolloutCounts)
		}
		return nil
	})
	require.Contains(t, s.does("rollout", "status", id, "--devices", "--state", contract.DeviceChanged), changed)
	require.Empty(t, s.since(before, changed), "what has changed since the plan is left alone")
	_, err = s.fleet.Heal(t.Context(), changed)
	require.NoError(t, err)
	say("when the rollout is resumed", "retry", id, changed)
	require.Empty(t, s.since(before, changed))
	say("resumed", "resume", id)
	code, _, said = s.as("bob", "rollout", "watch", id)
	require.Equal(t, cli.ExitDone, code, said)
	end := s.status(id)
	require.Equal(t, contract.RolloutCounts{Healthy: n - 1, Skipped: 1}, end.RolloutCounts)
	for _, device := range feeders(n) {
		if device == left {
			require.Empty(t, s.since(before, device), "what was left out")
			continue
		}
		require.Equal(t, map[string]int{"report_interval@112": 1}, s.since(before, device), device)
	}
	for _, command := range []string{"pause", "resume", "abort", "approve", "retry"} {
		s.refused(cli.ExitUsage, "does not run", "bob", "rollout", command, id)
	}
	for _, event := range []string{"paused", "approved wave 2", "devices left out", "resumed", "devices tried again"} {
		s.noted(id, event, "bob")
	}

	code, out, said := s.as("bob", "rollout", "rollback", id, "--watch", "-o", "json", "--note", "on second thought")
	require.Equal(t, cli.ExitDone, code, said)
	var back contract.RollbackProgress
	require.NoError(t, json.Unmarshal([]byte(out), &back))
	require.Equal(t, []int{n - 1, 0}, []int{back.Back, back.Kept})
	s.isBack(before)
}

// isBack requires that each device that was written was written back.
func (s *site) isBack(before map[string]map[string]int) (written int) {
	s.t.Helper()
	for device := range before {
		if wrote := s.since(before, device); len(wrote) > 0 {
			written++
			require.Equal(s.t, map[string]int{"report_interval@112": 2}, wrote, "%s: there, and back", device)
		}
		require.Empty(s.t, s.device(device).Drifted)
	}
	s.does("drift", "scan")
	return written
}

// oneByOne starts a rollout that takes one device after the other, and returns
// when some have had their turn.
func (s *site) oneByOne(n int, version string) (id string, before map[string]map[string]int) {
	s.t.Helper()
	plan := s.plans(s.proposed("feeder-standard.yaml", map[string]string{"version": version, "report_interval": "90"}), "--canary", "none", "--waves", "100%", "--at-once", "1")
	require.Equal(s.t, n, plan.RolloutPlan.Devices())
	before = s.counts(feeders(n)...)
	s.slow(feeders(n), 25*time.Millisecond)
	id, _ = s.starts(plan)
	until(s.t, patience, func() error {
		p := s.status(id)
		require.Nil(s.t, p.Ended, "it is %s: %s", p.State, p.Detail)
		if p.Healthy < 2 {
			return fmt.Errorf("it is %s: %s, %+v", p.State, p.Detail, p.RolloutCounts)
		}
		return nil
	})
	return id, before
}

// touched counts the devices that were written since.
func (s *site) touched(before map[string]map[string]int) (n int) {
	for device := range before {
		if len(s.since(before, device)) > 0 {
			n++
		}
	}
	return n
}

func (s *site) pauses(n int) {
	t := s.t
	id, before := s.oneByOne(n, "3")
	s.does("rollout", "pause", id, "--note", "storm")
	wave := s.wave(id)
	until(t, patience, func() error {
		answer, err := s.temporal.QueryWorkflow(t.Context(), wave.GetID(), "", contract.QueryProgress)
		if err != nil {
			return err
		}
		var w contract.WaveProgress
		if err := answer.Get(&w); err != nil || w.Phase != contract.WavePaused || len(w.Running) > 0 {
			return fmt.Errorf("it is %s, with %v in work: %w", w.Phase, w.Running, err)
		}
		return nil
	})
	now := s.status(id)
	require.Equal(t, contract.RolloutPaused, now.State)
	written := s.touched(before)
	require.Less(t, written, n)
	require.Equal(t, written, now.Healthy, "each that was begun came to its end")
	s.does("drift", "scan") // which asks every device, and takes its time
	require.Equal(t, written, s.touched(before))
	s.does("rollout", "resume", id)
	s.does("rollout", "watch", id)
	require.Equal(t, n, s.touched(before))
	s.does("rollout", "rollback", id, "--watch")
	s.isBack(before)
}

func (s *site) aborts(n int) {
	t := s.t
	id, before := s.oneByOne(n, "4")
	s.does("rollout", "abort", id, "--note", "wrong week")
	code, _, said := s.as("kim", "rollout", "watch", id)
	require.Equal(t, cli.ExitFailed, code, said)
	require.Contains(t, said, "what was written stays until: edgefleet rollout rollback "+id)
	end := s.status(id)
	require.Equal(t, contract.RolloutAborted, end.State)
	require.Equal(t, "aborted by kim: wrong week", end.Detail)
	written := s.touched(before)
	require.Less(t, written, n)
	require.Equal(t, contract.RolloutCounts{Healthy: written}, end.RolloutCounts)
	s.refused(cli.ExitUsage, "does not run", "kim", "rollout", "abort", id)
	s.does("drift", "scan")
	s.does("rollout", "rollback", id, "--watch")
	require.Equal(t, written, s.isBack(before))
}

func (s *site) turnsBack(n int) {
	t := s.t
	id, before := s.oneByOne(n, "5")
	s.does("rollout", "rollback", id, "--watch", "--note", "wrong week")
	end := s.status(id)
	require.Equal(t, contract.RolloutRolledBack, end.State)
	written := s.isBack(before)
	require.Less(t, written, n)
	require.Equal(t, []int{written, 0}, []int{end.Rollback.Back, end.Rollback.Kept})
}

func (s *site) isRefused(n int) {
	t := s.t
	none := s.plans(s.proposed("feeder-standard.yaml", nil))
	s.refused(cli.ExitUsage, fmt.Sprintf("the plan changes no device, so there is nothing to start; left out are %d in sync", n),
		"kim", "rollout", "start", "--plan", none.Hash)
	id := contract.RolloutOf(none.Hash)
	run, err := s.temporal.ExecuteWorkflow(t.Context(), sdkclient.StartWorkflowOptions{ID: contract.RolloutWorkflowID(id), TaskQueue: contract.TaskQueue},
		contract.WorkflowRollout, contract.RolloutInput{PlanHash: none.Hash, Actor: contract.Actor{Kind: contract.ActorOperator, Name: "kim"}})
	require.NoError(t, err)
	require.ErrorContains(t, run.Get(t.Context(), nil), "there is nothing to do", "started past the command line, it is refused by the workers")
	require.Equal(t, contract.RolloutFailed, s.status(id).State, "it does not run, and says so")

	plan := s.plans(s.proposed("feeder-standard.yaml", map[string]string{"version": "6", "report_interval": "90"}), "--approve", "start")
	before := s.counts(feeders(n)...)
	id, _ = s.starts(plan)
	s.stands(id, contract.RolloutWaiting)
	code, _, said := s.as("bob", "rollout", "approve", id, "--refuse", "--note", "not before the audit")
	require.Equal(t, cli.ExitDone, code, said)
	code, _, said = s.as("kim", "rollout", "watch", id)
	require.Equal(t, cli.ExitFailed, code, said)
	end := s.status(id)
	require.Equal(t, contract.RolloutRefused, end.State)
	require.Contains(t, end.Detail, "bob refused the rollout: not before the audit")
	require.Zero(t, s.touched(before))
}
