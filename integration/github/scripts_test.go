package github_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// bench runs scripts in a folder, with programs of its own in PATH that note
// how they were called.
type bench struct {
	t   testing.TB
	dir string
	env []string
}

func newBench(t testing.TB) *bench {
	t.Helper()
	for _, program := range []string{"git", "jq"} {
		_, err := exec.LookPath(program)
		require.NoError(t, err, "the scripts need %s, which every distribution has as a package of that name", program)
	}
	b := &bench{t: t, dir: t.TempDir()}
	require.NoError(t, os.Mkdir(filepath.Join(b.dir, "bin"), 0o755))
	b.env = append(os.Environ(), "PATH="+filepath.Join(b.dir, "bin")+":"+os.Getenv("PATH"), "CALLS="+filepath.Join(b.dir, "calls"),
		"CHANGED="+filepath.Join(b.dir, "changed.txt"), "ROLLOUTS="+filepath.Join(b.dir, "rollouts.tsv"), "PLAN_MD="+filepath.Join(b.dir, "plan.md"),
		"GITHUB_PATH="+filepath.Join(b.dir, "path"), "RUNNER_TEMP="+b.dir, "GITHUB_REPOSITORY=acme/fleet", "PR=7",
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	return b
}

// program puts a program into PATH; its body is shell, and comes after a note
// of the arguments.
func (b *bench) program(name, body string) {
	b.write("bin/"+name, "#!/bin/sh\nprintf '"+name+"' >>\"$CALLS\"\nprintf ' [%s]' \"$@\" >>\"$CALLS\"\necho >>\"$CALLS\"\n"+body)
	require.NoError(b.t, os.Chmod(filepath.Join(b.dir, "bin", name), 0o755))
}

func (b *bench) write(name, text string) {
	b.t.Helper()
	full := filepath.Join(b.dir, name)
	require.NoError(b.t, os.MkdirAll(filepath.Dir(full), 0o755))
	require.NoError(b.t, os.WriteFile(full, []byte(text), 0o644))
}

func (b *bench) read(name string) string {
	b.t.Helper()
	data, err := os.ReadFile(filepath.Join(b.dir, name))
	if errors.Is(err, os.ErrNotExist) {
		return ""
	}
	require.NoError(b.t, err)
	return string(data)
}

// run runs a script as GitHub does, and returns its exit code and output.
func (b *bench) run(script string, env ...string) (int, string) {
	b.t.Helper()
	full, err := filepath.Abs(filepath.Join("scripts", script+".sh"))
	require.NoError(b.t, err)
	command := exec.CommandContext(b.t.Context(), "sh", "-e", full)
	command.Dir, command.Env = b.dir, append(b.env, env...)
	out, err := command.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(b.t, err)
	}
	return command.ProcessState.ExitCode(), string(out)
}

func (b *bench) done(script string, env ...string) string {
	b.t.Helper()
	code, out := b.run(script, env...)
	require.Zero(b.t, code, "%s", out)
	return out
}

// calls are the calls of programs so far.
func (b *bench) calls() []string { return strings.Split(strings.TrimSpace(b.read("calls")), "\n") }

func (b *bench) git(args ...string) string {
	b.t.Helper()
	command := exec.CommandContext(b.t.Context(), "git", args...)
	command.Dir, command.Env = b.dir, b.env
	out, err := command.CombinedOutput()
	require.NoError(b.t, err, "%s", out)
	return strings.TrimSpace(string(out))
}

func TestChangedConfigs(t *testing.T) {
	b := newBench(t)
	b.git("init", "-q", "-b", "main")
	b.write("edge-configs/a b.yaml", "name: a\n")
	b.write("edge-configs/gone.yaml", "name: gone\n")
	b.write("edge-configs/host.yaml", "edge_config: {template: templates/device.tmpl}\n")
	b.write("edge-configs/templates/device.tmpl", "one\n")
	b.write("fleet.yaml", "fleet: {}\n")
	b.git("add", "edge-configs", "fleet.yaml")
	b.git("commit", "-qm", "first")
	first := b.git("rev-parse", "HEAD")
	b.write("edge-configs/a b.yaml", "name: changed\n")
	b.write("edge-configs/templates/device.tmpl", "two\n")
	b.write("fleet.yaml", "fleet: {name: x}\n")
	b.git("rm", "-q", "edge-configs/gone.yaml")
	b.git("commit", "-qam", "second")
	second := b.git("rev-parse", "HEAD")

	out := b.done("changed", "BASE="+first, "HEAD="+second)
	require.Equal(t, "edge-configs/a b.yaml\nedge-configs/host.yaml\n", b.read("changed.txt"), "a baseline is changed when its template is")
	require.Contains(t, out, "::warning::edge-configs/gone.yaml was removed")
	for _, base := range []string{"", strings.Repeat("0", 40), strings.Repeat("a", 40)} {
		b.done("changed", "BASE="+base, "HEAD="+second)
		require.Equal(t, "edge-configs/a b.yaml\nedge-configs/host.yaml\n", b.read("changed.txt"), "base %q: all of them", base)
	}
	b.done("changed", "BASE="+second, "HEAD="+second)
	require.Empty(t, b.read("changed.txt"))
}

func TestValidateAsksForEveryFileAtOnce(t *testing.T) {
	b := newBench(t)
	b.program("edgefleet", `[ "$1" = config ] && exit "${CODE:-0}"; exit 0`)
	b.write("changed.txt", "edge-configs/a b.yaml\nedge-configs/c.yaml\n")
	b.done("validate")
	require.Equal(t, []string{"edgefleet [config] [validate] [--fleet] [.] [--] [edge-configs/a b.yaml] [edge-configs/c.yaml]", "edgefleet [fleet] [validate] [.]"}, b.calls())
	code, _ := b.run("validate", "CODE=2")
	require.Equal(t, 2, code)
}

func TestThePlanIsACommentThatCannotBeBrokenOutOf(t *testing.T) {
	b := newBench(t)
	b.program("edgefleet", `case "$*" in *bad*) echo 'edgefleet: no such setting' >&2; exit 2;; esac; printf 'plan 12ab\n~~~\n`+"```"+`\n'`)
	b.write("changed.txt", "edge-configs/good.yaml\n")
	b.done("plan", "EDGEFLEET_SELECT=region=us-east-1")
	require.Equal(t, []string{"edgefleet [rollout] [plan] [--baseline] [edge-configs/good.yaml] [--select] [region=us-east-1] [--reason] [pull request 7] [--detail]"}, b.calls())
	require.Contains(t, b.read("plan.md"), "`edge-configs/good.yaml`\n\n    plan 12ab\n    ~~~\n    ```\n")

	b.write("changed.txt", "edge-configs/bad.yaml\nedge-configs/good.yaml\n")
	code, _ := b.run("plan")
	require.Equal(t, 1, code)
	require.Contains(t, b.read("plan.md"), "There is no plan:\n\n    edgefleet: no such setting\n")
	require.Contains(t, b.read("plan.md"), "plan 12ab", "one that cannot be planned hides no other")
	b.write("changed.txt", "")
	b.done("plan")
	require.Contains(t, b.read("plan.md"), "No baseline is changed.")
}

func TestACommentIsWrittenOver(t *testing.T) {
	b := newBench(t)
	b.program("gh", `case "$*" in *--paginate*) printf '%s' "${FOUND:-}";; esac`)
	b.done("comment")
	require.Contains(t, b.calls()[1], "[--method] [POST] [repos/acme/fleet/issues/7/comments] [--field] [body=@"+b.dir+"/plan.md]")
	b.done("comment", "FOUND=42")
	require.Contains(t, b.calls()[3], "[--method] [PATCH] [repos/acme/fleet/issues/comments/42]")
}

const hash = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// rollouts plays edgefleet: a plan for every baseline, and a status from a file.
const rollouts = `
case "$1 $2" in
"rollout plan") cat plan-answer.json ;;
"rollout start") exit "${START:-3}" ;;
"rollout status") cat status-answer.json ;;
"rollout watch") exit "${WATCH:-0}" ;;
esac`

func TestTheCanaryStartsWhatItPlanned(t *testing.T) {
	for name, c := range map[string]struct {
		plan  string
		start string
		code  int
		left  string
		calls int
	}{
		"it waits for production":               {`{"hash":"` + hash + `","waves":[{"devices":1},{"devices":9}]}`, "3", 0, "edge-configs/a.yaml\t" + hash + "\t0123456789ab\n", 2},
		"a fleet of canaries is done":           {`{"hash":"` + hash + `","waves":[{"devices":1}]}`, "0", 0, "edge-configs/a.yaml\t" + hash + "\t0123456789ab\n", 2},
		"nothing differs, so nothing starts":    {`{"hash":"` + hash + `","waves":[]}`, "3", 0, "", 1},
		"a failure ends the run, and is listed": {`{"hash":"` + hash + `","waves":[{"devices":1}]}`, "1", 1, "edge-configs/a.yaml\t" + hash + "\t0123456789ab\n", 2},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.program("edgefleet", rollouts)
			b.write("changed.txt", "edge-configs/a.yaml\n")
			b.write("plan-answer.json", c.plan)
			code, out := b.run("canary", "START="+c.start, "REASON=commit 12")
			require.Equal(t, c.code, code, out)
			require.Equal(t, c.left, b.read("rollouts.tsv"))
			calls := b.calls()
			require.Len(t, calls, c.calls)
			require.Equal(t, "edgefleet [rollout] [plan] [--baseline] [edge-configs/a.yaml] [--select] [] [--approve] [fleet] [--reason] [commit 12] [--output] [json]", calls[0])
			if c.calls > 1 {
				require.Equal(t, "edgefleet [rollout] [start] [--plan] ["+hash+"] [--watch] [--exit-when-waiting] [--reason] [commit 12]", calls[1])
			}
		})
	}
}

func TestOnlyWhatIsKnownToBeHealthyIsHealthy(t *testing.T) {
	const counts = `"healthy":%h,"already":0,"changed":0,"failed":0,"unknown":0,"not_begun":0,"skipped":0,"unsafe":0`
	status := func(state, waves string, replace ...string) string {
		text := `{"plan_hash":"` + hash + `","state":"` + state + `","detail":"why",` + strings.Replace(counts, "%h", "1", 1) + `,"waves":[` + waves + `]}`
		return strings.NewReplacer(replace...).Replace(text)
	}
	const healthy = `{"ended":"2026-01-01T00:00:00Z","verdict":"healthy"},{"verdict":""}`
	for name, c := range map[string]struct{ status, says string }{
		"a healthy canary that waits":        {status("waiting for approval", healthy), "healthy"},
		"done":                               {status("done", healthy), "healthy"},
		"paused":                             {status("paused", healthy), "it is paused: why"},
		"refused":                            {status("refused", healthy), "it is refused: why"},
		"an unknown device":                  {status("waiting for approval", healthy, `"unknown":0`, `"unknown":1`), "0 failed, 1 unknown"},
		"a failed device":                    {status("done", healthy, `"failed":0`, `"failed":2`), "2 failed"},
		"an unsafe device":                   {status("done", healthy, `"unsafe":0`, `"unsafe":1`), "0 failed, 0 unknown, 0 changed since the plan, 0 not started, 1 unsafe"},
		"a wave that nobody could judge":     {status("done", `{"ended":"2026-01-01T00:00:00Z","verdict":"unknown"}`), "a wave is not healthy"},
		"no device has had its turn":         {status("waiting for approval", `{"verdict":""}`, `"healthy":1`, `"healthy":0`), "no device has had its turn"},
		"another plan than the one approved": {status("done", healthy, hash, strings.Repeat("f", 64)), "it is of another plan"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.program("edgefleet", rollouts)
			b.write("rollouts.tsv", "edge-configs/a.yaml\t"+hash+"\t0123456789ab\n")
			b.write("status-answer.json", c.status)
			code, out := b.run("health")
			require.Contains(t, out, "edge-configs/a.yaml: rollout 0123456789ab: "+c.says)
			require.Equal(t, c.says == "healthy", code == 0, out)
		})
	}
	t.Run("an answer that is none", func(t *testing.T) {
		b := newBench(t)
		b.program("edgefleet", "exit 1")
		b.write("rollouts.tsv", "edge-configs/a.yaml\t"+hash+"\t0123456789ab\n")
		code, _ := b.run("health")
		require.NotZero(t, code)
	})
}

func TestProductionApprovesThePlanThatWasLookedAt(t *testing.T) {
	b := newBench(t)
	b.program("edgefleet", rollouts)
	b.write("rollouts.tsv", "edge-configs/a.yaml\t"+hash+"\t0123456789ab\nedge-configs/b.yaml\t"+hash+"\t0123456789ab\n")
	b.write("status-answer.json", `{"state":"waiting for approval"}`)
	b.done("production", "NOTE=run 9")
	require.Contains(t, b.calls(), "edgefleet [rollout] [approve] [0123456789ab] [--plan] ["+hash+"] [--note] [run 9]")
	require.Contains(t, b.calls(), "edgefleet [rollout] [watch] [0123456789ab] [--exit-when-waiting]")

	b.write("calls", "")
	b.write("status-answer.json", `{"state":"running"}`)
	b.done("production")
	require.NotContains(t, b.read("calls"), "approve", "run again, it only follows what is approved")
	code, out := b.run("production", "WATCH=3")
	require.Equal(t, 1, code)
	require.Equal(t, 2, strings.Count(out, "::error::"), "each rollout is followed: %s", out)
}

func TestAForeignProgramIsNotInstalled(t *testing.T) {
	b := newBench(t)
	bare := "PATH=" + filepath.Join(b.dir, "bin") + ":/usr/bin:/bin"
	code, out := b.run("install", bare)
	require.Equal(t, 2, code)
	require.Contains(t, out, "set the repository's variables")
	b.program("curl", `while [ $# -gt 0 ]; do [ "$1" = --output ] && printf 'the program' >"$2"; shift; done`)
	code, _ = b.run("install", bare, "EDGEFLEET_URL=https://example.com/edgefleet", "EDGEFLEET_SHA256="+strings.Repeat("0", 64))
	require.NotZero(t, code)
	require.Empty(t, b.read("path"))
	b.done("install", bare, "EDGEFLEET_URL=https://example.com/edgefleet", "EDGEFLEET_SHA256=50fda23bf0a5115d4f893dc10d122c10a4705f47688f5620e80611c092d4053e")
}
