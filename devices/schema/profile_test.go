package schema_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/devices/profile"
	"edgefleet/devices/profile/strictyaml"
	"edgefleet/devices/schema"
)

func TestTheProfilesSchemaIsKept(t *testing.T) {
	requireKept(t, "profile.schema.json", schema.Profile())
}

func TestTheSchemaTakesEveryBuiltInAndGoodProfile(t *testing.T) {
	requireTaken(t, schema.Profile(), "../profile/builtin/*.yaml", "../profile/testdata/good*.yaml")
}

// beyond are the bad profiles that the schema takes, by what it would have to
// know to refuse them.
var beyond = map[string][]string{
	"what stands elsewhere in the file": {
		"action-name-twice", "duplicate-point-name", "condition-on-an-unknown-point", "confirm-by-an-unknown-measurement",
		"confirm-by-what-is-no-counter", "firmware-that-is-no-identity", "firmware-that-is-no-point", "restart-by-an-unknown-action",
		"opcua-one-node-twice", "ssh-one-place-twice", "ssh-one-file-with-two-validations", "ssh-no-commands-at-all",
		"ssh-unknown-command", "ssh-unknown-command-of-an-action", "ssh-unknown-command-of-an-output",
		"ssh-candidate-where-there-is-none", "ssh-validation-without-candidate",
		"install-without-a-version", "install-version-that-may-not-change", "install-unknown-command", "install-restart-with-a-candidate",
	},
	"the type of another point": {
		"at-least-on-an-enum", "condition-with-an-impossible-value", "ssh-at-least-on-a-text", "ssh-health-that-cannot-be",
	},
	"sums and comparisons": {
		"address-beyond-the-end", "overlap", "overlap-of-identity-and-setting", "min-above-max", "settle-wait-longer-than-up-to",
		"enum-value-twice",
		"install-mailbox-over-a-setting", "install-mailbox-beyond-the-end", "install-mailbox-two-commands-of-one-number",
		"install-mailbox-two-states-of-one-number",
	},
	"the values of types, scales and durations": {
		"action-pulse-with-impossible-value", "bound-that-does-not-fit", "duration-out-of-range", "identity-too-long",
		"opcua-argument-that-does-not-fit", "opcua-bound-that-the-node-does-not-hold", "opcua-identity-that-it-cannot-be",
		"opcua-number-too-big", "opcua-pulse-with-impossible-value", "ssh-command-that-takes-for-ever", "install-for-ever",
	},
	"how commands and paths are read": {
		"ssh-command-for-a-shell", "ssh-command-that-sets-a-variable", "ssh-command-with-two-candidates", "ssh-path-that-goes-up", "install-upload-that-goes-up",
	},
	"the models of SunSpec": {
		"sunspec-bound-on-an-enum", "sunspec-bound-that-does-not-fit", "sunspec-condition-that-cannot-be",
		"sunspec-confirm-by-a-scaled-point", "sunspec-control-as-a-setting", "sunspec-measurement-as-a-setting",
		"sunspec-model-without-curves", "sunspec-name-without-point", "sunspec-one-point-twice", "sunspec-part-of-a-curve-twice",
		"sunspec-unknown-model", "sunspec-unknown-point",
	},
	"YAML that is gone when it is read": {"anchor", "merge-key", "tag"},
}

func TestTheSchemaRefusesEveryBadProfileThatASchemaCan(t *testing.T) {
	requireRefused(t, schema.Profile(), "../profile/testdata/bad", beyond)
}

// TestTheSchemaKnowsTheFieldsOfTheReader walks the shapes that the reader takes
// its known fields from, beside the schema.
func TestTheSchemaKnowsTheFieldsOfTheReader(t *testing.T) {
	definitions := schema.Profile()["$defs"].(map[string]any)
	flavours := profile.Flavours()
	require.Len(t, definitions, len(flavours))
	for _, f := range flavours {
		requireFields(t, f.Name, f.File, definitions[f.Name].(map[string]any))
	}
}

func requireFields(t *testing.T, at string, s strictyaml.Shape, doc map[string]any) {
	t.Helper()
	switch s.Kind {
	case strictyaml.Mapping:
		properties := doc["properties"].(map[string]any)
		require.Len(t, properties, len(s.Fields), at)
		require.Equal(t, false, doc["additionalProperties"], at)
		for _, f := range s.Fields {
			require.Contains(t, properties, f.Name, at)
			require.NotEmpty(t, f.Doc, "%s.%s has something to show in an editor", at, f.Name)
			requireFields(t, at+"."+f.Name, f.Shape, properties[f.Name].(map[string]any))
		}
	case strictyaml.List:
		requireFields(t, at+"[]", *s.Of, doc["items"].(map[string]any))
	case strictyaml.Pairs:
		requireFields(t, at+".*", *s.Of, doc["additionalProperties"].(map[string]any))
	case strictyaml.Choice:
		for i, e := range s.Either {
			requireFields(t, fmt.Sprintf("%s|%d", at, i), e, doc["anyOf"].([]any)[i].(map[string]any))
		}
	}
}
