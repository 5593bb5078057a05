package stack_test

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"aead.dev/minisign"
	"github.com/stretchr/testify/require"

	"edgefleet/devices/sim"
	"edgefleet/devices/sim/opcuasim"
	"edgefleet/devices/sim/sshsim"
	"edgefleet/workflows/contract"
)

// declarePatch declares a patch of a profile whose artifact is the text, and
// signs it.
func (s *site) declarePatch(key minisign.PrivateKey, name, profile, version, text string) {
	s.t.Helper()
	r := minisign.NewReader(strings.NewReader(text))
	_, err := io.Copy(io.Discard, r)
	require.NoError(s.t, err)
	dir := filepath.Join(s.dir, "fleet", "patches")
	require.NoError(s.t, os.MkdirAll(dir, 0o700))
	for file, content := range map[string]string{
		name + ".pkg": text, name + ".pkg.minisig": string(r.Sign(key)),
		name + ".yaml": fmt.Sprintf("name: %s\nprofile: %s\nversion: %s\nfile: %s.pkg\nsha256: \"%x\"\nsize: %d\nreleased: 2026-01-01\n",
			name, profile, version, name, sha256.Sum256([]byte(text)), len(text)),
	} {
		require.NoError(s.t, os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600))
	}
}

// trustPatches declares the key of patches in the fleet file.
func (s *site) trustPatches(key minisign.PublicKey) {
	s.t.Helper()
	file := filepath.Join(s.dir, "fleet", "fleet.yaml")
	text, err := os.ReadFile(file)
	require.NoError(s.t, err)
	changed := regexp.MustCompile(`(?m)^( *)allowed_networks:`).ReplaceAllString(string(text), fmt.Sprintf("${1}patch_keys: [%q]\n${0}", key))
	require.NotEqual(s.t, string(text), changed)
	require.NoError(s.t, os.WriteFile(file, []byte(changed), 0o600))
	s.does("fleet", "validate", filepath.Join(s.dir, "fleet"))
}

// planPatch plans a patch once the worker has taken up the directory that has
// it.
func (s *site) planPatch(name string, flags ...string) contract.RolloutPlanPage {
	s.t.Helper()
	var plan contract.RolloutPlanPage
	until(s.t, patience, func() error {
		code, out, told := s.cli(append([]string{"patch", "plan", name, "--canary", "none", "--waves", "100%", "-o", "json"}, flags...)...)
		if code != 0 {
			return errors.New(told)
		}
		return json.Unmarshal([]byte(out), &plan)
	})
	return plan
}

func (s *site) patches() map[string]contract.PatchStatus {
	s.t.Helper()
	var list []contract.PatchStatus
	require.NoError(s.t, json.Unmarshal([]byte(s.does("patch", "report", "-o", "json")), &list))
	out := map[string]contract.PatchStatus{}
	for _, d := range list {
		out[d.DeviceID] = d
	}
	return out
}

// Devices of every protocol are patched by the commands of rollouts, and go back.
func TestAFleetOfEveryProtocolIsPatchedAndTakenBack(t *testing.T) {
	s := startMixed(t, 20)
	s.does("onboard", "--all", "--reason", "commissioning")
	kinds := s.byProfile()
	public, private, err := minisign.GenerateKey(nil)
	require.NoError(t, err)
	artifacts := map[string]string{
		sshsim.Profile: sshsim.Package("3.3.0", true), opcuasim.Profile: opcuasim.Image("3.3.0", true), "register-plc": sim.PLCFirmware("3.3.0", true)}
	for profile, text := range artifacts {
		require.NotEmpty(t, kinds[profile], profile)
		s.declarePatch(private, profile+"-3.3.0", profile, "3.3.0", text)
	}
	s.trustPatches(public)
	rollouts := map[string]string{}
	for profile := range artifacts {
		plan := s.planPatch(profile + "-3.3.0")
		require.Equal(t, contract.KindPatch, plan.Kind)
		require.Equal(t, len(kinds[profile]), plan.RolloutPlan.Devices(), "%s: %+v", profile, plan.Excluded)
		var done contract.RolloutProgress
		require.NoError(t, json.Unmarshal([]byte(s.does("patch", "start", "--plan", plan.Hash, "--watch", "-o", "json")), &done))
		require.Equal(t, len(kinds[profile]), done.Healthy, "%s: %s", profile, done.Detail)
		rollouts[profile] = done.RolloutID
	}
	report := s.patches()
	for profile := range artifacts {
		for _, id := range kinds[profile] {
			require.Equal(t, contract.PatchCurrent, report[id].State, id)
			require.Contains(t, report[id].Version, "3.3.0")
			s.does("device", "drift", id)
		}
	}
	for profile, id := range rollouts {
		s.does("rollout", "rollback", id, "--watch")
		for _, device := range kinds[profile] {
			d := s.patches()[device]
			require.Equal(t, contract.PatchOwed, d.State, device)
			require.Contains(t, d.Version, "3.2.1")
		}
	}
	s.intact()
}
