package fleetdir

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

const (
	// maxRef bounds what is read of a small file of git, in bytes.
	maxRef = 4 << 10
	// maxPacked bounds what is read of the packed refs, in bytes.
	maxPacked = 16 << 20
	// maxHops bounds how often one ref may name another.
	maxHops = 5
)

var gitHash = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// Commit returns the Git commit that is checked out where dir stands, as 40 or
// 64 hexadecimal digits, or "" when dir is in no checkout or that cannot be
// said. It reads the files of git and runs nothing. The directory may have
// been changed since the checkout: the commit says where it came from, and the
// revision what it holds.
func Commit(dir string) string {
	// A deployment may put a link to the checkout of the day in dir's place.
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return ""
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return ""
	}
	for {
		if own, common, ok := gitFolders(filepath.Join(dir, ".git")); ok {
			return resolve(own, common, "HEAD", 0)
		}
		up := filepath.Dir(dir)
		if up == dir {
			return ""
		}
		dir = up
	}
}

// gitFolders finds the folder of a checkout's own HEAD, and the one with the
// refs that all checkouts of a repository share. In a worktree, and in a
// submodule, .git is a file that names the former.
func gitFolders(git string) (own, common string, ok bool) {
	info, err := os.Stat(git)
	if err != nil {
		return "", "", false
	}
	if own = git; !info.IsDir() {
		named, ok := strings.CutPrefix(firstLine(git), "gitdir: ")
		if !ok {
			return "", "", false
		}
		own = from(filepath.Dir(git), named)
	}
	if common = own; firstLine(filepath.Join(own, "commondir")) != "" {
		common = from(own, firstLine(filepath.Join(own, "commondir")))
	}
	return own, common, true
}

func from(folder, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(folder, name)
}

// resolve follows a ref to its commit: a checkout's own, a shared one, or one
// that was packed.
func resolve(own, common, ref string, hops int) string {
	if hops > maxHops || !filepath.IsLocal(ref) {
		return ""
	}
	text := firstLine(filepath.Join(own, ref))
	if text == "" {
		text = firstLine(filepath.Join(common, ref))
	}
	if text == "" {
		text = packed(filepath.Join(common, "packed-refs"), ref)
	}
	if gitHash.MatchString(text) {
		return text
	}
	if next, ok := strings.CutPrefix(text, "ref: "); ok && strings.HasPrefix(next, "refs/") {
		return resolve(own, common, next, hops+1)
	}
	return ""
}

// packed looks a ref up in the packed refs, whose lines are "hash ref".
func packed(file, ref string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, maxPacked))
	for lines.Scan() {
		if hash, name, ok := strings.Cut(lines.Text(), " "); ok && name == ref {
			return hash
		}
	}
	return ""
}

// firstLine is the first line of a small file, or "" when it cannot be read.
func firstLine(file string) string {
	info, err := os.Stat(file)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxRef {
		return ""
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimSpace(line)
}
