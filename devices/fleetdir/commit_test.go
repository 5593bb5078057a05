package fleetdir_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/devices/fleetdir"
)

const (
	one = "1111111111111111111111111111111111111111"
	two = "2222222222222222222222222222222222222222"
)

// repository writes files of a checkout, and returns the fleet directory in it.
func repository(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		put(t, filepath.Join(root, name), strings.ReplaceAll(text, "ROOT", root))
	}
	dir := filepath.Join(root, "site", "fleet")
	require.NoError(t, os.MkdirAll(dir, 0o700))
	return dir
}

func put(t *testing.T, file, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
}

func TestTheCommitIsReadFromTheFilesOfGit(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"a branch":        {map[string]string{".git/HEAD": "ref: refs/heads/main\n", ".git/refs/heads/main": one + "\n"}, one},
		"a detached head": {map[string]string{".git/HEAD": two + "\n"}, two},
		"a sha-256 repository": {map[string]string{".git/HEAD": "ref: refs/heads/main\n",
			".git/refs/heads/main": strings.Repeat("a", 64) + "\n"}, strings.Repeat("a", 64)},
		"a packed branch": {map[string]string{".git/HEAD": "ref: refs/heads/main\n",
			".git/packed-refs": "# pack-refs with: peeled fully-peeled sorted\n" + two + " refs/heads/main-old\n" + one + " refs/heads/main\n^" + two + "\n"}, one},
		"a loose branch goes before its packed one": {map[string]string{".git/HEAD": "ref: refs/heads/main\n",
			".git/packed-refs": two + " refs/heads/main\n", ".git/refs/heads/main": one + "\n"}, one},
		"a branch that names another": {map[string]string{".git/HEAD": "ref: refs/heads/live\n",
			".git/refs/heads/live": "ref: refs/heads/main\n", ".git/refs/heads/main": one + "\n"}, one},
		"a worktree": {map[string]string{"site/.git": "gitdir: ROOT/repo/.git/worktrees/site\n",
			"repo/.git/worktrees/site/HEAD": "ref: refs/heads/site\n", "repo/.git/worktrees/site/commondir": "../..\n",
			"repo/.git/refs/heads/site": one + "\n", "repo/.git/HEAD": two + "\n"}, one},
		"a worktree with packed refs": {map[string]string{"site/.git": "gitdir: ../repo/.git/worktrees/site\n",
			"repo/.git/worktrees/site/HEAD": "ref: refs/heads/site\n", "repo/.git/worktrees/site/commondir": "../..\n",
			"repo/.git/packed-refs": one + " refs/heads/site\n"}, one},
		"a submodule": {map[string]string{"site/fleet/.git": "gitdir: ../../.git/modules/fleet\n",
			".git/modules/fleet/HEAD": one + "\n", ".git/HEAD": two + "\n"}, one},
		"no checkout":                   {nil, ""},
		"a branch without a commit yet": {map[string]string{".git/HEAD": "ref: refs/heads/main\n"}, ""},
		"refs in a table":               {map[string]string{".git/HEAD": "ref: refs/heads/.invalid\n"}, ""},
		"branches that name each other": {map[string]string{".git/HEAD": "ref: refs/heads/a\n", ".git/refs/heads/a": "ref: refs/heads/b\n", ".git/refs/heads/b": "ref: refs/heads/a\n"}, ""},
		"a ref that leads out":          {map[string]string{".git/HEAD": "ref: refs/../../secret\n", "secret": one + "\n"}, ""},
		"a head that is something else": {map[string]string{".git/HEAD": "hello\n"}, ""},
		"a .git file of something else": {map[string]string{"site/.git": "hello\n"}, ""},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, fleetdir.Commit(repository(t, c.files))) })
	}
}

func TestTheCommitIsThatOfTheCheckoutThatALinkLeadsTo(t *testing.T) {
	dir := repository(t, map[string]string{".git/HEAD": one + "\n"})
	link := filepath.Join(t.TempDir(), "current")
	require.NoError(t, os.Symlink(dir, link))
	require.Equal(t, one, fleetdir.Commit(link))
	require.Empty(t, fleetdir.Commit(filepath.Join(dir, "absent")))
}
