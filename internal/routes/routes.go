package routes

import (
	"fmt"
	"strings"

	"github.com/prometheus/alertmanager/pkg/labels"
)

// Default is the routes file that stands when none is given.
const Default = `routes:
  - matchers: ['alertname="EdgeDeviceOffline"']
    runbook: auto_remediation.py
    function: handle_device_offline
  - matchers: ['alertname="EdgeConfigDrift"']
    runbook: config_drift.py
    function: handle_config_drift
`

// DefaultDeviceLabel is the label that names the device unless a route says
// otherwise.
const DefaultDeviceLabel = "device_id"

// Route says which runbook answers which alerts.
type Route struct {
	// Matchers all have to match the labels of the alert; a label that is not
	// there counts as empty.
	Matchers labels.Matchers
	// Runbook is a path below the fleet directory's runbooks folder.
	Runbook string
	// Function is the runbook's function to call with the device's ID.
	Function string
	// DeviceLabel is the label that holds the device's ID.
	DeviceLabel string
	// Line is where the route stands in its file.
	Line int
}

// String is the route in words, for logs.
func (r Route) String() string {
	matchers := make([]string, len(r.Matchers))
	for i, m := range r.Matchers {
		matchers[i] = m.String()
	}
	return fmt.Sprintf("{%s} -> %s:%s", strings.Join(matchers, ","), r.Runbook, r.Function)
}

// List is asked in order; the first route that matches wins.
type List []Route

// Match returns the first route that matches the labels.
func (rs List) Match(set map[string]string) (Route, bool) {
	for _, r := range rs {
		if matchesAll(r.Matchers, set) {
			return r, true
		}
	}
	return Route{}, false
}

func matchesAll(ms labels.Matchers, set map[string]string) bool {
	for _, m := range ms {
		if !m.Matches(set[m.Name]) {
			return false
		}
	}
	return true
}
