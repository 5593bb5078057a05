package bench

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// tap stands before a device and notes when the first byte for it arrives
// after it was armed: the packet that the measurement waits for.
type tap struct {
	listener net.Listener
	device   string

	mu    sync.Mutex
	first chan time.Time
	conns map[net.Conn]struct{}
	done  sync.WaitGroup
}

func newTap(device string) (*tap, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	t := &tap{listener: l, device: device, conns: map[net.Conn]struct{}{}}
	t.done.Go(t.accept)
	return t, nil
}

func (t *tap) addr() string { return t.listener.Addr().String() }

// arm returns where the time of the next first byte arrives.
func (t *tap) arm() <-chan time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.first = make(chan time.Time, 1)
	return t.first
}

func (t *tap) heard() {
	at := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.first != nil {
		t.first <- at
		t.first = nil
	}
}

func (t *tap) accept() {
	for {
		client, err := t.listener.Accept()
		if err != nil {
			return
		}
		device, err := net.Dial("tcp4", t.device)
		if err != nil {
			client.Close()
			continue
		}
		t.keep(client, device)
		t.done.Go(func() { t.pass(device, client, t.heard) })
		t.done.Go(func() { t.pass(client, device, func() {}) })
	}
}

func (t *tap) keep(conns ...net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range conns {
		t.conns[c] = struct{}{}
	}
}

// pass copies until one side ends, and then ends both.
func (t *tap) pass(to, from net.Conn, heard func()) {
	buf := make([]byte, 4<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			heard()
			if _, werr := to.Write(buf[:n]); werr != nil {
				err = werr
			}
		}
		if err != nil {
			break
		}
	}
	for _, c := range []net.Conn{to, from} {
		if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.EOF) {
			return
		}
		t.mu.Lock()
		delete(t.conns, c)
		t.mu.Unlock()
	}
}

func (t *tap) close() {
	t.listener.Close()
	t.mu.Lock()
	for c := range t.conns {
		c.Close()
	}
	t.mu.Unlock()
	t.done.Wait()
}
