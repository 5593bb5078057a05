package engine

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"go.uber.org/zap"

	"edgefleet/workflows/contract"
)

// Options says where the engine keeps its state and where it listens. The
// zero value of every field but DataDir means its default.
type Options struct {
	// DataDir is the folder of the database. It is created when it doesn't
	// exist, and belongs to one engine at a time.
	DataDir string
	// FrontendAddr is the loopback host:port for Temporal clients; default
	// 127.0.0.1:7233. Port 0 means any free port, which Addr tells.
	FrontendAddr string
	// UIAddr is the loopback host:port of the Web UI; default 127.0.0.1:8233,
	// port 0 as above.
	UIAddr string
	// NoUI starts no Web UI.
	NoUI bool
	// Namespace is created when it doesn't exist; default "default".
	Namespace string
	// Retention is how long a closed workflow stays; default 7 days, at least
	// one. It counts when the namespace is created.
	Retention time.Duration
	// SearchAttributes are created in the namespace, all of type Keyword;
	// default contract.SearchAttributes().
	SearchAttributes []string
	// StartTimeout bounds Start; default 60 s. StopTimeout bounds Stop;
	// default 20 s.
	StartTimeout, StopTimeout time.Duration
	// Logger gets what the engine says, and what the server says at warning
	// level or above; default none.
	Logger *zap.Logger
}

// minRetention is the least that Temporal accepts.
const minRetention = 24 * time.Hour

func (o Options) withDefaults() Options {
	setDefault(&o.FrontendAddr, "127.0.0.1:7233")
	setDefault(&o.UIAddr, "127.0.0.1:8233")
	setDefault(&o.Namespace, "default")
	setDefault(&o.Retention, 7*24*time.Hour)
	setDefault(&o.StartTimeout, time.Minute)
	setDefault(&o.StopTimeout, 20*time.Second)
	setDefault(&o.Logger, zap.NewNop())
	if o.SearchAttributes == nil {
		o.SearchAttributes = contract.SearchAttributes()
	}
	return o
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (o Options) validate() error {
	if o.DataDir == "" {
		return errors.New("the engine needs a data folder: give one with --data-dir")
	}
	if _, _, err := splitLoopback("Temporal", o.FrontendAddr); err != nil {
		return err
	}
	if !o.NoUI {
		if _, _, err := splitLoopback("Web UI", o.UIAddr); err != nil {
			return err
		}
	}
	if o.Retention < minRetention {
		return fmt.Errorf("a retention of %s is too short: Temporal keeps closed workflows for at least %s", o.Retention, minRetention)
	}
	return nil
}

// splitLoopback parses the address of a listener. A name is refused, since it
// may resolve to something else than loopback.
func splitLoopback(what, addr string) (host string, port int, err error) {
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("%s address %q is not host:port, such as 127.0.0.1:7233", what, addr)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	port, err = strconv.Atoi(portText)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("%s address %q: the port is a number from 0 to 65535, where 0 means any free one", what, addr)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return "", 0, fmt.Errorf("%s address %q is not loopback: the embedded engine authenticates nobody, so use 127.0.0.1 here, or a Temporal cluster", what, addr)
	}
	return host, port, nil
}
