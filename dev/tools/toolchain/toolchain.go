// Package toolchain builds the foreign programs that edgefleet runs or is
// checked with, from source and at pinned versions: each from a module of its
// own below dev/tools, so that their dependencies never meet edgefleet's. It
// needs the go command and nothing else.
package toolchain

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Tool is how a program is built.
type Tool struct {
	// Name is the file's name in bin/.
	Name string
	// Title is the name for people.
	Title string
	// Module is the folder below dev/tools that pins the version.
	Module string
	// Package is the import path of the command.
	Package string
	// Tags are build tags.
	Tags string
	// Version is what the program says of itself; empty where the build
	// already knows.
	Version string
	// Takes says how long a first build takes on two cores.
	Takes string
}

// prometheusTags leave out the service discovery of all the clouds, which is
// most of Prometheus.
const prometheusTags = "remove_all_sd,enable_http_sd,enable_file_sd"

// Tools lists every tool, the ones that the dev stack and the tests need first.
func Tools() []Tool {
	const (
		prometheus   = "github.com/prometheus/prometheus/cmd/"
		alertmanager = "github.com/prometheus/alertmanager/cmd/"
	)
	return []Tool{
		{Name: "prometheus", Title: "Prometheus", Module: "prometheus", Package: prometheus + "prometheus", Tags: prometheusTags, Version: "3.15.0", Takes: "3 minutes"},
		{Name: "promtool", Title: "promtool", Module: "prometheus", Package: prometheus + "promtool", Tags: prometheusTags, Version: "3.15.0", Takes: "half a minute after Prometheus"},
		{Name: "alertmanager", Title: "Alertmanager", Module: "alertmanager", Package: alertmanager + "alertmanager", Version: "0.31.1", Takes: "40 seconds"},
		{Name: "amtool", Title: "amtool", Module: "alertmanager", Package: alertmanager + "amtool", Version: "0.31.1", Takes: "10 seconds after Alertmanager"},
		{Name: "golangci-lint", Title: "golangci-lint", Module: "lint", Package: "github.com/golangci/golangci-lint/v2/cmd/golangci-lint", Takes: "2 minutes"},
		{Name: "workflowcheck", Title: "workflowcheck", Module: "lint", Package: "go.temporal.io/sdk/contrib/tools/workflowcheck", Takes: "10 seconds"},
		{Name: "govulncheck", Title: "govulncheck", Module: "lint", Package: "golang.org/x/vuln/cmd/govulncheck", Takes: "10 seconds"},
	}
}

// defaults is how many of Tools the dev stack and the tests need.
const defaults = 4

// Root finds the repository from a folder in it.
func Root(dir string) (string, error) {
	start, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for dir = start; ; dir = filepath.Dir(dir) {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(mod, []byte("module edgefleet\n")) {
			return dir, nil
		}
		if filepath.Dir(dir) == dir {
			return "", fmt.Errorf("%s is not inside the edgefleet repository, whose dev/tools says how to build: run this there, or give the programs themselves", start)
		}
	}
}

// Find returns the tool in the repository's bin/, or an error that says how to
// build it, when it is missing or another version than dev/tools pins.
func Find(root, name string) (string, error) {
	t, err := lookup(name)
	if err != nil {
		return "", err
	}
	path := t.path(root)
	if !t.current(root) {
		return "", fmt.Errorf("%s is missing, or older than dev/tools/%s says: build it with `make tools` (or `go run ./dev/tools %s`), %s the first time", path, t.Module, t.Name, t.Takes)
	}
	return path, nil
}

// Ensure returns the tool in the repository's bin/, building it when it is
// missing or another version than dev/tools pins, with a line on progress.
func Ensure(ctx context.Context, root, name string, progress io.Writer) (string, error) {
	t, err := lookup(name)
	if err != nil {
		return "", err
	}
	if !t.current(root) {
		if err := t.build(ctx, root, progress); err != nil {
			return "", err
		}
	}
	return t.path(root), nil
}

// Main builds the named tools, or the ones for the dev stack and the tests,
// and writes the path of each.
func Main(ctx context.Context, names []string, out, progress io.Writer) error {
	root, err := Root(".")
	if err != nil {
		return err
	}
	if len(names) == 0 {
		for _, t := range Tools()[:defaults] {
			names = append(names, t.Name)
		}
	}
	for _, name := range names {
		path, err := Ensure(ctx, root, name, progress)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, path)
	}
	return nil
}

func lookup(name string) (Tool, error) {
	var known []string
	for _, t := range Tools() {
		if t.Name == name {
			return t, nil
		}
		known = append(known, t.Name)
	}
	return Tool{}, fmt.Errorf("no tool is named %q: there are %s", name, strings.Join(known, ", "))
}

func (t Tool) path(root string) string {
	name := t.Name
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	return filepath.Join(root, "bin", name)
}

func (t Tool) moduleDir(root string) string { return filepath.Join(root, "dev", "tools", t.Module) }

func (t Tool) stampPath(root string) string { return filepath.Join(root, "bin", "."+t.Name+".stamp") }

// stamp names everything that decides what is built.
func (t Tool) stamp(root string) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, runtime.GOOS, runtime.GOARCH, strings.Join(t.arguments("", "out"), " "))
	for _, name := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(t.moduleDir(root), name))
		if err != nil {
			return "", err
		}
		h.Write(content)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// current tells whether bin/ holds what a build would make.
func (t Tool) current(root string) bool {
	want, err := t.stamp(root)
	if err != nil {
		return false
	}
	got, err := os.ReadFile(t.stampPath(root))
	if err != nil || string(got) != want {
		return false
	}
	info, err := os.Stat(t.path(root))
	return err == nil && info.Mode().IsRegular()
}

func (t Tool) arguments(dir, out string) []string {
	ldflags := "-s -w"
	if t.Version != "" {
		ldflags += " -X github.com/prometheus/common/version.Version=" + t.Version
	}
	args := []string{"build", "-C", dir, "-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags", ldflags, "-o", out}
	if t.Tags != "" {
		args = append(args, "-tags", t.Tags)
	}
	return append(args, t.Package)
}

func (t Tool) build(ctx context.Context, root string, progress io.Writer) error {
	goCommand, err := exec.LookPath("go")
	if err != nil {
		return fmt.Errorf("%s has to be built, but there is no go command in PATH: install Go, or give the program itself", t.Title)
	}
	stamp, err := t.stamp(root)
	if err != nil {
		return fmt.Errorf("%s can't be built: %w", t.Title, err)
	}
	bin := filepath.Join(root, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	// Two builds at once, say of two test packages, must not meet in one file.
	scratch, err := os.MkdirTemp(bin, ".build-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	out := filepath.Join(scratch, filepath.Base(t.path(root)))

	fmt.Fprintf(progress, "building %s (first time only, about %s)\n", t.Title, t.Takes)
	cmd := exec.CommandContext(ctx, goCommand, t.arguments(t.moduleDir(root), out)...)
	cmd.Env = append(os.Environ(), "GOWORK=off")
	if output, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("building %s was interrupted: %w", t.Title, ctx.Err())
		}
		return fmt.Errorf("building %s failed: %w\n%s", t.Title, err, bytes.TrimSpace(output))
	}
	return errors.Join(os.Rename(out, t.path(root)), os.WriteFile(t.stampPath(root), []byte(stamp), 0o644))
}
