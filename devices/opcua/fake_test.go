package opcua

import (
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gopcua/opcua/ua"
	"github.com/gopcua/opcua/uacp"
	"github.com/gopcua/opcua/uapolicy"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"edgefleet/devices"
	"edgefleet/devices/credentials"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	plantURI  = "urn:test:plant"
	serverURI = "urn:test:server"
	clientURI = "urn:test:client"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// identityOf makes a certificate once for each URI: keys take time.
var identityOf = func() func(t testing.TB, uri string) (*x509.Certificate, *rsa.PrivateKey) {
	type pair struct {
		cert *x509.Certificate
		key  *rsa.PrivateKey
	}
	var mu sync.Mutex
	made := map[string]pair{}
	return func(t testing.TB, uri string) (*x509.Certificate, *rsa.PrivateKey) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		p, ok := made[uri]
		if !ok {
			cert, key, err := credentials.NewCertificate(credentials.CertificateRequest{ApplicationURI: uri, CommonName: "test", Hosts: []string{"localhost", "127.0.0.1"}})
			require.NoError(t, err)
			p = pair{cert, key}
			made[uri] = p
		}
		return p.cert, p.key
	}
}()

func thumb(cert *x509.Certificate) string {
	digest := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(digest[:])
}

// fake is an OPC UA server for one test. It encodes with the library's
// encoder, and does wrong what the test tells it to.
type fake struct {
	t        testing.TB
	listener net.Listener
	policy   string
	mode     ua.MessageSecurityMode
	cert     *x509.Certificate
	key      *rsa.PrivateKey
	lifetime uint32
	limit    int // items in a request; 0 is no limit

	mu sync.Mutex
	// nodes are the values, by the node's text: "ns=1;s=a".
	nodes map[string]any
	// status overrides the status of a node, for reads and writes.
	status map[string]ua.StatusCode
	// change alters an answer before it is encoded, raw the chunk before it is
	// sent; raw returns false when the connection shall end.
	change        map[string]func(res ua.Response) ua.Response
	raw           map[string]func(c net.Conn, chunk []byte) bool
	seen          []string // "HEL", "OPN", "GetEndpoints", "Read 2", ...
	conns         map[net.Conn]bool
	dials         int
	logins        []any
	nonce         []byte   // of the last session
	urls          []string // of the greetings
	plainPassword bool     // passwords need no encryption of their own
	done          sync.WaitGroup
}

func newFake(t testing.TB, policy string, mode ua.MessageSecurityMode) *fake {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &fake{t: t, listener: listener, policy: policy, mode: mode, lifetime: 3_600_000,
		nodes:  map[string]any{"i=2255": []string{standardNamespace, plantURI}, "i=2259": int32(0), "i=2254": []string{serverURI}},
		status: map[string]ua.StatusCode{}, change: map[string]func(ua.Response) ua.Response{},
		raw: map[string]func(net.Conn, []byte) bool{}, conns: map[net.Conn]bool{}}
	s.cert, s.key = identityOf(t, serverURI)
	s.done.Go(s.accept)
	t.Cleanup(s.stop)
	return s
}

// plain is a fake without security, for everything that is not about it.
func plain(t testing.TB) *fake {
	return newFake(t, ua.SecurityPolicyURINone, ua.MessageSecurityModeNone)
}

func (s *fake) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.dials++
		s.conns[conn] = true
		s.mu.Unlock()
		s.done.Go(func() {
			s.serve(conn)
			_ = conn.Close()
			s.mu.Lock()
			delete(s.conns, conn)
			s.mu.Unlock()
		})
	}
}

func (s *fake) stop() {
	_ = s.listener.Close()
	s.cutAll()
	s.done.Wait()
}

// cutAll closes every connection.
func (s *fake) cutAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Close()
	}
}

func (s *fake) open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

func (s *fake) set(id string, v any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes[id] = v
}

func (s *fake) get(id string) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nodes[id]
}

// once alters the next answer to a step only.
func (s *fake) once(step string, raw func(c net.Conn, chunk []byte) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.raw[step] = raw
}

func (s *fake) answer(step string, change func(res ua.Response) ua.Response) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.change[step] = change
}

// took returns what was asked for since the last time.
func (s *fake) took() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.seen = nil }()
	return s.seen
}

func (s *fake) count(step string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, seen := range s.seen {
		if strings.HasPrefix(seen, step) {
			n++
		}
	}
	return n
}

// endpoint is how a client reaches the fake, as it was enrolled.
func (s *fake) endpoint() devices.Endpoint {
	sec := &devices.OPCUASecurity{Policy: policyName(s.policy), Mode: modeName(s.mode), AllowPlaintext: s.policy == ua.SecurityPolicyURINone}
	if !sec.AllowPlaintext {
		sec.ServerThumbprint, sec.ApplicationURI = thumb(s.cert), serverURI
		sec.ClientCert, sec.ClientKey = identityOf(s.t, clientURI)
	}
	return devices.Endpoint{DeviceID: "dev-1", Address: s.listener.Addr().String(), Allowed: loopback,
		ConnectTimeout: 10 * time.Second, ResponseTimeout: 10 * time.Second, OPCUA: sec}
}

// fakeConn is one channel of the fake.
type fakeConn struct {
	net.Conn
	policy   string
	mode     ua.MessageSecurityMode
	client   []byte
	keys     *uapolicy.EncryptionAlgorithm
	sequence uint32
	nonce    []byte
}

func (s *fake) serve(conn net.Conn) {
	c := &fakeConn{Conn: conn}
	for {
		head := make([]byte, 8)
		if _, err := io.ReadFull(conn, head); err != nil {
			return
		}
		chunk := append(head, make([]byte, binary.LittleEndian.Uint32(head[4:])-8)...)
		if _, err := io.ReadFull(conn, chunk[8:]); err != nil {
			return
		}
		ok := false
		switch string(chunk[:3]) {
		case "HEL":
			greeting := new(uacp.Hello)
			_, _ = greeting.Decode(chunk[8:])
			s.mu.Lock()
			s.urls = append(s.urls, greeting.EndpointURL)
			s.mu.Unlock()
			ack, _ := (&uacp.Acknowledge{ReceiveBufSize: 65535, SendBufSize: 65535}).Encode()
			ok = s.reply(c, "HEL", frame("ACKF", ack))
		case "OPN":
			ok = s.opened(c, chunk)
		case "MSG":
			ok = s.message(c, chunk)
		}
		if !ok {
			return
		}
	}
}

func frame(kind string, body []byte) []byte {
	head := append([]byte(kind), 0, 0, 0, 0)
	binary.LittleEndian.PutUint32(head[4:], uint32(8+len(body)))
	return append(head, body...)
}

// reply notes the step and sends its answer, or what the test wants instead.
func (s *fake) reply(c *fakeConn, step string, chunk []byte) bool {
	kind, _, _ := strings.Cut(step, " ")
	s.mu.Lock()
	s.seen = append(s.seen, step)
	raw := s.raw[kind]
	delete(s.raw, kind)
	s.mu.Unlock()
	if raw != nil {
		return raw(c.Conn, chunk)
	}
	_, err := c.Write(chunk)
	return err == nil
}

func (s *fake) opened(c *fakeConn, chunk []byte) bool {
	r := &reader{b: chunk[channelHeader:]}
	c.policy, c.client, _ = r.text(), r.bytes(), r.bytes()
	var asymmetric *uapolicy.EncryptionAlgorithm
	if c.policy != ua.SecurityPolicyURINone {
		cert, err := x509.ParseCertificate(c.client)
		if err != nil {
			return false
		}
		if asymmetric, err = uapolicy.Asymmetric(c.policy, s.key, cert.PublicKey.(*rsa.PublicKey)); err != nil {
			return false
		}
	}
	plain, err := unseal(asymmetric, chunk, len(chunk)-len(r.b), asymmetric != nil)
	if err != nil {
		return false
	}
	_, body, err := ua.DecodeService(plain[8:])
	req, ok := body.(*ua.OpenSecureChannelRequest)
	if err != nil || !ok {
		return false
	}
	c.mode = req.SecurityMode
	var nonce []byte
	if asymmetric != nil {
		nonce, _ = asymmetric.MakeNonce()
		c.keys, _ = uapolicy.Symmetric(c.policy, nonce, req.ClientNonce)
	}
	s.mu.Lock()
	lifetime := s.lifetime
	s.mu.Unlock()
	res := ua.Response(&ua.OpenSecureChannelResponse{ResponseHeader: header(req.RequestHeader.RequestHandle), ServerNonce: nonce,
		SecurityToken: &ua.ChannelSecurityToken{ChannelID: 7, TokenID: 9, CreatedAt: time.Now(), RevisedLifetime: lifetime}})
	res = s.altered("OPN", res)
	head := ua.NewBuffer(nil)
	head.Write([]byte("OPNF"))
	head.WriteUint32(0)
	head.WriteUint32(7)
	head.WriteString(c.policy)
	if asymmetric != nil {
		digest := sha1.Sum(c.client)
		head.WriteByteString(s.cert.Raw)
		head.WriteByteString(digest[:])
	} else {
		head.WriteByteString(nil)
		head.WriteByteString(nil)
	}
	sealed, err := seal(asymmetric, head.Bytes(), c.plain(plain[4:8], res), asymmetric != nil)
	if err != nil {
		return false
	}
	if c.policy != s.policy {
		return s.reply(c, "OPNlook", sealed)
	}
	return s.reply(c, "OPN", sealed)
}

// plain is a sequence header and an encoded answer.
func (c *fakeConn) plain(request []byte, res ua.Response) []byte {
	c.sequence++
	kind, _ := ua.NewFourByteExpandedNodeID(0, ua.ServiceTypeID(res)).Encode()
	body, err := ua.Encode(res)
	if err != nil {
		panic(err)
	}
	return slices.Concat(binary.LittleEndian.AppendUint32(nil, c.sequence), request, kind, body)
}

func header(handle uint32) *ua.ResponseHeader {
	return &ua.ResponseHeader{Timestamp: time.Now(), RequestHandle: handle, ServiceDiagnostics: &ua.DiagnosticInfo{}, AdditionalHeader: ua.NewExtensionObject(nil)}
}

func (s *fake) altered(step string, res ua.Response) ua.Response {
	s.mu.Lock()
	change := s.change[step]
	s.mu.Unlock()
	if change == nil {
		return res
	}
	handle := res.Header().RequestHandle
	out := change(res)
	if out.Header() == nil {
		out.SetHeader(header(0))
	}
	if out.Header().RequestHandle == 0 {
		out.Header().RequestHandle = handle
	}
	return out
}

func faulty(status ua.StatusCode) func(ua.Response) ua.Response {
	return func(ua.Response) ua.Response {
		h := header(0)
		h.ServiceResult = status
		return &ua.ServiceFault{ResponseHeader: h}
	}
}

func (s *fake) message(c *fakeConn, chunk []byte) bool {
	plain, err := unseal(c.keys, chunk, channelHeader+4, c.mode == ua.MessageSecurityModeSignAndEncrypt)
	if err != nil {
		return false
	}
	_, body, err := ua.DecodeService(plain[8:])
	req, ok := body.(ua.Request)
	if err != nil || !ok {
		return false
	}
	kind := strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%T", req), "*ua."), "Request")
	res, step := s.handle(c, req, kind)
	if res.Header() == nil {
		res.SetHeader(header(0))
	}
	res.Header().RequestHandle = req.Header().RequestHandle
	res = s.altered(kind, res)
	head := binary.LittleEndian.AppendUint32(append([]byte("MSGF\x00\x00\x00\x00"), 7, 0, 0, 0), 9)
	sealed, err := seal(c.keys, head, c.plain(plain[4:8], res), c.mode == ua.MessageSecurityModeSignAndEncrypt)
	if err != nil {
		return false
	}
	return s.reply(c, step, sealed)
}

// at is a writable point of the fake's plant.
func at(name string, typ devices.Type) devices.Point {
	return devices.Point{Name: name, Type: typ, Writable: true, OPCUA: &devices.NodeAddress{Namespace: plantURI, ID: "s=" + name}}
}

func set(name string, typ devices.Type, v devices.Value) devices.Setting {
	return devices.Setting{Point: at(name, typ), Value: v}
}

func open(t testing.TB, o Options, ep devices.Endpoint) (*Driver, devices.Link) {
	t.Helper()
	d := New(o)
	t.Cleanup(d.Close)
	l, err := d.Open(t.Context(), ep)
	require.NoError(t, err)
	t.Cleanup(l.Close)
	return d, l
}
