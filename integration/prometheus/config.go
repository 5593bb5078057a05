// Package prometheus holds the Prometheus configuration and the rules that
// edgefleet ships. The dev stack runs the same files with other addresses and
// shorter times, so what is tried there is what is deployed.
package prometheus

import "embed"

// Files holds ConfigFile and RuleFiles by their paths.
//
//go:embed prometheus.yml rules/*.rules.yml
var Files embed.FS

// ConfigFile is the configuration's path in Files.
const ConfigFile = "prometheus.yml"

// RuleFiles are the rules' paths in Files.
func RuleFiles() []string {
	return []string{"rules/edge-fleet.rules.yml", "rules/edge-slos.rules.yml", "rules/edgefleet.rules.yml"}
}
