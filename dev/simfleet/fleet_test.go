package simfleet_test

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goburrow/modbus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"edgefleet/dev/simfleet"
	"edgefleet/devices"
	"edgefleet/devices/sim"
)

func TestAFleetHasItsDevicesOnOutletsOfEightPorts(t *testing.T) {
	_, c := start(t, options(newStateFile(t), 10))
	require.Equal(t, os.Getpid(), c.PID())
	require.Equal(t, 10, c.Size())
	all, err := c.Devices(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 12)
	type place struct {
		id, profile, outlet string
		port                int
	}
	place1 := func(d simfleet.Device) place { return place{d.ID, d.Profile, d.Outlet, d.Port} }
	require.Equal(t, place{"edge-001", "feeder-rtu", "switch-01", 1}, place1(all[0]))
	require.Equal(t, place{"edge-008", "feeder-rtu", "switch-01", 8}, place1(all[7]))
	require.Equal(t, place{"edge-009", "feeder-rtu", "switch-02", 1}, place1(all[8]))
	require.Equal(t, place{"switch-02", "switched-outlet", "", 0}, place1(all[11]))
	addresses := map[string]bool{}
	for _, d := range all {
		require.True(t, alive(d.Address), d.ID)
		require.Equal(t, sim.PhaseRunning, d.Phase)
		addresses[d.Address] = true
	}
	require.Len(t, addresses, 12)
}

func TestAFaultSetByTheClientIsCuredByTheOutletOfTheDevice(t *testing.T) {
	for _, stuck := range []bool{false, true} {
		_, c := start(t, options(newStateFile(t), 9))
		d, err := c.Break(t.Context(), "edge-009", sim.FaultOffline, stuck)
		require.NoError(t, err)
		require.Equal(t, sim.FaultOffline, d.Fault)
		require.False(t, alive(d.Address))
		outlet := device(t, c, d.Outlet)
		require.NoError(t, ask(outlet.Address, func(m modbus.Client) error {
			_, err := m.WriteSingleCoil(uint16(d.Port-1), 0xff00)
			return err
		}))
		require.Eventually(t, func() bool { return device(t, c, "edge-009").Phase == sim.PhaseRunning }, patience, time.Millisecond)
		require.Equal(t, !stuck, alive(d.Address))
		d, err = c.Heal(t.Context(), "edge-009")
		require.NoError(t, err)
		require.Empty(t, d.Fault)
		require.True(t, alive(d.Address))

		w, err := c.Writes(t.Context(), "switch-02")
		require.NoError(t, err)
		require.Len(t, w.Log, 1)
		require.Equal(t, "cycle-port-1", w.Counters[0].Name)
		require.Equal(t, devices.Coil, w.Counters[0].Table)
		require.EqualValues(t, 1, w.Counters[0].Count)
	}
}

func TestTheClientReadsCountersAndSetsLatency(t *testing.T) {
	_, c := start(t, options(newStateFile(t), 1))
	d := device(t, c, "edge-001")
	write(t, d.Address, 102, 870)
	write(t, d.Address, 102, 880)
	w, err := c.Writes(t.Context(), "edge-001")
	require.NoError(t, err)
	require.Len(t, w.Counters, 1)
	require.Equal(t, "undervoltage_trip", w.Counters[0].Name)
	require.EqualValues(t, 2, w.Counters[0].Count)
	require.EqualValues(t, 870, w.Counters[0].Old)
	require.EqualValues(t, 880, w.Counters[0].New)
	require.EqualValues(t, 850, w.Log[0].Old)

	d, err = c.SetLatency(t.Context(), "edge-001", 30*time.Millisecond)
	require.NoError(t, err)
	require.Equal(t, 30*time.Millisecond, d.Latency)
	began := time.Now()
	require.True(t, alive(d.Address))
	require.GreaterOrEqual(t, time.Since(began), 30*time.Millisecond)

	d, err = c.Break(t.Context(), "edge-001", sim.FaultDrift, false)
	require.NoError(t, err)
	require.Equal(t, []string{"undervoltage_trip", "overcurrent_pickup", "report_interval"}, d.Drifted)
}

func TestErrorsSayWhatToDo(t *testing.T) {
	stateFile := newStateFile(t)
	_, err := simfleet.Find(t.Context(), stateFile)
	require.ErrorIs(t, err, simfleet.ErrNotRunning)
	t.Chdir(filepath.Dir(filepath.Dir(stateFile)))
	_, err = simfleet.Find(t.Context(), ".edgefleet/simfleet.json")
	require.EqualError(t, err, "no simulated fleet is running for .edgefleet; start it with make dev")

	f, c := start(t, options(".edgefleet/simfleet.json", 20))
	_, err = c.Break(t.Context(), "edge-099", sim.FaultHang, false)
	require.EqualError(t, err, `no simulated device "edge-099": there are edge-001 to edge-020 and switch-01 to switch-03`)
	_, err = c.Break(t.Context(), "edge-001", "smoke", false)
	require.EqualError(t, err, `unknown fault "smoke": want one of offline, drift, hang, reset-only`)
	_, err = c.Break(t.Context(), "switch-01", sim.FaultDrift, false)
	require.EqualError(t, err, "switch-01 is a switched-outlet, which has no settings that could drift")
	_, err = c.SetLatency(t.Context(), "edge-001", -time.Second)
	require.EqualError(t, err, "latency -1s: want 0 to 1h")
	_, err = c.Writes(t.Context(), "../stop")
	require.ErrorContains(t, err, "no simulated device")
	_, err = simfleet.Start(options(".edgefleet/simfleet.json", 1))
	require.EqualError(t, err, "another simulated fleet runs on .edgefleet/simfleet.json; end it first, or use another data directory")
	select {
	case <-f.StopRequested():
		t.Fatal("nobody asked for the end")
	default:
	}
	for _, n := range []int{0, -1, simfleet.MaxDevices + 1} {
		_, err = simfleet.Start(options("x", n))
		require.ErrorContains(t, err, "want 1 to 10000")
	}
	_, err = simfleet.Start(simfleet.Options{Devices: 1})
	require.EqualError(t, err, "simulated fleet: no state file is given")
}

func TestOnlyTheOwnerOfTheTokenIsServed(t *testing.T) {
	stateFile := newStateFile(t)
	f, _ := start(t, options(stateFile, 1))
	info, err := os.Stat(stateFile)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	info, err = os.Stat(filepath.Dir(stateFile))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, token := range []string{"", "Bearer ", "Bearer wrong", "Basic x"} {
		for _, path := range []string{"GET /v1/devices", "POST /v1/stop", "POST /v1/devices/edge-001/heal", "GET /elsewhere"} {
			method, target, _ := strings.Cut(path, " ")
			r, err := http.NewRequestWithContext(t.Context(), method, f.URL()+target, nil)
			require.NoError(t, err)
			r.Header.Set("Authorization", token)
			response, err := client.Do(r)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			require.Equal(t, http.StatusUnauthorized, response.StatusCode, "%s with %q", path, token)
		}
	}
	select {
	case <-f.StopRequested():
		t.Fatal("a stranger ended the fleet")
	default:
	}
}

func TestAStrangerAtTheAddressGetsNoToken(t *testing.T) {
	stateFile := newStateFile(t)
	start(t, options(stateFile, 1)) // holds the lock
	b, err := os.ReadFile(stateFile)
	require.NoError(t, err)
	var said map[string]any
	require.NoError(t, json.Unmarshal(b, &said))

	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	var authorization []string
	stranger := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		authorization = append(authorization, r.Header.Values("Authorization")...)
		_, _ = io.WriteString(w, `{"pid":1,"proof":"beef"}`)
	})}
	served := make(chan error, 1)
	go func() { served <- stranger.Serve(listener) }()
	said["url"] = "http://" + listener.Addr().String()
	b, err = json.Marshal(said)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(stateFile, b, 0o600))

	_, err = simfleet.Find(t.Context(), stateFile)
	require.ErrorIs(t, err, simfleet.ErrSilent)
	require.ErrorContains(t, err, "a stranger answers")
	require.NoError(t, stranger.Close())
	require.ErrorIs(t, <-served, http.ErrServerClosed)
	require.Empty(t, authorization)
}

func TestAFleetContinuesWhereItStopped(t *testing.T) {
	stateFile := newStateFile(t)
	f, c := start(t, options(stateFile, 9))
	before, err := c.Devices(t.Context())
	require.NoError(t, err)
	write(t, before[0].Address, 102, 870)
	_, err = c.Break(t.Context(), "edge-002", sim.FaultHang, true)
	require.NoError(t, err)
	_, err = c.Break(t.Context(), "edge-009", sim.FaultOffline, false)
	require.NoError(t, err)
	require.NoError(t, f.Stop())
	require.NoError(t, f.Stop())
	_, err = simfleet.Find(t.Context(), stateFile)
	require.ErrorIs(t, err, simfleet.ErrNotRunning)
	require.NoFileExists(t, stateFile)

	// A smaller fleet forgets nothing of the devices that it leaves out.
	f, _ = start(t, options(stateFile, 2))
	require.NoError(t, f.Stop())
	_, c = start(t, options(stateFile, 10))
	after, err := c.Devices(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 870, setting(t, after[0].Address, 102))
	require.EqualValues(t, 1, after[0].Writes)
	require.Equal(t, sim.FaultHang, after[1].Fault)
	require.True(t, after[1].Stuck)
	require.Equal(t, sim.FaultOffline, after[8].Fault)
}

func TestADeviceWhoseAddressWasTakenGetsAnotherOne(t *testing.T) {
	stateFile := newStateFile(t)
	f, c := start(t, options(stateFile, 2))
	before := device(t, c, "edge-001")
	require.NoError(t, f.Stop())
	thief, err := net.Listen("tcp4", before.Address)
	require.NoError(t, err)
	defer func() { _ = thief.Close() }()
	_, c = start(t, options(stateFile, 2))
	after := device(t, c, "edge-001")
	require.NotEqual(t, before.Address, after.Address)
	require.True(t, alive(after.Address))
}

func TestAMemoryThatCannotBeReadIsRefusedWithTheRemedy(t *testing.T) {
	stateFile := newStateFile(t)
	require.NoError(t, os.MkdirAll(filepath.Dir(stateFile), 0o700))
	require.NoError(t, os.WriteFile(stateFile+".memory", []byte("{"), 0o600))
	_, err := simfleet.Start(options(stateFile, 1))
	require.EqualError(t, err, stateFile+".memory: unexpected end of JSON input; remove the file to begin with a fleet fresh from the factory")
	require.NoError(t, os.Remove(stateFile+".memory"))
	start(t, options(stateFile, 1)) // the lock was let go
}

func TestAThousandDevicesRunInOneProcessAndKeepTheirAddresses(t *testing.T) {
	o := options(newStateFile(t), 1000)
	f, c := start(t, o)
	all, err := c.Devices(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 1125)
	require.Equal(t, "edge-1000", all[999].ID)
	for i := 0; i < len(all); i += 50 {
		require.True(t, alive(all[i].Address))
	}
	require.NoError(t, f.Stop())

	// While nobody holds the ports, anybody on this machine may take some:
	// then the fleet has to say so.
	core, said := observer.New(zap.WarnLevel)
	o.Logger = zap.New(core)
	_, c = start(t, o)
	again, err := c.Devices(t.Context())
	require.NoError(t, err)
	moved := map[string]bool{}
	for _, entry := range said.All() {
		moved[entry.ContextMap()["device"].(string)] = true
	}
	require.Less(t, len(moved), 100)
	for i := range all {
		require.Equal(t, moved[all[i].ID], all[i].Address != again[i].Address, all[i].ID)
	}
}
