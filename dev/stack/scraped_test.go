package stack_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/api"
	prometheus "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"edgefleet/dev/simfleet"
	"edgefleet/dev/tools/toolchain"
	"edgefleet/devices/sim"
	"edgefleet/workflows/contract"
)

// From alert to repair through everything real, with 200 devices of all kinds
// that Prometheus discovers and scrapes: ten of them go dark at once, and each
// is healed once.
func TestTenOfTwoHundredScrapedDevicesGoDarkAndAreHealed(t *testing.T) {
	dir := t.TempDir()
	endFleet(t, dir)
	p := startDev(t, dir, "--devices", "200",
		"--prometheus", toolchain.ForTest(t, "prometheus"), "--alertmanager", toolchain.ForTest(t, "alertmanager"))
	p.store = openStore(t, dir)
	client, err := api.NewClient(api.Config{Address: "http://" + p.address("Prometheus")})
	require.NoError(t, err)
	t.Cleanup(client.(api.CloseIdler).CloseIdleConnections)
	server := prometheus.NewAPI(client)
	var listed []contract.DeviceStatus
	require.NoError(t, json.Unmarshal([]byte(p.does("device", "list", "-o", "json")), &listed))
	up := func() int { return query(t, server, `count(up{job="edge-fleet"} == 1)`) }
	until(t, patience, func() error {
		if n := up(); n != len(listed) {
			return fmt.Errorf("%w: %d of %d are up", errNotYet, n, len(listed))
		}
		return nil
	})

	var dark []string
	for i := 1; i <= 200; i += 20 {
		id := simfleet.DeviceID(i)
		dark = append(dark, id)
		_, err := p.fleet.Break(t.Context(), id, sim.FaultOffline, false)
		require.NoError(t, err)
	}
	until(t, 2*patience, func() error {
		// Some devices have drifted from the start, and are healed meanwhile.
		var incidents []contract.Incident
		if err := json.Unmarshal([]byte(p.does("incident", "list", "--status", contract.OutcomeResolved, "--limit", "1000", "-o", "json")), &incidents); err != nil {
			return err
		}
		healed := map[string]bool{}
		for _, i := range incidents {
			if i.AlertName == offlineAlert {
				healed[i.DeviceID] = true
			}
		}
		for _, id := range dark {
			if !healed[id] {
				return fmt.Errorf("%w: %s is not healed, %d are", errNotYet, id, len(healed))
			}
		}
		return nil
	})
	for _, id := range dark {
		require.Equal(t, 1, p.pulses(id), "%s had its power cycled once", id)
		require.Equal(t, 1, p.entries(id, contract.ActionTriggerNetworkReset, "intent"), id)
	}
	until(t, patience, func() error {
		alerts := query(t, server, `count(ALERTS{alertname="EdgeDeviceOffline"}) or vector(0)`)
		if n := up(); n != len(listed) || alerts != 0 {
			return fmt.Errorf("%w: %d of %d are up, %d alerts stand", errNotYet, n, len(listed), alerts)
		}
		return nil
	})
	p.intact()
}

// query is the one number that Prometheus answers now, or 0 where it has none.
func query(t *testing.T, server prometheus.API, text string) int {
	t.Helper()
	value, _, _, err := server.Query(t.Context(), text, time.Now())
	require.NoError(t, err)
	if v, ok := value.(model.Vector); ok && len(v) == 1 {
		return int(v[0].Value)
	}
	return 0
}
