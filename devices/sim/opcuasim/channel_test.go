package opcuasim

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/gopcua/opcua/ua"
	"github.com/gopcua/opcua/uacp"
	"github.com/stretchr/testify/require"
)

// raw speaks to a server chunk by chunk, without security.
type raw struct {
	t        *testing.T
	conn     net.Conn
	sequence uint32
}

func newRaw(t *testing.T, d *Device) *raw {
	t.Helper()
	conn, err := net.Dial("tcp", d.Addr())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	r := &raw{t: t, conn: conn}
	body, err := (&uacp.Hello{ReceiveBufSize: maxBuffer, SendBufSize: maxBuffer}).Encode()
	require.NoError(t, err)
	r.send("HELF", body)
	require.Equal(t, "ACKF", r.answer())
	return r
}

func (r *raw) send(kind string, body []byte) {
	r.t.Helper()
	chunk := binary.LittleEndian.AppendUint32([]byte(kind), uint32(8+len(body)))
	_, err := r.conn.Write(append(chunk, body...))
	require.NoError(r.t, err)
}

// answer returns the type of the next message, or "" when there is none.
func (r *raw) answer() string {
	r.t.Helper()
	head := make([]byte, 8)
	if _, err := io.ReadFull(r.conn, head); err != nil {
		return ""
	}
	_, err := io.CopyN(io.Discard, r.conn, int64(binary.LittleEndian.Uint32(head[4:]))-8)
	require.NoError(r.t, err)
	return string(head[:4])
}

func (r *raw) encoded(q ua.Request) []byte {
	r.t.Helper()
	r.sequence++
	q.SetHeader(&ua.RequestHeader{AuthenticationToken: ua.NewTwoByteNodeID(0), Timestamp: time.Now(), AdditionalHeader: ua.NewExtensionObject(nil)})
	kind, err := ua.NewFourByteExpandedNodeID(0, ua.ServiceTypeID(q)).Encode()
	require.NoError(r.t, err)
	body, err := ua.Encode(q)
	require.NoError(r.t, err)
	out := binary.LittleEndian.AppendUint32(nil, r.sequence)
	out = binary.LittleEndian.AppendUint32(out, r.sequence)
	return append(append(out, kind...), body...)
}

func (r *raw) open(channel uint32, kind ua.SecurityTokenRequestType) string {
	r.t.Helper()
	head := ua.NewBuffer(nil)
	head.WriteUint32(channel)
	head.WriteString(ua.SecurityPolicyURINone)
	head.WriteByteString(nil)
	head.WriteByteString(nil)
	r.send("OPNF", append(head.Bytes(), r.encoded(&ua.OpenSecureChannelRequest{RequestType: kind, SecurityMode: ua.MessageSecurityModeNone, RequestedLifetime: 60000})...))
	return r.answer()
}

// ask asks for the endpoints under a token.
func (r *raw) ask(place string, channel, token uint32) string {
	r.t.Helper()
	head := binary.LittleEndian.AppendUint32(nil, channel)
	head = binary.LittleEndian.AppendUint32(head, token)
	r.send("MSG"+place, append(head, r.encoded(&ua.GetEndpointsRequest{EndpointURL: "opc.tcp://x"})...))
	if place != "F" {
		return ""
	}
	return r.answer()
}

func startServer(t *testing.T) *Device {
	t.Helper()
	identity, err := NewIdentity()
	require.NoError(t, err)
	d, err := Start(Config{ID: "plc-001", Identity: identity, User: "u", Password: "p"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

func TestTheKeysOfAChannelAreRenewedAndTheOldOnesEndWithTheFirstUseOfTheNew(t *testing.T) {
	r := newRaw(t, startServer(t))
	require.Equal(t, "OPNF", r.open(0, ua.SecurityTokenRequestTypeIssue))
	require.Equal(t, "MSGF", r.ask("F", 1, 1))
	require.Equal(t, "OPNF", r.open(1, ua.SecurityTokenRequestTypeRenew))
	require.Equal(t, "MSGF", r.ask("F", 1, 1), "the old ones are good until the new ones are used")
	require.Equal(t, "MSGF", r.ask("F", 1, 2))
	require.Equal(t, "ERRF", r.ask("F", 1, 1))
	require.Empty(t, r.answer(), "and the connection has ended")
}

func TestWhatIsNoOPCUAEndsTheConnection(t *testing.T) {
	d := startServer(t)
	opened := func(t *testing.T) *raw {
		r := newRaw(t, d)
		require.Equal(t, "OPNF", r.open(0, ua.SecurityTokenRequestTypeIssue))
		return r
	}
	id := func(r *raw) uint32 { d.mu.Lock(); defer d.mu.Unlock(); return d.channels }
	for name, do := range map[string]func(r *raw) string{
		"a second greeting":       func(r *raw) string { r.send("HELF", make([]byte, 32)); return r.answer() },
		"an unknown message":      func(r *raw) string { r.send("XYZF", nil); return r.answer() },
		"a chunk beyond measure":  func(r *raw) string { _, _ = r.conn.Write([]byte("MSGF\xff\xff\xff\xff")); return r.answer() },
		"a chunk without a head":  func(r *raw) string { r.send("MSGF", []byte{1}); return r.answer() },
		"another channel":         func(r *raw) string { return r.ask("F", id(r)+1, 1) },
		"another token":           func(r *raw) string { return r.ask("F", id(r), 9) },
		"a number left out":       func(r *raw) string { r.sequence += 2000; return r.ask("F", id(r), 1) },
		"a channel opened twice":  func(r *raw) string { return r.open(id(r), ua.SecurityTokenRequestTypeIssue) },
		"a part of no known kind": func(r *raw) string { r.ask("Q", id(r), 1); return r.answer() },
		"nonsense in the message": func(r *raw) string {
			r.sequence++
			head := binary.LittleEndian.AppendUint32(nil, id(r))
			for _, n := range []uint32{1, r.sequence, r.sequence, 0xFFFFFFFF} {
				head = binary.LittleEndian.AppendUint32(head, n)
			}
			r.send("MSGF", head)
			return r.answer()
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := opened(t)
			r.t = t
			got := do(r)
			require.Contains(t, []string{"ERRF", ""}, got)
			require.Empty(t, r.answer())
		})
	}
	r := newRaw(t, d)
	require.Equal(t, "ERRF", r.ask("F", 1, 1), "no channel is open")
}
