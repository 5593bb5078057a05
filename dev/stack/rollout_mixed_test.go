package stack_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/dev/simfleet"
	"edgefleet/devices"
	"edgefleet/devices/credentials"
	"edgefleet/devices/opcua"
	"edgefleet/starter/cli"
	"edgefleet/workflows/contract"
)

// envMixedDevices is the size of the mixed fleet.
const envMixedDevices = "EDGEFLEET_TEST_MIXED_DEVICES"

// change is what a pull request changes in a baseline of the fleet directory.
type change struct {
	file   string
	values map[string]string
}

// newReleases change something of every kind on every kind of device: numbers of
// one and two words, scales, texts, a curve that has to be adopted, a file
// rendered from a template, and the line of another.
func newReleases() []change {
	return []change{
		{"feeder-standard.yaml", map[string]string{"undervoltage_trip": "82.5", "overcurrent_pickup": "700.00", "active_power_limit": "4400", "report_interval": "90"}},
		{"controller-registers.yaml", map[string]string{"flow_setpoint": "26.0", "volume_limit": "4000000000", "controller_gain": "1.5", "station_name": "Pump station 8"}},
		{"inverter-standard.yaml", map[string]string{"121.WMax": "48000", "RspTms": "6"}},
		{"battery-standard.yaml", map[string]string{"charge_limit": "90000", "min_reserve": "15"}},
		{"controller-opcua.yaml", map[string]string{"pump_setpoint": "60", "level_offset": "-15", "alarm_enabled": "false", "station_name": "Pump station 8"}},
		{"gateway-standard.yaml", map[string]string{"interval": "30", "log_level": "warning"}},
		{"site-gateway.yaml", map[string]string{"edge_config": `"rate: 20\nsite: substation-1\n"`}},
		{"peer-controller.yaml", map[string]string{"limit": "4711", "gain": "0.75", "title": "Werk Süd", "percent": "80"}},
	}
}

// The fleet guide's pipeline over a fleet of every protocol, with two devices
// in it that no simulator is, in one command: each baseline is validated, planned,
// tried on a canary, checked, rolled out in waves, and each device has afterwards
// what was planned for it, by its own account.
func TestThePipelineRollsOutToAFleetOfEveryProtocolAndRealPeers(t *testing.T) {
	n := numberOf(t, envMixedDevices, 60)
	s := newPlant(t, n, simfleet.DefaultMix(), nil)
	secrets := filepath.Join(s.dir, "credentials")
	gw, plc := startGateway(t), startController(t, secrets, "peer")
	s.put("profiles/site-gateway.yaml", gw.profile())
	s.put("profiles/peer-controller.yaml", controllerProfile)
	s.put("edge-configs/site-gateway.yaml", "name: site-gateway\nversion: 2026.11.1\nprofile: site-gateway\nsettings:\n  edge_config: \"rate: 10\\nsite: substation-1\\n\"\n")
	s.put("edge-configs/peer-controller.yaml", "name: peer-controller\nversion: 2026.11.1\nprofile: peer-controller\nsettings:\n  limit: 100\n  gain: 0.5\n  title: Werk\n  percent: 10\n")
	s.put("devices/real.yaml", fmt.Sprintf(`devices:
  - {id: gw-real, site: substation-1, region: us-west-2, profile: site-gateway, address: %q, credentials: site-gw, ssh: {host_keys: [%q]}}
  - {id: plc-real, site: substation-2, region: us-east-1, profile: peer-controller, address: "127.0.0.1:%d", credentials: peer, opcua: {thumbprint: %q, application_uri: "urn:edgefleet:test:peer"}}
`, gw.address, gw.hostKey, plc.Port, plc.SHA256))
	require.NoError(t, os.MkdirAll(filepath.Join(secrets, "site-gw"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(secrets, "site-gw", credentials.Username), []byte(gw.user), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(secrets, "site-gw", credentials.SSHPrivateKey), []byte(gw.key), 0o600))
	s.begin()
	s.does("fleet", "validate", filepath.Join(s.dir, "fleet"))
	began := time.Now()
	s.does("onboard", "--all", "--reason", "commissioning")
	t.Logf("onboarded after %s", time.Since(began).Round(time.Millisecond))
	require.Equal(t, "rate: 10\nsite: substation-1\n", gw.read("running"))

	simulated := s.simulated()
	require.Len(t, simulated, n)
	before := s.counts(simulated...)

	began = time.Now()
	args := []string{"rollout", "run", "--yes", "--waves", "25%,100%", "--fleet", filepath.Join(s.dir, "fleet"), "--reason", "a test", "-o", "json"}
	for _, c := range newReleases() {
		args = append(args, s.proposed(c.file, merged(c.values, "version", "2026.12.1")))
	}
	code, out, said := s.as("kim", args...)
	t.Logf("%d baselines are rolled out after %s", len(newReleases()), time.Since(began).Round(time.Millisecond))
	require.Equal(t, cli.ExitDone, code, said)
	var ran []struct {
		File     string                   `json:"file"`
		PlanHash string                   `json:"plan_hash"`
		Rollout  contract.RolloutProgress `json:"rollout"`
	}
	require.NoError(t, json.Unmarshal([]byte(out), &ran))
	require.Len(t, ran, len(newReleases()))

	var ids []string
	for _, r := range ran {
		var plan contract.RolloutPlanPage
		require.NoError(t, json.Unmarshal([]byte(s.does("rollout", "show", r.PlanHash, "--detail", "-o", "json")), &plan))
		t.Run(plan.Baseline, func(t *testing.T) {
			s := s.in(t)
			require.NotZero(t, plan.RolloutPlan.Devices())
			require.Empty(t, waves(plan)[0], "it leaves out nobody: %+v", plan.Excluded)
			require.Equal(t, "canary", plan.Waves[0].Name)
			require.Equal(t, 1, plan.Waves[0].Devices)
			require.Equal(t, contract.RolloutDone, r.Rollout.State, r.Rollout.Detail)
			require.Equal(t, contract.RolloutCounts{Healthy: plan.RolloutPlan.Devices()}, r.Rollout.RolloutCounts)
			for _, w := range r.Rollout.Waves {
				require.Equal(t, contract.VerdictHealthy, w.Verdict)
			}
			for _, d := range plan.Devices {
				ids = append(ids, d.ID)
				if slices.Contains(simulated, d.ID) {
					s.wroteAsPlanned(before, plan.Baseline, d)
				}
				s.neverMixed(d.ID)
			}
			again := s.plans(r.File)
			require.Zero(t, again.RolloutPlan.Devices(), "every device, asked again, has all of it: %+v", again.Excluded)
			require.Equal(t, []contract.ExcludedCount{{Reason: contract.ExcludedInSync, Devices: len(plan.Devices)}}, again.Excluded)
		})
	}
	require.ElementsMatch(t, append(slices.Clone(simulated), "gw-real", "plc-real"), ids, "each device is in one of them")
	require.Equal(t, "rate: 20\nsite: substation-1\n", gw.read("etc/config.yaml"))
	require.Equal(t, "rate: 20\nsite: substation-1\n", gw.read("running"), "the agent was restarted with it")
	require.Equal(t, "restart\nrestart\n", gw.read("restarts"), "once for each of its configurations")
	require.Equal(t, []devices.Value{int64(4711), 0.75, "Werk Süd", int64(80)}, plc.reads(t, secrets))
	s.does("drift", "scan", "--reason", "after the rollouts")
	s.nobodyHolds()
	s.intact()
}

// simulated are the IDs of the simulated devices that have a baseline: all but
// the outlets.
func (s *site) simulated() (ids []string) {
	s.t.Helper()
	for profile, of := range s.byProfile() {
		if profile != "switched-outlet" {
			ids = append(ids, of...)
		}
	}
	return slices.DeleteFunc(ids, func(id string) bool { return strings.HasSuffix(id, "-real") })
}

// wroteAsPlanned requires of a simulated device that it was written what was
// planned, each place once, and nothing else.
func (s *site) wroteAsPlanned(before map[string]map[string]int, baseline string, d contract.PlannedDevice) {
	s.t.Helper()
	wanted, wrote := map[string]bool{}, map[string]bool{}
	for _, c := range d.Changes {
		wanted[c.Setting] = true
	}
	for place, n := range s.since(before, d.ID) {
		require.Equal(s.t, 1, n, "%s: writes to %s", d.ID, place)
		name, _, _ := strings.Cut(place, "@")
		wrote[name] = true
	}
	switch baseline {
	case "inverter-standard", "battery-standard":
		// A simulator of SunSpec knows its places by the names of the models,
		// and a curve is written as a whole.
		require.GreaterOrEqual(s.t, len(wrote), len(wanted))
		return
	case "gateway-standard":
		wanted["restart"] = true
	}
	require.Equal(s.t, wanted, wrote, d.ID)
}

// reads asks the controller itself, over a link of the test's own.
func (c *controller) reads(t testing.TB, secrets string) []devices.Value {
	t.Helper()
	folder, err := credentials.Open(secrets)
	require.NoError(t, err)
	us, err := folder.OPCUA("peer")
	require.NoError(t, err)
	d := opcua.New(opcua.Options{})
	defer d.Close()
	link, err := d.Open(t.Context(), devices.Endpoint{DeviceID: "plc-real", Address: fmt.Sprintf("127.0.0.1:%d", c.Port),
		Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, OPCUA: &devices.OPCUASecurity{Policy: "Basic256Sha256", Mode: "SignAndEncrypt",
			ServerThumbprint: c.SHA256, ApplicationURI: "urn:edgefleet:test:peer", ClientCert: us.ClientCert, ClientKey: us.ClientKey, User: us.User, Password: us.Password}})
	require.NoError(t, err)
	defer link.Close()
	node := func(id string, typ devices.Type) devices.Point {
		return devices.Point{Name: id, Type: typ, OPCUA: &devices.NodeAddress{Namespace: "urn:edgefleet:test:plant", ID: "s=" + id}}
	}
	got, err := link.Read(t.Context(), []devices.Point{node("UInt16", devices.Uint16), node("Double", devices.Float64), node("String", devices.String), node("Percent", devices.Uint16)})
	require.NoError(t, err)
	return got
}
