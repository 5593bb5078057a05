package patch

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"aead.dev/minisign"

	"edgefleet/devices"
)

// ErrRefused is in the chain of every error that says that an artifact is not
// to be installed: it is not what was declared, or nobody of the fleet's keys
// has signed it.
var ErrRefused = errors.New("the patch is refused")

// maxSignature bounds a signature file, in bytes.
const maxSignature = 4 << 10

// otherFile says what to do about an artifact that is not the declared one.
const otherFile = "put the file there that was declared, or find out who changed it"

// maxRemembered bounds what a Shelf remembers; above, it forgets everything.
const maxRemembered = 1000

// Shelf opens artifacts. It remembers which of them it has checked, as long as
// their files do not change, so that a thousand devices do not cost a thousand
// checks. The zero value is ready, and safe for concurrent use.
type Shelf struct {
	// Artifacts is the worker's own folder of artifacts, or "".
	Artifacts string

	mu      sync.Mutex
	checked map[string]bool
}

// Opened is an artifact that was checked, with its file, which is to be closed.
type Opened struct {
	devices.Artifact
	io.Closer
}

// Open opens the artifact of a patch of the fleet directory dir, and checks it
// against what is declared and against the keys. A patch that is not to be
// installed is an error that wraps ErrRefused; a file that is not there is one
// that wraps fs.ErrNotExist.
func (s *Shelf) Open(dir string, p *Patch, keys []string) (*Opened, error) {
	if len(keys) == 0 {
		return nil, fmt.Errorf("%w: %s: the fleet has no key to check its signature by; declare fleet.security.patch_keys", ErrRefused, p.Name)
	}
	name, err := s.find(dir, p)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Name, err)
	}
	opened, err := s.check(f, name, p, keys)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return opened, nil
}

// find returns where the artifact stands.
func (s *Shelf) find(dir string, p *Patch) (string, error) {
	local := filepath.FromSlash(p.File)
	if filepath.IsAbs(local) {
		return local, nil
	}
	if !filepath.IsLocal(local) {
		return "", fmt.Errorf("%w: %s: the file %q leads out of its folder", ErrRefused, p.Name, p.File)
	}
	tried := []string{filepath.Join(dir, Dir, local)}
	if s.Artifacts != "" {
		tried = append(tried, filepath.Join(s.Artifacts, local))
	}
	for _, name := range tried {
		switch _, err := os.Stat(name); {
		case err == nil:
			return name, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	return "", fmt.Errorf("%s: %w: the artifact is neither of %s; put it there, or start the worker with --artifacts", p.Name, fs.ErrNotExist, strings.Join(tried, ", "))
}

func (s *Shelf) check(f *os.File, name string, p *Patch, keys []string) (*Opened, error) {
	refuse := func(format string, args ...any) (*Opened, error) {
		return nil, fmt.Errorf("%w: %s: %s %s", ErrRefused, p.Name, name, fmt.Sprintf(format, args...))
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", p.Name, err)
	case !info.Mode().IsRegular():
		return refuse("is not a regular file")
	case info.Size() != p.Size:
		return refuse("has %d bytes, and %d are declared; %s", info.Size(), p.Size, otherFile)
	}
	signature, err := readSignature(name + ".minisig")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Name, err)
	}
	out := &Opened{Artifact: devices.Artifact{Version: p.Version, Size: p.Size, Content: f}, Closer: f}
	if n, err := hex.Decode(out.SHA256[:], []byte(p.SHA256)); err != nil || n != len(out.SHA256) {
		return refuse("has no SHA-256 to be compared with")
	}
	// The same file has the same hash and signature.
	key := fmt.Sprintf("%s %d %v %s %q %q", name, info.Size(), info.ModTime().UnixNano(), p.SHA256, signature, keys)
	if s.remembers(key) {
		return out, nil
	}
	hash := sha256.New()
	signed := minisign.NewReader(io.TeeReader(io.NewSectionReader(f, 0, p.Size), hash))
	if n, err := io.Copy(io.Discard, signed); err != nil || n != p.Size {
		return nil, fmt.Errorf("%s: read %s: %d of %d bytes: %w", p.Name, name, n, p.Size, errors.Join(err, io.ErrUnexpectedEOF))
	}
	if !bytes.Equal(hash.Sum(nil), out.SHA256[:]) {
		return refuse("has the SHA-256 %.8x…, and %.16s… is declared; %s", hash.Sum(nil), p.SHA256, otherFile)
	}
	if why := verify(signed, signature, keys); why != "" {
		return refuse("%s", why)
	}
	s.remember(key)
	return out, nil
}

// verify says in words why a signature does not count, or "".
func verify(signed *minisign.Reader, text []byte, keys []string) string {
	var signature minisign.Signature
	if err := signature.UnmarshalText(text); err != nil {
		return "has a signature that is none of minisign's; sign it with minisign -Sm"
	}
	if signature.Algorithm != minisign.HashEdDSA {
		return "was signed in minisign's old way, which needs the whole file in memory; sign it anew, with minisign -H -Sm"
	}
	var known []string
	for _, one := range keys {
		var key minisign.PublicKey
		if err := key.UnmarshalText([]byte(one)); err != nil {
			continue
		}
		if signed.Verify(key, text) {
			return ""
		}
		known = append(known, fmt.Sprintf("%016X", key.ID()))
		if key.ID() == signature.KeyID {
			return fmt.Sprintf("was not signed as it is: the signature by the key %016X does not fit it; put the file there that was signed, or sign this one anew if it is what you mean", key.ID())
		}
	}
	return fmt.Sprintf("was signed by the key %016X, and the fleet trusts %s; sign it with one of these, or declare the key", signature.KeyID, strings.Join(known, ", "))
}

func readSignature(name string) ([]byte, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: there is no signature %s; sign the artifact with minisign -Sm", ErrRefused, name)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSignature+1))
	if err == nil && len(text) > maxSignature {
		err = fmt.Errorf("%w: the signature %s has more than %d bytes", ErrRefused, name, maxSignature)
	}
	return text, err
}

func (s *Shelf) remembers(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.checked[key]
}

func (s *Shelf) remember(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.checked == nil || len(s.checked) >= maxRemembered {
		s.checked = map[string]bool{}
	}
	s.checked[key] = true
}
