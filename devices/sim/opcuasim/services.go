package opcuasim

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/subtle"
	"encoding/binary"
	"slices"
	"time"

	"github.com/gopcua/opcua/ua"
	"github.com/gopcua/opcua/uapolicy"
)

// maxSessions is how many sessions the controller has places for.
const maxSessions = 8

// maxNodes is how many nodes one request may name.
const maxNodes = 100

// session is a client's session. It ends with the connection.
type session struct {
	token     *ua.NodeID
	nonce     []byte // the last one that the client has to sign
	activated bool
}

// policies are those with sessions.
func policies() []string {
	return []string{ua.SecurityPolicyURIBasic256Sha256, ua.SecurityPolicyURIAes128Sha256RsaOaep, ua.SecurityPolicyURIAes256Sha256RsaPss}
}

// modeOf is the one mode in which a policy is served.
func modeOf(policy string) ua.MessageSecurityMode {
	if policy == ua.SecurityPolicyURINone {
		return ua.MessageSecurityModeNone
	}
	return ua.MessageSecurityModeSignAndEncrypt
}

const (
	transportProfile = "http://opcfoundation.org/UA-Profile/Transport/uatcp-uasc-uabinary"
	userTokenPolicy  = "username"
)

func (d *Device) application() *ua.ApplicationDescription {
	return &ua.ApplicationDescription{ApplicationURI: ApplicationURI, ProductURI: d.plant.info.ProductURI,
		ApplicationName: ua.NewLocalizedText("PLC-400 " + d.cfg.ID), ApplicationType: ua.ApplicationTypeServer, DiscoveryURLs: []string{d.url()}}
}

func (d *Device) url() string { return "opc.tcp://" + d.Addr() }

func (d *Device) endpoints() []*ua.EndpointDescription {
	var out []*ua.EndpointDescription
	for _, policy := range policies() {
		out = append(out, &ua.EndpointDescription{
			EndpointURL: d.url(), Server: d.application(), ServerCertificate: d.cfg.Identity.Certificate.Raw,
			SecurityMode: modeOf(policy), SecurityPolicyURI: policy, TransportProfileURI: transportProfile,
			SecurityLevel: uapolicy.SecurityLevel(policy, modeOf(policy)),
			UserIdentityTokens: []*ua.UserTokenPolicy{
				{PolicyID: userTokenPolicy, TokenType: ua.UserTokenTypeUserName, SecurityPolicyURI: policy},
			},
		})
	}
	return out
}

// handle answers one request.
func (c *channel) handle(ctx context.Context, request uint32, body []byte) error {
	_, message, err := ua.DecodeService(body)
	q, ok := message.(ua.Request)
	if err != nil || !ok || q.Header() == nil {
		return refuse(ua.StatusBadDecodingError, "the request cannot be read")
	}
	if !c.device.body.Pause(ctx) {
		return ctx.Err()
	}
	answer, status := c.answer(q)
	if answer == nil {
		answer = &ua.ServiceFault{}
	}
	answer.SetHeader(header(q.Header(), status))
	return c.send(request, answer)
}

// answer returns the body of an answer, or the status of a fault.
func (c *channel) answer(q ua.Request) (ua.Response, ua.StatusCode) {
	switch q := q.(type) {
	case *ua.GetEndpointsRequest:
		return &ua.GetEndpointsResponse{Endpoints: c.device.endpoints()}, ua.StatusOK
	case *ua.FindServersRequest:
		return &ua.FindServersResponse{Servers: []*ua.ApplicationDescription{c.device.application()}}, ua.StatusOK
	case *ua.CreateSessionRequest:
		return c.createSession(q)
	}
	s := c.session
	switch {
	case s == nil, q.Header().AuthenticationToken == nil, q.Header().AuthenticationToken.String() != s.token.String():
		return nil, ua.StatusBadSessionIDInvalid
	}
	switch q := q.(type) {
	case *ua.ActivateSessionRequest:
		return c.activateSession(q)
	case *ua.CloseSessionRequest:
		c.leave()
		return &ua.CloseSessionResponse{}, ua.StatusOK
	}
	if !s.activated {
		return nil, ua.StatusBadSessionNotActivated
	}
	switch q := q.(type) {
	case *ua.ReadRequest:
		return c.read(q)
	case *ua.WriteRequest:
		return c.write(q)
	case *ua.CallRequest:
		return c.call(q)
	case *ua.BrowseRequest:
		return c.browse(q)
	}
	return nil, ua.StatusBadServiceUnsupported
}

func newNonce() ([]byte, error) {
	nonce := make([]byte, 32)
	_, err := rand.Read(nonce)
	return nonce, err
}

// sign proves that the server has the key of its certificate.
func (c *channel) sign(data ...[]byte) (*ua.SignatureData, error) {
	algorithm, err := uapolicy.Asymmetric(c.policy, c.device.cfg.Identity.Key, c.client.PublicKey.(*rsa.PublicKey))
	if err != nil {
		return nil, err
	}
	signature, err := algorithm.Signature(slices.Concat(data...))
	return &ua.SignatureData{Algorithm: algorithm.SignatureURI(), Signature: signature}, err
}

func (c *channel) createSession(q *ua.CreateSessionRequest) (ua.Response, ua.StatusCode) {
	if !c.secure() {
		return nil, ua.StatusBadSecurityPolicyRejected
	}
	if !slices.Equal(q.ClientCertificate, c.client.Raw) {
		return nil, ua.StatusBadCertificateInvalid
	}
	if len(q.ClientNonce) < 32 {
		return nil, ua.StatusBadNonceInvalid
	}
	signature, err := c.sign(c.client.Raw, q.ClientNonce)
	if err != nil {
		return nil, ua.StatusBadInternalError
	}
	token, err := newNonce()
	if err != nil {
		return nil, ua.StatusBadInternalError
	}
	nonce, err := newNonce()
	if err != nil {
		return nil, ua.StatusBadInternalError
	}
	c.leave()
	c.device.mu.Lock()
	full := c.device.sessions >= maxSessions
	if !full {
		c.device.sessions++
	}
	c.device.mu.Unlock()
	if full {
		return nil, ua.StatusBadTooManySessions
	}
	c.session = &session{token: ua.NewByteStringNodeID(0, token), nonce: nonce}
	timeout := min(max(q.RequestedSessionTimeout, 10_000), float64(idleTimeout/time.Millisecond))
	return &ua.CreateSessionResponse{
		SessionID: ua.NewNumericNodeID(1, c.id), AuthenticationToken: c.session.token, RevisedSessionTimeout: timeout,
		ServerNonce: nonce, ServerCertificate: c.device.cfg.Identity.Certificate.Raw, ServerEndpoints: c.device.endpoints(),
		ServerSignature: signature, MaxRequestMessageSize: maxMessage,
	}, ua.StatusOK
}

func (c *channel) activateSession(q *ua.ActivateSessionRequest) (ua.Response, ua.StatusCode) {
	algorithm, err := uapolicy.Asymmetric(c.policy, c.device.cfg.Identity.Key, c.client.PublicKey.(*rsa.PublicKey))
	if err != nil {
		return nil, ua.StatusBadInternalError
	}
	if q.ClientSignature == nil || algorithm.VerifySignature(slices.Concat(c.device.cfg.Identity.Certificate.Raw, c.session.nonce), q.ClientSignature.Signature) != nil {
		return nil, ua.StatusBadApplicationSignatureInvalid
	}
	if q.UserIdentityToken == nil {
		return nil, ua.StatusBadIdentityTokenInvalid
	}
	user, ok := q.UserIdentityToken.Value.(*ua.UserNameIdentityToken)
	if !ok {
		return nil, ua.StatusBadIdentityTokenRejected
	}
	password, ok := c.password(user, algorithm)
	if !ok || user.PolicyID != userTokenPolicy {
		return nil, ua.StatusBadIdentityTokenInvalid
	}
	if user.UserName != c.device.cfg.User || subtle.ConstantTimeCompare(password, []byte(c.device.cfg.Password)) != 1 {
		return nil, ua.StatusBadUserAccessDenied
	}
	if c.session.nonce, err = newNonce(); err != nil {
		return nil, ua.StatusBadInternalError
	}
	c.session.activated = true
	return &ua.ActivateSessionResponse{ServerNonce: c.session.nonce}, ua.StatusOK
}

// password decrypts a password, behind which the session's nonce has to stand
// (OPC 10000-4, section 7.40.2).
func (c *channel) password(user *ua.UserNameIdentityToken, algorithm *uapolicy.EncryptionAlgorithm) ([]byte, bool) {
	if user.EncryptionAlgorithm != algorithm.EncryptionURI() {
		return nil, false
	}
	plain, err := algorithm.Decrypt(user.Password)
	if err != nil || len(plain) < 4 {
		return nil, false
	}
	// Behind the secret there may be padding.
	size := int(binary.LittleEndian.Uint32(plain))
	if size < len(c.session.nonce) || size > len(plain)-4 {
		return nil, false
	}
	secret := plain[4 : 4+size]
	at := size - len(c.session.nonce)
	return secret[:at], subtle.ConstantTimeCompare(secret[at:], c.session.nonce) == 1
}
