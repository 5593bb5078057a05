package sshsim_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"edgefleet/devices"
	"edgefleet/devices/sim/chassis"
	"edgefleet/devices/sim/sshsim"
	"edgefleet/devices/sshhost"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	user     = "edgefleet"
	patience = 10 * time.Second
)

var newKey = sync.OnceValues(func() (crypto.Signer, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return key, err
})

func clientKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := newKey()
	require.NoError(t, err)
	return key
}

func start(t testing.TB, change ...func(*sshsim.Config)) *sshsim.Device {
	t.Helper()
	public, err := ssh.NewPublicKey(clientKey(t).Public())
	require.NoError(t, err)
	cfg := sshsim.Config{ID: "gw-001", User: user, Keys: []ssh.PublicKey{public}, Boot: time.Millisecond, Init: time.Millisecond}
	for _, c := range change {
		c(&cfg)
	}
	d, err := sshsim.Start(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

func endpoint(t testing.TB, d *sshsim.Device) devices.Endpoint {
	return devices.Endpoint{DeviceID: "gw-001", Address: d.Addr(), Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		ResponseTimeout: patience, SSH: &devices.SSHSecurity{User: user, HostKeys: []string{d.Fingerprint()}, Signer: clientKey(t)}}
}

func open(t testing.TB, ep devices.Endpoint) devices.Link {
	t.Helper()
	driver := sshhost.New(sshhost.Options{})
	t.Cleanup(driver.Close)
	link, err := driver.Open(t.Context(), ep)
	require.NoError(t, err)
	t.Cleanup(link.Close)
	return link
}

func point(name string, a devices.HostAddress) devices.Point {
	return devices.Point{Name: name, Type: devices.String, Writable: true, Host: &a}
}

func become(name string, args ...string) *devices.HostCommand {
	return &devices.HostCommand{Name: name, Args: args, Become: true, Timeout: patience, HealthWithin: patience}
}

// The points of the profile.
func config() devices.Point {
	return point("edge_config", devices.HostAddress{Kind: devices.HostFile, Path: "/etc/edge/config.yaml", Become: true,
		Validate: become("edge-validate", "/usr/local/bin/edge-validate", "--config", "%s"),
		Restart:  become("restart-edge", "systemctl", "restart", "edge-agent.service"),
		Health:   &devices.HostCommand{Name: "edge-healthy", Args: []string{"systemctl", "is-active", "edge-agent.service"}, HealthWithin: patience}})
}

func option(key string) devices.Point {
	return point(strings.ToLower(key), devices.HostAddress{Kind: devices.HostSSHD, Key: key, Path: "/etc/ssh/sshd_config.d/10-edgefleet.conf", Become: true,
		Validate: become("sshd-test", "sshd", "-t", "-f", "%s"), Restart: become("reload-sshd", "systemctl", "reload", "ssh.service")})
}

func service(unit string) devices.Point {
	return point(unit, devices.HostAddress{Kind: devices.HostService, Key: unit, Become: true})
}

func mode(path string) devices.Point {
	return point(path, devices.HostAddress{Kind: devices.HostMode, Path: path, Become: true})
}

func fact(key string) devices.Point {
	return point(key, devices.HostAddress{Kind: devices.HostFact, Key: key})
}

func read(t testing.TB, l devices.Link, points ...devices.Point) []string {
	t.Helper()
	values, err := l.Read(t.Context(), points)
	require.NoError(t, err)
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = v.(string)
	}
	return out
}

func write(t testing.TB, l devices.Link, p devices.Point, v string) error {
	t.Helper()
	return l.Write(t.Context(), []devices.Setting{{Point: p, Value: v}})
}

func counts(d *sshsim.Device) map[string]uint64 {
	out := map[string]uint64{}
	for _, c := range d.Writes() {
		out[c.Name] += c.Count
	}
	return out
}

func TestTheDriverReadsWhatTheGatewayIs(t *testing.T) {
	d := start(t)
	l := open(t, endpoint(t, d))
	require.Equal(t, []string{"debian", "12", "6.1.0-28-arm64", "aarch64", "gw-001"}, read(t, l, fact("os"), fact("os_version"), fact("kernel"), fact("arch"), fact("hostname")))
	version := point("version", devices.HostAddress{Kind: devices.HostOutput, Command: &devices.HostCommand{Name: "version", Args: []string{"/usr/local/bin/edge-agent", "--version"}}})
	require.Equal(t, []string{sshsim.FactoryConfig("gw-001"), "0640 root:edge", "no", "no", "0640 root:shadow", "disabled inactive", "disabled inactive", "enabled active", "info", "edge-agent 3.2.1"},
		read(t, l, config(), mode("/etc/edge/config.yaml"), option("PermitRootLogin"), option("X11Forwarding"), mode("/etc/shadow"), service("telnet.socket"),
			service("nothing.socket"), service("edge-agent.service"),
			point("log_level", devices.HostAddress{Kind: devices.HostLine, Path: "/etc/edge/agent.conf", Key: "log_level", Separator: "=", Become: true}), version))
	require.Len(t, read(t, l, fact("machine_id"))[0], 32)
	require.Empty(t, d.Writes())
}

func TestAFileIsReplacedRestartedOnceAndCountedOnce(t *testing.T) {
	d := start(t)
	l := open(t, endpoint(t, d))
	want := strings.Replace(sshsim.FactoryConfig("gw-001"), "interval: 60", "interval: 120", 1)
	require.NoError(t, write(t, l, config(), want))
	require.Equal(t, want, read(t, l, config())[0])
	require.Equal(t, want, d.Running(), "the agent has loaded it")
	require.Equal(t, map[string]uint64{"edge_config": 1, "restart": 1}, counts(d))
	require.Equal(t, "0640 root:edge", read(t, l, mode("/etc/edge/config.yaml"))[0])
	kept, err := d.ReadFile("/etc/edge/.config.yaml.edgefleet-prev.1")
	require.NoError(t, err)
	require.Equal(t, sshsim.FactoryConfig("gw-001"), kept)
}

func TestAConfigurationThatTheAgentDoesNotTakeIsRefused(t *testing.T) {
	d := start(t)
	l := open(t, endpoint(t, d))
	for name, text := range map[string]string{
		"no YAML":          "device: [",
		"no mapping":       "nonsense",
		"an unknown key":   sshsim.FactoryConfig("gw-001") + "colour: blue\n",
		"an empty file":    "",
		"out of range":     strings.Replace(sshsim.FactoryConfig("gw-001"), "interval: 60", "interval: 0", 1),
		"no port":          strings.Replace(sshsim.FactoryConfig("gw-001"), ":8883", "", 1),
		"no word of TLS":   strings.Replace(sshsim.FactoryConfig("gw-001"), "  tls: true\n", "", 1),
		"no device's name": strings.Replace(sshsim.FactoryConfig("gw-001"), "device: gw-001", "device: ../x", 1),
	} {
		t.Run(name, func(t *testing.T) {
			err := write(t, l, config(), text)
			require.Equal(t, devices.Rejected, devices.KindOf(err), "%v", err)
			require.ErrorContains(t, err, "edge-validate")
		})
	}
	require.Equal(t, sshsim.FactoryConfig("gw-001"), read(t, l, config())[0])
	require.Empty(t, d.Writes())
}

func TestAnAgentThatDoesNotBecomeHealthyGetsItsFileBack(t *testing.T) {
	d := start(t, func(c *sshsim.Config) { c.Init = time.Hour })
	l := open(t, endpoint(t, d))
	p := config()
	p.Host.Health.HealthWithin = 50 * time.Millisecond
	err := write(t, l, p, strings.Replace(sshsim.FactoryConfig("gw-001"), "interval: 60", "interval: 61", 1))
	require.Equal(t, devices.Rejected, devices.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "has been put back")
	require.Equal(t, sshsim.FactoryConfig("gw-001"), read(t, l, config())[0])
	require.Equal(t, sshsim.FactoryConfig("gw-001"), d.Running())
	require.Equal(t, map[string]uint64{"edge_config": 2, "restart": 2}, counts(d))
}

func TestASecurityBaselineIsWrittenAndRestored(t *testing.T) {
	d := start(t)
	l := open(t, endpoint(t, d))
	points := []devices.Point{option("PermitRootLogin"), option("PasswordAuthentication"), option("X11Forwarding"), mode("/etc/shadow"),
		mode("/etc/edge/config.yaml"), service("telnet.socket"), service("rsh.socket")}
	factory := read(t, l, points...)
	others := []string{"without-password", "yes", "yes", "0600 root:root", "0600 edge:edge", "enabled active", "masked inactive"}
	set := func(values []string) {
		var settings []devices.Setting
		for i, p := range points {
			settings = append(settings, devices.Setting{Point: p, Value: values[i]})
		}
		require.NoError(t, l.Write(t.Context(), settings))
		require.Equal(t, values, read(t, l, points...))
	}
	set(others)
	require.Equal(t, map[string]uint64{"permit_root_login": 1, "password_authentication": 1, "x11_forwarding": 1, "reload ssh.service": 1,
		"shadow_mode": 2, "edge_config_mode": 2, "telnet": 2, "rsh": 1}, counts(d), "an owner and a mode are two, as are boot and now")
	set(factory)
	err := write(t, l, option("PermitRootLogin"), "sometimes")
	require.Equal(t, devices.Rejected, devices.KindOf(err))
	require.ErrorContains(t, err, "unsupported option")
	require.Equal(t, factory, read(t, l, points...))
}

func TestOnlyAKnownKeyLogsInAndOnlySudoIsRoot(t *testing.T) {
	d := start(t)
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	for name, change := range map[string]func(*devices.SSHSecurity){
		"another key":      func(s *devices.SSHSecurity) { s.Signer = stranger },
		"another user":     func(s *devices.SSHSecurity) { s.User = "root" },
		"another host key": func(s *devices.SSHSecurity) { s.HostKeys = []string{"SHA256:" + strings.Repeat("A", 43)} },
	} {
		t.Run(name, func(t *testing.T) {
			ep := endpoint(t, d)
			change(ep.SSH)
			_, err := open(t, ep).Read(t.Context(), []devices.Point{fact("os")})
			require.Equal(t, devices.Auth, devices.KindOf(err), "%v", err)
		})
	}
	l := open(t, endpoint(t, d))
	p := config()
	p.Host.Become = false
	_, err = l.Read(t.Context(), []devices.Point{p})
	require.Equal(t, devices.Rejected, devices.KindOf(err), "a directory that is closed to the log-in is not absent")
	require.ErrorContains(t, err, "Permission denied")
	require.NoError(t, d.RemoveFile("/etc/sudoers.d/edgefleet"))
	_, err = l.Read(t.Context(), []devices.Point{config()})
	require.Equal(t, devices.Auth, devices.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "a password is required")
}

func TestEachFaultIsWhatItSaysAndIsHealed(t *testing.T) {
	d := start(t)
	ep := endpoint(t, d)
	ep.ResponseTimeout = time.Second
	l := open(t, ep)
	for _, f := range []chassis.Fault{chassis.FaultOffline, chassis.FaultHang, chassis.FaultResetOnly} {
		require.NoError(t, l.Ping(t.Context()))
		require.NoError(t, d.Break(f, false))
		require.Equal(t, devices.Unreachable, devices.KindOf(l.Ping(t.Context())), f)
		require.NoError(t, d.Heal())
	}
	require.NoError(t, l.Ping(t.Context()))
	d.PowerOff()
	require.Equal(t, devices.Unreachable, devices.KindOf(l.Ping(t.Context())))
	d.PowerOn()
	require.Eventually(t, func() bool { return l.Ping(t.Context()) == nil }, patience, time.Millisecond)
	require.Eventually(t, func() bool { return read(t, l, service("edge-agent.service"))[0] == "enabled active" }, patience, time.Millisecond)
}

func TestADriftEndsForWhatIsWrittenAgainAndAStuckOneDoesNot(t *testing.T) {
	d := start(t)
	l := open(t, endpoint(t, d))
	require.NoError(t, d.Break(chassis.FaultDrift, false))
	require.Equal(t, []string{"edge_config", "log_level", "telnet"}, d.Status().Drifted)
	require.Contains(t, read(t, l, config())[0], "interval: 600")
	require.Equal(t, "enabled active", read(t, l, service("telnet.socket"))[0])
	require.NoError(t, write(t, l, config(), sshsim.FactoryConfig("gw-001")))
	require.NoError(t, write(t, l, service("telnet.socket"), "disabled inactive"))
	require.Equal(t, []string{"log_level"}, d.Status().Drifted)
	require.NoError(t, d.Heal())
	conf, err := d.ReadFile("/etc/edge/agent.conf")
	require.NoError(t, err)
	require.Contains(t, conf, "log_level=info\n")

	require.NoError(t, d.Break(chassis.FaultDrift, true))
	err = write(t, l, config(), sshsim.FactoryConfig("gw-001"))
	require.Equal(t, devices.Rejected, devices.KindOf(err), "%v", err)
	require.Contains(t, read(t, l, config())[0], "interval: 600")
	require.NoError(t, d.Heal())
	require.Equal(t, sshsim.FactoryConfig("gw-001"), read(t, l, config())[0])
}

func TestAGatewayRemembersAllThatItsSuccessorHasToKnow(t *testing.T) {
	d := start(t)
	l := open(t, endpoint(t, d))
	want := strings.Replace(sshsim.FactoryConfig("gw-001"), "interval: 60", "interval: 90", 1)
	require.NoError(t, write(t, l, config(), want))
	require.NoError(t, write(t, l, mode("/etc/shadow"), "0600 root:root"))
	require.NoError(t, write(t, l, service("rsh.socket"), "masked inactive"))
	require.NoError(t, d.RemoveFile("/etc/hostname"))
	require.NoError(t, d.Break(chassis.FaultDrift, true))
	require.NoError(t, d.SetLatency(time.Microsecond))
	require.NoError(t, d.Close())

	again := start(t, func(c *sshsim.Config) { c.Memory, c.Address = d.Memory(), d.Addr() })
	require.Equal(t, d.Memory(), again.Memory())
	require.Equal(t, d.Fingerprint(), again.Fingerprint())
	require.Equal(t, want, again.Running())
	require.NoError(t, again.Heal())
	l = open(t, endpoint(t, again))
	require.Equal(t, []string{want, "0600 root:root", "masked inactive", "enabled active"},
		read(t, l, config(), mode("/etc/shadow"), service("rsh.socket"), service("edge-agent.service")))
}

func TestAHundredGatewaysFitInOneProcess(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	goroutines, began := runtime.NumGoroutine(), time.Now()
	all := make([]*sshsim.Device, 100)
	for i := range all {
		all[i] = start(t)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	t.Logf("100 gateways: %v, %d KB each", time.Since(began), (after.HeapAlloc-before.HeapAlloc)/100/1024)
	require.LessOrEqual(t, runtime.NumGoroutine()-goroutines, 110)
	for i := 0; i < len(all); i += 10 {
		require.Equal(t, []string{"debian"}, read(t, open(t, endpoint(t, all[i])), fact("os")))
	}
}

func TestStartRefuses(t *testing.T) {
	public, err := ssh.NewPublicKey(clientKey(t).Public())
	require.NoError(t, err)
	good := sshsim.Config{ID: "a", User: user, Keys: []ssh.PublicKey{public}}
	for name, change := range map[string]func(*sshsim.Config){
		"no ID":                 func(c *sshsim.Config) { c.ID = "" },
		"no key":                func(c *sshsim.Config) { c.Keys = nil },
		"root":                  func(c *sshsim.Config) { c.User = "root" },
		"a public address":      func(c *sshsim.Config) { c.Address = "192.0.2.1:22" },
		"half a host key":       func(c *sshsim.Config) { c.Memory.HostKey = []byte("short") },
		"a file without a mode": func(c *sshsim.Config) { c.Memory.Files = []sshsim.File{{Path: "/etc/x"}} },
		"a time that runs back": func(c *sshsim.Config) { c.Boot = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := good
			change(&cfg)
			_, err := sshsim.Start(cfg)
			require.Error(t, err)
		})
	}
}
