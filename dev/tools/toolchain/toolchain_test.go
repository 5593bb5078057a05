package toolchain

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// repository makes a repository with one tool module, which needs nothing from
// outside and builds in a second.
func repository(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	write := func(name, content string) {
		path := filepath.Join(root, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	}
	write("go.mod", "module edgefleet\n")
	write("dev/tools/hello/go.mod", "module hello\n\ngo 1.26\n")
	write("dev/tools/hello/go.sum", "")
	write("dev/tools/hello/main.go", "package main\n\nfunc main() { println(\"hello\") }\n")
	return root
}

var hello = Tool{Name: "hello", Title: "Hello", Module: "hello", Package: ".", Takes: "a second"}

func TestAToolIsBuiltOnceForEachPinnedVersion(t *testing.T) {
	root := repository(t)
	require.False(t, hello.current(root))
	var progress bytes.Buffer
	require.NoError(t, hello.build(context.Background(), root, &progress))
	require.Equal(t, "building Hello (first time only, about a second)\n", progress.String())
	require.True(t, hello.current(root))
	require.FileExists(t, hello.path(root))
	left, err := filepath.Glob(filepath.Join(root, "bin", ".build-*"))
	require.NoError(t, err)
	require.Empty(t, left)

	mod := filepath.Join(root, "dev", "tools", "hello", "go.mod")
	require.NoError(t, os.WriteFile(mod, []byte("module hello\n\ngo 1.26.1\n"), 0o644))
	require.False(t, hello.current(root), "a new pin is a new build")
}

func TestABuildThatFailsShowsWhatTheCompilerSaid(t *testing.T) {
	root := repository(t)
	require.NoError(t, os.WriteFile(filepath.Join(root, "dev", "tools", "hello", "main.go"), []byte("package main\n\nfunc main() { nonsense() }\n"), 0o644))
	err := hello.build(context.Background(), root, &bytes.Buffer{})
	require.ErrorContains(t, err, "building Hello failed: exit status 1\n")
	require.ErrorContains(t, err, "undefined: nonsense")
	require.False(t, hello.current(root))
}

func TestWithoutTheGoCommandTheErrorSaysWhatToInstall(t *testing.T) {
	root := repository(t)
	t.Setenv("PATH", t.TempDir())
	require.EqualError(t, hello.build(context.Background(), root, &bytes.Buffer{}),
		"Hello has to be built, but there is no go command in PATH: install Go, or give the program itself")
}

func TestTheRepositoryIsFoundFromAnyFolderInIt(t *testing.T) {
	root := repository(t)
	got, err := Root(filepath.Join(root, "dev", "tools", "hello"))
	require.NoError(t, err)
	require.Equal(t, root, got, "the module of a tool is not the repository")

	outside := t.TempDir()
	_, err = Root(outside)
	require.EqualError(t, err, outside+" is not inside the edgefleet repository, whose dev/tools says how to build: run this there, or give the programs themselves")
}

func TestAToolThatIsMissingSaysHowToBuildIt(t *testing.T) {
	root := repository(t)
	_, err := Find(root, "promtool")
	require.EqualError(t, err, filepath.Join(root, "bin", "promtool")+" is missing, or older than dev/tools/prometheus says: build it with `make tools` (or `go run ./dev/tools promtool`), half a minute after Prometheus the first time")
	_, err = Find(root, "nmap")
	require.ErrorContains(t, err, `no tool is named "nmap": there are prometheus, promtool, `)
}
