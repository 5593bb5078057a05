package sshhost

import (
	"context"
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"edgefleet/devices"
	"edgefleet/devices/pool"
)

// family is the algorithms of one type of host key. A host has at most one key
// of each, and shows the one of the algorithm that was agreed on.
type family struct {
	name       string
	algorithms []string
}

// families in the order of preference.
func families() []family {
	return []family{
		{"ed25519", []string{ssh.KeyAlgoED25519}},
		{"ecdsa", []string{ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521}},
		{"rsa", []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}},
	}
}

// modern leaves out what rests on SHA-1, and what is not authenticated
// encryption or encrypt-then-MAC.
func modern() ssh.Config {
	return ssh.Config{
		KeyExchanges: []string{ssh.KeyExchangeMLKEM768X25519, ssh.KeyExchangeCurve25519, ssh.KeyExchangeECDHP256,
			ssh.KeyExchangeECDHP384, ssh.KeyExchangeECDHP521, ssh.KeyExchangeDH16SHA512, ssh.KeyExchangeDH14SHA256},
		Ciphers: []string{ssh.CipherAES128GCM, ssh.CipherAES256GCM, ssh.CipherChaCha20Poly1305,
			ssh.CipherAES128CTR, ssh.CipherAES192CTR, ssh.CipherAES256CTR},
		MACs: []string{ssh.HMACSHA256ETM, ssh.HMACSHA512ETM},
	}
}

// newSigner restricts a private key to the signatures that are in order today.
func newSigner(key crypto.Signer) (ssh.Signer, error) {
	if k, ok := key.(*rsa.PrivateKey); ok && k.N.BitLen() < 2048 {
		return nil, fmt.Errorf("the RSA key has %d bits, 2048 is the least; make an ed25519 key", k.N.BitLen())
	}
	signer, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		return nil, fmt.Errorf("the private key cannot be used for SSH: %w", err)
	}
	if signer.PublicKey().Type() != ssh.KeyAlgoRSA {
		return signer, nil
	}
	algorithms, ok := signer.(ssh.AlgorithmSigner)
	if !ok {
		return nil, errors.New("the RSA key cannot sign with SHA-2")
	}
	return ssh.NewSignerWithAlgorithms(algorithms, []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256})
}

// errSeen ends a handshake whose host key was all that was wanted.
var errSeen = errors.New("the host key was seen")

// hello is what a handshake showed.
type hello struct {
	client *ssh.Client
	tcp    net.Conn
	key    ssh.PublicKey // proven by the host, also when err is errSeen
}

// handshake connects and shakes hands. Without auth it ends, with errSeen, once
// the host has proven that it has its key. Its error is a *fault.
func (p *lines) handshake(ctx context.Context, ep *devices.Endpoint, user string, auth []ssh.AuthMethod, algorithms []string, trusted func(ssh.PublicKey) bool) (hello, *fault) {
	tcp, err := p.opts.Dialer.Dial(ctx, *ep)
	if err != nil {
		return hello{}, dialFault(ctx, err)
	}
	timeout := response(ep)
	_ = tcp.SetDeadline(time.Now().Add(timeout))
	stop := context.AfterFunc(ctx, func() { _ = tcp.Close() })
	first := &greeting{Conn: tcp}
	var h hello
	config := &ssh.ClientConfig{
		Config: modern(), User: user, Auth: auth, HostKeyAlgorithms: algorithms,
		ClientVersion: "SSH-2.0-edgefleet",
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			h.key = key
			if !trusted(key) {
				return errSeen
			}
			return nil
		},
	}
	conn, channels, requests, err := ssh.NewClientConn(first, ep.Address, config)
	unspoilt := stop()
	if err == nil && unspoilt {
		_ = tcp.SetDeadline(time.Time{})
		h.client, h.tcp = ssh.NewClient(conn, channels, requests), tcp
		return h, nil
	}
	_ = tcp.Close()
	switch {
	case err == nil || ctx.Err() != nil:
		if err == nil {
			_ = ssh.NewClient(conn, channels, requests).Wait()
		}
		return h, &fault{err: fmt.Errorf("shaking hands: %w", pool.End(ctx))}
	case h.key != nil && errors.Is(err, errSeen):
		return h, &fault{kind: devices.Auth, err: errSeen}
	}
	return h, handshakeFault(err, first.text, h.key != nil && trusted(h.key), user, timeout)
}

// handshakeFault says what a failed handshake means. The host's identity is
// known when it has shown the pinned key.
func handshakeFault(err error, greeting string, known bool, user string, timeout time.Duration) *fault {
	var algorithms *ssh.AlgorithmNegotiationError
	var network net.Error
	busy := strings.HasPrefix(greeting, "Exceeded MaxStartups") || strings.HasPrefix(greeting, "Not allowed at this time")
	switch {
	case errors.As(err, &algorithms):
		return &fault{kind: devices.Unsupported, err: fmt.Errorf("the host has no algorithm in common with this program, which speaks only modern ones: %w", err)}
	case busy:
		return &fault{kind: devices.Busy, err: fmt.Errorf("the host takes no more log-ins now: %.80q", greeting)}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &fault{kind: devices.Unreachable, err: fmt.Errorf("no SSH handshake within %v: %w", timeout, err)}
	case known && strings.Contains(err.Error(), "unable to authenticate"):
		return &fault{kind: devices.Auth, refused: true, err: fmt.Errorf("the host does not let %s in with this key; put the public key into its authorized_keys: %w", user, err)}
	case known && strings.Contains(err.Error(), "disconnect, reason"):
		return &fault{kind: devices.Auth, refused: true, err: fmt.Errorf("the host ended the log-in of %s: %w", user, err)}
	case errors.As(err, &network) || cutOff(err):
		return &fault{kind: devices.Unreachable, err: fmt.Errorf("the connection ended during the SSH handshake: %w", err)}
	}
	return &fault{kind: devices.Rejected, err: fmt.Errorf("what answers does not speak SSH as it should: %w", err)}
}

// greeting notes the first line that the peer sends: an SSH server that is too
// busy says so there, in words.
type greeting struct {
	net.Conn
	text string
	full bool
}

func (g *greeting) Read(b []byte) (int, error) {
	n, err := g.Conn.Read(b)
	if !g.full {
		g.text += string(b[:n])
		if line, _, found := strings.Cut(g.text, "\n"); found || len(g.text) > 255 {
			g.text, g.full = strings.TrimSpace(line), true
		}
	}
	return n, err
}

// login connects to a host that has one of the pinned keys. Which of a host's
// keys is pinned is not known beforehand, so a mismatch is asked again for its
// other types of keys, each on a connection of its own, before it counts.
func (p *lines) login(ctx context.Context, ep *devices.Endpoint, signer ssh.Signer) (hello, *fault) {
	pins := ep.SSH.HostKeys
	trusted := func(k ssh.PublicKey) bool { return slices.Contains(pins, ssh.FingerprintSHA256(k)) }
	auth := []ssh.AuthMethod{ssh.PublicKeys(signer)}
	var all []string
	for _, f := range families() {
		all = append(all, f.algorithms...)
	}
	h, f := p.handshake(ctx, ep, ep.SSH.User, auth, all, trusted)
	if f == nil || !errors.Is(f.err, errSeen) {
		return h, f
	}
	shown := []string{describeKey(h.key)}
	for _, fam := range families() {
		if slices.Contains(fam.algorithms, h.key.Type()) || h.key.Type() == ssh.KeyAlgoRSA && fam.name == "rsa" {
			continue
		}
		other, f := p.handshake(ctx, ep, ep.SSH.User, auth, fam.algorithms, trusted)
		var none *ssh.AlgorithmNegotiationError
		switch {
		case f == nil:
			return other, nil
		case errors.Is(f.err, errSeen):
			shown = append(shown, describeKey(other.key))
		case !errors.As(f.err, &none):
			return other, f
		}
	}
	return hello{}, &fault{kind: devices.Auth, err: fmt.Errorf(
		"the host at %s shows the host key %s, and %s is pinned: it is another host, or its keys were made anew; compare on the device itself before the new fingerprint is pinned",
		ep.Address, strings.Join(shown, ", "), strings.Join(pins, ", "))}
}

func describeKey(k ssh.PublicKey) string { return ssh.FingerprintSHA256(k) + " (" + k.Type() + ")" }

// response is how long one answer may take.
func response(ep *devices.Endpoint) time.Duration {
	if ep.ResponseTimeout > 0 {
		return ep.ResponseTimeout
	}
	return DefaultResponseTimeout
}

// mayUse says whether an open connection leads where ep may go, to a host that
// ep trusts: another caller with other rules may have opened it.
func mayUse(c *conn, ep *devices.Endpoint, allowed func(netip.Addr, []netip.Prefix) bool) *fault {
	remote, err := netip.ParseAddrPort(c.tcp.RemoteAddr().String())
	if err != nil || !allowed(remote.Addr(), ep.Allowed) {
		return &fault{kind: devices.Auth, err: fmt.Errorf("%s is outside allowed_networks", c.tcp.RemoteAddr())}
	}
	if !slices.Contains(ep.SSH.HostKeys, ssh.FingerprintSHA256(c.hostKey)) {
		return &fault{kind: devices.Auth, err: fmt.Errorf("the host's key is %s, and %s is pinned", describeKey(c.hostKey), strings.Join(ep.SSH.HostKeys, ", "))}
	}
	return nil
}
