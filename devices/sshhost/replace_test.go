//go:build linux

package sshhost_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/devices/template"
)

func TestATemplateIsValidatedReplacedRestartedAndHealthy(t *testing.T) {
	h := startHost(t)
	l := h.link()
	text, err := template.Render("device-config.tmpl", "rate: {{ .settings.rate }}\nsite: {{ .site }}\nid: {{ .device_id }}\n",
		template.Data{DeviceID: "gw-1", Site: "substation-7", Settings: map[string]any{"rate": 20}})
	require.NoError(t, err)

	require.Equal(t, configText, readOne(t, l, h.config()))
	require.NoError(t, l.Write(t.Context(), set(h.config(), text)))
	require.Equal(t, text, readOne(t, l, h.config()))
	require.Equal(t, text, h.read("running"))
	require.Equal(t, configText, h.read("etc/.config.yaml.edgefleet-prev.1"))
	require.Equal(t, 1, h.restarts())
	require.Empty(t, h.hidden())
	info, err := os.Stat(h.path("etc/config.yaml"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), info.Mode())
}

func TestAnEqualFileIsNotReplacedAndNothingIsRestarted(t *testing.T) {
	h := startHost(t)
	before, err := os.Stat(h.path("etc/config.yaml"))
	require.NoError(t, err)
	require.NoError(t, h.link().Write(t.Context(), set(h.config(), configText)))
	after, err := os.Stat(h.path("etc/config.yaml"))
	require.NoError(t, err)
	require.True(t, os.SameFile(before, after))
	require.Zero(t, h.restarts())
	require.Equal(t, devices.HostAbsent, h.read("etc/.config.yaml.edgefleet-prev.1"))
}

func TestAWriteThatFailsLeavesTheHostAsItWas(t *testing.T) {
	for name, c := range map[string]struct {
		spoil    func(h *host)
		content  string
		kind     devices.Kind
		words    string
		restarts int
	}{
		"a content that validation refuses is never put in place": {
			content: "rate: INVALID\n", kind: devices.Rejected,
			words: `config.yaml was not replaced: "edge-validate" refused its new content and ended with status 1: line 2: rate is not a number`},
		"a validation that the host lacks": {
			spoil:   func(h *host) { h.remove("bin/edge-validate") },
			content: "rate: 20\n", kind: devices.Unsupported, words: "ended with status 127"},
		"an unhealthy agent gets its old file and another restart": {
			content: "rate: UNHEALTHY\n", kind: devices.Rejected, restarts: 2,
			words: `not healthy within 300ms: "edge-health" ended with status 3: agent: feeder lost; what was before has been put back and restarted`},
		"a restart that fails": {
			spoil:   func(h *host) { h.write("fail-restart", "", 0o644) },
			content: "rate: 20\n", kind: devices.Rejected,
			words: `"edge-restart" ended with status 1: unit failed; what was before has been put back`},
		"a directory that cannot be written": {
			spoil:   func(h *host) { require.NoError(h.t, os.Chmod(h.path("etc"), 0o555)) },
			content: "rate: 20\n", kind: devices.Rejected, words: "upload a candidate: permission denied"},
		"a symbolic link is not replaced": {
			spoil: func(h *host) {
				require.NoError(h.t, os.Rename(h.path("etc/config.yaml"), h.path("etc/real.yaml")))
				require.NoError(h.t, os.Symlink("real.yaml", h.path("etc/config.yaml")))
			},
			content: "rate: 20\n", kind: devices.Rejected, words: "is a symbolic link"},
	} {
		t.Run(name, func(t *testing.T) {
			h := startHost(t)
			if c.spoil != nil {
				c.spoil(h)
			}
			err := h.link().Write(t.Context(), set(h.config(), c.content))
			require.ErrorContains(t, err, c.words)
			require.Equal(t, c.kind, devices.KindOf(err))
			require.Equal(t, configText, h.read("etc/config.yaml"))
			require.Equal(t, configText, h.read("running"))
			require.Equal(t, c.restarts, h.restarts())
			require.Empty(t, h.hidden())
		})
	}
}

func TestAFullDiskLeavesTheFileAsItWas(t *testing.T) {
	h := startHost(t, withFileLimit(16))
	err := h.link().Write(t.Context(), set(h.config(), strings.Repeat("# a long comment\n", 5000)))
	require.Equal(t, devices.Rejected, devices.KindOf(err))
	require.ErrorContains(t, err, "upload a candidate")
	require.Equal(t, configText, h.read("etc/config.yaml"))
	require.Empty(t, h.hidden())
}

func TestGenerationsAreBoundedAndInOrder(t *testing.T) {
	h := startHost(t)
	l := h.link()
	for _, rate := range []string{"1", "2", "3", "4", "5"} {
		require.NoError(t, l.Write(t.Context(), set(h.config(), "rate: "+rate+"\n")))
	}
	require.Equal(t, "rate: 4\n", h.read("etc/.config.yaml.edgefleet-prev.1"))
	require.Equal(t, "rate: 3\n", h.read("etc/.config.yaml.edgefleet-prev.2"))
	require.Equal(t, "rate: 2\n", h.read("etc/.config.yaml.edgefleet-prev.3"))
	require.Equal(t, devices.HostAbsent, h.read("etc/.config.yaml.edgefleet-prev.4"))
}

func TestAFileIsMadeAndRemoved(t *testing.T) {
	h := startHost(t)
	l := h.link()
	p := point("extra", devices.HostAddress{Kind: devices.HostFile, Path: h.path("etc/it's $(new).yaml")})
	require.Equal(t, devices.HostAbsent, readOne(t, l, p))
	require.NoError(t, l.Write(t.Context(), set(p, "a: 1\n")))
	require.Equal(t, "a: 1\n", readOne(t, l, p))
	info, err := os.Stat(p.Host.Path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), info.Mode())
	require.NoError(t, l.Write(t.Context(), set(p, devices.HostAbsent)))
	require.Equal(t, devices.HostAbsent, readOne(t, l, p))
	require.NoFileExists(t, p.Host.Path)
}

func TestAFileThatWasNotThereIsRemovedAgainWhenItIsUnhealthy(t *testing.T) {
	h := startHost(t)
	h.remove("etc/config.yaml")
	err := h.link().Write(t.Context(), set(h.config(), "rate: UNHEALTHY\n"))
	require.Equal(t, devices.Rejected, devices.KindOf(err))
	require.NoFileExists(t, h.path("etc/config.yaml"))
	require.Empty(t, h.hidden())
}

func TestARuinedFileIsDriftAndIsReplaced(t *testing.T) {
	for name, content := range map[string]string{
		"zeros as after a power cut": strings.Repeat("\x00", 100),
		"longer than it may be":      strings.Repeat("x", devices.DefaultHostFile+1),
	} {
		t.Run(name, func(t *testing.T) {
			h := startHost(t)
			h.write("etc/config.yaml", content, 0o600)
			l := h.link()
			got := readOne(t, l, h.config())
			require.True(t, strings.HasPrefix(got, devices.HostNotText) || strings.HasPrefix(got, devices.HostTooLong), got)
			require.NoError(t, l.Write(t.Context(), set(h.config(), "rate: 20\n")))
			require.Equal(t, "rate: 20\n", h.read("running"))
			require.Equal(t, content, h.read("etc/.config.yaml.edgefleet-prev.1"))
		})
	}
}

func TestTwoFilesOfOneRestartAreOneChange(t *testing.T) {
	h := startHost(t)
	second := h.config()
	second.Name, second.Host = "second", &devices.HostAddress{Kind: devices.HostFile, Path: h.path("etc/second.yaml"), Restart: h.command("edge-restart"), Health: h.command("edge-health")}
	l := h.link()
	both := append(set(second, "b\n"), set(h.config(), "rate: 20\n")...)
	require.NoError(t, l.Write(t.Context(), both))
	require.Equal(t, 1, h.restarts())

	both = append(set(second, "c\n"), set(h.config(), "rate: UNHEALTHY\n")...)
	require.Error(t, l.Write(t.Context(), both))
	require.Equal(t, "b\n", h.read("etc/second.yaml"))
	require.Equal(t, "rate: 20\n", h.read("etc/config.yaml"))
	require.Equal(t, "rate: 20\n", h.read("running"))
	require.Empty(t, h.hidden())
}

func TestRootsFilesGoThroughSudo(t *testing.T) {
	h := startHost(t)
	p := h.config()
	p.Host.Become, p.Host.Restart.Become = true, true
	l := h.link()
	require.NoError(t, l.Write(t.Context(), set(p, "rate: 20\n")))
	require.Equal(t, "rate: 20\n", h.read("running"))
	require.Contains(t, h.read("sudo.log"), "edge-restart")
	h.write("no-sudo", "", 0o644)
	_, err := l.Read(t.Context(), []devices.Point{p})
	require.Equal(t, devices.Auth, devices.KindOf(err))
	require.ErrorContains(t, err, "NOPASSWD")
}
