package opcua

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" // OPC UA names certificates by their SHA-1; it protects nothing here.
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/gopcua/opcua/ua"
	"github.com/gopcua/opcua/uapolicy"

	"edgefleet/devices"
)

// channelLifetime is how long we ask the server to keep a channel's keys. A
// channel is not renewed: before three quarters of what the server grants have
// passed, a fresh one takes its place.
const channelLifetime = time.Hour

// channel is a secure channel (OPC 10000-6, section 6.7). It does one request
// at a time, in the caller's goroutine.
type channel struct {
	wire
	policy string
	mode   ua.MessageSecurityMode
	// Ours and the server's; nil without security.
	cert   *x509.Certificate
	key    *rsa.PrivateKey
	server *x509.Certificate

	keys      *uapolicy.EncryptionAlgorithm // symmetric; nil without security
	id, token uint32
	replaceAt time.Time

	sequence, request uint32
	// heard is the number of the server's last chunk; hearing is false before
	// the first, which may have any number.
	heard   uint32
	hearing bool
}

func (c *channel) secure() bool { return c.policy != ua.SecurityPolicyURINone }

// open asks for a channel and derives its keys.
func (c *channel) open() error {
	nonce := []byte(nil)
	var asymmetric *uapolicy.EncryptionAlgorithm
	if c.secure() {
		remote, ok := c.server.PublicKey.(*rsa.PublicKey)
		if !ok {
			return doubt("the server's certificate has no RSA key")
		}
		var err error
		if asymmetric, err = uapolicy.Asymmetric(c.policy, c.key, remote); err != nil {
			return doubt("%v", err)
		}
		if nonce, err = asymmetric.MakeNonce(); err != nil {
			return err
		}
	}
	request := &ua.OpenSecureChannelRequest{
		RequestType:       ua.SecurityTokenRequestTypeIssue,
		SecurityMode:      c.mode,
		ClientNonce:       nonce,
		RequestedLifetime: uint32(channelLifetime / time.Millisecond),
	}
	body, err := c.encode(request, ua.NewTwoByteNodeID(0), 0)
	if err != nil {
		return err
	}
	chunk, err := seal(asymmetric, append(c.head("OPN", 'F'), c.openHeader()...), append(c.nextSequence(), body...), asymmetric != nil)
	if err != nil {
		return err
	}
	if err := c.send(chunk); err != nil {
		return err
	}
	r, err := c.readOpened(asymmetric)
	if err != nil {
		return err
	}
	return c.derive(r, nonce, asymmetric)
}

// derive takes the server's half of the keys out of its answer.
func (c *channel) derive(r *reader, nonce []byte, asymmetric *uapolicy.EncryptionAlgorithm) error {
	r.u32() // the server's version of the protocol
	id, token := r.u32(), r.u32()
	r.u64()
	lifetime := time.Duration(r.u32()) * time.Millisecond
	theirs := r.bytes()
	if r.err != nil {
		return r.err
	}
	if asymmetric != nil {
		if len(theirs) != asymmetric.NonceLength() {
			return doubt("the server's nonce has %d bytes, not %d", len(theirs), asymmetric.NonceLength())
		}
		keys, err := uapolicy.Symmetric(c.policy, nonce, theirs)
		if err != nil {
			return doubt("%v", err)
		}
		c.keys = keys
	}
	c.id, c.token = id, token
	c.replaceAt = time.Now().Add(min(lifetime, channelLifetime) * 3 / 4)
	return nil
}

// openHeader is the header of messages under the certificates.
func (c *channel) openHeader() []byte {
	buf := ua.NewBuffer(nil)
	buf.WriteString(c.policy)
	if c.secure() {
		digest := sha1.Sum(c.server.Raw)
		buf.WriteByteString(c.cert.Raw)
		buf.WriteByteString(digest[:])
	} else {
		buf.WriteByteString(nil)
		buf.WriteByteString(nil)
	}
	return buf.Bytes()
}

// readOpened reads the answer to open, and requires that it comes from the
// pinned certificate, under the policy that was asked for.
func (c *channel) readOpened(asymmetric *uapolicy.EncryptionAlgorithm) (*reader, error) {
	chunk, err := c.receive()
	if err != nil {
		return nil, err
	}
	if string(chunk[:4]) != "OPNF" || len(chunk) < channelHeader {
		return nil, wrong("the answer to the opening of the channel is %q", chunk[:4])
	}
	r := &reader{b: chunk[channelHeader:]}
	policy, sender, receiver := r.text(), r.bytes(), r.bytes()
	if r.err != nil {
		return nil, r.err
	}
	if policy != c.policy {
		return nil, doubt("the server answered under the policy %q, not %q", clip(policy), c.policy)
	}
	if c.secure() {
		digest := sha1.Sum(c.cert.Raw)
		// A chain begins with the certificate itself.
		if len(sender) < len(c.server.Raw) || !slices.Equal(sender[:len(c.server.Raw)], c.server.Raw) {
			return nil, doubt("the channel's certificate is not the one that was enrolled")
		}
		if !slices.Equal(receiver, digest[:]) {
			return nil, doubt("the server answered to another certificate than ours")
		}
	}
	plain, err := unseal(asymmetric, chunk, len(chunk)-len(r.b), asymmetric != nil)
	if err != nil {
		return nil, err
	}
	if err := c.checkSequence(plain); err != nil {
		return nil, err
	}
	return c.answer(plain[8:], &ua.OpenSecureChannelRequest{})
}

// exchange sends a request and returns its answer, behind the header.
func (c *channel) exchange(req ua.Request, session *ua.NodeID, hint time.Duration) (*reader, error) {
	body, err := c.encode(req, session, hint)
	if err != nil {
		return nil, err
	}
	if err := c.sendMessage("MSG", body); err != nil {
		return nil, err
	}
	message, err := c.receiveMessage()
	if err != nil {
		return nil, err
	}
	return c.answer(message, req)
}

// encode renders a request, whose header it makes.
func (c *channel) encode(req ua.Request, session *ua.NodeID, hint time.Duration) ([]byte, error) {
	c.request++
	req.SetHeader(&ua.RequestHeader{AuthenticationToken: session, Timestamp: time.Now(), RequestHandle: c.request, TimeoutHint: uint32(hint / time.Millisecond)})
	kind, err := ua.NewFourByteExpandedNodeID(0, ua.ServiceTypeID(req)).Encode()
	if err != nil {
		return nil, err
	}
	body, err := ua.Encode(req)
	if err != nil {
		return nil, &fault{kind: devices.Unsupported, err: fmt.Errorf("encoding the request: %w", err)}
	}
	return append(kind, body...), nil
}

// answer reads the header of an answer, which has to be that of req.
func (c *channel) answer(message []byte, req ua.Request) (*reader, error) {
	r := &reader{b: message}
	kind, _, _ := r.nodeID(true)
	if r.err == nil && kind.Namespace() != 0 {
		return nil, wrong("an answer of the type %s", kind)
	}
	h := r.header()
	switch {
	case r.err != nil:
		return nil, r.err
	case h.handle != c.request:
		return nil, wrong("the answer is to request %d, not %d", h.handle, c.request)
	case bad(h.result):
		return nil, &refused{status: h.result}
	case kind.IntID() != answerTo(req):
		return nil, wrong("an answer of the type %s, which does not belong to the request", kind)
	}
	return r, nil
}

// head is the header of a chunk, without its size.
func (c *channel) head(kind string, place byte) []byte {
	head := append([]byte(kind), place, 0, 0, 0, 0, 0, 0, 0, 0)
	binary.LittleEndian.PutUint32(head[8:], c.id)
	return head
}

// nextSequence is the sequence header of the next chunk of the request.
func (c *channel) nextSequence() []byte {
	c.sequence++
	b := binary.LittleEndian.AppendUint32(nil, c.sequence)
	return binary.LittleEndian.AppendUint32(b, c.request)
}

// symmetricRoom is the header of a chunk and of its token, the sequence
// header, a signature and a block of padding.
const symmetricRoom = channelHeader + 4 + 8 + 32 + 32

func (c *channel) sendMessage(kind string, body []byte) error {
	room := int(c.peerChunk) - symmetricRoom
	chunks := (len(body) + room - 1) / room
	if c.peerMessage > 0 && len(body) > int(c.peerMessage) || c.peerChunks > 0 && chunks > int(c.peerChunks) {
		return &refused{status: ua.StatusBadRequestTooLarge, reason: fmt.Sprintf("the request has %d bytes in %d chunks; the server takes %d bytes in %d chunks", len(body), chunks, c.peerMessage, c.peerChunks)}
	}
	for part := range slices.Chunk(body, room) {
		chunks--
		place := byte('F')
		if chunks > 0 {
			place = 'C'
		}
		head := binary.LittleEndian.AppendUint32(c.head(kind, place), c.token)
		chunk, err := seal(c.keys, head, append(c.nextSequence(), part...), c.mode == ua.MessageSecurityModeSignAndEncrypt)
		if err != nil {
			return err
		}
		if err := c.send(chunk); err != nil {
			return err
		}
	}
	return nil
}

// receiveMessage joins the chunks of one message.
func (c *channel) receiveMessage() ([]byte, error) {
	var message []byte
	for range maxChunks {
		chunk, err := c.receive()
		if err != nil {
			return nil, err
		}
		r := &reader{b: chunk[chunkHeader:]}
		if id, token := r.u32(), r.u32(); r.err != nil || string(chunk[:3]) != "MSG" || id != c.id || token != c.token {
			return nil, wrong("a chunk %q of channel %d and token %d: want MSG of %d and %d", chunk[:4], id, token, c.id, c.token)
		}
		plain, err := unseal(c.keys, chunk, channelHeader+4, c.mode == ua.MessageSecurityModeSignAndEncrypt)
		if err != nil {
			return nil, err
		}
		if err := c.checkSequence(plain); err != nil {
			return nil, err
		}
		switch place := chunk[3]; place {
		case 'A':
			r := &reader{b: plain[8:]}
			no := &refused{status: r.status(), reason: clip(r.text())}
			if r.err != nil || !bad(no.status) {
				return nil, wrong("an abort without a reason")
			}
			return nil, no
		case 'C', 'F':
			if len(message)+len(plain)-8 > maxMessage {
				return nil, wrong("a message of more than %d bytes", maxMessage)
			}
			message = append(message, plain[8:]...)
			if place == 'F' {
				return message, nil
			}
		default:
			return nil, wrong("a chunk with the place %q", place)
		}
	}
	return nil, wrong("a message of more than %d chunks", maxChunks)
}

// checkSequence requires that no chunk was repeated, left out or put in, and
// that it belongs to the request under way.
func (c *channel) checkSequence(plain []byte) error {
	if len(plain) < 8 {
		return wrong("a chunk without a sequence header")
	}
	number, request := binary.LittleEndian.Uint32(plain), binary.LittleEndian.Uint32(plain[4:])
	// Near its end the numbering begins again, below 1024.
	wrapped := c.heard > 0xFFFFFFFF-1024 && number < 1024
	if c.hearing && number != c.heard+1 && !wrapped {
		return wrong("chunk %d follows chunk %d", number, c.heard)
	}
	c.heard, c.hearing = number, true
	if request != c.request {
		return wrong("the answer is to request %d, not %d", request, c.request)
	}
	return nil
}

// newNonce is what a session's signatures cover.
func newNonce() ([]byte, error) {
	nonce := make([]byte, 32)
	_, err := rand.Read(nonce)
	return nonce, err
}
