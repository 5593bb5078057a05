package devices

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
)

// SplitAddress splits "host:port" or "[host]:port" into its host, which is not
// empty, and its port, 1 to 65535.
func SplitAddress(address string) (host string, port uint16, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("%q: want host:port: %w", address, err)
	}
	if host == "" {
		return "", 0, fmt.Errorf("%q: want host:port, there is no host", address)
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("%q: want host:port with a port from 1 to 65535", address)
	}
	return host, uint16(n), nil
}

// Allowed says whether a is inside one of the prefixes. The zone of a
// link-local address does not count, and an IPv4 address that is written as
// IPv6 is the IPv4 address. No prefix allows nothing.
func Allowed(a netip.Addr, prefixes []netip.Prefix) bool {
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}
