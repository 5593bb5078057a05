package stack_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"edgefleet/dev/engine"
	"edgefleet/dev/sample"
	"edgefleet/dev/simfleet"
	"edgefleet/dev/stack"
	"edgefleet/internal/temporalx"
	"edgefleet/starter/cli"
	"edgefleet/worker/service"
	"edgefleet/workflows/contract"
)

const (
	// playPlant tells this program to be an engine with a worker, on the folder
	// that is its value.
	playPlant = "EDGEFLEET_TEST_PLAY_PLANT"
	// plantAlertmanager is the Alertmanager at which that worker silences.
	plantAlertmanager = "EDGEFLEET_TEST_PLANT_ALERTMANAGER"
)

// running is an engine with a worker, in whichever process.
type running struct {
	engine *engine.Engine
	worker *service.Worker
}

// run starts an engine and a worker on a folder that has a fleet directory and
// the ledger's key.
func run(ctx context.Context, dir, alertmanager string) (*running, error) {
	e, err := engine.New(engine.Options{DataDir: filepath.Join(dir, "temporal"), FrontendAddr: anyPort, NoUI: true})
	if err == nil {
		err = e.Start(ctx)
	}
	if err != nil {
		return nil, err
	}
	credentials := filepath.Join(dir, "credentials")
	if _, err := os.Stat(credentials); err != nil {
		credentials = ""
	}
	w, err := service.New(service.Options{
		FleetDir: filepath.Join(dir, "fleet"), FleetInterval: 150 * time.Millisecond, StoreURL: "sqlite:" + filepath.Join(dir, "store.db"),
		LedgerKeyFile: filepath.Join(dir, "ledger.key"), CredentialsDir: credentials, AdminAddr: anyPort, AlertmanagerURL: alertmanager,
		Housekeeping: time.Second, StopTimeout: 5 * time.Second, Logger: zap.NewNop(),
		Temporal: temporalx.Options{Address: e.Addr(), Namespace: e.Namespace()},
	})
	if err == nil {
		err = w.Start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, e.Stop())
	}
	return &running{e, w}, nil
}

func (r *running) stop() error {
	return errors.Join(r.worker.Stop(context.Background()), r.engine.Stop())
}

// beThePlant is the part that is killed.
func beThePlant(dir string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r, err := run(ctx, dir, os.Getenv(plantAlertmanager))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(r.engine.Addr())
	<-ctx.Done()
	if err := r.stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// newPlant is a simulated fleet with its fleet directory, over which nothing
// runs yet. Change may say otherwise of each device.
func newPlant(t testing.TB, devices int, mix simfleet.Mix, change func(*sample.Device)) *site {
	t.Helper()
	dir := t.TempDir()
	o := options(t, dir, devices)
	if mix != (simfleet.Mix{}) {
		o.FleetArgs = append(o.FleetArgs, "--mix", mix.String())
	}
	endFleet(t, dir)
	fleet, err := simfleet.Spawn(t.Context(), o.Exe, o.FleetArgs, stack.FleetState(dir))
	require.NoError(t, err)
	all, err := fleet.Devices(t.Context())
	require.NoError(t, err)
	declared := make([]sample.Device, len(all))
	for i, d := range all {
		declared[i] = sample.Of(d)
		if change != nil {
			change(&declared[i])
		}
	}
	require.NoError(t, sample.Write(filepath.Join(dir, "fleet"), strings.TrimPrefix(fleet.URL(), "http://"), declared))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ledger.key"), []byte("a secret of the test alone"), 0o600))
	return &site{t: t, dir: dir, fleet: fleet}
}

// put writes a file of the fleet directory.
func (s *site) put(name, text string) {
	s.t.Helper()
	file := filepath.Join(s.dir, "fleet", filepath.FromSlash(name))
	require.NoError(s.t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(s.t, os.WriteFile(file, []byte(text), 0o644))
}

// begin runs an engine and a worker over the plant until the test ends.
func (s *site) begin() *site {
	s.t.Helper()
	s.store = openStore(s.t, s.dir)
	r, err := run(s.t.Context(), s.dir, "")
	require.NoError(s.t, err)
	s.t.Cleanup(func() { require.NoError(s.t, r.stop()) })
	s.dial(r.engine.Addr())
	return s
}

func (s *site) dial(address string) {
	s.t.Helper()
	conn, err := temporalx.Dial(s.t.Context(), temporalx.Options{Address: address, Namespace: temporalx.DefaultNamespace})
	require.NoError(s.t, err)
	s.t.Cleanup(conn.Close)
	s.temporal = conn.Client
}

// plantProcess is an engine and a worker in a process of their own.
type plantProcess struct {
	cmd   *exec.Cmd
	err   transcript
	ended chan struct{}
}

// launch runs an engine and a worker in another process, and returns when both
// are up.
func (s *site) launch(alertmanager string) *plantProcess {
	s.t.Helper()
	exe, err := os.Executable()
	require.NoError(s.t, err)
	p := &plantProcess{cmd: exec.Command(exe), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), playPlant+"="+s.dir, plantAlertmanager+"="+alertmanager)
	p.cmd.Stderr = &p.err
	out, err := p.cmd.StdoutPipe()
	require.NoError(s.t, err)
	require.NoError(s.t, p.cmd.Start())
	address, readErr := bufio.NewReader(out).ReadString('\n')
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	s.t.Cleanup(p.kill)
	require.NoError(s.t, readErr, "the plant ended by itself: %s", &p.err)
	s.dial(strings.TrimSpace(address))
	return p
}

// kill ends the process as a power cut would.
func (p *plantProcess) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// as runs one command line as somebody.
func (s *site) as(user string, args ...string) (code int, out, said string) {
	s.t.Helper()
	var stdout, stderr bytes.Buffer
	code = cli.New(cli.Options{
		Out: &stdout, Err: &stderr, User: user, Nonce: rand.Text, Poll: pollEach,
		Dial: func(context.Context, temporalx.Options) (cli.Temporal, error) { return shared{s.temporal}, nil },
	}).Run(s.t.Context(), append([]string{"edgefleet"}, args...))
	return code, stdout.String(), stderr.String()
}

// refused runs a command that has to be refused with these words and this exit
// code.
func (s *site) refused(code int, words, user string, args ...string) {
	s.t.Helper()
	got, out, said := s.as(user, args...)
	require.Equal(s.t, code, got, "edgefleet %s\n%s%s", strings.Join(args, " "), out, said)
	require.Contains(s.t, said, words, "edgefleet %s", strings.Join(args, " "))
}

// proposed is a baseline of the fleet directory with other values, where a
// pull request would have it: in a file beside the directory. Values replace
// those behind their key, wherever it stands; more is appended.
func (s *site) proposed(name string, values map[string]string, more ...string) string {
	s.t.Helper()
	data, err := os.ReadFile(filepath.Join(s.dir, "fleet", "edge-configs", name))
	require.NoError(s.t, err)
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	found := map[string]bool{}
	for i, line := range lines {
		key, _, _ := strings.Cut(strings.TrimSpace(line), ":")
		if value, ok := values[key]; ok {
			lines[i] = line[:strings.Index(line, key)] + key + ": " + value
			found[key] = true
		}
	}
	require.Len(s.t, found, len(values), "%s has all of %v", name, values)
	dir := filepath.Join(s.dir, "proposed", rand.Text())
	require.NoError(s.t, os.MkdirAll(dir, 0o755))
	file := filepath.Join(dir, name)
	require.NoError(s.t, os.WriteFile(file, []byte(strings.Join(append(lines, more...), "\n")+"\n"), 0o644))
	return file
}

// plans plans a baseline by the command line, after its validation.
func (s *site) plans(file string, flags ...string) contract.RolloutPlanPage {
	s.t.Helper()
	s.does("config", "validate", file, "--fleet", filepath.Join(s.dir, "fleet"))
	var page contract.RolloutPlanPage
	out := s.does(append([]string{"rollout", "plan", "--baseline", file, "--reason", "a test", "-o", "json"}, flags...)...)
	require.NoError(s.t, json.Unmarshal([]byte(out), &page))
	return page
}

// waves are the devices of a plan by the number of their wave; those of wave 0
// are left out.
func waves(p contract.RolloutPlanPage) map[int][]string {
	out := map[int][]string{}
	for _, d := range p.Devices {
		out[d.Wave] = append(out[d.Wave], d.ID)
	}
	return out
}

// starts starts a plan, and returns the rollout's ID and its run.
func (s *site) starts(p contract.RolloutPlanPage) (id string, workflowID string) {
	s.t.Helper()
	id = strings.TrimSpace(s.does("rollout", "start", "--plan", p.Hash))
	require.Equal(s.t, contract.RolloutOf(p.Hash), id)
	return id, contract.RolloutWorkflowID(id)
}

// status is how a rollout stands, as the command line shows it.
func (s *site) status(id string) (p contract.RolloutProgress) {
	s.t.Helper()
	require.NoError(s.t, json.Unmarshal([]byte(s.does("rollout", "status", id, "-o", "json")), &p))
	return p
}

// stands waits until a rollout is in a state.
func (s *site) stands(id, state string) (p contract.RolloutProgress) {
	s.t.Helper()
	until(s.t, patience, func() error {
		if p = s.status(id); p.State != state {
			return fmt.Errorf("rollout %s is %s (%s), and %s is waited for", id, p.State, p.Detail, state)
		}
		return nil
	})
	return p
}

// counts are what clients wrote to each device so far, by setting and address.
func (s *site) counts(ids ...string) map[string]map[string]int {
	out := map[string]map[string]int{}
	for _, id := range ids {
		out[id] = s.written(id)
	}
	return out
}

// since is what clients wrote to a device since it was counted.
func (s *site) since(before map[string]map[string]int, id string) map[string]int {
	s.t.Helper()
	out := map[string]int{}
	for what, n := range s.written(id) {
		if more := n - before[id][what]; more > 0 {
			out[what] = more
		}
	}
	return out
}

// nobodyHolds requires that no lease is left.
func (s *site) nobodyHolds() {
	s.t.Helper()
	until(s.t, 20*time.Second, func() error {
		held, err := s.store.Leases(s.t.Context(), "", 1000)
		if err == nil && len(held) > 0 {
			err = fmt.Errorf("%d leases are left, the first is %+v", len(held), held[0])
		}
		return err
	})
}

// neverMixed requires that what different workflows did to a device stands in
// the ledger one after the other: each intent is followed by its own result.
func (s *site) neverMixed(device string) (workflows []string) {
	s.t.Helper()
	open := ""
	for _, e := range s.ledger(device) {
		key := e.Record().Key()
		switch e.Phase {
		case "intent":
			require.Empty(s.t, open, "%s: entry %d, %s, comes between", device, e.Seq, key)
			open = key.String()
			if len(workflows) == 0 || workflows[len(workflows)-1] != e.WorkflowID {
				workflows = append(workflows, e.WorkflowID)
			}
		case "result":
			require.Equal(s.t, open, key.String(), "%s: entry %d", device, e.Seq)
			open = ""
		}
	}
	require.Empty(s.t, open, "%s: an intent has no result", device)
	return workflows
}
