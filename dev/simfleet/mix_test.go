package simfleet_test

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goburrow/modbus"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"edgefleet/dev/simfleet"
	"edgefleet/devices"
	"edgefleet/devices/credentials"
	"edgefleet/devices/opcua"
	"edgefleet/devices/sim"
	"edgefleet/devices/sshhost"
)

func mixed(t testing.TB, n int) simfleet.Options {
	o := options(filepath.Join(t.TempDir(), ".edgefleet", "simfleet.json"), n)
	o.Mix = simfleet.DefaultMix()
	return o
}

func TestAMixIsWrittenAsItIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.IntRange(0, 100).Draw(t, "modbus")
		b := rapid.IntRange(0, 100-a).Draw(t, "sunspec")
		c := rapid.IntRange(0, 100-a-b).Draw(t, "opcua")
		m := simfleet.Mix{Modbus: a, SunSpec: b, OPCUA: c, SSH: 100 - a - b - c}
		again, err := simfleet.ParseMix(m.String())
		require.NoError(t, err)
		require.Equal(t, m, again)
	})
	none, err := simfleet.ParseMix("")
	require.NoError(t, err)
	require.Equal(t, simfleet.Mix{}, none)
	require.Empty(t, none.String())
	part, err := simfleet.ParseMix("ssh=40, modbus=60")
	require.NoError(t, err)
	require.Equal(t, simfleet.Mix{Modbus: 60, SSH: 40}, part)
	for name, text := range map[string]string{
		"an unknown kind": "profinet=100", "a word": "modbus=all", "below 0": "modbus=-1,ssh=101", "a kind twice": "modbus=50,modbus=50",
		"too little": "modbus=70", "too much": "modbus=70,ssh=70", "no number": "modbus",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := simfleet.ParseMix(text)
			require.ErrorContains(t, err, "sum up to 100, such as modbus=70,sunspec=10,opcua=10,ssh=10")
		})
	}
}

func profilesOf(all []simfleet.Device, n int) map[string]int {
	out := map[string]int{}
	for _, d := range all[:n] {
		out[d.Profile]++
	}
	return out
}

func TestAMixedFleetHasItsSharesAndBeginsWithTheSmallerOne(t *testing.T) {
	_, c := start(t, mixed(t, 100))
	large, err := c.Devices(t.Context())
	require.NoError(t, err)
	require.Equal(t, "modbus=70,sunspec=10,opcua=10,ssh=10", c.Mix())
	require.Equal(t, map[string]int{"feeder-rtu": 60, "register-plc": 10, "sunspec-inverter": 5, "sunspec-battery": 5, "opcua-plc": 10, "linux-gateway": 10}, profilesOf(large, 100))
	_, c = start(t, mixed(t, 20))
	small, err := c.Devices(t.Context())
	require.NoError(t, err)
	for i := range 20 {
		require.Equal(t, small[i].Profile, large[i].Profile)
	}
	classes := map[string]string{"feeder-rtu": "rtu", "register-plc": "plc", "sunspec-inverter": "gateway", "sunspec-battery": "gateway",
		"opcua-plc": "plc", "linux-gateway": "gateway", "switched-outlet": "gateway"}
	drifted := 0
	for _, d := range large {
		require.Equal(t, classes[d.Profile], d.Class)
		if len(d.Drifted) > 0 {
			drifted++
		}
	}
	require.Equal(t, 8, drifted, "one in twelve")
}

// login is how a device of the fleet is reached with the worker's credentials.
func login(t testing.TB, o simfleet.Options, d simfleet.Device) devices.Endpoint {
	t.Helper()
	folder, err := credentials.Open(filepath.Join(filepath.Dir(o.StateFile), "credentials"))
	require.NoError(t, err)
	ep := devices.Endpoint{DeviceID: d.ID, Address: d.Address, Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, ResponseTimeout: patience}
	if d.HostKey != "" {
		user, key, err := folder.SSH(d.Credentials)
		require.NoError(t, err)
		ep.SSH = &devices.SSHSecurity{User: user, HostKeys: []string{d.HostKey}, Signer: key}
		return ep
	}
	l, err := folder.OPCUA(d.Credentials)
	require.NoError(t, err)
	ep.OPCUA = &devices.OPCUASecurity{Policy: "Basic256Sha256", Mode: "SignAndEncrypt", ServerThumbprint: d.Thumbprint, ApplicationURI: d.ApplicationURI,
		ClientCert: l.ClientCert, ClientKey: l.ClientKey, User: l.User, Password: l.Password}
	return ep
}

func open(t testing.TB, o simfleet.Options, d simfleet.Device) devices.Link {
	t.Helper()
	var driver devices.Driver
	if d.HostKey != "" {
		s := sshhost.New(sshhost.Options{})
		t.Cleanup(s.Close)
		driver = s
	} else {
		u := opcua.New(opcua.Options{})
		t.Cleanup(u.Close)
		driver = u
	}
	link, err := driver.Open(t.Context(), login(t, o, d))
	require.NoError(t, err)
	t.Cleanup(link.Close)
	return link
}

func first(t testing.TB, c *simfleet.Client, profile string) simfleet.Device {
	t.Helper()
	all, err := c.Devices(t.Context())
	require.NoError(t, err)
	for _, d := range all {
		if d.Profile == profile && len(d.Drifted) == 0 {
			return d
		}
	}
	t.Fatalf("there is no %s", profile)
	return simfleet.Device{}
}

func settingOf(name string) devices.Setting {
	if name == "log_level" {
		return devices.Setting{Value: "warning", Point: devices.Point{Name: name, Type: devices.String, Writable: true, Host: &devices.HostAddress{
			Kind: devices.HostLine, Path: "/etc/edge/agent.conf", Key: "log_level", Separator: "=", Become: true}}}
	}
	return devices.Setting{Value: 71.5, Point: devices.Point{Name: name, Type: devices.Float64, Writable: true,
		OPCUA: &devices.NodeAddress{Namespace: "urn:northline:plc", ID: "s=Pump.Setpoint"}}}
}

func TestEveryKindIsBrokenHealedCountedAndPowerCycled(t *testing.T) {
	o := mixed(t, 40)
	_, c := start(t, o)
	for profile, name := range map[string]string{"opcua-plc": "pump_setpoint", "linux-gateway": "log_level"} {
		t.Run(profile, func(t *testing.T) {
			d := first(t, c, profile)
			link := open(t, o, d)
			require.NoError(t, link.Write(t.Context(), []devices.Setting{settingOf(name)}))
			w, err := c.Writes(t.Context(), d.ID)
			require.NoError(t, err)
			require.Len(t, w.Counters, 1)
			require.Equal(t, name, w.Counters[0].Name)
			require.EqualValues(t, 1, w.Counters[0].Count)
			require.NotEmpty(t, w.Counters[0].Place)
			require.NotEqual(t, w.Log[0].Before, w.Log[0].After)
		})
	}
	for _, profile := range []string{"feeder-rtu", "register-plc", "sunspec-inverter", "sunspec-battery", "opcua-plc", "linux-gateway"} {
		t.Run(profile, func(t *testing.T) {
			d := first(t, c, profile)
			broken, err := c.Break(t.Context(), d.ID, sim.FaultDrift, false)
			require.NoError(t, err)
			require.NotEmpty(t, broken.Drifted)
			for _, fault := range []sim.Fault{sim.FaultHang, sim.FaultResetOnly, sim.FaultOffline} {
				broken, err = c.Break(t.Context(), d.ID, fault, false)
				require.NoError(t, err)
				require.Equal(t, fault, broken.Fault)
			}
			outlet := device(t, c, d.Outlet)
			cycle(t, outlet.Address, d.Port)
			require.Eventually(t, func() bool {
				now := device(t, c, d.ID)
				return now.Fault == "" && now.Phase == sim.PhaseRunning
			}, patience, time.Millisecond)
			healed, err := c.Heal(t.Context(), d.ID)
			require.NoError(t, err)
			require.Empty(t, healed.Drifted)
		})
	}
}

func TestAMixedFleetContinuesWhereItStoppedAndKeepsItsKeys(t *testing.T) {
	o := mixed(t, 30)
	f, c := start(t, o)
	before, err := c.Devices(t.Context())
	require.NoError(t, err)
	gateway, controller := first(t, c, "linux-gateway"), first(t, c, "opcua-plc")
	for _, d := range []simfleet.Device{gateway, controller} {
		name := map[string]string{"linux-gateway": "log_level", "opcua-plc": "pump_setpoint"}[d.Profile]
		require.NoError(t, open(t, o, d).Write(t.Context(), []devices.Setting{settingOf(name)}))
	}
	require.NoError(t, f.Stop())
	for _, file := range []string{o.StateFile + ".memory", o.StateFile + ".identity", filepath.Join(filepath.Dir(o.StateFile), "credentials", "gateways", "ssh-privatekey")} {
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), file)
	}
	_, c = start(t, o)
	after, err := c.Devices(t.Context())
	require.NoError(t, err)
	for i := range before {
		require.Equal(t, before[i].Login, after[i].Login)
		require.Equal(t, before[i].Drifted, after[i].Drifted, "what was drifted is, and nothing drifts anew")
	}
	for _, d := range []simfleet.Device{gateway, controller} {
		name := map[string]string{"linux-gateway": "log_level", "opcua-plc": "pump_setpoint"}[d.Profile]
		want := settingOf(name)
		got, err := open(t, o, device(t, c, d.ID)).Read(t.Context(), []devices.Point{want.Point})
		require.NoError(t, err)
		require.Equal(t, want.Value, got[0])
		require.EqualValues(t, 1, device(t, c, d.ID).Writes)
	}
}

func TestADeviceOfAnotherKindBeginsAnew(t *testing.T) {
	o := mixed(t, 10)
	f, c := start(t, o)
	gateway := first(t, c, "linux-gateway")
	require.NoError(t, f.Stop())
	o.Mix = simfleet.Mix{}
	_, c = start(t, o)
	now := device(t, c, gateway.ID)
	require.Equal(t, "feeder-rtu", now.Profile)
	require.Empty(t, c.Mix())
	require.True(t, alive(now.Address))
	require.Zero(t, now.Writes)
}

func TestTheControlAPIShowsNoSecret(t *testing.T) {
	o := mixed(t, 20)
	_, c := start(t, o)
	all, err := c.Devices(t.Context())
	require.NoError(t, err)
	text, err := json.Marshal(all)
	require.NoError(t, err)
	password, err := os.ReadFile(filepath.Join(filepath.Dir(o.StateFile), "credentials", "plant-ops", "password"))
	require.NoError(t, err)
	require.NotContains(t, string(text), strings.TrimSpace(string(password)))
	require.NotContains(t, string(text), "PRIVATE KEY")
}

// cycle takes the power of a port of an outlet for a while.
func cycle(t testing.TB, outlet string, port int) {
	t.Helper()
	require.NoError(t, ask(outlet, func(m modbus.Client) error {
		_, err := m.WriteSingleCoil(uint16(port-1), 0xff00)
		return err
	}))
}

func openFiles(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/dev/fd")
	require.NoError(t, err)
	return len(entries)
}

// worktime is what this process has used of the processors.
func worktime(t testing.TB) time.Duration {
	t.Helper()
	var used syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// TestAThousandDevicesOfAllKindsFitInOneProcess holds the cost of a fleet to
// what a machine beside everything else can bear.
func TestAThousandDevicesOfAllKindsFitInOneProcess(t *testing.T) {
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	began, worked := time.Now(), worktime(t)
	_, c := start(t, mixed(t, 1000))
	took := time.Since(began)
	// Of the processors, so that a busy machine is no failure.
	require.Less(t, worktime(t)-worked, 10*time.Second)
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	t.Logf("1,000 devices: %v, %d goroutines, %d files, %d MB of heap, %d MB from the system", took.Round(time.Millisecond),
		runtime.NumGoroutine()-goroutines, openFiles(t)-files, memory.HeapAlloc>>20, memory.Sys>>20)
	require.Less(t, runtime.NumGoroutine()-goroutines, 2500)
	require.Less(t, memory.Sys, uint64(1<<30))
	all, err := c.Devices(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 1125)
}
