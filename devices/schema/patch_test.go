package schema_test

import (
	"testing"

	"edgefleet/devices/patch"
	"edgefleet/devices/schema"
)

func TestTheSchemaOfPatchesIsKept(t *testing.T) {
	requireKept(t, "patch.schema.json", schema.Patch())
	requireFields(t, "patch", patch.Shape(), schema.Patch())
}

func TestTheSchemaOfPatchesTakesGoodFilesAndRefusesBadOnes(t *testing.T) {
	requireTaken(t, schema.Patch(), "../patch/testdata/good.yaml")
	requireRefused(t, schema.Patch(), "../patch/testdata/bad", map[string][]string{
		"the profiles":                    {"profile-that-cannot-be-patched", "unknown-profile"},
		"how versions and paths are read": {"version-of-two-words", "file-that-goes-up"},
		"the calendar":                    {"released-that-is-no-day", "exception-without-end"},
	})
}
