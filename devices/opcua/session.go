package opcua

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/gopcua/opcua/ua"
	"github.com/gopcua/opcua/uapolicy"
)

// sessionTimeout is how long a server shall keep a session that it hears
// nothing of. A session that is not closed in order, because the connection
// broke, occupies a place on the server for as long.
const sessionTimeout = 30 * time.Second

// session is an activated session over its own channel.
type session struct {
	*channel
	token *ua.NodeID
	// What the session learnt of the server. Both may be numbered anew when
	// the server starts, and then the session is gone as well.
	namespaces []string
	types      map[string]builtin
}

// newSession creates and activates a session over an open channel.
func newSession(ctx context.Context, c *channel, sec *security, url string, listed []tokenPolicy, timeout time.Duration) (*session, *fault) {
	s := &session{channel: c, token: ua.NewTwoByteNodeID(0), types: map[string]builtin{}}
	ours, err := newNonce()
	if err != nil {
		return nil, explain(err, false)
	}
	var raw []byte
	if c.cert != nil {
		raw = c.cert.Raw
	}
	r, f := s.ask(ctx, timeout, &ua.CreateSessionRequest{
		ClientDescription: &ua.ApplicationDescription{
			ApplicationURI:  sec.ourURI,
			ProductURI:      "urn:edgefleet",
			ApplicationName: ua.NewLocalizedText("edgefleet"),
			ApplicationType: ua.ApplicationTypeClient,
		},
		EndpointURL:             url,
		SessionName:             "edgefleet",
		ClientNonce:             ours,
		ClientCertificate:       raw,
		RequestedSessionTimeout: float64(sessionTimeout / time.Millisecond),
		MaxResponseMessageSize:  maxMessage,
	})
	if f != nil {
		return nil, f
	}
	answer := r.created()
	if r.err != nil {
		return nil, explain(r.err, false)
	}
	if err := s.checkCreated(answer, ours); err != nil {
		return nil, explain(err, false)
	}
	activate, err := s.activation(answer, sec, listed)
	if err != nil {
		return nil, explain(err, false)
	}
	s.token = answer.token
	if _, f := s.ask(ctx, timeout, activate); f != nil {
		return nil, f
	}
	return s, nil
}

// checkCreated requires the proof that the server has the key of the pinned
// certificate. The channel has given one already; this one is for the session.
func (s *session) checkCreated(answer created, ours []byte) error {
	if !s.secure() {
		return nil
	}
	if len(answer.certificate) < len(s.server.Raw) || !slices.Equal(answer.certificate[:len(s.server.Raw)], s.server.Raw) {
		return doubt("the session's certificate is not the one that was enrolled")
	}
	if len(answer.nonce) < 32 {
		return doubt("the server's nonce has %d bytes: want at least 32", len(answer.nonce))
	}
	algorithm, err := uapolicy.Asymmetric(s.policy, s.key, s.server.PublicKey.(*rsa.PublicKey))
	if err != nil {
		return doubt("%v", err)
	}
	if err := algorithm.VerifySignature(slices.Concat(s.cert.Raw, ours), answer.signature); err != nil {
		return doubt("the server's signature of the session is wrong: %v", err)
	}
	return nil
}

// activation is the request that logs in.
func (s *session) activation(answer created, sec *security, listed []tokenPolicy) (*ua.ActivateSessionRequest, error) {
	tokens := listed
	for _, o := range answer.offers {
		// This list comes over the channel, so it is the server's own.
		if o.policy == s.policy && o.mode == s.mode && len(o.tokens) > 0 {
			tokens = o.tokens
			break
		}
	}
	chosen, err := sec.identity(tokens)
	if err != nil {
		return nil, err
	}
	request := &ua.ActivateSessionRequest{
		ClientSignature:    &ua.SignatureData{},
		LocaleIDs:          []string{"en"},
		UserTokenSignature: &ua.SignatureData{},
	}
	if s.secure() {
		if request.ClientSignature, err = sign(s.policy, s.key, s.server, answer.nonce); err != nil {
			return nil, err
		}
	}
	var token any
	switch chosen.kind {
	case ua.UserTokenTypeUserName:
		name := &ua.UserNameIdentityToken{PolicyID: chosen.id, UserName: sec.User, Password: []byte(sec.Password)}
		if chosen.policy != ua.SecurityPolicyURINone {
			server, err := s.secretFor(answer, sec)
			if err != nil {
				return nil, err
			}
			if name.Password, name.EncryptionAlgorithm, err = encryptSecret(chosen.policy, server, sec.Password, answer.nonce); err != nil {
				return nil, err
			}
		}
		token = name
	case ua.UserTokenTypeCertificate:
		server, err := s.secretFor(answer, sec)
		if err != nil {
			return nil, err
		}
		if request.UserTokenSignature, err = sign(chosen.policy, sec.UserKey, server, answer.nonce); err != nil {
			return nil, err
		}
		token = &ua.X509IdentityToken{PolicyID: chosen.id, CertificateData: sec.UserCert.Raw}
	default:
		token = &ua.AnonymousIdentityToken{PolicyID: chosen.id}
	}
	request.UserIdentityToken = ua.NewExtensionObject(token)
	return request, nil
}

// secretFor is the certificate for which a secret is encrypted. Without
// security on the channel it is the one of the answer, which is compared with
// the enrolled thumbprint when there is one.
func (s *session) secretFor(answer created, sec *security) (*x509.Certificate, error) {
	if s.secure() {
		return s.server, nil
	}
	cert, err := leaf(answer.certificate)
	if err != nil {
		return nil, doubt("%v", err)
	}
	if len(sec.pins) > 0 && !sec.matches(cert) {
		return nil, doubt("the server's certificate is not the enrolled one")
	}
	if _, ok := cert.PublicKey.(*rsa.PublicKey); !ok {
		return nil, doubt("the server's certificate has no RSA key")
	}
	return cert, nil
}

// sign proves to the server that key is ours (OPC 10000-4, section 7.38).
func sign(policy string, key *rsa.PrivateKey, server *x509.Certificate, nonce []byte) (*ua.SignatureData, error) {
	algorithm, err := uapolicy.Asymmetric(policy, key, server.PublicKey.(*rsa.PublicKey))
	if err != nil {
		return nil, doubt("%v", err)
	}
	signature, err := algorithm.Signature(slices.Concat(server.Raw, nonce))
	if err != nil {
		return nil, doubt("the session cannot be signed: %v", err)
	}
	return &ua.SignatureData{Algorithm: algorithm.SignatureURI(), Signature: signature}, nil
}

// encryptSecret encrypts a password with the server's nonce, so that it cannot
// be replayed (OPC 10000-4, section 7.40.2).
func encryptSecret(policy string, server *x509.Certificate, password string, nonce []byte) (secret []byte, uri string, err error) {
	algorithm, err := uapolicy.Asymmetric(policy, nil, server.PublicKey.(*rsa.PublicKey))
	if err != nil {
		return nil, "", doubt("%v", err)
	}
	plain := binary.LittleEndian.AppendUint32(nil, uint32(len(password)+len(nonce)))
	if secret, err = algorithm.Encrypt(slices.Concat(plain, []byte(password), nonce)); err != nil {
		return nil, "", doubt("the password cannot be encrypted: %v", err)
	}
	return secret, algorithm.EncryptionURI(), nil
}

// ask makes one request. The reader stands behind the header of the answer.
func (s *session) ask(ctx context.Context, timeout time.Duration, req ua.Request) (*reader, *fault) {
	var r *reader
	f := s.within(ctx, timeout, func() error {
		var err error
		r, err = s.exchange(req, s.token, timeout)
		return err
	})
	return r, f
}

// query is ask, with an answer that take takes apart. An answer that cannot be
// taken apart leaves open what came of the request.
func (s *session) query(ctx context.Context, timeout time.Duration, req ua.Request, take func(r *reader)) *fault {
	r, f := s.ask(ctx, timeout, req)
	if f != nil {
		return f
	}
	if take(r); r.err != nil {
		s.dead = true
		return explain(r.err, true)
	}
	return nil
}

// leave closes the session and the channel in order, so that the server can
// give their places to others at once. It asks for no more than a moment.
func (s *session) leave(timeout time.Duration) {
	if !s.dead {
		_, f := s.ask(context.Background(), timeout, &ua.CloseSessionRequest{DeleteSubscriptions: true})
		if f == nil {
			s.closeChannel(timeout)
		}
	}
	_ = s.conn.Close()
}

// closeChannel has no answer.
func (c *channel) closeChannel(timeout time.Duration) {
	_ = c.within(context.Background(), timeout, func() error {
		body, err := c.encode(&ua.CloseSecureChannelRequest{}, ua.NewTwoByteNodeID(0), 0)
		if err != nil {
			return err
		}
		return c.sendMessage("CLO", body)
	})
}

// endpointURL is the address of an endpoint as OPC UA writes it.
func endpointURL(address, path string) string { return fmt.Sprintf("opc.tcp://%s%s", address, path) }
