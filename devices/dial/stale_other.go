//go:build !unix

package dial

import "net"

// Stale cannot be told here without waiting. What it would find comes out with
// the next request.
func Stale(net.Conn) bool { return false }
