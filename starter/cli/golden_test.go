package cli_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/temporal"

	"edgefleet/workflows/contract"
)

var update = flag.Bool("update", false, "write the golden files anew")

const testdata = "../../workflows/runbook/testdata/"

// goldenFolder is found while the working directory is still the package's.
var goldenFolder, _ = filepath.Abs(filepath.Join("testdata", "golden"))

// golden compares a whole session with its file: the command line, the exit
// code, and both streams.
func (s *session) golden(name string, args ...string) {
	s.t.Helper()
	code := s.run(args...)
	got := fmt.Sprintf("$ edgefleet %s\nexit code %d\n--- stdout\n%s--- stderr\n%s", strings.Join(args, " "), code, s.out.String(), s.err.String())
	file := filepath.Join(goldenFolder, name+".txt")
	if *update {
		require.NoError(s.t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(s.t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(s.t, err, "go test ./starter/cli -update writes it")
	require.Equal(s.t, string(want), got)
}

func appError(kind, message string) error {
	return temporal.NewNonRetryableApplicationError(message, kind, nil)
}

type goldenCase struct {
	name string
	args string
	f    *fakeTemporal
}

func TestQuestionsAreAnsweredAsTableAndJSON(t *testing.T) {
	inSync := func(out *contract.InspectResult) { out.Drift.Drifted = nil }
	ignoring := func(out *contract.InspectResult) { out.Drift.Ignored = []string{"reclose_delay", "active_power_limit"} }
	dark := func(out *contract.InspectResult) {
		out.Network = &contract.NetworkReport{DeviceID: "edge-003", Diagnosis: "edge-003 does not answer: the connection was refused.",
			Verdicts: []contract.Verdict{{Check: "tcp connect", Result: "failed", Detail: "the connection was refused", Duration: 41000}}}
	}
	nothing := func(out *contract.InspectResult) {
		*out = contract.InspectResult{Audit: &contract.AuditPage{}}
	}
	// gateway is a host with files, of which one has drifted.
	gateway := func(out *contract.InspectResult) {
		out.Device.Protocol, out.Device.Security, out.Device.Credentials = "opcua", "Basic256Sha256/SignAndEncrypt", "plant-ops"
		out.Device.Fingerprints, out.Device.Pin = []string{"c0ffee"}, "c0ffee"
		out.Drift = &contract.DriftReport{DeviceID: "gw-1", Baseline: "gateways", Version: "3", Checked: 4, Drifted: []contract.SettingDrift{
			{Setting: "permit_root_login", Want: "no", Got: "yes"},
			{Setting: "edge_config", Want: "sha256:aa (40 bytes)", Got: "sha256:bb (41 bytes)",
				Diff: "--- baseline /etc/edge/config.yaml\n+++ device /etc/edge/config.yaml\n@@ -1,3 +1,3 @@\n poll: 10\n-upstream: 10.0.0.1\n+upstream: 10.6.6.6\x1b[2J\n tls: on\n"}}}
		f := out.Fingerprint
		f.Pinned, f.Verdict = f.Shown[1:], contract.FingerprintPinned
	}
	swapped := func(out *contract.InspectResult) {
		f := out.Fingerprint
		f.Declared, f.Verdict = []string{"SHA256:ccccccccccccccccccccccccccccccccccccccccccc"}, contract.FingerprintDiffers
	}
	broken := func(out *contract.InspectResult) {
		out.Verdict = &contract.AuditVerdict{Entries: 3, Keyed: true, Finding: "edited", Seq: 2, Detail: "entry 2 (result apply_baseline_config on edge-003) does not match its hash"}
	}
	for _, c := range []goldenCase{
		{"device-list", "device list", nil},
		{"device-list-json", "device list --site substation-7 --region us-east-1 -o json", nil},
		{"device-list-empty", "device list --site nowhere", answering(nothing)},
		{"device-list-empty-json", "device list --site nowhere --output=json", answering(nothing)},
		{"device-show", "device show edge-003", nil},
		{"device-show-json", "device show edge-003 --output json", nil},
		{"device-probe", "device probe edge-003", nil},
		{"device-probe-dark", "device probe edge-003", answering(dark)},
		{"device-probe-dark-json", "device probe edge-003 -o json", answering(dark)},
		{"device-drift", "device drift edge-003", nil},
		{"device-drift-json", "device drift edge-003 --output json", nil},
		{"device-show-gateway", "device show edge-003", answering(gateway)},
		{"device-drift-file", "device drift gw-1", answering(gateway)},
		{"device-drift-file-json", "device drift gw-1 -o json", answering(gateway)},
		{"device-fingerprint", "device fingerprint gw-1", nil},
		{"device-fingerprint-json", "device fingerprint gw-1 -o json", nil},
		{"device-fingerprint-pinned", "device fingerprint gw-1", answering(gateway)},
		{"device-fingerprint-differs", "device fingerprint gw-1", answering(swapped)},
		{"device-drift-in-sync", "device drift edge-003", answering(inSync)},
		{"device-drift-ignored", "device drift edge-003", answering(ignoring)},
		{"device-drift-no-baseline", "device drift edge-003", answering(func(out *contract.InspectResult) {
			out.Drift = &contract.DriftReport{DeviceID: "edge-003"}
		})},
		{"incident-list", "incident list", nil},
		{"incident-list-json", "incident list --device edge-003 --status escalated --limit 5 -o json", nil},
		{"incident-list-empty", "incident list", answering(nothing)},
		{"incident-show", "incident show inc-2", nil},
		{"incident-show-json", "incident show inc-2 -o json", nil},
		{"incident-show-bare-json", "incident show inc-2 -o json", answering(func(out *contract.InspectResult) {
			out.Incident.Notes, out.Incident.Ledger = nil, nil
		})},
		{"audit-list", "audit list --device edge-003", nil},
		{"audit-list-json", "audit list --after 0 --limit 3 -o json", nil},
		{"audit-list-more", "audit list --after 0 --limit 3", answering(func(out *contract.InspectResult) { out.Audit.Next = 3 })},
		{"audit-list-empty", "audit list", answering(nothing)},
		{"audit-verify", "audit verify", nil},
		{"audit-verify-json", "audit verify --anchor 2:bbbb -o json", nil},
		{"audit-verify-without-key", "audit verify", answering(func(out *contract.InspectResult) { out.Verdict.Keyed = false })},
		{"audit-verify-broken", "audit verify", answering(broken)},
		{"audit-verify-broken-json", "audit verify -o json", answering(broken)},
		{"audit-export", "audit export", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := c.f
			if f == nil {
				f = &fakeTemporal{}
			}
			newSession(t, f).golden(c.name, strings.Fields(c.args)...)
			require.Len(t, f.asked, 1)
			require.Equal(t, "kim", f.asked[0].By)
			require.Equal(t, "edgefleet:kim", f.dialled.Identity)
			require.Equal(t, 1, f.closed)
		})
	}
}

func TestARemediationIsFollowedToItsEnd(t *testing.T) {
	resolved := contract.RemediateResult{Outcome: "resolved", IncidentID: "inc-2", Detail: "edge-003 is healthy"}
	noAnswer := temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_START_TO_CLOSE, nil)
	for _, c := range []goldenCase{
		{"remediate-resolved", "remediate edge-003 --reason called-by-the-site", &fakeTemporal{result: resolved, progress: timeline("verified: healthy")}},
		{"remediate-resolved-json", "remediate -o json edge-003", &fakeTemporal{result: resolved}},
		{"remediate-detach", "remediate edge-003 --detach", &fakeTemporal{}},
		{"remediate-detach-json", "remediate edge-003 --detach -o json", &fakeTemporal{}},
		{"remediate-escalated", "remediate edge-003", &fakeTemporal{progress: timeline("escalated: EdgeRemediationFailed raised"),
			ends: []error{appError(contract.ErrNotHealthy, "not healthy after the runbook: edge-003 does not answer")}}},
		{"remediate-cancelled", "remediate edge-003", &fakeTemporal{ends: []error{temporal.NewCanceledError()}}},
		{"remediate-terminated", "remediate edge-003", &fakeTemporal{ends: []error{&temporal.TerminatedError{}}}},
		{"remediate-timed-out", "remediate edge-003", &fakeTemporal{ends: []error{noAnswer}}},
		{"remediate-temporal-away-for-a-moment", "remediate edge-003", &fakeTemporal{result: resolved,
			ends: []error{serviceerror.NewUnavailable("restarting"), serviceerror.NewUnavailable("restarting"), nil}}},
		{"remediate-unknown-device", "remediate edge-00l", failing(appError(contract.ErrUnknownDevice, `unknown device: "edge-00l" is not in fleet.yaml; declare it, or correct the name`))},
		{"remediate-no-worker-yet", "remediate edge-003 --detach", failing(noAnswer)},
		{"remediate-refused-by-temporal", "remediate edge-003", &fakeTemporal{startErr: serviceerror.NewPermissionDenied("not yours", "")}},
		{"runbook-run", "runbook run " + testdata + "auto_remediation.py handle_device_offline edge-003", &fakeTemporal{result: resolved, progress: timeline()}},
	} {
		t.Run(c.name, func(t *testing.T) {
			newSession(t, c.f).golden(c.name, strings.Fields(c.args)...)
		})
	}
}

func TestAGateIsAnswered(t *testing.T) {
	const gate = "runbook approve remediate/edge-003/manual/1 reset"
	for _, c := range []goldenCase{
		{"approve", gate + " --note line-is-free", &fakeTemporal{}},
		{"approve-refuse", gate + " --refuse", &fakeTemporal{}},
		{"approve-refused-by-the-validator", gate, &fakeTemporal{decideErr: errors.New(`gate "reset" is not open; none is`)}},
		{"approve-nothing-runs", gate, &fakeTemporal{updateErr: serviceerror.NewNotFound("workflow execution already completed")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			newSession(t, c.f).golden(c.name, strings.Fields(c.args)...)
			require.Len(t, c.f.updates, 1)
			require.Equal(t, contract.UpdateDecide, c.f.updates[0].UpdateName)
			decision := c.f.updates[0].Args[0].(contract.Decision)
			require.Equal(t, "kim", decision.By)
			require.Equal(t, c.name != "approve-refuse", decision.Approved)
		})
	}
}

func TestMistakesAreToldWithARemedy(t *testing.T) {
	for _, c := range []goldenCase{
		{"unknown-device", "device show edge-00x", failing(appError(contract.ErrUnknownDevice, `unknown device: "edge-00x" is not in fleet.yaml; declare it, or correct the name`))},
		{"unknown-incident", "incident show inc-9", failing(appError(contract.ErrNotFound, `no incident "inc-9"; see edgefleet incident list`))},
		{"own-path-down", "device probe edge-003", failing(appError(contract.ErrOwnPath, "the reference of region us-east-1 does not answer either"))},
		{"no-worker", "device list", failing(temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_START_TO_CLOSE, nil))},
		{"temporal-away", "device list", failing(serviceerror.NewUnavailable("connection refused"))},
		{"no-namespace", "device list", failing(serviceerror.NewNamespaceNotFound("plant"))},
		{"older-worker", "device show edge-003", answering(func(out *contract.InspectResult) { *out = contract.InspectResult{} })},
		{"bad-output", "device list --output yaml", nil},
		{"bad-device-id", "device show edge/003", nil},
		{"bad-remediate-id", "remediate ../etc", nil},
		{"bad-status", "incident list --status done", nil},
		{"bad-limit", "audit list --limit 0", nil},
		{"bad-limit-word", "audit list --limit many", nil},
		{"bad-after", "audit list --after -1", nil},
		{"bad-timeout", "device list --timeout 1h", nil},
		{"bad-anchor", "audit verify --anchor 12", nil},
		{"no-argument", "device show", nil},
		{"two-arguments", "device show edge-001 edge-002", nil},
		{"argument-where-none-goes", "device list edge-001", nil},
		{"value-missing", "device drift edge-003 --output", nil},
		{"unknown-flag", "device list --all", nil},
		{"unknown-command", "devise list", nil},
		{"unknown-subcommand", "device lst", nil},
		{"unknown-help-topic", "help devise", nil},
		{"unknown-shell", "completion fish", nil},
		{"approve-arguments", "runbook approve reset", nil},
		{"run-arguments", "runbook run a.py", nil},
		{"run-without-file", "runbook run absent.py f edge-003", nil},
		{"run-without-function", "runbook run " + testdata + "auto_remediation.py heal edge-003", nil},
		{"export-nowhere", "audit export --file absent/ledger.jsonl", nil},
		{"export-over-a-folder", "audit export --file testdata", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := c.f
			if f == nil {
				f = &fakeTemporal{}
			}
			newSession(t, f).golden("mistake-"+c.name, strings.Fields(c.args)...)
			if c.f == nil {
				require.Empty(t, f.options, "nothing is asked or started on bad usage")
			}
		})
	}
}
