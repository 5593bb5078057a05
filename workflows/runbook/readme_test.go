package runbook

import (
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// readmeFiles returns the examples of the reference by the file name in their
// first line.
func readmeFiles(t *testing.T) (fstest.MapFS, []string) {
	t.Helper()
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	files, names := fstest.MapFS{}, []string{}
	for _, m := range regexp.MustCompile("(?s)```python\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		first, _, _ := strings.Cut(m[1], "\n")
		name := strings.TrimPrefix(first, "# runbooks/")
		require.Regexp(t, `^[a-z_]+\.py$`, name)
		require.NotContains(t, files, name)
		files[name] = &fstest.MapFile{Data: []byte(m[1])}
		names = append(names, name)
	}
	require.Greater(t, len(names), 8)
	return files, names
}

func TestEveryExampleOfTheReferenceWorksOnEveryPath(t *testing.T) {
	files, names := readmeFiles(t)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			if strings.HasSuffix(name, "_test.py") {
				results, err := TestFS(files, name)
				require.NoError(t, err)
				for _, r := range results {
					require.True(t, r.Passed(), "%s: %v", r.Name, r.Messages)
				}
				return
			}
			source := string(files[name].Data)
			prog, err := compile(name, source, inRunbook)
			require.NoError(t, err)
			require.Empty(t, Lint(name, source, prog.functionNames()...))
			for _, fn := range prog.functionNames() {
				tree, err := Plan(name, source, fn, "edge-001")
				require.NoError(t, err)
				require.False(t, tree.Cut)
				eachNode(tree.Nodes, func(n *Node) {
					if n.Kind == "failure" {
						require.Contains(t, n.Text, "fails (runbook)")
						require.Contains(t, prog.source, "fail(")
					}
				})
			}
		})
	}
}

func eachNode(nodes []*Node, fn func(*Node)) {
	for _, n := range nodes {
		fn(n)
		for _, b := range n.Branches {
			eachNode(b.Nodes, fn)
		}
	}
}

func TestTheReferenceNamesEveryBuiltinAndShowsThoseThatAreOurs(t *testing.T) {
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	for _, d := range []dialect{inRunbook, inTest} {
		for _, name := range knownNames(nil, environment(d)) {
			if name == "None" || name == "True" || name == "False" {
				continue
			}
			require.Regexp(t, "`"+name+"[`(]|### .*"+name+`\(`, string(text), "%s is not in the reference", name)
		}
	}
	files, names := readmeFiles(t)
	called := map[string]bool{}
	for _, name := range names {
		f, err := options().Parse(path.Base(name), files[name].Data, 0)
		require.NoError(t, err)
		syntax.Walk(f, func(n syntax.Node) bool {
			if id, ok := n.(*syntax.Ident); ok {
				called[id.Name] = true
			}
			return true
		})
	}
	for _, d := range []dialect{inRunbook, inTest} {
		for name := range environment(d) {
			if !strings.HasPrefix(name, "$") && !starlark.Universe.Has(name) {
				require.True(t, called[name], "no example calls %s", name)
			}
		}
	}
}

func TestTheLimitsOfTheReferenceAreTheDefaults(t *testing.T) {
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	l := DefaultLimits()
	require.Equal(t, []any{uint64(500_000), uint64(2_000_000), 1 << 20, 100_000, 4096, uint64(64 << 20), 64, 1000, 200, 64 << 10},
		[]any{l.SegmentSteps, l.TotalSteps, l.TextBytes, l.Elements, l.IntBits, l.AllocBytes, l.Depth, l.Calls, l.Prints, l.PrintBytes})
	for _, want := range []string{"500,000 / 2,000,000", "1 MiB / 100,000 elements / 4096 bits", "64 MiB", "| 64 |", "| 1,000 |", "200 lines or 64 KiB", "256 KiB / 100 / 500", "600 ms", "10 minutes"} {
		require.Contains(t, string(text), want)
	}
}
