package baseline_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/devices/baseline"
	"edgefleet/devices/inventory"
)

func TestWhatIsIgnoredIsWhatTheLastPartThatMentionsItSays(t *testing.T) {
	b, problems := baseline.Parse("x.yaml", []byte(`name: x
version: 1
profile: test-gateway
settings:
  edge_config: {template: templates/feeder.tmpl}
  permit_root_login: "no"
ignore: [edge_config_mode]
overrides:
  sites:
    s1: {ignore: [edge_config, permit_root_login]}
    s2: {ignore: [edge_config], edge_config_mode: "0600 root:root"}
  devices:
    gw-3: {edge_config: "a: 1\n", ignore: [edge_config_mode]}
`), known(t), templates())
	require.NoError(t, problems.Err())
	set, problems := baseline.Resolve([]*baseline.Baseline{b}, stock())
	require.NoError(t, problems.Err(), "a template is not rendered for a device that ignores it: gw-1 has no such label")
	for id, want := range map[string]struct {
		settings map[string]devices.Value
		ignored  []string
	}{
		"gw-1": {map[string]devices.Value{}, []string{"edge_config", "permit_root_login", "edge_config_mode"}},
		"gw-2": {map[string]devices.Value{"permit_root_login": "no", "edge_config_mode": "0600 root:root"}, []string{"edge_config"}},
		"gw-3": {map[string]devices.Value{"edge_config": "a: 1\n", "permit_root_login": "no"}, []string{"edge_config_mode"}},
	} {
		got, _ := wanted(t, set, id)
		require.Equal(t, want.settings, got, id)
		d, _ := stock().Device(id)
		desired, ok := set.For(d)
		require.True(t, ok)
		require.Equal(t, want.ignored, desired.Ignored, "%s, in the order of the profile", id)
		ignored := set.Ignored(d)
		require.Len(t, ignored, len(want.ignored))
		for _, name := range want.ignored {
			require.True(t, ignored[name], "%s %s", id, name)
		}
	}
	require.Empty(t, set.Ignored(inventory.Device{ID: "edge-1"}), "no baseline selects it")
}
