package bridge

import (
	"fmt"
	"os"
	"strings"

	"github.com/prometheus/alertmanager/pkg/labels"
)

// DefaultRoutes is the routes file that stands when none is given.
const DefaultRoutes = `routes:
  - matchers: ['alertname="EdgeDeviceOffline"']
    runbook: auto_remediation.py
    function: handle_device_offline
  - matchers: ['alertname="EdgeConfigDrift"']
    runbook: config_drift.py
    function: handle_config_drift
`

// defaultDeviceLabel is the label that names the device unless a route says
// otherwise.
const defaultDeviceLabel = "device_id"

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

// Routes are asked in order; the first that matches wins.
type Routes []Route

// Match returns the first route that matches the labels.
func (rs Routes) Match(set map[string]string) (Route, bool) {
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

// LoadRoutes reads a routes file; "" is DefaultRoutes. The error joins all
// that is wrong with it, one line each: file:line:column, what, and the remedy.
func LoadRoutes(file string) (Routes, error) {
	if file == "" {
		return ParseRoutes("the default routes", []byte(DefaultRoutes))
	}
	data, err := os.ReadFile(file) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", flagRoutes, err)
	}
	return ParseRoutes(file, data)
}
