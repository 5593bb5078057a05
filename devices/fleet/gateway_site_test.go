package fleet_test

import (
	"crypto/ed25519"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"edgefleet/devices"
	"edgefleet/devices/fleet"
	"edgefleet/devices/sim/sshsim"
)

// newLinux is a site with a Linux gateway whose configuration is the baseline's,
// with content for the agent's file.
func newLinux(t *testing.T, content string) (*site, *sshsim.Device) {
	s := newSite(t)
	_, key, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	public, err := ssh.NewPublicKey(key.Public())
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(key, "")
	require.NoError(t, err)
	s.write(s.secrets, "gateways/username", "edgefleet")
	s.write(s.secrets, "gateways/ssh-privatekey", string(pem.EncodeToMemory(block)))
	gw, err := sshsim.Start(sshsim.Config{ID: "gw-1", User: "edgefleet", Keys: []ssh.PublicKey{public}, Boot: 20 * time.Millisecond, Init: time.Millisecond})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, gw.Close()) })
	s.write(s.dir, "edge-configs/gateways.yaml", fmt.Sprintf("name: gateways\nversion: 3\nprofile: linux-gateway\nsettings:\n  edge_config: %q\n  permit_root_login: \"no\"\n", content))
	s.declare(true, fmt.Sprintf(`{id: gw-1, site: s1, region: north, profile: linux-gateway, address: %q, credentials: gateways}`, gw.Addr()))
	return s, gw
}

// factory is the configuration that a gateway comes with, with one thing more.
func factory(more string) string { return sshsim.FactoryConfig("gw-1") + more }

func TestAGatewayIsOnboardedOverSSHByWhatItProves(t *testing.T) {
	wanted := factory("# as the baseline has it\n")
	s, gw := newLinux(t, wanted)
	require.Equal(t, fleet.PhaseEnrol, s.onboard("gw-1", fleet.OnboardOptions{}).Failed)

	report := s.onboard("gw-1", fleet.OnboardOptions{TrustFirstUse: true})
	require.Empty(t, report.Failed, report.Why)
	require.Equal(t, gw.Fingerprint(), report.Pin)
	require.Equal(t, "debian", report.Identity["os"])
	require.Contains(t, changedBy(report), "edge_config")
	text, err := gw.ReadFile("/etc/edge/config.yaml")
	require.NoError(t, err)
	require.Equal(t, wanted, text)
	require.Equal(t, wanted, gw.Running(), "the agent was started anew with it")

	require.NoError(t, gw.WriteFile("/etc/edge/config.yaml", factory("# by hand\n"), 0o640))
	found, err := s.operator().Drift(t.Context(), "gw-1")
	require.NoError(t, err)
	require.Len(t, found.Drifted, 1)
	require.Contains(t, found.Drifted[0].Diff, "-# as the baseline has it\n+# by hand\n")
	j := newMemory()
	_, err = s.operator().ApplyBaseline(t.Context(), "gw-1", j, nil)
	require.NoError(t, err)
	require.Equal(t, []fleet.Outcome{fleet.Applied}, j.outcomes())
	require.Equal(t, factory("# by hand\n"), j.captured["edge_config"])
}

func TestWhatTheGatewaysOwnCheckRefusesLeavesItAsItWas(t *testing.T) {
	s, gw := newLinux(t, "no: [configuration\n")
	s.pins["gw-1"] = gw.Fingerprint()
	before, err := gw.ReadFile("/etc/edge/config.yaml")
	require.NoError(t, err)
	j := newMemory()
	report, err := s.operator().Onboard(t.Context(), "gw-1", fleet.OnboardOptions{}, j, nil)
	require.NoError(t, err)
	require.Equal(t, fleet.PhaseApply, report.Failed, report.Why)
	require.Equal(t, devices.Rejected, report.Kind)
	require.Contains(t, report.Why, "edge-validate")
	after, err := gw.ReadFile("/etc/edge/config.yaml")
	require.NoError(t, err)
	require.Equal(t, before, after)
	for _, o := range j.outcomes() {
		require.Contains(t, []fleet.Outcome{fleet.Failed, fleet.Partial, fleet.Applied}, o, "nothing is left open")
	}
	found, err := s.operator().Drift(t.Context(), "gw-1")
	require.NoError(t, err)
	require.NotEmpty(t, found.Drifted)
	for _, d := range found.Drifted {
		if d.Setting == "permit_root_login" {
			require.False(t, report.Undone && d.Got == "no", "what was written beside it is taken back")
		}
	}
}

func TestAGatewayWithAnotherKeyIsNotSpokenTo(t *testing.T) {
	s, gw := newLinux(t, factory(""))
	other := "SHA256:" + strings.Repeat("A", 43)
	s.pins["gw-1"] = other
	report := s.onboard("gw-1", fleet.OnboardOptions{TrustFirstUse: true})
	require.Equal(t, fleet.PhaseEnrol, report.Failed)
	require.Contains(t, report.Why, "it shows "+gw.Fingerprint()+", and "+other+" is pinned")
	_, err := s.operator().Probe(t.Context(), "gw-1")
	require.Equal(t, devices.Auth, devices.KindOf(err))
	require.Empty(t, gw.Writes())
	report = s.onboard("gw-1", fleet.OnboardOptions{TrustFirstUse: true, AcceptReplacement: true})
	require.Empty(t, report.Failed, report.Why)
}
