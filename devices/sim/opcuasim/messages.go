package opcuasim

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/gopcua/opcua/ua"
	"github.com/gopcua/opcua/uapolicy"
)

// assemble joins the chunks of one message.
func (c *channel) assemble(chunk []byte) (request uint32, message []byte, err error) {
	for kind := typeMessage; ; kind, chunk, err = c.receive() {
		if err != nil {
			return 0, nil, err
		}
		if kind != typeMessage || len(chunk) < 16 || binary.LittleEndian.Uint32(chunk[8:]) != c.id {
			return 0, nil, refuse(ua.StatusBadSecureChannelIDInvalid, "a chunk of another channel")
		}
		token := binary.LittleEndian.Uint32(chunk[12:])
		k := c.now
		if token == c.last.token && c.last.token != 0 {
			k = c.last
		} else if token != c.now.token {
			return 0, nil, refuse(ua.StatusBadSecureChannelTokenUnknown, "a chunk of another token")
		} else {
			c.last = keys{}
		}
		plain, err := openSealed(k.algorithm, chunk, 16, c.mode == ua.MessageSecurityModeSignAndEncrypt)
		if err != nil {
			return 0, nil, refuse(ua.StatusBadSecurityChecksFailed, "a chunk cannot be verified")
		}
		var part []byte
		if request, part, err = c.checkSequence(plain); err != nil {
			return 0, nil, err
		}
		if len(message)+len(part) > maxMessage {
			return 0, nil, refuse(ua.StatusBadRequestTooLarge, "a message of more than %d bytes", maxMessage)
		}
		message = append(message, part...)
		switch chunk[3] {
		case final:
			return request, message, nil
		case intermediate:
		case abort:
			message = nil
		default:
			return 0, nil, refuse(ua.StatusBadTCPMessageTypeInvalid, "a chunk with the place %q", chunk[3])
		}
	}
}

// send answers a request, in as many chunks as the client's buffer makes
// necessary.
func (c *channel) send(request uint32, answer ua.Response) error {
	body, err := encode(answer)
	if err != nil {
		return err
	}
	// Headers, a signature and a block of padding.
	room := c.room - 16 - 8 - 64
	head := binary.LittleEndian.AppendUint32(nil, c.id)
	head = binary.LittleEndian.AppendUint32(head, c.now.token)
	for len(body) > room {
		if err := c.sendChunk(c.now.algorithm, typeMessage, intermediate, head, request, body[:room], c.mode == ua.MessageSecurityModeSignAndEncrypt); err != nil {
			return err
		}
		body = body[room:]
	}
	return c.sendChunk(c.now.algorithm, typeMessage, final, head, request, body, c.mode == ua.MessageSecurityModeSignAndEncrypt)
}

func (c *channel) sendChunk(algorithm *uapolicy.EncryptionAlgorithm, kind string, place byte, head []byte, request uint32, body []byte, encrypted bool) error {
	c.sent++
	plain := binary.LittleEndian.AppendUint32(nil, c.sent)
	plain = binary.LittleEndian.AppendUint32(plain, request)
	chunk, err := makeSealed(algorithm, slices.Concat([]byte(kind), []byte{place, 0, 0, 0, 0}, head), append(plain, body...), encrypted)
	if err != nil {
		return err
	}
	if err := c.conn.SetWriteDeadline(time.Now().Add(idleTimeout)); err != nil {
		return err
	}
	_, err = c.conn.Write(chunk)
	return err
}

// encode renders an answer with its type.
func encode(answer ua.Response) ([]byte, error) {
	kind, err := ua.NewFourByteExpandedNodeID(0, ua.ServiceTypeID(answer)).Encode()
	if err != nil {
		return nil, err
	}
	body, err := ua.Encode(answer)
	return append(kind, body...), err
}

func header(q *ua.RequestHeader, status ua.StatusCode) *ua.ResponseHeader {
	h := &ua.ResponseHeader{Timestamp: time.Now(), ServiceResult: status, ServiceDiagnostics: &ua.DiagnosticInfo{}, AdditionalHeader: ua.NewExtensionObject(nil)}
	if q != nil {
		h.RequestHandle = q.RequestHandle
	}
	return h
}
