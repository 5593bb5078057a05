package patch_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"aead.dev/minisign"
	"github.com/stretchr/testify/require"

	"edgefleet/devices/patch"
)

// shelf is a fleet directory with one artifact, signed by a key.
type shelf struct {
	t       *testing.T
	dir     string
	key     string
	private minisign.PrivateKey
	patch   *patch.Patch
}

var content = bytes.Repeat([]byte("edge agent 3.3.0\n"), 1000)

func newShelf(t *testing.T) *shelf {
	t.Helper()
	public, private, err := minisign.GenerateKey(nil)
	require.NoError(t, err)
	s := &shelf{t: t, dir: t.TempDir(), private: private, key: public.String()}
	sum := sha256.Sum256(content)
	s.patch = &patch.Patch{Name: "agent", Version: "3.3.0", File: "agent.pkg", SHA256: hex.EncodeToString(sum[:]), Size: int64(len(content))}
	s.put(s.dir, content)
	return s
}

func sign(t *testing.T, private minisign.PrivateKey, data []byte) []byte {
	t.Helper()
	r := minisign.NewReader(bytes.NewReader(data))
	_, err := io.Copy(io.Discard, r)
	require.NoError(t, err)
	return r.Sign(private)
}

func (s *shelf) put(dir string, data []byte) {
	s.t.Helper()
	require.NoError(s.t, os.MkdirAll(filepath.Join(dir, patch.Dir), 0o700))
	s.write("agent.pkg", data)
	s.write("agent.pkg.minisig", sign(s.t, s.private, data))
}

func (s *shelf) write(name string, data []byte) {
	s.t.Helper()
	require.NoError(s.t, os.WriteFile(filepath.Join(s.dir, patch.Dir, name), data, 0o600))
}

func (s *shelf) open(keys ...string) (*patch.Opened, error) {
	return new(patch.Shelf).Open(s.dir, s.patch, keys)
}

func TestAnArtifactThatIsAsDeclaredAndSignedIsOpened(t *testing.T) {
	s := newShelf(t)
	got, err := s.open(s.key)
	require.NoError(t, err)
	defer got.Close()
	require.Equal(t, s.patch.SHA256, got.Digest())
	require.EqualValues(t, len(content), got.Size)
	data, err := io.ReadAll(io.NewSectionReader(got.Content, 0, got.Size))
	require.NoError(t, err)
	require.Equal(t, content, data)
}

func TestAnArtifactThatIsNotAsDeclaredOrSignedIsRefused(t *testing.T) {
	other, _, err := minisign.GenerateKey(nil)
	require.NoError(t, err)
	changed := bytes.Clone(content)
	changed[100] ^= 1
	for name, c := range map[string]struct {
		change func(s *shelf)
		keys   func(s *shelf) []string
		says   string
	}{
		"no key is declared":         {keys: func(*shelf) []string { return nil }, says: "the fleet has no key"},
		"signed by nobody's key":     {keys: func(*shelf) []string { return []string{other.String()} }, says: "and the fleet trusts"},
		"another content":            {change: func(s *shelf) { s.write("agent.pkg", changed) }, says: " is declared; put the file there that was declared, or find out who changed it"},
		"another length":             {change: func(s *shelf) { s.write("agent.pkg", content[:10]) }, says: "has 10 bytes, and 17000 are declared; put the file there that was declared"},
		"no signature":               {change: func(s *shelf) { require.NoError(s.t, os.Remove(filepath.Join(s.dir, "patches/agent.pkg.minisig"))) }, says: "there is no signature"},
		"a signature that is none":   {change: func(s *shelf) { s.write("agent.pkg.minisig", []byte("nothing")) }, says: "none of minisign's"},
		"a signature of the old way": {change: func(s *shelf) { s.write("agent.pkg.minisig", minisign.Sign(s.private, content)) }, says: "old way"},
		"a signature of something else": {change: func(s *shelf) { s.write("agent.pkg.minisig", sign(s.t, s.private, changed)) },
			says: "does not fit it; put the file there that was signed, or sign this one anew"},
		"a signature without end":  {change: func(s *shelf) { s.write("agent.pkg.minisig", make([]byte, 5000)) }, says: "more than 4096 bytes"},
		"a file out of its folder": {change: func(s *shelf) { s.patch.File = "../secret" }, says: "leads out of its folder"},
		"no regular file": {change: func(s *shelf) {
			name := filepath.Join(s.dir, "patches/agent.pkg")
			require.NoError(s.t, os.Remove(name))
			require.NoError(s.t, os.Mkdir(name, 0o700))
		}, says: "is not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShelf(t)
			keys := []string{s.key}
			if c.keys != nil {
				keys = c.keys(s)
			}
			if c.change != nil {
				c.change(s)
			}
			_, err := s.open(keys...)
			require.ErrorIs(t, err, patch.ErrRefused)
			require.ErrorContains(t, err, c.says)
		})
	}
}

func TestAnArtifactIsLookedForInTheFleetDirectoryThenInTheWorkersFolder(t *testing.T) {
	s := newShelf(t)
	elsewhere := t.TempDir()
	require.NoError(t, os.Rename(filepath.Join(s.dir, patch.Dir, "agent.pkg"), filepath.Join(elsewhere, "agent.pkg")))
	require.NoError(t, os.Rename(filepath.Join(s.dir, patch.Dir, "agent.pkg.minisig"), filepath.Join(elsewhere, "agent.pkg.minisig")))
	_, err := s.open(s.key)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NotErrorIs(t, err, patch.ErrRefused)
	require.ErrorContains(t, err, "--artifacts")
	own := &patch.Shelf{Artifacts: elsewhere}
	got, err := own.Open(s.dir, s.patch, []string{s.key})
	require.NoError(t, err)
	require.NoError(t, got.Close())
	s.patch.File = filepath.Join(elsewhere, "agent.pkg")
	got, err = s.open(s.key)
	require.NoError(t, err)
	require.NoError(t, got.Close())
}

func TestAnArtifactThatChangesIsCheckedAgain(t *testing.T) {
	s := newShelf(t)
	shelf := new(patch.Shelf)
	for range 2 {
		got, err := shelf.Open(s.dir, s.patch, []string{s.key})
		require.NoError(t, err)
		require.NoError(t, got.Close())
	}
	other, private, err := minisign.GenerateKey(nil)
	require.NoError(t, err)
	for range 2 {
		_, err = shelf.Open(s.dir, s.patch, []string{other.String()})
		require.ErrorIs(t, err, patch.ErrRefused, "the fleet does not trust its key any more, and no refusal is taken for a check")
	}
	s.write("agent.pkg.minisig", sign(t, private, content))
	_, err = shelf.Open(s.dir, s.patch, []string{s.key})
	require.ErrorIs(t, err, patch.ErrRefused, "it has another signature now")
	s.write("agent.pkg.minisig", sign(t, s.private, content))
	changed := bytes.Clone(content)
	changed[0] ^= 1
	s.write("agent.pkg", changed)
	later := time.Now().Add(time.Minute)
	require.NoError(t, os.Chtimes(filepath.Join(s.dir, patch.Dir, "agent.pkg"), later, later))
	_, err = shelf.Open(s.dir, s.patch, []string{s.key})
	require.ErrorIs(t, err, patch.ErrRefused)
	s.write("agent.pkg", content)
	_, err = shelf.Open(s.dir, s.patch, []string{"RWRYA0EvkHuu6S4Nsniw5dX0B4IoxgxDTrz1GFLaKrsRStNNh3cb14Hm"})
	require.ErrorIs(t, err, patch.ErrRefused, "what one key has signed is not what another has")
}
