package opcua

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/gopcua/opcua/ua"
	"github.com/gopcua/opcua/uacp"

	"edgefleet/devices"
	"edgefleet/devices/pool"
)

// What we take from a server at most. A read of 100 texts fits; an attacker's
// length field does not become our memory.
const (
	maxChunk   = 64 << 10
	maxMessage = 1 << 20
	maxChunks  = maxMessage / minChunk
)

// minChunk is the least that both sides have to take (OPC 10000-6, table 57).
const minChunk = 8192

// chunkHeader is the type, the chunk's place and the size; channelHeader has
// the channel's ID as well.
const (
	chunkHeader   = 8
	channelHeader = 12
)

// wire carries chunks over a connection (OPC 10000-6, section 7.1).
type wire struct {
	conn net.Conn
	// What the server takes: bytes in a chunk, bytes in a message and chunks
	// in a message; 0 is no limit for the last two.
	peerChunk, peerMessage, peerChunks uint32
	// sent and got say of the exchange under way whether a byte of it was.
	sent, got bool
	// dead says that the connection cannot be used again.
	dead bool
}

// within runs one exchange up to the deadline, which the end of ctx moves
// forward to now. After a fault that is not an answer of the server, the
// connection must not be used again.
func (w *wire) within(ctx context.Context, timeout time.Duration, exchange func() error) *fault {
	w.sent, w.got = false, false
	_ = w.conn.SetDeadline(time.Now().Add(timeout))
	stop := context.AfterFunc(ctx, func() { _ = w.conn.SetDeadline(time.Unix(1, 0)) })
	err := ctx.Err()
	if err == nil {
		err = exchange()
	}
	unspoilt := stop()
	if err == nil && !unspoilt {
		// The answer counts, but the end of ctx may still be about to force
		// the deadline, which must not hit the next exchange.
		w.dead = true
		return nil
	}
	if err == nil {
		return nil
	}
	f := explain(err, w.sent)
	var no *refused
	if !errors.As(err, &no) || no.fatal {
		w.dead = true
	}
	switch {
	case f.kind != devices.Unreachable || f.status != 0:
	case ctx.Err() != nil:
		f.kind, f.err = "", fmt.Errorf("waiting for the answer: %w", pool.End(ctx))
	case errors.Is(err, os.ErrDeadlineExceeded):
		f.err = fmt.Errorf("no answer within %v: %w", timeout, err)
	}
	return f
}

func (w *wire) send(b []byte) error {
	n, err := w.conn.Write(b)
	w.sent = w.sent || n > 0
	return err
}

// receive reads one chunk, with its header, which says "MSG", "OPN" and the
// like and then 'F', 'C' or 'A'. An error message of the server is a *refused.
func (w *wire) receive() ([]byte, error) {
	var head [chunkHeader]byte
	if err := w.fill(head[:]); err != nil {
		return nil, err
	}
	kind := string(head[:3])
	switch kind {
	case "ACK", "ERR", "OPN", "MSG", "CLO":
	default:
		return nil, wrong("the answer begins with %q, which is not OPC UA", head[:4])
	}
	size := binary.LittleEndian.Uint32(head[4:])
	if size < chunkHeader || size > maxChunk {
		return nil, wrong("a chunk of %d bytes: want at least %d and at most %d", size, chunkHeader, maxChunk)
	}
	chunk := make([]byte, size)
	copy(chunk, head[:])
	if err := w.fill(chunk[chunkHeader:]); err != nil {
		return nil, err
	}
	if kind == "ERR" {
		r := &reader{b: chunk[chunkHeader:]}
		no := &refused{status: r.status(), reason: clip(r.text()), fatal: true}
		if r.err != nil {
			return nil, r.err
		}
		if !bad(no.status) {
			return nil, wrong("an error message without an error")
		}
		return nil, no
	}
	return chunk, nil
}

func (w *wire) fill(b []byte) error {
	n, err := io.ReadFull(w.conn, b)
	if err == nil {
		w.got = w.got || n > 0
		return nil
	}
	switch {
	case w.got || n > 0:
		w.got = true
		return fmt.Errorf("the answer broke off: %w", err)
	case errors.Is(err, io.EOF):
		return fmt.Errorf("the server closed the connection without an answer: %w", err)
	}
	return err
}

// hello agrees on the sizes of chunks and messages.
func (w *wire) hello(url string) error {
	hello := &uacp.Hello{ReceiveBufSize: maxChunk, SendBufSize: maxChunk, MaxMessageSize: maxMessage, MaxChunkCount: maxChunks, EndpointURL: url}
	body, err := hello.Encode()
	if err != nil {
		return err
	}
	head := append([]byte("HELF"), 0, 0, 0, 0)
	binary.LittleEndian.PutUint32(head[4:], uint32(chunkHeader+len(body)))
	if err := w.send(append(head, body...)); err != nil {
		return err
	}
	chunk, err := w.receive()
	if err != nil {
		return err
	}
	if string(chunk[:4]) != "ACKF" {
		return wrong("the answer to the greeting is %q", chunk[:4])
	}
	r := &reader{b: chunk[chunkHeader:]}
	version := r.u32()
	peerReceive, peerSend := r.u32(), r.u32()
	w.peerMessage, w.peerChunks = r.u32(), r.u32()
	if r.err != nil {
		return r.err
	}
	if version != 0 {
		return &refused{status: ua.StatusBadProtocolVersionUnsupported, reason: fmt.Sprintf("the server speaks version %d of the protocol", version)}
	}
	if peerReceive < minChunk || peerSend < minChunk {
		return wrong("the server takes chunks of %d bytes and sends %d: want at least %d", peerReceive, peerSend, minChunk)
	}
	w.peerChunk = min(peerReceive, maxChunk)
	return nil
}

// clip keeps a server's words short and on one line.
func clip(s string) string {
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7F {
			return ' '
		}
		return c
	}, s)
	if runes := []rune(s); len(runes) > 200 {
		return string(runes[:200]) + "..."
	}
	return s
}
