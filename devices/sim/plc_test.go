package sim_test

import (
	"testing"
	"time"

	"github.com/goburrow/modbus"
	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/devices/sim"
)

func TestAControllerStartsItsProgramAnewOnceForEachOrder(t *testing.T) {
	at := newClock()
	d, err := sim.StartPLC(sim.Config{ID: "plc-001", Init: time.Minute, Now: at.now})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	peek := func(table devices.ModbusTable, address uint16) uint16 {
		words, err := d.Peek(table, address, 1)
		require.NoError(t, err)
		return words[0]
	}
	client := modbus.NewTCPClientHandler(d.Addr())
	t.Cleanup(func() { _ = client.Close() })
	order := func(value uint16) {
		_, err := modbus.NewClient(client).WriteSingleCoil(100, value)
		require.NoError(t, err)
	}
	at.move(time.Hour)
	order(0)
	require.Zero(t, peek(devices.Input, 1), "OFF is no order")
	require.EqualValues(t, 1, peek(devices.Input, 0))
	order(0xff00)
	require.EqualValues(t, 1, peek(devices.Input, 1))
	require.Zero(t, peek(devices.Coil, 100), "the coil clears itself")
	require.Zero(t, peek(devices.Input, 0), "the program is stopped")
	require.Equal(t, sim.PhaseInit, d.Status().Phase)
	at.move(time.Minute)
	require.EqualValues(t, 1, peek(devices.Input, 0))
	order(0xff00)
	require.EqualValues(t, 2, peek(devices.Input, 1))
	require.Equal(t, "restart", d.Writes()[0].Name)
	require.EqualValues(t, 3, d.Writes()[0].Count)

	again, err := sim.StartPLC(sim.Config{ID: "plc-001", Memory: d.Memory()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, again.Close()) })
	words, err := again.Peek(devices.Input, 1, 1)
	require.NoError(t, err)
	require.Equal(t, []uint16{2}, words, "the count outlives the process")
	_, err = sim.StartPLC(sim.Config{ID: "an-id-that-is-too-long"})
	require.Error(t, err)
}
