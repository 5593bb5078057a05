package github_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"mvdan.cc/sh/v3/syntax"

	"edgefleet/integration/github"
)

var update = flag.Bool("update", false, "write the scripts into the workflow")

type workflow struct {
	On          map[string]any    `yaml:"on"`
	Permissions map[string]string `yaml:"permissions"`
	Concurrency struct {
		Group string `yaml:"group"`
	} `yaml:"concurrency"`
	Jobs map[string]job `yaml:"jobs"`
}

type job struct {
	If             string            `yaml:"if"`
	Needs          string            `yaml:"needs"`
	RunsOn         string            `yaml:"runs-on"`
	TimeoutMinutes int               `yaml:"timeout-minutes"`
	Environment    string            `yaml:"environment"`
	Permissions    map[string]string `yaml:"permissions"`
	Steps          []step            `yaml:"steps"`
}

type step struct {
	Name  string            `yaml:"name"`
	Uses  string            `yaml:"uses"`
	Shell string            `yaml:"shell"`
	Run   string            `yaml:"run"`
	With  map[string]any    `yaml:"with"`
	Env   map[string]string `yaml:"env"`
}

// scriptOf names the script of each step that runs one.
var scriptOf = map[string]string{
	"Get edgefleet": "install", "Find changed configs": "changed", "Validate configs": "validate", "Plan": "plan", "Comment": "comment",
	"Deploy to canary": "canary", "Run health checks": "health", "Deploy to production": "production",
}

// body is a script without its first line.
func body(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("scripts", name+".sh"))
	require.NoError(t, err)
	rest, ok := strings.CutPrefix(string(data), "#!/bin/sh\n")
	require.True(t, ok, "%s.sh begins with #!/bin/sh", name)
	return rest
}

func load(t testing.TB) workflow {
	t.Helper()
	data, err := github.Files.ReadFile(github.WorkflowFile)
	require.NoError(t, err)
	var w workflow
	require.NoError(t, yaml.Unmarshal(data, &w))
	return w
}

var runBlock = regexp.MustCompile(`(?m)^      - name: (.+)\n(?:        .*\n)*?        run: \|\n((?:          .*\n|\n)+)`)

func TestEveryStepIsItsScript(t *testing.T) {
	if *update {
		data, err := os.ReadFile(github.WorkflowFile)
		require.NoError(t, err)
		text := runBlock.ReplaceAllStringFunc(string(data), func(block string) string {
			m := runBlock.FindStringSubmatch(block)
			var out strings.Builder
			for line := range strings.Lines(body(t, scriptOf[m[1]])) {
				out.WriteString("          " + line)
			}
			return strings.TrimSuffix(block, m[2]) + out.String() + strings.Repeat("\n", len(m[2])-len(strings.TrimRight(m[2], "\n"))-1)
		})
		require.NoError(t, os.WriteFile(github.WorkflowFile, []byte(text), 0o644))
		return
	}
	used := map[string]bool{}
	for id, j := range load(t).Jobs {
		for _, s := range j.Steps {
			if s.Run == "" {
				continue
			}
			script, known := scriptOf[s.Name]
			require.True(t, known, "%s: %s has no script", id, s.Name)
			require.Equal(t, body(t, script), s.Run, "%s: %s; write the scripts into the workflow with -update", id, s.Name)
			require.Equal(t, "sh", s.Shell)
			used[script] = true
		}
	}
	files, err := filepath.Glob("scripts/*.sh")
	require.NoError(t, err)
	require.Len(t, used, len(files), "every script is a step")
}

func TestScriptsArePOSIX(t *testing.T) {
	files, err := filepath.Glob("scripts/*.sh")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		f, err := os.Open(file)
		require.NoError(t, err)
		_, err = syntax.NewParser(syntax.Variant(syntax.LangPOSIX)).Parse(f, file)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
}

func TestTheWorkflowGivesAwayNothing(t *testing.T) {
	w := load(t)
	require.Empty(t, w.Permissions, "a job that says nothing may do nothing")
	require.NotNil(t, w.Permissions)
	require.NotEmpty(t, w.Concurrency.Group)
	require.NotContains(t, w.On, "pull_request_target", "it would give a stranger's code the repository's secrets")
	pinned := []string{"actions/checkout@v4", "actions/upload-artifact@v4", "actions/download-artifact@v4"}
	for id, j := range w.Jobs {
		require.Positive(t, j.TimeoutMinutes, id)
		for scope, level := range j.Permissions {
			switch {
			case level == "read":
			case id == "comment" && scope == "pull-requests":
				require.False(t, slices.ContainsFunc(j.Steps, func(s step) bool { return strings.HasPrefix(s.Uses, "actions/checkout") }), "what may write runs no code of the pull request")
			default:
				t.Errorf("%s may %s %s", id, level, scope)
			}
		}
		for _, s := range j.Steps {
			require.NotContains(t, s.Run, "${{", "%s: %s: what GitHub puts into a script can be code; give it in env", id, s.Name)
			if s.Uses != "" {
				require.Contains(t, pinned, s.Uses, id)
			}
			if strings.HasPrefix(s.Uses, "actions/checkout") {
				require.Equal(t, false, s.With["persist-credentials"], id)
			}
			if _, ok := s.Env["TEMPORAL_API_KEY"]; ok {
				require.Equal(t, "self-hosted", j.RunsOn, "%s: %s", id, s.Name)
			}
		}
	}
	require.Equal(t, "production", w.Jobs["production"].Environment)
	require.Equal(t, "canary", w.Jobs["production"].Needs)
	require.Equal(t, "validate", w.Jobs["canary"].Needs)
	require.Contains(t, w.Jobs["canary"].If, "push")
	require.Contains(t, w.Jobs["plan"].If, "head.repo.full_name == github.repository", "a fork's code does not reach the self-hosted runner")
}
