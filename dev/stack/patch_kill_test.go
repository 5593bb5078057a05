package stack_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"
	"github.com/simonvetter/modbus"
	"github.com/stretchr/testify/require"

	"edgefleet/dev/sample"
	"edgefleet/dev/simfleet"
	"edgefleet/devices/fleet"
	"edgefleet/devices/sim"
	"edgefleet/devices/sim/opcuasim"
	"edgefleet/devices/sim/sshsim"
	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

const (
	// envPatchKills and envPatchedDevices make the test of the kills of a patch
	// as long as somebody has time for. Two devices in five are patched.
	envPatchKills     = "EDGEFLEET_TEST_PATCH_KILLS"
	envPatchedDevices = "EDGEFLEET_TEST_PATCHED_DEVICES"

	// quickly begins the names of profiles whose installations have less time: an
	// attempt after a kill gives the device all of it to have come to something.
	quickly      = "quick-"
	quicklyTakes = 10 * time.Second
	// simulatedInit is for how long a simulated device starts.
	simulatedInit = 500 * time.Millisecond

	// The controller's registers that count, and that say what it runs and ran.
	plcRestarts, plcRuns, plcRan, plcVersionWords = 1, 24, 23, 4
)

// quick is a plant in which patches have less time, and the devices that are
// patched stand in pairs, by profile and in the order of their IDs.
type quick struct {
	*site
	// ids are by the profile of the simulator, partner by the ID.
	ids     map[string][]string
	partner map[string]string
}

func newQuickPlant(t testing.TB, devices int) *quick {
	q := &quick{ids: map[string][]string{}, partner: map[string]string{}}
	baselines := map[string]string{sshsim.Profile: "gateway-standard", opcuasim.Profile: "controller-opcua", "register-plc": "controller-registers"}
	q.site = newPlant(t, devices, simfleet.Mix{Modbus: 70, OPCUA: 15, SSH: 15}, func(d *sample.Device) {
		if baselines[d.Profile] != "" {
			q.ids[d.Profile] = append(q.ids[d.Profile], d.ID)
			d.Profile = quickly + d.Profile
		}
	})
	for profile, baseline := range baselines {
		model, err := os.ReadFile(filepath.Join("..", "..", "devices", "profile", "builtin", profile+".yaml"))
		require.NoError(t, err)
		faster := regexp.MustCompile(`(?m)^  within: \dm$`).ReplaceAllString(string(model), "  within: "+quicklyTakes.String())
		require.NotEqual(t, string(model), faster)
		q.put("profiles/"+quickly+profile+".yaml", strings.Replace(faster, "name: "+profile+"\n", "name: "+quickly+profile+"\n", 1))
		wants, err := os.ReadFile(filepath.Join(q.dir, "fleet", "edge-configs", baseline+".yaml"))
		require.NoError(t, err)
		q.put("edge-configs/"+quickly+baseline+".yaml", strings.NewReplacer("name: "+baseline+"\n", "name: "+quickly+baseline+"\n", "profile: "+profile+"\n", "profile: "+quickly+profile+"\n").Replace(string(wants)))
	}
	q.pair()
	return q
}

// pair declares redundancy groups of two, each of one profile and region.
func (q *quick) pair() {
	q.t.Helper()
	const file = "devices/simulated.yaml"
	text, err := os.ReadFile(filepath.Join(q.dir, "fleet", filepath.FromSlash(file)))
	require.NoError(q.t, err)
	alone := map[string]string{} // the ID that has no partner yet, by profile and region
	group := map[string]string{}
	found := regexp.MustCompile(`(?s)- id: (\S+)\n.*?region: (\S+)\n.*?profile: (\S+)\n`).FindAllStringSubmatch(string(text), -1)
	require.NotEmpty(q.t, found)
	for _, m := range found {
		if id, kind := m[1], m[3]+" "+m[2]; strings.HasPrefix(m[3], quickly) {
			if other := alone[kind]; other != "" {
				group[id], group[other] = "pair-"+other, "pair-"+other
				q.partner[id], q.partner[other] = other, id
				delete(alone, kind)
			} else {
				alone[kind] = id
			}
		}
	}
	q.put(file, regexp.MustCompile(`(?m)^( *)- id: (\S+)\n`).ReplaceAllStringFunc(string(text), func(line string) string {
		id := strings.TrimSpace(strings.SplitN(line, "id:", 2)[1])
		if group[id] == "" {
			return line
		}
		return line + strings.Repeat(" ", strings.Index(line, "id:")) + "redundancy: " + group[id] + "\n"
	}))
}

// runs asks a controller for its own registers, over a link of the test's own:
// how often it has started anew, what it runs, and what it ran before.
func (q *quick) runs(device string) (restarts int, version, before string) {
	q.t.Helper()
	c, err := modbus.NewClient(&modbus.ClientConfiguration{URL: "tcp://" + q.device(device).Address, Timeout: 10 * time.Second})
	require.NoError(q.t, err)
	require.NoError(q.t, c.Open())
	defer func() { require.NoError(q.t, c.Close()) }()
	read := func(address, n uint16, table modbus.RegType) []uint16 {
		words, err := c.ReadRegisters(address, n, table)
		require.NoError(q.t, err)
		return words
	}
	text := func(words []uint16) string {
		var b []byte
		for _, w := range words {
			b = append(b, byte(w>>8), byte(w))
		}
		return strings.TrimRight(string(b), "\x00 ")
	}
	return int(read(plcRestarts, 1, modbus.INPUT_REGISTER)[0]), text(read(plcRuns, plcVersionWords, modbus.HOLDING_REGISTER)),
		text(read(plcRan, plcVersionWords, modbus.INPUT_REGISTER))
}

// installed is what a device says of its own patch: how often it was installed
// and restarted, what it runs, and from when to when it was or may have been down.
type installed struct {
	times, restarts    int
	version, before    string
	downFrom, downTill time.Time
}

// by asks a device, which counts itself. When it was down counts since a moment.
func (q *quick) by(profile, device string, since time.Time) (out installed) {
	q.t.Helper()
	w, err := q.fleet.Writes(q.t.Context(), device)
	require.NoError(q.t, err)
	down := func(at time.Time) {
		if out.downFrom.IsZero() || at.Before(out.downFrom) {
			out.downFrom = at
		}
		if till := at.Add(simulatedInit); till.After(out.downTill) {
			out.downTill = till
		}
	}
	for _, one := range w.Log {
		if (one.Name == "install" || one.Name == "restart") && one.At.After(since) {
			down(one.At)
		}
	}
	for _, c := range w.Counters {
		switch c.Name {
		case "install":
			out.times, out.version = int(c.Count), c.After
		case "restart":
			out.restarts = int(c.Count)
		case "mailbox_command":
			// An installation needs an image that was received and verified
			// since the one before, so that the last command is the one.
			require.EqualValues(q.t, 4, c.New, "%s: the last command of its mailbox is to install", device)
			down(c.At)
		}
	}
	if profile == "register-plc" {
		out.restarts, out.version, out.before = q.runs(device)
	}
	return out
}

// installation is what the ledger has of a device's installation: from the first
// intent to the last result, with how that came out.
type installation struct {
	from, till time.Time
	outcome    fleet.Outcome
	plan       string // its hash
	after      string // the version
	// done counts the results that say that it was done.
	done int
}

func (q *quick) told(device string) (out installation) {
	q.t.Helper()
	for _, e := range q.ledger(device) {
		if e.Action != contract.ActivityRollOutDevice {
			continue
		}
		if !strings.HasPrefix(e.Item, "install ") {
			continue
		}
		out.plan = e.PlanHash
		if out.from.IsZero() {
			out.from = e.Time
		}
		if e.Phase != store.PhaseResult {
			continue
		}
		out.till, out.outcome = e.Time, fleet.Outcome(e.Outcome)
		var after map[string]string
		require.NoError(q.t, json.Unmarshal([]byte(e.After), &after))
		out.after = after["firmware"]
		if out.outcome == fleet.Applied || out.outcome == fleet.Confirmed {
			out.done++
		}
	}
	return out
}

// Engine and worker are killed at random moments while devices of three protocols
// are patched, again and again. Each patch comes to its end, and by the devices'
// own account:
//
//   - Each was installed once. That is irrevocable, so it is begun once, and an
//     attempt after a kill finds out by the version whether it was.
//   - A controller that restarts by itself when it installs was restarted once.
//   - The agent of a gateway, whose restart is a step of its own, was restarted
//     once where no kill came after the installation. Where one did, nobody knows
//     whether it was: the new version stands on the disk before and after. It is
//     restarted once more then, at most for each kill, because one that still
//     runs what was before would be called patched.
//   - How often something was brought is not held: that changes nothing that runs.
//
// What is brought and installed stands in the ledger as the device has it, two of
// a redundancy group were never down together, and nothing is left behind that
// would keep a device or its alerts.
func TestAPatchThatIsKilledAgainAndAgainInstallsOnEachDeviceOnce(t *testing.T) {
	n, kills := numberOf(t, envPatchedDevices, 44), numberOf(t, envPatchKills, 2)
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))

	q := newQuickPlant(t, n)
	q.store = openStore(t, q.dir)
	alerts := q.alertmanager()
	public, private, err := minisign.GenerateKey(nil)
	require.NoError(t, err)
	for profile, text := range map[string]string{
		sshsim.Profile: sshsim.Package("3.3.0", true) + strings.Repeat("agent ", 20_000), opcuasim.Profile: opcuasim.Image("3.3.0", true), "register-plc": sim.PLCFirmware("3.3.0", true),
	} {
		q.declarePatch(private, profile+"-3.3.0", quickly+profile, "3.3.0", text)
	}
	q.trustPatches(public)
	p := q.launch(alerts)
	q.does("onboard", "--all", "--reason", "commissioning")
	restartsBefore := map[string]int{}
	total := 0
	var all []string
	for profile, ids := range q.ids {
		total += len(ids)
		all = append(all, ids...)
		for _, id := range ids {
			restartsBefore[id] = q.by(profile, id, time.Now()).restarts
		}
	}
	require.NotEmpty(t, q.partner)
	t.Logf("%d devices, of which %d are patched and %d have a partner, %d kills, seed of the random points: %d", n, total, len(q.partner), kills, seed)

	plans, rollouts, workflows := map[string]contract.RolloutPlanPage{}, map[string]string{}, map[string]string{}
	for profile, ids := range q.ids {
		plans[profile] = q.planPatch(profile+"-3.3.0", "--device-deadline", "20m", "--at-once", "2")
		require.Equal(t, len(ids), plans[profile].RolloutPlan.Devices(), "%s: %+v", profile, plans[profile].Excluded)
	}
	// Long enough for the kills to come in the middle.
	q.slow(all, 40*time.Millisecond)
	began := time.Now()
	for profile, plan := range plans {
		rollouts[profile], workflows[profile] = q.starts(plan)
	}
	quiet := 0
	var working []string
	ended := func() (done, atWork int) {
		working = nil
		for _, id := range rollouts {
			list, err := q.store.RolloutDevices(t.Context(), store.RolloutDeviceQuery{RolloutID: id, Limit: 1000})
			require.NoError(t, err)
			for _, d := range list {
				if d.EndedAt != nil {
					done++
				} else {
					atWork++
					working = append(working, d.DeviceID)
				}
			}
		}
		if quiet == 0 && atWork > 0 {
			quiet = len(unheard(t, alerts))
		}
		return done, atWork
	}
	installing := func(id string) bool { has := q.told(id); return !has.from.IsZero() && has.till.IsZero() }
	for kill := range kills {
		// Each kill comes when so many devices are done, and a moment later; every
		// second one, when an installation was begun besides, and then at once.
		from := kill * total * 8 / 10 / kills
		threshold, moment := from+random.IntN(max(1, total*8/10/kills)), time.Duration(random.Int64N(int64(2*time.Second)))
		if kill%2 == 1 {
			moment /= 4
		}
		until(t, 2*patience, func() error {
			if done, atWork := ended(); done < threshold || atWork > 0 && kill%2 == 1 && !slices.ContainsFunc(working, installing) {
				return errNotYet
			}
			return nil
		})
		wait(p, moment)
		done, atWork := ended()
		p.kill()
		t.Logf("kill %d after %s: %d of %d were done and %d in work", kill+1, time.Since(began).Round(time.Millisecond), done, total, atWork)
		p = q.launch(alerts)
	}
	for profile, workflow := range workflows {
		var out contract.RolloutProgress
		require.NoError(t, q.temporal.GetWorkflow(t.Context(), workflow, "").Get(t.Context(), &out))
		t.Logf("the patch of %s is %s after %s: %+v", profile, out.State, time.Since(began).Round(time.Millisecond), out.RolloutCounts)
		require.Equal(t, contract.RolloutDone, out.State, "%s: %s", profile, out.Detail)
		require.Equal(t, contract.RolloutCounts{Healthy: len(q.ids[profile])}, out.RolloutCounts)
	}

	has, ledger := map[string]installed{}, map[string]installation{}
	takenUp := 0
	for profile, ids := range q.ids {
		for _, id := range ids {
			has[id], ledger[id] = q.by(profile, id, began), q.told(id)
			q.neverMixed(id)
			restarts, most := has[id].restarts-restartsBefore[id], 1
			if ledger[id].outcome == fleet.Confirmed {
				takenUp++
				if profile == sshsim.Profile {
					most += kills
				}
			}
			if profile == "register-plc" {
				// It counts its restarts alone, and keeps what it ran before: a
				// second installation would have left the new version there.
				require.Equal(t, "3.2.1", has[id].before, id)
			} else {
				require.Equal(t, 1, has[id].times, "%s: installations", id)
			}
			require.GreaterOrEqual(t, restarts, 1, "%s: restarts", id)
			require.LessOrEqual(t, restarts, most, "%s: restarts, of which the ledger says %s", id, ledger[id].outcome)
			require.Equal(t, 1, ledger[id].done, "%s: installations of the ledger", id)
			require.Equal(t, "3.3.0", ledger[id].after)
			require.Equal(t, plans[profile].Hash, ledger[id].plan)
			require.Contains(t, has[id].version, ledger[id].after, "the ledger and %s", id)
		}
	}
	for id, other := range q.partner {
		if id < other {
			apart := func(what string, from, till, otherFrom, otherTill time.Time) {
				require.True(t, till.Before(otherFrom) || otherTill.Before(from), "%s of %s from %s to %s, and of its partner %s from %s to %s", what, id, from, till, other, otherFrom, otherTill)
			}
			apart("down by its own account", has[id].downFrom, has[id].downTill, has[other].downFrom, has[other].downTill)
			apart("the installation in the ledger", ledger[id].from, ledger[id].till, ledger[other].from, ledger[other].till)
		}
	}
	t.Logf("%d installations were found by an attempt after the one that had begun them", takenUp)
	q.slow(all, 0)
	for profile, ids := range q.ids {
		again := q.planPatch(profile + "-3.3.0")
		require.Zero(t, again.RolloutPlan.Devices())
		require.Equal(t, []contract.ExcludedCount{{Reason: contract.ExcludedInSync, Devices: len(ids)}}, again.Excluded, "every device, asked again, runs it")
	}
	q.nobodyHolds()
	require.Positive(t, quiet, "alerts were silenced on the way")
	until(t, 20*time.Second, func() error {
		if left := unheard(t, alerts); len(left) > 0 {
			slices.Sort(left)
			return fmt.Errorf("the alerts of %v are still silenced", left)
		}
		return nil
	})
	q.intact()
	q.does("audit", "verify")
}
