package chassis

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// Face is what stands at the device's address. End takes it away: afterwards
// nothing listens there, its connections are cut, and no request that came
// through it can change the device.
type Face interface{ End() }

// server is a face that serves every connection in a goroutine of its own.
type server struct {
	listener net.Listener
	handle   func(context.Context, net.Conn)
	limit    int
	ctx      context.Context
	cancel   context.CancelFunc
	work     sync.WaitGroup
	mu       sync.Mutex
	conns    []net.Conn // oldest first
	ended    bool
}

// Listen returns a face that calls handle for every connection, up to so many
// at a time: the oldest one makes room for a new one. The face closes the
// connection when handle has returned. End ends the context, cuts the
// connections and waits until every handle has returned, so a handle must not
// call what darkens its own device.
func Listen(addr string, clients uint, handle func(context.Context, net.Conn)) (Face, error) {
	s := &server{handle: handle, limit: int(clients)}
	err := WhenFree(func() error {
		var err error
		s.listener, err = net.Listen("tcp4", addr)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.work.Go(s.accept)
	return s, nil
}

func (s *server) accept() {
	for {
		conn, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Out of file descriptors, or a client that left while it waited.
			time.Sleep(10 * time.Millisecond)
			continue
		}
		s.keep(conn)
	}
}

func (s *server) keep(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		_ = conn.Close()
		return
	}
	if len(s.conns) >= s.limit {
		_ = s.conns[0].Close()
		s.conns = s.conns[1:]
	}
	s.conns = append(s.conns, conn)
	s.work.Go(func() {
		s.handle(s.ctx, conn)
		_ = conn.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		for i, c := range s.conns {
			if c == conn {
				s.conns = append(s.conns[:i:i], s.conns[i+1:]...)
				break
			}
		}
	})
}

func (s *server) End() {
	_ = s.listener.Close()
	s.cancel()
	s.mu.Lock()
	s.ended = true
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.work.Wait()
}

// hung holds a connection open until the client leaves.
func hung(_ context.Context, conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

// reset ends a connection as a device does that has no time for it.
func reset(_ context.Context, conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // so that Close sends a reset
	}
}

// WhenFree calls listen until the address is free: the previous listener on
// it is closed for the kernel only when its accept loop has let go of it.
func WhenFree(listen func() error) error {
	const patience = 3 * time.Second
	giveUp := time.Now().Add(patience)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		err := listen()
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(giveUp) {
			return err
		}
		time.Sleep(pause)
	}
}
