package stack_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"edgefleet/alertbridge/bridge"
	"edgefleet/workflows/contract"
)

// alert is one alert of a message from Alertmanager.
type alert struct {
	Status      string            `json:"status"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	StartsAt    time.Time         `json:"startsAt"`
	EndsAt      time.Time         `json:"endsAt"`
	Fingerprint string            `json:"fingerprint"`
}

const offlineAlert = "EdgeDeviceOffline"

// firing is an alert that has just begun to fire for a device of the first
// outlet, with the labels that the service discovery gives it.
func firing(name, device string) alert {
	return alert{
		Status: "firing",
		Labels: map[string]string{
			"alertname": name, "device_id": device, "site": "substation-1", "region": "us-west-2", "job": "edge-fleet",
		},
		Annotations: map[string]string{"summary": "Edge device " + device + " offline"},
		StartsAt:    time.Now().UTC().Truncate(time.Millisecond),
		Fingerprint: "00000000000" + device[len("edge-"):] + "ab",
	}
}

func (a alert) resolved() alert {
	a.Status, a.EndsAt = "resolved", time.Now().UTC()
	return a
}

func (a alert) workflowID() string {
	return contract.Episode{
		DeviceID: a.Labels["device_id"], AlertName: a.Labels["alertname"], Fingerprint: a.Fingerprint, StartsAt: a.StartsAt,
	}.WorkflowID()
}

// post sends a message as Alertmanager does and returns the bridge's answer.
func (s *site) post(alerts ...alert) (int, bridge.Summary) {
	s.t.Helper()
	code, summary, err := postMessage(s.bridgeURL, alerts...)
	require.NoError(s.t, err)
	return code, summary
}

func postMessage(bridgeURL string, alerts ...alert) (code int, summary bridge.Summary, err error) {
	body, err := json.Marshal(map[string]any{
		"version": "4", "receiver": "edgefleet", "status": "firing", "groupKey": `{}:{alertname="x"}`, "alerts": alerts,
	})
	if err != nil {
		return 0, summary, err
	}
	response, err := http.Post(bridgeURL+bridge.PathAlertmanager, "application/json", bytes.NewReader(body))
	if err != nil {
		return 0, summary, err
	}
	defer response.Body.Close()
	return response.StatusCode, summary, json.NewDecoder(response.Body).Decode(&summary)
}

// metric is the sum of the series of a metric that have all the labels.
func (s *site) metric(name string, labels ...string) float64 {
	s.t.Helper()
	response, err := http.Get(s.bridgeURL + "/metrics")
	require.NoError(s.t, err)
	defer response.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	require.NoError(s.t, err)
	family, ok := families[name]
	require.True(s.t, ok, "the bridge has no metric %s", name)
	sum := 0.0
next:
	for _, m := range family.GetMetric() {
		have := map[string]string{}
		for _, pair := range m.GetLabel() {
			have[pair.GetName()] = pair.GetValue()
		}
		for i := 0; i < len(labels); i += 2 {
			if have[labels[i]] != labels[i+1] {
				continue next
			}
		}
		sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	return sum
}
