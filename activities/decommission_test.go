package activities

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/internal/store"
	"edgefleet/workflows/contract"
)

func decommissionDevice(p *plant, id string) (contract.DecommissionDeviceResult, error) {
	return do[contract.DecommissionDeviceResult](p, contract.ActivityDecommission, contract.DecommissionDeviceInput{
		Scope: contract.Scope{DeviceID: id, Reason: "the feeder was taken down", Actor: contract.Actor{Kind: contract.ActorOperator, Name: "kim"}}})
}

// withdraw takes the feeder out of the fleet file.
func (p *plant) withdraw() {
	p.t.Helper()
	file := filepath.Join(p.dir, "fleet.yaml")
	text, err := os.ReadFile(file)
	require.NoError(p.t, err)
	var kept []string
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, "id: edge-001") {
			kept = append(kept, line)
		}
	}
	p.write("fleet.yaml", strings.Join(kept, ""))
	p.load()
}

func TestADeviceThatIsNoLongerDeclaredIsDecommissionedAndNotTouched(t *testing.T) {
	p := newPlant(t)
	p.drift()
	_, err := onboardDevice(p)
	require.NoError(t, err)
	before := p.writes()
	p.withdraw()
	require.NoError(t, p.feeder.Close(), "the device may be gone")

	out, err := decommissionDevice(p, "edge-001")
	require.NoError(t, err)
	r := p.registered()
	require.Equal(t, contract.DecommissionDeviceResult{DeviceID: "edge-001", ChangedAt: r.ChangedAt}, out)
	require.Equal(t, []string{store.StateDecommissioned, "the feeder was taken down", "s1", "standard"}, []string{r.State, r.Detail, r.Site, r.Baseline})
	require.Equal(t, before, p.writes())
	p.requireFree()
	page, err := p.store.ListLedger(t.Context(), store.LedgerQuery{Limit: 1, Newest: true})
	require.NoError(t, err)
	e := page.Entries[0]
	require.Equal(t, []string{"operator:kim", "edge-001", "decommission", "the feeder was taken down", testWorkflow},
		[]string{e.Actor, e.DeviceID, e.Action, e.Reason, e.WorkflowID})

	again, err := decommissionDevice(p, "edge-001")
	require.NoError(t, err, "a retry whose first answer was lost finds it done")
	require.Equal(t, out, again)
	ends := 0
	for _, line := range p.ledger() {
		if line == "event decommission decommissioned" {
			ends++
		}
	}
	require.Equal(t, 1, ends)
	p.requireFree()
}

func TestADeviceThatTheFleetDeclaresStaysInService(t *testing.T) {
	p := newPlant(t)
	_, err := onboardDevice(p)
	require.NoError(t, err)
	_, err = decommissionDevice(p, "edge-001")
	require.Contains(t, requireType(t, contract.ErrRejected, false, err), "the fleet declares edge-001; take it out of the fleet directory first")
	require.Equal(t, store.StateOnboarded, p.registered().State)
}

func TestADeviceThatWasNeverOnboardedCannotBeDecommissioned(t *testing.T) {
	p := newPlant(t)
	_, err := decommissionDevice(p, "edge-009")
	require.Contains(t, requireType(t, contract.ErrNotFound, false, err), "edge-009 was never onboarded")
	require.Empty(t, p.ledger())
}

func TestADeviceWithARunningRemediationIsDecommissionedAfterIt(t *testing.T) {
	p := newPlant(t)
	_, err := onboardDevice(p)
	require.NoError(t, err)
	p.withdraw()
	other, err := p.store.AcquireLease(t.Context(), "edge-001", store.Owner{WorkflowID: "remediate/edge-001", RunID: "r1"})
	require.NoError(t, err)
	_, err = decommissionDevice(p, "edge-001")
	require.Contains(t, requireType(t, contract.ErrLeaseHeld, true, err), "remediate/edge-001")
	require.Equal(t, store.StateOnboarded, p.registered().State)
	lease, err := p.store.LeaseOf(t.Context(), "edge-001")
	require.NoError(t, err)
	require.Equal(t, other.Token, lease.Token, "it is still the other's")

	require.NoError(t, p.store.ReleaseLease(t.Context(), "edge-001", other.Token))
	_, err = decommissionDevice(p, "edge-001")
	require.NoError(t, err)
	require.Equal(t, store.StateDecommissioned, p.registered().State)
	p.requireFree()
}

func TestTheRegistryIsListedWithWhatTheWorkerRuns(t *testing.T) {
	p := newPlant(t)
	page, err := do[contract.RegistryPage](p, contract.AskRegistryList, contract.RegistryQuery{})
	require.NoError(t, err)
	revision := p.operator.Fleet().Revision()
	require.Equal(t, contract.RegistryPage{Devices: []contract.RegisteredDevice{}, Revision: revision, Commit: "c0ffee"}, page)

	_, err = onboardDevice(p)
	require.NoError(t, err)
	p.withdraw()
	page, err = do[contract.RegistryPage](p, contract.AskRegistryList, contract.RegistryQuery{})
	require.NoError(t, err)
	require.Equal(t, p.operator.Fleet().Revision(), page.Revision)
	r := p.registered()
	require.Equal(t, []contract.RegisteredDevice{{DeviceID: "edge-001", State: contract.RegistryOnboarded, DeclaredHash: r.DeclaredHash, Revision: revision,
		Site: "s1", Region: "north", Profile: "fast-feeder", Maker: "Northline", Model: "FR-200", Firmware: r.Firmware, Serial: r.Serial,
		Baseline: "standard", BaselineVersion: "7", OnboardedAt: r.OnboardedAt, ChangedAt: r.ChangedAt}}, page.Devices, "it is not declared any more")
	require.Empty(t, page.Next)
}

func TestTheRegistryIsListedInPagesThatAnAnswerHasRoomFor(t *testing.T) {
	p := newPlant(t)
	const many = 30
	own := store.Owner{WorkflowID: "onboard/1", RunID: "r"}
	for n := range many {
		id := fmt.Sprintf("edge-%03d", n)
		lease, err := p.store.AcquireLease(t.Context(), id, own)
		require.NoError(t, err)
		_, err = p.store.FailRegistration(t.Context(), store.Registration{DeviceID: id, Owner: own, LeaseToken: lease.Token,
			Actor: "operator:kim", ActivityID: "1", Detail: strings.Repeat("x", 2*maxListed), Facts: store.Facts{DeclaredHash: "h"}})
		require.NoError(t, err)
	}
	for _, limit := range []int{0, 7, 10, many} {
		var ids []string
		for q := (contract.RegistryQuery{Limit: limit}); ; {
			page, err := do[contract.RegistryPage](p, contract.AskRegistryList, q)
			require.NoError(t, err)
			text, err := json.Marshal(page)
			require.NoError(t, err)
			require.LessOrEqual(t, len(text), maxPage+1000)
			for _, d := range page.Devices {
				require.LessOrEqual(t, len(d.Detail), maxListed+len("…"))
				ids = append(ids, d.DeviceID)
			}
			if q.After = page.Next; q.After == "" {
				break
			}
		}
		require.Len(t, ids, many, limit)
		require.IsIncreasing(t, ids)
	}
}

func TestTheStatesOfTheRegistryAreThoseOfTheStore(t *testing.T) {
	require.Equal(t, []string{store.StateOnboarding, store.StateOnboarded, store.StateFailed, store.StateDecommissioned},
		[]string{contract.RegistryOnboarding, contract.RegistryOnboarded, contract.RegistryFailed, contract.RegistryDecommissioned})
}
