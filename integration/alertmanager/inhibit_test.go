//go:build unix

package alertmanager_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/go-openapi/strfmt"
	"github.com/prometheus/alertmanager/api/v2/client"
	"github.com/prometheus/alertmanager/api/v2/client/alert"
	"github.com/prometheus/alertmanager/api/v2/models"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	openapi "github.com/go-openapi/runtime/client"

	"edgefleet/dev/monitor"
	"edgefleet/dev/tools/toolchain"
)

func TestMain(m *testing.M) {
	monitor.Supervise()
	goleak.VerifyTestMain(m)
}

// TestAlertsOfACauseHoldBackThoseOfItsDevices asks a real Alertmanager with the
// shipped configuration which alerts it tells of.
func TestAlertsOfACauseHoldBackThoseOfItsDevices(t *testing.T) {
	server, err := monitor.StartAlertmanager(t.Context(), monitor.AlertmanagerOptions{
		Common:    monitor.Common{DataDir: t.TempDir(), Program: toolchain.ForTest(t, "alertmanager"), Addr: "127.0.0.1:0"},
		BridgeURL: "http://127.0.0.1:1/api/v1/alertmanager",
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, server.Stop()) }()
	defer http.DefaultClient.CloseIdleConnections()
	api := client.New(openapi.New(server.Addr(), "/api/v2", []string{"http"}), strfmt.Default)

	raise := func(labels ...models.LabelSet) {
		t.Helper()
		var alerts models.PostableAlerts
		for _, l := range labels {
			alerts = append(alerts, &models.PostableAlert{Alert: models.Alert{Labels: l}, EndsAt: strfmt.DateTime(time.Now().Add(time.Hour))})
		}
		_, err := api.Alert.PostAlerts(alert.NewPostAlertsParamsWithContext(t.Context()).WithAlerts(alerts))
		require.NoError(t, err)
	}
	device := func(name, id, site, worker string) models.LabelSet {
		return models.LabelSet{"alertname": name, "device_id": id, "site": site, "region": "us-east-1", "worker": worker}
	}
	raise(
		device("EdgeDeviceOffline", "behind-the-dark-site", "s1", "w1"),
		device("EdgeConfigDrift", "drifted-at-the-dark-site", "s1", "w1"),
		device("EdgeDeviceOffline", "at-another-site", "s2", "w1"),
		device("EdgeDeviceOffline", "behind-the-dead-worker", "s3", "w2"),
		device("EdgeConfigDrift", "drifted-behind-the-dead-worker", "s3", "w2"),
		device("EdgeDeviceOffline", "behind-the-blind-worker", "s4", "w3"),
		models.LabelSet{"alertname": "EdgeSiteOffline", "site": "s1", "region": "us-east-1"},
		models.LabelSet{"alertname": "EdgeWorkerDown", "worker": "w2"},
		models.LabelSet{"alertname": "EdgeWorkerBlind", "worker": "w3"},
	)
	want := map[string]string{
		"behind-the-dark-site": "suppressed", "drifted-at-the-dark-site": "active", "at-another-site": "active",
		"behind-the-dead-worker": "suppressed", "drifted-behind-the-dead-worker": "suppressed", "behind-the-blind-worker": "suppressed",
	}
	got := map[string]string{}
	require.Eventually(t, func() bool {
		clear(got)
		answer, err := api.Alert.GetAlerts(alert.NewGetAlertsParamsWithContext(t.Context()))
		if err != nil {
			return false
		}
		for _, a := range answer.Payload {
			if id := a.Labels["device_id"]; id != "" {
				got[id] = *a.Status.State
			}
		}
		for id, state := range want {
			if got[id] != state {
				return false
			}
		}
		return true
	}, 20*time.Second, 50*time.Millisecond, "%v", got)
}
