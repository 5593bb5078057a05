package sshsim

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"
)

const (
	// handshakeTimeout is how long a client may take to log in.
	handshakeTimeout = 20 * time.Second
	// maxSessions is how many sessions one connection may have at a time.
	maxSessions = 10
)

// config is the configuration of the server for one connection.
func (d *Device) config() *ssh.ServerConfig {
	c := &ssh.ServerConfig{
		ServerVersion:     "SSH-2.0-OpenSSH_9.2p1",
		PublicKeyCallback: d.authorize,
		MaxAuthTries:      6,
	}
	c.AddHostKey(d.hostKey)
	return c
}

// authorize looks for the key in the user's file.
func (d *Device) authorize(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	refused := errors.New("this key does not log in")
	if meta.User() != d.cfg.User {
		return nil, refused
	}
	d.host.mu.Lock()
	rest := d.host.must("/home/" + d.cfg.User + "/.ssh/authorized_keys")
	d.host.mu.Unlock()
	for len(rest) > 0 {
		var allowed ssh.PublicKey
		var err error
		if allowed, _, _, rest, err = ssh.ParseAuthorizedKey(rest); err != nil {
			break
		}
		if bytes.Equal(allowed.Marshal(), key.Marshal()) {
			return nil, nil
		}
	}
	return nil, refused
}

// serve speaks to one client.
func (d *Device) serve(ctx context.Context, tcp net.Conn) {
	select {
	case <-d.ready:
	case <-ctx.Done():
		return
	}
	if !d.body.Pause(ctx) || tcp.SetDeadline(time.Now().Add(handshakeTimeout)) != nil {
		return
	}
	conn, channels, requests, err := ssh.NewServerConn(tcp, d.config())
	if err != nil {
		d.cfg.Logger.Debug("a client has not logged in", zap.String("device", d.cfg.ID), zap.Error(err))
		return
	}
	if tcp.SetDeadline(time.Time{}) != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	defer func() { _ = conn.Close() }()
	work.Go(func() { ssh.DiscardRequests(requests) })
	places := make(chan struct{}, maxSessions)
	for request := range channels {
		if request.ChannelType() != "session" {
			_ = request.Reject(ssh.UnknownChannelType, "only sessions")
			continue
		}
		select {
		case places <- struct{}{}:
		default:
			_ = request.Reject(ssh.ResourceShortage, "no more sessions")
			continue
		}
		channel, orders, err := request.Accept()
		if err != nil {
			return
		}
		work.Go(func() {
			d.session(ctx, channel, orders)
			<-places
		})
	}
}

// session serves one session: a command, or the file transfer.
func (d *Device) session(ctx context.Context, channel ssh.Channel, orders <-chan *ssh.Request) {
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	defer func() { _ = channel.Close() }()
	for order := range orders {
		var payload struct{ Text string }
		line := ""
		switch order.Type {
		case "exec":
			if ssh.Unmarshal(order.Payload, &payload) == nil {
				line = payload.Text
			}
		case "subsystem":
			if ssh.Unmarshal(order.Payload, &payload) == nil && payload.Text == "sftp" {
				line = "exec " + sftpServer
			}
		}
		if line == "" {
			reply(order, false)
			continue
		}
		reply(order, true)
		// A client that leaves ends what it has begun.
		work.Go(func() {
			ssh.DiscardRequests(orders)
			cancel()
		})
		d.run(ctx, channel, line)
		return
	}
}

func reply(r *ssh.Request, ok bool) {
	if r.WantReply {
		// A client that has left needs none.
		_ = r.Reply(ok, nil)
	}
}

// run runs a command line with the rights of the log-in, and says how it
// ended.
func (d *Device) run(ctx context.Context, channel ssh.Channel, line string) {
	if !d.body.Pause(ctx) {
		return
	}
	stdin, done, err := pipeFrom(channel)
	if err != nil {
		d.cfg.Logger.Warn("a simulated command has no input", zap.String("device", d.cfg.ID), zap.Error(err))
		return
	}
	// A program that waits for input ends with its session.
	stop := context.AfterFunc(ctx, done)
	p := &process{ctx: ctx, who: d.host.login(), stdin: stdin, stdout: &locked{w: channel}, stderr: &locked{w: channel.Stderr()},
		env: map[string]string{"PATH": defaultPath, "HOME": "/home/" + d.cfg.User, "USER": d.cfg.User}}
	status := d.host.script(p, line)
	if stop() {
		done()
	}
	_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(status)}))
}

// locked lets several programs of a script write to one stream.
type locked struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

// authorizedKeys renders the keys as their file has them.
func authorizedKeys(keys []ssh.PublicKey) string {
	lines := make([]string, 0, len(keys))
	for _, k := range keys {
		lines = append(lines, string(ssh.MarshalAuthorizedKey(k)))
	}
	return strings.Join(lines, "")
}
