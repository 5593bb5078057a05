package opcuasim_test

import (
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/devices/opcua"
	"edgefleet/devices/profile"
	"edgefleet/devices/sim/opcuasim"
)

func artifact(version, text string) devices.Artifact {
	return devices.Artifact{Version: version, SHA256: sha256.Sum256([]byte(text)), Size: int64(len(text)), Content: strings.NewReader(text)}
}

// installer installs on the controller as its built-in profile says.
func installer(t *testing.T, driver *opcua.Driver, d *opcuasim.Device) devices.Installer {
	t.Helper()
	profiles, err := profile.Builtin()
	require.NoError(t, err)
	i, err := driver.OpenInstaller(t.Context(), endpoint(t, d), *profiles[opcuasim.Profile].Install)
	require.NoError(t, err)
	t.Cleanup(i.Close)
	return i
}

func firmware() devices.Point {
	return devices.Point{Name: "firmware", Type: devices.String, OPCUA: &devices.NodeAddress{ID: "i=2264"}}
}

func TestTheControllerIsPatchedByTheStandardsSoftwareUpdate(t *testing.T) {
	d := start(t)
	driver, link := open(t, endpoint(t, d))
	i, a := installer(t, driver, d), artifact("3.3.0", opcuasim.Image("3.3.0", true))
	var last int64
	require.NoError(t, i.Stage(t.Context(), a, func(done int64) { last = done }))
	require.Equal(t, a.Size, last)
	require.Equal(t, "3.2.1", read(t, link, firmware()), "what is staged does not run")
	last = 0
	require.NoError(t, i.Stage(t.Context(), a, func(done int64) { last = done }))
	require.Zero(t, last, "what is pending already is not sent again")
	require.NoError(t, i.Install(t.Context(), a))
	require.NoError(t, i.Confirm(t.Context()))
	require.Equal(t, "3.3.0", read(t, link, firmware()))

	again := start(t, func(c *opcuasim.Config) { c.Memory = d.Memory() })
	driver, link = open(t, endpoint(t, again))
	require.Equal(t, "3.3.0", read(t, link, firmware()))
	require.NoError(t, installer(t, driver, again).Revert(t.Context()))
	require.Equal(t, "3.2.1", read(t, link, firmware()))
}

func TestAControllerWithABadImageDoesNotRun(t *testing.T) {
	d := start(t)
	driver, link := open(t, endpoint(t, d))
	i, a := installer(t, driver, d), artifact("3.4.0", opcuasim.Image("3.4.0", false))
	require.NoError(t, i.Stage(t.Context(), a, nil))
	require.NoError(t, i.Install(t.Context(), a))
	state := point("Plc.State", devices.Int32)
	require.Equal(t, int64(0), read(t, link, state))
	require.NoError(t, i.Revert(t.Context()))
	require.Eventually(t, func() bool { return read(t, link, state) == int64(1) }, patience, patience/1000)
}

func TestAControllerRefusesWhatIsNoImage(t *testing.T) {
	d := start(t)
	driver, link := open(t, endpoint(t, d))
	i, a := installer(t, driver, d), artifact("3.3.0", strings.Repeat("nothing ", 2000))
	err := i.Stage(t.Context(), a, nil)
	require.Equal(t, devices.Rejected, devices.KindOf(err))
	require.ErrorContains(t, err, "no image of the controller's software")
	require.Equal(t, devices.Rejected, devices.KindOf(i.Install(t.Context(), a)), "what is not there is not installed")
	require.Equal(t, "3.2.1", read(t, link, firmware()))
}

func TestAnArtifactThatChangesWhileItIsSentIsNotCommitted(t *testing.T) {
	d := start(t)
	driver, _ := open(t, endpoint(t, d))
	a := artifact("3.3.0", opcuasim.Image("3.3.0", true))
	a.SHA256[0] ^= 1
	i := installer(t, driver, d)
	err := i.Stage(t.Context(), a, nil)
	require.ErrorContains(t, err, "the artifact was changed while it was sent")
	require.Equal(t, devices.Rejected, devices.KindOf(i.Install(t.Context(), a)))
}

func TestAServerWithoutSoftwareUpdateSaysSo(t *testing.T) {
	d := start(t)
	driver, _ := open(t, endpoint(t, d))
	i, err := driver.OpenInstaller(t.Context(), endpoint(t, d), devices.Installation{OPCUA: &devices.NodeInstall{
		Update: &devices.NodeAddress{Namespace: opcuasim.Namespace, ID: "s=Plc"}}})
	require.NoError(t, err)
	defer i.Close()
	err = i.Stage(t.Context(), artifact("3.3.0", opcuasim.Image("3.3.0", true)), nil)
	require.Equal(t, devices.Unsupported, devices.KindOf(err), "%v", err)
	_, err = driver.OpenInstaller(t.Context(), endpoint(t, d), devices.Installation{Host: &devices.HostInstall{}})
	require.Equal(t, devices.Unsupported, devices.KindOf(err))
}

// TestAFileAndMethodsOfTheServersOwnInstall takes the parts of the controller
// for those of a server that does not know the standard.
func TestAFileAndMethodsOfTheServersOwnInstall(t *testing.T) {
	d := start(t)
	driver, _ := open(t, endpoint(t, d))
	method := func(object, name string, args ...devices.MethodArgument) *devices.MethodAddress {
		return &devices.MethodAddress{Namespace: opcuasim.Namespace, Object: "s=" + object, Method: "s=" + object + "/" + name, Args: args}
	}
	i, err := driver.OpenInstaller(t.Context(), endpoint(t, d), devices.Installation{OPCUA: &devices.NodeInstall{
		File:    &devices.NodeAddress{Namespace: opcuasim.Namespace, ID: "s=Firmware/File"},
		Prepare: method("SoftwareUpdate/PrepareForUpdate", "Prepare"),
		Install: method("Firmware", "Install", devices.MethodArgument{Type: "String", Value: devices.ArgumentVersion}, devices.MethodArgument{Type: "String", Value: devices.ArgumentSHA256}),
	}})
	require.NoError(t, err)
	defer i.Close()
	a := artifact("3.3.0", opcuasim.Image("3.3.0", true))
	require.NoError(t, i.Stage(t.Context(), a, nil))
	require.NoError(t, i.Install(t.Context(), a))
	_, link := open(t, endpoint(t, d))
	require.Equal(t, "3.3.0", read(t, link, firmware()))
}
