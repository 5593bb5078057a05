//go:build unix

package dial_test

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/devices/dial"
)

func TestALineIsStaleWhenItsPeerHasClosedItOrSpokenUnasked(t *testing.T) {
	for name, tc := range map[string]struct {
		peer  func(net.Conn)
		stale bool
	}{
		"a quiet peer":              {func(net.Conn) {}, false},
		"a peer that closed it":     {func(c net.Conn) { c.Close() }, true},
		"a peer that spoke unasked": {func(c net.Conn) { _, _ = c.Write([]byte{1}) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp4", "127.0.0.1:0")
			require.NoError(t, err)
			defer listener.Close()
			conn, err := net.Dial("tcp4", listener.Addr().String())
			require.NoError(t, err)
			defer conn.Close()
			peer, err := listener.Accept()
			require.NoError(t, err)
			defer peer.Close()
			require.False(t, dial.Stale(conn), "nothing has happened yet")
			tc.peer(peer)
			if tc.stale {
				require.Eventually(t, func() bool { return dial.Stale(conn) }, 5*time.Second, time.Millisecond)
			} else {
				require.False(t, dial.Stale(conn))
			}
		})
	}
}
