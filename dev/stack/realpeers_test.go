package stack_test

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"edgefleet/dev/tools/toolchain"
	"edgefleet/devices/credentials"
)

// gateway is a Linux host with a real OpenSSH server on loopback, which runs as
// an unprivileged user, and an edge agent that loads its configuration at a
// restart.
type gateway struct {
	t        testing.TB
	dir      string
	address  string
	user     string
	uid, gid int
	hostKey  string
	key      string
}

const (
	sshdPath = "/usr/sbin/sshd"
	sftpPath = "/usr/lib/openssh/sftp-server"
)

// startGateway runs the server until the test ends.
func startGateway(t testing.TB) *gateway {
	t.Helper()
	for _, p := range []string{sshdPath, sftpPath} {
		if _, err := os.Stat(p); err != nil {
			lacks(t, p+" is missing: this test drives a real OpenSSH server. Install it (Debian: apt-get install openssh-server); the system's own server need not run")
		}
	}
	// Not t.TempDir, whose parents are closed to other users.
	dir, err := os.MkdirTemp("", "edgefleet-gateway-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	g := &gateway{t: t, dir: dir}
	as := g.account()
	for _, d := range []string{"bin", "etc"} {
		require.NoError(t, os.Mkdir(g.path(d), 0o755))
	}
	host, hostPublic := newSSHKey(t)
	key, public := newSSHKey(t)
	g.key, g.hostKey = key, ssh.FingerprintSHA256(hostPublic)
	g.write("host_key", host, 0o600)
	g.write("authorized_keys", string(ssh.MarshalAuthorizedKey(public)), 0o600)
	g.write("sshd_config", fmt.Sprintf("HostKey %s\nAuthorizedKeysFile %s\nSubsystem sftp %s\nUsePAM no\nPasswordAuthentication no\n"+
		"KbdInteractiveAuthentication no\nStrictModes no\nPidFile none\nUseDNS no\n", g.path("host_key"), g.path("authorized_keys"), sftpPath), 0o644)
	for name, script := range map[string]string{
		"edge-version":  "echo edge-agent 4.5.6",
		"edge-validate": `[ "$1" = --config ] || exit 64; if grep -q INVALID "$2"; then echo "rate is not a number" >&2; exit 1; fi`,
		"edge-restart":  "echo restart >>$D/restarts; cat $D/etc/config.yaml >$D/running",
		"edge-health":   `if grep -q UNHEALTHY $D/running; then echo "agent: feeder lost" >&2; exit 3; fi; echo running`,
	} {
		g.write("bin/"+name, "#!/bin/sh\nD="+dir+"\n"+script+"\n", 0o755)
	}
	g.write("etc/config.yaml", "rate: 1\n", 0o640)
	g.write("running", "rate: 1\n", 0o644)
	require.NoError(t, filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, g.uid, g.gid)
	}))
	g.serve(as)
	return g
}

// account is the user that the server runs as and that logs in: the present
// one, or for root a user made for it, because root's server would be root.
func (g *gateway) account() *syscall.Credential {
	g.t.Helper()
	u, err := user.Current()
	require.NoError(g.t, err)
	root := os.Getuid() == 0
	if root {
		const name = "edgefleet-test"
		if u, err = user.Lookup(name); err != nil {
			out, addErr := exec.Command("useradd", "-M", "-p", "*", "-s", "/bin/sh", name).CombinedOutput()
			u, err = user.Lookup(name)
			require.NoError(g.t, err, "as root this test needs an unprivileged user %s: %v: %s", name, addErr, out)
		}
	}
	g.user = u.Username
	g.uid, err = strconv.Atoi(u.Uid)
	require.NoError(g.t, err)
	g.gid, err = strconv.Atoi(u.Gid)
	require.NoError(g.t, err)
	if !root {
		return nil
	}
	return &syscall.Credential{Uid: uint32(g.uid), Gid: uint32(g.gid)}
}

// serve starts the server on a free port, and on another one when somebody else
// was faster.
func (g *gateway) serve(as *syscall.Credential) {
	g.t.Helper()
	var log transcript
	for range 5 {
		l, err := net.Listen("tcp", anyPort)
		require.NoError(g.t, err)
		address := l.Addr().String()
		require.NoError(g.t, l.Close())
		_, port, _ := net.SplitHostPort(address)
		cmd := exec.Command(sshdPath, "-D", "-e", "-f", g.path("sshd_config"), "-o", "ListenAddress=127.0.0.1", "-p", port)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as, Setpgid: true}
		cmd.Dir, cmd.Stderr, cmd.WaitDelay = g.dir, &log, time.Second
		require.NoError(g.t, cmd.Start())
		ended := make(chan struct{})
		go func() { _ = cmd.Wait(); close(ended) }()
		g.t.Cleanup(func() {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			<-ended
			if g.t.Failed() {
				g.t.Logf("the gateway's server said:\n%s", &log)
			}
		})
		if greets(g.t, address, ended) {
			g.address = address
			return
		}
	}
	require.FailNow(g.t, "sshd does not start", "%s", &log)
}

// greets waits until an SSH server answers, or its process has ended.
func greets(t testing.TB, address string, ended chan struct{}) (yes bool) {
	until(t, 10*time.Second, func() error {
		select {
		case <-ended:
			return nil
		default:
		}
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		hello := make([]byte, 4)
		_, err = io.ReadFull(conn, hello)
		yes = err == nil && bytes.Equal(hello, []byte("SSH-"))
		return err
	})
	return yes
}

func newSSHKey(t testing.TB) (private string, public ssh.PublicKey) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(key, "")
	require.NoError(t, err)
	public, err = ssh.NewPublicKey(key.Public())
	require.NoError(t, err)
	return string(pem.EncodeToMemory(block)), public
}

func (g *gateway) path(name string) string { return filepath.Join(g.dir, name) }

func (g *gateway) write(name, content string, mode os.FileMode) {
	g.t.Helper()
	require.NoError(g.t, os.WriteFile(g.path(name), []byte(content), mode))
	require.NoError(g.t, os.Chmod(g.path(name), mode))
}

func (g *gateway) read(name string) string {
	g.t.Helper()
	text, err := os.ReadFile(g.path(name))
	require.NoError(g.t, err)
	return string(text)
}

// profile is the gateway's model: what the fleet guide's role does, at paths
// that need no root.
func (g *gateway) profile() string {
	return strings.ReplaceAll(`name: site-gateway
description: a gateway with a real OpenSSH server
protocol: ssh
class: gateway
settle: {wait: 0s, up_to: 5s}
restart: {back_within: 20s}
commands:
  edge-validate: {run: "DIR/bin/edge-validate --config %s"}
  restart-edge: {run: "DIR/bin/edge-restart"}
  edge-healthy: {run: "DIR/bin/edge-health", within: 500ms}
  edge-state: {run: "DIR/bin/edge-health"}
  edge-version: {run: "DIR/bin/edge-version"}
identity:
  - {name: os, fact: os, equals: debian}
  - {name: firmware, output: edge-version}
settings:
  - {name: edge_config, file: DIR/etc/config.yaml, max_size: 65536, validate: edge-validate, restart: restart-edge, health: edge-healthy}
measurements:
  - {name: agent, output: edge-state}
health:
  - {point: agent, equals: running}
`, "DIR", g.dir)
}

// controller is an OPC UA server that shares no code with edgefleet.
type controller struct {
	Port   int
	SHA256 string
	// password is its operator's.
	password string
}

// startController runs the server of integration/opcua until the test ends. It
// trusts the certificate of the credentials.
func startController(t testing.TB, credentialsDir, name string) *controller {
	t.Helper()
	root, err := toolchain.Root(".")
	require.NoError(t, err)
	folder := os.Getenv("EDGEFLEET_OPCUA_PEER")
	if folder == "" {
		folder = filepath.Join(root, "bin", "opcua-peer")
	}
	if _, err := os.Stat(filepath.Join(folder, "node_modules", "node-opcua", "package.json")); err != nil {
		installPeer(t, root, folder)
	}
	const password = "correct horse: bätterie"
	require.NoError(t, credentials.NewOPCUA(credentialsDir, name, "urn:edgefleet:test:worker"))
	entry := filepath.Join(credentialsDir, name)
	require.NoError(t, os.WriteFile(filepath.Join(entry, credentials.Username), []byte("operator"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(entry, credentials.Password), []byte(password), 0o600))
	text, err := os.ReadFile(filepath.Join(entry, credentials.TLSCert))
	require.NoError(t, err)
	block, _ := pem.Decode(text)
	trusted := filepath.Join(t.TempDir(), "worker.der")
	require.NoError(t, os.WriteFile(trusted, block.Bytes, 0o600))

	cmd := exec.Command("node", filepath.Join(root, "integration", "opcua", "server.mjs"), filepath.Join(t.TempDir(), "pki"), trusted)
	cmd.Env = append(os.Environ(), "EDGEFLEET_OPCUA_PEER="+folder)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	late := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() })
	lines, c, said := bufio.NewScanner(out), &controller{password: password}, ""
	for c.Port == 0 && lines.Scan() {
		said += lines.Text() + "\n"
		_ = json.Unmarshal(lines.Bytes(), c)
	}
	late.Stop()
	t.Cleanup(func() {
		_ = in.Close()
		late := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
		late.Stop()
	})
	require.NotZero(t, c.Port, "the OPC UA server ended before it was ready:\n%s", said)
	return c
}

// lacks ends a test for want of a peer: the tests pass on a machine with Go
// alone, and in CI every peer has to be there.
func lacks(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// installPeer installs the server's module where CI=true asks for it, as the
// tests of integration/opcua do.
func installPeer(t testing.TB, root, folder string) {
	t.Helper()
	if os.Getenv("CI") != "true" {
		lacks(t, "node-opcua is not installed in "+folder+": with Node 20 or later, run\n"+
			"  mkdir -p bin/opcua-peer && cp integration/opcua/package*.json bin/opcua-peer && npm ci --ignore-scripts --prefix bin/opcua-peer\n"+
			"at the root of the repository")
	}
	require.NoError(t, os.MkdirAll(folder, 0o755))
	for _, name := range []string{"package.json", "package-lock.json"} {
		raw, err := os.ReadFile(filepath.Join(root, "integration", "opcua", name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), raw, 0o644))
	}
	out, err := exec.CommandContext(t.Context(), "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", folder).CombinedOutput()
	require.NoError(t, err, "npm ci: %s", out)
}

// controllerProfile is the model of the server's plant.
const controllerProfile = `name: peer-controller
description: an OPC UA server of another maker
protocol: opcua
class: plc
namespace: "urn:edgefleet:test:plant"
quirks: {gap: 0s}
identity:
  - {name: maker, namespace: "", node: "i=2263", type: string, equals: edgefleet}
  - {name: firmware, namespace: "", node: "i=2264", type: string}
settings:
  - {name: limit, node: "s=UInt16", type: uint16, min: 0, max: 65535}
  - {name: gain, node: "s=Double", type: float64}
  - {name: title, node: "s=String", type: string}
  - {name: percent, node: "s=Percent", type: uint16, min: 0, max: 100}
`
