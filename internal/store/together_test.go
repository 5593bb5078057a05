package store

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatIsAskedOfManyDevicesIsWhatIsAskedOfEach(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		s := p.open(t, Options{})
		lease, err := s.AcquireLease(bg, "edge-001", ownerA)
		require.NoError(t, err)
		freed, err := s.AcquireLease(bg, "edge-002", ownerA)
		require.NoError(t, err)
		require.NoError(t, s.ReleaseLease(bg, "edge-002", freed.Token))
		require.NoError(t, s.SetDeviceState(bg, DeviceState{DeviceID: "edge-002", State: "drifted"}))
		require.NoError(t, s.Assign(bg, Assignment{DeviceID: "edge-003", Baseline: "b", Version: "1", Settings: map[string]string{"a": "1"}, Actor: "operator:ann", Owner: ownerA}))
		require.NoError(t, s.Assign(bg, Assignment{DeviceID: "edge-009", Baseline: "b", Version: "1", Settings: map[string]string{"a": "1"}, Actor: "operator:ann", Owner: ownerA}))

		got, err := s.OfDevices(bg, []string{"edge-001", "edge-002", "edge-003", "edge-004"})
		require.NoError(t, err)
		require.Len(t, got.Leases, 1, "a lease that was given back is none")
		require.Equal(t, lease.Token, got.Leases["edge-001"].Token)
		require.Len(t, got.States, 1)
		state, err := s.DeviceState(bg, "edge-002")
		require.NoError(t, err)
		require.Equal(t, state, got.States["edge-002"])
		require.Len(t, got.Assignments, 1, "others were not asked for")
		assigned, err := s.Assignment(bg, "edge-003")
		require.NoError(t, err)
		require.Equal(t, assigned, got.Assignments["edge-003"])

		many := make([]string, MaxBulk)
		for i := range many {
			many[i] = fmt.Sprintf("edge-%03d", i)
		}
		got, err = s.OfDevices(bg, many)
		require.NoError(t, err)
		require.Len(t, got.Assignments, 2)
		_, err = s.OfDevices(bg, append(many, "one-more"))
		require.EqualError(t, err, "1001 devices in one question; ask for at most 1000")
		got, err = s.OfDevices(bg, nil)
		require.NoError(t, err)
		require.Empty(t, got.Leases)
	})
}
