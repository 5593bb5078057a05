package e2e_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"edgefleet/dev/engine"
	"edgefleet/dev/simfleet"
	"edgefleet/internal/temporalx"
	"edgefleet/worker/service"
)

const devices = 6

// site is a repository with a fleet directory, workers that run it, and a
// runner of the pipeline's steps.
type site struct {
	t    testing.TB
	repo string
	tmp  string
	env  []string
	live *simfleet.Client
	// admin is the worker's page.
	admin string
}

func newSite(t testing.TB) *site {
	t.Helper()
	tmp := t.TempDir()
	s := &site{t: t, tmp: tmp, repo: filepath.Join(tmp, "repo")}
	for _, program := range []string{"git", "jq"} {
		_, err := exec.LookPath(program)
		require.NoError(t, err, "the scripts need %s, which every distribution has as a package of that name", program)
	}

	state := filepath.Join(tmp, "simfleet.json")
	fleet, err := simfleet.Start(simfleet.Options{Devices: devices, StateFile: state, Logger: zap.NewNop()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, fleet.Stop()) })
	s.live, err = simfleet.Find(t.Context(), state)
	require.NoError(t, err)

	e, err := engine.New(engine.Options{DataDir: filepath.Join(tmp, "temporal"), FrontendAddr: "127.0.0.1:0", NoUI: true})
	require.NoError(t, err)
	require.NoError(t, e.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, e.Stop()) })

	bin := filepath.Join(tmp, "bin")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(bin, "edgefleet"), "edgefleet/starter").CombinedOutput()
	require.NoError(t, err, "%s", out)
	s.env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "TEMPORAL_ADDRESS="+e.Addr(), "TEMPORAL_NAMESPACE="+e.Namespace(),
		"CHANGED="+filepath.Join(tmp, "changed.txt"), "ROLLOUTS="+filepath.Join(tmp, "rollouts.tsv"), "PLAN_MD="+filepath.Join(tmp, "plan.md"), "PR=7",
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")

	s.declare()
	registry := prometheus.NewRegistry()
	w, err := service.New(service.Options{
		Registerer: registry, Gatherer: registry,
		FleetDir: s.repo, FleetInterval: 150 * time.Millisecond, StoreURL: "sqlite:" + filepath.Join(tmp, "store.db"), AdminAddr: "127.0.0.1:0",
		Temporal: temporalx.Options{Address: e.Addr(), Namespace: e.Namespace()},
	})
	require.NoError(t, err)
	require.NoError(t, w.Start(t.Context()))
	s.admin = "http://" + w.AdminAddr()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		require.NoError(t, w.Stop(ctx))
	})
	return s
}

// declare writes the fleet directory, and commits it.
func (s *site) declare() {
	s.t.Helper()
	all, err := s.live.Devices(s.t.Context())
	require.NoError(s.t, err)
	var list strings.Builder
	list.WriteString("fleet:\n  name: edge-fleet\n  regions: {us-east-1: {}}\n  security: {allowed_networks: [\"127.0.0.0/8\"]}\ndevices:\n")
	for _, d := range all[:devices] {
		fmt.Fprintf(&list, "  - {id: %s, site: s1, region: us-east-1, profile: %s, address: %q}\n", d.ID, d.Profile, d.Address)
	}
	s.write("fleet.yaml", list.String())
	s.baseline("v1", "85.0")
	s.write("runbooks/look.py", "def heal(device_id):\n    check_network(device_id)\n")
	s.run("git", "init", "-q", "-b", "main")
	s.commit("first")
}

func (s *site) baseline(version, trip string) {
	s.write("edge-configs/feeders.yaml", "name: feeders\nversion: "+version+"\nprofile: feeder-rtu\nsettings:\n  undervoltage_trip: "+trip+"\n  report_interval: 60\n")
}

func (s *site) write(name, text string) {
	s.t.Helper()
	full := filepath.Join(s.repo, name)
	require.NoError(s.t, os.MkdirAll(filepath.Dir(full), 0o755))
	require.NoError(s.t, os.WriteFile(full, []byte(text), 0o644))
}

func (s *site) commit(message string) string {
	s.t.Helper()
	s.run("git", "add", "-A")
	s.run("git", "commit", "-qm", message)
	return strings.TrimSpace(s.run("git", "rev-parse", "HEAD"))
}

// run runs a program in the repository, which has to succeed.
func (s *site) run(name string, args ...string) string {
	s.t.Helper()
	out, err := s.try(nil, name, args...)
	require.NoError(s.t, err, "%s", out)
	return out
}

func (s *site) try(env []string, name string, args ...string) (string, error) {
	command := exec.CommandContext(s.t.Context(), name, args...)
	command.Dir, command.Env = s.repo, append(s.env, env...)
	out, err := command.CombinedOutput()
	return string(out), err
}

// step runs a script of the pipeline as a user.
func (s *site) step(script, user string, env ...string) (string, error) {
	s.t.Helper()
	full, err := filepath.Abs(filepath.Join("..", "scripts", script+".sh"))
	require.NoError(s.t, err)
	out, err := s.try(append(env, "EDGEFLEET_USER="+user), "sh", "-e", full)
	s.t.Logf("%s: %v\n%s", script, err, out)
	return out, err
}

// takenUp waits until the worker runs a revision.
func (s *site) takenUp(revision string) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		response, err := http.Get(s.admin + "/metrics")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		page, err := io.ReadAll(response.Body)
		return err == nil && strings.Contains(string(page), `revision="`+revision+`"`)
	}, 30*time.Second, 50*time.Millisecond)
}

// changed counts the devices that were written to since onboarding.
func (s *site) changed(before map[string]int) (n int) {
	for id, words := range s.words() {
		if words != before[id] {
			n++
		}
	}
	return n
}

// words counts the words that were written to each device.
func (s *site) words() map[string]int {
	s.t.Helper()
	out := map[string]int{}
	for i := range devices {
		id := fmt.Sprintf("edge-%03d", i+1)
		w, err := s.live.Writes(s.t.Context(), id)
		require.NoError(s.t, err)
		for _, c := range w.Counters {
			out[id] += int(c.Count)
		}
	}
	return out
}

func TestAChangedConfigGoesFromThePullRequestToTheFleet(t *testing.T) {
	s := newSite(t)
	s.run(filepath.Join(s.tmp, "bin", "edgefleet"), "onboard", "--all")
	onboarded := s.words()
	base := strings.TrimSpace(s.run("git", "rev-parse", "HEAD"))
	s.baseline("v2", "86.0")
	head := s.commit("Raise the trip")

	_, err := s.step("changed", "ann", "BASE="+base, "HEAD="+head)
	require.NoError(t, err)
	validated, err := s.step("validate", "ann")
	require.NoError(t, err)
	// The worker follows this very checkout, and a plan is refused during which
	// its directory changes.
	s.takenUp(regexp.MustCompile(`revision +([0-9a-f]{64})`).FindStringSubmatch(validated)[1])
	_, err = s.step("plan", "ann")
	require.NoError(t, err)
	plan, err := os.ReadFile(filepath.Join(s.tmp, "plan.md"))
	require.NoError(t, err)
	require.Contains(t, string(plan), "edge-configs/feeders.yaml")
	require.Contains(t, string(plan), "undervoltage_trip")
	require.Zero(t, s.changed(onboarded), "a plan writes nothing")

	_, err = s.step("canary", "github:ann")
	require.NoError(t, err)
	require.Equal(t, 1, s.changed(onboarded), "the canary, and nobody else")
	_, err = s.step("health", "github:ann")
	require.NoError(t, err)
	out, err := s.step("production", "github:environment:production", "NOTE=run 9")
	require.NoError(t, err, out)
	require.Equal(t, devices, s.changed(onboarded))
	_, err = s.step("production", "github:environment:production")
	require.NoError(t, err, "run again, it finds it done")

	t.Run("what is already there is not rolled out", func(t *testing.T) {
		_, err := s.step("canary", "github:ann")
		require.NoError(t, err)
		left, err := os.ReadFile(filepath.Join(s.tmp, "rollouts.tsv"))
		require.NoError(t, err)
		require.Empty(t, string(left))
	})
	t.Run("a value that the profile refuses ends at the first step", func(t *testing.T) {
		s.baseline("v3", "860")
		out, err := s.step("validate", "ann")
		require.Error(t, err)
		require.Contains(t, out, "edge-configs/feeders.yaml:5")
	})
}
