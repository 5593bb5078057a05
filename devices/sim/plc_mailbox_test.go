package sim_test

import (
	"crypto/sha256"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/devices/modbus"
	"edgefleet/devices/profile"
	"edgefleet/devices/sim"
)

func mailboxOf(t *testing.T, d *sim.PLC) (devices.Installer, devices.Link, *profile.Profile) {
	t.Helper()
	profiles, err := profile.Builtin()
	require.NoError(t, err)
	p := profiles["register-plc"]
	driver := modbus.New(modbus.Options{})
	t.Cleanup(driver.Close)
	ep := devices.Endpoint{DeviceID: "plc-001", Address: d.Addr(), Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	i, err := driver.OpenInstaller(t.Context(), ep, *p.Install)
	require.NoError(t, err)
	t.Cleanup(i.Close)
	l, err := driver.Open(t.Context(), ep)
	require.NoError(t, err)
	t.Cleanup(l.Close)
	return i, l, p
}

func image(text string) devices.Artifact {
	return devices.Artifact{SHA256: sha256.Sum256([]byte(text)), Size: int64(len(text)), Content: strings.NewReader(text)}
}

func startPLC(t *testing.T, m sim.Memory) *sim.PLC {
	t.Helper()
	d, err := sim.StartPLC(sim.Config{ID: "plc-001", Init: time.Millisecond, Memory: m})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

func says(t *testing.T, l devices.Link, p *profile.Profile, point string) string {
	t.Helper()
	pt, ok := p.Point(point)
	require.True(t, ok)
	got, err := l.Read(t.Context(), []devices.Point{pt})
	require.NoError(t, err)
	return pt.Text(got[0])
}

func TestTheControllerIsPatchedThroughItsMailbox(t *testing.T) {
	d := startPLC(t, sim.Memory{})
	i, l, p := mailboxOf(t, d)
	a := image(sim.PLCFirmware("3.3.0", true))
	var steps int
	require.NoError(t, i.Stage(t.Context(), a, func(int64) { steps++ }))
	require.Greater(t, steps, 3, "it comes in blocks")
	require.Equal(t, "3.2.1", says(t, l, p, "firmware"), "what is staged does not run")
	require.NoError(t, i.Install(t.Context(), a))
	require.Equal(t, "3.3.0", says(t, l, p, "firmware"))
	again := startPLC(t, d.Memory())
	i, l, p = mailboxOf(t, again)
	require.Equal(t, "3.3.0", says(t, l, p, "firmware"))
	require.NoError(t, i.Revert(t.Context()))
	require.Equal(t, "3.2.1", says(t, l, p, "firmware"))
}

func TestAControllerWithABadFirmwareDoesNotRun(t *testing.T) {
	d := startPLC(t, sim.Memory{})
	i, l, p := mailboxOf(t, d)
	a := image(sim.PLCFirmware("3.4.0", false))
	require.NoError(t, i.Stage(t.Context(), a, nil))
	require.NoError(t, i.Install(t.Context(), a))
	require.Equal(t, "stopped", says(t, l, p, "state"))
	require.NoError(t, i.Revert(t.Context()))
	require.Eventually(t, func() bool { return says(t, l, p, "state") == "running" }, 5*time.Second, time.Millisecond)
}

func TestAControllerRefusesWhatIsNoFirmware(t *testing.T) {
	d := startPLC(t, sim.Memory{})
	i, l, p := mailboxOf(t, d)
	err := i.Stage(t.Context(), image(strings.Repeat("nothing ", 100)), nil)
	require.Equal(t, devices.Rejected, devices.KindOf(err))
	require.NoError(t, i.Install(t.Context(), image("")))
	require.Equal(t, "3.2.1", says(t, l, p, "firmware"), "what was not verified is not installed")
	a := image(sim.PLCFirmware("3.3.0", true))
	require.NoError(t, i.Stage(t.Context(), a, nil), "a refused patch is not in the way of the next")
}

func TestAnUploadThroughAMailboxGoesOnFromWhatTheControllerHas(t *testing.T) {
	d := startPLC(t, sim.Memory{})
	i, _, _ := mailboxOf(t, d)
	a := image(sim.PLCFirmware("3.3.0", true))
	short := a
	short.Content = strings.NewReader(sim.PLCFirmware("3.3.0", true)[:256])
	require.Error(t, i.Stage(t.Context(), short, nil), "the artifact ends before its size")
	var first int64 = -1
	require.NoError(t, i.Stage(t.Context(), a, func(done int64) {
		if first < 0 {
			first = done
		}
	}))
	require.Equal(t, int64(256), first)
	first = -1
	require.NoError(t, i.Stage(t.Context(), a, func(done int64) { first = done }))
	require.Equal(t, int64(-1), first, "what is verified is not sent again")
}
