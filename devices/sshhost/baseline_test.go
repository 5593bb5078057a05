//go:build linux

package sshhost_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/devices/sshhost"
)

// baseline is a security baseline as a profile would have it: modes, options
// of sshd, services that are off, and lines.
func (h *host) baseline() []devices.Setting {
	validate := &devices.HostCommand{Name: "check the sshd options", Args: []string{"grep", "-qv", "REFUSED", "%s"}}
	health := &devices.HostCommand{Name: "check sshd", Args: []string{"sshd", "-t", "-f", h.path("sshd_config")}, HealthWithin: 200 * time.Millisecond}
	option := func(key string) devices.HostAddress {
		return devices.HostAddress{Kind: devices.HostSSHD, Key: key, Path: h.path("sshd.d/00-edgefleet.conf"), Config: h.path("sshd_config"),
			Validate: validate, Restart: h.command("edge-restart"), Health: health}
	}
	line := devices.HostAddress{Kind: devices.HostLine, Path: h.path("etc/agent.conf"), Key: "tls", Separator: ":"}
	return []devices.Setting{
		{Point: point("x11", option("X11Forwarding")), Value: "no"},
		{Point: point("tries", option("MaxAuthTries")), Value: 3},
		{Point: point("root", option("PermitRootLogin")), Value: "prohibit-password"},
		{Point: point("config_mode", devices.HostAddress{Kind: devices.HostMode, Path: h.path("etc/config.yaml")}), Value: "600 " + h.user + ":" + h.group},
		{Point: point("telnet", devices.HostAddress{Kind: devices.HostService, Key: "telnet.socket"}), Value: "disabled inactive"},
		{Point: point("ftp", devices.HostAddress{Kind: devices.HostService, Key: "ftp.service"}), Value: "masked inactive"},
		{Point: point("agent", devices.HostAddress{Kind: devices.HostService, Key: "edge-agent.service"}), Value: "enabled active"},
		{Point: point("rsh", devices.HostAddress{Kind: devices.HostService, Key: "rsh.socket"}), Value: "disabled inactive"},
		{Point: point("tls", line), Value: "required"},
	}
}

func (h *host) drifted() *host {
	h.write("sshd.d/50-site.conf", "X11Forwarding yes\nMaxAuthTries 9\n", 0o644)
	h.write("etc/agent.conf", "# tls: off is for tests\nrate: 1\ntls: off\n  tls: nested\n", 0o644)
	h.write("service/telnet.socket", "enabled active\n", 0o644)
	h.write("service/ftp.service", "enabled active\n", 0o644)
	h.write("service/edge-agent.service", "masked inactive\n", 0o644)
	return h
}

func pointsOf(settings []devices.Setting) []devices.Point {
	var out []devices.Point
	for _, s := range settings {
		out = append(out, s.Point)
	}
	return out
}

func TestASecurityBaselineIsReadInOneCommandAndRestoredOnce(t *testing.T) {
	h := startHost(t).drifted()
	l := h.link()
	settings := h.baseline()
	owner := h.user + ":" + h.group
	got, err := l.Read(t.Context(), pointsOf(settings))
	require.NoError(t, err)
	require.Equal(t, []devices.Value{"yes", "9", "without-password", "0640 " + owner, "enabled active", "enabled active", "masked inactive", "disabled inactive", "off"}, got)
	require.EqualValues(t, 1, sshhost.Sessions(l), "one command reads them all")

	require.NoError(t, l.Write(t.Context(), settings))
	want := []devices.Value{"no", "3", "without-password", "0600 " + owner, "disabled inactive", "masked inactive", "enabled active", "disabled inactive", "required"}
	got, err = l.Read(t.Context(), pointsOf(settings))
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.Equal(t, 1, h.restarts())
	require.Equal(t, "# tls: off is for tests\nrate: 1\ntls: required\n  tls: nested\n", h.read("etc/agent.conf"))

	h.remove("systemctl.log")
	require.NoError(t, l.Write(t.Context(), settings))
	require.Equal(t, 1, h.restarts(), "what is as it should be is left alone")
	require.Equal(t, 1, strings.Count(h.read("systemctl.log"), "\n"), "and only looked at")
}

func TestManyPointsAreStillOneCommand(t *testing.T) {
	h := startHost(t)
	var points []devices.Point
	for i := range 100 {
		h.write(fmt.Sprintf("etc/f%d", i), fmt.Sprint(i), 0o644)
		points = append(points, point(fmt.Sprintf("f%d", i), devices.HostAddress{Kind: devices.HostFile, Path: h.path(fmt.Sprintf("etc/f%d", i))}))
	}
	l := h.link()
	got, err := l.Read(t.Context(), points)
	require.NoError(t, err)
	require.Equal(t, "99", got[99])
	require.EqualValues(t, 1, sshhost.Sessions(l))
}

func TestAnUnhealthySSHDGetsItsOptionsAndModesBack(t *testing.T) {
	h := startHost(t).drifted()
	settings := h.baseline()
	settings[1].Value = "none" // sshd wants a number
	err := h.link().Write(t.Context(), settings)
	require.Equal(t, devices.Rejected, devices.KindOf(err))
	require.ErrorContains(t, err, "MaxAuthTries")
	require.NoFileExists(t, h.path("sshd.d/00-edgefleet.conf"))
	require.Contains(t, h.read("etc/agent.conf"), "tls: off\n")
	info, err := os.Stat(h.path("etc/config.yaml"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), info.Mode())
	require.Equal(t, "enabled active\n", h.read("service/telnet.socket"), "services come last")
}

func TestWhatMayNotBeLookedAtIsAnErrorAndNotAbsent(t *testing.T) {
	h := startHost(t)
	require.NoError(t, os.Mkdir(h.path("etc/closed"), 0o000))
	if h.uid != os.Getuid() {
		require.NoError(t, os.Lchown(h.path("etc/closed"), h.uid, h.gid))
	}
	h.write("etc/secret", "x", 0o000)
	l := h.link()
	for name, p := range map[string]devices.Point{
		"a file in a closed directory": point("p", devices.HostAddress{Kind: devices.HostFile, Path: h.path("etc/closed/file")}),
		"a mode in a closed directory": point("p", devices.HostAddress{Kind: devices.HostMode, Path: h.path("etc/closed/file")}),
		"a file that is not readable":  point("p", devices.HostAddress{Kind: devices.HostFile, Path: h.path("etc/secret")}),
		"a directory":                  point("p", devices.HostAddress{Kind: devices.HostFile, Path: h.path("etc")}),
		"sshd with a broken configuration": point("p", devices.HostAddress{Kind: devices.HostSSHD, Key: "port",
			Config: h.path("etc/config.yaml")}),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := l.Read(t.Context(), []devices.Point{p})
			require.Equal(t, devices.Rejected, devices.KindOf(err), "%v", err)
		})
	}
}

func TestAServiceThatIsNotInstalledCannotBeStarted(t *testing.T) {
	h := startHost(t)
	p := point("agent", devices.HostAddress{Kind: devices.HostService, Key: "edge-agent.service"})
	err := h.link().Write(t.Context(), set(p, "enabled active"))
	require.Equal(t, devices.Rejected, devices.KindOf(err))
	require.ErrorContains(t, err, "Unit edge-agent.service not found")
}

func TestACommandRunsOnceAndItsFateIsToldApart(t *testing.T) {
	h := startHost(t)
	l := h.link()
	run := func(args ...string) devices.Point {
		return point("pulse", devices.HostAddress{Kind: devices.HostRun, Command: &devices.HostCommand{Name: "pulse", Args: args}})
	}
	require.NoError(t, l.Write(t.Context(), set(run("cp", h.path("running"), h.path("pulsed")), devices.HostRunValue)))
	require.Equal(t, configText, h.read("pulsed"))
	err := l.Write(t.Context(), set(run("ls", "/no such $(place)"), devices.HostRunValue))
	require.Equal(t, devices.Rejected, devices.KindOf(err))
	require.ErrorContains(t, err, "/no such $(place)")
	err = l.Write(t.Context(), set(run("/bin/sh", "-c", "kill -9 $$"), devices.HostRunValue))
	require.Equal(t, devices.Rejected, devices.KindOf(err))
	require.ErrorContains(t, err, "signal KILL")
	slow := run("sleep", "30")
	slow.Host.Command.Timeout = 50 * time.Millisecond
	err = l.Write(t.Context(), set(slow, devices.HostRunValue))
	require.Equal(t, devices.Indeterminate, devices.KindOf(err))
	_, err = l.Read(t.Context(), []devices.Point{slow})
	require.Equal(t, devices.Unsupported, devices.KindOf(err))
}

func TestAWriteIsRefusedAsAWholeBeforeAnythingIsSent(t *testing.T) {
	h := startHost(t)
	l := h.link()
	line := point("line", devices.HostAddress{Kind: devices.HostLine, Path: h.path("etc/config.yaml"), Key: "rate", Separator: ":"})
	fact := point("os", devices.HostAddress{Kind: devices.HostFact, Key: "os"})
	for name, c := range map[string]struct {
		settings []devices.Setting
		kind     devices.Kind
		words    string
	}{
		"a file and a line of it":       {append(set(h.config(), "x"), set(line, "2")...), devices.Rejected, "both write"},
		"the same place twice":          {append(set(line, "1"), set(line, "2")...), devices.Rejected, "the same place"},
		"a fact":                        {set(fact, "debian"), devices.Unsupported, "can only be read"},
		"a line of two lines":           {set(line, "1\nroot: true"), devices.Rejected, "not one line"},
		"a point of another protocol":   {set(devices.Point{Name: "p", Type: devices.Uint16}, "1"), devices.Unsupported, "no place on a Linux host"},
		"a path that is not absolute":   {set(point("p", devices.HostAddress{Kind: devices.HostFile, Path: "etc/../x"}), "1"), devices.Unsupported, "not an absolute path"},
		"a file that is no text":        {set(h.config(), "\xff"), devices.Rejected, "not a text"},
		"what was only read":            {set(h.config(), devices.HostNotText+"3 bytes)"), devices.Rejected, "is no content"},
		"a mode that is none":           {set(point("m", devices.HostAddress{Kind: devices.HostMode, Path: "/etc"}), "rw root"), devices.Rejected, "not permissions and owner"},
		"a service's third state":       {set(point("s", devices.HostAddress{Kind: devices.HostService, Key: "a.service"}), "enabled"), devices.Rejected, "two states"},
		"an option without a drop-in":   {set(point("o", devices.HostAddress{Kind: devices.HostSSHD, Key: "port"}), "22"), devices.Unsupported, "no drop-in file"},
		"a unit that is an option":      {set(point("s", devices.HostAddress{Kind: devices.HostService, Key: "--now"}), "enabled active"), devices.Unsupported, "not the name of a systemd unit"},
		"an option with an end of line": {set(point("o", devices.HostAddress{Kind: devices.HostSSHD, Key: "port\n", Path: "/etc/x"}), "1"), devices.Unsupported, "not the name of an option"},
	} {
		t.Run(name, func(t *testing.T) {
			err := l.Write(t.Context(), c.settings)
			require.Equal(t, c.kind, devices.KindOf(err), "%v", err)
			require.ErrorContains(t, err, c.words)
		})
	}
	require.Zero(t, sshhost.Sessions(l))
}
