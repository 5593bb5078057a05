package chassis

import (
	"net/netip"
	"os"
	"syscall"
)

// bind keeps the port of addr for this process without listening on it:
// connections are refused, but the kernel gives the port to nobody else who
// asks for any, neither to listen nor as the near end of a connection. A
// listener with SO_REUSEADDR, which is what package net makes, can take its
// place beside it at any time.
//
// A device that comes back to its port shares it with the remains of its
// earlier connections; a device that looks for a new one does not share.
func bind(addr netip.AddrPort, returning bool) (netip.AddrPort, func(), error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return netip.AddrPort{}, nil, os.NewSyscallError("socket", err)
	}
	release := func() { _ = syscall.Close(fd) }
	port, err := bindSocket(fd, addr, returning)
	if err != nil {
		release()
		return netip.AddrPort{}, nil, err
	}
	return netip.AddrPortFrom(addr.Addr(), port), release, nil
}

func bindSocket(fd int, addr netip.AddrPort, returning bool) (uint16, error) {
	share := func() error {
		return os.NewSyscallError("setsockopt", syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1))
	}
	if returning {
		if err := share(); err != nil {
			return 0, err
		}
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: addr.Addr().As4(), Port: int(addr.Port())}); err != nil {
		return 0, os.NewSyscallError("bind", err)
	}
	// Only from here on, so that it found the port entirely free; the device's
	// own listener has to share it.
	if err := share(); err != nil {
		return 0, err
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		return 0, os.NewSyscallError("getsockname", err)
	}
	bound, ok := name.(*syscall.SockaddrInet4)
	if !ok {
		return 0, os.NewSyscallError("getsockname", syscall.EAFNOSUPPORT)
	}
	return uint16(bound.Port), nil
}
