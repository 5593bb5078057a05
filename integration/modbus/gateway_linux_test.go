package modbus_test

import (
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// gateway is a transparent device server: what comes over TCP goes out on a
// serial line, here a pseudo terminal, and the other way round.
type gateway struct {
	address string
	// tty is the path of the serial line's other end.
	tty string
}

func newGateway(t *testing.T) gateway {
	t.Helper()
	line, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	require.NoError(t, err)
	raw, err := line.SyscallConn()
	require.NoError(t, err)
	var number int
	var failed error
	require.NoError(t, raw.Control(func(fd uintptr) {
		if failed = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); failed == nil {
			number, failed = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	}))
	require.NoError(t, failed)
	tty := "/dev/pts/" + strconv.Itoa(number)
	// A line that nobody holds open on the far side reads as if it were cut.
	far, err := os.OpenFile(tty, os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var work sync.WaitGroup
	var mu sync.Mutex
	var client net.Conn
	work.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			if client != nil {
				_ = client.Close() // as device servers do: the last one counts
			}
			client = conn
			mu.Unlock()
			work.Go(func() { _, _ = io.Copy(line, conn) })
		}
	})
	work.Go(func() {
		buffer := make([]byte, 512)
		for {
			n, err := line.Read(buffer)
			if err != nil {
				return
			}
			mu.Lock()
			if client != nil {
				_, _ = client.Write(buffer[:n])
			}
			mu.Unlock()
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		mu.Lock()
		if client != nil {
			_ = client.Close()
		}
		mu.Unlock()
		_ = line.Close()
		_ = far.Close()
		work.Wait()
	})
	return gateway{listener.Addr().String(), tty}
}
