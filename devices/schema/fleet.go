package schema

import (
	"edgefleet/devices/inventory"
)

// Fleet is the schema of fleet.yaml.
func Fleet() Document {
	return document("fleet", "edgefleet fleet file", of(inventory.Shape()))
}

// Devices is the schema of a file in the folder devices.
func Devices() Document {
	return document("devices", "more devices of an edgefleet fleet", of(inventory.DevicesShape()))
}
