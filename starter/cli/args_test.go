package cli_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"edgefleet/workflows/contract"
)

// TestFlagsMeanTheSameWhereverTheyStand puts a command's flags, the program's
// among them, into every order among its words.
func TestFlagsMeanTheSameWhereverTheyStand(t *testing.T) {
	run := func(t require.TestingT, s *session, words []string) (contract.InspectInput, string) {
		f := &fakeTemporal{}
		s.temporal = f
		s.out.buf.Reset()
		s.err.buf.Reset()
		s.options.Dial = dialTo(f)
		require.Equal(t, 1, s.run(words...), s.err.String())
		require.Len(t, f.asked, 1)
		require.Equal(t, "t.example:7233", f.dialled.Address)
		require.Equal(t, "plant", f.dialled.Namespace)
		require.Equal(t, 30*time.Second, f.options[0].WorkflowExecutionTimeout)
		return f.asked[0], s.out.String()
	}
	s := newSession(t, nil)
	flags := [][]string{{"--output", "json"}, {"--temporal-address", "t.example:7233"}, {"--temporal-namespace=plant"}, {"--timeout", "30s"}}
	wantIn, wantOut := run(t, s, append([]string{"device", "drift", "edge-003"}, slices.Concat(flags...)...))
	rapid.Check(t, func(t *rapid.T) {
		groups := rapid.Permutation(flags).Draw(t, "flags")
		// Each flag goes before the argument or after it; the program's may
		// also go before the command.
		var first, second, before, after []string
		for _, g := range groups {
			places := []*[]string{&before, &after}
			if strings.HasPrefix(g[0], "--temporal") {
				places = append(places, &first, &second)
			}
			place := rapid.SampledFrom(places).Draw(t, "place")
			*place = append(*place, g...)
		}
		words := slices.Concat(first, []string{"device"}, second, []string{"drift"}, before, []string{"edge-003"}, after)
		in, out := run(t, s, words)
		require.Equal(t, wantIn, in, "%q", words)
		require.Equal(t, wantOut, out, "%q", words)
	})
}

func TestFlagSpellings(t *testing.T) {
	for _, c := range []struct {
		name, args string
		want       contract.AuditQuery
		json       bool
	}{
		{"value after a space", "audit list --device edge-003 --limit 7", contract.AuditQuery{DeviceID: "edge-003", Limit: 7, Newest: true}, false},
		{"value after an equals sign", "audit list --device=edge-003 --limit=7", contract.AuditQuery{DeviceID: "edge-003", Limit: 7, Newest: true}, false},
		{"one dash", "audit list -device edge-003 -limit 7", contract.AuditQuery{DeviceID: "edge-003", Limit: 7, Newest: true}, false},
		{"short", "audit list -o json", contract.AuditQuery{Limit: 50, Newest: true}, true},
		{"short with an equals sign", "audit list -o=json", contract.AuditQuery{Limit: 50, Newest: true}, true},
		{"value that looks like a flag", "audit list --device -x", contract.AuditQuery{DeviceID: "-x", Limit: 50, Newest: true}, false},
		{"value that is a command's name", "audit list --device list", contract.AuditQuery{DeviceID: "list", Limit: 50, Newest: true}, false},
		{"after 0 is not newest", "audit list --after 0", contract.AuditQuery{Limit: 50}, false},
		{"an empty argument list after --", "audit list --", contract.AuditQuery{Limit: 50, Newest: true}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fakeTemporal{}
			s := newSession(t, f)
			require.Zero(t, s.run(strings.Fields(c.args)...), s.err.String())
			require.Equal(t, c.want, *f.asked[0].Audit)
			require.Equal(t, c.json, strings.HasPrefix(s.out.String(), "["))
		})
	}
}

func TestWhatFollowsTwoDashesIsNoFlag(t *testing.T) {
	for _, c := range []struct{ args, says string }{
		{"device show -- --output", `device ID "--output"`},
		{"device show -- -o json", "want exactly one device ID, got 2"},
		{"runbook lint -o json -- -a.py", "open -a.py"},
		{"runbook lint " + testdata + "auto_remediation.py -- -a.py", "open -a.py"},
		{"device list -- x", `takes no argument, got "x"`},
	} {
		t.Run(c.args, func(t *testing.T) {
			s := newSession(t, &fakeTemporal{})
			require.Equal(t, 2, s.run(strings.Fields(c.args)...))
			require.Contains(t, s.err.String(), c.says)
		})
	}
}

func TestABoolFlagTakesNoWord(t *testing.T) {
	for _, args := range []string{"remediate --detach edge-003", "remediate edge-003 --detach", "remediate --detach=true edge-003"} {
		f := &fakeTemporal{}
		require.Zero(t, newSession(t, f).run(strings.Fields(args)...))
		require.Equal(t, "edge-003", f.started[0].DeviceID, args)
	}
	f := &fakeTemporal{result: contract.RemediateResult{Outcome: "resolved"}}
	s := newSession(t, f)
	require.Zero(t, s.run("remediate", "edge-003", "--detach=false"))
	require.Contains(t, s.out.String(), "resolved", "it was followed")
}

func TestEmptyEnvironmentVariablesAreAsGoodAsNone(t *testing.T) {
	s := newSession(t, &fakeTemporal{}) // which empties them
	require.Zero(t, s.run("device", "list"), s.err.String())
	s = newSession(t, &fakeTemporal{})
	t.Setenv("EDGEFLEET_OUTPUT", "json")
	require.Zero(t, s.run("device", "list"))
	require.True(t, strings.HasPrefix(s.out.String(), "["))
	t.Setenv("EDGEFLEET_TIMEOUT", "soon")
	require.Equal(t, 2, s.run("device", "list"))
	require.Contains(t, s.err.String(), "EDGEFLEET_TIMEOUT")
}

// FuzzWords gives the command line whatever may be typed. It never panics, its
// exit code is one of three, and a failure is told on stderr.
func FuzzWords(f *testing.F) {
	for _, seed := range []string{"device list -o json", "device drift edge-003 --output", "audit list --after -1 --limit=0", "-- device list",
		"device -- show", "incident list --status= --device", "--temporal-address device list", "help device", "remediate - --detach", "device show -h"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		words := strings.Fields(line)
		for _, w := range words {
			// These would read and write files by names that the fuzzer makes up.
			if w == "runbook" || w == "export" {
				return
			}
		}
		s := newSession(t, &fakeTemporal{result: contract.RemediateResult{Outcome: "resolved"}})
		code := s.run(words...)
		require.Contains(t, []int{0, 1, 2}, code)
		if code == 2 {
			require.True(t, strings.HasPrefix(s.err.String(), "edgefleet: "), s.err.String())
		}
		s = newSession(t, nil)
		require.Zero(t, s.run(append([]string{"__complete"}, words...)...))
	})
}
