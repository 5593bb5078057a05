package sshhost_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"edgefleet/devices"
	"edgefleet/devices/sshhost"
)

// peer takes connections and does with each what it is told to.
func peer(t *testing.T, behave func(conn net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var work sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	closed := false
	work.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			if closed {
				_ = conn.Close()
			}
			mu.Unlock()
			work.Go(func() {
				defer conn.Close()
				behave(conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		closed = true
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		work.Wait()
	})
	return l.Addr().String()
}

// hostile is an SSH server that lets anyone in.
type hostile struct {
	key    ssh.Signer
	config *ssh.ServerConfig
}

func newHostile(t *testing.T) *hostile {
	t.Helper()
	key, err := ssh.NewSignerFromSigner(newTestKey(t))
	require.NoError(t, err)
	h := &hostile{key: key, config: &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }}}
	h.config.AddHostKey(key)
	return h
}

// serve answers requests outside sessions, and hands each session over.
func (h *hostile) serve(session func(ssh.Channel, <-chan *ssh.Request)) func(net.Conn) {
	return func(conn net.Conn) {
		c, channels, requests, err := ssh.NewServerConn(conn, h.config)
		if err != nil {
			return
		}
		var work sync.WaitGroup
		work.Go(func() { ssh.DiscardRequests(requests) })
		for n := range channels {
			ch, reqs, err := n.Accept()
			if err != nil {
				continue
			}
			work.Go(func() { session(ch, reqs) })
		}
		_ = c.Close()
		work.Wait()
	}
}

func open(t *testing.T, address string, key ssh.Signer, o sshhost.Options) (devices.Link, *sshhost.Driver) {
	t.Helper()
	d := sshhost.New(o)
	t.Cleanup(d.Close)
	pin := "SHA256:" + strings.Repeat("A", 43)
	if key != nil {
		pin = ssh.FingerprintSHA256(key.PublicKey())
	}
	l, err := d.Open(t.Context(), devices.Endpoint{DeviceID: "gw-1", Address: address, ResponseTimeout: 300 * time.Millisecond,
		Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		SSH:     &devices.SSHSecurity{User: "edge", HostKeys: []string{pin}, Signer: newTestKey(t)}})
	require.NoError(t, err)
	t.Cleanup(l.Close)
	return l, d
}

// within fails when a call hangs.
func within(t *testing.T, call func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- call() }()
	select {
	case err := <-done:
		return err
	case <-time.After(5 * time.Second):
		t.Fatal("the call hangs")
		return nil
	}
}

func TestWhatAnswersInsteadOfSSH(t *testing.T) {
	silent := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	for name, c := range map[string]struct {
		behave func(net.Conn)
		kind   devices.Kind
		words  string
	}{
		"nothing":                   {silent, devices.Unreachable, "no SSH handshake within 300ms"},
		"a closed connection":       {func(net.Conn) {}, devices.Unreachable, "ended during the SSH handshake"},
		"a banner and then nothing": {func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-x\r\n"); silent(c) }, devices.Unreachable, "no SSH handshake"},
		"a banner and then the end": {func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-x\r\n") }, devices.Unreachable, "ended during"},
		"a server that is too busy": {func(c net.Conn) {
			_, _ = io.WriteString(c, "Exceeded MaxStartups\r\n")
			_ = c.(*net.TCPConn).CloseWrite()
			silent(c)
		}, devices.Busy, "Exceeded MaxStartups"},
		"garbage after the banner":       {func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-x\r\n"+strings.Repeat("\xff", 4096)); silent(c) }, devices.Rejected, "does not speak SSH"},
		"lines without an end":           {func(c net.Conn) { flood(c, "HTTP/1.1 400 Bad Request\r\n") }, devices.Rejected, "does not speak SSH"},
		"a line without an end":          {func(c net.Conn) { flood(c, "xxxxxxxxxxxxxxxx") }, devices.Rejected, "does not speak SSH"},
		"a dribble that extends nothing": {func(c net.Conn) { dribble(c) }, devices.Unreachable, "no SSH handshake within 300ms"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, d := open(t, peer(t, c.behave), nil, sshhost.Options{})
			for range 2 {
				err := within(t, func() error { return l.Ping(t.Context()) })
				require.Equal(t, c.kind, devices.KindOf(err), "%v", err)
				require.ErrorContains(t, err, c.words)
			}
			require.Zero(t, sshhost.Connections(d))
		})
	}
}

func flood(c net.Conn, text string) {
	for {
		if _, err := io.WriteString(c, text); err != nil {
			return
		}
	}
}

func dribble(c net.Conn) {
	for {
		if _, err := io.WriteString(c, "x\n"); err != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

var errPoint = devices.Point{Name: "p", Type: devices.String, Host: &devices.HostAddress{Kind: devices.HostFile, Path: "/etc/x"}}

func TestWhatAHostileServerDoesWithACommand(t *testing.T) {
	h := newHostile(t)
	accept := func(reqs <-chan *ssh.Request) {
		if r, ok := <-reqs; ok {
			_ = r.Reply(true, nil)
		}
		go ssh.DiscardRequests(reqs)
	}
	status := func(ch ssh.Channel, code byte) {
		_, _ = ch.SendRequest("exit-status", false, []byte{0, 0, 0, code})
		_ = ch.Close()
	}
	for name, c := range map[string]struct {
		session func(ssh.Channel, <-chan *ssh.Request)
		kind    devices.Kind
		words   string
	}{
		"prints without an end": {func(ch ssh.Channel, reqs <-chan *ssh.Request) {
			accept(reqs)
			for {
				if _, err := ch.Write(make([]byte, 4096)); err != nil {
					return
				}
			}
		}, devices.Rejected, "printed more than it may"},
		"complains without an end": {func(ch ssh.Channel, reqs <-chan *ssh.Request) {
			accept(reqs)
			for {
				if _, err := ch.Stderr().Write(make([]byte, 4096)); err != nil {
					return
				}
			}
		}, devices.Rejected, "printed more than it may"},
		"answers something else": {func(ch ssh.Channel, reqs <-chan *ssh.Request) {
			accept(reqs)
			_, _ = io.WriteString(ch, "This account is currently not available.\n")
			status(ch, 1)
		}, devices.Rejected, "it does not begin; the command ended with status 1: This account is currently not available."},
		"answers half": {func(ch ssh.Channel, reqs <-chan *ssh.Request) {
			accept(reqs)
			_, _ = io.WriteString(ch, "begin\n0 ok aGVsbG8w\n")
			status(ch, 0)
		}, devices.Rejected, "it does not end"},
		"answers another question": {func(ch ssh.Channel, reqs <-chan *ssh.Request) {
			accept(reqs)
			_, _ = io.WriteString(ch, "begin\n7 absent\nend\n")
			status(ch, 0)
		}, devices.Rejected, "the host did not answer it"},
		"refuses": {func(_ ssh.Channel, reqs <-chan *ssh.Request) {
			for r := range reqs {
				_ = r.Reply(false, nil)
			}
		}, devices.Rejected, "refuses to run"},
		"ends without a status": {func(ch ssh.Channel, reqs <-chan *ssh.Request) {
			accept(reqs)
			_ = ch.Close()
		}, devices.Unreachable, "the connection ended before the answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, d := open(t, peer(t, h.serve(c.session)), h.key, sshhost.Options{})
			for range 2 {
				err := within(t, func() error {
					_, err := l.Read(t.Context(), []devices.Point{errPoint})
					return err
				})
				require.Equal(t, c.kind, devices.KindOf(err), "%v", err)
				require.ErrorContains(t, err, c.words)
			}
			if c.words == "printed more than it may" {
				require.Zero(t, sshhost.Connections(d), "it goes on printing to nobody")
			}
			require.NoError(t, l.Ping(t.Context()), "the next call is served")
		})
	}
}

func TestALoginThatWantsMoreThanTheKeyIsRefused(t *testing.T) {
	h := newHostile(t)
	h.config.PublicKeyCallback = func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
		return nil, &ssh.PartialSuccessError{Next: ssh.ServerAuthCallbacks{PasswordCallback: func(ssh.ConnMetadata, []byte) (*ssh.Permissions, error) {
			return nil, errors.New("no")
		}}}
	}
	l, _ := open(t, peer(t, h.serve(nil)), h.key, sshhost.Options{})
	_, err := l.Read(t.Context(), []devices.Point{errPoint})
	require.Equal(t, devices.Auth, devices.KindOf(err), "%v", err)
}

func TestAConnectionThatLeadsNowhereIsFoundByItsKeepalive(t *testing.T) {
	h := newHostile(t)
	l, d := open(t, peer(t, func(conn net.Conn) {
		_, channels, requests, err := ssh.NewServerConn(conn, h.config)
		if err != nil {
			return
		}
		go func() {
			for c := range channels {
				_ = c.Reject(ssh.Prohibited, "later")
			}
		}()
		first := true
		for r := range requests {
			// The first ping is answered, and nothing after it.
			if first {
				_ = r.Reply(false, nil)
			}
			first = false
		}
	}), h.key, sshhost.Options{Keepalive: 30 * time.Millisecond, IdleClose: time.Hour})
	require.NoError(t, l.Ping(t.Context()))
	require.Eventually(t, func() bool { return sshhost.Connections(d) == 0 }, 5*time.Second, time.Millisecond)
}

func TestASessionThatIsRefusedIsBusy(t *testing.T) {
	h := newHostile(t)
	l, _ := open(t, peer(t, func(conn net.Conn) {
		_, channels, requests, err := ssh.NewServerConn(conn, h.config)
		if err != nil {
			return
		}
		go ssh.DiscardRequests(requests)
		for c := range channels {
			_ = c.Reject(ssh.ResourceShortage, "no more sessions")
		}
	}), h.key, sshhost.Options{})
	_, err := l.Read(t.Context(), []devices.Point{errPoint})
	require.Equal(t, devices.Busy, devices.KindOf(err), "%v", err)
}

func TestTheCallersEndDuringAHandshakeIsNoVerdict(t *testing.T) {
	l, _ := open(t, peer(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }), nil, sshhost.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	err := within(t, func() error { return l.Ping(ctx) })
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Empty(t, devices.KindOf(err))
}
