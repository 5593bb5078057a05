package activities

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

func TestTheDeviceListJoinsTheDeclarationWithWhatIsKnown(t *testing.T) {
	p := newPlant(t)
	list := func(q contract.DeviceQuery) []contract.DeviceStatus {
		out, err := do[[]contract.DeviceStatus](p, contract.AskDeviceList, q)
		require.NoError(t, err)
		require.NotNil(t, out)
		return out
	}
	all := list(contract.DeviceQuery{})
	require.Len(t, all, 2)
	require.Equal(t, contract.DeviceStatus{State: stateUnknown, Device: contract.Device{ID: "edge-001", Site: "s1", Region: "north",
		Class: "rtu", Profile: "fast-feeder", Address: p.feeder.Addr(), Labels: map[string]string{"feeder": "F12"}}}, all[0])

	p.begin()
	_, err := do[contract.HealthReport](p, contract.ActionVerifyDevice, actionInput(contract.Scope{DeviceID: "edge-001"}))
	require.NoError(t, err)
	all = list(contract.DeviceQuery{})
	require.Equal(t, []string{stateHealthy, testWorkflow}, []string{all[0].State, all[0].LeasedBy})
	require.NotNil(t, all[0].CheckedAt)
	require.NotEmpty(t, all[0].Detail)
	require.Equal(t, []string{stateUnknown, ""}, []string{all[1].State, all[1].LeasedBy})

	require.Len(t, list(contract.DeviceQuery{Region: "north"}), 2)
	require.Equal(t, "switch-01", list(contract.DeviceQuery{Site: "s2"})[0].ID)
	require.Empty(t, list(contract.DeviceQuery{Site: "s2", Region: "south"}))
}

func TestAnyNumberOfDevicesIsListedInPagesThatAnAnswerHasRoomFor(t *testing.T) {
	p := newPlant(t)
	const many = 10_000
	more := strings.Builder{}
	more.WriteString("devices:\n")
	label := strings.Repeat("x", 60)
	for n := range many {
		labels := ""
		if n < many/2 {
			labels = fmt.Sprintf(", labels: {a: %s, b: %s, c: %s, d: %s, e: %s, f: %s, g: %s, h: %s}", label, label, label, label, label, label, label, label)
		}
		fmt.Fprintf(&more, "  - {id: more-%05d, site: far-%d, region: north, profile: fast-feeder, address: \"127.0.0.1:%d\"%s}\n", n, n%2, 1+n, labels)
	}
	p.write("devices/more.yaml", more.String())
	p.load()
	require.NoError(t, p.store.SetDeviceState(t.Context(), store.DeviceState{DeviceID: "more-09998", State: stateHealthy}))
	_, err := p.store.AcquireLease(t.Context(), "more-09999", store.Owner{WorkflowID: "w", RunID: "r"})
	require.NoError(t, err)
	list := func(q contract.DeviceQuery) (all []contract.DeviceStatus, pages int) {
		for {
			page, err := do[[]contract.DeviceStatus](p, contract.AskDeviceList, q)
			require.NoError(t, err)
			text, err := json.Marshal(page)
			require.NoError(t, err)
			require.LessOrEqual(t, len(text), maxPage+len(`,"more":true`))
			require.LessOrEqual(t, len(page), contract.MaxDeviceList)
			all, pages = append(all, page...), pages+1
			if len(page) == 0 || !page[len(page)-1].More {
				return all, pages
			}
			q.After = page[len(page)-1].ID
		}
	}
	all, pages := list(contract.DeviceQuery{})
	require.Len(t, all, many+2)
	require.Greater(t, pages, many/contract.MaxDeviceList+1, "the devices with many labels take more room")
	for i := 1; i < len(all); i++ {
		require.Less(t, all[i-1].ID, all[i].ID)
	}
	known := map[string]contract.DeviceStatus{}
	for _, d := range all {
		known[d.ID] = d
	}
	require.Equal(t, []string{stateHealthy, "w", stateUnknown}, []string{known["more-09998"].State, known["more-09999"].LeasedBy, known["more-00000"].State})

	far, _ := list(contract.DeviceQuery{Site: "far-1"})
	require.Len(t, far, many/2)
	two, err := do[[]contract.DeviceStatus](p, contract.AskDeviceList, contract.DeviceQuery{Limit: 2, After: "more-09997"})
	require.NoError(t, err)
	require.Equal(t, []any{"more-09998", false, "more-09999", true}, []any{two[0].ID, two[0].More, two[1].ID, two[1].More}, "switch-01 follows")
}

func TestADeviceIsShownWithEverythingAboutIt(t *testing.T) {
	p := newPlant(t)
	p.drift()
	scope := p.begin()
	_, err := do[contract.ApplyReport](p, contract.ActionApplyBaselineConfig, actionInput(scope))
	require.NoError(t, err)
	got, err := do[contract.DeviceDetail](p, contract.AskDeviceShow, contract.DeviceQuery{ID: "edge-001"})
	require.NoError(t, err)
	require.Equal(t, []string{"edge-001", "standard 7", "switch-01 cycle-port-1", testWorkflow, stateUnknown},
		[]string{got.ID, got.Baseline, got.NetworkReset, got.LeasedBy, got.State})
	require.Len(t, got.Incidents, 1)
	require.Equal(t, scope.IncidentID, got.Incidents[0].ID)
	require.Len(t, got.Ledger, 2)

	other, err := do[contract.DeviceDetail](p, contract.AskDeviceShow, contract.DeviceQuery{ID: "switch-01"})
	require.NoError(t, err)
	require.Equal(t, []string{"", "", "", stateUnknown}, []string{other.Baseline, other.NetworkReset, other.LeasedBy, other.State})
	require.Empty(t, other.Incidents)
	require.Empty(t, other.Ledger)
}

func TestADevicesPageShowsItsLastEntries(t *testing.T) {
	p := newPlant(t)
	for n := range shown + 5 {
		p.event(fmt.Sprint(n), "")
	}
	got, err := do[contract.DeviceDetail](p, contract.AskDeviceShow, contract.DeviceQuery{ID: "edge-001"})
	require.NoError(t, err)
	require.Len(t, got.Ledger, shown)
	require.Equal(t, int64(shown+5), got.Ledger[shown-1].Seq)
}

// event appends an event of the feeder with a reason to the ledger.
func (p *plant) event(activityID, reason string) {
	p.t.Helper()
	_, err := p.store.AppendEvent(p.t.Context(), store.Record{Actor: "operator:ann", DeviceID: "edge-001", Action: "note", Reason: reason,
		WorkflowID: "w", RunID: "r", ActivityID: activityID})
	require.NoError(p.t, err)
}

func TestIncidentsAreListedNewestFirstAndInShort(t *testing.T) {
	p := newPlant(t)
	p.escalated("r1", "A")
	p.escalated("r2", "B")
	scope := p.begin()
	in := finishInput(scope, contract.OutcomeEscalated)
	in.Detail = strings.Repeat("x", 5000)
	_, err := do[contract.IncidentReport](p, contract.ActivityFinish, in)
	require.NoError(t, err)

	list, err := do[[]contract.Incident](p, contract.AskIncidentList, contract.IncidentQuery{})
	require.NoError(t, err)
	require.Equal(t, []string{"inc-3", "inc-2", "inc-1"}, []string{list[0].ID, list[1].ID, list[2].ID})
	require.LessOrEqual(t, len(list[0].Detail), maxListed+len("…"))
	list, err = do[[]contract.Incident](p, contract.AskIncidentList, contract.IncidentQuery{Limit: 1, DeviceID: "edge-001", Status: "escalated"})
	require.NoError(t, err)
	require.Len(t, list, 1)
	list, err = do[[]contract.Incident](p, contract.AskIncidentList, contract.IncidentQuery{Status: "resolved"})
	require.NoError(t, err)
	require.Equal(t, []contract.Incident{}, list)

	one, err := do[contract.IncidentDetail](p, contract.AskIncidentShow, contract.IncidentQuery{ID: "inc-3"})
	require.NoError(t, err)
	require.Len(t, one.Detail, 5000, "the whole of it stands with the incident")
	require.Len(t, one.Ledger, 1)
	text, err := json.Marshal(one)
	require.NoError(t, err)
	require.Contains(t, string(text), `"notes":[]`)
}

func TestAnIncidentIsShownWithItsNewestNotesAsFarAsTheyHaveRoom(t *testing.T) {
	p := newPlant(t)
	scope := p.begin()
	for n := range 4 {
		_, err := p.store.UpdateIncident(t.Context(), store.IncidentUpdate{IncidentID: scope.IncidentID, Note: fmt.Sprint(n) + strings.Repeat("n", 200<<10)})
		require.NoError(t, err)
	}
	got, err := do[contract.IncidentDetail](p, contract.AskIncidentShow, contract.IncidentQuery{ID: scope.IncidentID})
	require.NoError(t, err)
	require.Len(t, got.Notes, 2)
	require.Equal(t, []byte("23"), []byte{got.Notes[0].Text[0], got.Notes[1].Text[0]})
}

func TestAnIncidentIsShownWithTheLastOfItsLedger(t *testing.T) {
	p := newPlant(t)
	const shownEntries, entries = 200, 203
	for n := range entries {
		_, err := p.store.AppendEvent(t.Context(), store.Record{Actor: "operator:ann", DeviceID: "edge-001", Action: "note", IncidentID: "inc-1",
			WorkflowID: "w", RunID: "r", ActivityID: fmt.Sprint(n)})
		require.NoError(t, err)
	}
	scope := p.begin()
	require.Equal(t, "inc-1", scope.IncidentID)
	got, err := do[contract.IncidentDetail](p, contract.AskIncidentShow, contract.IncidentQuery{ID: scope.IncidentID})
	require.NoError(t, err)
	require.Len(t, got.Ledger, shownEntries)
	require.Equal(t, int64(entries), got.Ledger[shownEntries-1].Seq)
}

func TestWhatDoesNotExistIsNotFound(t *testing.T) {
	p := newPlant(t)
	for _, id := range []string{"", "inc-99", "inc-1' OR '1'='1"} {
		_, err := do[contract.IncidentDetail](p, contract.AskIncidentShow, contract.IncidentQuery{ID: id})
		require.Contains(t, requireType(t, contract.ErrNotFound, false, err), "see edgefleet incident list")
	}
}

func TestTheLedgerIsPagedByLinesAndByBytes(t *testing.T) {
	p := newPlant(t)
	const entries, large = 9, 150 << 10
	for n := range entries {
		p.event(fmt.Sprint(n), strings.Repeat("x", large))
	}
	ask := func(q contract.AuditQuery) contract.AuditPage {
		out, err := do[contract.AuditPage](p, contract.AskAuditList, q)
		require.NoError(t, err)
		text, err := json.Marshal(out.Entries)
		require.NoError(t, err)
		require.Less(t, len(text), maxPage+1024)
		return out
	}
	seqs := func(page contract.AuditPage) (out []int64) {
		for _, e := range page.Entries {
			out = append(out, e.Seq)
		}
		return out
	}
	var all []int64
	pages := 0
	for q := (contract.AuditQuery{}); ; pages++ {
		page := ask(q)
		all = append(all, seqs(page)...)
		if q.After = page.Next; page.Next == 0 {
			break
		}
	}
	require.Equal(t, []int64{1, 2, 3, 4, 5, 6, 7, 8, 9}, all, "every entry once, in order")
	require.Equal(t, 2, pages)
	require.Equal(t, []int64{1, 2}, seqs(ask(contract.AuditQuery{Limit: 2})))
	require.Equal(t, int64(2), ask(contract.AuditQuery{Limit: 2}).Next)
	require.Equal(t, []int64{7, 8, 9}, seqs(ask(contract.AuditQuery{Newest: true})), "the newest are those that are kept")
	require.Zero(t, ask(contract.AuditQuery{Newest: true}).Next)
	require.Empty(t, ask(contract.AuditQuery{DeviceID: "switch-01"}).Entries)
	require.Empty(t, ask(contract.AuditQuery{WorkflowID: "nobody"}).Entries)
	require.Len(t, ask(contract.AuditQuery{WorkflowID: "w", Limit: 1}).Entries, 1)
}

func TestTheNewestPageCountsFromItsNewestEntry(t *testing.T) {
	p := newPlant(t)
	// Small entries first: counted from the old end, all large ones would
	// come along.
	for n := range 10 {
		p.event(fmt.Sprint("small", n), "")
	}
	for n := range 6 {
		p.event(fmt.Sprint("large", n), strings.Repeat("x", 200<<10))
	}
	out, err := do[contract.AuditPage](p, contract.AskAuditList, contract.AuditQuery{Newest: true})
	require.NoError(t, err)
	require.Len(t, out.Entries, 2)
	require.Equal(t, int64(16), out.Entries[1].Seq)
}

func TestAnEntryThatIsLargerThanAPageIsAPage(t *testing.T) {
	p := newPlant(t)
	p.event("1", strings.Repeat("x", maxPage+1))
	p.event("2", "")
	for _, q := range []contract.AuditQuery{{}, {After: 1, Newest: true}} {
		out, err := do[contract.AuditPage](p, contract.AskAuditList, q)
		require.NoError(t, err)
		require.Len(t, out.Entries, 1)
	}
}

func TestTheLedgerIsVerifiedAndAnchored(t *testing.T) {
	p := newPlant(t)
	p.event("1", "a")
	first, err := do[contract.AuditVerdict](p, contract.AskAuditVerify, contract.AuditVerifyQuery{})
	require.NoError(t, err)
	require.True(t, first.OK)
	require.True(t, first.Keyed)
	require.Equal(t, []int64{1, 1}, []int64{first.Entries, first.HeadSeq})
	p.event("2", "b")
	second, err := do[contract.AuditVerdict](p, contract.AskAuditVerify, contract.AuditVerifyQuery{AnchorSeq: first.HeadSeq, AnchorHash: first.HeadHash})
	require.NoError(t, err)
	require.True(t, second.OK)
	bad, err := do[contract.AuditVerdict](p, contract.AskAuditVerify, contract.AuditVerifyQuery{AnchorSeq: 1, AnchorHash: strings.Repeat("0", 64)})
	require.NoError(t, err)
	require.False(t, bad.OK)
	require.Equal(t, "anchor mismatch", bad.Finding)
}

func TestAQuestionWithoutTheStoreCanBeAskedAgain(t *testing.T) {
	p := newPlant(t)
	require.NoError(t, p.store.Close())
	for question, query := range map[string]any{
		contract.AskDeviceList: contract.DeviceQuery{}, contract.AskDeviceShow: contract.DeviceQuery{ID: "edge-001"},
		contract.AskIncidentList: contract.IncidentQuery{}, contract.AskIncidentShow: contract.IncidentQuery{ID: "inc-1"},
		contract.AskAuditList: contract.AuditQuery{}, contract.AskAuditVerify: contract.AuditVerifyQuery{},
	} {
		_, err := p.env().ExecuteActivity(question, query)
		var app *temporal.ApplicationError
		require.ErrorAs(t, err, &app, question)
		require.False(t, app.NonRetryable(), question)
	}
}
