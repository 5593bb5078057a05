//go:build linux

package sshhost_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"edgefleet/devices"
	"edgefleet/devices/sshhost"
)

const (
	sshdPath   = "/usr/sbin/sshd"
	sftpPath   = "/usr/lib/openssh/sftp-server"
	testUser   = "edgefleet-test"
	patience   = 10 * time.Second
	configText = "rate: 10\nsite: substation-7\n"
)

// host is a real OpenSSH server of its own, on loopback, run as an
// unprivileged user, with an agent that loads its configuration at a restart.
type host struct {
	t       *testing.T
	dir     string
	address string
	user    string
	uid     int
	gid     int
	group   string
	keys    map[string]string // fingerprint by family
	client  crypto.Signer
}

type hostOption func(*hostSettings)

type hostSettings struct {
	config string
	wrap   string
	only   []string
	noSFTP bool
}

// withoutSFTP leaves the file transfer out.
func withoutSFTP() hostOption { return func(s *hostSettings) { s.noSFTP = true } }

// withConfig adds lines to the server's configuration.
func withConfig(lines string) hostOption { return func(s *hostSettings) { s.config += lines + "\n" } }

// withFileLimit lets no file grow over so many blocks of 512 bytes, which to
// the one who writes is as good as a full disk.
func withFileLimit(blocks int) hostOption {
	return func(s *hostSettings) { s.wrap = fmt.Sprintf("trap '' XFSZ; ulimit -f %d; ", blocks) }
}

// withKeys gives the host only some families of host keys.
func withKeys(families ...string) hostOption {
	return func(s *hostSettings) { s.only = families }
}

// hostKeys are made once: an RSA key takes a while.
var hostKeys = sync.OnceValues(func() (map[string]crypto.Signer, error) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	return map[string]crypto.Signer{"ed25519": ed, "ecdsa": ec, "rsa": rs}, err
})

func newKey(t testing.TB) crypto.Signer { return newTestKey(t) }

func publicKey(t testing.TB, key crypto.Signer) ssh.PublicKey {
	t.Helper()
	public, err := ssh.NewPublicKey(key.Public())
	require.NoError(t, err)
	return public
}

func fingerprint(t testing.TB, key crypto.Signer) string {
	return ssh.FingerprintSHA256(publicKey(t, key))
}

// requireSSHD says how to get the server. In CI a missing one is a failure; the
// other tests pass on a machine with Go alone.
func requireSSHD(t *testing.T) {
	t.Helper()
	for _, p := range []string{sshdPath, sftpPath} {
		if _, err := os.Stat(p); err != nil {
			text := p + " is missing: this test drives a real OpenSSH server. Install it (Debian: apt-get install openssh-server); the system's own server need not run"
			if os.Getenv("CI") == "true" {
				t.Fatal(text)
			}
			t.Skip(text)
		}
	}
}

// account is the user that the server runs as and that logs in: the present
// one, or for root a user made for it, because root's server would be root.
func account(t *testing.T) (u *user.User, credential *syscall.Credential) {
	t.Helper()
	if os.Getuid() != 0 {
		u, err := user.Current()
		require.NoError(t, err)
		return u, nil
	}
	u, err := user.Lookup(testUser)
	if err != nil {
		out, addErr := exec.Command("useradd", "-M", "-p", "*", "-s", "/bin/sh", testUser).CombinedOutput()
		if u, err = user.Lookup(testUser); err != nil {
			t.Fatalf("as root this test needs an unprivileged user %s: useradd: %v: %s", testUser, addErr, out)
		}
	}
	uid, err := strconv.Atoi(u.Uid)
	require.NoError(t, err)
	gid, err := strconv.Atoi(u.Gid)
	require.NoError(t, err)
	return u, &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

func startHost(t *testing.T, options ...hostOption) *host {
	t.Helper()
	requireSSHD(t)
	var settings hostSettings
	settings.only = []string{"ed25519", "ecdsa", "rsa"}
	for _, o := range options {
		o(&settings)
	}
	u, credential := account(t)
	// Not t.TempDir: its parents are closed to other users.
	dir, err := os.MkdirTemp("", "edgefleet-sshd-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	h := &host{t: t, dir: dir, user: u.Username, client: newKey(t), keys: map[string]string{}}
	h.uid, _ = strconv.Atoi(u.Uid)
	h.gid, _ = strconv.Atoi(u.Gid)
	group, err := user.LookupGroupId(u.Gid)
	require.NoError(t, err)
	h.group = group.Name
	for _, d := range []string{"bin", "etc", "sshd.d", "service"} {
		require.NoError(t, os.Mkdir(h.path(d), 0o755))
	}
	var config strings.Builder
	fmt.Fprintf(&config, "Include %s/*.conf\n%s", h.path("sshd.d"), settings.config)
	all, err := hostKeys()
	require.NoError(t, err)
	for _, name := range settings.only {
		block, err := ssh.MarshalPrivateKey(all[name], "")
		require.NoError(t, err)
		h.write("host_"+name, string(pem.EncodeToMemory(block)), 0o600)
		h.keys[name] = fingerprint(t, all[name])
		fmt.Fprintf(&config, "HostKey %s\n", h.path("host_"+name))
	}
	h.authorize(h.client)
	fmt.Fprintf(&config, "AuthorizedKeysFile %s\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nStrictModes no\nPidFile none\nUseDNS no\nMaxStartups 100\n", h.path("authorized_keys"))
	if !settings.noSFTP {
		fmt.Fprintf(&config, "Subsystem sftp %s\n", sftpPath)
	}
	h.write("sshd_config", config.String(), 0o644)
	h.tools()
	h.own()
	h.start(settings, credential)
	return h
}

// start starts the server on a free port, and on another one when someone else
// was faster.
func (h *host) start(settings hostSettings, credential *syscall.Credential) {
	h.t.Helper()
	var log bytes.Buffer
	for range 5 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(h.t, err)
		address := l.Addr().String()
		require.NoError(h.t, l.Close())
		_, port, _ := net.SplitHostPort(address)
		line := fmt.Sprintf("%sexec %s -D -e -f %s -o ListenAddress=127.0.0.1 -p %s", settings.wrap, sshdPath, h.path("sshd_config"), port)
		cmd := exec.Command("/bin/sh", "-c", line)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential, Pdeathsig: syscall.SIGKILL, Setpgid: true}
		cmd.Dir = h.dir
		log.Reset()
		cmd.Stderr = &log
		cmd.WaitDelay = time.Second
		require.NoError(h.t, cmd.Start())
		ended := make(chan struct{})
		go func() { _ = cmd.Wait(); close(ended) }()
		if h.answers(address, ended) {
			h.address = address
			h.t.Cleanup(func() {
				_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
				_ = cmd.Process.Kill()
				<-ended
				if h.t.Failed() {
					h.t.Logf("the server said:\n%s", log.String())
				}
			})
			return
		}
		_ = cmd.Process.Kill()
		<-ended
	}
	h.t.Fatalf("sshd does not start: %s", log.String())
}

func (h *host) answers(address string, ended chan struct{}) bool {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		select {
		case <-ended:
			return false
		default:
		}
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		var hello [4]byte
		_, err = conn.Read(hello[:])
		_ = conn.Close()
		return err == nil && string(hello[:]) == "SSH-"
	}
	return false
}

// tools are the programs of the host: an agent's validation, restart and
// health check, and stand-ins for systemctl and sudo.
func (h *host) tools() {
	script := func(name, text string) {
		h.write("bin/"+name, "#!/bin/sh\nD="+h.dir+"\n"+text, 0o755)
	}
	script("edge-validate", `[ "$1" = --config ] || exit 64
while [ -e $D/hold-validate ]; do sleep 0.02; done
case $2 in $D/etc/.*.new) ;; *) echo "not a candidate: $2" >&2; exit 65 ;; esac
if grep -q INVALID "$2"; then echo "line 2: rate is not a number" >&2; exit 1; fi`)
	script("edge-restart", `while [ -e $D/hold-restart ]; do sleep 0.02; done
[ -e $D/fail-restart ] && { echo "unit failed" >&2; exit 1; }
echo restart >>$D/restarts
cat $D/etc/config.yaml >$D/running 2>/dev/null || : >$D/running`)
	script("edge-health", `if grep -q UNHEALTHY $D/running; then echo "agent: feeder lost" >&2; exit 3; fi`)
	script("systemctl", `echo "$@" >>$D/systemctl.log
S=$D/service
case $1 in
show)
  while [ "$1" != -- ]; do shift; done; shift; first=1
  for u; do
    [ $first = 1 ] || echo; first=0
    if [ -e $S/$u ]; then read boot now <$S/$u; load=loaded; [ $boot = masked ] && load=masked
    else boot=; now=inactive; load=not-found; fi
    echo "LoadState=$load"; echo "ActiveState=$now"; echo "UnitFileState=$boot"
  done ;;
--no-ask-password)
  u=$4; [ -e $S/$u ] || { echo "Failed: Unit $u not found." >&2; exit 5; }
  read boot now <$S/$u
  case $2 in
  enable) boot=enabled ;; disable) boot=disabled ;; mask) boot=masked ;; unmask) boot=disabled ;;
  start) now=active ;; stop) now=inactive ;;
  esac
  echo "$boot $now" >$S/$u ;;
esac`)
	script("sudo", `[ "$1 $2" = "-n --" ] || exit 64
[ -e $D/no-sudo ] && { echo "sudo: a password is required" >&2; exit 1; }
shift 2; echo "$1" >>$D/sudo.log; exec "$@"`)
	h.write("etc/config.yaml", configText, 0o640)
	h.write("running", configText, 0o644)
}

func (h *host) path(name string) string { return filepath.Join(h.dir, name) }

// own gives everything to the user of the server.
func (h *host) own() {
	require.NoError(h.t, filepath.Walk(h.dir, func(p string, _ os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, h.uid, h.gid)
	}))
}

func (h *host) write(name, content string, mode os.FileMode) {
	h.t.Helper()
	require.NoError(h.t, os.WriteFile(h.path(name), []byte(content), mode))
	require.NoError(h.t, os.Chmod(h.path(name), mode))
	require.NoError(h.t, os.Lchown(h.path(name), h.uid, h.gid))
}

func (h *host) read(name string) string {
	h.t.Helper()
	b, err := os.ReadFile(h.path(name))
	if os.IsNotExist(err) {
		return devices.HostAbsent
	}
	require.NoError(h.t, err)
	return string(b)
}

func (h *host) remove(name string) {
	h.t.Helper()
	require.NoError(h.t, os.RemoveAll(h.path(name)))
}

// restarts counts the runs of the restart.
func (h *host) restarts() int {
	if text := h.read("restarts"); text != devices.HostAbsent {
		return strings.Count(text, "restart")
	}
	return 0
}

// hidden lists what stands in etc beside the files, without the kept ones.
func (h *host) hidden() []string {
	h.t.Helper()
	entries, err := os.ReadDir(h.path("etc"))
	require.NoError(h.t, err)
	var out []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") && !strings.Contains(e.Name(), "edgefleet-prev.") {
			out = append(out, e.Name())
		}
	}
	return out
}

func (h *host) authorize(keys ...crypto.Signer) {
	var text strings.Builder
	for _, k := range keys {
		text.Write(ssh.MarshalAuthorizedKey(publicKey(h.t, k)))
	}
	h.write("authorized_keys", text.String(), 0o600)
}

func (h *host) endpoint() devices.Endpoint {
	return devices.Endpoint{DeviceID: "gw-1", Address: h.address, Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		SSH: &devices.SSHSecurity{User: h.user, HostKeys: []string{h.keys["ed25519"]}, Signer: h.client}}
}

// through is the endpoint behind a proxy.
func (h *host) through(address string) devices.Endpoint {
	ep := h.endpoint()
	ep.Address = address
	return ep
}

func (h *host) options() sshhost.Options {
	return sshhost.Options{Path: h.path("bin") + ":" + sshhost.DefaultPath}
}

func (h *host) driver() *sshhost.Driver {
	d := sshhost.New(h.options())
	h.t.Cleanup(d.Close)
	return d
}

func (h *host) link() devices.Link { return h.open(h.driver(), h.endpoint()) }

func (h *host) open(d *sshhost.Driver, ep devices.Endpoint) devices.Link {
	h.t.Helper()
	l, err := d.Open(h.t.Context(), ep)
	require.NoError(h.t, err)
	h.t.Cleanup(l.Close)
	return l
}

func (h *host) command(name string, args ...string) *devices.HostCommand {
	return &devices.HostCommand{Name: name, Args: append([]string{h.path("bin/" + name)}, args...), Timeout: 5 * time.Second, HealthWithin: 300 * time.Millisecond}
}

// config is the agent's configuration, with all that belongs to its change.
func (h *host) config() devices.Point {
	return devices.Point{Name: "config", Type: devices.String, Writable: true, Host: &devices.HostAddress{
		Kind: devices.HostFile, Path: h.path("etc/config.yaml"),
		Validate: h.command("edge-validate", "--config", "%s"), Restart: h.command("edge-restart"), Health: h.command("edge-health")}}
}

func point(name string, a devices.HostAddress) devices.Point {
	return devices.Point{Name: name, Type: devices.String, Writable: true, Host: &a}
}

func set(p devices.Point, v string) []devices.Setting {
	return []devices.Setting{{Point: p, Value: v}}
}

func readOne(t *testing.T, l devices.Link, p devices.Point) string {
	t.Helper()
	v, err := l.Read(t.Context(), []devices.Point{p})
	require.NoError(t, err)
	return v[0].(string)
}
