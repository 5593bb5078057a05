package sshhost

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/crypto/ssh"

	"edgefleet/devices"
)

// HostKey is a key that a host has proven to have.
type HostKey struct {
	// Type is "ssh-ed25519", "ecdsa-sha2-nistp256" or "ssh-rsa".
	Type string
	// Fingerprint is "SHA256:" and 43 characters, as ssh-keygen -lf shows it
	// and as a fleet file pins it.
	Fingerprint string
}

// Enrol asks a host for its host keys, of each type, without logging in: a
// person compares them with the device's own and pins them. ep.SSH need not be
// set. It takes one connection for each type of key, at most three.
func (d *Driver) Enrol(ctx context.Context, ep devices.Endpoint) ([]HostKey, error) {
	l := &link{ep: ep}
	const op = "ask for the host keys"
	if _, _, err := devices.SplitAddress(ep.Address); err != nil {
		return nil, l.fail(devices.Unsupported, op, err)
	}
	ctx, release := d.lines.Bind(ctx)
	defer release()
	if d.lines.Base().Err() != nil {
		return nil, l.verdict(op, &fault{err: ErrClosed})
	}
	var keys []HostKey
	for _, fam := range families() {
		h, f := d.lines.handshake(ctx, &ep, "edgefleet", nil, fam.algorithms, func(ssh.PublicKey) bool { return false })
		var none *ssh.AlgorithmNegotiationError
		switch {
		case f != nil && errors.Is(f.err, errSeen):
			keys = append(keys, HostKey{h.key.Type(), ssh.FingerprintSHA256(h.key)})
		case f != nil && errors.As(f.err, &none):
		case f != nil:
			return nil, l.verdict(op, f)
		}
	}
	if len(keys) == 0 {
		return nil, l.fail(devices.Unsupported, op, errors.New("the host has no key of a modern type; make one on it (ssh-keygen -A)"))
	}
	return keys, nil
}

// Fingerprints is Enrol without the types of the keys: the fingerprint of each
// host key, "SHA256:" and 43 characters, as devices.SSHSecurity.HostKeys has
// them. Any one of them, pinned, lets the driver in.
func (d *Driver) Fingerprints(ctx context.Context, ep devices.Endpoint) ([]string, error) {
	keys, err := d.Enrol(ctx, ep)
	if err != nil {
		return nil, err
	}
	out := make([]string, len(keys))
	for i, k := range keys {
		out[i] = k.Fingerprint
	}
	return out, nil
}

// Identification is what a host says it is. What it does not say is empty.
type Identification struct {
	// OS and OSVersion are ID and VERSION_ID of os-release(5).
	OS, OSVersion string
	// Kernel is the release, Arch the machine, as uname(1) has them.
	Kernel, Arch, Hostname string
	// MachineID is a hash of machine-id(5): equal hosts have equal ones.
	MachineID string
	// Agent is the first line that the version command printed.
	Agent string
}

// Identify asks a host what it is, in one command and, when version is not
// nil, one more.
func (d *Driver) Identify(ctx context.Context, ep devices.Endpoint, version *devices.HostCommand) (Identification, error) {
	opened, err := d.open(ep)
	if err != nil {
		return Identification{}, err
	}
	defer opened.Close()
	var points []devices.Point
	for _, fact := range devices.HostFacts() {
		points = append(points, devices.Point{Name: fact, Type: devices.String, Host: &devices.HostAddress{Kind: devices.HostFact, Key: fact}})
	}
	if version != nil {
		points = append(points, devices.Point{Name: "agent version", Type: devices.String, Host: &devices.HostAddress{Kind: devices.HostOutput, Command: version}})
	}
	values, err := opened.Read(ctx, points)
	if err != nil {
		return Identification{}, err
	}
	text := func(i int) string {
		if i < len(values) {
			return fmt.Sprint(values[i])
		}
		return ""
	}
	return Identification{OS: text(0), OSVersion: text(1), Kernel: text(2), Arch: text(3), Hostname: text(4), MachineID: text(5), Agent: text(6)}, nil
}
