package cli_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// completions is what the program offers after words.
func completions(t *testing.T, words ...string) []string {
	t.Helper()
	s := newSession(t, nil)
	require.Zero(t, s.run(append([]string{"__complete"}, words...)...))
	return strings.Fields(s.out.String())
}

// commands calls visit for the program and everything below it.
func commands(t *testing.T, visit func(path []string, group bool), path ...string) {
	t.Helper()
	subs := completions(t, slices.Concat(path, []string{""})...)
	if slices.Equal(path, []string{"completion"}) {
		subs = nil // these are its arguments
	}
	visit(path, len(subs) > 0)
	for _, sub := range subs {
		commands(t, visit, slices.Concat(path, []string{sub})...)
	}
}

func TestHelpOfEveryCommand(t *testing.T) {
	commands(t, func(path []string, _ bool) {
		name := strings.Join(append([]string{"edgefleet"}, path...), "-")
		t.Run(name, func(t *testing.T) {
			newSession(t, &fakeTemporal{}).golden(filepath.Join("help", name), slices.Concat(path, []string{"--help"})...)
		})
	})
}

func TestTheReferenceHasEveryCommandAndFlag(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	readme, count := string(text), 0
	commands(t, func(path []string, group bool) {
		if group {
			return
		}
		count++
		require.Contains(t, readme, "edgefleet "+strings.Join(path, " "))
		for _, flag := range completions(t, slices.Concat(path, []string{"--"})...) {
			if flag != "--help" && flag != "--v" {
				require.Contains(t, readme, flag, path)
			}
		}
	})
	require.Greater(t, count, 10)
}

func TestCompletionKnowsWhatCanComeNext(t *testing.T) {
	for _, c := range []struct {
		name, typed string
		want        []string
	}{
		{"commands", "|", []string{"device", "incident", "audit", "onboard", "drift", "remediate", "schedule", "runbook", "fleet", "config", "rollout", "patch", "credentials", "completion"}},
		{"commands by their beginning", "r|", []string{"remediate", "runbook", "rollout"}},
		{"subcommands", "device |", []string{"list", "show", "probe", "drift", "fingerprint"}},
		{"subcommands after a flag of the program", "--temporal-address t:1 device s|", []string{"show"}},
		{"flags of the command and of the program", "device drift --|", []string{"--output", "--timeout", "--temporal-address", "--temporal-namespace", "--help"}},
		{"flags after an argument", "device drift edge-003 --o|", []string{"--output"}},
		{"one dash", "device drift -|", []string{"--output", "--timeout", "--temporal-address", "--temporal-namespace", "--help"}},
		{"values of a flag", "device drift --output |", []string{"table", "json"}},
		{"values of a short flag", "device drift -o j|", []string{"json"}},
		{"values after an equals sign, as zsh gives it", "incident list --status=es|", []string{"--status=escalated"}},
		{"values after an equals sign, as bash cuts it", "device drift --output = j|", []string{"json"}},
		{"values right after the equals sign in bash", "device drift --output =|", []string{"table", "json"}},
		{"shells", "completion |", []string{"bash", "zsh"}},
		{"nothing for a file", "runbook lint |", nil},
		{"nothing for a free value", "device list --site |", nil},
		{"nothing after two dashes", "device show -- -|", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			words := strings.Split(strings.TrimSuffix(c.typed, "|"), " ")
			s := newSession(t, nil)
			require.Zero(t, s.run(append([]string{"__complete"}, words...)...))
			require.Equal(t, c.want, append([]string(nil), strings.Fields(s.out.String())...))
		})
	}
}

// TestTheProgram builds the program once, for what only a process shows.
func TestTheProgram(t *testing.T) {
	exe := filepath.Join(t.TempDir(), "edgefleet")
	out, err := exec.Command("go", "build", "-o", exe, "edgefleet/starter").CombinedOutput()
	require.NoError(t, err, string(out))
	t.Run("it exits with the code", func(t *testing.T) {
		for args, want := range map[string]int{"--help": 0, "device show": 2, "device list --temporal-address 127.0.0.1:1": 1} {
			cmd := exec.Command(exe, strings.Fields(args)...)
			_ = cmd.Run()
			require.Equal(t, want, cmd.ProcessState.ExitCode(), args)
		}
	})
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Logf("no bash here, so its completion is not shown: %v", err)
		return
	}
	for _, c := range []struct{ name, words, want string }{
		{"commands", "edgefleet re", "remediate"},
		{"subcommands", "edgefleet device ''", "list show probe drift fingerprint"},
		{"flags", "edgefleet device drift edge-003 --out", "--output"},
		{"values", "edgefleet device drift --output = j", "json"},
		{"by its path", exe + " audit ver", "verify"},
		{"from the home folder", "'~/edgefleet' audit ver", "verify"},
		{"files are left to bash", "edgefleet runbook lint auto", ""},
	} {
		t.Run("bash completes "+c.name, func(t *testing.T) {
			script := fmt.Sprintf(`source <(edgefleet completion bash)
complete -p edgefleet >&2
COMP_WORDS=(%s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_edgefleet
echo "${COMPREPLY[*]}"`, c.words)
			cmd := exec.Command(bash, "--norc", "-c", script)
			cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(exe)+":"+os.Getenv("PATH"), "HOME="+filepath.Dir(exe))
			var errs strings.Builder
			cmd.Stderr = &errs
			out, err := cmd.Output()
			require.NoError(t, err, errs.String())
			require.Equal(t, c.want, strings.TrimSpace(string(out)))
			require.Contains(t, errs.String(), "-o default", "files stay the shell's to complete")
		})
	}
}

// TestLinksNoDriverAndNoDatabase holds the promise that the operator's laptop
// needs Temporal and nothing else.
func TestLinksNoDriverAndNoDatabase(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "edgefleet/starter").Output()
	require.NoError(t, err)
	deps := strings.Fields(string(out))
	require.NotContains(t, deps, "database/sql")
	require.Contains(t, deps, "edgefleet/workflows/contract")
	// What a fleet directory declares may be read here; nothing that reaches a
	// device may be linked.
	declarations := []string{"edgefleet/devices", "edgefleet/devices/fleetdir", "edgefleet/devices/inventory", "edgefleet/devices/profile",
		"edgefleet/devices/profile/strictyaml", "edgefleet/devices/baseline", "edgefleet/devices/sunspec", "edgefleet/devices/credentials", "edgefleet/devices/patch", "edgefleet/devices/schema", "edgefleet/devices/template"}
	for _, dep := range deps {
		if strings.HasPrefix(dep, "edgefleet/devices") {
			require.Contains(t, declarations, dep)
		}
		for _, banned := range []string{"edgefleet/activities", "edgefleet/worker", "edgefleet/internal/store",
			"modernc.org/sqlite", "github.com/jackc/pgx", "modbus", "go.temporal.io/server"} {
			require.NotContains(t, dep, banned)
		}
	}
}
