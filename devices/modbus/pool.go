package modbus

import (
	"time"

	"golang.org/x/sync/semaphore"

	"edgefleet/devices/dial"
	"edgefleet/devices/pool"
)

// ErrClosed is in the chain of the error of every call on a link or a driver
// that was closed. It has no kind: it says nothing about the device.
var ErrClosed = pool.ErrClosed

// lines holds one line for each endpoint address.
type lines struct {
	*pool.Pool[*line]
	dialer    dial.Dialer
	idleClose time.Duration
}

func newLines(dialer dial.Dialer, maxConnections int, idleClose time.Duration) *lines {
	return &lines{Pool: pool.New[*line](maxConnections), dialer: dialer, idleClose: idleClose}
}

// get returns a hold on the line of an address.
func (p *lines) get(address string) (*pool.Hold[*line], error) {
	key := pool.AddressKey(address)
	return p.Open(key, func() *line { return &line{key: key, pool: p, turn: semaphore.NewWeighted(1)} })
}
