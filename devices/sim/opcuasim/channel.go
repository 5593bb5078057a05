package opcuasim

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/sha1" // OPC UA names certificates by their SHA-1; it protects nothing here.
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/gopcua/opcua/ua"
	"github.com/gopcua/opcua/uacp"
	"github.com/gopcua/opcua/uapolicy"
)

// Sizes of chunks and messages (OPC 10000-6, section 7.1.2).
const (
	minBuffer  = 8192
	maxBuffer  = 65535
	maxMessage = 1 << 20
)

// idleTimeout is after how long without a message the server drops a client.
const idleTimeout = 2 * time.Minute

// maxLifetime is the longest that the keys of a channel are good for.
const maxLifetime = time.Hour

// message types and the places of chunks.
const (
	typeHello   = "HEL"
	typeOpen    = "OPN"
	typeMessage = "MSG"
	typeClose   = "CLO"

	final        = 'F'
	intermediate = 'C'
	abort        = 'A'
)

// keys are those of one security token.
type keys struct {
	token     uint32
	algorithm *uapolicy.EncryptionAlgorithm // nil without security
}

// channel is one client's connection, with its secure channel and session.
type channel struct {
	device *Device
	conn   net.Conn

	greeted bool
	// room is the largest chunk that the client takes.
	room int

	id     uint32
	opened bool
	policy string
	mode   ua.MessageSecurityMode
	client *x509.Certificate // nil without security
	// now are the keys in force, last the ones before a renewal, which are
	// good until the client uses the new ones.
	now, last keys

	sent, heard uint32
	hearing     bool

	session *session
}

func newChannel(d *Device, conn net.Conn) *channel {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.channels++
	return &channel{device: d, conn: conn, id: d.channels, room: minBuffer}
}

func (c *channel) secure() bool { return c.policy != ua.SecurityPolicyURINone }

// leave gives the place of the session back.
func (c *channel) leave() {
	if c.session != nil {
		c.session = nil
		c.device.mu.Lock()
		c.device.sessions--
		c.device.mu.Unlock()
	}
}

// refusal ends a connection with an error message.
type refusal struct {
	status ua.StatusCode
	reason string
}

func (r *refusal) Error() string { return fmt.Sprintf("%s: %v", r.reason, r.status) }

func refuse(status ua.StatusCode, format string, args ...any) error {
	return &refusal{status, fmt.Sprintf(format, args...)}
}

// run serves the client until it leaves, or does what is refused.
func (c *channel) run(ctx context.Context) error {
	for {
		err := c.next(ctx)
		var no *refusal
		switch {
		case errors.As(err, &no):
			// A client that has left needs no reason.
			_ = c.sendRaw("ERRF", &uacp.Error{ErrorCode: uint32(no.status), Reason: no.reason})
			return err
		case err != nil:
			return err
		}
	}
}

// next handles one message.
func (c *channel) next(ctx context.Context) error {
	kind, chunk, err := c.receive()
	if err != nil {
		return err
	}
	switch {
	case kind == typeHello && !c.greeted:
		return c.hello(chunk)
	case kind == typeOpen && c.greeted:
		return c.open(ctx, chunk)
	case kind == typeMessage && c.opened:
		request, body, err := c.assemble(chunk)
		if err != nil {
			return err
		}
		return c.handle(ctx, request, body)
	case kind == typeClose && c.opened:
		return io.EOF
	}
	return refuse(ua.StatusBadTCPMessageTypeInvalid, "%s is not expected now", kind)
}

// receive reads one chunk with its header.
func (c *channel) receive() (kind string, chunk []byte, err error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(idleTimeout)); err != nil {
		return "", nil, err
	}
	head := make([]byte, 8)
	if _, err := io.ReadFull(c.conn, head); err != nil {
		return "", nil, err
	}
	size := binary.LittleEndian.Uint32(head[4:])
	if size < 8 || size > maxBuffer {
		return "", nil, refuse(ua.StatusBadTCPMessageTooLarge, "a chunk of %d bytes", size)
	}
	chunk = append(head, make([]byte, size-8)...)
	_, err = io.ReadFull(c.conn, chunk[8:])
	return string(head[:3]), chunk, err
}

// sendRaw sends a message of the connection's own protocol.
func (c *channel) sendRaw(head string, message interface{ Encode() ([]byte, error) }) error {
	body, err := message.Encode()
	if err != nil {
		return err
	}
	out := binary.LittleEndian.AppendUint32([]byte(head), uint32(8+len(body)))
	_, err = c.conn.Write(append(out, body...))
	return err
}

func (c *channel) hello(chunk []byte) error {
	var greeting uacp.Hello
	if _, err := greeting.Decode(chunk[8:]); err != nil {
		return refuse(ua.StatusBadTCPInternalError, "the greeting cannot be read")
	}
	if greeting.ReceiveBufSize < minBuffer || greeting.SendBufSize < minBuffer {
		return refuse(ua.StatusBadConnectionRejected, "buffers of %d and %d bytes: want at least %d", greeting.ReceiveBufSize, greeting.SendBufSize, minBuffer)
	}
	c.greeted = true
	c.room = int(min(greeting.ReceiveBufSize, maxBuffer))
	return c.sendRaw("ACKF", &uacp.Acknowledge{
		ReceiveBufSize: maxBuffer, SendBufSize: uint32(c.room), MaxMessageSize: maxMessage, MaxChunkCount: maxMessage / minBuffer,
	})
}

// checkSequence requires that no chunk was repeated or left out.
func (c *channel) checkSequence(plain []byte) (request uint32, body []byte, err error) {
	if len(plain) < 8 {
		return 0, nil, refuse(ua.StatusBadDecodingError, "a chunk without a sequence header")
	}
	number := binary.LittleEndian.Uint32(plain)
	if c.hearing && number != c.heard+1 && number >= 1024 {
		return 0, nil, refuse(ua.StatusBadSequenceNumberInvalid, "chunk %d after chunk %d", number, c.heard)
	}
	c.heard, c.hearing = number, true
	return binary.LittleEndian.Uint32(plain[4:]), plain[8:], nil
}

// open issues or renews the keys of the channel (OPC 10000-6, section 6.7.4).
func (c *channel) open(ctx context.Context, chunk []byte) error {
	head := ua.NewBuffer(chunk[8:])
	channelID := head.ReadUint32()
	policy, sender, receiver := head.ReadString(), head.ReadBytes(), head.ReadBytes()
	if head.Error() != nil {
		return refuse(ua.StatusBadDecodingError, "the header of the opening cannot be read")
	}
	if c.opened && (channelID != c.id || policy != c.policy) {
		return refuse(ua.StatusBadSecureChannelIDInvalid, "the channel is not the one that is open")
	}
	asymmetric, client, err := c.asymmetric(policy, sender, receiver)
	if err != nil {
		return err
	}
	plain, err := openSealed(asymmetric, chunk, 8+head.Pos(), true)
	if err != nil {
		return refuse(ua.StatusBadSecurityChecksFailed, "the opening cannot be verified")
	}
	request, body, err := c.checkSequence(plain)
	if err != nil {
		return err
	}
	_, message, err := ua.DecodeService(body)
	q, ok := message.(*ua.OpenSecureChannelRequest)
	if err != nil || !ok {
		return refuse(ua.StatusBadDecodingError, "the opening is none")
	}
	if renewal := q.RequestType == ua.SecurityTokenRequestTypeRenew; renewal != c.opened || c.opened && q.SecurityMode != c.mode {
		return refuse(ua.StatusBadRequestTypeInvalid, "the channel is opened twice, or not at all")
	}
	if want := modeOf(policy); q.SecurityMode != want {
		return refuse(ua.StatusBadSecurityModeRejected, "the policy is served in mode %d only", want)
	}
	fresh := keys{token: c.now.token + 1}
	var nonce []byte
	if asymmetric != nil {
		if len(q.ClientNonce) != asymmetric.NonceLength() {
			return refuse(ua.StatusBadNonceInvalid, "a nonce of %d bytes", len(q.ClientNonce))
		}
		if nonce, err = asymmetric.MakeNonce(); err != nil {
			return err
		}
		// The server's side of the keys: what it sends is made of its nonce.
		if fresh.algorithm, err = uapolicy.Symmetric(policy, nonce, q.ClientNonce); err != nil {
			return err
		}
	}
	lifetime := min(time.Duration(q.RequestedLifetime)*time.Millisecond, maxLifetime)
	if !c.device.body.Pause(ctx) {
		return ctx.Err()
	}
	c.policy, c.mode, c.client, c.opened = policy, q.SecurityMode, client, true
	answer := &ua.OpenSecureChannelResponse{ResponseHeader: header(q.RequestHeader, ua.StatusOK), ServerNonce: nonce,
		SecurityToken: &ua.ChannelSecurityToken{ChannelID: c.id, TokenID: fresh.token, CreatedAt: time.Now(), RevisedLifetime: uint32(lifetime / time.Millisecond)}}
	if err := c.sendOpened(asymmetric, request, answer); err != nil {
		return err
	}
	c.last, c.now = c.now, fresh
	return nil
}

// asymmetric is what the certificates of both sides make of a policy.
func (c *channel) asymmetric(policy string, sender, receiver []byte) (*uapolicy.EncryptionAlgorithm, *x509.Certificate, error) {
	if policy == ua.SecurityPolicyURINone {
		return nil, nil, nil
	}
	if !slices.Contains(policies(), policy) {
		return nil, nil, refuse(ua.StatusBadSecurityPolicyRejected, "the policy is not served")
	}
	ours := sha1.Sum(c.device.cfg.Identity.Certificate.Raw)
	if !bytes.Equal(receiver, ours[:]) {
		return nil, nil, refuse(ua.StatusBadCertificateInvalid, "the opening is for another server")
	}
	chain, err := x509.ParseCertificates(sender)
	if err != nil || len(chain) == 0 {
		return nil, nil, refuse(ua.StatusBadCertificateInvalid, "the client's certificate cannot be read")
	}
	client := chain[0]
	key, ok := client.PublicKey.(*rsa.PublicKey)
	now := time.Now()
	switch {
	case !ok:
		return nil, nil, refuse(ua.StatusBadCertificateInvalid, "the client's certificate has no RSA key")
	case now.Before(client.NotBefore) || now.After(client.NotAfter):
		return nil, nil, refuse(ua.StatusBadCertificateTimeInvalid, "the client's certificate is not valid now")
	case c.opened && c.client != nil && !client.Equal(c.client):
		return nil, nil, refuse(ua.StatusBadCertificateInvalid, "the certificate is not the channel's")
	case len(c.device.cfg.Trusted) > 0 && !slices.ContainsFunc(c.device.cfg.Trusted, client.Equal):
		return nil, nil, refuse(ua.StatusBadSecurityChecksFailed, "the client's certificate is not trusted")
	}
	algorithm, err := uapolicy.Asymmetric(policy, c.device.cfg.Identity.Key, key)
	if err != nil {
		return nil, nil, refuse(ua.StatusBadSecurityPolicyRejected, "%v", err)
	}
	return algorithm, client, nil
}

// sendOpened answers under the certificates.
func (c *channel) sendOpened(asymmetric *uapolicy.EncryptionAlgorithm, request uint32, answer ua.Response) error {
	head := ua.NewBuffer(nil)
	head.WriteUint32(c.id)
	head.WriteString(c.policy)
	if asymmetric == nil {
		head.WriteByteString(nil)
		head.WriteByteString(nil)
	} else {
		theirs := sha1.Sum(c.client.Raw)
		head.WriteByteString(c.device.cfg.Identity.Certificate.Raw)
		head.WriteByteString(theirs[:])
	}
	body, err := encode(answer)
	if err != nil {
		return err
	}
	return c.sendChunk(asymmetric, typeOpen, final, head.Bytes(), request, body, true)
}
