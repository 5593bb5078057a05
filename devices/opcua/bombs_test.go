package opcua

import (
	"bytes"
	"encoding/binary"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/gopcua/opcua/ua"
	"github.com/stretchr/testify/require"

	"edgefleet/devices"
)

// answerHead is the length of what stands before the results of an answer of
// the fake without security.
const answerHead = channelHeader + 4 + 8 + 4 + 28

// bomb replaces the results of an answer.
func bomb(results []byte) func(net.Conn, []byte) bool {
	return edit(func(chunk []byte) []byte {
		out := append(chunk[:answerHead], results...)
		return setSize(uint32(len(out)))(out)
	})
}

func le32(n uint32) []byte { return binary.LittleEndian.AppendUint32(nil, n) }

// TestBombs sends answers that would make a trusting decoder take memory, time
// or stack without end.
func TestBombs(t *testing.T) {
	one := append(le32(1), 1) // one result with a value
	for name, b := range map[string][]byte{
		"2^31 results":                         le32(1<<31 - 1),
		"2^32-2 results":                       le32(1<<32 - 2),
		"a text of 2^31 bytes":                 slices.Concat(one, []byte{12}, le32(1<<31-1)),
		"a text of -2 bytes":                   slices.Concat(one, []byte{12}, le32(1<<32-2)),
		"an array of 2^31 numbers":             slices.Concat(one, []byte{0x80 | 6}, le32(1<<31-1)),
		"an array of -2 numbers":               slices.Concat(one, []byte{0x80 | 6}, le32(1<<32-2)),
		"2^31 dimensions":                      slices.Concat(one, []byte{0xC0 | 6}, le32(0), le32(1<<31-1)),
		"values inside values":                 slices.Concat(one, bytes.Repeat([]byte{24}, 60_000)),
		"arrays inside arrays":                 slices.Concat(one, bytes.Repeat(append([]byte{0x80 | 24}, le32(1)...), 10_000)),
		"data values inside data values":       slices.Concat(one, bytes.Repeat([]byte{23, 1}, 30_000)),
		"diagnostics inside diagnostics":       slices.Concat(one, []byte{25}, bytes.Repeat([]byte{0x40}, 60_000)),
		"diagnostics of the results":           slices.Concat(one, []byte{1, 1}, le32(1<<31-1)),
		"a structure of 2^31 bytes":            slices.Concat(one, []byte{22, 0, 1, 1}, le32(1<<31-1)),
		"a type that is not there":             slices.Concat(one, []byte{31}),
		"a null value that has dimensions":     slices.Concat(one, []byte{0x40}, le32(1<<31-1)),
		"a node ID of a form that is not":      slices.Concat(one, []byte{17, 0x3F}),
		"a structure of a form that is not":    slices.Concat(one, []byte{22, 0, 1, 9}),
		"an array of values, each of an array": slices.Concat(one, []byte{0x80 | 24}, le32(60_000), bytes.Repeat([]byte{0x80}, 60_000)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := plain(t)
			_, l := open(t, Options{}, s.endpoint())
			s.once("Read", bomb(b))
			_, err := l.Read(t.Context(), []devices.Point{{Name: "state", Type: devices.Int32, OPCUA: &devices.NodeAddress{ID: "i=2259"}}})
			require.Equal(t, devices.Rejected, devices.KindOf(err), "%v", err)
			require.Less(t, len(err.Error()), 400)
			require.NoError(t, l.Ping(t.Context()))
		})
	}
}

// TestFramesThatDoNotFollow changes the numbers that bind an answer to its
// request.
func TestFramesThatDoNotFollow(t *testing.T) {
	set := func(at int, n uint32) func([]byte) []byte {
		return func(chunk []byte) []byte {
			binary.LittleEndian.PutUint32(chunk[at:], n)
			return chunk
		}
	}
	endless := func(c net.Conn, chunk []byte) bool {
		// As many intermediate chunks as the client is willing to take.
		for number := binary.LittleEndian.Uint32(chunk[16:]); ; number++ {
			part := set(16, number)(bytes.Clone(chunk))
			part[3] = 'C'
			if _, err := c.Write(part); err != nil {
				return false
			}
		}
	}
	huge := func(c net.Conn, chunk []byte) bool {
		for number := binary.LittleEndian.Uint32(chunk[16:]); ; number++ {
			part := setSize(maxChunk)(append(set(16, number)(bytes.Clone(chunk)), make([]byte, maxChunk-len(chunk))...))
			part[3] = 'C'
			if _, err := c.Write(part); err != nil {
				return false
			}
		}
	}
	for name, c := range map[string]struct {
		raw   func(net.Conn, []byte) bool
		words string
	}{
		"another channel":            {edit(set(8, 99)), "of channel 99"},
		"another token":              {edit(set(12, 99)), "token 99"},
		"a repeated sequence number": {edit(set(16, 1)), "follows chunk"},
		"another request":            {edit(set(20, 99)), "request 99"},
		"an unknown place":           {edit(func(b []byte) []byte { b[3] = 'X'; return b }), `the place 'X'`},
		"an abort without a reason":  {edit(func(b []byte) []byte { b[3] = 'A'; return cropped(24)(b) }), "abort without a reason"},
		"chunks without end":         {endless, "chunks"},
		"a message without end":      {huge, "more than 1048576 bytes"},
		"an opening in between":      {edit(func(b []byte) []byte { copy(b, "OPN"); return b }), `"OPNF"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := plain(t)
			_, l := open(t, Options{}, s.endpoint())
			require.NoError(t, l.Ping(t.Context()))
			s.once("Read", c.raw)
			_, err := l.Read(t.Context(), []devices.Point{{Name: "state", Type: devices.Int32, OPCUA: &devices.NodeAddress{ID: "i=2259"}}})
			require.Equal(t, devices.Rejected, devices.KindOf(err), "%v", err)
			require.ErrorContains(t, err, c.words)
			require.NoError(t, l.Ping(t.Context()))
		})
	}
}

func TestAChannelUnderAnotherPolicyIsRefused(t *testing.T) {
	s := plain(t)
	_, l := open(t, Options{}, s.endpoint())
	s.once("OPN", edit(func(chunk []byte) []byte { return bytes.Replace(chunk, []byte("#None"), []byte("#Some"), 1) }))
	err := l.Ping(t.Context())
	require.Equal(t, devices.Auth, devices.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "answered under the policy")
}

func TestGreetingsThatNoServerSends(t *testing.T) {
	greeting := func(version, receive, send uint32) []byte {
		return frame("ACKF", slices.Concat(le32(version), le32(receive), le32(send), le32(0), le32(0)))
	}
	for name, c := range map[string]struct {
		raw   []byte
		kind  devices.Kind
		words string
	}{
		"a buffer of four bytes":  {greeting(0, 4, 4), devices.Rejected, "takes chunks of 4 bytes"},
		"a buffer of no bytes":    {greeting(0, 65535, 0), devices.Rejected, "sends 0"},
		"a later version":         {greeting(1, 65535, 65535), devices.Unsupported, "version 1 of the protocol"},
		"too short":               {frame("ACKF", le32(0)), devices.Rejected, "ends too early"},
		"a message":               {frame("MSGF", make([]byte, 16)), devices.Rejected, `"MSGF"`},
		"words that are not ours": {frame("ERRF", slices.Concat(le32(uint32(ua.StatusBadTCPInternalError)), le32(5), []byte("a\x00\nb\xff"))), devices.Unreachable, `"a  b`},
	} {
		t.Run(name, func(t *testing.T) {
			s := plain(t)
			_, l := open(t, Options{}, s.endpoint())
			s.once("HEL", say(c.raw))
			err := l.Ping(t.Context())
			require.Equal(t, c.kind, devices.KindOf(err), "%v", err)
			require.ErrorContains(t, err, c.words)
			require.False(t, strings.ContainsAny(err.Error(), "\n\x00"))
			require.NoError(t, l.Ping(t.Context()))
		})
	}
}
