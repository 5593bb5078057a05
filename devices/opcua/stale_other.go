//go:build !unix

package opcua

import "net"

// stale cannot be told here without waiting. What it would find comes out with
// the next request.
func stale(net.Conn) bool { return false }
