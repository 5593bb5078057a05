package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/devices/sim"
)

// feeders is the size of the fleet that is kept; more are simulated, for what
// comes later.
const feeders = 50

// keptFleet is the guide's configuration, for a fleet that runs on this
// machine: its size and its networks differ, and nothing else.
func keptFleet(t *testing.T, count string) string {
	text := read(t, "../main.tf")
	for from, to := range map[string]string{"device_count = 1000": "device_count = " + count, "10.0.0.0/8": "127.0.0.0/8"} {
		require.Contains(t, text, from)
		text = strings.Replace(text, from, to, 1)
	}
	return text
}

// baselineTF is a baseline beside the guide's fleet.
const baselineTF = `
terraform {
  required_providers {
    edgefleet = { source = "edgefleet.internal/edgefleet/edgefleet" }
  }
}

resource "edgefleet_baseline" "feeder" {
  name     = "feeder-standard"
  version  = "2026.11.1"
  profile  = "feeder-rtu"
  settings = {
    undervoltage_trip  = 85.0
    overcurrent_pickup = 630
    reclose_enabled    = "on"
    report_interval    = 60
  }
  depends_on = [module.edge_fleet.fleet]
}
`

func TestTerraformKeepsAFleet(t *testing.T) {
	cli := mirror(t)
	p := newPlant(t, feeders+8)
	f := newTerraform(t, cli, p.env(), map[string]string{"main.tf": keptFleet(t, "50"), "devices.yaml": devicesYAML(t, p.list(feeders))})
	all := len(p.list(feeders))
	step := func(name string, test func(t *testing.T)) {
		t.Helper()
		if t.Failed() {
			return
		}
		t.Run(name, func(t *testing.T) {
			p.t, f.t = t, t
			test(t)
		})
		p.t, f.t = t, t
	}

	step("the fleet file can be declared before any worker runs", func(t *testing.T) {
		require.Zero(t, f.apply("-target=module.edge_fleet.edgefleet_fleet.this").code)
		require.Equal(t, []string{"fleet.yaml"}, p.files())
	})
	p.t = t
	p.startWorker()
	step("an apply onboards every device, and its plan says so", func(t *testing.T) {
		text := f.plan(planChanges)
		require.Contains(t, text, "57 to add, 0 to change, 0 to destroy")
		require.Contains(t, text, `+ state = "onboarded"`)
		r := f.apply()
		require.Zero(t, r.code, r.text)
		require.Equal(t, map[string]int{"onboarded": all}, p.states())
	})
	step("the plan after it is empty", func(t *testing.T) { f.plan(planEmpty) })
	step("a baseline is declared without a write to any device", func(t *testing.T) {
		before := p.written("edge-007")
		write(t, filepath.Join(f.root, "baseline.tf"), baselineTF)
		r := f.apply()
		require.Zero(t, r.code, r.text)
		require.Equal(t, before, p.written("edge-007"))
		f.plan(planEmpty)
	})
	step("bring_devices brings it to the devices", func(t *testing.T) {
		write(t, filepath.Join(f.root, "baseline.tf"), strings.Replace(baselineTF, "depends_on", "bring_devices = true\n  depends_on", 1))
		require.Contains(t, f.plan(planChanges), "pending = [ - \"edge-001\"")
		r := f.apply()
		require.Zero(t, r.code, r.text)
		f.plan(planEmpty)
	})
	step("a device that drifted by hand shows in the next plan, and the apply takes it back", func(t *testing.T) {
		_, err := p.fleet.Break(t.Context(), "edge-007", sim.FaultDrift, false)
		require.NoError(t, err)
		text := f.plan(planChanges)
		require.Contains(t, text, `edgefleet_device.device["edge-007"] will be updated in-place`)
		require.Contains(t, text, `~ configuration = "drifted" -> "in_sync"`)
		require.Contains(t, text, "0 to add, 1 to change, 0 to destroy")
		r := f.apply()
		require.Zero(t, r.code, r.text)
		f.plan(planEmpty)
	})
	step("a declaration that was changed by hand shows in the next plan, and is taken back", func(t *testing.T) {
		p.edit("devices/terraform-edge-009.yaml", "feeder: F-edge-009", "feeder: F-999")
		text := f.plan(planChanges)
		require.Contains(t, text, `~ "feeder" = "F-999" -> "F-edge-009"`)
		r := f.apply()
		require.Zero(t, r.code, r.text)
		f.plan(planEmpty)
	})
	step("a device whose state was lost is imported", func(t *testing.T) {
		const address = `module.edge_fleet.edgefleet_device.device["edge-005"]`
		f.done("state", "rm", address)
		f.done("import", "-no-color", address, "edge-005")
		f.plan(planEmpty)
	})
	step("a device that somebody else declares is refused, with both places", func(t *testing.T) {
		file := filepath.Join(p.fleetDir, "devices", "by-hand.yaml")
		d := p.list(1)[:1]
		write(t, file, devicesYAML(t, d))
		text := f.plan(planFailed)
		require.Contains(t, text, "edge-001 is declared in devices/by-hand.yaml:2")
		require.Contains(t, text, "devices/terraform-edge-001.yaml")
		require.Contains(t, read(t, file), "edge-001", "the file of another is never touched")
		require.NoError(t, os.Remove(file))
		f.plan(planEmpty)
	})
	step("what no worker could load is refused before it is written", func(t *testing.T) {
		list := p.list(feeders + 1)
		list[feeders].Address = "192.0.2.1:502"
		write(t, filepath.Join(f.root, "main.tf"), keptFleet(t, "51"))
		write(t, filepath.Join(f.root, "devices.yaml"), devicesYAML(t, list))
		r := f.apply()
		require.Equal(t, 1, r.code)
		require.Contains(t, r.text, "devices/terraform-edge-051.yaml:9: address 192.0.2.1:502 is outside allowed_networks")
		require.NotContains(t, p.files(), "devices/terraform-edge-051.yaml")
	})
	step("a device that cannot be onboarded is named with its phase, and stops no other", func(t *testing.T) {
		list := p.list(feeders + 2)
		// There is a switch at this address, and no feeder.
		list[feeders].Address = p.switches[len(p.switches)-1].Address
		write(t, filepath.Join(f.root, "main.tf"), keptFleet(t, "52"))
		write(t, filepath.Join(f.root, "devices.yaml"), devicesYAML(t, list))
		r := f.apply()
		require.Equal(t, 1, r.code)
		require.Contains(t, r.text, "edge-051 was not onboarded")
		require.Contains(t, r.text, `phase "identify", rejected`)
		require.Equal(t, map[string]int{"onboarded": all + 1, "failed": 1}, p.states())
	})
	step("the next apply goes on with what is left", func(t *testing.T) {
		write(t, filepath.Join(f.root, "devices.yaml"), devicesYAML(t, p.list(feeders+2)))
		text := f.plan(planChanges)
		require.Contains(t, text, "1 to add, 0 to change, 1 to destroy")
		r := f.apply()
		require.Zero(t, r.code, r.text)
		require.Equal(t, map[string]int{"onboarded": all + 2}, p.states())
		f.plan(planEmpty)
	})
	step("a device that is taken out of the list is decommissioned", func(t *testing.T) {
		write(t, filepath.Join(f.root, "main.tf"), keptFleet(t, "51"))
		write(t, filepath.Join(f.root, "devices.yaml"), devicesYAML(t, p.list(feeders+1)))
		text := f.plan(planChanges)
		require.Contains(t, text, `edgefleet_device.device["edge-052"] will be destroyed`)
		r := f.apply()
		require.Zero(t, r.code, r.text)
		require.Equal(t, map[string]int{"onboarded": all + 1, "decommissioned": 1}, p.states())
	})
	step("destroy decommissions every device, and leaves nothing of Terraform's", func(t *testing.T) {
		write(t, filepath.Join(p.fleetDir, "runbooks", "ours.py"), "def heal(device_id):\n    check_network(device_id)\n")
		f.done("destroy", "-auto-approve", "-no-color", "-parallelism=64")
		require.Equal(t, map[string]int{"decommissioned": all + 2}, p.states())
		require.Equal(t, []string{"runbooks/ours.py"}, p.files())
	})
}
