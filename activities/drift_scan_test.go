package activities

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

func scan(p *plant, ids ...string) (contract.ScanDriftResult, error) {
	return do[contract.ScanDriftResult](p, contract.ActivityScanDrift, contract.ScanDriftInput{Region: "north", IDs: ids})
}

func (p *plant) evidence(id string) store.DeviceEvidence {
	p.t.Helper()
	list, err := p.store.ListEvidence(p.t.Context(), store.EvidenceQuery{DeviceID: id})
	require.NoError(p.t, err)
	require.Len(p.t, list, 1)
	return list[0]
}

func TestAScanTellsInSyncFromWhatHasNothingToCompare(t *testing.T) {
	p := newPlant(t)
	out, err := scan(p, "edge-001", "switch-01")
	require.NoError(t, err)
	require.Equal(t, contract.ScanDriftResult{DriftCounts: contract.DriftCounts{InSync: 1, NoBaseline: 1}}, out)
	e := p.evidence("edge-001")
	require.Equal(t, []string{"s1", "north", store.EvidenceInSync, "standard", "7", testWorkflow, testRun},
		[]string{e.Site, e.Region, e.Outcome, e.Baseline, e.BaselineVersion, e.WorkflowID, e.RunID})
	require.Equal(t, store.EvidenceNoBaseline, p.evidence("switch-01").Outcome)
	require.Empty(t, p.writes(), "a scan changes nothing")
}

func TestADriftThatNoChangeExplainsIsUnauthorised(t *testing.T) {
	for _, tt := range []struct {
		name         string
		prepare      func(p *plant)
		unauthorised bool
		word         string
	}{
		{"nobody ever changed it", func(*plant) {}, true, "unauthorised, since "},
		{"the last change was applied", func(p *plant) { p.change("applied") }, true, "unauthorised, since "},
		{"the last change was confirmed", func(p *plant) { p.change("confirmed") }, true, "unauthorised, since "},
		{"the last change was applied in part", func(p *plant) { p.change("partly_applied") }, false, "after a change that ended as partly_applied, since "},
		{"the last change has no known end", func(p *plant) { p.change("") }, false, "after a change without a known end, since "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlant(t)
			tt.prepare(p)
			p.drift()
			out, err := scan(p, "edge-001")
			require.NoError(t, err)
			require.Equal(t, contract.DriftCounts{Drifted: 1}, out.DriftCounts)
			require.Len(t, out.Found, 1)
			d := out.Found[0]
			require.Equal(t, tt.unauthorised, d.Unauthorised)
			require.Equal(t, 2, d.Drifted)
			require.True(t, strings.HasPrefix(d.Detail, tt.word), d.Detail)
			require.Contains(t, d.Detail, "undervoltage_trip is ")
			require.Equal(t, stateDrifted, p.state().State)
			require.Equal(t, 2, p.evidence("edge-001").Drifted)
			require.Equal(t, d.Detail, p.evidence("edge-001").Detail)
		})
	}
}

// change puts a change to the device's settings, as another run would have made
// it an hour ago, into the ledger; without an outcome it has only begun.
func (p *plant) change(outcome string) {
	p.t.Helper()
	p.ago = time.Hour
	defer func() { p.ago = 0 }()
	ctx, other := p.t.Context(), store.Owner{WorkflowID: "another", RunID: "run"}
	lease, err := p.store.AcquireLease(ctx, "edge-001", other)
	require.NoError(p.t, err)
	rec := store.Record{Actor: "operator:kim", DeviceID: "edge-001", Action: contract.ActionApplyBaselineConfig, Item: "baseline standard 7",
		WorkflowID: other.WorkflowID, RunID: other.RunID, ActivityID: "5"}
	_, err = p.store.AppendIntent(ctx, rec, lease.Token, time.Now().Add(-59*time.Minute))
	require.NoError(p.t, err)
	if outcome != "" {
		rec.Outcome = outcome
		_, err = p.store.AppendResult(ctx, rec)
		require.NoError(p.t, err)
	}
	require.NoError(p.t, p.store.ReleaseLease(ctx, "edge-001", lease.Token))
}

func TestADriftIsKnownSinceItWasFirstSeen(t *testing.T) {
	p := newPlant(t)
	p.drift()
	first, err := scan(p, "edge-001")
	require.NoError(t, err)
	second, err := scan(p, "edge-001")
	require.NoError(t, err)
	require.WithinDuration(t, first.Found[0].At, *second.Found[0].Since, time.Millisecond)
	require.True(t, second.Found[0].At.After(*second.Found[0].Since))
	require.True(t, second.Found[0].Unauthorised)
}

func TestANewVersionOfTheBaselineIsNobodysDrift(t *testing.T) {
	p := newPlant(t)
	_, err := scan(p, "edge-001")
	require.NoError(t, err)
	p.write("edge-configs/standard.yaml", strings.NewReplacer("version: 7", "version: 8", "undervoltage_trip: 85", "undervoltage_trip: 80").Replace(plantBaseline))
	p.load()
	for range 2 {
		out, err := scan(p, "edge-001")
		require.NoError(t, err)
		require.Equal(t, 1, out.Drifted)
		require.False(t, out.Found[0].Unauthorised)
		require.True(t, strings.HasPrefix(out.Found[0].Detail, wordBehind+", since "), out.Found[0].Detail)
	}
}

func TestADeviceThatDoesNotTellIsUnreadableAndNeverInSync(t *testing.T) {
	p := newPlant(t)
	_, err := scan(p, "edge-001")
	require.NoError(t, err)
	require.NoError(t, p.feeder.Close())
	out, err := scan(p, "edge-001", "edge-404")
	require.NoError(t, err)
	require.Equal(t, contract.DriftCounts{Unreadable: 2}, out.DriftCounts)
	require.Equal(t, contract.DriftUnreadable, out.Found[0].Outcome)
	require.Equal(t, "the fleet does not declare it any more", out.Found[1].Detail)
	e := p.evidence("edge-001")
	require.Equal(t, []string{store.EvidenceUnreadable, store.EvidenceInSync}, []string{e.Outcome, e.Found}, "the old evidence stays")
	list, err := p.store.ListEvidence(t.Context(), store.EvidenceQuery{DeviceID: "edge-404"})
	require.NoError(t, err)
	require.Empty(t, list)
}

func TestADeviceThatAWorkflowHoldsIsNotJudged(t *testing.T) {
	p := newPlant(t)
	p.drift()
	_, err := p.store.AcquireLease(t.Context(), "edge-001", store.Owner{WorkflowID: "remediate/edge-001/manual/1", RunID: "run"})
	require.NoError(t, err)
	out, err := scan(p, "edge-001")
	require.NoError(t, err)
	require.Equal(t, contract.ScanDriftResult{DriftCounts: contract.DriftCounts{UnderChange: 1}}, out)
	require.Equal(t, "held by remediate/edge-001/manual/1", p.evidence("edge-001").Detail)
}

func TestAScanGoesOnWhereTheAttemptBeforeItStood(t *testing.T) {
	p := newPlant(t)
	at := time.Now().Add(-time.Minute).UTC().Truncate(time.Microsecond)
	env := p.env()
	env.SetHeartbeatDetails(contract.ScanDriftResult{Found: []contract.DriftFinding{
		{DeviceID: "edge-001", Site: "s1", Region: "north", Outcome: contract.DriftInSync, At: at, Baseline: "standard", Version: "7"}}})
	reads := p.reads()
	out, err := next[contract.ScanDriftResult](env, contract.ActivityScanDrift, contract.ScanDriftInput{Region: "north", IDs: []string{"edge-001", "switch-01"}})
	require.NoError(t, err)
	require.Equal(t, contract.DriftCounts{InSync: 1, NoBaseline: 1}, out.DriftCounts)
	require.Zero(t, *reads, "the device is not asked again")
	require.WithinDuration(t, at, *p.evidence("edge-001").EvidenceAt, 0, "and its evidence is as old as it is")
}

// reads counts how often a device was connected to from now on.
func (p *plant) reads() *int {
	n := 0
	p.driver.open = func() { n++ }
	return &n
}

func TestWithoutTheStoreAScanHasNoResult(t *testing.T) {
	p := newPlant(t)
	require.NoError(t, p.store.Close())
	_, err := scan(p, "edge-001")
	requireType(t, contract.ErrStore, true, err)
}

func TestTheReportIsWhatTheStoreKnows(t *testing.T) {
	p := newPlant(t)
	list := []store.Evidence{}
	for n := range 600 {
		list = append(list, store.Evidence{DeviceID: fmt.Sprintf("edge-%04d", n), Site: "s1", Region: "north", Outcome: store.EvidenceDrifted,
			Drifted: 3, Baseline: "standard", BaselineVersion: "7", Detail: strings.Repeat("x", 2000), Owner: store.Owner{WorkflowID: "w", RunID: "r"}})
	}
	require.NoError(t, p.store.RecordEvidence(t.Context(), list))
	require.NoError(t, p.store.RecordEvidence(t.Context(), []store.Evidence{{DeviceID: "other", Site: "s2", Region: "south",
		Outcome: store.EvidenceUnreadable, Owner: store.Owner{WorkflowID: "w", RunID: "r"}}}))
	for range 2 {
		for i := range list {
			list[i].DeviceID = "z" + list[i].DeviceID
		}
		require.NoError(t, p.store.RecordEvidence(t.Context(), list))
	}
	got, pages := []string{}, 0
	for q := (contract.EvidenceQuery{Outcome: store.EvidenceDrifted}); ; pages++ {
		page, err := do[contract.EvidencePage](p, contract.AskDriftReport, q)
		require.NoError(t, err)
		for _, d := range page.Devices {
			got = append(got, d.DeviceID)
			require.LessOrEqual(t, len(d.Detail), maxListed+len("…"))
		}
		if q.After = page.Next; q.After == "" {
			break
		}
	}
	require.Positive(t, pages, "an answer has its bound")
	require.Len(t, got, 1800)
	require.True(t, slices.IsSorted(got))
	page, err := do[contract.EvidencePage](p, contract.AskDriftReport, contract.EvidenceQuery{Site: "s2"})
	require.NoError(t, err)
	require.Len(t, page.Devices, 1)
	require.Equal(t, "other", page.Devices[0].DeviceID)
}

// A cancelled scan says nothing of a device that it was still asking.
func TestACancelledScanRecordsNothing(t *testing.T) {
	p := newPlant(t)
	ctx, cancel := context.WithCancel(context.Background())
	p.ctx = ctx
	p.driver.open = cancel
	_, err := scan(p, "edge-001")
	require.Error(t, err)
	list, err := p.store.ListEvidence(t.Context(), store.EvidenceQuery{})
	require.NoError(t, err)
	require.Empty(t, list)
}
