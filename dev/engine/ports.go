package engine

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

const loopback = "127.0.0.1"

// reservation holds ports until the server, which opens its listeners by
// itself, is about to take them. All are held at once, so that they differ.
type reservation struct {
	ports     ports
	listeners []net.Listener
}

func reservePorts(frontendAddr string) (*reservation, error) {
	host, _, err := splitLoopback("Temporal", frontendAddr)
	if err != nil {
		return nil, err
	}
	r := &reservation{ports: ports{frontendHost: host}}
	frontend, err := listen("Temporal", frontendAddr, "--temporal-port")
	if err != nil {
		return nil, err
	}
	r.hold(frontend, &r.ports.frontend)
	for _, port := range []*int{&r.ports.history, &r.ports.matching, &r.ports.worker} {
		l, err := net.Listen("tcp", net.JoinHostPort(loopback, "0"))
		if err != nil {
			r.release()
			return nil, fmt.Errorf("no free port on %s: %w", loopback, err)
		}
		r.hold(l, port)
	}
	return r, nil
}

func (r *reservation) hold(l net.Listener, port *int) {
	*port = l.Addr().(*net.TCPAddr).Port
	r.listeners = append(r.listeners, l)
}

func (r *reservation) release() {
	for _, l := range r.listeners {
		_ = l.Close()
	}
	r.listeners = nil
}

// listen opens a listener, or says in one line why not and what to do.
func listen(what, addr, flag string) (net.Listener, error) {
	host, port, err := splitLoopback(what, addr)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s address %s is taken by another program: stop that one, or choose another port (%s 0 means any free one)", what, addr, flag)
	}
	if err != nil {
		return nil, fmt.Errorf("%s address %s: %w", what, addr, err)
	}
	return l, nil
}
