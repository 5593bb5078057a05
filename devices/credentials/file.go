package credentials

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The keys of an entry, as Kubernetes names them.
const (
	Username      = "username"
	Password      = "password"
	SSHPrivateKey = "ssh-privatekey"
	TLSCert       = "tls.crt"
	TLSKey        = "tls.key"
	UserCert      = "user.crt"
	UserKey       = "user.key"
)

// keys are all of them, in the order of the manual.
func keys() []string {
	return []string{Username, Password, SSHPrivateKey, TLSCert, TLSKey, UserCert, UserKey}
}

const (
	// maxText bounds a user name or a password, in bytes.
	maxText = 4 << 10
	// maxPEM bounds a key or a chain of certificates, in bytes.
	maxPEM = 64 << 10
	// tooOpen are the permissions that a secret must not have: others read or
	// write it, or the group writes it.
	tooOpen = 0o026
	// chmod is the remedy for that.
	chmod = "chmod 0400 it, or 0440 for a group (defaultMode: 0440 in Kubernetes)"
)

// errAbsent says that a file is not there; the caller says what to do.
var errAbsent = errors.New("is not there")

// read returns the content of a file of at most limit bytes.
func read(file string, limit int) ([]byte, error) {
	// A pipe would hold the opener until somebody writes to it, so the file is
	// looked at first; what was opened is looked at again, because it counts.
	if info, err := os.Stat(file); err != nil || !info.Mode().IsRegular() {
		return nil, unreadable(file, err)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, unreadable(file, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, unreadable(file, err)
	}
	if mode := info.Mode().Perm(); mode&tooOpen != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("%s has the mode %04o, so that others on this machine can read or change it; %s", file, mode, chmod)
	}
	data, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	switch {
	case err != nil:
		return nil, unreadable(file, err)
	case len(data) > limit:
		return nil, fmt.Errorf("%s has more than %d bytes; put the secret alone into it", file, limit)
	}
	return data, nil
}

// unreadable says why a file cannot be read; the error is nil for what is not
// a regular file.
func unreadable(file string, err error) error {
	switch {
	case err == nil:
		return fmt.Errorf("%s is not a regular file; put the secret into a file of that name", file)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s %w", file, errAbsent)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s may not be read by this process; make the user or group that it runs as the owner of the file", file)
	}
	return fmt.Errorf("read the credentials: %w", err)
}

// text reads a user name or a password: one line, whose end does not count.
func (f *Folder) text(name, key string) (string, error) {
	file := f.file(name, key)
	data, err := read(file, maxText)
	if err != nil {
		return "", err
	}
	s := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	switch {
	case s == "":
		return "", fmt.Errorf("%s is empty; write the %s into it", file, key)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl):
		return "", fmt.Errorf("%s is not one line of text in UTF-8; write the %s into it, and nothing else", file, key)
	}
	return s, nil
}

func (f *Folder) file(name, key string) string { return filepath.Join(f.dir, name, key) }

// has says whether a file is there, readable or not.
func (f *Folder) has(name, key string) bool {
	_, err := os.Stat(f.file(name, key))
	return !errors.Is(err, fs.ErrNotExist)
}
