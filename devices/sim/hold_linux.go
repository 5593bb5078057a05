package sim

import (
	"net/netip"
	"os"
	"syscall"
)

// hold keeps the port of addr (IPv4, port 0: any) for this process without
// listening on it: connections are refused, but the kernel gives the port to
// nobody else, neither to another listener that asks for any port nor as the
// near end of an outgoing connection. A listener with SO_REUSEADDR, which is
// what package net makes, can take its place beside it at any time.
func hold(addr netip.AddrPort) (netip.AddrPort, func(), error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return netip.AddrPort{}, nil, os.NewSyscallError("socket", err)
	}
	release := func() { _ = syscall.Close(fd) }
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		release()
		return netip.AddrPort{}, nil, os.NewSyscallError("setsockopt", err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: addr.Addr().As4(), Port: int(addr.Port())}); err != nil {
		release()
		return netip.AddrPort{}, nil, os.NewSyscallError("bind", err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		release()
		return netip.AddrPort{}, nil, os.NewSyscallError("getsockname", err)
	}
	bound, ok := name.(*syscall.SockaddrInet4)
	if !ok {
		release()
		return netip.AddrPort{}, nil, os.NewSyscallError("getsockname", syscall.EAFNOSUPPORT)
	}
	return netip.AddrPortFrom(addr.Addr(), uint16(bound.Port)), release, nil
}
