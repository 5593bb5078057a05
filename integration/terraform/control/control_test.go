package control_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.uber.org/goleak"

	"edgefleet/devices/fleetdir"
	"edgefleet/integration/terraform/control"
	"edgefleet/integration/terraform/declare"
	"edgefleet/workflows/contract"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// plant plays Temporal and the workers behind it: a registry, and workflows
// whose devices end when the test says so.
type plant struct {
	mu       sync.Mutex
	revision string
	registry map[string]contract.RegisteredDevice
	runs     map[string]*run
	started  []string
	asked    int
	// fails names devices that cannot be onboarded.
	fails map[string]bool
	// holds names devices whose turn goes on until released is closed.
	holds    map[string]bool
	released chan struct{}
	// most is the most devices in work at once, by site.
	busy, most map[string]int
}

type run struct {
	client.WorkflowRun
	id       string
	done     chan struct{}
	mu       sync.Mutex
	progress contract.OnboardProgress
	result   any
	err      error
}

func newPlant() *plant {
	return &plant{registry: map[string]contract.RegisteredDevice{}, runs: map[string]*run{}, fails: map[string]bool{}, holds: map[string]bool{},
		released: make(chan struct{}), busy: map[string]int{}, most: map[string]int{}}
}

func (p *plant) ExecuteWorkflow(_ context.Context, o client.StartWorkflowOptions, workflow any, args ...any) (client.WorkflowRun, error) {
	r := &run{id: o.ID, done: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.runs[o.ID] = r
	switch in := args[0].(type) {
	case contract.InspectInput:
		p.asked++
		page := contract.RegistryPage{Revision: p.revision}
		for _, d := range p.registry {
			page.Devices = append(page.Devices, d)
		}
		r.result = contract.InspectResult{Registry: &page}
		close(r.done)
	case contract.OnboardInput:
		p.started = append(p.started, workflow.(string))
		go p.onboard(r, in.Selection.IDs)
	default:
		return nil, errors.New("no such workflow")
	}
	return r, nil
}

// onboard works on all devices of a run at once. Their site is the first letter
// of their ID.
func (p *plant) onboard(r *run, ids []string) {
	r.mu.Lock()
	r.progress = contract.OnboardProgress{Total: len(ids), Running: append([]string{}, ids...)}
	r.mu.Unlock()
	var work sync.WaitGroup
	for _, id := range ids {
		p.mu.Lock()
		site := id[:1]
		p.busy[site]++
		p.most[site] = max(p.most[site], p.busy[site])
		p.mu.Unlock()
		work.Go(func() {
			if p.holds[id] {
				<-p.released
			}
			p.mu.Lock()
			p.busy[site]--
			now := time.Now()
			d := contract.RegisteredDevice{DeviceID: id, State: contract.RegistryOnboarded, OnboardedAt: &now}
			if p.fails[id] {
				d.State, d.OnboardedAt = contract.RegistryFailed, nil
			}
			p.registry[id] = d
			p.mu.Unlock()
			r.mu.Lock()
			defer r.mu.Unlock()
			r.progress.Running = without(r.progress.Running, id)
			if p.fails[id] {
				r.progress.Failed++
				r.progress.Failures = append(r.progress.Failures, contract.OnboardFailure{DeviceID: id, Phase: contract.PhaseIdentify, Reason: contract.ErrRejected, Detail: "it is another device"})
				return
			}
			r.progress.Done++
		})
	}
	work.Wait()
	close(r.done)
}

func without(list []string, id string) []string {
	out := []string{}
	for _, s := range list {
		if s != id {
			out = append(out, s)
		}
	}
	return out
}

func (r *run) GetID() string { return r.id }

func (r *run) Get(ctx context.Context, into any) error {
	select {
	case <-r.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	switch v := into.(type) {
	case *contract.InspectResult:
		*v = r.result.(contract.InspectResult)
	case *contract.OnboardProgress:
		r.mu.Lock()
		defer r.mu.Unlock()
		*v = r.progress
	}
	return r.err
}

type encoded struct {
	converter.EncodedValue
	p contract.OnboardProgress
}

func (e encoded) Get(into any) error {
	*into.(*contract.OnboardProgress) = e.p
	return nil
}

func (p *plant) QueryWorkflow(_ context.Context, id, _, _ string, _ ...any) (converter.EncodedValue, error) {
	p.mu.Lock()
	r := p.runs[id]
	p.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	return encoded{p: r.progress}, nil
}

func (p *plant) run(t testing.TB, root string) {
	t.Helper()
	loaded, err := fleetdir.Load(root)
	require.NoError(t, err)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.revision = loaded.Revision()
}

func newSite(t testing.TB, p *plant, change func(*control.Options)) *control.Site {
	t.Helper()
	dir, err := declare.Open(t.TempDir(), declare.DefaultOwner)
	require.NoError(t, err)
	o := control.Options{Temporal: p, Dir: dir, User: "ann", Gather: 20 * time.Millisecond, Poll: 5 * time.Millisecond, TakeUp: 5 * time.Second}
	if change != nil {
		change(&o)
	}
	s := control.New(o)
	t.Cleanup(s.Close)
	return s
}

func fleet() declare.Change {
	return declare.Change{After: declare.Fleet{Name: "f", Regions: map[string]declare.Region{"east": {}}, Security: declare.Security{AllowedNetworks: []string{"10.0.0.0/8"}}}}
}

func device(id, address string) declare.Change {
	return declare.Change{After: declare.Device{ID: id, Site: "s", Region: "east", Profile: "feeder-rtu", Address: address}}
}

func refs(ids ...string) []contract.DeviceRef {
	out := make([]contract.DeviceRef, len(ids))
	for i, id := range ids {
		out[i] = contract.DeviceRef{ID: id, Site: id[:1], Region: "east"}
	}
	return out
}

func TestBoundsHoldOverAllCallers(t *testing.T) {
	p := newPlant()
	s := newSite(t, p, func(o *control.Options) { o.Bounds.PerSite = 2 })
	var work sync.WaitGroup
	for _, id := range []string{"a1", "a2", "a3", "a4", "a5", "b1", "b2", "b3"} {
		work.Go(func() {
			out := s.Onboard(t.Context(), refs(id), false)
			if out[id].Err != nil || out[id].Registered == nil {
				t.Errorf("%s: %+v", id, out[id])
			}
		})
	}
	work.Wait()
	require.Equal(t, map[string]int{"a": 2, "b": 2}, p.most)
	require.Less(t, len(p.started), 8, "devices of one moment share a workflow")
}

func TestADarkDeviceKeepsNobodyWaiting(t *testing.T) {
	p := newPlant()
	p.holds["a1"] = true
	s := newSite(t, p, nil)
	dark := make(chan control.Outcome, 1)
	go func() { dark <- s.Onboard(t.Context(), refs("a1"), false)["a1"] }()
	require.NoError(t, s.Onboard(t.Context(), refs("a2", "a3"), false)["a2"].Err, "of the same workflow")
	require.NoError(t, s.Onboard(t.Context(), refs("a4"), false)["a4"].Err, "of a later one")
	close(p.released)
	require.NoError(t, (<-dark).Err)
}

func TestAFailureIsThatDevicesAlone(t *testing.T) {
	p := newPlant()
	p.fails["a2"] = true
	out := newSite(t, p, nil).Onboard(t.Context(), refs("a1", "a2", "a3"), false)
	require.NoError(t, out["a1"].Err)
	require.EqualError(t, out["a2"].Err, `phase "identify", rejected: it is another device`)
	require.Equal(t, contract.RegistryFailed, out["a2"].Registered.State)
	require.NoError(t, out["a3"].Err)
}

func TestWhoLeavesIsToldWhatGoesOn(t *testing.T) {
	p := newPlant()
	p.holds["a1"] = true
	s := newSite(t, p, func(o *control.Options) { o.Bounds.PerSite = 1 })
	ctx, leave := context.WithCancel(t.Context())
	outs := make(chan map[string]control.Outcome, 1)
	go func() { outs <- s.Onboard(ctx, refs("a1", "a2"), false) }()
	require.Eventually(t, func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.busy["a"] == 1 }, 5*time.Second, time.Millisecond)
	leave()
	out := <-outs
	require.ErrorIs(t, out["a1"].Err, context.Canceled)
	require.Contains(t, out["a1"].Running, "onboard/")
	require.Empty(t, out["a2"].Running, "its turn had not come, and does not")
	close(p.released)
}

func TestSettleWaitsForTheWorkers(t *testing.T) {
	p := newPlant()
	s := newSite(t, p, nil)
	for _, c := range []declare.Change{fleet(), device("edge-001", "10.0.0.1:502")} {
		_, err := s.Write(t.Context(), c)
		require.NoError(t, err)
	}
	type settled struct {
		fleet *fleetdir.Fleet
		err   error
	}
	done := make(chan settled, 1)
	go func() {
		fleet, err := s.Settle(t.Context())
		done <- settled{fleet, err}
	}()
	require.Eventually(t, func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.asked > 2 }, 5*time.Second, time.Millisecond)
	require.Empty(t, done)
	p.run(t, s.Dir().Root())
	got := <-done
	declared, err := got.fleet, got.err
	require.NoError(t, err)
	require.Len(t, declared.Inventory.Devices, 1)
	require.Equal(t, p.revision, declared.Revision())

	t.Run("and says which revision they run when they do not", func(t *testing.T) {
		s := newSite(t, p, func(o *control.Options) { o.TakeUp = 2 * time.Second })
		_, err := s.Write(t.Context(), fleet())
		require.NoError(t, err)
		_, err = s.Settle(t.Context())
		require.ErrorContains(t, err, "they run revision "+p.revision[:12])
	})
}

func TestFilesOfOneMomentArePublishedOnce(t *testing.T) {
	p := newPlant()
	s := newSite(t, p, func(o *control.Options) {
		o.Publish = []string{"sh", "-c", "ls devices >> published; echo . >> published"}
	})
	_, err := s.Write(t.Context(), fleet())
	require.NoError(t, err)
	var work sync.WaitGroup
	for _, c := range []declare.Change{device("edge-001", "10.0.0.1:502"), device("edge-002", "10.0.0.2:502")} {
		work.Go(func() {
			if _, err := s.Write(t.Context(), c); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
	text, err := os.ReadFile(filepath.Join(s.Dir().Root(), "published"))
	require.NoError(t, err)
	require.Equal(t, ".\nterraform-edge-001.yaml\nterraform-edge-002.yaml\n.\n", string(text))

	t.Run("and a command that fails is told of", func(t *testing.T) {
		s := newSite(t, p, func(o *control.Options) { o.Publish = []string{"sh", "-c", "echo rejected by the remote; exit 1"} })
		_, err := s.Write(t.Context(), fleet())
		require.ErrorContains(t, err, "rejected by the remote")
	})
}
