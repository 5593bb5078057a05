package chassis

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"syscall"
)

// The ports among which a device that may have any looks first. No system
// takes the near ends of outgoing connections from here, nor a Kubernetes its
// node ports, so that a device that was away for a while finds its port free.
const (
	firstPort = 20000
	lastPort  = 29999
)

// hold gives a device its address for life (see bind). Port 0 means any.
func hold(addr netip.AddrPort) (netip.AddrPort, func(), error) {
	if addr.Port() != 0 {
		return bind(addr, true)
	}
	const tries = 50
	for range tries {
		port := uint16(firstPort + rand.IntN(lastPort-firstPort+1))
		got, release, err := bind(netip.AddrPortFrom(addr.Addr(), port), false)
		if !errors.Is(err, syscall.EADDRINUSE) {
			return got, release, err
		}
	}
	return bind(addr, false)
}
