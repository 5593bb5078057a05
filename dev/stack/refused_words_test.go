package stack_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"
	"github.com/stretchr/testify/require"

	"edgefleet/dev/simfleet"
	"edgefleet/devices/sim"
	"edgefleet/devices/sim/sshsim"
	"edgefleet/starter/cli"
	"edgefleet/workflows/contract"
)

// What may not be done is refused on the command line, with what is wrong, why,
// and what to do; and no device is written. That nobody approves what he has
// asked for himself is TestARolloutObeysItsOperators'.
func TestWhatMayNotBeDoneIsRefusedWithTheRemedy(t *testing.T) {
	s := newPlant(t, 4, simfleet.Mix{Modbus: 50, SSH: 50}, nil)
	public, private, err := minisign.GenerateKey(nil)
	require.NoError(t, err)
	_, stranger, err := minisign.GenerateKey(nil)
	require.NoError(t, err)
	s.declarePatch(private, "agent", sshsim.Profile, "3.3.0", sshsim.Package("3.3.0", true))
	s.declarePatch(private, "swapped", sshsim.Profile, "3.3.0", sshsim.Package("3.3.0", true))
	s.declarePatch(stranger, "unknown-key", sshsim.Profile, "3.3.0", sshsim.Package("3.3.0", true))
	s.declarePatch(private, "signed-before", sshsim.Profile, "3.4.0", sshsim.Package("3.4.0", true))
	another, err := os.ReadFile(filepath.Join(s.dir, "fleet", "patches", "agent.pkg.minisig"))
	require.NoError(t, err)
	spoil := func(name, content string) {
		t.Helper()
		require.NoError(t, os.WriteFile(filepath.Join(s.dir, "fleet", "patches", name), []byte(content), 0o600))
	}
	spoil("signed-before.pkg.minisig", string(another))
	// Of the same length, so that the hash alone tells.
	spoil("swapped.pkg", sshsim.Package("3.3.1", true))
	s.trustPatches(public)
	s.begin()
	s.does("onboard", "--all", "--reason", "commissioning")
	kinds := s.byProfile()
	gateways, feeders := kinds[sshsim.Profile], kinds["feeder-rtu"]
	require.Len(t, gateways, 2)
	require.Len(t, feeders, 2)
	untouched := s.counts(append(gateways, feeders...)...)
	stays := func(ids ...string) {
		t.Helper()
		for _, id := range ids {
			require.Empty(t, s.since(untouched, id), "what was written to %s", id)
		}
	}
	stale := s.plans(s.proposed("feeder-standard.yaml", map[string]string{"version": "2", "report_interval": "90"}), "--valid", "10s")

	for _, c := range []struct{ name, patch, says string }{
		{"an artifact with another hash than is declared", "swapped",
			`swapped\.pkg has the SHA-256 [0-9a-f]{16}…, and [0-9a-f]{16}… is declared; put the file there that was declared, or find out who changed it`},
		{"an artifact that a stranger has signed", "unknown-key",
			fmt.Sprintf(`unknown-key\.pkg was signed by the key %016X, and the fleet trusts %016X; sign it with one of these, or declare the key`, stranger.ID(), private.ID())},
		{"an artifact with the signature of another one", "signed-before",
			fmt.Sprintf(`signed-before\.pkg was not signed as it is: the signature by the key %016X does not fit it; put the file there that was signed, or sign this one anew`, private.ID())},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			code, _, said := s.cli("patch", "plan", c.patch)
			require.Equal(t, cli.ExitUsage, code)
			require.Contains(t, said, "the patch is refused: "+c.patch+": ")
			require.Regexp(t, c.says, said)
			stays(gateways...)
		})
	}
	t.Run("an artifact that was exchanged after it was planned", func(t *testing.T) {
		s := s.in(t)
		plan := s.planPatch("agent", "--on-breach", "abort")
		require.Equal(t, len(gateways), plan.RolloutPlan.Devices())
		spoil("agent.pkg", sshsim.Package("3.3.1", true))
		code, _, said := s.cli("patch", "start", "--plan", plan.Hash, "--watch")
		require.Equal(t, cli.ExitFailed, code)
		for _, id := range gateways {
			require.Regexp(t, id+` is failed: .*the patch is refused: agent: \S+ has the SHA-256 \S+, and \S+ is declared; put the file there that was declared, or find out who changed it`, said)
		}
		stays(gateways...)
	})
	t.Run("a device that somebody has changed since the plan", func(t *testing.T) {
		s := s.in(t)
		plan := s.plans(s.proposed("feeder-standard.yaml", map[string]string{"version": "3", "report_interval": "90"}), append(allAtOnce(), "--on-breach", "abort")...)
		changed := feeders[0]
		_, err := s.fleet.Break(t.Context(), changed, sim.FaultDrift, false)
		require.NoError(t, err)
		code, _, said := s.cli("rollout", "start", "--plan", plan.Hash, "--watch")
		require.Equal(t, cli.ExitFailed, code)
		what := changed + `: compare with the plan: rejected: the device has changed since the plan: .*undervoltage_trip is \S+, and was as wanted.*; nothing was written: find out who changed it, put it back and retry it, or plan again`
		require.Regexp(t, changed+" is changed: "+what, said)
		require.NotContains(t, said, "record the intent", "no ledger has failed")
		require.Regexp(t, what, s.does("rollout", "status", contract.RolloutOf(plan.Hash), "--devices", "--state", contract.DeviceChanged))
		stays(changed)
		_, err = s.fleet.Heal(t.Context(), changed)
		require.NoError(t, err)
	})
	t.Run("a device outside of its window", func(t *testing.T) {
		s := s.in(t)
		before := s.counts(feeders...)
		from := time.Now().UTC().Add(6 * time.Hour).Truncate(time.Minute)
		plan := s.plans(s.proposed("feeder-standard.yaml", map[string]string{"version": "4", "report_interval": "120"}),
			"--window", fmt.Sprintf("daily %s-%s UTC", from.Format("15:04"), from.Add(time.Hour).Format("15:04")))
		id, _ := s.starts(plan)
		until(t, patience, func() error {
			if text := s.does("rollout", "status", id); !strings.Contains(text, "waiting for a window") || !strings.Contains(text, "the window opens at "+from.Format("2006-01-02 15:04:05")) {
				return fmt.Errorf("%s", text)
			}
			return nil
		})
		s.does("rollout", "abort", id)
		s.stands(id, contract.RolloutAborted)
		for _, device := range feeders {
			require.Empty(t, s.since(before, device))
		}
	})
	t.Run("a plan whose time is over", func(t *testing.T) {
		s := s.in(t)
		until(t, patience, func() error {
			if time.Now().Before(stale.ExpiresAt) {
				return errNotYet
			}
			return nil
		})
		s.refused(cli.ExitUsage, "the plan expired at "+stale.ExpiresAt.UTC().Format(time.RFC3339)+"; plan again", "kim", "rollout", "start", "--plan", stale.Hash, "--watch")
	})
	s.nobodyHolds()
	s.intact()
}
