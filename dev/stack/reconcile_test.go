package stack_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"go.uber.org/zap"

	"edgefleet/alertbridge/bridge"
	"edgefleet/dev/monitor"
	"edgefleet/dev/tools/toolchain"
	"edgefleet/internal/pager"
	"edgefleet/internal/temporalx"
	"edgefleet/workflows/contract"
)

// intake is Alertmanager, the bridge and Temporal, each real and each to be
// stopped and started by itself. No worker runs: what is started stands in
// Temporal and waits.
type intake struct {
	pieces
	// toBridge and toAlerts stay the same while what is behind them comes and
	// goes.
	toBridge, toAlerts *door
	program            string
	bridge             *bridge.Bridge
	registry           *prometheus.Registry
}

func startIntake(t *testing.T) *intake {
	t.Helper()
	in := &intake{
		pieces:   pieces{site{t: t, dir: t.TempDir()}, &parts{life: t, door: newDoor(t)}},
		toBridge: newDoor(t), toAlerts: newDoor(t), program: toolchain.ForTest(t, "alertmanager"),
	}
	in.startEngine()
	conn, err := temporalx.NewLazy(in.connection())
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	in.temporal = conn.Client
	return in
}

func (d *door) url() string { return "http://" + d.listener.Addr().String() }

func (in *intake) startAlertmanager(maxAlerts int) {
	in.t.Helper()
	server, err := monitor.StartAlertmanager(in.t.Context(), monitor.AlertmanagerOptions{
		Common:    monitor.Common{DataDir: in.dir, Program: in.program, Addr: anyPort},
		BridgeURL: in.toBridge.url() + bridge.PathAlertmanager,
		GroupWait: 100 * time.Millisecond, GroupInterval: time.Second, MaxAlerts: maxAlerts,
	})
	require.NoError(in.t, err)
	in.t.Cleanup(func() { require.NoError(in.t, server.Stop()) })
	in.alerts = server
	in.toAlerts.lead(server.Addr())
}

func (in *intake) startBridge() {
	in.t.Helper()
	conn, err := temporalx.NewLazy(in.connection())
	require.NoError(in.t, err)
	in.t.Cleanup(conn.Close)
	in.registry = prometheus.NewRegistry()
	in.bridge, err = bridge.New(bridge.Options{Temporal: bridge.FromConn(conn), Logger: zap.NewNop(), Listen: anyPort,
		Registry: in.registry, Alertmanagers: []string{in.toAlerts.url()}, ReconcileEvery: time.Second})
	require.NoError(in.t, err)
	require.NoError(in.t, in.bridge.Start(in.t.Context()))
	b := in.bridge
	in.t.Cleanup(func() { require.NoError(in.t, b.Stop(context.Background())) })
	in.toBridge.lead(b.Addr())
}

func (in *intake) stopBridge() {
	in.t.Helper()
	in.toBridge.lead("")
	require.NoError(in.t, in.bridge.Stop(context.Background()))
}

// fires posts alerts over and over, as Prometheus does, until the test ends.
// That Alertmanager is away is nothing new to Prometheus.
func (in *intake) fires(alerts []pager.Alert) {
	in.t.Helper()
	to, err := pager.New(in.toAlerts.url())
	require.NoError(in.t, err)
	ctx, stop := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		ticker := time.NewTicker(200 * time.Millisecond)
		defer ticker.Stop()
		for ctx.Err() == nil {
			for _, a := range alerts {
				a.EndsAt = time.Now().Add(time.Minute)
				_ = to.Post(ctx, a)
			}
			select {
			case <-ctx.Done():
			case <-ticker.C:
			}
		}
	})
	in.t.Cleanup(func() { stop(); work.Wait() })
}

func dark(site string, devices int) []pager.Alert {
	began := time.Now().Add(-5 * time.Minute).Truncate(time.Second)
	alerts := make([]pager.Alert, devices)
	for i := range alerts {
		alerts[i] = pager.Alert{StartsAt: began, Labels: map[string]string{"alertname": offlineAlert, "job": "edge-fleet",
			"device_id": fmt.Sprintf("%s-%03d", site, i+1), "site": site, "region": "us-west-2", "severity": "critical"}}
	}
	return alerts
}

// startedOnce counts the remediations of a site's devices, and requires that
// none was started twice.
func (in *intake) startedOnce(site string) int {
	in.t.Helper()
	listed, err := in.temporal.ListWorkflow(in.t.Context(), &workflowservice.ListWorkflowExecutionsRequest{
		Query: fmt.Sprintf("WorkflowType = '%s'", contract.WorkflowRemediate), PageSize: 1000,
	})
	require.NoError(in.t, err)
	devices := map[string]int{}
	for _, e := range listed.GetExecutions() {
		if device := strings.Split(e.GetExecution().GetWorkflowId(), "/")[1]; strings.HasPrefix(device, site+"-") {
			devices[device]++
			require.Equal(in.t, 1, devices[device], device)
		}
	}
	return len(devices)
}

func (in *intake) metric(name string) float64 {
	in.t.Helper()
	families, err := in.registry.Gather()
	require.NoError(in.t, err)
	sum := 0.0
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func TestNoAlertIsLostAndNoneIsTakenInTwice(t *testing.T) {
	in := startIntake(t)

	t.Run("that fires while the bridge is stopped and Alertmanager is restarted", func(t *testing.T) {
		in.startAlertmanager(0)
		in.startBridge()
		in.fires(dark("before", 3))
		until(t, patience, func() error {
			if n := in.startedOnce("before"); n < 3 {
				return fmt.Errorf("%d of 3", n)
			}
			return nil
		})
		in.stopBridge()
		in.fires(dark("meanwhile", 20))
		until(t, patience, func() error {
			all, err := in.standing(offlineAlert, "meanwhile-020")
			if err == nil && len(all) == 0 {
				err = errNotYet
			}
			return err
		})
		in.toAlerts.lead("")
		require.NoError(t, in.alerts.Stop())
		require.Zero(t, in.startedOnce("meanwhile"))
		in.startAlertmanager(0)
		in.startBridge()
		until(t, patience, func() error {
			if n := in.startedOnce("meanwhile"); n < 20 {
				return fmt.Errorf("%d of 20", n)
			}
			return nil
		})
		// Whatever comes late comes within some of these.
		rounds := in.metric("edgefleet_bridge_reconciliations_total")
		until(t, patience, func() error {
			if in.metric("edgefleet_bridge_reconciliations_total") < rounds+5 {
				return errNotYet
			}
			return nil
		})
		require.Equal(t, 20, in.startedOnce("meanwhile"))
		require.Equal(t, 3, in.startedOnce("before"))
		require.EqualValues(t, 20, in.metric("edgefleet_bridge_starts_total"), "Temporal told the others from starts")
	})

	t.Run("that a message leaves out", func(t *testing.T) {
		in.toAlerts.lead("")
		require.NoError(t, in.alerts.Stop())
		in.startAlertmanager(5)
		in.fires(dark("large", 12))
		until(t, patience, func() error {
			if n := in.startedOnce("large"); n < 12 {
				return fmt.Errorf("%d of 12", n)
			}
			return nil
		})
		// A start is counted after Temporal has it.
		for _, counter := range []string{"edgefleet_bridge_truncated_alerts_total", "edgefleet_bridge_reconciled_starts_total"} {
			until(t, patience, func() error {
				if in.metric(counter) == 0 {
					return fmt.Errorf("%w: %s is 0", errNotYet, counter)
				}
				return nil
			})
		}
	})

	t.Run("whose message is turned away on its way", func(t *testing.T) {
		in.toBridge.lead("")
		in.fires(dark("behind", 4))
		until(t, patience, func() error {
			if n := in.startedOnce("behind"); n < 4 {
				return fmt.Errorf("%d of 4", n)
			}
			return nil
		})
	})
}
