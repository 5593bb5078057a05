package sshhost

import (
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/pkg/sftp"
	"github.com/stretchr/testify/require"
)

// localFiles is a file session on this machine, without a host.
func localFiles(t *testing.T) (*files, string) {
	t.Helper()
	mine, its := net.Pipe()
	server, err := sftp.NewServer(its)
	require.NoError(t, err)
	done := make(chan struct{})
	go func() { _ = server.Serve(); close(done) }()
	client, err := sftp.NewClientPipe(mine, io.WriteCloser(mine))
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = client.Close()
		_ = server.Close()
		<-done
	})
	return &files{client: client}, t.TempDir()
}

func TestAnEarlierContentIsKeptWithAndWithoutHardLinks(t *testing.T) {
	for name, noLinks := range map[string]bool{"by a second name": false, "by a copy": true} {
		t.Run(name, func(t *testing.T) {
			f, dir := localFiles(t)
			f.noLinks = noLinks
			target := filepath.Join(dir, "config.yaml")
			j := &job{path: target}
			for _, content := range []string{"one", "two", "two", "three"} {
				require.NoError(t, f.put(target, content, 0o640, nil))
				j.content = content
				var err error
				j.now, err = f.lstat(target)
				require.NoError(t, err)
				require.NoError(t, f.rotate(j, 2))
			}
			for n, want := range map[int]string{1: "three", 2: "two"} {
				got, err := os.ReadFile(kept(target, n))
				require.NoError(t, err)
				require.Equal(t, want, string(got))
			}
			require.NoFileExists(t, kept(target, 3))
			require.NoError(t, f.put(target, "four", 0o600, nil))
			j.previous = true
			for range 2 {
				require.NoError(t, f.restore(j), "putting back can be made again")
			}
			got, err := os.ReadFile(target)
			require.NoError(t, err)
			require.Equal(t, "three", string(got))
			info, err := os.Stat(target)
			require.NoError(t, err)
			require.Equal(t, fs.FileMode(0o640), info.Mode())
			left, err := filepath.Glob(filepath.Join(dir, ".*"+freshEnding))
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

func TestAFileThatSomeoneElseChangedMeanwhileIsNotReplaced(t *testing.T) {
	f, dir := localFiles(t)
	target := filepath.Join(dir, "config.yaml")
	for name, meanwhile := range map[string]func() error{
		"it was changed": func() error { return os.WriteFile(target, []byte("someone else's"), 0o600) },
		"it was removed": func() error { return os.Remove(target) },
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, f.put(target, "one", 0o640, nil))
			now, err := f.lstat(target)
			require.NoError(t, err)
			j := &job{path: target, now: now, candidate: unpredictable(target)}
			require.NoError(t, f.create(j.candidate, "two", 0o640, nil))
			require.NoError(t, meanwhile())
			require.ErrorContains(t, f.commit(j), "someone else changed")
			require.False(t, j.committed)
			require.NoError(t, f.discard(j))
			require.NoFileExists(t, j.candidate)
		})
	}
}
