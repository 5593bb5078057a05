package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.yaml.in/yaml/v3"

	"edgefleet/dev/engine"
	"edgefleet/dev/simfleet"
	"edgefleet/internal/store"
	"edgefleet/internal/temporalx"
	"edgefleet/worker/service"
)

// plant is a fleet of simulated devices, an engine, and a fleet directory that
// has nothing in it yet.
type plant struct {
	t        testing.TB
	dir      string
	fleetDir string
	engine   *engine.Engine
	fleet    *simfleet.Client
	feeders  []simfleet.Device
	switches []simfleet.Device
}

func newPlant(t testing.TB, devices int) *plant {
	t.Helper()
	p := &plant{t: t, dir: t.TempDir()}
	p.fleetDir = filepath.Join(p.dir, "fleet")
	require.NoError(t, os.Mkdir(p.fleetDir, 0o755))

	state := filepath.Join(p.dir, "simfleet.json")
	simulated, err := simfleet.Start(simfleet.Options{Devices: devices, StateFile: state, Logger: zap.NewNop()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, simulated.Stop()) })
	p.fleet, err = simfleet.Find(t.Context(), state)
	require.NoError(t, err)
	all, err := p.fleet.Devices(t.Context())
	require.NoError(t, err)
	p.feeders, p.switches = all[:devices], all[devices:]

	p.engine, err = engine.New(engine.Options{DataDir: filepath.Join(p.dir, "temporal"), FrontendAddr: "127.0.0.1:0", NoUI: true})
	require.NoError(t, err)
	require.NoError(t, p.engine.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, p.engine.Stop()) })
	return p
}

// startWorker runs a worker that follows the fleet directory. It needs a fleet
// file to start with.
func (p *plant) startWorker() {
	p.t.Helper()
	w, err := service.New(service.Options{
		FleetDir: p.fleetDir, FleetInterval: 150 * time.Millisecond, StoreURL: p.storeURL(), AdminAddr: "127.0.0.1:0",
		Temporal: temporalx.Options{Address: p.engine.Addr(), Namespace: p.engine.Namespace()},
	})
	require.NoError(p.t, err)
	require.NoError(p.t, w.Start(p.t.Context()))
	p.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		require.NoError(p.t, w.Stop(ctx))
	})
}

func (p *plant) storeURL() string { return "sqlite:" + filepath.Join(p.dir, "store.db") }

// env is how Terraform is told of the plant.
func (p *plant) env() []string {
	return []string{"EDGEFLEET_FLEET=" + p.fleetDir, "TEMPORAL_ADDRESS=" + p.engine.Addr(), "TEMPORAL_NAMESPACE=" + p.engine.Namespace(), "EDGEFLEET_USER=ann"}
}

// declaredDevice is a device in a file of a fleet directory.
type declaredDevice struct {
	ID           string            `yaml:"id"`
	Site         string            `yaml:"site"`
	Region       string            `yaml:"region"`
	Profile      string            `yaml:"profile"`
	Address      string            `yaml:"address"`
	NetworkReset map[string]string `yaml:"network_reset,omitempty"`
	Labels       map[string]string `yaml:"labels,omitempty"`
	Exception    string            `yaml:"plaintext_exception"`
}

// list declares the first feeders, and the switches that they hang on.
func (p *plant) list(feeders int) []declaredDevice {
	var out []declaredDevice
	used := map[string]bool{}
	for _, d := range p.feeders[:feeders] {
		used[d.Outlet] = true
		out = append(out, declaredDevice{ID: d.ID, Site: "site-of-" + d.Outlet, Region: "us-east-1", Profile: d.Profile, Address: d.Address,
			NetworkReset: map[string]string{"device": d.Outlet, "action": fmt.Sprintf("cycle-port-%d", d.Port)}, Labels: map[string]string{"feeder": "F-" + d.ID}, Exception: "simulated on loopback"})
	}
	for _, d := range p.switches {
		if used[d.ID] {
			out = append(out, declaredDevice{ID: d.ID, Site: "site-of-" + d.ID, Region: "us-east-1", Profile: d.Profile, Address: d.Address, Exception: "simulated on loopback"})
		}
	}
	return out
}

func devicesYAML(t testing.TB, list []declaredDevice) string {
	t.Helper()
	data, err := yaml.Marshal(map[string]any{"devices": list})
	require.NoError(t, err)
	return string(data)
}

// states counts the devices of the registry by their state.
func (p *plant) states() map[string]int {
	p.t.Helper()
	s, err := store.Open(p.t.Context(), p.storeURL(), store.Options{})
	require.NoError(p.t, err)
	defer func() { require.NoError(p.t, s.Close()) }()
	list, err := s.ListRegistered(p.t.Context(), store.RegisteredQuery{Limit: 10000})
	require.NoError(p.t, err)
	out := map[string]int{}
	for _, r := range list {
		out[r.State]++
	}
	return out
}

// written counts the words that clients wrote to a device.
func (p *plant) written(id string) int {
	p.t.Helper()
	w, err := p.fleet.Writes(p.t.Context(), id)
	require.NoError(p.t, err)
	n := 0
	for _, c := range w.Counters {
		n += int(c.Count)
	}
	return n
}

// files lists the files of the fleet directory by their names.
func (p *plant) files() []string {
	p.t.Helper()
	var out []string
	require.NoError(p.t, filepath.WalkDir(p.fleetDir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			name, relErr := filepath.Rel(p.fleetDir, path)
			out, err = append(out, filepath.ToSlash(name)), errors.Join(err, relErr)
		}
		return err
	}))
	return out
}

// edit replaces text of a file of the fleet directory, as a person would.
func (p *plant) edit(file, from, to string) {
	p.t.Helper()
	full := filepath.Join(p.fleetDir, filepath.FromSlash(file))
	data, err := os.ReadFile(full)
	require.NoError(p.t, err)
	require.Contains(p.t, string(data), from)
	require.NoError(p.t, os.WriteFile(full, bytes.Replace(data, []byte(from), []byte(to), 1), 0o644))
}
