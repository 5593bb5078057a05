package stack_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"aead.dev/minisign"
	"github.com/stretchr/testify/require"
	sdkclient "go.temporal.io/sdk/client"

	"edgefleet/dev/sample"
	"edgefleet/dev/simfleet"
	"edgefleet/devices/sim/sshsim"
	"edgefleet/starter/cli"
	"edgefleet/workflows/contract"
)

// allAtOnce lets a rollout aim at all of its devices from its first moment.
func allAtOnce() []string {
	return []string{"--canary", "none", "--waves", "100%", "--per-site", "16", "--check-every", "1s"}
}

// A remediation that holds a device keeps a rollout waiting for it, and for no
// other; and the other way round.
func TestARolloutAndARemediationOfOneDeviceWaitForEachOther(t *testing.T) {
	const device, other = "edge-001", "edge-002"
	s := newPlant(t, 2, simfleet.Mix{}, nil).begin()
	s.does("onboard", "--all", "--reason", "commissioning")

	t.Run("the remediation is first", func(t *testing.T) {
		s := s.in(t)
		plan := s.plans(s.proposed("feeder-standard.yaml", map[string]string{"version": "2", "report_interval": "90"}), allAtOnce()...)
		before := s.counts(device, other)
		heals := s.remediate(device, inline(asksFirst))
		s.waits(heals, "go")
		id, workflow := s.starts(plan)
		s.queues(s.wave(id))
		until(t, patience, func() error {
			if len(s.since(before, other)) == 0 {
				return errNotYet
			}
			return nil
		})
		require.Empty(t, s.since(before, device))
		require.NoError(t, s.decide(heals, contract.Decision{Gate: "go", Approved: true, By: "bob"}))
		s.resolved(heals)
		require.NoError(t, s.temporal.GetWorkflow(t.Context(), workflow, "").Get(t.Context(), nil))
		require.Equal(t, contract.RolloutCounts{Healthy: 2}, s.status(id).RolloutCounts)
	})
	t.Run("the rollout is first", func(t *testing.T) {
		s := s.in(t)
		plan := s.plans(s.proposed("feeder-standard.yaml", map[string]string{"version": "3", "report_interval": "120"}), allAtOnce()...)
		_, err := s.fleet.SetLatency(t.Context(), device, 200*time.Millisecond)
		require.NoError(t, err)
		id, workflow := s.starts(plan)
		until(t, patience, func() error { _, err := s.store.LeaseOf(t.Context(), device); return err })
		heals := s.remediate(device, inline(resets))
		s.queues(heals)
		require.Zero(t, s.pulses(device))
		require.NoError(t, s.temporal.GetWorkflow(t.Context(), workflow, "").Get(t.Context(), nil))
		require.Equal(t, contract.RolloutDone, s.status(id).State)
		s.resolved(heals)
		require.Equal(t, 1, s.pulses(device))
		did := s.neverMixed(device)
		require.Equal(t, heals.GetID(), did[len(did)-1], "%v", did)
	})
	s.nobodyHolds()
	s.intact()
}

// resets is a runbook that takes a device off the network for a moment, whatever
// else is done to it.
const resets = `
def heal(device_id):
    trigger_network_reset(device_id)
`

// shelve puts a signed patch of the gateways into the fleet directory, and the
// key that it is signed with.
func (s *site) shelve(name, version string) {
	s.t.Helper()
	public, private, err := minisign.GenerateKey(nil)
	require.NoError(s.t, err)
	file := filepath.Join(s.dir, "fleet", "fleet.yaml")
	text, err := os.ReadFile(file)
	require.NoError(s.t, err)
	const after = "rotation_period: 72h\n"
	line := string(text[strings.LastIndex(string(text[:strings.Index(string(text), after)]), "\n")+1:])
	indent := line[:strings.Index(line, after)]
	s.put("fleet.yaml", strings.Replace(string(text), after, after+indent+fmt.Sprintf("patch_keys: [%q]\n", public), 1))
	content := sshsim.Package(version, true)
	r := minisign.NewReader(strings.NewReader(content))
	_, err = io.Copy(io.Discard, r)
	require.NoError(s.t, err)
	s.put("patches/"+name+".pkg", content)
	s.put("patches/"+name+".pkg.minisig", string(r.Sign(private)))
	s.put("patches/"+name+".yaml", fmt.Sprintf("name: %s\nprofile: linux-gateway\nversion: %s\nfile: %s.pkg\nsha256: \"%x\"\nsize: %d\nreleased: 2026-11-01\n",
		name, version, name, sha256.Sum256([]byte(content)), len(content)))
}

// A rollout, a patch and remediations are aimed at the same gateways at the same
// moment. Of rollout and patch one begins, and the other is told why it cannot;
// with the remediations they take turns on each device, and nothing of one comes
// between what another does.
func TestARolloutAPatchAndRemediationsOfTheSameDevicesTakeTurns(t *testing.T) {
	const n = 4
	s := newPlant(t, n, simfleet.Mix{SSH: 100}, nil)
	s.shelve("edge-agent", "9.1.0")
	s.begin()
	s.does("onboard", "--all", "--reason", "commissioning")
	config := s.proposed("gateway-standard.yaml", map[string]string{"version": "2", "interval": "30"})
	planned := func(kind string) contract.RolloutPlanPage {
		if kind == "rollout" {
			return s.plans(config, allAtOnce()...)
		}
		var page contract.RolloutPlanPage
		require.NoError(t, json.Unmarshal([]byte(s.does(append([]string{"patch", "plan", "edge-agent", "-o", "json"}, allAtOnce()...)...)), &page))
		return page
	}

	// Both are planned while nothing is at work, and started in one moment.
	plans := map[string]contract.RolloutPlanPage{"rollout": planned("rollout"), "patch": planned("patch")}
	codes, said, heals := map[string]int{}, map[string]string{}, []sdkclient.WorkflowRun{}
	var mu sync.Mutex
	var starting sync.WaitGroup
	for kind, plan := range plans {
		require.Equal(t, n, plan.RolloutPlan.Devices(), kind)
		starting.Go(func() {
			code, out, words := s.as("kim", kind, "start", "--plan", plan.Hash, "--watch")
			mu.Lock()
			defer mu.Unlock()
			codes[kind], said[kind] = code, out+words
		})
	}
	for _, id := range feeders(n) {
		heals = append(heals, s.remediate(id, inline(resets)))
	}
	starting.Wait()
	for _, run := range heals {
		s.resolved(run)
	}
	loser := "patch"
	if codes["rollout"] != cli.ExitDone {
		loser = "rollout"
	}
	for kind := range plans {
		if kind != loser {
			require.Equal(t, cli.ExitDone, codes[kind], "%s", said[kind])
		}
	}
	require.NotEqual(t, cli.ExitDone, codes[loser])
	require.Contains(t, said[loser], "another rollout has not ended")

	// Now the other, planned again, beside remediations.
	again := planned(loser)
	require.Equal(t, n, again.RolloutPlan.Devices(), "%+v", again.Excluded)
	_, workflow := s.starts(again)
	heals = nil
	for _, id := range feeders(n) {
		heals = append(heals, s.remediate(id, inline(resets)))
	}
	var out contract.RolloutProgress
	require.NoError(t, s.temporal.GetWorkflow(t.Context(), workflow, "").Get(t.Context(), &out))
	require.Equal(t, contract.RolloutDone, out.State, out.Detail)
	for _, run := range heals {
		s.resolved(run)
	}
	for _, id := range feeders(n) {
		who := map[string]bool{}
		for _, w := range s.neverMixed(id) {
			who[strings.SplitN(w, "/", 2)[0]] = true
		}
		require.True(t, who["rollout"] && who["remediate"], "%s: %v", id, who)
		require.Equal(t, 2, s.pulses(id))
		require.Contains(t, s.does("device", "show", id), "9.1.0")
	}
	require.Zero(t, s.plans(config).RolloutPlan.Devices())
	s.nobodyHolds()
	s.intact()
}

// fragile makes the feeders ones that are not well when they report too rarely:
// a baseline that says so is written and read back, and is bad all the same.
func fragile(d *sample.Device) {
	if d.Profile == "feeder-rtu" {
		d.Profile = "fragile-feeder"
	}
}

func (s *site) fragile() *site {
	s.t.Helper()
	model, err := os.ReadFile(filepath.Join("..", "..", "devices", "profile", "builtin", "feeder-rtu.yaml"))
	require.NoError(s.t, err)
	s.put("profiles/fragile-feeder.yaml", strings.NewReplacer("name: feeder-rtu\n", "name: fragile-feeder\nsettle: {wait: 10ms, up_to: 300ms}\n",
		"health:\n", "health:\n  - {point: report_interval, at_most: 3000}\n").Replace(string(model)))
	baseline, err := os.ReadFile(filepath.Join(s.dir, "fleet", "edge-configs", "feeder-standard.yaml"))
	require.NoError(s.t, err)
	s.put("edge-configs/fragile.yaml", strings.NewReplacer("name: feeder-standard", "name: fragile", "profile: feeder-rtu", "profile: fragile-feeder").Replace(string(baseline)))
	return s
}

// A baseline that makes devices unhealthy stops where the first of them is, and
// is taken back without a person. Devices of later waves are never written.
func TestABadBaselineIsTakenBackFromWhereItShows(t *testing.T) {
	const n = 12
	s := newPlant(t, n, simfleet.Mix{}, fragile).fragile().begin()
	s.does("onboard", "--all", "--reason", "commissioning")
	strategy := []string{"--waves", "25%,100%", "--on-breach", "rollback", "--max-failed", "0", "--check-every", "1s", "--check-within", "2s"}
	bad := map[string]string{"report_interval": "3600"}
	good := s.plans(s.proposed("fragile.yaml", map[string]string{"version": "2", "report_interval": "90"}), strategy...)
	victim := waves(good)[2][1]
	for name, c := range map[string]struct {
		file    string
		stopped int // the number of the wave in which it shows
	}{
		"at the canary":     {s.proposed("fragile.yaml", merged(bad, "version", "3")), 1},
		"in the wave after": {s.proposed("fragile.yaml", map[string]string{"version": "4", "report_interval": "90"}, "overrides:", "  devices:", "    "+victim+": {report_interval: 3600}"), 2},
	} {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			before := s.counts(feeders(n)...)
			plan := s.plans(c.file, strategy...)
			require.Equal(t, []int{1, 2, 9}, []int{plan.Waves[0].Devices, plan.Waves[1].Devices, plan.Waves[2].Devices})
			code, text, said := s.as("kim", "rollout", "start", "--plan", plan.Hash, "--watch", "-o", "json")
			require.Equal(t, cli.ExitFailed, code, said)
			var out contract.RolloutProgress
			require.NoError(t, json.Unmarshal([]byte(text), &out))
			require.Equal(t, contract.RolloutRolledBack, out.State, out.Detail)
			require.Zero(t, out.Rollback.Kept)
			for wave, ids := range waves(plan) {
				for _, id := range ids {
					wrote := s.since(before, id)
					if wave > c.stopped {
						require.Empty(t, wrote, "%s is of wave %d", id, wave)
					} else if wave < c.stopped || wave == 1 {
						require.Equal(t, map[string]int{"report_interval@112": 2}, wrote, "%s is of wave %d: there, and back", id, wave)
					}
					require.Empty(t, s.device(id).Drifted)
				}
			}
			if c.stopped == 2 {
				require.Equal(t, map[string]int{"report_interval@112": 2}, s.since(before, victim))
			}
			s.does("drift", "scan", "--reason", "after it was taken back")
			s.nobodyHolds()
		})
	}
	s.intact()
}

// wave is the workflow of the wave of a rollout that runs.
func (s *site) wave(id string) sdkclient.WorkflowRun {
	s.t.Helper()
	var wave string
	until(s.t, patience, func() error {
		if wave = s.status(id).WaveID; wave == "" {
			return errNotYet
		}
		return nil
	})
	return s.temporal.GetWorkflow(s.t.Context(), wave, "")
}
