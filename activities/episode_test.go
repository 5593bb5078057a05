package activities

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"edgefleet/devices/fleetdir"
	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

func TestBeginTakesTheLeaseOpensTheIncidentAndBringsTheRunbook(t *testing.T) {
	p := newPlant(t)
	begun, err := do[contract.BeginResult](p, contract.ActivityBegin, beginInput())
	require.NoError(t, err)
	require.Equal(t, contract.Device{ID: "edge-001", Site: "s1", Region: "north", Class: "rtu", Profile: "fast-feeder",
		Address: p.feeder.Addr(), Labels: map[string]string{"feeder": "F12"}}, begun.Device)
	require.Equal(t, "def handle_device_offline(device_id):\n    check_network(device_id)\n", begun.Source)
	hash := sha256.Sum256([]byte(begun.Source))
	require.Equal(t, hex.EncodeToString(hash[:]), begun.Hash)
	require.Equal(t, p.operator.Fleet().Revision(), begun.Revision)
	lease, err := p.store.LeaseOf(t.Context(), "edge-001")
	require.NoError(t, err)
	require.Equal(t, begun.LeaseToken, lease.Token)
	require.Equal(t, store.Owner{WorkflowID: testWorkflow, RunID: testRun}, lease.Owner)
	i := p.incident(begun.IncidentID)
	require.Equal(t, []string{"edge-001", "EdgeDeviceOffline", "open", "it does not answer", testWorkflow, testRun},
		[]string{i.DeviceID, i.AlertName, i.Status, i.Reason, i.WorkflowID, i.RunID})

	again, err := do[contract.BeginResult](p, contract.ActivityBegin, beginInput())
	require.NoError(t, err)
	require.Equal(t, begun, again, "a retry finds what the first attempt took")
}

func TestARunbookIsReadFromItsFolderOnly(t *testing.T) {
	p := newPlant(t)
	p.write("secret.py", "def handle_device_offline(d): pass\n")
	p.write("runbooks/sub/deep.py", "# deep\n")
	p.write("runbooks/full.py", strings.Repeat("#", fleetdir.MaxRunbook))
	p.write("runbooks/large.py", strings.Repeat("#", fleetdir.MaxRunbook+1))
	require.NoError(t, os.Symlink(filepath.Join(p.dir, "secret.py"), filepath.Join(p.dir, "runbooks", "out.py")))
	require.NoError(t, os.Symlink("../secret.py", filepath.Join(p.dir, "runbooks", "up.py")))
	require.NoError(t, os.Symlink("sub/deep.py", filepath.Join(p.dir, "runbooks", "mounted.py")))
	p.load()
	for _, tt := range []struct {
		name  string
		ref   contract.RunbookRef
		says  string
		bytes int
	}{
		{"a file", contract.RunbookRef{Path: "auto_remediation.py"}, "", 67},
		{"a file in a folder", contract.RunbookRef{Path: "sub/deep.py"}, "", 7},
		{"a link to another runbook, as mounted configuration has them", contract.RunbookRef{Path: "mounted.py"}, "", 7},
		{"a file of the largest size", contract.RunbookRef{Path: "full.py"}, "", fleetdir.MaxRunbook},
		{"a source that the caller brought along", contract.RunbookRef{Path: "nowhere.py", Source: "# mine\n"}, "", 7},
		{"a file that is not there", contract.RunbookRef{Path: "nowhere.py"}, "runbook nowhere.py: the fleet directory's runbooks folder has no such file; add it, or correct the routes that name it", 0},
		{"no name", contract.RunbookRef{}, "want a path inside the fleet directory's runbooks folder", 0},
		{"a way out", contract.RunbookRef{Path: "../secret.py"}, "want a path inside the fleet directory's runbooks folder", 0},
		{"a way out through a folder", contract.RunbookRef{Path: "sub/../../secret.py"}, "want a path inside the fleet directory's runbooks folder", 0},
		{"an absolute path", contract.RunbookRef{Path: filepath.Join(p.dir, "secret.py")}, "want a path inside the fleet directory's runbooks folder", 0},
		{"an absolute link out", contract.RunbookRef{Path: "out.py"}, "runbook out.py is a link that leads nowhere, or out of the folder", 0},
		{"a relative link out", contract.RunbookRef{Path: "up.py"}, "runbook up.py is a link that leads nowhere, or out of the folder", 0},
		{"a folder", contract.RunbookRef{Path: "sub"}, "runbook sub: ", 0},
		{"a file that is too large", contract.RunbookRef{Path: "large.py"}, "runbook large.py has more than 262144 bytes", 0},
		{"a source that is too large", contract.RunbookRef{Path: "mine.py", Source: strings.Repeat("#", fleetdir.MaxRunbook+1)}, "runbook mine.py has 262145 bytes, at most 262144 are allowed", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			source, err := runbookSource(p.operator.Fleet(), tt.ref)
			if tt.says == "" {
				require.NoError(t, err)
				require.Len(t, source, tt.bytes)
				return
			}
			require.ErrorContains(t, err, tt.says)
			in := beginInput()
			in.Runbook = tt.ref
			_, err = do[contract.BeginResult](p, contract.ActivityBegin, in)
			requireType(t, contract.ErrConfig, false, err)
			p.requireFree()
		})
	}
}

func TestTheRunbookBelongsToTheRevisionThatIsReported(t *testing.T) {
	p := newPlant(t)
	loaded := p.operator.Fleet().Revision()
	p.write("runbooks/auto_remediation.py", "# somebody is writing\n")
	begun, err := do[contract.BeginResult](p, contract.ActivityBegin, beginInput())
	require.NoError(t, err)
	require.Equal(t, loaded, begun.Revision)
	require.NotContains(t, begun.Source, "somebody is writing")
}

func TestBeginRefusesADeviceThatIsNotDeclared(t *testing.T) {
	p := newPlant(t)
	in := beginInput()
	in.DeviceID = "edge-009"
	_, err := do[contract.BeginResult](p, contract.ActivityBegin, in)
	require.Contains(t, requireType(t, contract.ErrUnknownDevice, false, err), `"edge-009" is not in fleet.yaml`)
}

func TestALeaseIsTakenOverFromARunThatIsKnownToHaveEnded(t *testing.T) {
	other := store.Owner{WorkflowID: "remediate/edge-001/A/f-1", RunID: "r1"}
	taken := func(t *testing.T) (*plant, store.Episode) {
		p := newPlant(t)
		e, err := p.store.BeginEpisode(t.Context(), store.EpisodeBegin{DeviceID: "edge-001", Owner: other, AlertName: "A", Reason: "before"})
		require.NoError(t, err)
		return p, e
	}
	t.Run("a running one keeps it", func(t *testing.T) {
		p, earlier := taken(t)
		_, err := do[contract.BeginResult](p, contract.ActivityBegin, beginInput())
		require.Contains(t, requireType(t, contract.ErrLeaseHeld, true, err), "edge-001 is held by remediate/edge-001/A/f-1 (run r1)")
		require.Equal(t, "open", p.incident(earlier.Incident.ID).Status)
	})
	t.Run("one of which nothing is known keeps it", func(t *testing.T) {
		p, earlier := taken(t)
		p.closed = func(store.Owner) (bool, error) { return true, errors.New("Temporal does not answer") }
		_, err := do[contract.BeginResult](p, contract.ActivityBegin, beginInput())
		requireType(t, contract.ErrLeaseHeld, true, err)
		require.Equal(t, "open", p.incident(earlier.Incident.ID).Status)
	})
	t.Run("one that ended loses it at once, and its incident is abandoned", func(t *testing.T) {
		p, earlier := taken(t)
		p.closed = func(o store.Owner) (bool, error) { return o == other, nil }
		scope := p.begin()
		require.Greater(t, scope.LeaseToken, earlier.Lease.Token)
		old := p.incident(earlier.Incident.ID)
		require.Equal(t, store.StatusAbandoned, old.Status)
		require.Contains(t, old.Detail, "terminated, or timed out")
		require.Equal(t, "open", p.incident(scope.IncidentID).Status)
		require.Equal(t, []string{"event end_incident abandoned"}, p.ledger())
		require.Equal(t, 1.0, p.metric("edgefleet_incidents_ended_total", "abandoned"))
	})
	t.Run("one with a write in flight keeps it until the write's deadline", func(t *testing.T) {
		p, earlier := taken(t)
		p.closed = func(store.Owner) (bool, error) { return true, nil }
		_, err := p.store.AppendIntent(t.Context(), store.Record{Actor: "alert:A", DeviceID: "edge-001", Action: "apply_baseline_config",
			WorkflowID: other.WorkflowID, RunID: other.RunID, ActivityID: "5"}, earlier.Lease.Token, time.Now().Add(time.Minute))
		require.NoError(t, err)
		_, err = do[contract.BeginResult](p, contract.ActivityBegin, beginInput())
		require.Contains(t, requireType(t, contract.ErrLeaseHeld, true, err), "in flight")
	})
	t.Run("one that ended while it held another incident's device is not confused", func(t *testing.T) {
		p, earlier := taken(t)
		later := store.Owner{WorkflowID: other.WorkflowID, RunID: "r2"}
		require.NoError(t, p.acts.Abandon(t.Context(), store.Lease{DeviceID: "edge-001", Token: earlier.Lease.Token + 1, Owner: later}))
		require.Equal(t, "open", p.incident(earlier.Incident.ID).Status, "another run of the same workflow")
		lease, err := p.store.LeaseOf(t.Context(), "edge-001")
		require.NoError(t, err)
		require.Equal(t, earlier.Lease.Token, lease.Token)
	})
}

func finishInput(s contract.Scope, outcome string) contract.FinishInput {
	return contract.FinishInput{Scope: s, Outcome: outcome, Detail: "that is how it went"}
}

func TestFinishGivesTheIncidentItsEndOnceAndFreesTheDevice(t *testing.T) {
	for _, outcome := range []string{contract.OutcomeResolved, contract.OutcomeCleared, contract.OutcomeEscalated, contract.OutcomeCancelled} {
		t.Run(outcome, func(t *testing.T) {
			p := newPlant(t)
			scope := p.begin()
			for range 3 {
				out, err := do[contract.IncidentReport](p, contract.ActivityFinish, finishInput(scope, outcome))
				require.NoError(t, err)
				require.Equal(t, contract.IncidentReport{IncidentID: scope.IncidentID, Status: outcome}, out)
			}
			i := p.incident(scope.IncidentID)
			require.Equal(t, outcome, i.Status)
			require.Equal(t, "that is how it went", i.Detail)
			require.NotNil(t, i.EndedAt)
			p.requireFree()
			require.Equal(t, []string{"event end_incident " + outcome}, p.ledger())
			require.Equal(t, 1.0, p.metric("edgefleet_incidents_ended_total", outcome))
			require.Equal(t, 1.0, p.metric("edgefleet_incident_duration_seconds", outcome))
			for _, other := range []string{contract.OutcomeResolved, store.StatusAbandoned} {
				if other != outcome {
					require.Zero(t, p.metric("edgefleet_incident_duration_seconds", other), "time to repair is of what was repaired")
				}
			}
		})
	}
}

func TestFinishFindsWhatARunBeganWithoutKnowingOfIt(t *testing.T) {
	p := newPlant(t)
	began := p.begin()
	// The workflow was cancelled while begin ran, and never saw its result.
	out, err := do[contract.IncidentReport](p, contract.ActivityFinish,
		finishInput(contract.Scope{DeviceID: "edge-001", Actor: theActor()}, contract.OutcomeCancelled))
	require.NoError(t, err)
	require.Equal(t, contract.IncidentReport{IncidentID: began.IncidentID, Status: contract.OutcomeCancelled}, out)
	p.requireFree()
}

func TestFinishOfARunThatBeganNothingTouchesNobodyElse(t *testing.T) {
	p := newPlant(t)
	earlier, err := p.store.BeginEpisode(t.Context(), store.EpisodeBegin{DeviceID: "edge-001",
		Owner: store.Owner{WorkflowID: testWorkflow, RunID: "an earlier run"}, Reason: "before"})
	require.NoError(t, err)
	out, err := do[contract.IncidentReport](p, contract.ActivityFinish,
		finishInput(contract.Scope{DeviceID: "edge-001", Actor: theActor()}, contract.OutcomeEscalated))
	require.NoError(t, err)
	require.Zero(t, out)
	require.Equal(t, "open", p.incident(earlier.Incident.ID).Status)
	_, err = p.store.LeaseOf(t.Context(), "edge-001")
	require.NoError(t, err)

	out, err = do[contract.IncidentReport](p, contract.ActivityFinish,
		finishInput(contract.Scope{DeviceID: "edge-009", Actor: theActor()}, contract.OutcomeEscalated))
	require.NoError(t, err, "nor does a device that is not declared make it fail")
	require.Zero(t, out)
}

func TestFinishSucceedsWhateverTheTextsAre(t *testing.T) {
	p := newPlant(t)
	scope := p.begin()
	scope.Actor.Name = strings.Repeat("ä", 1000)
	in := finishInput(scope, contract.OutcomeEscalated)
	in.Detail = strings.Repeat("ö", 1<<20)
	_, err := do[contract.IncidentReport](p, contract.ActivityFinish, in)
	require.NoError(t, err)
	p.requireFree()
	require.LessOrEqual(t, len(p.incident(scope.IncidentID).Detail), maxDetail+len("…"))
}

func TestAnIncidentIsUpdatedOnceForEachAction(t *testing.T) {
	p := newPlant(t)
	scope := p.begin()
	update := func(args map[string]string) contract.ActionInput {
		return contract.ActionInput{Scope: scope, Args: args}
	}
	for range 2 {
		out, err := do[contract.IncidentReport](p, contract.ActionUpdateIncidentStatus, update(nil))
		require.NoError(t, err)
		require.Equal(t, contract.IncidentReport{IncidentID: scope.IncidentID, Status: store.StatusMitigated}, out, "mitigated is the default")
	}
	notes, err := p.store.Notes(t.Context(), scope.IncidentID)
	require.NoError(t, err)
	require.Len(t, notes, 1)

	env := p.env()
	_, err = next[contract.IncidentReport](env, contract.ActionUpdateIncidentStatus, update(nil))
	require.NoError(t, err)
	out, err := next[contract.IncidentReport](env, contract.ActionUpdateIncidentStatus,
		update(map[string]string{"status": "investigating", "note": "the crew is on its way"}))
	require.NoError(t, err)
	require.Equal(t, store.StatusInvestigating, out.Status)
	notes, err = p.store.Notes(t.Context(), scope.IncidentID)
	require.NoError(t, err)
	require.Equal(t, "the crew is on its way", notes[len(notes)-1].Text)

	_, err = next[contract.IncidentReport](env, contract.ActionUpdateIncidentStatus, contract.ActionInput{Scope: contract.Scope{IncidentID: "inc-99"}})
	requireType(t, contract.ErrNotFound, false, err)
	_, err = next[contract.IncidentReport](env, contract.ActionUpdateIncidentStatus, update(map[string]string{"status": "resolved"}))
	requireType(t, contract.ErrStore, false, err)
}

func TestAnEventIsRecordedOnce(t *testing.T) {
	p := newPlant(t)
	scope := p.begin()
	in := contract.RecordInput{Scope: scope, Event: "approval reset", By: "ann", Outcome: "approved", Detail: "go on"}
	var seqs []int64
	for range 3 {
		seq, err := do[int64](p, contract.ActivityRecord, in)
		require.NoError(t, err)
		seqs = append(seqs, seq)
	}
	require.Equal(t, []int64{1, 1, 1}, seqs)
	page, err := p.store.ListLedger(t.Context(), store.LedgerQuery{})
	require.NoError(t, err)
	require.Len(t, page.Entries, 1)
	e := page.Entries[0]
	require.Equal(t, []string{"event", "operator:ann", "edge-001", "approval reset", "approved", "go on", scope.IncidentID, testWorkflow, testRun},
		[]string{e.Phase, e.Actor, e.DeviceID, e.Action, e.Outcome, e.Reason, e.IncidentID, e.WorkflowID, e.RunID})
	in.Outcome = "refused"
	_, err = do[int64](p, contract.ActivityRecord, in)
	requireType(t, contract.ErrStore, false, err)
	require.Len(t, p.ledger(), 1, "another word under the same key is refused")
}

func TestACancelledActivityIsCancelledAndAStoppedWorkerIsNot(t *testing.T) {
	p := newPlant(t)
	for _, tt := range []struct {
		name  string
		cause error
	}{
		{"the worker stops", errors.New("worker is shutting down")},
		{"nobody says why", nil},
	} {
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(tt.cause)
		p.ctx = ctx
		_, err := do[contract.NetworkReport](p, contract.ActionCheckNetwork, contract.ActionInput{Scope: contract.Scope{DeviceID: "edge-001"}})
		requireType(t, contract.ErrInternal, true, err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(temporal.NewCanceledError())
	p.ctx = ctx
	_, err := do[contract.NetworkReport](p, contract.ActionCheckNetwork, contract.ActionInput{Scope: contract.Scope{DeviceID: "edge-001"}})
	require.True(t, temporal.IsCanceledError(err), "%v", err)
	require.Equal(t, 1.0, p.metric("edgefleet_activities_total", contract.ActionCheckNetwork, reasonCancelled))
	require.Equal(t, 2.0, p.metric("edgefleet_activities_total", contract.ActionCheckNetwork, contract.ErrInternal))
}
