package devices

import (
	"crypto/rsa"
	"crypto/x509"
)

// NodeAddress is where a point stands in the address space of an OPC UA
// server (OPC 10000-3, section 8.2).
type NodeAddress struct {
	// Namespace is the URI of the namespace; empty is the standard one. The
	// index that a server gives to it is looked up in each session, because
	// servers may number their namespaces anew at each start.
	Namespace string
	// ID is the identifier in the namespace: "s=Pump.Setpoint", "i=1001",
	// "g=<GUID>" or "b=<base64>".
	ID string
	// Type is the exact built-in type of the node's value: "Boolean", "SByte",
	// "Byte", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64", "Float",
	// "Double" or "String". When it is empty, the server's DataType attribute
	// says it. When it is stated, a value of another type is refused.
	Type string
}

// MethodAddress is a method of an OPC UA server, with the arguments of one
// call: a restart, a reset.
type MethodAddress struct {
	// Namespace is the URI of the namespace of both Object and Method; empty
	// is the standard one.
	Namespace string
	// Object and Method are identifiers as in NodeAddress.ID.
	Object, Method string
	// Args are the input arguments, in the method's order.
	Args []MethodArgument
}

// MethodArgument is one input argument of a method.
type MethodArgument struct {
	// Name is for errors; empty is the argument's place, from 1.
	Name string
	// Type is a built-in type, as in NodeAddress.Type. Methods take no other.
	Type string
	// Value is a bool, int, int64, uint64, float64 or string.
	Value any
}

// OPCUASecurity is how an OPC UA server is reached and how the two sides know
// each other: what was enrolled, and is never negotiated down. It holds
// secrets: no way of printing or marshalling it shows them.
type OPCUASecurity struct {
	// Policy is "Basic256Sha256", "Aes128_Sha256_RsaOaep" or
	// "Aes256_Sha256_RsaPss"; "None" needs AllowPlaintext. The URI that ends
	// so is taken as well.
	Policy string
	// Mode is "SignAndEncrypt" or "Sign"; with policy None it is "None".
	Mode string
	// AllowPlaintext is the explicit exception for a server that has no
	// security: anybody on the way can read and change everything, the
	// password included.
	AllowPlaintext bool
	// ServerThumbprint pins the server's certificate: the SHA-1 of its DER
	// form, as OPC UA tools show it (40 hexadecimal digits), or better its
	// SHA-256 (64). Colons, blanks and case do not count. Several thumbprints,
	// each without blanks, are separated by blanks: the server may have any of
	// these certificates. It is required but with policy None.
	ServerThumbprint string
	// ApplicationURI is the server's application URI, which its certificate
	// has to carry; when it is empty, the one that the server announces.
	ApplicationURI string
	// ClientCert and ClientKey are our application instance certificate, and
	// are required but with policy None.
	ClientCert *x509.Certificate
	ClientKey  *rsa.PrivateKey
	// User and Password log in by name; UserCert and UserKey by certificate.
	// Without either the session is anonymous.
	User, Password string
	UserCert       *x509.Certificate
	UserKey        *rsa.PrivateKey
}

// String says which security it is, without a secret.
func (s OPCUASecurity) String() string {
	text := s.Policy + "/" + s.Mode
	switch {
	case s.UserCert != nil:
		return text + " with a user certificate"
	case s.User != "":
		return text + " as " + s.User
	}
	return text + " anonymously"
}

// GoString is String, so that %#v shows no secret either.
func (s OPCUASecurity) GoString() string { return "devices.OPCUASecurity{" + s.String() + "}" }

// MarshalText is String: JSON and YAML show no secret either.
func (s OPCUASecurity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
