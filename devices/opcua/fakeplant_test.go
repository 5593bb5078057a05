package opcua

import (
	"crypto/x509"
	"fmt"

	"github.com/gopcua/opcua/ua"
)

func (s *fake) offers() []*ua.EndpointDescription {
	secret := ua.SecurityPolicyURIBasic256Sha256
	if s.plainPassword {
		secret = ua.SecurityPolicyURINone
	}
	return []*ua.EndpointDescription{{
		EndpointURL:         "opc.tcp://192.0.2.1:4840/plant",
		Server:              &ua.ApplicationDescription{ApplicationURI: serverURI, ProductURI: "urn:test:product", ApplicationName: ua.NewLocalizedText("fake")},
		ServerCertificate:   s.cert.Raw,
		SecurityMode:        s.mode,
		SecurityPolicyURI:   s.policy,
		TransportProfileURI: "http://opcfoundation.org/UA-Profile/Transport/uatcp-uasc-uabinary",
		UserIdentityTokens: []*ua.UserTokenPolicy{{PolicyID: "anon", TokenType: ua.UserTokenTypeAnonymous},
			{PolicyID: "name", TokenType: ua.UserTokenTypeUserName, SecurityPolicyURI: secret},
			{PolicyID: "cert", TokenType: ua.UserTokenTypeCertificate, SecurityPolicyURI: ua.SecurityPolicyURIBasic256Sha256}},
	}}
}

func (s *fake) handle(c *fakeConn, req ua.Request, kind string) (ua.Response, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch q := req.(type) {
	case *ua.GetEndpointsRequest:
		return &ua.GetEndpointsResponse{Endpoints: s.offers()}, kind
	case *ua.CreateSessionRequest:
		c.nonce, _ = newNonce()
		s.nonce = c.nonce
		res := &ua.CreateSessionResponse{SessionID: ua.NewNumericNodeID(1, 1), AuthenticationToken: ua.NewStringNodeID(1, "secret"),
			ServerNonce: c.nonce, ServerCertificate: s.cert.Raw, ServerEndpoints: s.offers(), ServerSignature: &ua.SignatureData{}}
		if c.keys != nil {
			client, _ := x509.ParseCertificate(c.client)
			res.ServerSignature, _ = sign(c.policy, s.key, client, q.ClientNonce)
		}
		return res, kind
	case *ua.ActivateSessionRequest:
		s.logins = append(s.logins, q.UserIdentityToken.Value)
		return &ua.ActivateSessionResponse{ServerNonce: c.nonce}, kind
	case *ua.ReadRequest:
		step := fmt.Sprintf("Read %d", len(q.NodesToRead))
		if s.limit > 0 && len(q.NodesToRead) > s.limit {
			return faulty(ua.StatusBadTooManyOperations)(nil), step
		}
		res := &ua.ReadResponse{}
		for _, n := range q.NodesToRead {
			res.Results = append(res.Results, s.read(n))
		}
		return res, step
	case *ua.WriteRequest:
		step := fmt.Sprintf("Write %d", len(q.NodesToWrite))
		if s.limit > 0 && len(q.NodesToWrite) > s.limit {
			return faulty(ua.StatusBadTooManyOperations)(nil), step
		}
		res := &ua.WriteResponse{}
		for _, n := range q.NodesToWrite {
			res.Results = append(res.Results, s.write(n))
		}
		return res, step
	case *ua.BrowseRequest:
		return &ua.BrowseResponse{Results: []*ua.BrowseResult{{}}}, kind
	case *ua.CallRequest:
		return &ua.CallResponse{Results: []*ua.CallMethodResult{{OutputArguments: q.MethodsToCall[0].InputArguments}}}, kind
	case *ua.CloseSessionRequest:
		return &ua.CloseSessionResponse{}, kind
	}
	return faulty(ua.StatusBadServiceUnsupported)(nil), kind
}

func (s *fake) read(n *ua.ReadValueID) *ua.DataValue {
	id := n.NodeID.String()
	v, ok := s.nodes[id]
	switch {
	case s.status[id] != 0 && n.AttributeID == ua.AttributeIDValue:
		return &ua.DataValue{EncodingMask: ua.DataValueStatusCode, Status: s.status[id]}
	case !ok:
		return &ua.DataValue{EncodingMask: ua.DataValueStatusCode, Status: ua.StatusBadNodeIDUnknown}
	case n.AttributeID == ua.AttributeIDDataType:
		v = ua.NewTwoByteNodeID(byte(ua.MustVariant(v).Type()))
	}
	return &ua.DataValue{EncodingMask: ua.DataValueValue, Value: ua.MustVariant(v)}
}

func (s *fake) write(n *ua.WriteValue) ua.StatusCode {
	id := n.NodeID.String()
	old, ok := s.nodes[id]
	status := s.status[id]
	switch {
	case bad(status):
		return status
	case !ok:
		return ua.StatusBadNodeIDUnknown
	case ua.MustVariant(old).Type() != n.Value.Value.Type():
		return ua.StatusBadTypeMismatch
	}
	s.nodes[id] = n.Value.Value.Value()
	return status
}
