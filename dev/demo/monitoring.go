package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"edgefleet/workflows/contract"
)

// get reads a JSON answer of a monitoring program.
func get(ctx context.Context, address string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s: %.200s", address, resp.Status, body)
	}
	return json.Unmarshal(body, into)
}

// countUp asks Prometheus how many devices are up.
func (d *run) countUp(ctx context.Context) (int, error) {
	var answer struct {
		Data struct {
			Result []struct {
				Value [2]any `json:"value"`
			} `json:"result"`
		} `json:"data"`
	}
	query := url.QueryEscape(`sum(up{job="edge-fleet"})`)
	if err := get(ctx, d.stack.PrometheusURL()+"/api/v1/query?query="+query, &answer); err != nil {
		return 0, err
	}
	if len(answer.Data.Result) == 0 {
		return 0, nil
	}
	text, _ := answer.Data.Result[0].Value[1].(string)
	return strconv.Atoi(text)
}

// fires says whether Prometheus has the alert firing for the device.
func (d *run) fires(ctx context.Context, device, alert string) (bool, error) {
	var answer struct {
		Data struct {
			Alerts []struct {
				Labels map[string]string `json:"labels"`
				State  string            `json:"state"`
			} `json:"alerts"`
		} `json:"data"`
	}
	if err := get(ctx, d.stack.PrometheusURL()+"/api/v1/alerts", &answer); err != nil {
		return false, err
	}
	for _, a := range answer.Data.Alerts {
		if a.State == "firing" && a.Labels["alertname"] == alert && a.Labels["device_id"] == device {
			return true, nil
		}
	}
	return false, nil
}

// expectedWorkflow is the ID of the workflow that Alertmanager's alert has to
// start, or "" when Alertmanager has no such alert.
func (d *run) expectedWorkflow(ctx context.Context, device, alert string) (string, error) {
	var alerts []struct {
		Fingerprint string            `json:"fingerprint"`
		StartsAt    time.Time         `json:"startsAt"`
		Labels      map[string]string `json:"labels"`
	}
	filter := url.Values{"filter": {fmt.Sprintf("alertname=%q", alert), fmt.Sprintf("device_id=%q", device)}}
	if err := get(ctx, d.stack.AlertmanagerURL()+"/api/v2/alerts?"+filter.Encode(), &alerts); err != nil {
		return "", err
	}
	if len(alerts) == 0 {
		return "", nil
	}
	a := alerts[0]
	return contract.Episode{DeviceID: device, AlertName: alert, Fingerprint: a.Fingerprint, StartsAt: a.StartsAt}.WorkflowID(), nil
}
