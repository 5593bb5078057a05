package sim_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/goburrow/modbus"
	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/devices/sim"
)

func count(t *testing.T, c modbus.Client, port uint16) uint16 {
	t.Helper()
	b, err := c.ReadInputRegisters(100+port-1, 1)
	require.NoError(t, err)
	return words(b)[0]
}

func TestTheOutletCuresItsLoadAndCountsTheCycle(t *testing.T) {
	for _, f := range []sim.Fault{sim.FaultOffline, sim.FaultHang, sim.FaultResetOnly} {
		t.Run(string(f), func(t *testing.T) {
			d := startFeeder(t)
			o := startOutlet(t)
			require.NoError(t, o.Connect(3, d))
			c, _ := dial(t, o.Addr())
			require.NoError(t, d.Break(f, false))

			_, err := c.WriteSingleCoil(2, 0xff00)
			require.NoError(t, err)
			require.Eventually(t, func() bool { return count(t, c, 3) == 1 }, patience, time.Millisecond)
			requireAnswers(t, d.Addr())
			require.Empty(t, d.Status().Fault)

			coils, err := c.ReadCoils(0, 8)
			require.NoError(t, err)
			require.Equal(t, []byte{0}, coils, "the coil clears itself")
			power, err := c.ReadDiscreteInputs(0, 8)
			require.NoError(t, err)
			require.Equal(t, []byte{0xff}, power)
			for port := uint16(1); port <= 8; port++ {
				if port != 3 {
					require.Zero(t, count(t, c, port))
				}
			}
			counters := o.Writes()
			require.Len(t, counters, 1)
			require.Equal(t, devices.Coil, counters[0].Table)
			require.EqualValues(t, 2, counters[0].Address)
			require.EqualValues(t, 1, counters[0].Count)
		})
	}
}

func TestAPortIsWithoutPowerWhileItCycles(t *testing.T) {
	d := startFeeder(t)
	o, err := sim.StartOutlet(sim.Config{ID: "switch-01"}, time.Hour)
	require.NoError(t, err)
	defer func() { require.NoError(t, o.Close()) }()
	require.NoError(t, o.Connect(8, d))
	c, _ := dial(t, o.Addr())

	_, err = c.WriteMultipleCoils(0, 8, []byte{0x80})
	require.NoError(t, err)
	_, err = c.WriteSingleCoil(7, 0xff00) // a second ON during the cycle
	require.NoError(t, err)
	require.Equal(t, sim.PhaseOff, d.Status().Phase)
	power, err := c.ReadDiscreteInputs(0, 8)
	require.NoError(t, err)
	require.Equal(t, []byte{0x7f}, power)
	coils, err := c.ReadCoils(0, 8)
	require.NoError(t, err)
	require.Equal(t, []byte{0x80}, coils)
	require.Zero(t, count(t, c, 8), "the cycle is not complete")

	require.NoError(t, o.Close())
	require.NoError(t, o.Close(), "closing twice is closing once")
	counted, err := o.Peek(devices.Input, 107, 1)
	require.NoError(t, err)
	require.Equal(t, []uint16{1}, counted, "closing completes the cycle, which was one")
	requireAnswers(t, d.Addr())
}

func TestWritingOffAndCyclingAnEmptyPortAreHarmless(t *testing.T) {
	o := startOutlet(t)
	c, _ := dial(t, o.Addr())
	_, err := c.WriteSingleCoil(0, 0)
	require.NoError(t, err)
	_, err = c.WriteSingleCoil(1, 0xff00)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return count(t, c, 2) == 1 }, patience, time.Millisecond)
	require.Zero(t, count(t, c, 1))
	require.EqualError(t, o.Connect(9, nil), "outlet switch-01 has no port 9; it has 1 to 8")
}

// recalled makes memory go through JSON, as it does between processes.
func recalled(t *testing.T, m sim.Memory) sim.Memory {
	t.Helper()
	b, err := json.Marshal(m)
	require.NoError(t, err)
	var out sim.Memory
	require.NoError(t, json.Unmarshal(b, &out))
	return out
}

func TestADeviceContinuesFromItsMemoryAtItsAddress(t *testing.T) {
	at := newClock()
	first := startFeeder(t, func(c *sim.Config) { c.Now = at.now })
	c, _ := dial(t, first.Addr())
	_, err := c.WriteMultipleRegisters(102, 2, payload(870, 1700))
	require.NoError(t, err)
	_, err = c.WriteSingleRegister(115, 1000)
	require.NoError(t, err)
	require.NoError(t, first.Break(sim.FaultDrift, true))
	require.NoError(t, first.Break(sim.FaultHang, true))
	require.NoError(t, first.SetLatency(time.Microsecond))
	require.NoError(t, first.Poke(devices.Discrete, 0, 1))
	require.Error(t, first.Poke(devices.Input, 0, 1), "a measurement cannot be stored")
	require.Error(t, first.Poke(devices.Holding, 99, 1))
	require.NoError(t, first.Close())
	require.NoError(t, first.Close())
	at.move(5 * time.Second)

	second := startFeeder(t, func(c *sim.Config) {
		c.Now, c.Memory, c.Address = at.now, recalled(t, first.Memory()), first.Addr()
	})
	require.Equal(t, first.Addr(), second.Addr())
	want := first.Status()
	got := second.Status()
	require.Equal(t, sim.FaultHang, got.Fault)
	require.True(t, got.Stuck && got.DriftStuck)
	require.Equal(t, want.Drifted, got.Drifted)
	require.Equal(t, want.Writes, got.Writes)
	require.Equal(t, want.Latency, got.Latency)
	require.Equal(t, first.Writes(), second.Writes())
	require.Equal(t, first.Log(), second.Log())
	requireLooks(t, sim.FaultHang, second.Addr())

	require.NoError(t, second.Heal())
	c, _ = dial(t, second.Addr())
	b, err := c.ReadHoldingRegisters(102, 2)
	require.NoError(t, err)
	require.Equal(t, []uint16{870, 1700}, words(b))
	b, err = c.ReadHoldingRegisters(115, 1)
	require.NoError(t, err)
	require.Equal(t, []uint16{1005}, words(b), "the event counter went on")
	b, err = c.ReadDiscreteInputs(0, 1)
	require.NoError(t, err)
	require.Equal(t, []byte{1}, b)
}

func TestTheLogIsBoundedAndTheCountersAreNot(t *testing.T) {
	d := startFeeder(t)
	c, _ := dial(t, d.Addr())
	for i := range 300 {
		_, err := c.WriteSingleRegister(109, uint16(1+i))
		require.NoError(t, err)
	}
	log := d.Log()
	require.Len(t, log, 256)
	require.EqualValues(t, 300, log[255].New)
	require.EqualValues(t, 299, log[255].Old)
	require.EqualValues(t, 300, d.Writes()[0].Count)
}

func TestOnWriteIsToldOfEveryWordBeforeTheAnswer(t *testing.T) {
	var told []sim.Write // written before the answer, so read after it
	changes := 0
	d := startFeeder(t, func(c *sim.Config) {
		c.OnWrite = func(w sim.Write) { told = append(told, w) }
		c.OnChange = func() { changes++ }
	})
	c, _ := dial(t, d.Addr())
	_, err := c.WriteMultipleRegisters(103, 2, payload(1, 1200))
	require.NoError(t, err)
	require.Len(t, told, 2)
	require.Equal(t, "undervoltage_delay", told[0].Name)
	require.EqualValues(t, 104, told[1].Address)
	require.Equal(t, 1, changes)
}
