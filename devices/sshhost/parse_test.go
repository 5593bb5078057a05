package sshhost

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"edgefleet/devices"
)

func TestAShellReadsAQuotedTextAsOneWord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[ -~\n\t'"$\x60\\é]{0,40}`).Draw(t, "text")
		out, err := exec.Command("/bin/sh", "-c", commandLine("/usr/bin:/bin", false, "printf", "%s|", text, "b")).CombinedOutput()
		require.NoError(t, err)
		require.Equal(t, text+"|b|", string(out))
	})
}

func drawLines(t *rapid.T) string {
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"", "# tls: x", "rate: 1", "  tls: y", "tlsx: 2", "Match all", "rate", "a b"}), 0, 8).Draw(t, "lines"), "\n")
}

func TestALineThatIsSetReadsBackAndLeavesTheOthers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := &devices.HostAddress{Kind: rapid.SampledFrom([]devices.HostKind{devices.HostLine, devices.HostSSHD}).Draw(t, "kind"), Path: "/f", Key: "tls",
			Separator: rapid.SampledFrom([]string{":", "=", " "}).Draw(t, "separator")}
		before := drawLines(t)
		value := rapid.StringMatching(`[a-z0-9][a-z0-9:= ]{0,10}[a-z0-9]`).Draw(t, "value")
		once, err := setLine(before, value, a)
		require.NoError(t, err)
		got, err := lineValue(once, a)
		require.NoError(t, err)
		require.Equal(t, value, got)
		twice, err := setLine(once, value, a)
		require.NoError(t, err)
		require.Equal(t, once, twice)
		gone, err := setLine(once, devices.HostAbsent, a)
		require.NoError(t, err)
		require.Equal(t, strings.TrimSuffix(before, "\n"), strings.TrimSuffix(gone, "\n"))
		got, err = lineValue(gone, a)
		require.NoError(t, err)
		require.Equal(t, devices.HostAbsent, got)
	})
}

func TestAKeyThatIsSetTwiceIsNotGuessedAt(t *testing.T) {
	a := &devices.HostAddress{Kind: devices.HostLine, Path: "/f", Key: "tls", Separator: "="}
	_, err := lineValue("tls=1\nx\ntls = 2\n", a)
	require.EqualError(t, err, "/f says tls twice, in line 1 and in line 3; remove one of them on the device")
	_, err = setLine("tls=1\ntls=2", "3", a)
	require.Error(t, err)
}

func TestANewOptionOfSSHDStandsBeforeAnyMatch(t *testing.T) {
	a := &devices.HostAddress{Kind: devices.HostSSHD, Path: "/f", Key: "X11Forwarding"}
	got, err := setLine("Match User x\nx11forwarding yes\n", "no", &devices.HostAddress{Kind: devices.HostSSHD, Path: "/f", Key: "MaxAuthTries"})
	require.NoError(t, err)
	require.Equal(t, "MaxAuthTries no\nMatch User x\nx11forwarding yes\n", got)
	got, err = setLine(got, "no", a)
	require.NoError(t, err)
	require.Equal(t, "MaxAuthTries no\nMatch User x\nX11Forwarding no\n", got)
}

func TestAMarkerReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := marker{previous: rapid.Bool().Draw(t, "previous")}
		for _, k := range rapid.SliceOfDistinct(rapid.StringMatching(`[a-z]{1,8}`), func(s string) string { return s }).Draw(t, "keys") {
			m.set(entryKey(&devices.HostAddress{Kind: devices.HostLine, Key: k}), rapid.String().Draw(t, "value"))
		}
		back, err := parseMarker(m.String())
		require.NoError(t, err)
		require.Equal(t, m, back)
		cut := rapid.IntRange(0, len(m.String())-1).Draw(t, "cut")
		_, err = parseMarker(m.String()[:cut])
		require.Error(t, err, "half a marker is none")
	})
}

func FuzzParseMarker(f *testing.F) {
	f.Add((&marker{previous: true}).String())
	f.Add(markerHead + "\nprevious false\nfile: YQ==\nend\n")
	f.Fuzz(func(t *testing.T, text string) {
		if m, err := parseMarker(text); err == nil {
			again, err := parseMarker(m.String())
			require.NoError(t, err)
			require.Equal(t, m, again)
		}
	})
}

func FuzzParseRecords(f *testing.F) {
	f.Add("motd\nbegin\n0 ok aGVsbG8wCg==\n1 absent\npending:/etc/a b absent\nunits 0 \nend\n")
	f.Add("begin\nend\n")
	f.Fuzz(func(t *testing.T, text string) {
		records, err := parseRecords(text)
		if err != nil {
			return
		}
		s := &script{units: []string{"a.service"}}
		for _, a := range []devices.HostAddress{
			{Kind: devices.HostFile, Path: "/etc/a b"}, {Kind: devices.HostMode, Path: "/etc/a b"},
			{Kind: devices.HostService, Key: "a.service"}, {Kind: devices.HostSSHD, Key: "port"}, {Kind: devices.HostFact, Key: "os"},
			{Kind: devices.HostFile, Path: "/etc/a b", Restart: &devices.HostCommand{Args: []string{"x"}}},
		} {
			_, _ = s.interpret(records, 0, devices.Point{Name: "p", Type: devices.String, Host: &a})
		}
	})
}

func TestServiceStepsLeadFromOneStateToTheOther(t *testing.T) {
	for name, c := range map[string]struct{ was, want, steps string }{
		"a running one is stopped and disabled":         {"enabled active", "disabled inactive", "stop disable"},
		"a masked one is unmasked before it is enabled": {"masked inactive", "enabled active", "unmask enable start"},
		"one is stopped before it is masked":            {"static active", "masked inactive", "stop mask"},
		"one that failed is stopped":                    {"enabled failed", "enabled inactive", "stop"},
		"only what differs is done":                     {"enabled inactive", "enabled active", "start"},
		"a static one can be started":                   {"static inactive", "static active", "start"},
	} {
		t.Run(name, func(t *testing.T) {
			steps, err := serviceSteps("a.service", c.was, c.want)
			require.NoError(t, err)
			var verbs []string
			for _, s := range steps {
				require.Equal(t, []string{"systemctl", "--no-ask-password", s[2], "--", "a.service"}, s)
				verbs = append(verbs, s[2])
			}
			require.Equal(t, c.steps, strings.Join(verbs, " "))
		})
	}
	for _, want := range []string{"static active", "enabled failed", "masked active"} {
		_, err := serviceSteps("a.service", "enabled inactive", want)
		require.Error(t, err, want)
	}
}

func TestLeftoversAreTheFilesOfThisTargetOnly(t *testing.T) {
	name := unpredictable("/etc/edge/config.yaml")
	require.True(t, strings.HasPrefix(name, "/etc/edge/.config.yaml.edgefleet-"))
	require.NotEqual(t, name, unpredictable("/etc/edge/config.yaml"))
	for n, want := range map[string]bool{
		strings.TrimPrefix(name, "/etc/edge/"):                                             true,
		strings.TrimPrefix(unpredictable(markerOf("/etc/edge/config.yaml")), "/etc/edge/"): true,
		strings.TrimPrefix(kept("/etc/edge/config.yaml", 1), "/etc/edge/"):                 false,
		".config.yaml.edgefleet-pending":                                                   false,
		".config.yaml.edgefleet-0123.new":                                                  false,
		".other.yaml.edgefleet-0123456789abcdef.new":                                       false,
		"config.yaml.new": false,
	} {
		require.Equal(t, want, isLeftover("/etc/edge/config.yaml", n), n)
	}
}
