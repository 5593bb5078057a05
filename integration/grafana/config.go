// Package grafana holds the dashboard of the fleet and the files that provision
// it.
package grafana

import "embed"

// Files holds Dashboard, and the provisioning files below provisioning.
//
//go:embed dashboards/*.json provisioning
var Files embed.FS

// Dashboard is the path of the fleet's dashboard in Files.
const Dashboard = "dashboards/edge-fleet.json"
