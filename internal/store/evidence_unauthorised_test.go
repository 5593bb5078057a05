package store

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestUnauthorisedDriftIsCountedByRegion(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		s := p.open(t, Options{})
		drift := func(device, region, detail string) Evidence {
			e := evidence(device, EvidenceDrifted)
			e.Region, e.Detail = region, detail
			return e
		}
		stale := evidence("edge-004", EvidenceUnreadable)
		stale.Region, stale.Detail = "north", DetailUnauthorised
		require.NoError(t, s.RecordEvidence(bg, []Evidence{
			drift("edge-001", "north", DetailUnauthorised+", since then: a is 1, want 2"),
			drift("edge-002", "north", "not yet at this version of the baseline"),
			drift("edge-003", "south", DetailUnauthorised), stale,
		}))
		counts, err := s.UnauthorisedDrift(bg)
		require.NoError(t, err)
		require.Equal(t, map[string]int64{"north": 1, "south": 1}, counts)

		require.NoError(t, s.RecordEvidence(bg, []Evidence{evidence("edge-001", EvidenceInSync)}))
		counts, err = s.UnauthorisedDrift(bg)
		require.NoError(t, err)
		require.Equal(t, map[string]int64{"south": 1}, counts)
	})
}
