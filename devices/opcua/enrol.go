package opcua

import (
	"context"
	"crypto/rsa"
	"crypto/sha1" // OPC UA tools show the SHA-1 of a certificate.
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/gopcua/opcua/ua"

	"edgefleet/devices"
)

// Enrolment is what an unauthenticated look at a server shows. It proves
// nothing: onboarding compares the thumbprint with the one in the fleet file,
// or a person with what the device shows.
type Enrolment struct {
	// ApplicationURI, ProductURI and Name are of the first endpoint.
	ApplicationURI, ProductURI, Name string
	Endpoints                        []OfferedEndpoint
}

// OfferedEndpoint is one endpoint that a server offers.
type OfferedEndpoint struct {
	// URL is the server's own idea of its address, which is not dialled.
	URL string
	// Policy and Mode as in devices.OPCUASecurity.
	Policy, Mode string
	// Usable says that this driver would connect so: the policy is one of the
	// three that are still good.
	Usable bool
	// Level is the server's own ranking; more is safer.
	Level int
	// Logins are "anonymous", "username", "certificate" or "token".
	Logins []string
	// Certificate is nil when there is none, or it cannot be read.
	Certificate *Certificate
}

// Certificate describes a server's certificate.
type Certificate struct {
	// SHA1 and SHA256 are thumbprints, in lower-case hexadecimal digits.
	SHA1, SHA256        string
	Subject             string
	NotBefore, NotAfter time.Time
	// ApplicationURIs are those of the subject alternative name.
	ApplicationURIs []string
	// KeyBits is the size of its RSA key; 0 is another kind of key.
	KeyBits int
}

// Enrol looks at a server without authentication. Of ep it uses the address,
// allowed_networks and time-outs.
func (d *Driver) Enrol(ctx context.Context, ep devices.Endpoint) (Enrolment, error) {
	offers, err := d.offers(ctx, ep, "look at the server")
	if err != nil {
		return Enrolment{}, err
	}
	out := Enrolment{ApplicationURI: clip(offers[0].applicationURI), ProductURI: clip(offers[0].productURI), Name: clip(offers[0].name)}
	for _, o := range offers {
		out.Endpoints = append(out.Endpoints, o.offered())
	}
	return out, nil
}

// Fingerprints asks a server, without authentication, for the certificates of
// the endpoints with the policy and mode of ep.OPCUA, or of all that this
// driver would use when it states none of them. It returns the distinct SHA-256
// thumbprints, in lower-case hexadecimal digits, as
// devices.OPCUASecurity.ServerThumbprint takes them. A server that does not
// offer the policy and mode has kind Auth; one that offers nothing that could
// be used, and policy None, with which nobody proves anything, Unsupported.
func (d *Driver) Fingerprints(ctx context.Context, ep devices.Endpoint) ([]string, error) {
	const op = "ask for the certificate"
	l := &link{ep: ep}
	var policy, mode string
	if ep.OPCUA != nil {
		policy, mode = policyName(ep.OPCUA.Policy), ep.OPCUA.Mode
	}
	if policy == "None" || mode == "None" {
		return nil, l.fail(devices.Unsupported, op, fmt.Errorf("with the policy None a server does not prove who it is, so it has no fingerprint"))
	}
	offers, err := d.offers(ctx, ep, op)
	if err != nil {
		return nil, err
	}
	var found, have []string
	for _, o := range offers {
		e := o.offered()
		have = append(have, e.Policy+"/"+e.Mode)
		switch {
		case policy != "" && e.Policy != policy, mode != "" && e.Mode != mode, policy == "" && mode == "" && !e.Usable:
			continue
		case e.Certificate == nil || !isBinary(o.transport):
			continue
		case !slices.Contains(found, e.Certificate.SHA256):
			found = append(found, e.Certificate.SHA256)
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	slices.Sort(have)
	offered := strings.Join(slices.Compact(have), ", ")
	if policy == "" && mode == "" {
		return nil, l.fail(devices.Unsupported, op, fmt.Errorf("the server offers nothing that is safe enough, but %s; switch on Basic256Sha256 with SignAndEncrypt", offered))
	}
	return nil, l.fail(devices.Auth, op, fmt.Errorf("the server does not offer %s with a certificate, but %s; correct the device's policy and mode in the fleet file",
		strings.Trim(clip(policy)+"/"+clip(mode), "/"), offered))
}

// offers looks at a server; there is at least one offer, or an error.
func (d *Driver) offers(ctx context.Context, ep devices.Endpoint, op string) (offers []offer, err error) {
	l := &link{ep: ep}
	if _, _, err := devices.SplitAddress(ep.Address); err != nil {
		return nil, l.fail(devices.Unsupported, op, err)
	}
	defer func() {
		if p := recover(); p != nil {
			err = l.fail(devices.Rejected, op, fmt.Errorf("the answer broke the driver: %v\n%s", p, debug.Stack()))
		}
	}()
	ctx, release := d.lines.Bind(ctx)
	defer release()
	if err := d.lines.TakeSlot(ctx); err != nil {
		return nil, fmt.Errorf("%s: %s: %w", name(ep), op, err)
	}
	defer d.lines.GiveSlot()
	offers, f := look(ctx, d.lines, &ep)
	if f != nil {
		return nil, l.verdict(op, false, f)
	}
	if len(offers) == 0 {
		return nil, l.fail(devices.Rejected, op, fmt.Errorf("the server offers no endpoint"))
	}
	return offers, nil
}

func (o offer) offered() OfferedEndpoint {
	e := OfferedEndpoint{URL: clip(o.url), Policy: clip(policyName(o.policy)), Mode: modeName(o.mode), Level: int(o.level)}
	for _, t := range o.tokens {
		e.Logins = append(e.Logins, loginName(t.kind))
	}
	cert, err := leaf(o.certificate)
	if err != nil {
		return e
	}
	one, two := sha1.Sum(cert.Raw), sha256.Sum256(cert.Raw)
	e.Certificate = &Certificate{SHA1: hex.EncodeToString(one[:]), SHA256: hex.EncodeToString(two[:]), Subject: clip(cert.Subject.String()),
		NotBefore: cert.NotBefore, NotAfter: cert.NotAfter, ApplicationURIs: certificateURIs(cert)}
	if key, ok := cert.PublicKey.(*rsa.PublicKey); ok {
		e.Certificate.KeyBits = key.N.BitLen()
	}
	for _, p := range strong {
		secured := o.mode == ua.MessageSecurityModeSign || o.mode == ua.MessageSecurityModeSignAndEncrypt
		e.Usable = e.Usable || p == o.policy && secured && e.Certificate.KeyBits >= 2048 && isBinary(o.transport)
	}
	return e
}

func loginName(t ua.UserTokenType) string {
	switch t {
	case ua.UserTokenTypeAnonymous:
		return "anonymous"
	case ua.UserTokenTypeUserName:
		return "username"
	case ua.UserTokenTypeCertificate:
		return "certificate"
	}
	return "token"
}
