package opcua

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/gopcua/opcua/ua"
	"github.com/stretchr/testify/require"

	"edgefleet/devices"
)

func say(b []byte) func(net.Conn, []byte) bool {
	return func(c net.Conn, _ []byte) bool {
		_, err := c.Write(b)
		return err == nil
	}
}

// sayAndCut says so much of the honest answer and hangs up.
func sayAndCut(part float64) func(net.Conn, []byte) bool {
	return func(c net.Conn, chunk []byte) bool {
		_, _ = c.Write(chunk[:int(part*float64(len(chunk)))])
		return false
	}
}

// hang says so much of the honest answer, and nothing more until the client
// hangs up.
func hang(part float64) func(net.Conn, []byte) bool {
	return func(c net.Conn, chunk []byte) bool {
		_, _ = c.Write(chunk[:int(part*float64(len(chunk)))])
		_, _ = io.Copy(io.Discard, c)
		return false
	}
}

func dribble(c net.Conn, chunk []byte) bool {
	for i := range chunk {
		if _, err := c.Write(chunk[i : i+1]); err != nil {
			return false
		}
		time.Sleep(50 * time.Millisecond)
	}
	return true
}

// edit changes the honest answer.
func edit(change func(chunk []byte) []byte) func(net.Conn, []byte) bool {
	return func(c net.Conn, chunk []byte) bool {
		_, err := c.Write(change(bytes.Clone(chunk)))
		return err == nil
	}
}

func setSize(n uint32) func([]byte) []byte {
	return func(chunk []byte) []byte {
		binary.LittleEndian.PutUint32(chunk[4:], n)
		return chunk
	}
}

// cropped is a chunk with a size that belongs to what is left of it.
func cropped(n int) func([]byte) []byte {
	return func(chunk []byte) []byte { return setSize(uint32(min(n, len(chunk))))(chunk[:min(n, len(chunk))]) }
}

func errorMessage(status ua.StatusCode) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(status))
	return frame("ERRF", append(b, 3, 0, 0, 0, 'w', 'h', 'y'))
}

// TestHostileServer lets a server misbehave once, at every step of a
// connection under full security, in every way, and requires the right kind of
// error for a read and a write, and that the next call is as good as new.
func TestHostileServer(t *testing.T) {
	const brief = 200 * time.Millisecond
	ways := []struct {
		name  string
		bad   func(net.Conn, []byte) bool
		brief bool
		kind  devices.Kind
	}{
		{"hangs up", sayAndCut(0), false, devices.Unreachable},
		{"hangs up in the middle", sayAndCut(0.5), false, devices.Unreachable},
		{"hangs up in the header", func(c net.Conn, chunk []byte) bool { _, _ = c.Write(chunk[:5]); return false }, false, devices.Unreachable},
		{"hangs", hang(0), true, devices.Unreachable},
		{"hangs in the middle", hang(0.5), true, devices.Unreachable},
		{"dribbles for longer than the time-out", dribble, true, devices.Unreachable},
		{"speaks HTTP", say([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")), false, devices.Rejected},
		{"states no size", edit(setSize(0)), false, devices.Rejected},
		{"states a size without a header", edit(setSize(7)), false, devices.Rejected},
		{"states a size over the limit", edit(setSize(maxChunk + 1)), false, devices.Rejected},
		{"states the largest size", edit(setSize(1<<32 - 1)), false, devices.Rejected},
		{"sends an empty chunk", edit(cropped(8)), false, devices.Rejected},
		{"sends nothing but an error", say(errorMessage(ua.StatusBadTCPServerTooBusy)), false, devices.Busy},
		{"sends an error that is none", say(errorMessage(ua.StatusOK)), false, devices.Rejected},
		{"sends half an error", say(frame("ERRF", []byte{0, 0})), false, devices.Rejected},
		{"closes the channel", say(frame("CLOF", make([]byte, 16))), false, devices.Rejected},
	}
	for _, step := range []string{"HEL", "OPNlook", "GetEndpoints", "OPN", "CreateSession", "ActivateSession", "Read", "Write"} {
		for _, way := range ways {
			t.Run(step+" "+way.name, func(t *testing.T) {
				t.Parallel()
				s := newFake(t, ua.SecurityPolicyURIBasic256Sha256, ua.MessageSecurityModeSignAndEncrypt)
				s.set("ns=1;s=a", int32(7))
				s.nodes["ns=1;s=a"] = int32(7)
				ep := s.endpoint()
				patient := ep
				if way.brief {
					ep.ConnectTimeout, ep.ResponseTimeout = brief, brief
				}
				d, l := open(t, Options{}, ep)
				next, err := d.Open(t.Context(), patient)
				require.NoError(t, err)
				defer next.Close()
				if step == "Write" || step == "Read" && way.brief {
					// The opening of the session shall not be what is too slow.
					require.NoError(t, next.Ping(t.Context()))
				}
				s.once(step, way.bad)
				want := way.kind
				if step == "Write" {
					p := set("a", devices.Int32, int64(8))
					p.Point.OPCUA.Type = "Int32"
					err = l.Write(t.Context(), []devices.Setting{p})
					want = devices.Indeterminate
				} else {
					_, err = l.Read(t.Context(), []devices.Point{at("a", devices.Int32)})
				}
				require.Equal(t, want, devices.KindOf(err), "%v", err)

				// On a slow machine an earlier step may have been too slow.
				s.once(step, nil)
				_, err = next.Read(t.Context(), []devices.Point{at("a", devices.Int32)})
				require.NoError(t, err)
			})
		}
	}
}

// TestForgedAnswers changes answers of a server under full security as
// somebody in between could.
func TestForgedAnswers(t *testing.T) {
	flip := func(at int) func([]byte) []byte {
		return func(chunk []byte) []byte {
			if at < 0 {
				at += len(chunk)
			}
			chunk[at] ^= 1
			return chunk
		}
	}
	for _, mode := range []ua.MessageSecurityMode{ua.MessageSecurityModeSign, ua.MessageSecurityModeSignAndEncrypt} {
		for name, c := range map[string]struct {
			step string
			edit func([]byte) []byte
			kind devices.Kind
		}{
			"the opening, last byte":              {"OPN", flip(-1), devices.Auth},
			"the opening, in the middle":          {"OPN", flip(-300), devices.Auth},
			"the opening, its policy":             {"OPN", flip(20), devices.Auth},
			"the opening, its certificate":        {"OPN", flip(200), devices.Auth},
			"the opening, without its content":    {"OPN", func(b []byte) []byte { return cropped(len(b) - 512)(b) }, devices.Auth},
			"the opening, cut to a block":         {"OPN", func(b []byte) []byte { return cropped(len(b) - 256)(b) }, devices.Auth},
			"the opening, not a block":            {"OPN", func(b []byte) []byte { return cropped(len(b) - 1)(b) }, devices.Auth},
			"the session, last byte":              {"CreateSession", flip(-1), devices.Auth},
			"the session, first byte":             {"CreateSession", flip(16), devices.Auth},
			"a value, last byte":                  {"Read", flip(-1), devices.Auth},
			"a value, its channel":                {"Read", flip(8), devices.Rejected},
			"a value, its token":                  {"Read", flip(12), devices.Rejected},
			"a value, as an intermediate chunk":   {"Read", func(b []byte) []byte { b[3] = 'C'; return b }, devices.Auth},
			"a value, shorter than its signature": {"Read", cropped(16 + 16), devices.Auth},
			"a value, nothing left of it":         {"Read", cropped(16), devices.Auth},
			"a value, sent twice":                 {"Read", nil, ""},
		} {
			t.Run(modeName(mode)+" "+name, func(t *testing.T) {
				t.Parallel()
				s := newFake(t, ua.SecurityPolicyURIBasic256Sha256, mode)
				s.set("ns=1;s=a", int32(7))
				_, l := open(t, Options{}, s.endpoint())
				read := func() error {
					_, err := l.Read(t.Context(), []devices.Point{at("a", devices.Int32)})
					return err
				}
				if c.edit == nil {
					s.once("Read", func(c net.Conn, chunk []byte) bool {
						_, err := c.Write(slices.Concat(chunk, chunk))
						return err == nil
					})
					// The second copy is found before the next request, or
					// taken for its answer and refused.
					_ = read()
					require.NoError(t, read())
					return
				}
				s.once(c.step, edit(c.edit))
				err := read()
				require.Equal(t, c.kind, devices.KindOf(err), "%v", err)
				require.NoError(t, read())
			})
		}
	}
}

// TestLyingServer lets a server that has the right key say the wrong things.
func TestLyingServer(t *testing.T) {
	stranger, strangerKey := identityOf(t, "urn:test:stranger")
	for name, c := range map[string]struct {
		step   string
		change func(res ua.Response) ua.Response
		kind   devices.Kind
		words  string
	}{
		"a short nonce for the channel": {"OPN", func(res ua.Response) ua.Response {
			res.(*ua.OpenSecureChannelResponse).ServerNonce = []byte{1}
			return res
		}, devices.Auth, "nonce has 1 bytes"},
		"no nonce for the channel": {"OPN", func(res ua.Response) ua.Response {
			res.(*ua.OpenSecureChannelResponse).ServerNonce = nil
			return res
		}, devices.Auth, "nonce has 0 bytes"},
		"a signature of the session that is wrong": {"CreateSession", func(res ua.Response) ua.Response {
			res.(*ua.CreateSessionResponse).ServerSignature.Signature[3] ^= 1
			return res
		}, devices.Auth, "signature of the session is wrong"},
		"no signature of the session": {"CreateSession", func(res ua.Response) ua.Response {
			res.(*ua.CreateSessionResponse).ServerSignature = &ua.SignatureData{}
			return res
		}, devices.Auth, "signature of the session is wrong"},
		"a session of another certificate, well signed": {"CreateSession", func(res ua.Response) ua.Response {
			r := res.(*ua.CreateSessionResponse)
			r.ServerCertificate = stranger.Raw
			r.ServerSignature, _ = sign(ua.SecurityPolicyURIBasic256Sha256, strangerKey, stranger, make([]byte, 32))
			return r
		}, devices.Auth, "not the one that was enrolled"},
		"a session without a certificate": {"CreateSession", func(res ua.Response) ua.Response {
			res.(*ua.CreateSessionResponse).ServerCertificate = nil
			return res
		}, devices.Auth, "not the one that was enrolled"},
		"a short nonce for the session": {"CreateSession", func(res ua.Response) ua.Response {
			res.(*ua.CreateSessionResponse).ServerNonce = make([]byte, 8)
			return res
		}, devices.Auth, "nonce has 8 bytes"},
		"a session that is another answer": {"CreateSession", func(ua.Response) ua.Response { return &ua.ReadResponse{} }, devices.Rejected, "does not belong to the request"},
		"a fault without a reason":         {"Read", faulty(ua.StatusOK), devices.Rejected, "does not belong to the request"},
		"an answer to another request": {"Read", func(res ua.Response) ua.Response {
			res.Header().RequestHandle = 77
			return res
		}, devices.Rejected, "is to request 77"},
		"more values than were asked for": {"Read", func(ua.Response) ua.Response {
			return &ua.ReadResponse{Results: []*ua.DataValue{{}, {}, {}}}
		}, devices.Rejected, "3 results, for 1 nodes"},
		"no value": {"Read", func(ua.Response) ua.Response { return &ua.ReadResponse{} }, devices.Rejected, "0 results, for 1 nodes"},
		"no endpoints": {"GetEndpoints", func(ua.Response) ua.Response { return &ua.GetEndpointsResponse{} },
			devices.Auth, "no longer offers Basic256Sha256/SignAndEncrypt"},
		"only an endpoint without security": {"GetEndpoints", func(res ua.Response) ua.Response {
			e := res.(*ua.GetEndpointsResponse).Endpoints[0]
			e.SecurityPolicyURI, e.SecurityMode = ua.SecurityPolicyURINone, ua.MessageSecurityModeNone
			return res
		}, devices.Auth, "but None/None; nothing else is used"},
		"an endpoint with another certificate": {"GetEndpoints", func(res ua.Response) ua.Response {
			res.(*ua.GetEndpointsResponse).Endpoints[0].ServerCertificate = stranger.Raw
			return res
		}, devices.Auth, "not the enrolled one"},
		"an endpoint with garbage for a certificate": {"GetEndpoints", func(res ua.Response) ua.Response {
			res.(*ua.GetEndpointsResponse).Endpoints[0].ServerCertificate = []byte("garbage")
			return res
		}, devices.Auth, "cannot be read"},
		"an endpoint without a certificate": {"GetEndpoints", func(res ua.Response) ua.Response {
			res.(*ua.GetEndpointsResponse).Endpoints[0].ServerCertificate = nil
			return res
		}, devices.Auth, "shows no certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newFake(t, ua.SecurityPolicyURIBasic256Sha256, ua.MessageSecurityModeSignAndEncrypt)
			_, l := open(t, Options{}, s.endpoint())
			s.answer(c.step, c.change)
			_, err := l.Read(t.Context(), []devices.Point{{Name: "state", Type: devices.Int32, OPCUA: &devices.NodeAddress{ID: "i=2259"}}})
			require.Equal(t, c.kind, devices.KindOf(err), "%v", err)
			require.ErrorContains(t, err, c.words)
			s.answer(c.step, nil)
			require.NoError(t, l.Ping(t.Context()))
		})
	}
}
