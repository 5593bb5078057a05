package monitor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"time"

	"edgefleet/dev/tools/toolchain"
)

// Where a program comes from, beside the path of a file.
const (
	// FromBuild is bin/ of the repository, built from dev/tools when missing.
	FromBuild = "build"
	// FromPath is the one in PATH.
	FromPath = "path"
)

// Common is what both programs need to know.
type Common struct {
	// DataDir is the folder for configuration, storage and log.
	DataDir string
	// Program is FromBuild (the default), FromPath, or a file.
	Program string
	// Addr is the loopback host:port to listen on. Port 0 means any free one,
	// which Addr of the Server tells.
	Addr string
	// StartTimeout bounds the way to readiness, without a build; default 60 s.
	// StopTimeout is how long the program may take to end before it is
	// killed; default 10 s.
	StartTimeout, StopTimeout time.Duration
	// Progress gets a line when something is built; default nothing.
	Progress io.Writer
}

// PrometheusOptions says what Prometheus scrapes, how often, and whom it tells.
type PrometheusOptions struct {
	Common
	// WorkerAddr, BridgeAddr and AlertmanagerAddr are host:port.
	WorkerAddr, BridgeAddr, AlertmanagerAddr string
	// ScrapeInterval is also how often rules are evaluated; default 1 s.
	ScrapeInterval time.Duration
	// Pending is how long a device's condition has to hold before its alert
	// fires; default 3 s. Alerts on edgefleet's own programs take a third of
	// it, since they have to come first.
	Pending time.Duration
}

// AlertmanagerOptions says whom Alertmanager tells, and how fast.
type AlertmanagerOptions struct {
	Common
	// BridgeURL is where the receiver edgefleet posts.
	BridgeURL string
	// GroupWait, GroupInterval and RepeatInterval hold for every route;
	// defaults 1 s, 2 s and 1 minute.
	GroupWait, GroupInterval, RepeatInterval time.Duration
	// MaxAlerts bounds a message to the bridge; 0 is what is shipped.
	MaxAlerts int
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (c *Common) setDefaults() {
	setDefault(&c.Program, FromBuild)
	setDefault(&c.StartTimeout, time.Minute)
	setDefault(&c.StopTimeout, 10*time.Second)
	if c.Progress == nil {
		c.Progress = io.Discard
	}
}

func (o PrometheusOptions) withDefaults() PrometheusOptions {
	o.setDefaults()
	setDefault(&o.Addr, "127.0.0.1:9090")
	setDefault(&o.ScrapeInterval, time.Second)
	setDefault(&o.Pending, 3*time.Second)
	return o
}

func (o PrometheusOptions) validate() error {
	for _, peer := range []struct{ name, addr string }{
		{"worker", o.WorkerAddr}, {"bridge", o.BridgeAddr}, {"Alertmanager", o.AlertmanagerAddr},
	} {
		if peer.addr == "" {
			return fmt.Errorf("no address of the %s is given for Prometheus", peer.name)
		}
	}
	if o.ScrapeInterval < 100*time.Millisecond {
		return fmt.Errorf("a scrape interval of %s is too short: 100ms is the least", o.ScrapeInterval)
	}
	return nil
}

// pending is the `for` of an alert. Alerts on edgefleet itself fire before the
// ones that they inhibit; those on the service discovery and the queues have to
// wait until a start is over, and those on what lasts.
func (o PrometheusOptions) pending(alert string) time.Duration {
	switch alert {
	case "EdgeWorkerDown", "EdgeWorkerBlind", "EdgeSiteOffline", "EdgeAlertBridgeDown":
		return o.Pending / 3
	case "EdgeFleetUnwatched", "EdgeWorkersMissing", "EdgeQueueUnserved", "EdgeDriftStanding":
		return 10 * o.Pending
	default:
		return o.Pending
	}
}

func (o AlertmanagerOptions) withDefaults() AlertmanagerOptions {
	o.setDefaults()
	setDefault(&o.Addr, "127.0.0.1:9093")
	setDefault(&o.GroupWait, time.Second)
	setDefault(&o.GroupInterval, 2*time.Second)
	setDefault(&o.RepeatInterval, time.Minute)
	return o
}

func (o AlertmanagerOptions) validate() error {
	if o.BridgeURL == "" {
		return errors.New("no URL of the bridge is given for Alertmanager")
	}
	return nil
}

// resolve finds the program, building it when that is asked for.
func (c Common) resolve(ctx context.Context, name, title string) (string, error) {
	switch c.Program {
	case FromBuild:
		root, err := toolchain.Root(".")
		if err != nil {
			return "", fmt.Errorf("%s can't be built: %w (--%s FILE, or --%s path)", title, err, name, name)
		}
		return toolchain.Ensure(ctx, root, name, c.Progress)
	case FromPath:
		found, err := exec.LookPath(name)
		if err != nil {
			return "", fmt.Errorf("%s is not in PATH: install it, or let it be built with --%s build, or go without with --no-monitoring", title, name)
		}
		return filepath.Abs(found)
	default:
		found, err := exec.LookPath(c.Program)
		if err != nil {
			return "", fmt.Errorf("%s at %s can't be run (%w): --%s takes build, path or a file", title, c.Program, err, name)
		}
		return filepath.Abs(found)
	}
}
