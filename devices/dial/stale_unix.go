//go:build unix

package dial

import (
	"net"
	"syscall"
	"time"
)

// Stale says that an idle connection cannot be used: the peer has closed it,
// or has sent something that nobody asked for. It reads without waiting, so
// that a write on a line that is already gone is found out before it is sent.
func Stale(conn net.Conn) bool {
	holder, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := holder.SyscallConn()
	if err != nil || conn.SetReadDeadline(time.Time{}) != nil {
		return true
	}
	var buf [1]byte
	var errRead error
	err = raw.Read(func(fd uintptr) bool {
		_, errRead = syscall.Read(int(fd), buf[:])
		return true
	})
	return err != nil || errRead != syscall.EAGAIN && errRead != syscall.EWOULDBLOCK
}
