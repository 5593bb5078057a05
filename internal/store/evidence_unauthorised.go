package store

import (
	"context"
	"fmt"
)

// DetailUnauthorised begins the detail of a drift of which no change of ours is
// the cause.
const DetailUnauthorised = "unauthorised"

// UnauthorisedDrift counts, for each region, the devices in service whose last
// look found a drift of which no change of ours is the cause. Regions without
// one are left out.
func (s *Store) UnauthorisedDrift(ctx context.Context) (map[string]int64, error) {
	counts := map[string]int64{}
	err := s.read(ctx, func(scan func(...any) error) error {
		var region string
		var n int64
		err := scan(&region, &n)
		counts[region] = n
		return err
	}, `SELECT region, count(*)`+fromEvidence+` WHERE outcome = $1 AND detail LIKE $2 GROUP BY region`,
		EvidenceDrifted, DetailUnauthorised+"%")
	if err != nil {
		return nil, fmt.Errorf("count unauthorised drift: %w", err)
	}
	return counts, nil
}
