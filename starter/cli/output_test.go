package cli_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"edgefleet/starter/cli"
	"edgefleet/workflows/contract"
)

// hostile is what a device or an alert could say to steer a terminal: escape
// sequences in seven and in eight bits, line breaks, and a mark that turns the
// direction of the text.
const hostile = "\x1b[2J\u009b1Ahealthy\r\nroot#\x07\x7f\u202egnp.exe"

func TestNothingThatADeviceSaysSteersTheTerminal(t *testing.T) {
	poison := func(out *contract.InspectResult) {
		out.Devices[0].Site, out.Device.Detail, out.Network.Diagnosis = hostile, hostile, hostile
		out.Network.Verdicts[0].Detail = hostile
		out.Drift.Drifted[0].Got, out.Drift.Baseline, out.Drift.DeviceID = hostile, hostile, hostile
		out.Incidents[0].Detail, out.Incident.Detail, out.Incident.Notes[0].Text = hostile, hostile, hostile
		out.Audit.Entries[0].After, out.Audit.Entries[1].Item = `{"a":"\u001b[2J\u202e"}`, hostile
		out.Verdict.OK, out.Verdict.Detail = false, hostile
	}
	for _, args := range []string{"device list", "device show edge-003", "device probe edge-003", "device drift edge-003",
		"incident list", "incident show inc-2", "audit list", "audit verify", "audit export"} {
		for _, format := range []string{"table", "json"} {
			t.Run(args+" "+format, func(t *testing.T) {
				s := newSession(t, answering(poison))
				words := strings.Fields(args)
				if args != "audit export" {
					words = append(words, "-o", format)
				}
				s.run(words...)
				require.Contains(t, s.out.String(), "2J")
				harmless(t, s.out.String()+s.err.String())
				if format == "json" && args != "audit export" {
					require.True(t, json.Valid([]byte(s.out.String())))
				}
			})
		}
	}
	t.Run("timeline and result", func(t *testing.T) {
		progress := timeline(hostile)
		progress[len(progress)-1].Waiting = hostile
		s := newSession(t, &fakeTemporal{progress: progress, result: contract.RemediateResult{Outcome: "resolved", Detail: hostile}})
		require.Zero(t, s.run("remediate", "edge-003"))
		harmless(t, s.out.String()+s.err.String())
	})
	t.Run("error", func(t *testing.T) {
		s := newSession(t, failing(temporal.NewNonRetryableApplicationError(hostile, contract.ErrRejected, nil)))
		require.Equal(t, 1, s.run("device", "probe", "edge-003"))
		harmless(t, s.err.String())
	})
}

func harmless(t *testing.T, text string) {
	t.Helper()
	for _, r := range text {
		if r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
			t.Fatalf("%U stands in %q", r, text)
		}
	}
}

func TestJSONMeansWhatWasAnswered(t *testing.T) {
	s := newSession(t, answering(func(out *contract.InspectResult) { out.Network.Diagnosis = hostile + " <a&b>" }))
	require.Zero(t, s.run("device", "probe", "edge-003", "-o", "json"))
	var got contract.NetworkReport
	require.NoError(t, json.Unmarshal([]byte(s.out.String()), &got))
	require.Equal(t, hostile+" <a&b>", got.Diagnosis)
	require.Contains(t, s.out.String(), "<a&b>")
}

func TestADiffIsColouredOnATerminalOnly(t *testing.T) {
	s := newSession(t, &fakeTemporal{})
	s.options.Colour = true
	s.golden("device-drift-coloured", "device", "drift", "edge-003")
	gateway := newSession(t, answering(func(out *contract.InspectResult) {
		out.Drift = &contract.DriftReport{DeviceID: "gw-1", Baseline: "gateways", Version: "3", Checked: 1, Drifted: []contract.SettingDrift{{
			Setting: "edge_config", Want: "sha256:aa (9 bytes)", Got: "sha256:bb (9 bytes)", Diff: "--- baseline /f\n+++ device /f\n@@ -1,2 +1,2 @@\n poll: 10\n-a: 1\n+a: 2\n"}}}
	}))
	gateway.options.Colour = true
	gateway.golden("device-drift-file-coloured", "device", "drift", "gw-1")

	env := func(pairs ...string) func(string) string {
		return func(name string) string {
			for i := 0; i < len(pairs); i += 2 {
				if pairs[i] == name {
					return pairs[i+1]
				}
			}
			return ""
		}
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	require.NoError(t, err)
	defer file.Close()
	read, write, err := os.Pipe()
	require.NoError(t, err)
	defer read.Close()
	defer write.Close()
	require.False(t, cli.Colourful(file, env("TERM", "xterm")), "a file")
	require.False(t, cli.Colourful(write, env("TERM", "xterm")), "a pipe")
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Logf("no terminal can be had here: %v", err)
		return
	}
	defer terminal.Close()
	require.True(t, cli.Colourful(terminal, env("TERM", "xterm")), "a terminal")
	require.True(t, cli.Colourful(terminal, env("TERM", "xterm", "NO_COLOR", "")), "an empty NO_COLOR forbids nothing")
	require.False(t, cli.Colourful(terminal, env("TERM", "xterm", "NO_COLOR", "1")))
	require.False(t, cli.Colourful(terminal, env("TERM", "dumb")))
}

func filesHere(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// pages answers the export with pages of one entry; the one after fails with
// err, when it is set.
func pages(err error) *fakeTemporal {
	return &fakeTemporal{answer: func(in contract.InspectInput) (contract.InspectResult, error) {
		n := in.Audit.After
		page := &contract.AuditPage{Entries: someLedger()[n : n+1]}
		if n < 2 {
			page.Next = n + 1
		} else if err != nil {
			return contract.InspectResult{}, err
		}
		return contract.InspectResult{Audit: page}, nil
	}}
}

func TestAnExportIsWholeOrNotThere(t *testing.T) {
	t.Run("every page is in it", func(t *testing.T) {
		t.Chdir(t.TempDir())
		s := newSession(t, pages(nil))
		require.Zero(t, s.run("audit", "export", "--file", "ledger.jsonl"), s.err.String())
		require.Equal(t, []string{"ledger.jsonl"}, filesHere(t))
		require.Empty(t, s.out.String())
		require.Equal(t, "1 entries\n2 entries\n3 entries\n", s.err.String())
		text, err := os.ReadFile("ledger.jsonl")
		require.NoError(t, err)
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		require.Len(t, lines, 3)
		for i, line := range lines {
			var e contract.LedgerEntry
			require.NoError(t, json.Unmarshal([]byte(line), &e))
			require.Equal(t, someLedger()[i], e)
		}
		info, err := os.Stat("ledger.jsonl")
		require.NoError(t, err)
		require.Zero(t, info.Mode().Perm()&0o077, "the ledger is not for others' eyes")
	})
	t.Run("a failure leaves the earlier export alone", func(t *testing.T) {
		t.Chdir(t.TempDir())
		require.NoError(t, os.WriteFile("ledger.jsonl", []byte("earlier\n"), 0o600))
		s := newSession(t, pages(errors.New("the store is away")))
		require.Equal(t, 1, s.run("audit", "export", "--file", "ledger.jsonl"))
		require.Equal(t, []string{"ledger.jsonl"}, filesHere(t))
		text, err := os.ReadFile("ledger.jsonl")
		require.NoError(t, err)
		require.Equal(t, "earlier\n", string(text))
	})
	t.Run("pages that do not advance end it", func(t *testing.T) {
		t.Chdir(t.TempDir())
		s := newSession(t, answering(func(out *contract.InspectResult) { out.Audit.Next = 3 }))
		require.Equal(t, 1, s.run("audit", "export", "--file", "ledger.jsonl"))
		require.Contains(t, s.err.String(), "would never end")
		require.Empty(t, filesHere(t))
	})
}

func TestALineOfTheLedgerStaysALine(t *testing.T) {
	hash := strings.Repeat("0123456789abcdef", 4)
	f := &fakeTemporal{answer: func(contract.InspectInput) (contract.InspectResult, error) {
		return contract.InspectResult{Audit: &contract.AuditPage{Entries: []contract.LedgerEntry{{
			Seq: 1, DeviceID: "gw-1", Phase: "event", Action: "onboard",
			After: `{"a":"sha256:` + hash + ` (120 bytes)","b":"2","c":"3","d":"4","e":"5","f":"6"}`,
		}}}}, nil
	}}
	s := newSession(t, f)
	require.Zero(t, s.run("audit", "list"), s.err.String())
	require.Contains(t, s.out.String(), "a sha256:0123456789ab (120 bytes), b 2, c 3, d 4, and 2 more")
	s = newSession(t, f)
	require.Zero(t, s.run("audit", "list", "-o", "json"))
	require.Contains(t, s.out.String(), hash, "JSON has all of it")
}
