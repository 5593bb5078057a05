package service

import (
	"context"
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/internal/store"
)

// discovered are the targets of /sd by device.
func discovered(t *testing.T, w *Worker, path string) map[string]targetGroup {
	t.Helper()
	code, body := fetch(t, w, path)
	require.Equal(t, http.StatusOK, code, body)
	var groups []targetGroup
	require.NoError(t, json.Unmarshal([]byte(body), &groups))
	out := map[string]targetGroup{}
	for _, g := range groups {
		out[g.Labels["device_id"]] = g
	}
	return out
}

// enter brings a device into a state of the registry.
func enter(t *testing.T, s *store.Store, device, state string) {
	t.Helper()
	ctx, owner := context.Background(), store.Owner{WorkflowID: "onboard/" + device, RunID: state}
	lease, err := s.AcquireLease(ctx, device, owner)
	require.NoError(t, err)
	if state == store.StateDecommissioned {
		_, err = s.Decommission(ctx, store.Decommissioning{DeviceID: device, Owner: owner, LeaseToken: lease.Token, Actor: "ann", ActivityID: "1", Reason: "gone"})
	} else {
		_, err = s.Register(ctx, store.Registration{DeviceID: device, State: state, Facts: store.Facts{DeclaredHash: "h"},
			Owner: owner, LeaseToken: lease.Token, Actor: "ann", ActivityID: "1"})
	}
	require.NoError(t, err)
	require.NoError(t, s.ReleaseLease(ctx, device, lease.Token))
}

func TestServiceDiscoveryListsTheDevicesThatAreInService(t *testing.T) {
	_, temporal := newFrontend(t)
	o := options(t, temporal)
	o.Watch = ""
	w := started(t, o)
	require.Empty(t, discovered(t, w, "/sd"), "a device that is only declared is not dark")
	enter(t, w.store, "edge-001", store.StateOnboarding)
	require.Empty(t, discovered(t, w, "/sd"), "nor is one that is being onboarded for the first time")
	enter(t, w.store, "edge-001", store.StateOnboarded)
	require.Contains(t, discovered(t, w, "/sd"), "edge-001")
	enter(t, w.store, "edge-001", store.StateFailed)
	require.Contains(t, discovered(t, w, "/sd"), "edge-001", "one that is onboarded again stays in service")
	enter(t, w.store, "edge-001", store.StateDecommissioned)
	require.Empty(t, discovered(t, w, "/sd"))

	require.NoError(t, w.store.Close())
	code, body := fetch(t, w, "/sd")
	require.Equal(t, http.StatusServiceUnavailable, code, "Prometheus keeps the targets that it has")
	require.Contains(t, body, "which devices are in service")
}

func TestADeviceWithAnExporterIsDiscoveredAsItself(t *testing.T) {
	_, temporal := newFrontend(t)
	o := options(t, temporal)
	file := filepath.Join(o.FleetDir, "fleet.yaml")
	write(t, file, strings.Replace(read(t, file), `address: "127.0.0.1:2"`, `address: "127.0.0.1:2", labels: {exporter: "edge-001.internal:9100", feeder: F12}`, 1), 0o600)
	w := started(t, o)
	all := discovered(t, w, "/sd")
	require.Len(t, all, 2)
	require.Equal(t, []string{"edge-001.internal:9100"}, all["edge-001"].Targets)
	require.Equal(t, "edge-001.internal:9100", all["edge-001"].Labels["__meta_edgefleet_exporter"])
	require.Equal(t, "F12", all["edge-001"].Labels["__meta_edgefleet_label_feeder"])
	require.Equal(t, []string{"127.0.0.1:3"}, all["edge-002"].Targets)
	require.NotContains(t, all["edge-002"].Labels, "__meta_edgefleet_exporter")

	probes := discovered(t, w, "/sd?exporters=probe")
	require.Len(t, probes, 1, "whose uptime and drift the worker looks at beside the exporter")
	require.Equal(t, []string{"127.0.0.1:2"}, probes["edge-001"].Targets)
	require.NotContains(t, probes["edge-001"].Labels, "__meta_edgefleet_exporter")
}
