package cli_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/temporal"

	"edgefleet/workflows/contract"
)

// scannedFleet is the end of a scan of 120 devices.
func scannedFleet(clean bool) contract.DriftScanProgress {
	p := contract.DriftScanProgress{Total: 120, Batches: 4, Began: at(0), Revision: "c0ffee",
		DriftCounts: contract.DriftCounts{InSync: 118, UnderChange: 1, NoBaseline: 1}}
	if clean {
		return p
	}
	p.DriftCounts = contract.DriftCounts{InSync: 66, Drifted: 51, Unreadable: 1, UnderChange: 1, NoBaseline: 1}
	p.Unauthorised = 1
	p.Found = []contract.DriftFinding{
		{DeviceID: "edge-003", Site: "substation-7", Region: "us-east-1", Outcome: contract.DriftDrifted, At: at(3), Drifted: 2, Since: timePtr(at(1)),
			Unauthorised: true, Detail: "unauthorised, since 2026-11-23 12:00:01Z: undervoltage_trip is 80, want 85 %;\x1b[2J and 1 more"},
	}
	p.Missed = []contract.DriftFinding{
		{DeviceID: "edge-009", Site: "substation-9", Region: "us-west-2", Outcome: contract.DriftUnreadable, At: at(3), Detail: "unreachable: the connection was refused"},
	}
	return p
}

func looksAtScan(end contract.DriftScanProgress) []contract.DriftScanProgress {
	start := contract.DriftScanProgress{Total: 120, Batches: 4, Began: at(0), Revision: "c0ffee", Running: 4}
	middle := start
	middle.InSync, middle.Running = 50, 3
	return []contract.DriftScanProgress{{Began: at(0)}, start, middle, end}
}

func someEvidence() []contract.DeviceEvidence {
	return []contract.DeviceEvidence{
		{DeviceID: "edge-001", Site: "substation-7", Region: "us-east-1", Outcome: contract.DriftInSync, AttemptedAt: timePtr(at(5)),
			Found: contract.DriftInSync, EvidenceAt: timePtr(at(5)), Baseline: "feeder-standard", Version: "2026.11.1", LackingSince: at(5)},
		{DeviceID: "edge-003", Site: "substation-7", Region: "us-east-1", Outcome: contract.DriftUnreadable, Detail: "unreachable", AttemptedAt: timePtr(at(9)),
			Found: contract.DriftDrifted, EvidenceAt: timePtr(at(-40 * 86400)), Drifted: 2, DriftedSince: timePtr(at(-41 * 86400)),
			Baseline: "feeder-standard", Version: "2026.11.1", LackingSince: at(-40 * 86400)},
		{DeviceID: "edge-004", Site: "substation-7", Region: "us-east-1", Outcome: contract.DriftUnchecked, LackingSince: at(-90000)},
	}
}

func TestAScanIsFollowedToItsEnd(t *testing.T) {
	clean, drifted := scannedFleet(true), scannedFleet(false)
	for _, c := range []goldenCase{
		{"drift-scan", "drift scan", &fakeTemporal{scanned: clean, scans: looksAtScan(clean)}},
		{"drift-scan-json", "drift scan --site substation-7 -o json", &fakeTemporal{scanned: clean}},
		{"drift-scan-drifted", "drift scan --region us-east-1 --reason audit", &fakeTemporal{scanned: drifted, scans: looksAtScan(drifted)}},
		{"drift-scan-drifted-json", "drift scan -o json", &fakeTemporal{scanned: drifted}},
		{"drift-scan-detach", "drift scan --spread 1h --detach", &fakeTemporal{}},
		{"drift-scan-watch", "drift scan --watch drift-scan/17", &fakeTemporal{scanned: clean}},
		{"drift-scan-watch-unknown", "drift scan --watch drift-scan/18", &fakeTemporal{ends: []error{serviceerror.NewNotFound("workflow not found")}}},
		{"drift-scan-unknown-site", "drift scan --site nowhere", &fakeTemporal{ends: []error{appError(contract.ErrNotFound, `the fleet declares no device at site "nowhere"; see edgefleet device list`)}}},
		{"drift-scan-cancelled", "drift scan", &fakeTemporal{ends: []error{temporal.NewCanceledError()}}},
		{"drift-scan-terminated", "drift scan", &fakeTemporal{ends: []error{&temporal.TerminatedError{}}}},
		{"drift-scan-timed-out", "drift scan", &fakeTemporal{ends: []error{temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_START_TO_CLOSE, nil)}}},
		{"drift-scan-refused-by-temporal", "drift scan", &fakeTemporal{startErr: serviceerror.NewPermissionDenied("not yours", "")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.f.scanning = true
			onboarding(t, c.f).golden(c.name, strings.Fields(c.args)...)
			require.Equal(t, 1, c.f.closed)
			for _, run := range c.f.queried {
				require.Empty(t, run, "it continues as new, and the newest run is asked")
			}
		})
	}
}

func TestAScanIsAskedForAsTheFlagsSay(t *testing.T) {
	who := contract.Actor{Kind: contract.ActorOperator, Name: "kim"}
	for args, want := range map[string]contract.DriftScanInput{
		"drift scan":                         {Selection: contract.Selection{All: true}, Reason: "started by hand"},
		"drift scan --spread 1h":             {Selection: contract.Selection{All: true}, Reason: "started by hand", Spread: time.Hour},
		"drift scan --site s --reason audit": {Selection: contract.Selection{Site: "s"}, Reason: "audit"},
		"drift scan --region r":              {Selection: contract.Selection{Region: "r"}, Reason: "started by hand"},
	} {
		f := &fakeTemporal{scanning: true}
		require.Zero(t, newSession(t, f).run(strings.Fields(args)...), args)
		want.Actor = who
		require.Equal(t, []contract.DriftScanInput{want}, f.scan, args)
		require.Equal(t, contract.DriftScanID("nonce"), f.options[0].ID)
		require.Equal(t, 24*time.Hour+want.Spread, f.options[0].WorkflowExecutionTimeout)
	}
}

func TestOnATerminalTheProgressOfAScanIsWrittenOver(t *testing.T) {
	f := &fakeTemporal{scanning: true, scanned: scannedFleet(true), scans: looksAtScan(scannedFleet(true))}
	s := onboarding(t, f)
	s.options.Terminal = true
	require.Zero(t, s.run("drift", "scan"))
	require.Contains(t, s.err.String(), "\r[########------------]  50 of 120 devices, 0 drifted, 0 unreadable\x1b[K")
	require.True(t, strings.HasSuffix(s.err.String(), "\r[####################]  120 of 120 devices, 0 drifted, 0 unreadable\x1b[K\n"), s.err.String())
}

func TestAnInterruptedScanGoesOnAndSaysHowToLookAgain(t *testing.T) {
	f := &fakeTemporal{scanning: true, hold: make(chan struct{})}
	s := onboarding(t, f)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan int)
	go func() { done <- s.runContext(ctx, "drift", "scan") }()
	s.until("started drift-scan/nonce")
	cancel()
	require.Equal(t, 1, <-done)
	require.Contains(t, s.err.String(), "edgefleet drift scan --watch drift-scan/nonce")
}

func TestTheReportShowsHowOldTheEvidenceIs(t *testing.T) {
	for _, c := range []goldenCase{
		{"drift-report", "drift report", nil},
		{"drift-report-json", "drift report --site substation-7 --outcome unreadable --older-than 35d -o json", nil},
		{"drift-report-empty", "drift report", &fakeTemporal{answer: func(contract.InspectInput) (contract.InspectResult, error) {
			return contract.InspectResult{Evidence: &contract.EvidencePage{}}, nil
		}}},
		{"drift-report-older-worker", "drift report", &fakeTemporal{answer: func(contract.InspectInput) (contract.InspectResult, error) {
			return contract.InspectResult{}, nil
		}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := c.f
			if f == nil {
				f = &fakeTemporal{answer: pagesOfEvidence}
			}
			onboarding(t, f).golden(c.name, strings.Fields(c.args)...)
		})
	}
}

// pagesOfEvidence answers with a device on each page.
func pagesOfEvidence(in contract.InspectInput) (contract.InspectResult, error) {
	all := someEvidence()
	for i, d := range all {
		if d.DeviceID <= in.Evidence.After {
			continue
		}
		page := contract.EvidencePage{Devices: []contract.DeviceEvidence{d}}
		if i < len(all)-1 {
			page.Next = d.DeviceID
		}
		return contract.InspectResult{Evidence: &page}, nil
	}
	return contract.InspectResult{Evidence: &contract.EvidencePage{}}, nil
}

func TestAReportIsAskedForAsTheFlagsSay(t *testing.T) {
	f := &fakeTemporal{answer: pagesOfEvidence}
	require.Zero(t, newSession(t, f).run("drift", "report", "--region", "r", "--outcome", "drifted", "--older-than", "35d"))
	require.Len(t, f.asked, 3)
	require.Equal(t, contract.EvidenceQuery{Region: "r", Outcome: "drifted", OlderThan: 35 * 24 * time.Hour}, *f.asked[0].Evidence)
	require.Equal(t, "edge-001", f.asked[1].Evidence.After)
}

func TestMistakesAboutDriftAreToldWithARemedy(t *testing.T) {
	for name, args := range map[string]string{
		"two-selections":  "drift scan --site s --region r",
		"empty-site":      "drift scan --site=",
		"spread-too-long": "drift scan --spread 721h",
		"spread-negative": "drift scan --spread -1s",
		"argument":        "drift scan edge-001",
		"bad-outcome":     "drift report --outcome broken",
		"bad-age":         "drift report --older-than 5weeks",
		"no-age":          "drift report --older-than 0d",
		"empty-outcome":   "drift report --outcome=",
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakeTemporal{}
			newSession(t, f).golden("mistake-drift-"+name, strings.Fields(args)...)
			require.Empty(t, f.options, "nothing is asked or started on bad usage")
		})
	}
}
