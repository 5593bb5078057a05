package opcua

import (
	"crypto/rsa"
	"crypto/sha1" // OPC UA tools show the SHA-1 of a certificate; SHA-256 is taken as well.
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gopcua/opcua/ua"

	"edgefleet/devices"
)

// security is a checked devices.OPCUASecurity.
type security struct {
	devices.OPCUASecurity
	policy string // URI
	mode   ua.MessageSecurityMode
	// pins are the SHA-1 or SHA-256 of the certificates that the server may
	// have; none with policy None, unless there are.
	pins   [][]byte
	ourURI string
}

// anonymousURI is our application URI where no certificate states one.
const anonymousURI = "urn:edgefleet:worker"

// strong are the policies that are still good: Basic128Rsa15 and Basic256 are
// deprecated by the OPC Foundation because of SHA-1 and PKCS #1 v1.5.
var strong = []string{ua.SecurityPolicyURIBasic256Sha256, ua.SecurityPolicyURIAes128Sha256RsaOaep, ua.SecurityPolicyURIAes256Sha256RsaPss}

// policyName is a policy without the part that all of them share.
func policyName(uri string) string { return strings.TrimPrefix(uri, ua.SecurityPolicyURIPrefix) }

// modeName is the name of a mode in the fleet file.
func modeName(m ua.MessageSecurityMode) string {
	switch m {
	case ua.MessageSecurityModeNone:
		return "None"
	case ua.MessageSecurityModeSign:
		return "Sign"
	case ua.MessageSecurityModeSignAndEncrypt:
		return "SignAndEncrypt"
	}
	return fmt.Sprintf("mode %d", m)
}

// checkSecurity refuses what must not be connected with, before anything is
// sent.
func checkSecurity(given *devices.OPCUASecurity) (*security, error) {
	if given == nil || given.Policy == "" || given.Mode == "" {
		return nil, fmt.Errorf("the policy and mode were not enrolled: an unauthenticated list of endpoints cannot choose them; enrol the device")
	}
	s := &security{OPCUASecurity: *given, policy: ua.SecurityPolicyURIPrefix + policyName(given.Policy), ourURI: anonymousURI}
	switch given.Mode {
	case "None":
		s.mode = ua.MessageSecurityModeNone
	case "Sign":
		s.mode = ua.MessageSecurityModeSign
	case "SignAndEncrypt":
		s.mode = ua.MessageSecurityModeSignAndEncrypt
	default:
		return nil, fmt.Errorf("the mode %q: want Sign or SignAndEncrypt", given.Mode)
	}
	plain := s.policy == ua.SecurityPolicyURINone
	switch {
	case plain != (s.mode == ua.MessageSecurityModeNone):
		return nil, fmt.Errorf("the policy %s does not go with the mode %s", policyName(s.policy), given.Mode)
	case plain && !given.AllowPlaintext:
		return nil, fmt.Errorf("the policy None needs an explicit exception for this device, because anybody on the way can read and change everything")
	case !plain && !slices.Contains(strong, s.policy):
		return nil, fmt.Errorf("the policy %q is not one of Basic256Sha256, Aes128_Sha256_RsaOaep, Aes256_Sha256_RsaPss", given.Policy)
	}
	if (given.UserCert == nil) != (given.UserKey == nil) {
		return nil, fmt.Errorf("a user certificate needs its key, and a key its certificate")
	}
	if given.UserCert != nil && !belong(given.UserCert, given.UserKey) {
		return nil, fmt.Errorf("the user certificate and its key do not belong together")
	}
	var err error
	if s.pins, err = parsePins(given.ServerThumbprint); err != nil {
		return nil, err
	}
	if plain {
		return s, nil
	}
	return s, s.checkOurs()
}

// checkOurs requires what a secure channel needs beside policy and mode.
func (s *security) checkOurs() error {
	switch {
	case len(s.pins) == 0:
		return fmt.Errorf("the thumbprint of the server's certificate was not enrolled: enrol the device and compare it with what the device shows")
	case s.ClientCert == nil || s.ClientKey == nil:
		return fmt.Errorf("the policy %s needs an application certificate and its key on our side", policyName(s.policy))
	case !belong(s.ClientCert, s.ClientKey):
		return fmt.Errorf("our application certificate and its key do not belong together")
	case len(s.ClientCert.URIs) == 0:
		return fmt.Errorf("our application certificate has no application URI in its subject alternative name; make a new one")
	}
	s.ourURI = s.ClientCert.URIs[0].String()
	return nil
}

func belong(cert *x509.Certificate, key *rsa.PrivateKey) bool {
	return key.PublicKey.Equal(cert.PublicKey)
}

// parsePins reads one thumbprint, in hexadecimal digits with colons, dashes or
// blanks between them, or several without blanks inside, and blanks between
// them; no text is no thumbprint.
func parsePins(text string) ([][]byte, error) {
	within := strings.NewReplacer(":", "", "-", "")
	var pins [][]byte
	for _, word := range strings.Fields(text) {
		digest, err := hex.DecodeString(within.Replace(word))
		if err != nil || !isDigest(digest) {
			// It is not several, so it is one that has blanks inside.
			pins = nil
			break
		}
		pins = append(pins, digest)
	}
	if len(pins) > 0 || strings.TrimSpace(text) == "" {
		return pins, nil
	}
	digest, err := hex.DecodeString(strings.Join(strings.Fields(within.Replace(text)), ""))
	if err != nil || !isDigest(digest) {
		return nil, fmt.Errorf("the thumbprint %q: want the 40 hexadecimal digits of a SHA-1 or the 64 of a SHA-256", clip(text))
	}
	return [][]byte{digest}, nil
}

func isDigest(b []byte) bool { return len(b) == sha1.Size || len(b) == sha256.Size }

// matches says whether the certificate is an enrolled one.
func (s *security) matches(cert *x509.Certificate) bool {
	long, short := sha256.Sum256(cert.Raw), sha1.Sum(cert.Raw)
	return slices.ContainsFunc(s.pins, func(pin []byte) bool {
		return slices.Equal(pin, long[:]) || slices.Equal(pin, short[:])
	})
}

// leaf is the first certificate of a chain.
func leaf(chain []byte) (*x509.Certificate, error) {
	certs, err := x509.ParseCertificates(chain)
	if err != nil {
		return nil, fmt.Errorf("the server's certificate cannot be read: %w", err)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("the server shows no certificate")
	}
	return certs[0], nil
}

// choose takes the endpoint that was enrolled out of what the server offers,
// and its certificate. What the server offers is not authenticated: a stranger
// can at most make us refuse.
func (s *security) choose(offers []offer, now time.Time) (offer, *x509.Certificate, error) {
	var have []string
	var last error
	for _, o := range offers {
		have = append(have, policyName(clip(o.policy))+"/"+modeName(o.mode))
		if o.policy != s.policy || o.mode != s.mode || !isBinary(o.transport) {
			continue
		}
		cert, err := leaf(o.certificate)
		if err == nil {
			err = s.checkCertificate(cert, o.applicationURI, now)
		}
		if err == nil {
			return o, cert, nil
		}
		last = err
	}
	if last != nil {
		return offer{}, nil, doubt("%v", last)
	}
	slices.Sort(have)
	return offer{}, nil, doubt("the server no longer offers %s/%s, as it was enrolled with, but %s; nothing else is used: find out who changed it, or enrol the device again",
		policyName(s.policy), s.Mode, strings.Join(slices.Compact(have), ", "))
}

func isBinary(transport string) bool {
	return transport == "" || transport == "http://opcfoundation.org/UA-Profile/Transport/uatcp-uasc-uabinary"
}

// checkCertificate compares the server's certificate with what was enrolled.
func (s *security) checkCertificate(cert *x509.Certificate, announced string, now time.Time) error {
	digest := sha256.Sum256(cert.Raw)
	if !s.matches(cert) {
		return fmt.Errorf("the server's certificate has the thumbprint %s, which is not the enrolled one: somebody may be in between; if the certificate was renewed, enrol the device again", hex.EncodeToString(digest[:]))
	}
	if now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
		return fmt.Errorf("the server's certificate is valid from %s to %s, and now it is %s: renew it on the device, or set the clock",
			cert.NotBefore.UTC().Format(time.RFC3339), cert.NotAfter.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	want := s.ApplicationURI
	if want == "" {
		want = announced
	}
	if uris := certificateURIs(cert); !slices.Contains(uris, want) {
		return fmt.Errorf("the server's certificate is for the application %q, not %q: correct the application URI of the device, or its certificate", clip(strings.Join(uris, ", ")), clip(want))
	}
	if _, ok := cert.PublicKey.(*rsa.PublicKey); !ok {
		return fmt.Errorf("the server's certificate has no RSA key, which the policy %s needs", policyName(s.policy))
	}
	return nil
}

func certificateURIs(cert *x509.Certificate) []string {
	var uris []string
	for _, u := range cert.URIs {
		uris = append(uris, u.String())
	}
	return uris
}

// endpointPath is the path of the URL that the server gives to its endpoint.
// The rest of the URL is not used: where we connect to stands in the fleet
// file, and no server can send us elsewhere.
func endpointPath(text string) string {
	u, err := url.Parse(text)
	if err != nil || len(u.EscapedPath()) > 256 || u.Path == "/" {
		return ""
	}
	return u.EscapedPath()
}

// identity chooses the way of logging in among those that the server offers,
// and reports the policy that protects the secret. With a password, one that
// would show it on the wire is not taken.
func (s *security) identity(tokens []tokenPolicy) (tokenPolicy, error) {
	want, words := ua.UserTokenTypeAnonymous, "anonymous sessions; give the device a user"
	switch {
	case s.UserCert != nil:
		want, words = ua.UserTokenTypeCertificate, "user certificates"
	case s.User != "":
		want, words = ua.UserTokenTypeUserName, "user names"
	}
	var exposed *tokenPolicy
	var seen bool
	for _, t := range tokens {
		if t.kind != want {
			continue
		}
		seen = true
		if t.policy == "" {
			t.policy = s.policy
		}
		switch {
		case want == ua.UserTokenTypeAnonymous, slices.Contains(strong, t.policy):
			return t, nil
		case want == ua.UserTokenTypeUserName && t.policy == ua.SecurityPolicyURINone && exposed == nil:
			exposed = &t
		}
	}
	switch {
	case !seen:
		return tokenPolicy{}, doubt("the server does not take %s", words)
	case exposed == nil:
		return tokenPolicy{}, doubt("the server takes %s only under a policy that is not safe", words)
	case s.mode == ua.MessageSecurityModeSignAndEncrypt || s.AllowPlaintext:
		return *exposed, nil
	}
	return tokenPolicy{}, doubt("the password would be readable on the wire in the mode %s: enrol the device with SignAndEncrypt", s.Mode)
}
