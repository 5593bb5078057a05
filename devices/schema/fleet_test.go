package schema_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"edgefleet/devices/baseline"
	"edgefleet/devices/inventory"
	"edgefleet/devices/schema"
)

func TestTheSchemasOfFleetAndBaselineAreKept(t *testing.T) {
	requireKept(t, "fleet.schema.json", schema.Fleet())
	requireKept(t, "devices.schema.json", schema.Devices())
	requireKept(t, "baseline.schema.json", schema.Baseline())
}

func TestTheSchemasOfFleetAndBaselineKnowTheFieldsOfTheReader(t *testing.T) {
	requireFields(t, "fleet", inventory.Shape(), schema.Fleet())
	requireFields(t, "devices", inventory.DevicesShape(), schema.Devices())
	requireFields(t, "baseline", baseline.Shape(), schema.Baseline())
}

func TestTheSchemasTakeGoodFiles(t *testing.T) {
	requireTaken(t, schema.Fleet(), "../inventory/testdata/*.yaml", "../fleetdir/testdata/good/fleet.yaml")
	requireTaken(t, schema.Devices(), "../fleetdir/testdata/good/devices/*.yaml")
	requireTaken(t, schema.Baseline(), "../baseline/testdata/*.yaml", "../fleetdir/testdata/good/edge-configs/*.yaml")
}

// TestTheSchemasTakeTheExamplesOfTheReference validates the YAML blocks of the
// reference page, each by the folder of the file that its first line names.
func TestTheSchemasTakeTheExamplesOfTheReference(t *testing.T) {
	page, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	folders := map[string]*jsonschema.Schema{".": compile(t, schema.Fleet()), "devices": compile(t, schema.Devices()),
		"edge-configs": compile(t, schema.Baseline()), "profiles": compile(t, schema.Profile()), "patches": compile(t, schema.Patch())}
	blocks := regexp.MustCompile("(?s)```yaml\n# (\\S+\\.yaml)\n(.*?)```").FindAllSubmatch(page, -1)
	require.NotEmpty(t, blocks)
	for _, b := range blocks {
		s := folders[filepath.Dir(string(b[1]))]
		require.NotNil(t, s, "%s", b[1])
		value, ok := instance(t, b[2])
		require.True(t, ok)
		require.NoError(t, s.Validate(value), "%s", b[1])
	}
}

func TestTheSchemaRefusesEveryBadFleetFileThatASchemaCan(t *testing.T) {
	requireRefused(t, schema.Fleet(), "../inventory/testdata/bad", map[string][]string{
		"the profile of the device": {
			"credentials-on-modbus", "opcua-without-a-thumbprint", "opcua-without-credentials", "plain-protocol-without-exception",
			"policy-none-without-exception", "mode-sign-without-exception", "section-of-another-protocol", "ssh-with-empty-host-keys",
			"ssh-without-credentials", "ssh-without-host-keys", "unit-on-another-protocol", "unknown-profile",
		},
		"what stands elsewhere in the file": {
			"address-outside-allowed-networks", "address-outside-as-ipv6-form", "duplicate-id", "framing-rtu-without-a-serial-line",
			"framings-behind-one-address-differ", "protocols-at-one-address-differ", "reference-outside-allowed-networks",
			"reset-by-a-device-without-actions", "reset-by-an-unknown-action", "reset-by-an-unknown-device", "reset-by-another-region",
			"redundancy-of-one", "redundancy-of-two-regions", "reset-by-itself", "same-address-and-unit", "same-address-of-hosts", "serial-gateways-behind-one-address-differ", "unknown-region",
		},
		"what stands beside it in a list": {"ssh-unknown-beside-a-host-key"},
		"how texts are read that need no quotes": {
			"address-mistyped", "address-with-a-bad-name", "bad-id", "credentials-bad-name", "empty-text", "exception-without-reason", "network-with-host-bits",
			"patch-key-that-is-none", "patch-key-twice",
		},
	})
}

func TestTheSchemaRefusesEveryBadBaselineThatASchemaCan(t *testing.T) {
	requireRefused(t, schema.Baseline(), "../baseline/testdata/bad", map[string][]string{
		"the settings of the profile": {
			"between-two-steps", "content-that-does-not-fit", "curves-of-another-model", "curves-on-another-profile", "curves-out-of-range",
			"curves-row-of-three-numbers", "curves-text-that-is-no-table", "curves-unknown-setting", "ignore-unknown-setting", "ignore-unknown-setting-in-an-override", "ignore-that-is-no-list-in-an-override", "not-a-number",
			"not-in-the-enum", "out-of-range", "out-of-range-in-an-override", "override-neither-setting-nor-word",
			"setting-that-only-does-something", "template-for-a-number", "text-that-needs-quotes", "unknown-profile", "unknown-setting",
			"volatile-setting",
		},
		"the devices of the fleet": {
			"override-of-a-device-that-is-not-selected", "override-of-an-unknown-device", "override-of-an-unknown-site",
			"select-of-an-unknown-device", "select-of-another-profile",
		},
		"the templates": {
			"template-broken", "template-out-of-the-folder", "template-that-is-a-link-out", "template-too-long-for-the-file",
			"template-unknown", "template-without-a-label", "template-without-a-value", "template-without-an-end",
		},
		"what stands elsewhere in the file": {
			"curves-beside-the-same-setting", "ignore-what-the-same-override-sets", "ignore-what-is-set", "setting-twice-in-an-override", "sets-nothing",
		},
		"what values templates can use": {"value-deeper-than-it-may-be", "value-empty", "value-not-a-number"},
		"that an empty text is none":    {"empty-profile"},
	})
}
