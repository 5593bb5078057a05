package schema

import (
	"edgefleet/devices/baseline"
)

// Baseline is the schema of a file in the folder edge-configs. Which settings
// there are is said by the profile that the file names, and not by the schema.
func Baseline() Document {
	return document("baseline", "edgefleet baseline", of(baseline.Shape()))
}
