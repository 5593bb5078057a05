package sim_test

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/devices"
	"edgefleet/devices/sim"
)

// requireLooks wants the address to look as the fault makes it look.
func requireLooks(t *testing.T, f sim.Fault, addr string) {
	t.Helper()
	switch f {
	case sim.FaultOffline:
		_, err := net.DialTimeout("tcp", addr, time.Second)
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
	case sim.FaultHang:
		err := answers(addr, 50*time.Millisecond)
		var timeout net.Error
		require.Truef(t, errors.As(err, &timeout) && timeout.Timeout(), "want silence, got %v", err)
	case sim.FaultResetOnly:
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			defer func() { _ = conn.Close() }()
			require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
			_, err = conn.Read(make([]byte, 1))
		}
		require.ErrorIs(t, err, syscall.ECONNRESET)
	default:
		require.NoError(t, answers(addr, time.Second))
	}
}

func TestNetworkFaultsShowAndAreCuredByAPowerCycleUnlessStuck(t *testing.T) {
	for _, f := range []sim.Fault{sim.FaultOffline, sim.FaultHang, sim.FaultResetOnly} {
		for _, stuck := range []bool{false, true} {
			name := string(f)
			if stuck {
				name += " stuck"
			}
			t.Run(name, func(t *testing.T) {
				d := startFeeder(t)
				addr := d.Addr()
				require.NoError(t, d.Break(f, stuck))
				requireLooks(t, f, addr)
				requireLooks(t, f, addr)
				require.Equal(t, f, d.Status().Fault)
				require.Equal(t, stuck, d.Status().Stuck)

				d.PowerOff()
				require.Equal(t, sim.PhaseOff, d.Status().Phase)
				requireLooks(t, sim.FaultOffline, addr)
				d.PowerOn()
				require.Eventually(t, func() bool { return d.Status().Phase == sim.PhaseRunning }, patience, time.Millisecond)
				if stuck {
					requireLooks(t, f, addr)
					require.NoError(t, d.Heal())
				}
				requireLooks(t, "", addr)
				require.Equal(t, addr, d.Status().Address)
				require.Empty(t, d.Status().Fault)
				require.Empty(t, d.Writes(), "a fault is not a client")
			})
		}
	}
}

func TestAFaultCutsTheConnectionsThatThereAre(t *testing.T) {
	for _, f := range []sim.Fault{sim.FaultOffline, sim.FaultHang, sim.FaultResetOnly} {
		t.Run(string(f), func(t *testing.T) {
			d := startFeeder(t)
			conn, err := net.Dial("tcp", d.Addr())
			require.NoError(t, err)
			defer func() { _ = conn.Close() }()
			require.NoError(t, d.Break(f, false))
			require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
			_, err = conn.Read(make([]byte, 1))
			require.Error(t, err)
			require.NotErrorIs(t, err, syscall.ETIMEDOUT)
		})
	}
}

func TestAPowerCycleShowsDarknessThenInitThenRunningFromUptimeZero(t *testing.T) {
	at := newClock()
	d := startFeeder(t, func(c *sim.Config) { c.Now = at.now; c.Init = time.Minute })
	at.move(time.Hour)
	require.Equal(t, time.Hour, d.Status().Uptime)
	d.PowerOff()
	d.PowerOn()
	d.PowerOn() // power that is there changes nothing
	require.Equal(t, sim.PhaseBooting, d.Status().Phase)
	requireLooks(t, sim.FaultOffline, d.Addr())
	requireAnswers(t, d.Addr())
	c, _ := dial(t, d.Addr())
	read := func() []uint16 {
		b, err := c.ReadInputRegisters(10, 3)
		require.NoError(t, err)
		return words(b)
	}
	require.Equal(t, []uint16{0, 0, 0}, read(), "uptime 0, state init")
	require.Equal(t, sim.PhaseInit, d.Status().Phase)
	at.move(time.Minute)
	require.Equal(t, []uint16{0, 60, 1}, read(), "uptime 60, state running")
}

func TestPowerThatGoesAgainDuringABootKeepsTheDeviceDark(t *testing.T) {
	d := startFeeder(t)
	for range 20 {
		d.PowerOff()
		d.PowerOn()
	}
	d.PowerOff()
	require.Never(t, func() bool { return answers(d.Addr(), time.Second) == nil }, 3*quick, quick/2)
	d.PowerOn()
	requireAnswers(t, d.Addr())
}

func TestDriftChangesSettingsWithoutAClientAndHealRestoresThem(t *testing.T) {
	d := startFeeder(t)
	c, _ := dial(t, d.Addr())
	_, err := c.WriteSingleRegister(102, 870)
	require.NoError(t, err)
	before, err := d.Peek(devices.Holding, 100, 15)
	require.NoError(t, err)

	require.NoError(t, d.Break(sim.FaultDrift, false))
	require.NoError(t, d.Break(sim.FaultDrift, false), "twice is once")
	require.Equal(t, []string{"undervoltage_trip", "overcurrent_pickup", "report_interval"}, d.Status().Drifted)
	require.Empty(t, d.Status().Fault)
	b, err := c.ReadHoldingRegisters(100, 15)
	require.NoError(t, err)
	var changed []int
	for i, w := range words(b) {
		if w != before[i] {
			changed = append(changed, 100+i)
		}
	}
	require.Equal(t, []int{102, 106, 107, 112}, changed)
	require.EqualValues(t, 1, d.Status().Writes)

	d.PowerOff()
	d.PowerOn()
	requireAnswers(t, d.Addr())
	require.Len(t, d.Status().Drifted, 3, "a power cycle is no cure")

	require.NoError(t, d.Heal())
	after, err := d.Peek(devices.Holding, 100, 15)
	require.NoError(t, err)
	require.Equal(t, before, after, "what stood before, which is not the factory's value")
	require.Empty(t, d.Status().Drifted)
}

func TestADriftEndsWithTheWriteThatCorrectsIt(t *testing.T) {
	d := startFeeder(t)
	require.NoError(t, d.Break(sim.FaultDrift, false))
	c, _ := dial(t, d.Addr())
	_, err := c.WriteSingleRegister(102, 850)
	require.NoError(t, err)
	require.Equal(t, []string{"overcurrent_pickup", "report_interval"}, d.Status().Drifted)
	_, err = c.WriteMultipleRegisters(106, 2, payload(0, 63000))
	require.NoError(t, err)
	_, err = c.WriteSingleRegister(112, 90)
	require.NoError(t, err)
	require.Empty(t, d.Status().Drifted)
	require.NoError(t, d.Heal())
	got, err := d.Peek(devices.Holding, 112, 1)
	require.NoError(t, err)
	require.Equal(t, []uint16{90}, got, "heal leaves what a client has set since")
}

func TestAStuckDriftAcknowledgesWritesAndForgetsThem(t *testing.T) {
	d := startFeeder(t)
	require.NoError(t, d.Break(sim.FaultDrift, true))
	c, _ := dial(t, d.Addr())
	drifted, err := d.Peek(devices.Holding, 102, 1)
	require.NoError(t, err)
	_, err = c.WriteSingleRegister(102, 850)
	require.NoError(t, err)
	b, err := c.ReadHoldingRegisters(102, 1)
	require.NoError(t, err)
	require.Equal(t, drifted, words(b))
	require.True(t, d.Status().DriftStuck)
	require.EqualValues(t, 1, d.Writes()[0].Count)
	_, err = c.WriteSingleRegister(103, 1600)
	require.NoError(t, err)
	b, err = c.ReadHoldingRegisters(103, 1)
	require.NoError(t, err)
	require.Equal(t, []uint16{1600}, words(b), "what did not drift holds")
	require.NoError(t, d.Heal())
	require.False(t, d.Status().DriftStuck)
}

func TestWhatCannotBeBrokenSaysWhy(t *testing.T) {
	d := startFeeder(t)
	require.EqualError(t, d.Break("smoke", false), `unknown fault "smoke": want one of offline, drift, hang, reset-only`)
	o := startOutlet(t)
	require.EqualError(t, o.Break(sim.FaultDrift, false), "switch-01 is a switched-outlet, which has no settings that could drift")
	for addr, want := range map[string]string{
		"0.0.0.0:0":     "simulated device edge-001: 0.0.0.0:0 is not an IPv4 loopback address; simulated devices have no protection, so they stay on this machine",
		"localhost:502": `simulated device edge-001: ParseAddr("localhost"): unable to parse IP`,
	} {
		model, err := sim.FeederRTU("edge-001")
		require.NoError(t, err)
		_, err = sim.Start(sim.Config{ID: "edge-001", Model: model, Address: addr})
		require.EqualError(t, err, want)
	}
	model, err := sim.FeederRTU("edge-002")
	require.NoError(t, err)
	_, err = sim.Start(sim.Config{ID: "edge-002", Model: model, Address: d.Addr()})
	require.ErrorIs(t, err, syscall.EADDRINUSE)
}

func TestNothingIsWrittenThroughAFaultThatHasBegun(t *testing.T) {
	d := startFeeder(t, func(c *sim.Config) { c.MaxClients = 20 })
	require.NoError(t, d.SetLatency(time.Millisecond))
	stop := make(chan struct{})
	var acknowledged atomic.Uint64
	var clients sync.WaitGroup
	for range 10 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if writeOnce(d.Addr()) == nil {
					acknowledged.Add(1)
				}
			}
		})
	}
	for range 20 {
		require.Eventually(t, func() bool { return d.Status().Writes > 0 && answers(d.Addr(), time.Second) == nil }, patience, time.Millisecond)
		require.NoError(t, d.Break(sim.FaultOffline, false))
		settled := d.Status().Writes
		require.Never(t, func() bool { return d.Status().Writes != settled }, 5*time.Millisecond, time.Millisecond)
		require.NoError(t, d.Heal())
	}
	close(stop)
	clients.Wait()
	require.GreaterOrEqual(t, d.Status().Writes, acknowledged.Load(), "what was acknowledged was written")
}

// writeOnce writes one setting over a connection of its own.
func writeOnce(addr string) error {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := conn.Write([]byte{0, 1, 0, 0, 0, 6, 255, 6, 0, 109, 0, 7}); err != nil {
		return err
	}
	_, err = io.ReadFull(conn, make([]byte, 12))
	return err
}

func TestLatencyDelaysAnswersAndEndsWithTheDevice(t *testing.T) {
	d := startFeeder(t)
	require.NoError(t, d.SetLatency(30*time.Millisecond))
	began := time.Now()
	require.NoError(t, answers(d.Addr(), 5*time.Second))
	require.GreaterOrEqual(t, time.Since(began), 30*time.Millisecond)

	require.NoError(t, d.SetLatency(time.Hour))
	gone := make(chan error, 1)
	go func() { gone <- answers(d.Addr(), patience) }()
	conns := func() bool { return answers(d.Addr(), 5*time.Millisecond) != nil }
	require.True(t, conns())
	require.NoError(t, d.Break(sim.FaultOffline, false))
	require.Error(t, <-gone, "the answer does not outlive the fault")
	require.Error(t, d.SetLatency(-1))
}

func TestAHungDeviceHoldsABoundedNumberOfConnections(t *testing.T) {
	d := startFeeder(t, func(c *sim.Config) { c.MaxClients = 2 })
	require.NoError(t, d.Break(sim.FaultHang, false))
	var conns []net.Conn
	for range 3 {
		conn, err := net.Dial("tcp", d.Addr())
		require.NoError(t, err)
		defer func() { _ = conn.Close() }()
		conns = append(conns, conn)
	}
	require.NoError(t, conns[0].SetDeadline(time.Now().Add(patience)))
	_, err := conns[0].Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF, "the oldest makes room")
	require.NoError(t, conns[2].SetDeadline(time.Now().Add(20*time.Millisecond)))
	_, err = conns[2].Read(make([]byte, 1))
	var timeout net.Error
	require.True(t, errors.As(err, &timeout) && timeout.Timeout(), "the newest hears nothing")
}

func TestAHealthyDeviceClosesAConnectionTooMany(t *testing.T) {
	d := startFeeder(t, func(c *sim.Config) { c.MaxClients = 2 })
	for range 2 {
		c, _ := dial(t, d.Addr())
		_, err := c.ReadHoldingRegisters(0, 1)
		require.NoError(t, err)
	}
	require.Error(t, answers(d.Addr(), time.Second))
}

func TestADeviceKeepsItsAddressThroughAnyNumberOfFaultsUnderLoad(t *testing.T) {
	d := startFeeder(t)
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 6 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_ = answers(d.Addr(), 20*time.Millisecond)
				}
			}
		})
	}
	faults := []sim.Fault{sim.FaultHang, sim.FaultResetOnly, sim.FaultOffline}
	for i := range 150 {
		require.NoError(t, d.Break(faults[i%3], i%2 == 0))
		if i%4 == 0 {
			require.NoError(t, d.Heal())
		}
		if i%10 == 0 {
			d.PowerOff()
			d.PowerOn()
		}
	}
	close(stop)
	clients.Wait()
	require.NoError(t, d.Heal())
	requireAnswers(t, d.Addr())
	require.Empty(t, d.Status().Problem)
}
