package activities

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"

	"edgefleet/devices"
	"edgefleet/devices/credentials"
	"edgefleet/devices/fleet"
	"edgefleet/devices/fleetdir"
	"edgefleet/devices/sim/sshsim"
	"edgefleet/devices/sshhost"
	"edgefleet/internal/pager"
	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

// gateways is a pair of redundant gateways over SSH, simulated, with a patch
// for them that is signed, and the activities over a store of their own.
type gateways struct {
	*plant
	devices map[string]*sshsim.Device
	private minisign.PrivateKey
	secrets string
}

func newGateways(t *testing.T) *gateways {
	t.Helper()
	public, private, err := minisign.GenerateKey(nil)
	require.NoError(t, err)
	g := &gateways{devices: map[string]*sshsim.Device{}, private: private, secrets: t.TempDir(),
		plant: &plant{t: t, dir: t.TempDir(), registry: prometheus.NewRegistry(), ctx: context.Background()}}
	g.closed = func(store.Owner) (bool, error) { return false, nil }
	key := g.login()
	var declared strings.Builder
	for _, id := range []string{"gw-1", "gw-2"} {
		d, err := sshsim.Start(sshsim.Config{ID: id, User: "edgefleet", Keys: []ssh.PublicKey{key}, Boot: time.Millisecond, Init: time.Millisecond})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, d.Close()) })
		g.devices[id] = d
		fmt.Fprintf(&declared, "  - {id: %s, site: s1, region: north, profile: fast-gateway, address: %q, redundancy: pair-1, credentials: gateways, ssh: {host_keys: [%q]}}\n",
			id, d.Addr(), d.Fingerprint())
	}
	g.store, err = store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "store.db"), store.Options{LedgerKey: []byte("0123456789abcdef")})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.store.Close()) })
	g.write("fleet.yaml", fmt.Sprintf("fleet:\n  name: gateways\n  regions: {north: {}}\n  security: {allowed_networks: [127.0.0.0/8], patch_keys: [%q]}\ndevices:\n%s", public, declared.String()))
	g.write("profiles/fast-gateway.yaml", strings.NewReplacer("within: 2m", "within: 2s", "within: 15s", "within: 1s", "settle: {wait: 0s, up_to: 10s}", "settle: {wait: 0s, up_to: 1s}").
		Replace(variant(t, "linux-gateway", "fast-gateway", "")))
	g.declare("agent", sshsim.Package("3.3.0", true), "3.3.0", "2026-11-01")
	driver := sshhost.New(sshhost.Options{})
	t.Cleanup(driver.Close)
	g.serve(driver)
	for id := range g.devices {
		g.onboard(id)
	}
	return g
}

// login writes the credentials, and returns the public key.
func (g *gateways) login() ssh.PublicKey {
	g.t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	require.NoError(g.t, err)
	block, err := ssh.MarshalPrivateKey(key, "")
	require.NoError(g.t, err)
	dir := filepath.Join(g.secrets, "gateways")
	require.NoError(g.t, os.MkdirAll(dir, 0o700))
	require.NoError(g.t, os.WriteFile(filepath.Join(dir, credentials.Username), []byte("edgefleet\n"), 0o600))
	require.NoError(g.t, os.WriteFile(filepath.Join(dir, credentials.SSHPrivateKey), pem.EncodeToMemory(block), 0o600))
	public, err := ssh.NewPublicKey(key.Public())
	require.NoError(g.t, err)
	return public
}

// declare declares a patch and signs its artifact.
func (g *gateways) declare(name, content, version, released string) {
	g.t.Helper()
	r := minisign.NewReader(strings.NewReader(content))
	_, err := io.Copy(io.Discard, r)
	require.NoError(g.t, err)
	g.write("patches/"+name+".pkg", content)
	g.write("patches/"+name+".pkg.minisig", string(r.Sign(g.private)))
	g.write("patches/"+name+".yaml", fmt.Sprintf("name: %s\nprofile: fast-gateway\nversion: %s\nfile: %s.pkg\nsha256: \"%x\"\nsize: %d\nreleased: %s\n",
		name, version, name, sha256.Sum256([]byte(content)), len(content), released))
}

// serve loads the directory and makes the activities, as a worker does.
func (g *gateways) serve(driver devices.Driver) {
	g.t.Helper()
	secrets, err := credentials.Open(g.secrets)
	require.NoError(g.t, err)
	f, err := fleetdir.Load(g.dir)
	require.NoError(g.t, err)
	g.operator, err = fleet.New(fleet.Options{Fleet: f, Drivers: []devices.Driver{driver}, Credentials: secrets})
	require.NoError(g.t, err)
	page, err := pager.New("")
	require.NoError(g.t, err)
	g.acts = New(Dependencies{Operator: func() *fleet.Operator { return g.operator }, Commit: func() string { return "" }, Store: g.store, Pager: page,
		Closed: func(_ context.Context, o store.Owner) (bool, error) { return g.closed(o) }, Logger: zap.NewNop(), Registerer: prometheus.NewRegistry()})
}

// onboard takes a gateway into service in the registry.
func (g *gateways) onboard(id string) {
	g.t.Helper()
	own := store.Owner{WorkflowID: "onboard/" + id, RunID: "run"}
	lease, err := g.store.AcquireLease(g.t.Context(), id, own)
	require.NoError(g.t, err)
	_, err = g.store.Register(g.t.Context(), store.Registration{DeviceID: id, State: store.StateOnboarded, Owner: own, LeaseToken: lease.Token,
		Actor: "operator:kim", ActivityID: "1", Facts: store.Facts{DeclaredHash: "h", Site: "s1", Region: "north", Profile: "fast-gateway", Firmware: "edge-agent 3.2.1"}})
	require.NoError(g.t, err)
	require.NoError(g.t, g.store.ReleaseLease(g.t.Context(), id, lease.Token))
}

// plan makes the plan of a patch, as the workflow does.
func (g *gateways) plan(name string, strategy contract.RolloutStrategy) contract.RolloutPlan {
	g.t.Helper()
	env := g.env()
	begun, err := next[contract.BegunPlan](env, contract.ActivityBeginPlan, contract.PlanRolloutInput{Patch: name, Strategy: strategy, Actor: theActor(), Reason: "a test"})
	require.NoError(g.t, err)
	for _, b := range begun.Batches {
		_, err := next[contract.PlanBatchResult](env, contract.ActivityPlanDevices, contract.PlanBatchInput{PlanID: begun.PlanID, Batch: b.Number})
		require.NoError(g.t, err)
	}
	plan, err := next[contract.RolloutPlan](env, contract.ActivityFreezePlan, contract.FreezePlanInput{PlanID: begun.PlanID})
	require.NoError(g.t, err)
	return plan
}

// begin starts a plan, and returns the ID of its rollout.
func (g *gateways) begin(env *testsuite.TestActivityEnvironment, plan contract.RolloutPlan) string {
	g.t.Helper()
	begun, err := next[contract.BegunRollout](env, contract.ActivityBeginRollout, contract.BeginRolloutInput{PlanHash: plan.Hash, Actor: theActor(), Reason: "a test"})
	require.NoError(g.t, err)
	return begun.RolloutID
}

func (g *gateways) roll(env *testsuite.TestActivityEnvironment, rollout, id string) (contract.DeviceVerdict, error) {
	return next[contract.DeviceVerdict](env, contract.ActivityRollOutDevice, contract.RollOutDeviceInput{
		Scope: contract.Scope{DeviceID: id, Actor: theActor(), Reason: "a test"}, RolloutID: rollout, Deadline: time.Minute})
}

func (g *gateways) back(env *testsuite.TestActivityEnvironment, rollout, id string) (contract.DeviceVerdict, error) {
	return next[contract.DeviceVerdict](env, contract.ActivityRollBackDevice, contract.RollBackDeviceInput{
		Scope: contract.Scope{DeviceID: id, Actor: theActor(), Reason: "a test"}, RolloutID: rollout, Deadline: time.Minute})
}

// orders counts what clients told a gateway's installer.
func (g *gateways) orders(id, what string) (n int) {
	for _, w := range g.devices[id].Log() {
		if w.Name == what {
			n++
		}
	}
	return n
}

// takeUp takes up a changed directory, with the driver that there is.
func (g *gateways) takeUp(t *testing.T) {
	t.Helper()
	driver := sshhost.New(sshhost.Options{})
	t.Cleanup(driver.Close)
	g.serve(driver)
}

func (g *gateways) read(name string) string {
	g.t.Helper()
	data, err := os.ReadFile(filepath.Join(g.dir, name))
	require.NoError(g.t, err)
	return string(data)
}

// requireReason holds an error to its type.
func requireReason(t *testing.T, err error, reason string) {
	t.Helper()
	var failed *temporal.ApplicationError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, reason, failed.Type(), "%v", err)
}
