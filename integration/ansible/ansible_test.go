package ansible_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/devices/fleetdir"
	"edgefleet/workflows/contract"
)

// program finds one of Ansible's programs. A machine without Ansible skips
// these tests and says so; where CI=true, it has to be there.
func program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	remedy := name + " is not in PATH: install it, on Debian with apt-get install ansible-core"
	if os.Getenv("CI") == "true" {
		t.Fatal(remedy)
	}
	t.Skip(remedy)
	return ""
}

// fleet are the devices of the fleet directory as the command line lists them.
func fleet(t testing.TB) []contract.DeviceStatus {
	t.Helper()
	loaded, err := fleetdir.Load("fleet")
	require.NoError(t, err)
	var out []contract.DeviceStatus
	for _, d := range loaded.Inventory.Devices {
		out = append(out, contract.DeviceStatus{State: "healthy", Device: contract.Device{
			ID: d.ID, Site: d.Site, Region: d.Region, Class: d.Class, Profile: d.Profile, Address: d.Address, Labels: d.Labels}})
	}
	return out
}

// edgefleet is a program that answers with the list, and notes its arguments.
func edgefleet(t testing.TB, list any, code int) (env []string, calls string) {
	t.Helper()
	dir := t.TempDir()
	answer, ok := list.([]byte)
	if !ok {
		var err error
		answer, err = json.Marshal(list)
		require.NoError(t, err)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "answer"), answer, 0o644))
	script := fmt.Sprintf("#!/bin/sh\necho \"$@\" >>'%[1]s/calls'\ncat '%[1]s/answer'\necho 'no worker answered in time' >&2\nexit %[2]d\n", dir, code)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "edgefleet"), []byte(script), 0o755))
	return append(os.Environ(), "EDGEFLEET="+filepath.Join(dir, "edgefleet"), "ANSIBLE_LOCALHOST_WARNING=False", "ANSIBLE_LOCAL_TEMP="+dir, "ANSIBLE_HOME="+dir, "ANSIBLE_REMOTE_TEMP="+dir, "LC_ALL=C.UTF-8"), filepath.Join(dir, "calls")
}

func run(t testing.TB, env []string, name string, args ...string) (string, string, int) {
	t.Helper()
	command := exec.CommandContext(t.Context(), name, args...)
	command.Env = env
	out, err := command.Output()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return string(out), "", 0
	case errors.As(err, &exit):
		return string(out), string(exit.Stderr), exit.ExitCode()
	}
	require.NoError(t, err)
	return "", "", 0
}

func TestAnsibleReadsTheInventory(t *testing.T) {
	tool := program(t, "ansible-inventory")
	env, calls := edgefleet(t, fleet(t), 0)
	out, stderr, code := run(t, env, tool, "-i", "inventory/edgefleet.py", "--list")
	require.Zero(t, code, stderr)
	var got map[string]struct {
		Hosts    []string                  `json:"hosts"`
		HostVars map[string]map[string]any `json:"hostvars"`
	}
	require.NoError(t, json.Unmarshal([]byte(out), &got), out)
	require.Equal(t, []string{"gateway-001", "gateway-002"}, got["edge_devices"].Hosts)
	require.Equal(t, []string{"gateway-001"}, got["site_substation_7"].Hosts)
	require.Equal(t, []string{"gateway-001", "gateway-002"}, got["profile_linux_gateway"].Hosts)
	require.Equal(t, map[string]any{"ansible_host": "10.1.2.10", "edgefleet_port": float64(22), "edgefleet_site": "substation-7", "edgefleet_region": "us-east-1",
		"edgefleet_class": "gateway", "edgefleet_profile": "linux-gateway", "edgefleet_state": "healthy", "edgefleet_leased_by": "", "edgefleet_labels": map[string]any{"ring": "canary"}},
		got["_meta"].HostVars["gateway-001"])

	_, stderr, code = run(t, append(env, "EDGEFLEET_REGION=us-east-1", "EDGEFLEET_SITE=substation-7"), "inventory/edgefleet.py", "--host", "gateway-001")
	require.Zero(t, code, stderr)
	said, err := os.ReadFile(calls)
	require.NoError(t, err)
	require.Equal(t, "device list --output json\ndevice list --output json --region us-east-1 --site substation-7\n", string(said))
}

func TestAListThatCouldNotBeHadIsNoEmptyInventory(t *testing.T) {
	program(t, "python3")
	for name, c := range map[string]struct {
		list any
		code int
		says string
	}{
		"the workers do not answer": {[]any{}, 1, "no worker answered in time"},
		"the answer is no JSON":     {[]byte("{"), 0, "gave no JSON"},
		"two sites would be one group": {[]map[string]any{
			{"id": "a", "site": "s-1", "region": "r", "class": "plc", "profile": "p", "state": "healthy", "address": "10.0.0.1:502"},
			{"id": "b", "site": "s_1", "region": "r", "class": "plc", "profile": "p", "state": "healthy", "address": "10.0.0.2:502"}}, 0, "the sites s-1 and s_1 would both be the group site_s_1"},
	} {
		t.Run(name, func(t *testing.T) {
			env, _ := edgefleet(t, c.list, c.code)
			out, stderr, code := run(t, env, "inventory/edgefleet.py", "--list")
			require.NotZero(t, code)
			require.Contains(t, stderr, c.says)
			require.Empty(t, out)
		})
	}
	env, _ := edgefleet(t, nil, 0)
	_, stderr, code := run(t, append(env, "EDGEFLEET=/nowhere/edgefleet"), "inventory/edgefleet.py", "--list")
	require.NotZero(t, code)
	require.Contains(t, stderr, "install it, or name it in EDGEFLEET")
}

// TestTheFleetDirectoryWritesWhatTheRoleWrote runs the role on this machine,
// into a folder, and compares its file with that of the baseline.
func TestTheFleetDirectoryWritesWhatTheRoleWrote(t *testing.T) {
	tool := program(t, "ansible-playbook")
	env, _ := edgefleet(t, fleet(t), 0)
	loaded, err := fleetdir.Load("fleet")
	require.NoError(t, err)
	dir := t.TempDir()
	// The script's group_vars stand beside the playbook.
	out, stderr, code := run(t, env, tool, "-i", "inventory/edgefleet.py", "role/deploy.yml", "--connection", "local",
		"-e", "edge_config_path="+dir+"/{{ inventory_hostname }}.yaml", "-e", `{"edge_validate": "test -s %s"}`,
		"-e", "edge_become=false", "-e", "edge_security=false", "-e", "edge_restart=false")
	require.Zero(t, code, "%s%s", out, stderr)
	for _, d := range loaded.Inventory.Devices {
		desired, ok := loaded.Baseline(d)
		require.True(t, ok)
		want, err := os.ReadFile(filepath.Join(dir, d.ID+".yaml"))
		require.NoError(t, err)
		found := false
		for _, s := range desired.Settings {
			if s.Point.Name == "edge_config" {
				require.Equal(t, string(want), s.Value, d.ID)
				found = true
			}
		}
		require.True(t, found)
	}
}
