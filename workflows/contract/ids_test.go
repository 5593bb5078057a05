package contract

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestValidDeviceIDTakesWhatCanStandInAWorkflowID(t *testing.T) {
	for _, id := range []string{"e", "0", "edge-001", "a.b_c-d", "A" + strings.Repeat("-", 62), strings.Repeat("z", 63)} {
		require.NoError(t, ValidDeviceID(id), id)
	}
	for _, id := range []string{"", "-edge", ".edge", "_edge", "edge 1", "edge/1", "edge\n", "édge", "edge\x00", strings.Repeat("z", 64), "..", "edge%2f"} {
		err := ValidDeviceID(id)
		require.ErrorContains(t, err, "want 1 to 63 letters, digits, '.', '-' or '_', beginning with a letter or digit")
		require.Less(t, len(err.Error()), 500, "however long the ID was")
	}
}

// episodes draws what the alert bridge lets through.
func episodes() *rapid.Generator[Episode] {
	return rapid.Custom(func(t *rapid.T) Episode {
		name := rapid.StringMatching(`[A-Za-z_:][A-Za-z0-9_:. -]{0,60}`).Filter(func(s string) bool { return s != "manual" })
		return Episode{
			DeviceID:    rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9._-]{0,62}`).Draw(t, "device"),
			AlertName:   name.Draw(t, "alert"),
			Fingerprint: rapid.StringMatching(`[A-Za-z0-9-]{1,64}`).Draw(t, "fingerprint"),
			StartsAt:    time.Unix(rapid.Int64Range(0, 1<<40).Draw(t, "second"), 0).UTC(),
		}
	})
}

func TestAnEpisodesWorkflowIDReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := episodes().Draw(t, "episode")
		back, err := ParseEpisode(e.WorkflowID())
		require.NoError(t, err)
		require.Equal(t, e, back)
	})
}

func TestTwoEpisodesHaveTwoWorkflowIDs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := episodes().Draw(t, "a"), episodes().Draw(t, "b")
		require.Equal(t, a == b, a.WorkflowID() == b.WorkflowID())
	})
}

func TestAnEpisodeIsTheSameInEveryZoneAndWithinItsSecond(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	e := Episode{DeviceID: "edge-001", AlertName: "EdgeDeviceOffline", Fingerprint: "f00d", StartsAt: at}
	require.Equal(t, "remediate/edge-001/EdgeDeviceOffline/f00d-1700000000", e.WorkflowID())
	later := e
	later.StartsAt = at.Add(999 * time.Millisecond).In(time.FixedZone("", 3600))
	require.Equal(t, e.WorkflowID(), later.WorkflowID())
}

func TestOtherIDsAreNotEpisodes(t *testing.T) {
	for _, id := range []string{
		"", "remediate/", "remediate/edge-001", "remediate/edge-001/A", "remediate/edge-001/A/f-1/x", "patch/edge-001/A/f-1",
		"remediate//A/f-1", "remediate/edge-001//f-1", "remediate/-edge/A/f-1", "remediate/edge-001/A/f", "remediate/edge-001/A/-1",
		"remediate/edge-001/A/f-", "remediate/edge-001/A/f-+1", "remediate/edge-001/A/f-01", "remediate/edge-001/A/f-x",
		"remediate/edge-001/A/f-99999999999999999999",
		ManualRemediateID("edge-001", "f-1"), InspectID(AskDeviceShow, "f-1"),
	} {
		_, err := ParseEpisode(id)
		require.Error(t, err, id)
	}
}

func TestIDsOfOtherWorkflows(t *testing.T) {
	require.Equal(t, "remediate/edge-001/manual/x7", ManualRemediateID("edge-001", "x7"))
	require.Equal(t, "inspect/device_show/x7", InspectID(AskDeviceShow, "x7"))
	require.Equal(t, "edgefleet.north", RegionQueue("north"))
}

func FuzzParseEpisode(f *testing.F) {
	for _, id := range []string{"remediate/edge-001/EdgeDeviceOffline/f00d-1700000000", "remediate/a/b/c-d-1", "remediate/a/manual/c-1",
		"remediate/a/b/c-+1", "remediate/a/b/c--1", "remediate/remediate/a/b-1", "remediate//b/-"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		e, err := ParseEpisode(id)
		if err != nil {
			require.Less(t, len(err.Error()), 2000)
			return
		}
		require.Equal(t, id, e.WorkflowID(), "one episode has one ID")
		require.NoError(t, ValidDeviceID(e.DeviceID))
	})
}
