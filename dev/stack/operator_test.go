package stack_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/devices/sim"
	"edgefleet/internal/temporalx"
	"edgefleet/starter/cli"
	"edgefleet/workflows/contract"
)

// shared is the test's connection, which a command does not close.
type shared struct{ cli.Temporal }

func (shared) Close() {}

// cli runs one command line as an operator would, and returns what it said.
func (s *site) cli(args ...string) (code int, out, said string) {
	s.t.Helper()
	var stdout, stderr bytes.Buffer
	code = cli.New(cli.Options{
		Out: &stdout, Err: &stderr, User: "kim", Nonce: rand.Text, Poll: pollEach,
		Dial: func(context.Context, temporalx.Options) (cli.Temporal, error) { return shared{s.temporal}, nil },
	}).Run(s.t.Context(), append([]string{"edgefleet"}, args...))
	return code, stdout.String(), stderr.String()
}

// does runs a command that has to be done.
func (s *site) does(args ...string) string {
	s.t.Helper()
	code, out, said := s.cli(args...)
	require.Equal(s.t, cli.ExitDone, code, "edgefleet %s\n%s%s", strings.Join(args, " "), out, said)
	return out
}

// An operator's day with the fleet directory, over a real engine: validate,
// diff, apply, scan, report, remove, and the calendar.
func TestTheCommandLineDrivesAFleet(t *testing.T) {
	s := startStack(t, 4)
	dir := filepath.Join(s.dir, "fleet")

	s.does("fleet", "validate", dir)
	require.Contains(t, s.does("fleet", "diff", dir), "to add")
	s.does("fleet", "apply", dir, "--reason", "commissioning")
	require.Contains(t, s.does("fleet", "diff", dir), "0 to add, 0 to change, 0 failed, 0 to remove")
	s.does("fleet", "apply", dir)
	s.does("drift", "scan", "--reason", "audit")

	t.Run("a drift that nobody ordered is found, named, and healed", func(t *testing.T) {
		s := s.in(t)
		_, err := s.fleet.Break(t.Context(), "edge-002", sim.FaultDrift, false)
		require.NoError(t, err)
		code, out, _ := s.cli("drift", "scan")
		require.Equal(t, cli.ExitFailed, code)
		require.Contains(t, out, "1 drifted (1 unauthorised), 0 unreadable")
		require.Contains(t, s.does("drift", "report", "--outcome", "drifted"), "edge-002")
		code, out, _ = s.cli("device", "drift", "edge-002")
		require.Equal(t, cli.ExitFailed, code)
		require.Contains(t, out, "3 of 13 settings differ")
		s.does("remediate", "edge-002", "--reason", "the scan")
		s.does("drift", "scan")
	})

	t.Run("a scan by the calendar leaves its evidence", func(t *testing.T) {
		s := s.in(t)
		s.does("schedule", "create", "nightly", "--run", "drift-scan", "--at", "03:30", "--on", "mon-fri", "--zone", "Europe/Berlin", "--note", "before the shift")
		before := s.evidenceOf("edge-001")
		s.does("schedule", "trigger", "nightly")
		until(t, patience, func() error {
			if at := s.evidenceOf("edge-001"); !at.After(before) {
				return errNotYet
			}
			return nil
		})
		var listed []struct{ Name, Run, When, Note string }
		until(t, patience, func() error {
			// The list is of the visibility store, which comes after.
			listed = nil
			if err := json.Unmarshal([]byte(s.does("schedule", "list", "--output", "json")), &listed); err != nil || len(listed) != 1 || !strings.Contains(listed[0].Note, "triggered") {
				return errors.Join(err, errNotYet)
			}
			return nil
		})
		require.Equal(t, "nightly", listed[0].Name)
		require.Equal(t, "drift-scan", listed[0].Run)
		require.Equal(t, "mon-fri 03:30 Europe/Berlin", listed[0].When)
		require.Regexp(t, `^before the shift; triggered by \S+ at \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ$`, listed[0].Note)
		s.does("schedule", "pause", "nightly", "--note", "storm")
		s.does("schedule", "resume", "nightly")
		s.does("schedule", "delete", "nightly")
		code, _, said := s.cli("schedule", "trigger", "nightly")
		require.Equal(t, cli.ExitUsage, code)
		require.Contains(t, said, "there is no schedule nightly")
	})

	t.Run("a drill finds a healthy device healthy, and changes nothing", func(t *testing.T) {
		s := s.in(t)
		written := s.written("edge-003")
		s.does("schedule", "create", "drill", "--run", "drill", "--device", "edge-003", "--every", "168h")
		s.does("schedule", "trigger", "drill")
		until(t, patience, func() error {
			var incidents []struct{ Status string }
			if err := json.Unmarshal([]byte(s.does("incident", "list", "--device", "edge-003", "--output", "json")), &incidents); err != nil {
				return err
			}
			if len(incidents) != 1 || incidents[0].Status != contract.OutcomeResolved {
				return fmt.Errorf("%w: %v", errNotYet, incidents)
			}
			return nil
		})
		require.Equal(t, written, s.written("edge-003"))
	})

	t.Run("what is no longer declared is decommissioned, when it is asked for", func(t *testing.T) {
		s := s.in(t)
		removeDeclaration(t, filepath.Join(dir, "devices", "simulated.yaml"), "edge-004")
		until(t, patience, func() error {
			code, _, said := s.cli("fleet", "apply", dir)
			if code == cli.ExitUsage && strings.Contains(said, "--yes") {
				return nil
			}
			return fmt.Errorf("%w: exit code %d: %s", errNotYet, code, said)
		})
		s.does("fleet", "apply", dir, "--yes", "--reason", "scrapped")
		require.Contains(t, s.does("fleet", "diff", dir), "0 to remove")
	})
	s.intact()
}

// evidenceOf is when a device's configuration was last read.
func (s *site) evidenceOf(device string) time.Time {
	s.t.Helper()
	page := s.inspect(contract.InspectInput{Question: contract.AskDriftReport, Evidence: &contract.EvidenceQuery{}}).Evidence
	for _, d := range page.Devices {
		if d.DeviceID == device && d.EvidenceAt != nil {
			return *d.EvidenceAt
		}
	}
	return time.Time{}
}

// removeDeclaration takes a device out of a file of devices, as an editor does:
// the new file replaces the old one.
func removeDeclaration(t *testing.T, file, device string) {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	parts := strings.Split(string(data), "    - id: ")
	kept := parts[:1]
	for _, p := range parts[1:] {
		if !strings.HasPrefix(p, device+"\n") {
			kept = append(kept, p)
		}
	}
	require.Len(t, kept, len(parts)-1, "%s declares %s once", file, device)
	require.NoError(t, os.WriteFile(file+".new", []byte(strings.Join(kept, "    - id: ")), 0o644))
	require.NoError(t, os.Rename(file+".new", file))
}
