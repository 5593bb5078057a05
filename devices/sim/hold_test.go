package sim_test

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"edgefleet/devices/sim"
)

func TestManyDevicesThatMayHaveAnyPortHaveDifferentOnes(t *testing.T) {
	model, err := sim.FeederRTU("edge-001")
	require.NoError(t, err)
	seen := map[string]bool{}
	for range 500 {
		d, err := sim.Start(sim.Config{ID: "edge-001", Model: model})
		require.NoError(t, err)
		defer func() { require.NoError(t, d.Close()) }()
		// A dark device is still the only one on its port.
		require.NoError(t, d.Break(sim.FaultOffline, true))
		seen[d.Addr()] = true
	}
	require.Len(t, seen, 500)
}

func TestADeviceThatComesBackFindsItsPortDespiteTheRemainsOfItsConnections(t *testing.T) {
	first := startFeeder(t)
	conn, err := net.Dial("tcp", first.Addr())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	requireAnswers(t, first.Addr())
	require.NoError(t, first.Close()) // the device closes first: its end waits out its time
	second := startFeeder(t, func(c *sim.Config) { c.Address = first.Addr() })
	requireAnswers(t, second.Addr())
}
