package stack_test

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/dev/simfleet"
	"edgefleet/dev/stack"
	"edgefleet/devices/sim"
	"edgefleet/starter/cli"
	"edgefleet/workflows/contract"
)

// startMixed is startStack with devices of every protocol.
func startMixed(t testing.TB, devices int) *site {
	t.Helper()
	return startMix(t, devices, simfleet.DefaultMix())
}

// startMix is startMixed with another mix.
func startMix(t testing.TB, devices int, mix simfleet.Mix) *site {
	t.Helper()
	dir := t.TempDir()
	endFleet(t, dir)
	o := options(t, dir, devices)
	o.Mix = mix
	o.FleetArgs = append(o.FleetArgs, "--mix", o.Mix.String())
	s := stack.New(o)
	require.NoError(t, s.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, s.Stop()) })
	return &site{
		t: t, dir: dir, temporal: s.Conn().Client, bridgeURL: s.BridgeURL(), fleet: s.Fleet(), store: openStore(t, dir),
	}
}

// byProfile are the IDs of the devices, by profile.
func (s *site) byProfile() map[string][]string {
	s.t.Helper()
	var list []contract.DeviceStatus
	require.NoError(s.t, json.Unmarshal([]byte(s.does("device", "list", "-o", "json")), &list))
	out := map[string][]string{}
	for _, d := range list {
		out[d.Profile] = append(out[d.Profile], d.ID)
	}
	return out
}

// A fleet of every protocol is onboarded by what each device proves, compared,
// and healed, by the commands and runbooks that know of none of them.
func TestAFleetOfEveryProtocolIsOnboardedComparedAndHealed(t *testing.T) {
	s := startMixed(t, 20)
	s.does("fleet", "validate", filepath.Join(s.dir, "fleet"))
	var done contract.OnboardProgress
	require.NoError(t, json.Unmarshal([]byte(s.does("onboard", "--all", "--reason", "commissioning", "-o", "json")), &done))
	require.Zero(t, done.Failed)
	kinds := s.byProfile()
	gateways, controllers := kinds["linux-gateway"], kinds["opcua-plc"]
	require.NotEmpty(t, gateways)
	require.NotEmpty(t, controllers)
	var names []string
	for _, p := range done.Phases {
		names = append(names, p.Phase)
		if p.Phase == contract.PhaseEnrol {
			require.Equal(t, len(gateways)+len(controllers), p.Devices, "those that can prove who they are")
		}
	}
	require.Equal(t, contract.Phases(), names)

	for _, id := range []string{gateways[0], controllers[0]} {
		t.Run(id, func(t *testing.T) {
			s := s.in(t)
			require.Contains(t, s.does("device", "fingerprint", id), "It is what the fleet file states.")
			require.Contains(t, s.does("device", "show", id), "pinned fingerprint")
			s.does("device", "drift", id)
			_, err := s.fleet.Break(t.Context(), id, sim.FaultDrift, false)
			require.NoError(t, err)
			code, out, _ := s.cli("device", "drift", id)
			require.Equal(t, cli.ExitFailed, code)
			require.Contains(t, out, "settings differ")
			if id == gateways[0] {
				require.Contains(t, out, "\n--- baseline /etc/edge/config.yaml\n+++ device /etc/edge/config.yaml\n@@ ")
			}
			s.does("remediate", id, "--reason", "the drift")
			s.does("device", "drift", id)
			require.Contains(t, s.does("device", "show", id), "healthy")
		})
	}
	s.intact()
}
