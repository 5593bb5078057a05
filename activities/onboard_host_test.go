package activities

import (
	"crypto/ed25519"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"edgefleet/devices"
	"edgefleet/devices/credentials"
	"edgefleet/devices/fleet"
	"edgefleet/devices/fleetdir"
	"edgefleet/devices/sim/sshsim"
	"edgefleet/devices/sshhost"
	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

// addGateway gives the plant a Linux gateway, gw-1, of which nothing is known.
func (p *plant) addGateway() *sshsim.Device {
	t := p.t
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	public, err := ssh.NewPublicKey(key.Public())
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(key, "")
	require.NoError(t, err)
	gw, err := sshsim.Start(sshsim.Config{ID: "gw-1", User: "edgefleet", Keys: []ssh.PublicKey{public}, Boot: 20 * time.Millisecond, Init: time.Millisecond})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, gw.Close()) })
	dir := filepath.Join(t.TempDir(), "credentials")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "gateways"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "gateways", credentials.Username), []byte("edgefleet"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "gateways", credentials.SSHPrivateKey), pem.EncodeToMemory(block), 0o600))

	p.write("edge-configs/gateways.yaml", fmt.Sprintf("name: gateways\nversion: 3\nprofile: linux-gateway\nsettings: {edge_config: %q}\n", sshsim.FactoryConfig("gw-1")+"# the baseline's\n"))
	p.write("fleet.yaml", strings.Replace(p.fleetFile(), "security: {", "security: {trust_first_use: true, ", 1)+
		fmt.Sprintf("  - {id: gw-1, site: s1, region: north, profile: linux-gateway, address: %q, credentials: gateways}\n", gw.Addr()))
	f, err := fleetdir.Load(p.dir)
	require.NoError(t, err)
	secrets, err := credentials.Open(dir)
	require.NoError(t, err)
	driver := sshhost.New(sshhost.Options{})
	t.Cleanup(driver.Close)
	p.operator, err = fleet.New(fleet.Options{Fleet: f, Drivers: []devices.Driver{p.driver, driver}, Credentials: secrets,
		Pins: Pins(func() *store.Store { return p.store })})
	require.NoError(t, err)
	return gw
}

func TestWhatAGatewayProvesIsPinnedShownAndRequiredFromThenOn(t *testing.T) {
	p := newPlant(t)
	gw := p.addGateway()
	env := p.env()
	onboard := func(trust contract.Trust) contract.OnboardDeviceResult {
		t.Helper()
		out, err := next[contract.OnboardDeviceResult](env, contract.ActivityOnboard, contract.OnboardDeviceInput{Trust: trust, Yield: true,
			Scope: contract.Scope{DeviceID: "gw-1", Reason: "commissioning", Actor: contract.Actor{Kind: contract.ActorOperator, Name: "kim"}}})
		require.NoError(t, err)
		return out
	}
	fingerprint := func() contract.FingerprintReport {
		t.Helper()
		out, err := do[contract.FingerprintReport](p, contract.AskDeviceFingerprint, contract.DeviceQuery{ID: "gw-1"})
		require.NoError(t, err)
		return out
	}
	require.Equal(t, contract.FingerprintReport{DeviceID: "gw-1", Protocol: "ssh", Address: gw.Addr(), Shown: []string{gw.Fingerprint()},
		Verdict: contract.FingerprintUnpinned, State: fmt.Sprintf("ssh: {host_keys: [%q]}", gw.Fingerprint())}, fingerprint())

	out := onboard(contract.Trust{})
	require.Equal(t, []string{contract.PhaseEnrol, contract.ErrAuth}, []string{out.Failure.Phase, out.Failure.Reason})
	require.False(t, out.Later, "another try would not find another answer")
	out = onboard(contract.Trust{TrustFirstUse: true})
	require.Nil(t, out.Failure)
	require.Equal(t, contract.PhaseEnrol, out.Phases[1].Phase)
	r, err := p.store.Registered(t.Context(), "gw-1")
	require.NoError(t, err)
	require.Equal(t, gw.Fingerprint(), r.Pin)

	show, err := do[contract.DeviceDetail](p, contract.AskDeviceShow, contract.DeviceQuery{ID: "gw-1"})
	require.NoError(t, err)
	require.Equal(t, []string{"ssh", "gateways", gw.Fingerprint(), store.StateOnboarded, r.Serial},
		[]string{show.Protocol, show.Credentials, show.Pin, show.Registry, show.Serial})
	require.Equal(t, contract.FingerprintPinned, fingerprint().Verdict)

	require.NoError(t, gw.WriteFile("/etc/edge/config.yaml", sshsim.FactoryConfig("gw-1")+"# by hand\n", 0o640))
	drift, err := do[contract.DriftReport](p, contract.AskDeviceDrift, contract.DeviceQuery{ID: "gw-1"})
	require.NoError(t, err)
	require.Len(t, drift.Drifted, 1)
	require.Contains(t, drift.Drifted[0].Diff, "-# the baseline's\n+# by hand\n")
	page, err := p.store.ListLedger(t.Context(), store.LedgerQuery{DeviceID: "gw-1"})
	require.NoError(t, err)
	for _, e := range page.Entries {
		require.NotContains(t, e.Before+e.After, "# the baseline's", "the ledger has digests of files")
	}
}

func TestAnAnswerWithManyFilesKeepsItsSize(t *testing.T) {
	long := strings.Repeat("é", 300<<10)
	list := settingDrifts([]fleet.SettingDrift{{Setting: "line", Want: long, Got: long, Diff: "-a\n+b\n"}})
	require.Less(t, len(list[0].Want)+len(list[0].Got), 3<<10)
	require.Equal(t, "-a\n+b\n", list[0].Diff)
	require.Less(t, len(driftText(fleet.DriftReport{Drifted: []fleet.SettingDrift{{Setting: "line", Want: long, Got: long}}})), 1<<10)
}
