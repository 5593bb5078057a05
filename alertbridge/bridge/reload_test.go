package bridge_test

import (
	"net/http"
	"os"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"edgefleet/alertbridge/bridge"
)

func TestAReloadIsAllOrNothing(t *testing.T) {
	file := writeFile(t, "routes.yaml", "routes: [{matchers: [alertname=EdgeDeviceOffline], runbook: old.py, function: f}]\n")
	f, r := &fakeTemporal{}, prometheus.NewRegistry()
	b := run(t, bridge.Options{Temporal: f, Registry: r, RoutesFile: file})
	c := client(t)
	runbook := func(device string) string {
		require.Equal(t, http.StatusOK, post(t, c, b, message(t, offline(device))).code)
		return f.starts[len(f.starts)-1].input.Runbook.Path
	}
	require.Equal(t, "old.py", runbook("a"))

	require.NoError(t, os.WriteFile(file, []byte("routes: [{matchers: [alertname=EdgeDeviceOffline], runbook: new.py, function: f}, {}]\n"), 0o600))
	require.ErrorContains(t, b.Reload(), "no matchers")
	require.Equal(t, "old.py", runbook("bb"))
	require.EqualValues(t, 1, value(t, r, "edgefleet_bridge_routes_reloads_total", map[string]string{"result": "failed"}))
	require.EqualValues(t, 0, value(t, r, "edgefleet_bridge_routes_last_reload_successful", nil))

	require.NoError(t, os.WriteFile(file, []byte("routes: [{matchers: [alertname=EdgeDeviceOffline], runbook: new.py, function: f}]\n"), 0o600))
	require.NoError(t, b.Reload())
	require.Equal(t, "new.py", runbook("ccc"))
	require.EqualValues(t, 1, value(t, r, "edgefleet_bridge_routes_reloads_total", map[string]string{"result": "success"}))
	require.EqualValues(t, 1, value(t, r, "edgefleet_bridge_routes_last_reload_successful", nil))
}
