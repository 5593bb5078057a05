package sshsim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// agentConfig is the configuration of the edge agent.
type agentConfig struct {
	Device string `yaml:"device"`
	// Site and Labels say where the device stands; the agent passes them on.
	Site   string            `yaml:"site"`
	Region string            `yaml:"region"`
	Labels map[string]string `yaml:"labels"`
	Agent  struct {
		Interval    int    `yaml:"interval"`
		BufferMB    int    `yaml:"buffer_mb"`
		Compression string `yaml:"compression"`
	} `yaml:"agent"`
	Uplink struct {
		Address   string `yaml:"address"`
		TLS       *bool  `yaml:"tls"`
		Keepalive int    `yaml:"keepalive"`
	} `yaml:"uplink"`
}

var deviceName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// validateConfig says what the agent does not take.
func validateConfig(text []byte) error {
	var c agentConfig
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&c); err != nil {
		if errors.Is(err, io.EOF) {
			return errors.New("the configuration is empty")
		}
		return err
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return errors.New("the configuration has a second document")
	}
	_, port, err := net.SplitHostPort(c.Uplink.Address)
	number, portErr := strconv.ParseUint(port, 10, 16)
	switch {
	case !deviceName.MatchString(c.Device):
		return fmt.Errorf("device %q is not a device's name", c.Device)
	case c.Agent.Interval < 1 || c.Agent.Interval > 3600:
		return fmt.Errorf("agent.interval %d is not within 1 to 3600 seconds", c.Agent.Interval)
	case c.Agent.BufferMB < 1 || c.Agent.BufferMB > 1024:
		return fmt.Errorf("agent.buffer_mb %d is not within 1 to 1024", c.Agent.BufferMB)
	case c.Agent.Compression != "gzip" && c.Agent.Compression != "none":
		return fmt.Errorf("agent.compression %q is neither gzip nor none", c.Agent.Compression)
	case err != nil || portErr != nil || number == 0:
		return fmt.Errorf("uplink.address %q is not host:port", c.Uplink.Address)
	case c.Uplink.TLS == nil:
		return errors.New("uplink.tls is missing")
	case c.Uplink.Keepalive < 5 || c.Uplink.Keepalive > 600:
		return fmt.Errorf("uplink.keepalive %d is not within 5 to 600 seconds", c.Uplink.Keepalive)
	}
	return nil
}

// edgeValidate is /usr/local/bin/edge-validate --config FILE.
func (h *host) edgeValidate(p *process) int {
	if len(p.args) != 3 || p.args[1] != "--config" {
		return p.fail(64, "usage: edge-validate --config FILE")
	}
	h.mu.Lock()
	text, err := h.fs.read(p.who, p.args[2])
	h.mu.Unlock()
	if err != nil {
		return p.fail(66, "edge-validate: %s: %s", p.args[2], strerror(err))
	}
	if err := validateConfig(text); err != nil {
		return p.fail(1, "edge-validate: %v", err)
	}
	p.print("the configuration is valid\n")
	return 0
}

// edgeAgent is /usr/local/bin/edge-agent --version.
func (h *host) edgeAgent(p *process) int {
	if len(p.args) != 2 || p.args[1] != "--version" {
		return p.fail(64, "usage: edge-agent --version")
	}
	h.mu.Lock()
	line, _, _ := strings.Cut(h.contentLocked(agentPackage), "\n")
	h.mu.Unlock()
	p.print("%s\n", line)
	return 0
}
