package fleet_test

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"edgefleet/devices"
	"edgefleet/devices/fleet"
)

func TestADeviceWeCannotLogInToIsReachableAllTheSame(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(g *gateway)
		says    string
	}{
		{"nothing is pinned", func(*gateway) {}, "nothing is pinned for it, so whoever answers at 127.0.0.1:22 could be anybody; state its fingerprint at fleet.yaml:6"},
		{"its credentials are missing", func(g *gateway) {
			g.pins["gw-1"] = keyA
			require.NoError(g.t, os.RemoveAll(g.secrets+"/gateways"))
		}, "/gateways is not there"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGateway(t)
			c.prepare(g)
			found, err := g.operator(nil).Probe(t.Context(), "gw-1")
			require.NoError(t, err)
			require.True(t, found.Reachable, "what we lack says nothing about the way to it")
			require.Contains(t, found.Summary, "gw-1 answers ssh at 127.0.0.1:22")
			require.Contains(t, found.Summary, "It cannot be logged in to: ")
			require.Contains(t, found.Summary, c.says)

			_, err = g.operator(nil).Drift(t.Context(), "gw-1")
			require.Equal(t, devices.Auth, devices.KindOf(err))
			require.ErrorContains(t, err, c.says)
			_, err = g.operator(nil).Verify(t.Context(), "gw-1")
			require.Equal(t, devices.Auth, devices.KindOf(err), "nothing could be found out, which is not unhealthy")
			require.Zero(t, g.host.sent, "nothing is said to a stranger")

			g.host.dark = true
			found, err = g.operator(nil).Probe(t.Context(), "gw-1")
			require.NoError(t, err)
			require.False(t, found.Reachable)
		})
	}
}

func TestAnotherDeviceAtTheAddressIsNeitherReachableNorDark(t *testing.T) {
	for name, prepare := range map[string]func(g *gateway){
		"with credentials":    func(*gateway) {},
		"without credentials": func(g *gateway) { require.NoError(g.t, os.RemoveAll(g.secrets+"/gateways")) },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t)
			g.declare("", fmt.Sprintf("%q", keyC))
			prepare(g)
			_, err := g.operator(nil).Probe(t.Context(), "gw-1")
			require.Equal(t, devices.Auth, devices.KindOf(err), "a reset would mend nothing, and a person has to look")
		})
	}
}

func TestThatThePinIsNotKnownIsNoWordAboutTheDevice(t *testing.T) {
	g := newGateway(t)
	g.pins["gw-1"] = "!"
	_, err := g.operator(nil).Probe(t.Context(), "gw-1")
	require.ErrorContains(t, err, "the store is away")
	require.Empty(t, devices.KindOf(err))
	require.Zero(t, g.host.asked)
}

func TestADriftedFileIsShownAsADiffAndASecretIsNot(t *testing.T) {
	g := newGateway(t)
	g.pins["gw-1"] = keyB
	found, err := g.operator(nil).Drift(t.Context(), "gw-1")
	require.NoError(t, err)
	require.Len(t, found.Drifted, 3)
	by := map[string]fleet.SettingDrift{}
	for _, d := range found.Drifted {
		by[d.Setting] = d
	}
	require.Equal(t, "--- baseline /etc/edge/config.yaml\n+++ device /etc/edge/config.yaml\n@@ -1,2 +1,2 @@\n poll: 10\n-upstream: 10.0.0.1\n+upstream: 10.6.6.6\n", by["edge_config"].Diff)
	require.Regexp(t, `^sha256:[0-9a-f]{64} \(28 bytes\)$`, by["edge_config"].Got)
	require.Empty(t, by["edge_token"].Diff)
	require.Regexp(t, `^hmac-sha256:[0-9a-f]{64}$`, by["edge_token"].Got, "likely values cannot be tried without the key")
	require.Empty(t, by["log_level"].Diff)
	require.NotContains(t, fmt.Sprint(found), "s3cr3t")
	require.NotContains(t, fmt.Sprint(found), "old-token")
}

func TestADiffIsBoundedAndSaysWhatItLeavesOut(t *testing.T) {
	many := strings.Repeat("a line of the device's\n", 5000)
	for name, c := range map[string]struct {
		want, got devices.Value
		says      string
	}{
		"many lines":              {"nothing of it\n", many, "lines more)"},
		"very long lines":         {"x", strings.Repeat("é", 100_000) + "\n" + strings.Repeat("é", 100_000), "…"},
		"absent on the device":    {"x", devices.HostAbsent, "(the device has no /f)\n"},
		"not wanted":              {devices.HostAbsent, "x", "(the baseline wants no /f)\n"},
		"no text":                 {"x", devices.HostNotText + "ELF, 12 bytes)", "(/f is not a text: ELF, 12 bytes)\n"},
		"too long to be read":     {"x", devices.HostTooLong + "262144 bytes)", "(/f is longer than 262144 bytes)\n"},
		"without a line's end":    {"a\nb", "a\nc", "-b\n"},
		"empty on one side":       {"", "a\n", "+a\n"},
		"all of its lines differ": {many, strings.ReplaceAll(many, "a", "b"), "lines more)"},
	} {
		t.Run(name, func(t *testing.T) {
			diff := fleet.FileDiff("/f", c.want, c.got)
			require.Contains(t, diff, c.says)
			require.LessOrEqual(t, len(diff), 8<<10)
			require.LessOrEqual(t, strings.Count(diff, "\n"), 200)
			require.True(t, strings.HasSuffix(diff, "\n"))
		})
	}
}

func TestADiffThatIsNotCutTurnsOneFileIntoTheOther(t *testing.T) {
	content := rapid.Custom(func(t *rapid.T) string {
		lines := rapid.SliceOfN(rapid.StringMatching(`[a-c]{0,3}|(xyz ){0,200}`), 0, 120).Draw(t, "lines")
		return strings.Join(lines, "\n") + rapid.SampledFrom([]string{"", "\n"}).Draw(t, "end")
	})
	rapid.Check(t, func(t *rapid.T) {
		want, got := content.Draw(t, "want"), content.Draw(t, "got")
		if want == got {
			t.Skip()
		}
		diff := fleet.FileDiff("/f", want, got)
		require.LessOrEqual(t, len(diff), 8<<10)
		require.LessOrEqual(t, strings.Count(diff, "\n"), 200)
		if strings.Contains(diff, " more)\n") || strings.Contains(diff, "…") {
			return
		}
		require.Equal(t, got, patched(t, want, diff))
	})
}

var hunk = regexp.MustCompile(`^@@ -(\d+)(?:,(\d+))? \+`)

// patched applies a unified diff as patch(1) does.
func patched(t require.TestingT, text, diff string) string {
	lines := strings.SplitAfter(text, "\n")
	var out strings.Builder
	at, last := 0, byte(' ')
	for _, line := range strings.SplitAfter(diff, "\n")[2:] {
		if m := hunk.FindStringSubmatch(line); m != nil {
			begin, err := strconv.Atoi(m[1])
			require.NoError(t, err)
			if m[2] != "0" {
				begin--
			}
			for ; at < begin; at++ {
				out.WriteString(lines[at])
			}
			continue
		}
		if line == "" {
			continue
		}
		switch body := line[1:]; line[0] {
		case ' ', '-':
			require.Equal(t, strings.TrimSuffix(lines[at], "\n"), strings.TrimSuffix(body, "\n"))
			if line[0] == ' ' {
				out.WriteString(lines[at])
			}
			at++
		case '+':
			out.WriteString(body)
		case '\\':
			if last == '+' {
				added := strings.TrimSuffix(out.String(), "\n")
				out.Reset()
				out.WriteString(added)
			}
		}
		last = line[0]
	}
	return out.String() + strings.Join(lines[at:], "")
}

func TestFilesArePutBackExactlyWhenTheDeviceIsNotHealthyWithThem(t *testing.T) {
	for name, prepare := range map[string]func(g *gateway){
		"they were other files":       func(*gateway) {},
		"one of them was not there":   func(g *gateway) { delete(g.host.has, "edge_token") },
		"one of them has odd content": func(g *gateway) { g.host.set("edge_config", "\n  # töne ☃ \t\n\n") },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t)
			g.pins["gw-1"] = keyA
			prepare(g)
			before := g.host.now()
			g.host.onWrite = func() { g.host.set("agent", "enabled failed") }
			j := newMemory()
			report, err := g.onboard(fleet.OnboardOptions{}, j)
			require.NoError(t, err)
			require.Equal(t, fleet.PhaseVerify, report.Failed, report.Why)
			require.True(t, report.Undone, report.Why)
			after := g.host.now()
			after["agent"] = before["agent"]
			require.Equal(t, before, after)
			require.Equal(t, map[string]int{"edge_config": 2, "edge_token": 2, "log_level": 2}, g.host.writes, "there and back")
			for _, rec := range j.records {
				require.NotContains(t, fmt.Sprint(rec), "s3cr3t", "the ledger has digests of secrets")
				require.NotContains(t, fmt.Sprint(rec), "old-token")
				require.GreaterOrEqual(t, rec.Change.Within, 105*time.Second, "a write lasts as long as its commands may")
				require.Contains(t, rec.Change.After["edge_config"], "sha256:")
			}
			require.Equal(t, before["edge_config"], j.captured["edge_config"], "what is kept can be put back")
		})
	}
}

func TestAFileThatSomebodyExchangedBetweenTheBackupAndTheWriteIsNotLostWithoutAWord(t *testing.T) {
	g := newGateway(t)
	g.pins["gw-1"] = keyA
	j := newMemory()
	// The backup of an earlier attempt has another content than the write found.
	j.captured["edge_config"] = "poll: 1\n"
	g.host.onWrite = func() { g.host.set("agent", "enabled failed") }
	report, err := g.onboard(fleet.OnboardOptions{}, j)
	require.NoError(t, err)
	require.False(t, report.Undone)
	require.Contains(t, report.Why, "its changes could not be taken back")
	require.Contains(t, report.Why, "edge_config")
}

func TestOnboardingAHostHasItsEffectOnceWhereverTheProcessDies(t *testing.T) {
	for step := 0; ; step++ {
		g := newGateway(t)
		before := g.host.now()
		g.host.onWrite = func() { g.host.set("agent", "enabled failed") }
		j := newMemory()
		first := &life{left: step}
		trust := fleet.OnboardOptions{TrustFirstUse: true}
		_, err := g.operator(mortalHost{g.host, first}).Onboard(t.Context(), "gw-1", trust, mortalJournal{first, j}, nil)
		if !first.dead {
			require.NoError(t, err)
			require.Greater(t, step, 40, "the test has to reach every step")
			return
		}
		t.Run(fmt.Sprintf("step %d %s", step, first.where), func(t *testing.T) {
			require.Error(t, err)
			report, err := g.onboard(trust, j)
			require.NoError(t, err)
			require.Equal(t, fleet.PhaseVerify, report.Failed, report.Why)
			require.True(t, report.Undone, report.Why)
			require.Equal(t, map[string]int{"edge_config": 2, "edge_token": 2, "log_level": 2}, g.host.writes)
			after := g.host.now()
			after["agent"] = before["agent"]
			require.Equal(t, before, after)
		})
	}
}
