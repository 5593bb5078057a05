package e2e_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTheGuidesConfigurationIsPlannedAsItStands needs no worker: a plan of a
// fleet that is not there yet asks nobody.
func TestTheGuidesConfigurationIsPlannedAsItStands(t *testing.T) {
	cli := mirror(t)
	p := newPlant(t, 1)
	guide := read(t, "../main.tf")
	list := make([]declaredDevice, 1000)
	for i := range list {
		list[i] = declaredDevice{ID: fmt.Sprintf("edge-%03d", i+1), Site: fmt.Sprintf("site-%d", i/8), Region: []string{"us-east-1", "us-west-2"}[i%2], Profile: "feeder-rtu",
			Address: fmt.Sprintf("10.1.%d.%d:502", i/200, i%200+1), Exception: "own VLAN; the model has no encryption"}
	}
	f := newTerraform(t, cli, p.env(), map[string]string{"main.tf": guide, "devices.yaml": devicesYAML(t, list)})
	require.Contains(t, f.plan(planChanges), "1001 to add, 0 to change, 0 to destroy")
	require.Empty(t, p.files(), "a plan writes nothing")

	write(t, filepath.Join(f.root, "devices.yaml"), devicesYAML(t, list[:2]))
	for rule, c := range map[string]struct{ from, to, says string }{
		"a list of another length is a mistake":         {"", "", "device_count is 1000, and ./devices.yaml lists 2 devices"},
		"a region that is not the fleet's is a mistake": {`["us-east-1", "us-west-2"]`, `["us-east-1"]`, "devices in regions that fleet_config.regions does not have: edge-002"},
		"a region is named once":                        {`"us-west-2"`, `"us-east-1"`, "each once"},
		"a rotation period is a duration":               {`"72h"`, `"three days"`, "rotation_period has to be a duration such as 72h"},
		"a network has no bits behind its prefix":       {"10.0.0.0/8", "10.0.0.7/8", "without bits behind the prefix"},
		"a network is a network":                        {"10.0.0.0/8", "ten", "allowed_networks has to list networks"},
		"without a network nothing could be dialled":    {`["10.0.0.0/8"]`, "[]", "allowed_networks is empty"},
		"a number of devices is whole":                  {"1000", "1.5", "whole number"},
		"a file that is named has to be there":          {"fleet_config = {", "devices_file = \"nowhere.yaml\"\n  fleet_config = {", "nowhere.yaml"},
	} {
		t.Run(rule, func(t *testing.T) {
			f.t = t
			write(t, filepath.Join(f.root, "main.tf"), strings.Replace(guide, c.from, c.to, 1))
			require.Contains(t, f.plan(planFailed), c.says)
		})
	}
	f.t = t
	t.Run("without any list the plan says what to give", func(t *testing.T) {
		f := newTerraform(t, cli, p.env(), map[string]string{"main.tf": guide})
		require.Contains(t, f.plan(planFailed), "Put a devices.yaml beside the root module")
		few := strings.Replace(guide, "device_count = 1000", "device_count = 3", 1)
		write(t, filepath.Join(f.root, "main.tf"), strings.Replace(few, "fleet_config = {", "device_template = { plaintext_exception = \"own VLAN; the model has no encryption\" }\n  fleet_config = {", 1))
		text := f.plan(planChanges)
		require.Contains(t, text, "4 to add, 0 to change, 0 to destroy")
		require.Contains(t, text, `+ address = "edge-003.internal:502"`)
	})
}
