package workflows

import (
	"fmt"
	"slices"
	"testing"
	"time"

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
	r.roll = func(in contract.RollOutDeviceInput) (contract.DeviceVerdict, error) {
		i := slices.IndexFunc(r.refs, func(d contract.RolloutRef) bool { return d.ID == in.DeviceID })
		group := r.refs[i].Group
		r.mu.Lock()
		running[group]++
		most = max(most, running[group])
		all := 0
		for _, count := range running {
			all += count
		}
		widest = max(widest, all)
		r.mu.Unlock()
		time.Sleep(time.Millisecond)
		r.mu.Lock()
		defer r.mu.Unlock()
		running[group]--
		return contract.DeviceVerdict{DeviceID: in.DeviceID, State: contract.DeviceHealthy}, nil
	}
	out, err := r.wave(in)
	require.NoError(t, err)
	require.Equal(t, n, out.Healthy, "each has its turn when its partner has had it")
	require.Equal(t, 1, most)
	require.Greater(t, widest, 1, "others are not held up")
}
