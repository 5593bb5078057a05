package modbus_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"edgefleet/devices"
	"edgefleet/devices/modbus"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// systemPython is the interpreter that Debian's packages belong to.
const systemPython = "/usr/bin/python3"

// missing says plainly which peer is not here, and how to get it.
func missing(t *testing.T, what, install string, err error) {
	t.Helper()
	message := fmt.Sprintf("%s is missing (%v); install it with: apt-get install %s", what, err, install)
	if os.Getenv("CI") == "true" {
		t.Fatal(message)
	}
	t.Skip(message)
}

// libmodbus compiles the C peer and returns its path.
func libmodbus(t *testing.T) string {
	t.Helper()
	cc, err := exec.LookPath("cc")
	if err != nil {
		missing(t, "a C compiler", "gcc libmodbus-dev", err)
	}
	if out, err := compile(t, cc, os.DevNull, "-fsyntax-only", "-x", "c", "-include", "modbus/modbus.h"); err != nil {
		missing(t, "libmodbus", "libmodbus-dev", fmt.Errorf("%w: %s", err, out))
	}
	binary := filepath.Join(t.TempDir(), "libmodbus_peer")
	out, err := compile(t, cc, filepath.Join("testdata", "libmodbus_peer.c"), "-Wall", "-o", binary, "-lmodbus")
	require.NoError(t, err, out)
	return binary
}

func compile(t *testing.T, cc, source string, args ...string) (string, error) {
	// What the linker takes from libraries, it takes for what stood before.
	args = append(args[:len(args):len(args)], source)
	if last := len(args) - 2; args[last] == "-lmodbus" {
		args[last], args[last+1] = args[last+1], args[last]
	}
	out, err := exec.CommandContext(t.Context(), cc, args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// run starts a peer, which prints a port when it is ready, and ends it with the
// test.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	command := exec.CommandContext(ctx, name, args...)
	var said bytes.Buffer // peers are talkative about what the tests do to them
	command.Stderr = &said
	out, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		cancel()
		_ = command.Wait() // it was killed
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(name), said.String())
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err, "%s did not say that it is ready", name)
	return net.JoinHostPort("127.0.0.1", strings.TrimSpace(line))
}

func libmodbusTCP(t *testing.T) devices.Endpoint {
	return endpoint(run(t, libmodbus(t), "tcp"), devices.FramingTCP)
}

// libmodbusRTU runs libmodbus as unit 1 of a serial line, with a transparent
// gateway in front.
func libmodbusRTU(t *testing.T) devices.Endpoint {
	binary := libmodbus(t)
	gateway := newGateway(t)
	run(t, binary, "rtu", gateway.tty, "1")
	return endpoint(gateway.address, devices.FramingRTU)
}

// pymodbus runs the Python peer.
func pymodbus(t *testing.T, framing devices.Framing, image ...string) devices.Endpoint {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), systemPython, "-c", "import pymodbus.server.async_io").CombinedOutput(); err != nil {
		missing(t, "pymodbus for "+systemPython, "python3-pymodbus", fmt.Errorf("%w: %s", err, out))
	}
	args := append([]string{filepath.Join("testdata", "pymodbus_peer.py"), string(framing)}, image...)
	return endpoint(run(t, systemPython, args...), framing)
}

func endpoint(address string, framing devices.Framing) devices.Endpoint {
	return devices.Endpoint{DeviceID: "peer", Address: address, Unit: 1, Framing: framing, Gap: -1,
		Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, ConnectTimeout: 10 * time.Second, ResponseTimeout: 10 * time.Second}
}

// open returns a link over a driver of its own.
func open(t *testing.T, ep devices.Endpoint) (*modbus.Driver, devices.Link) {
	t.Helper()
	driver := modbus.New(modbus.Options{})
	t.Cleanup(driver.Close)
	link, err := driver.Open(t.Context(), ep)
	require.NoError(t, err)
	return driver, link
}
