package dial_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"edgefleet/devices"
	"edgefleet/devices/dial"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type resolverFunc func(ctx context.Context, host string) ([]netip.Addr, error)

func (f resolverFunc) LookupNetIP(ctx context.Context, _, host string) ([]netip.Addr, error) {
	return f(ctx, host)
}

func answers(addrs ...string) resolverFunc {
	return func(context.Context, string) ([]netip.Addr, error) {
		var all []netip.Addr
		for _, a := range addrs {
			all = append(all, netip.MustParseAddr(a))
		}
		return all, nil
	}
}

func fails(err error) resolverFunc {
	return func(context.Context, string) ([]netip.Addr, error) { return nil, err }
}

func silent(ctx context.Context, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func prefixes(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, t := range texts {
		all = append(all, netip.MustParsePrefix(t))
	}
	return all
}

func TestResolve(t *testing.T) {
	ten := prefixes("10.0.0.0/8")
	for _, c := range []struct {
		name     string
		address  string
		allowed  []netip.Prefix
		resolver dial.Resolver
		want     []string
		kind     devices.Kind
		words    string
	}{
		{name: "a literal inside is taken without a look-up", address: "10.1.2.3:502", allowed: ten,
			resolver: fails(errors.New("asked")), want: []string{"10.1.2.3:502"}},
		{name: "a literal outside is refused", address: "192.0.2.1:502", allowed: ten,
			kind: devices.Auth, words: "dev-1: dial 192.0.2.1:502: auth: 192.0.2.1 is outside allowed_networks"},
		{name: "an empty list refuses everything", address: "10.1.2.3:502",
			kind: devices.Auth, words: "allowed_networks is empty"},
		{name: "of a name only the allowed addresses are kept, in order and once", address: "plc:502", allowed: ten,
			resolver: answers("10.0.0.2", "192.0.2.1", "10.0.0.1", "10.0.0.2"), want: []string{"10.0.0.2:502", "10.0.0.1:502"}},
		{name: "a name with only foreign addresses is refused and all are named", address: "plc:502", allowed: ten,
			resolver: answers("192.0.2.1", "169.254.169.254"), kind: devices.Auth, words: "192.0.2.1, 169.254.169.254 is outside"},
		{name: "IPv4 in IPv6 is the IPv4 address", address: "plc:502", allowed: ten,
			resolver: answers("::ffff:10.0.0.9"), want: []string{"10.0.0.9:502"}},
		{name: "IPv4 in IPv6 does not pass an IPv6 prefix", address: "[::ffff:192.0.2.1]:502", allowed: prefixes("::/0"),
			kind: devices.Auth, words: "192.0.2.1"},
		{name: "a zone does not hide a link-local address", address: "[fe80::1%eth0]:502", allowed: prefixes("fe80::/10"),
			want: []string{"[fe80::1%eth0]:502"}},
		{name: "a zone does not let one through", address: "[fe80::1%eth0]:502", allowed: ten,
			kind: devices.Auth, words: "fe80::1"},
		{name: "a name that does not exist is unreachable, in words", address: "plc:502", allowed: ten,
			resolver: fails(&net.DNSError{Err: "no such host", Name: "plc", IsNotFound: true}),
			kind:     devices.Unreachable, words: "name resolution of plc: unreachable: the name does not exist"},
		{name: "a name without an address is unreachable", address: "plc:502", allowed: ten,
			resolver: answers(), kind: devices.Unreachable, words: "the name has no address"},
		{name: "a failing name server says nothing of the device", address: "plc:502", allowed: ten,
			resolver: fails(&net.DNSError{Err: "server misbehaving", Name: "plc", IsTemporary: true}),
			kind:     devices.OwnPath, words: "the name server could not answer"},
		{name: "a silent name server is bounded and says nothing of the device", address: "plc:502", allowed: ten,
			resolver: resolverFunc(silent), kind: devices.OwnPath, words: "gave no answer within 50ms"},
		{name: "no port", address: "10.0.0.1", allowed: ten, kind: devices.Unsupported, words: "want host:port"},
		{name: "no host", address: ":502", allowed: ten, kind: devices.Unsupported, words: "there is no host"},
		{name: "port zero", address: "10.0.0.1:0", allowed: ten, kind: devices.Unsupported, words: "1 to 65535"},
		{name: "a port's name", address: "10.0.0.1:modbus", allowed: ten, kind: devices.Unsupported, words: "1 to 65535"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ep := devices.Endpoint{DeviceID: "dev-1", Address: c.address, Allowed: c.allowed, ConnectTimeout: 50 * time.Millisecond}
			got, err := dial.Dialer{Resolver: c.resolver}.Resolve(t.Context(), ep)
			if c.kind != "" {
				require.Equal(t, c.kind, devices.KindOf(err))
				require.ErrorContains(t, err, c.words)
				return
			}
			require.NoError(t, err)
			var texts []string
			for _, a := range got {
				texts = append(texts, a.String())
			}
			require.Equal(t, c.want, texts)
		})
	}
}

func listen(t *testing.T) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l.(*net.TCPListener)
}

func addrOf(l *net.TCPListener) netip.AddrPort { return l.Addr().(*net.TCPAddr).AddrPort() }

// closedPort returns a loopback address on which nobody listens.
func closedPort(t *testing.T) netip.AddrPort {
	t.Helper()
	l := listen(t)
	require.NoError(t, l.Close())
	return addrOf(l)
}

// deafPort returns a loopback address whose queue of connections is full, so
// that the kernel drops every further SYN as a silent device would.
func deafPort(t *testing.T) netip.AddrPort {
	t.Helper()
	l := listen(t)
	raw, err := l.SyscallConn()
	require.NoError(t, err)
	var errListen error
	require.NoError(t, raw.Control(func(fd uintptr) { errListen = syscall.Listen(int(fd), 0) }))
	require.NoError(t, errListen)
	for range 64 {
		conn, err := net.DialTimeout("tcp", addrOf(l).String(), 100*time.Millisecond)
		if err != nil {
			return addrOf(l)
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Fatal("the queue never filled")
	return netip.AddrPort{}
}

func TestConnectReachesAListener(t *testing.T) {
	l := listen(t)
	ep := devices.Endpoint{DeviceID: "dev-1", Address: addrOf(l).String(), Allowed: prefixes("127.0.0.0/8")}
	conn, err := dial.Dialer{}.Dial(t.Context(), ep)
	require.NoError(t, err)
	require.Equal(t, addrOf(l).String(), conn.RemoteAddr().String())
	require.NoError(t, conn.Close())
}

func TestConnectPassesOverASilentAddress(t *testing.T) {
	l := listen(t)
	ep := devices.Endpoint{Allowed: prefixes("127.0.0.0/8"), ConnectTimeout: time.Second}
	conn, err := dial.Dialer{}.Connect(t.Context(), ep, []netip.AddrPort{deafPort(t), closedPort(t), addrOf(l)})
	require.NoError(t, err)
	require.Equal(t, addrOf(l).String(), conn.RemoteAddr().String())
	require.NoError(t, conn.Close())
}

func TestConnectNeverDialsAForeignAddress(t *testing.T) {
	l := listen(t)
	ep := devices.Endpoint{DeviceID: "dev-1", Address: "plc:502", Allowed: prefixes("10.0.0.0/8")}
	_, err := dial.Dialer{}.Connect(t.Context(), ep, []netip.AddrPort{addrOf(l)})
	require.Equal(t, devices.Auth, devices.KindOf(err))
	require.NoError(t, l.SetDeadline(time.Now().Add(50*time.Millisecond)))
	_, err = l.Accept()
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "nothing may arrive")
}

func TestConnectFailures(t *testing.T) {
	for _, c := range []struct {
		name  string
		addrs func(t *testing.T) []netip.AddrPort
		words string
	}{
		{"a closed port refuses", func(t *testing.T) []netip.AddrPort { return []netip.AddrPort{closedPort(t)} }, "the connection was refused"},
		{"a silent address times out", func(t *testing.T) []netip.AddrPort { return []netip.AddrPort{deafPort(t)} }, "no answer within 100ms"},
		{"no address at all", func(*testing.T) []netip.AddrPort { return nil }, "the name has no address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ep := devices.Endpoint{DeviceID: "dev-1", Address: "plc:502", Allowed: prefixes("127.0.0.0/8"), ConnectTimeout: 100 * time.Millisecond}
			_, err := dial.Dialer{}.Connect(t.Context(), ep, c.addrs(t))
			require.Equal(t, devices.Unreachable, devices.KindOf(err))
			require.ErrorContains(t, err, c.words)
		})
	}
}

func TestTheCallersEndIsNoVerdict(t *testing.T) {
	ep := devices.Endpoint{DeviceID: "dev-1", Address: "plc:502", Allowed: prefixes("127.0.0.0/8")}
	deaf := deafPort(t)
	for _, c := range []struct {
		name string
		call func(ctx context.Context) error
	}{
		{"while resolving", func(ctx context.Context) error {
			_, err := dial.Dialer{Resolver: resolverFunc(silent)}.Resolve(ctx, ep)
			return err
		}},
		{"while connecting", func(ctx context.Context) error {
			_, err := dial.Dialer{}.Connect(ctx, ep, []netip.AddrPort{deaf})
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
			defer cancel()
			err := c.call(ctx)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Empty(t, devices.KindOf(err))
			require.ErrorContains(t, err, "dev-1: ")
		})
	}
}
