//go:build !linux

package chassis

import (
	"net"
	"net/netip"
)

// bind finds out that the port of addr is free. Only on Linux can a port be
// kept while nothing listens on it; elsewhere the device takes it again when
// it comes back, and waits for it if it has to.
func bind(addr netip.AddrPort, _ bool) (netip.AddrPort, func(), error) {
	l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(addr))
	if err != nil {
		return netip.AddrPort{}, nil, err
	}
	bound := l.Addr().(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(addr.Addr(), bound.Port()), func() {}, l.Close()
}
