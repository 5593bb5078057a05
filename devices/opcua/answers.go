package opcua

import (
	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/ua"
)

// answerHeader is the common beginning of all answers.
type answerHeader struct {
	handle uint32
	result ua.StatusCode
}

func (r *reader) header() answerHeader {
	r.take(8)
	h := answerHeader{handle: r.u32(), result: r.status()}
	r.diagnostic()
	for range r.count(4) {
		r.bytes()
	}
	r.structure()
	return h
}

// answerTo is the type of the answer that each request has.
func answerTo(req ua.Request) uint32 {
	switch req.(type) {
	case *ua.OpenSecureChannelRequest:
		return id.OpenSecureChannelResponse_Encoding_DefaultBinary
	case *ua.GetEndpointsRequest:
		return id.GetEndpointsResponse_Encoding_DefaultBinary
	case *ua.CreateSessionRequest:
		return id.CreateSessionResponse_Encoding_DefaultBinary
	case *ua.ActivateSessionRequest:
		return id.ActivateSessionResponse_Encoding_DefaultBinary
	case *ua.CloseSessionRequest:
		return id.CloseSessionResponse_Encoding_DefaultBinary
	case *ua.ReadRequest:
		return id.ReadResponse_Encoding_DefaultBinary
	case *ua.WriteRequest:
		return id.WriteResponse_Encoding_DefaultBinary
	case *ua.BrowseRequest:
		return id.BrowseResponse_Encoding_DefaultBinary
	case *ua.BrowseNextRequest:
		return id.BrowseNextResponse_Encoding_DefaultBinary
	case *ua.CallRequest:
		return id.CallResponse_Encoding_DefaultBinary
	}
	return 0
}

// offer is one endpoint of a server, as the server describes it.
type offer struct {
	url, applicationURI, productURI, name string
	certificate                           []byte
	mode                                  ua.MessageSecurityMode
	policy, transport                     string
	tokens                                []tokenPolicy
	level                                 byte
}

// tokenPolicy is one way of logging in.
type tokenPolicy struct {
	id     string
	kind   ua.UserTokenType
	policy string
}

// offers reads an array of EndpointDescription.
func (r *reader) offers() []offer {
	n := r.count(50)
	all := make([]offer, 0, n)
	for range n {
		o := offer{url: r.text(), applicationURI: r.text(), productURI: r.text(), name: r.localizedText()}
		r.u32()   // the application's type
		r.bytes() // gateway
		r.bytes() // discovery profile
		for range r.count(4) {
			r.bytes() // discovery URLs, which are not followed
		}
		o.certificate = r.bytes()
		o.mode = ua.MessageSecurityMode(r.u32())
		o.policy = r.text()
		for range r.count(20) {
			t := tokenPolicy{id: r.text(), kind: ua.UserTokenType(r.u32())}
			r.bytes() // type and place of the issuer of tokens
			r.bytes()
			t.policy = r.text()
			o.tokens = append(o.tokens, t)
		}
		o.transport = r.text()
		o.level = r.u8()
		if r.err != nil {
			return nil
		}
		all = append(all, o)
	}
	return all
}

// created is the answer to CreateSession.
type created struct {
	token              *ua.NodeID
	nonce, certificate []byte
	offers             []offer
	signature          []byte
}

func (r *reader) created() created {
	var c created
	r.nodeID(false)
	c.token, _, _ = r.nodeID(false)
	r.u64() // the time after which the server forgets the session
	c.nonce, c.certificate = r.bytes(), r.bytes()
	c.offers = r.offers()
	for range r.count(8) {
		r.bytes() // software certificates, which the standard has given up
		r.bytes()
	}
	r.bytes() // the algorithm, which the policy says
	c.signature = r.bytes()
	return c
}

// values reads the results of a Read, which have to be n.
func (r *reader) values(n int) []dataValue {
	got := r.count(1)
	if r.err == nil && got != n {
		r.fail("%d results, for %d nodes", got, n)
	}
	out := make([]dataValue, 0, got)
	for range got {
		out = append(out, r.dataValue(0))
	}
	r.diagnostics()
	return out
}

// statuses reads an array of StatusCode.
func (r *reader) statuses() []ua.StatusCode {
	n := r.count(4)
	out := make([]ua.StatusCode, 0, n)
	for range n {
		out = append(out, r.status())
	}
	return out
}

// reference is one result of a Browse.
type reference struct {
	id              *ua.NodeID
	uri             string
	remote          bool
	browse, display string
	class           ua.NodeClass
}

// browsed is one page of the references of one node.
type browsed struct {
	status     ua.StatusCode
	point      []byte
	references []reference
}

func (r *reader) browsed(n int) []browsed {
	if got := r.count(12); r.err == nil && got != n {
		r.fail("%d results, for %d nodes", got, n)
	}
	out := make([]browsed, 0, n)
	for range n {
		b := browsed{status: r.status(), point: r.bytes()}
		for range r.count(15) {
			var ref reference
			r.nodeID(false)
			r.u8()
			ref.id, ref.uri, ref.remote = r.nodeID(true)
			ref.browse, ref.display = r.qualifiedName(), r.localizedText()
			ref.class = ua.NodeClass(r.u32())
			r.nodeID(true)
			b.references = append(b.references, ref)
			if r.err != nil {
				return nil
			}
		}
		out = append(out, b)
	}
	r.diagnostics()
	return out
}

// called is the result of a method call.
type called struct {
	status    ua.StatusCode
	arguments []ua.StatusCode
	outputs   []variant
}

func (r *reader) called() called {
	if got := r.count(16); r.err == nil && got != 1 {
		r.fail("%d results, for 1 call", got)
	}
	c := called{status: r.status(), arguments: r.statuses()}
	r.diagnostics()
	for range r.count(1) {
		c.outputs = append(c.outputs, r.variant(0))
		if r.err != nil {
			break
		}
	}
	r.diagnostics()
	return c
}
