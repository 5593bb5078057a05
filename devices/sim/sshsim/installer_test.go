package sshsim_test

import (
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/devices/profile"
	"edgefleet/devices/sim/sshsim"
	"edgefleet/devices/sshhost"
)

func artifact(text string) devices.Artifact {
	return devices.Artifact{SHA256: sha256.Sum256([]byte(text)), Size: int64(len(text)), Content: strings.NewReader(text)}
}

// installer installs on the gateway as its built-in profile says.
func installer(t *testing.T, d *sshsim.Device) devices.Installer {
	t.Helper()
	profiles, err := profile.Builtin()
	require.NoError(t, err)
	driver := sshhost.New(sshhost.Options{})
	t.Cleanup(driver.Close)
	i, err := driver.OpenInstaller(t.Context(), endpoint(t, d), *profiles[sshsim.Profile].Install)
	require.NoError(t, err)
	t.Cleanup(i.Close)
	return i
}

func version(t *testing.T, d *sshsim.Device) string {
	t.Helper()
	profiles, err := profile.Builtin()
	require.NoError(t, err)
	pt, ok := profiles[sshsim.Profile].Point("firmware")
	require.True(t, ok)
	got, err := open(t, endpoint(t, d)).Read(t.Context(), []devices.Point{pt})
	require.NoError(t, err)
	return got[0].(string)
}

func healthy(t *testing.T, i devices.Installer) {
	t.Helper()
	require.Eventually(t, func() bool { return i.Check(t.Context()) == nil }, patience, patience/1000)
}

func TestTheGatewayIsPatchedAsItsProfileSaysAndRemembersIt(t *testing.T) {
	d := start(t)
	require.Equal(t, "edge-agent "+sshsim.Version, version(t, d))
	i, a := installer(t, d), artifact(sshsim.Package("3.3.0", true))
	require.NoError(t, i.Stage(t.Context(), a, nil))
	require.Equal(t, "edge-agent "+sshsim.Version, version(t, d))
	require.NoError(t, i.Install(t.Context(), a))
	require.NoError(t, i.Restart(t.Context()))
	healthy(t, i)
	require.Equal(t, "edge-agent 3.3.0", version(t, d))
	again := start(t, func(c *sshsim.Config) { c.Memory = d.Memory() })
	require.Equal(t, "edge-agent 3.3.0", version(t, again))
	i = installer(t, again)
	require.NoError(t, i.Revert(t.Context()))
	require.NoError(t, i.Restart(t.Context()))
	healthy(t, i)
	require.Equal(t, "edge-agent "+sshsim.Version, version(t, again))
}

func TestTheGatewayRefusesWhatIsNoPackage(t *testing.T) {
	d := start(t)
	err := installer(t, d).Stage(t.Context(), artifact("something else"), nil)
	require.Equal(t, devices.Rejected, devices.KindOf(err))
	require.ErrorContains(t, err, "not a package of the edge agent")
}

func TestTheAgentOfABadPackageDoesNotStart(t *testing.T) {
	d := start(t)
	i, a := installer(t, d), artifact(sshsim.Package("3.4.0", false))
	require.NoError(t, i.Stage(t.Context(), a, nil))
	require.NoError(t, i.Install(t.Context(), a))
	require.Equal(t, devices.Rejected, devices.KindOf(i.Restart(t.Context())))
	require.Equal(t, devices.Rejected, devices.KindOf(i.Check(t.Context())))
}

func TestAGatewayWithoutAnEarlierPackageCannotGoBack(t *testing.T) {
	err := installer(t, start(t)).Revert(t.Context())
	require.Equal(t, devices.Rejected, devices.KindOf(err))
}
