package opcua

import (
	"crypto/sha256"
	"fmt"

	"golang.org/x/sync/semaphore"

	"edgefleet/devices/pool"
)

// ErrClosed is in the chain of the error of every call on a link or a driver
// that was closed. It has no kind: it says nothing about the device.
var ErrClosed = pool.ErrClosed

// lines holds one line for each endpoint address and identity.
type lines struct {
	*pool.Pool[*line]
	options Options
}

func newLines(o Options) *lines {
	return &lines{Pool: pool.New[*line](o.MaxConnections), options: o}
}

// get returns a hold on the line of an address and identity.
func (p *lines) get(address string, sec *security) (*pool.Hold[*line], error) {
	key := lineKey(address, sec)
	return p.Open(key, func() *line { return &line{key: key, pool: p, sec: sec, turn: semaphore.NewWeighted(1)} })
}

// lineKey makes one of addresses that differ in case or in the writing of an
// IP address, and keeps identities apart. It holds no secret in the clear.
func lineKey(address string, sec *security) string {
	h := sha256.New()
	add := func(parts ...string) {
		for _, part := range parts {
			_, _ = fmt.Fprintf(h, "%d:%s,", len(part), part)
		}
	}
	add(pool.AddressKey(address), sec.policy, sec.Mode, fmt.Sprintf("%x", sec.pins), sec.ApplicationURI, sec.User, sec.Password, fmt.Sprint(sec.AllowPlaintext))
	if sec.ClientCert != nil {
		add("client", string(sec.ClientCert.Raw))
	}
	if sec.UserCert != nil {
		add("user", string(sec.UserCert.Raw))
	}
	return string(h.Sum(nil))
}
