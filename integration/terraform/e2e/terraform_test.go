package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/integration/terraform/provider"
)

// terraformBinary finds Terraform. A machine without it skips these tests and
// says so; where CI=true, it has to be there.
func terraformBinary(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("terraform")
	if err == nil {
		return path
	}
	const remedy = "terraform is not in PATH: install 1.5 or later from your distribution or https://developer.hashicorp.com/terraform/install"
	if os.Getenv("CI") == "true" {
		t.Fatal(remedy)
	}
	t.Skip(remedy)
	return ""
}

// mirror builds the provider into a mirror, and returns the configuration of
// Terraform that installs from there and from nowhere else.
func mirror(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	folder := filepath.Join(root, filepath.FromSlash(provider.Address), "0.1.0", runtime.GOOS+"_"+runtime.GOARCH)
	require.NoError(t, os.MkdirAll(folder, 0o755))
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(folder, "terraform-provider-edgefleet_v0.1.0"), "edgefleet/integration/terraform/cmd/terraform-provider-edgefleet")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	file := filepath.Join(root, "terraformrc")
	write(t, file, fmt.Sprintf("provider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", root))
	return file
}

// terraform runs Terraform in one root module.
type terraform struct {
	t      testing.TB
	binary string
	root   string
	env    []string
}

// result is what a run of Terraform printed, and its exit code.
type result struct {
	code int
	text string
}

// run runs a command, and returns whatever its exit code is.
func (f *terraform) run(args ...string) result {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 4*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, f.binary, args...)
	command.Dir, command.Env = f.root, f.env
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = 20 * time.Second
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	began := time.Now()
	err := command.Run()
	f.t.Logf("terraform %s: %s", strings.Join(args, " "), time.Since(began).Round(time.Millisecond))
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(f.t, err, "%s", out.String())
	}
	return result{command.ProcessState.ExitCode(), unboxed(out.String())}
}

// unboxed takes the frames off Terraform's diagnostics, and joins the lines
// that it wrapped.
func unboxed(text string) string {
	return strings.Join(strings.Fields(strings.NewReplacer("│", " ", "╷", " ", "╵", " ").Replace(text)), " ")
}

// done runs a command that has to succeed.
func (f *terraform) done(args ...string) string {
	f.t.Helper()
	r := f.run(args...)
	require.Zero(f.t, r.code, "terraform %v: %s", args, r.text)
	return r.text
}

func (f *terraform) apply(args ...string) result {
	f.t.Helper()
	return f.run(append([]string{"apply", "-auto-approve", "-no-color", "-parallelism=64"}, args...)...)
}

// Exit codes of a plan with -detailed-exitcode.
const (
	planEmpty   = 0
	planFailed  = 1
	planChanges = 2
)

// plan plans, and requires the exit code.
func (f *terraform) plan(code int, args ...string) string {
	f.t.Helper()
	r := f.run(append([]string{"plan", "-no-color", "-detailed-exitcode", "-parallelism=64"}, args...)...)
	require.Equal(f.t, code, r.code, "%s", r.text)
	return r.text
}

// newTerraform makes a root module of the files, with the module of the
// guide's name beside it, and initialises it.
func newTerraform(t testing.TB, cli string, env []string, files map[string]string) *terraform {
	t.Helper()
	f := &terraform{t: t, binary: terraformBinary(t), root: t.TempDir()}
	f.env = append(os.Environ(), append([]string{"TF_CLI_CONFIG_FILE=" + cli, "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1", "TF_INPUT=0"}, env...)...)
	require.NoError(t, os.CopyFS(filepath.Join(f.root, "modules"), os.DirFS("../modules")))
	for name, text := range files {
		write(t, filepath.Join(f.root, name), text)
	}
	f.done("init", "-no-color")
	return f
}

func write(t testing.TB, file, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
}

func read(t testing.TB, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(data)
}
