package schema

import (
	"edgefleet/devices/patch"
)

// Patch is the schema of a file in the folder patches.
func Patch() Document {
	return document("patch", "edgefleet patch", of(patch.Shape()))
}
