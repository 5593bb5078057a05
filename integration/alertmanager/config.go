// Package alertmanager holds the Alertmanager configuration that edgefleet
// ships. The dev stack runs the same file with other addresses and shorter
// times, so what is tried there is what is deployed.
package alertmanager

import "embed"

// Files holds ConfigFile.
//
//go:embed alertmanager.yml
var Files embed.FS

// ConfigFile is the configuration's path in Files.
const ConfigFile = "alertmanager.yml"
