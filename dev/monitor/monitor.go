package monitor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// portAttempts is how often a program that was given a free port is started
// again when somebody else took it in between.
const portAttempts = 3

// StartPrometheus returns when Prometheus is ready.
func StartPrometheus(ctx context.Context, o PrometheusOptions) (*Server, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	return launch(ctx, program{
		name: "prometheus", title: "Prometheus", common: o.Common,
		render: func(dir string) (string, error) {
			if err := writePage(dir); err != nil {
				return "", err
			}
			return renderPrometheus(dir, o)
		},
		arguments: func(config, data, addr string) []string {
			return []string{
				"--config.file=" + config,
				"--storage.tsdb.path=" + data,
				"--storage.tsdb.retention.time=7d",
				"--web.listen-address=" + addr,
				"--web.external-url=http://" + addr + "/",
			}
		},
	})
}

// StartAlertmanager returns when Alertmanager is ready.
func StartAlertmanager(ctx context.Context, o AlertmanagerOptions) (*Server, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	return launch(ctx, program{
		name: "alertmanager", title: "Alertmanager", common: o.Common,
		render: func(dir string) (string, error) { return renderAlertmanager(dir, o) },
		arguments: func(config, data, addr string) []string {
			return []string{
				"--config.file=" + config,
				"--storage.path=" + data,
				"--web.listen-address=" + addr,
				"--web.external-url=http://" + addr + "/",
				"--cluster.listen-address=", // one instance has nobody to gossip with
			}
		},
	})
}

// program is what differs between the two.
type program struct {
	name, title string
	common      Common
	// render writes the configuration below the folder and returns its path.
	render    func(dir string) (string, error)
	arguments func(config, data, addr string) []string
}

func launch(ctx context.Context, p program) (*Server, error) {
	if p.common.DataDir == "" {
		return nil, fmt.Errorf("%s needs a data folder", p.title)
	}
	// A taken port is told before a build of minutes.
	if _, err := p.freeAddr(); err != nil {
		return nil, err
	}
	file, err := p.common.resolve(ctx, p.name, p.title)
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(filepath.Join(p.common.DataDir, p.name))
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, fmt.Errorf("%s: folder for its data: %w", p.title, err)
	}
	config, err := p.render(dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.title, err)
	}
	for attempt := 1; ; attempt++ {
		addr, err := p.freeAddr()
		if err != nil {
			return nil, err
		}
		s, err := startServer(ctx, p, addr, file, p.arguments(config, data, addr), filepath.Join(dir, p.name+".log"))
		var early *EarlyExitError
		if err != nil && attempt < portAttempts && errors.As(err, &early) && early.portTaken() {
			continue
		}
		return s, err
	}
}

// freeAddr checks that the address is free, and chooses a port for port 0.
func (p program) freeAddr() (string, error) {
	host, portText, err := net.SplitHostPort(p.common.Addr)
	if err != nil {
		return "", fmt.Errorf("%s address %q is not host:port", p.title, p.common.Addr)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	// They authenticate nobody.
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return "", fmt.Errorf("%s address %q is not loopback: beside the dev stack it authenticates nobody, so use 127.0.0.1", p.title, p.common.Addr)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, portText))
	if errors.Is(err, syscall.EADDRINUSE) {
		return "", fmt.Errorf("%s address %s is taken by another program: stop that one, or choose another port (--%s-port 0 means any free one)", p.title, p.common.Addr, p.name)
	}
	if err != nil {
		return "", fmt.Errorf("%s address %s: %w", p.title, p.common.Addr, err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return "", err
	}
	return net.JoinHostPort(host, strconv.Itoa(port)), nil
}
