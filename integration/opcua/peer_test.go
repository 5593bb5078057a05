package opcua_test

import (
	"bufio"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"edgefleet/dev/tools/toolchain"
	"edgefleet/devices"
	"edgefleet/devices/credentials"
	"edgefleet/devices/opcua"
)

const (
	plant    = "urn:edgefleet:test:plant"
	password = "correct horse: bätterie"
)

// identity is a certificate with its key.
type identity struct {
	cert *x509.Certificate
	key  *rsa.PrivateKey
}

// server is the peer that all tests share, because it takes seconds to start.
var server struct {
	missing string // why there is none
	err     error
	port    int
	sha256  string
	sha1    string
	// Clients that the peer trusts, by the bits of their key, a user that it
	// trusts and a client that it does not.
	clients  map[int]identity
	user     identity
	stranger identity
}

func TestMain(m *testing.M) {
	os.Exit(func() int {
		stop := start()
		defer stop()
		code := m.Run()
		if err := goleak.Find(goleak.IgnoreAnyFunction("os/exec.(*Cmd).Start.func2"), goleak.IgnoreTopFunction("os/exec.(*Cmd).watchCtx")); code == 0 && server.missing == "" && err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}())
}

// start runs the peer. What goes wrong is reported by the tests.
func start() (stop func()) {
	nothing := func() {}
	root, err := toolchain.Root(".")
	if err != nil {
		server.err = err
		return nothing
	}
	folder, err := installed(root)
	if err != nil {
		server.missing = err.Error()
		return nothing
	}
	temp, err := os.MkdirTemp("", "opcua-peer-*")
	if err != nil {
		server.err = err
		return nothing
	}
	remove := func() { _ = os.RemoveAll(temp) }
	trusted, err := identities(temp)
	if err != nil {
		server.err = err
		return remove
	}
	cmd := exec.Command("node", append([]string{filepath.Join(root, "integration", "opcua", "server.mjs"), filepath.Join(temp, "pki")}, trusted...)...)
	cmd.Env = append(os.Environ(), "EDGEFLEET_OPCUA_PEER="+folder)
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if server.err = cmd.Start(); server.err != nil {
		return remove
	}
	watchdog := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() })
	server.err = ready(out)
	watchdog.Stop()
	return func() {
		_ = in.Close()
		watchdog := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
		watchdog.Stop()
		remove()
	}
}

// ready reads the peer's output up to the line that says where it listens.
func ready(out io.Reader) error {
	var said []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		line := lines.Text()
		var hello struct {
			Port         int
			SHA256, SHA1 string
		}
		if strings.HasPrefix(line, "{") && json.Unmarshal([]byte(line), &hello) == nil && hello.Port != 0 {
			server.port, server.sha256, server.sha1 = hello.Port, hello.SHA256, hello.SHA1
			return nil
		}
		said = append(said, line)
	}
	return fmt.Errorf("the peer ended before it was ready:\n%s", strings.Join(said, "\n"))
}

// installed returns the folder of the peer's module, which it installs with
// CI=true.
func installed(root string) (string, error) {
	folder := os.Getenv("EDGEFLEET_OPCUA_PEER")
	if folder == "" {
		folder = filepath.Join(root, "bin", "opcua-peer")
	}
	here := func() bool {
		_, err := os.Stat(filepath.Join(folder, "node_modules", "node-opcua", "package.json"))
		return err == nil
	}
	if here() {
		return folder, nil
	}
	if os.Getenv("CI") == "true" {
		for _, name := range []string{"package.json", "package-lock.json"} {
			raw, err := os.ReadFile(filepath.Join(root, "integration", "opcua", name))
			if err == nil {
				err = os.MkdirAll(folder, 0o755)
			}
			if err == nil {
				err = os.WriteFile(filepath.Join(folder, name), raw, 0o644)
			}
			if err != nil {
				return "", err
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		out, err := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", folder).CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("npm ci: %w\n%s", err, out)
		}
		if here() {
			return folder, nil
		}
	}
	return "", fmt.Errorf("node-opcua is not installed in %s: with Node 20 or later, run\n"+
		"  mkdir -p bin/opcua-peer && cp integration/opcua/package*.json bin/opcua-peer && npm ci --ignore-scripts --prefix bin/opcua-peer\n"+
		"at the root of the repository", folder)
}

// identities makes the certificates of the tests and returns the files of
// those that the peer shall trust.
func identities(folder string) (trusted []string, err error) {
	one := func(name string, bits int) identity {
		if err != nil {
			return identity{}
		}
		var i identity
		if i.cert, i.key, err = credentials.NewCertificate(credentials.CertificateRequest{ApplicationURI: "urn:edgefleet:test:" + name, CommonName: name, KeyBits: bits}); err != nil {
			return i
		}
		if name != "stranger" {
			file := filepath.Join(folder, name+".der")
			err = os.WriteFile(file, i.cert.Raw, 0o600)
			trusted = append(trusted, file)
		}
		return i
	}
	server.clients = map[int]identity{2048: one("client-2048", 2048), 4096: one("client-4096", 4096)}
	server.user, server.stranger = one("user", 2048), one("stranger", 2048)
	return trusted, err
}

// endpoint is the peer as it was enrolled; change may say otherwise.
func endpoint(t *testing.T, change ...func(s *devices.OPCUASecurity)) devices.Endpoint {
	t.Helper()
	if server.missing != "" {
		if os.Getenv("CI") == "true" {
			t.Fatal(server.missing)
		}
		t.Skip(server.missing)
	}
	require.NoError(t, server.err)
	us := server.clients[2048]
	sec := &devices.OPCUASecurity{Policy: "Basic256Sha256", Mode: "SignAndEncrypt", ServerThumbprint: server.sha256,
		ApplicationURI: "urn:edgefleet:test:peer", ClientCert: us.cert, ClientKey: us.key, User: "operator", Password: password}
	for _, c := range change {
		c(sec)
	}
	return devices.Endpoint{DeviceID: "plc-1", Address: fmt.Sprintf("127.0.0.1:%d", server.port), OPCUA: sec,
		Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, ConnectTimeout: 20 * time.Second, ResponseTimeout: 20 * time.Second}
}

func driver(t *testing.T) *opcua.Driver {
	t.Helper()
	d := opcua.New(opcua.Options{})
	t.Cleanup(d.Close)
	return d
}

func open(t *testing.T, ep devices.Endpoint) devices.Link {
	t.Helper()
	l, err := driver(t).Open(t.Context(), ep)
	require.NoError(t, err)
	t.Cleanup(l.Close)
	return l
}

func point(id string, typ devices.Type, kind string) devices.Point {
	return devices.Point{Name: id, Type: typ, Writable: true, OPCUA: &devices.NodeAddress{Namespace: plant, ID: id, Type: kind}}
}
