package workflows

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/workflows/contract"
)

func TestPartnersAreNeverInWorkTogether(t *testing.T) {
	const n = 40
	r := newRolloutWorld(t, n)
	for i := range r.refs {
		r.refs[i].Group = fmt.Sprintf("pair-%d", i%(n/4))
	}
	in := r.waveInput()
	in.Strategy.Bounds = contract.Bounds{PerSite: 10, PerRegion: 10, Total: 20}
	running, most, widest := map[string]int{}, 0, 0
	r.slowly(func(d contract.RolloutRef, one int) {
		running[d.Group] += one
		most = max(most, running[d.Group])
		all := 0
		for _, count := range running {
			all += count
		}
		widest = max(widest, all)
	})
	out, err := r.wave(in)
	require.NoError(t, err)
	require.Equal(t, n, out.Healthy, "each has its turn when its partner has had it")
	require.Equal(t, 1, most)
	require.Greater(t, widest, 1, "others are not held up")
}
