package opcuasim_test

import (
	"crypto/x509"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"edgefleet/devices"
	"edgefleet/devices/credentials"
	"edgefleet/devices/opcua"
	"edgefleet/devices/sim/chassis"
	"edgefleet/devices/sim/opcuasim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	user     = "edgefleet"
	password = "a password of the test"
	patience = 10 * time.Second
)

// shared is made once: a key takes a while.
var shared = sync.OnceValues(opcuasim.NewIdentity)

type clientPair struct {
	cert *x509.Certificate
	opts devices.OPCUASecurity
}

var ours = sync.OnceValues(func() (clientPair, error) {
	cert, key, err := credentials.NewCertificate(credentials.CertificateRequest{ApplicationURI: "urn:test:client"})
	return clientPair{cert, devices.OPCUASecurity{ClientCert: cert, ClientKey: key}}, err
})

func start(t testing.TB, change ...func(*opcuasim.Config)) *opcuasim.Device {
	t.Helper()
	identity, err := shared()
	require.NoError(t, err)
	cfg := opcuasim.Config{ID: "plc-001", Identity: identity, User: user, Password: password, Boot: time.Millisecond, Init: time.Millisecond}
	for _, c := range change {
		c(&cfg)
	}
	d, err := opcuasim.Start(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

func endpoint(t testing.TB, d *opcuasim.Device, change ...func(*devices.OPCUASecurity)) devices.Endpoint {
	t.Helper()
	identity, err := shared()
	require.NoError(t, err)
	pair, err := ours()
	require.NoError(t, err)
	sec := pair.opts
	sec.Policy, sec.Mode, sec.ServerThumbprint = "Basic256Sha256", "SignAndEncrypt", identity.Thumbprint()
	sec.ApplicationURI, sec.User, sec.Password = opcuasim.ApplicationURI, user, password
	for _, c := range change {
		c(&sec)
	}
	return devices.Endpoint{DeviceID: "plc-001", Address: d.Addr(), Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		ResponseTimeout: patience, OPCUA: &sec}
}

func open(t testing.TB, ep devices.Endpoint) (*opcua.Driver, devices.Link) {
	t.Helper()
	driver := opcua.New(opcua.Options{})
	t.Cleanup(driver.Close)
	link, err := driver.Open(t.Context(), ep)
	require.NoError(t, err)
	t.Cleanup(link.Close)
	return driver, link
}

func point(id string, kind devices.Type) devices.Point {
	return devices.Point{Name: id, Type: kind, Writable: true, OPCUA: &devices.NodeAddress{Namespace: opcuasim.Namespace, ID: "s=" + id}}
}

func read(t testing.TB, link devices.Link, p devices.Point) devices.Value {
	t.Helper()
	values, err := link.Read(t.Context(), []devices.Point{p})
	require.NoError(t, err)
	return values[0]
}

func write(t testing.TB, link devices.Link, p devices.Point, v any) error {
	t.Helper()
	return link.Write(t.Context(), []devices.Setting{{Point: p, Value: v}})
}

func TestTheDriverReadsAndWritesUnderEveryPolicy(t *testing.T) {
	for _, policy := range []string{"Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"} {
		t.Run(policy, func(t *testing.T) {
			d := start(t)
			driver, link := open(t, endpoint(t, d, func(s *devices.OPCUASecurity) { s.Policy = policy }))
			setpoint := point("Pump.Setpoint", devices.Float64)
			require.Equal(t, 65.0, read(t, link, setpoint))
			require.NoError(t, write(t, link, setpoint, 70.5))
			require.Equal(t, 70.5, read(t, link, setpoint))
			who, err := driver.Identify(t.Context(), endpoint(t, d, func(s *devices.OPCUASecurity) { s.Policy = policy }))
			require.NoError(t, err)
			require.Equal(t, opcuasim.ApplicationURI, who.ApplicationURI)
			require.Equal(t, []string{"Northline", "PLC-400", "3.2.1", "Running"}, []string{who.Manufacturer, who.Product, who.SoftwareVersion, who.State})
			require.Equal(t, []chassis.Counter{{Count: 1, Write: d.Log()[0]}}, d.Writes())
			require.Equal(t, "pump_setpoint s=Pump.Setpoint 65 70.5",
				d.Log()[0].Name+" "+d.Log()[0].Place+" "+d.Log()[0].Before+" "+d.Log()[0].After)
		})
	}
}

func TestWhatDoesNotFitIsRefusedAndNotCounted(t *testing.T) {
	d := start(t)
	_, link := open(t, endpoint(t, d))
	for name, c := range map[string]struct {
		point devices.Point
		value any
	}{
		"over the range":  {point("Pump.Setpoint", devices.Float64), 100.5},
		"under the range": {point("Tank.LevelLow", devices.Int32), int64(-501)},
		"another type":    {point("Pump.Ramp", devices.Float64), 3.0},
		"a measurement":   {point("Pump.Flow", devices.Float64), 3.0},
		"the serial":      {point("Plc.Serial", devices.String), "x"},
		"no such node":    {point("Pump.Colour", devices.String), "x"},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "another type" {
				c.point.OPCUA.Type = "Double"
			}
			require.Equal(t, devices.Rejected, devices.KindOf(write(t, link, c.point, c.value)))
		})
	}
	require.Empty(t, d.Writes())
}

func TestTheRestartIsCalledOnceAndCounted(t *testing.T) {
	d := start(t, func(c *opcuasim.Config) { c.Init = 200 * time.Millisecond })
	driver, link := open(t, endpoint(t, d))
	call := func(method string, args ...devices.MethodArgument) error {
		_, err := driver.Call(t.Context(), endpoint(t, d), devices.MethodAddress{Namespace: opcuasim.Namespace, Object: "s=Plc", Method: "s=" + method, Args: args})
		return err
	}
	delay := func(kind string, v any) devices.MethodArgument {
		return devices.MethodArgument{Name: "delay", Type: kind, Value: v}
	}
	require.Equal(t, devices.Rejected, devices.KindOf(call("Plc.Explode")))
	require.Equal(t, devices.Rejected, devices.KindOf(call("Plc.Restart")))
	require.Equal(t, devices.Rejected, devices.KindOf(call("Plc.Restart", delay("Int32", 0))))
	require.Equal(t, devices.Rejected, devices.KindOf(call("Plc.Restart", delay("UInt32", 61))))
	require.Empty(t, d.Writes())
	require.NoError(t, call("Plc.Restart", delay("UInt32", 0)))
	require.EqualValues(t, 1, read(t, link, point("Plc.Restarts", devices.Uint32)))
	require.EqualValues(t, 0, read(t, link, point("Plc.State", devices.Int32)))
	require.Equal(t, chassis.PhaseInit, d.Status().Phase)
	require.Eventually(t, func() bool { return read(t, link, point("Plc.State", devices.Int32)) == int64(1) }, patience, time.Millisecond)
	require.EqualValues(t, 1, d.Writes()[0].Count)
	require.Equal(t, "restart", d.Writes()[0].Name)
}

func TestNobodyElseGetsASession(t *testing.T) {
	pair, err := ours()
	require.NoError(t, err)
	stranger, _, err := credentials.NewCertificate(credentials.CertificateRequest{ApplicationURI: "urn:test:stranger"})
	require.NoError(t, err)
	for name, c := range map[string]struct {
		trusted []*x509.Certificate
		change  func(*devices.OPCUASecurity)
		kind    devices.Kind
	}{
		"the right one":        {[]*x509.Certificate{stranger, pair.cert}, func(*devices.OPCUASecurity) {}, ""},
		"a wrong password":     {nil, func(s *devices.OPCUASecurity) { s.Password = "guess" }, devices.Auth},
		"an unknown user":      {nil, func(s *devices.OPCUASecurity) { s.User = "root" }, devices.Auth},
		"an anonymous one":     {nil, func(s *devices.OPCUASecurity) { s.User, s.Password = "", "" }, devices.Auth},
		"an untrusted client":  {[]*x509.Certificate{stranger}, func(*devices.OPCUASecurity) {}, devices.Auth},
		"a client in the open": {nil, func(s *devices.OPCUASecurity) { s.Policy, s.Mode, s.AllowPlaintext = "None", "None", true }, devices.Auth},
		"one that only signs":  {nil, func(s *devices.OPCUASecurity) { s.Mode = "Sign" }, devices.Auth},
	} {
		t.Run(name, func(t *testing.T) {
			d := start(t, func(cfg *opcuasim.Config) { cfg.Trusted = c.trusted })
			_, link := open(t, endpoint(t, d, c.change))
			_, err := link.Read(t.Context(), []devices.Point{point("Pump.Ramp", devices.Float32)})
			require.Equal(t, c.kind, devices.KindOf(err), "%v", err)
		})
	}
}

func TestEachFaultIsWhatItSaysAndIsHealed(t *testing.T) {
	d := start(t)
	ep := endpoint(t, d)
	ep.ResponseTimeout = time.Second
	_, link := open(t, ep)
	for _, f := range []chassis.Fault{chassis.FaultOffline, chassis.FaultHang, chassis.FaultResetOnly} {
		require.NoError(t, link.Ping(t.Context()))
		require.NoError(t, d.Break(f, false))
		require.Equal(t, devices.Unreachable, devices.KindOf(link.Ping(t.Context())), f)
		require.NoError(t, d.Heal())
	}
	require.NoError(t, link.Ping(t.Context()))
	require.NoError(t, d.Break(chassis.FaultHang, false))
	d.PowerOff()
	require.Equal(t, devices.Unreachable, devices.KindOf(link.Ping(t.Context())))
	d.PowerOn()
	require.Eventually(t, func() bool { return link.Ping(t.Context()) == nil }, patience, time.Millisecond)
}

func TestADriftEndsForEachSettingThatIsWrittenAgain(t *testing.T) {
	d := start(t)
	_, link := open(t, endpoint(t, d))
	limit := point("Pump.PressureLimit", devices.Uint16)
	require.NoError(t, d.Break(chassis.FaultDrift, false))
	require.Equal(t, []string{"pump_setpoint", "pressure_limit", "alarm_enabled"}, d.Status().Drifted)
	require.EqualValues(t, 1450, read(t, link, limit))
	require.NoError(t, write(t, link, limit, 1000))
	require.Equal(t, []string{"pump_setpoint", "alarm_enabled"}, d.Status().Drifted)
	require.NoError(t, d.Heal())
	require.Equal(t, 65.0, read(t, link, point("Pump.Setpoint", devices.Float64)))

	require.NoError(t, d.Break(chassis.FaultDrift, true))
	require.NoError(t, write(t, link, limit, 1000), "acknowledged")
	require.EqualValues(t, 1450, read(t, link, limit), "and forgotten")
}

func TestAControllerRemembersAllThatItsSuccessorHasToKnow(t *testing.T) {
	d := start(t)
	driver, link := open(t, endpoint(t, d))
	require.NoError(t, write(t, link, point("Comm.Retries", devices.Uint16), 7))
	require.NoError(t, write(t, link, point("Pump.Ramp", devices.Float32), 0.1))
	require.NoError(t, write(t, link, point("Station.Name", devices.String), "Süd"))
	_, err := driver.Call(t.Context(), endpoint(t, d), devices.MethodAddress{Namespace: opcuasim.Namespace, Object: "s=Plc", Method: "s=Plc.Restart",
		Args: []devices.MethodArgument{{Type: "UInt32", Value: 0}}})
	require.NoError(t, err)
	require.NoError(t, d.Break(chassis.FaultDrift, true))
	require.NoError(t, d.SetLatency(time.Microsecond))
	require.NoError(t, d.Close())

	again := start(t, func(c *opcuasim.Config) { c.Memory, c.Address = d.Memory(), d.Addr() })
	require.Equal(t, d.Memory(), again.Memory())
	require.Equal(t, d.Addr(), again.Addr())
	require.EqualValues(t, 4, again.Status().Writes)
	require.Equal(t, uint32(1), again.Memory().Restarts)
	_, link = open(t, endpoint(t, again))
	require.EqualValues(t, 7, read(t, link, point("Comm.Retries", devices.Uint16)))
	require.Equal(t, "Süd", read(t, link, point("Station.Name", devices.String)))
	require.NoError(t, again.Heal())
	require.Equal(t, 65.0, read(t, link, point("Pump.Setpoint", devices.Float64)))
}

func TestTwoHundredServersFitInOneProcess(t *testing.T) {
	before := runtime.NumGoroutine()
	began := time.Now()
	all := make([]*opcuasim.Device, 200)
	for i := range all {
		all[i] = start(t)
	}
	require.Less(t, runtime.NumGoroutine()-before, 450)
	for i := 0; i < len(all); i += 20 {
		_, link := open(t, endpoint(t, all[i]))
		require.Equal(t, 65.0, read(t, link, point("Pump.Setpoint", devices.Float64)))
	}
	t.Logf("200 servers, 10 of them asked: %v", time.Since(began))
}

func TestAnIdentityIsReadBack(t *testing.T) {
	identity, err := shared()
	require.NoError(t, err)
	text, err := identity.PEM()
	require.NoError(t, err)
	again, err := opcuasim.ParseIdentity(text)
	require.NoError(t, err)
	require.Equal(t, identity.Thumbprint(), again.Thumbprint())
	_, err = opcuasim.ParseIdentity([]byte("nonsense"))
	require.Error(t, err)
}

func TestStartRefuses(t *testing.T) {
	identity, err := shared()
	require.NoError(t, err)
	good := opcuasim.Config{ID: "a", Identity: identity, User: "u", Password: "p"}
	for name, change := range map[string]func(*opcuasim.Config){
		"no ID":                 func(c *opcuasim.Config) { c.ID = "" },
		"no certificate":        func(c *opcuasim.Config) { c.Identity = nil },
		"no password":           func(c *opcuasim.Config) { c.Password = "" },
		"a public address":      func(c *opcuasim.Config) { c.Address = "192.0.2.1:4840" },
		"a memory of nonsense":  func(c *opcuasim.Config) { c.Memory.Values = map[string]string{"Pump.Ramp": "fast"} },
		"a time that runs back": func(c *opcuasim.Config) { c.Boot = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := good
			change(&cfg)
			_, err := opcuasim.Start(cfg)
			require.Error(t, err)
		})
	}
}
