package opcua

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gopcua/opcua/ua"
	"github.com/gopcua/opcua/uapolicy"
	"github.com/stretchr/testify/require"

	"edgefleet/devices"
)

func TestWeakOrIncompleteSecurityIsRefusedBeforeAnythingIsSent(t *testing.T) {
	cert, key := identityOf(t, clientURI)
	other, otherKey := identityOf(t, "urn:test:stranger")
	good := devices.OPCUASecurity{Policy: "Basic256Sha256", Mode: "SignAndEncrypt", ServerThumbprint: strings.Repeat("ab", 32), ClientCert: cert, ClientKey: key}
	for name, c := range map[string]struct {
		change func(s *devices.OPCUASecurity)
		words  string
	}{
		"no policy":                            {func(s *devices.OPCUASecurity) { s.Policy = "" }, "were not enrolled"},
		"no mode":                              {func(s *devices.OPCUASecurity) { s.Mode = "" }, "were not enrolled"},
		"an unknown mode":                      {func(s *devices.OPCUASecurity) { s.Mode = "Encrypt" }, `the mode "Encrypt"`},
		"a deprecated policy":                  {func(s *devices.OPCUASecurity) { s.Policy = "Basic256" }, "is not one of"},
		"an older deprecated policy":           {func(s *devices.OPCUASecurity) { s.Policy = "Basic128Rsa15" }, "is not one of"},
		"an unknown policy":                    {func(s *devices.OPCUASecurity) { s.Policy = "Best" }, "is not one of"},
		"a policy without its mode":            {func(s *devices.OPCUASecurity) { s.Mode = "None" }, "does not go with the mode None"},
		"None with a mode":                     {func(s *devices.OPCUASecurity) { s.Policy = "None" }, "does not go with"},
		"None without the exception":           {func(s *devices.OPCUASecurity) { s.Policy, s.Mode = "None", "None" }, "needs an explicit exception"},
		"no thumbprint":                        {func(s *devices.OPCUASecurity) { s.ServerThumbprint = "" }, "thumbprint of the server's certificate was not enrolled"},
		"a thumbprint that is not hexadecimal": {func(s *devices.OPCUASecurity) { s.ServerThumbprint = "xyz" }, "hexadecimal"},
		"no certificate of ours":               {func(s *devices.OPCUASecurity) { s.ClientCert = nil }, "needs an application certificate"},
		"no key of ours":                       {func(s *devices.OPCUASecurity) { s.ClientKey = nil }, "needs an application certificate"},
		"another key":                          {func(s *devices.OPCUASecurity) { s.ClientKey = otherKey }, "do not belong together"},
		"a user certificate without its key":   {func(s *devices.OPCUASecurity) { s.UserCert = other }, "needs its key"},
		"a user certificate with another key":  {func(s *devices.OPCUASecurity) { s.UserCert, s.UserKey = other, key }, "do not belong together"},
	} {
		t.Run(name, func(t *testing.T) {
			sec := good
			c.change(&sec)
			d := New(Options{})
			defer d.Close()
			_, err := d.Open(t.Context(), devices.Endpoint{DeviceID: "dev-1", Address: "192.0.2.1:4840", OPCUA: &sec})
			require.Equal(t, devices.Auth, devices.KindOf(err))
			require.ErrorContains(t, err, c.words)
		})
	}
	d := New(Options{})
	defer d.Close()
	_, err := d.Open(t.Context(), devices.Endpoint{DeviceID: "dev-1", Address: "192.0.2.1:4840"})
	require.Equal(t, devices.Auth, devices.KindOf(err))
	_, err = d.Open(t.Context(), devices.Endpoint{DeviceID: "dev-1", Address: "192.0.2.1", OPCUA: &good})
	require.Equal(t, devices.Unsupported, devices.KindOf(err))
	l, err := d.Open(t.Context(), devices.Endpoint{DeviceID: "dev-1", Address: "192.0.2.1:4840", OPCUA: &good})
	require.NoError(t, err)
	l.Close()
}

func TestTheServersCertificateIsCheckedAgainstTheClockAndTheEnrolment(t *testing.T) {
	s := newFake(t, ua.SecurityPolicyURIBasic256Sha256, ua.MessageSecurityModeSign)
	at := func(when time.Time) Options { return Options{Now: func() time.Time { return when }} }
	digest := sha1.Sum(s.cert.Raw)
	for name, c := range map[string]struct {
		options Options
		change  func(s *devices.OPCUASecurity)
		words   string
	}{
		"as enrolled":              {},
		"by the SHA-1":             {change: func(s *devices.OPCUASecurity) { s.ServerThumbprint = hex.EncodeToString(digest[:]) }},
		"as the server announces":  {change: func(s *devices.OPCUASecurity) { s.ApplicationURI = "" }},
		"of yesterday":             {options: at(s.cert.NotBefore.Add(-time.Minute)), words: "set the clock"},
		"expired":                  {options: at(s.cert.NotAfter.Add(time.Minute)), words: "renew it on the device"},
		"for another application":  {change: func(s *devices.OPCUASecurity) { s.ApplicationURI = "urn:other" }, words: `for the application "urn:test:server", not "urn:other"`},
		"with another thumbprint":  {change: func(s *devices.OPCUASecurity) { s.ServerThumbprint = strings.Repeat("00", 32) }, words: thumb(s.cert)},
		"of another mode":          {change: func(s *devices.OPCUASecurity) { s.Mode = "SignAndEncrypt" }, words: "but Basic256Sha256/Sign; nothing else is used"},
		"of another strong policy": {change: func(s *devices.OPCUASecurity) { s.Policy = "Aes256_Sha256_RsaPss" }, words: "no longer offers Aes256_Sha256_RsaPss/Sign"},
	} {
		t.Run(name, func(t *testing.T) {
			ep := s.endpoint()
			if c.change != nil {
				c.change(ep.OPCUA)
			}
			_, l := open(t, c.options, ep)
			err := l.Ping(t.Context())
			if c.words == "" {
				require.NoError(t, err)
				return
			}
			require.Equal(t, devices.Auth, devices.KindOf(err), "%v", err)
			require.ErrorContains(t, err, c.words)
		})
	}
}

func TestACertificateThatExpiresMeanwhileIsRefused(t *testing.T) {
	s := newFake(t, ua.SecurityPolicyURIBasic256Sha256, ua.MessageSecurityModeSign)
	now := time.Now()
	_, l := open(t, Options{Now: func() time.Time { return now }}, s.endpoint())
	require.NoError(t, l.Ping(t.Context()))
	s.cutAll()
	now = s.cert.NotAfter.Add(time.Hour)
	require.Equal(t, devices.Auth, devices.KindOf(l.Ping(t.Context())))
}

func TestARenewedCertificateIsRefusedUntilItIsEnrolled(t *testing.T) {
	s := newFake(t, ua.SecurityPolicyURIBasic256Sha256, ua.MessageSecurityModeSignAndEncrypt)
	d, l := open(t, Options{}, s.endpoint())
	require.NoError(t, l.Ping(t.Context()))
	s.mu.Lock()
	s.cert, s.key = identityOf(t, "urn:test:server:renewed")
	s.mu.Unlock()
	s.cutAll()
	err := l.Ping(t.Context())
	require.Equal(t, devices.Auth, devices.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "if the certificate was renewed, enrol the device again")

	ep := s.endpoint()
	ep.OPCUA.ApplicationURI = "urn:test:server:renewed"
	again, err := d.Open(t.Context(), ep)
	require.NoError(t, err)
	defer again.Close()
	require.NoError(t, again.Ping(t.Context()))
}

func TestAnEllipticKeyIsRefusedInWords(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template, _ := identityOf(t, serverURI)
	template = &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: template.NotBefore, NotAfter: template.NotAfter, URIs: template.URIs}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	sec := &security{policy: ua.SecurityPolicyURIBasic256Sha256}
	sec.pins, err = parsePins(thumb(cert))
	require.NoError(t, err)
	require.ErrorContains(t, sec.checkCertificate(cert, serverURI, time.Now()), "no RSA key")
}

func TestOurOwnAddressIsDialledWhateverTheServerSays(t *testing.T) {
	s := newFake(t, ua.SecurityPolicyURIBasic256Sha256, ua.MessageSecurityModeSign)
	ep := s.endpoint()
	_, l := open(t, Options{}, ep)
	require.NoError(t, l.Ping(t.Context()))
	// The fake says that it is at 192.0.2.1, under /plant.
	require.Equal(t, []string{"opc.tcp://" + ep.Address, "opc.tcp://" + ep.Address + "/plant"}, s.urls)
	for in, want := range map[string]string{"opc.tcp://h:1/a/b": "/a/b", "opc.tcp://h:1/": "", "opc.tcp://h:1": "", "%zz": "",
		"opc.tcp://h:1/" + strings.Repeat("x", 300): "", "opc.tcp://h:1/a b": "/a%20b"} {
		require.Equal(t, want, endpointPath(in), in)
	}
}

func TestAnAddressOutsideAllowedNetworksIsNotReached(t *testing.T) {
	s := plain(t)
	d, l := open(t, Options{}, s.endpoint())
	require.NoError(t, l.Ping(t.Context()))
	s.took()
	ep := s.endpoint()
	ep.Allowed = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	// Also not over the session that somebody else has open.
	fenced, err := d.Open(t.Context(), ep)
	require.NoError(t, err)
	defer fenced.Close()
	err = fenced.Ping(t.Context())
	require.Equal(t, devices.Auth, devices.KindOf(err))
	require.ErrorContains(t, err, "outside allowed_networks")
	_, err = d.Enrol(t.Context(), ep)
	require.Equal(t, devices.Auth, devices.KindOf(err))
	require.Empty(t, s.took())
}

func TestAPasswordIsEncryptedForTheServer(t *testing.T) {
	s := newFake(t, ua.SecurityPolicyURIAes256Sha256RsaPss, ua.MessageSecurityModeSign)
	ep := s.endpoint()
	ep.OPCUA.User, ep.OPCUA.Password = "operator", "secret"
	_, l := open(t, Options{}, ep)
	require.NoError(t, l.Ping(t.Context()))
	token := s.logins[0].(*ua.UserNameIdentityToken)
	require.Equal(t, "operator", token.UserName)
	require.Equal(t, "name", token.PolicyID)
	require.NotContains(t, string(token.Password), "secret")
	algorithm, err := uapolicy.Asymmetric(ua.SecurityPolicyURIBasic256Sha256, s.key, nil)
	require.NoError(t, err)
	plain, err := algorithm.Decrypt(token.Password)
	require.NoError(t, err)
	require.Equal(t, uint32(6+32), binary.LittleEndian.Uint32(plain))
	require.Equal(t, "secret"+string(s.nonce), string(plain[4:]))
}

func TestAPasswordIsNotShownOnTheWire(t *testing.T) {
	for name, c := range map[string]struct {
		policy string
		mode   ua.MessageSecurityMode
		want   devices.Kind
	}{
		"a channel that is only signed": {ua.SecurityPolicyURIBasic256Sha256, ua.MessageSecurityModeSign, devices.Auth},
		"a channel that is encrypted":   {ua.SecurityPolicyURIBasic256Sha256, ua.MessageSecurityModeSignAndEncrypt, ""},
		"the explicit exception":        {ua.SecurityPolicyURINone, ua.MessageSecurityModeNone, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFake(t, c.policy, c.mode)
			s.plainPassword = true
			ep := s.endpoint()
			ep.OPCUA.User, ep.OPCUA.Password = "operator", "secret"
			_, l := open(t, Options{}, ep)
			err := l.Ping(t.Context())
			require.Equal(t, c.want, devices.KindOf(err), "%v", err)
			if c.want != "" {
				require.ErrorContains(t, err, "readable on the wire")
				require.Empty(t, s.logins)
			}
		})
	}
}

func TestAPasswordOverAPlainChannelIsEncryptedForThePinnedCertificate(t *testing.T) {
	s := plain(t)
	ep := s.endpoint()
	ep.OPCUA.User, ep.OPCUA.Password, ep.OPCUA.ServerThumbprint = "operator", "secret", thumb(s.cert)
	d, l := open(t, Options{}, ep)
	require.NoError(t, l.Ping(t.Context()))
	require.NotContains(t, string(s.logins[0].(*ua.UserNameIdentityToken).Password), "secret")

	other := s.endpoint()
	other.OPCUA.User, other.OPCUA.Password, other.OPCUA.ServerThumbprint = "operator", "secret", strings.Repeat("00", 32)
	l2, err := d.Open(t.Context(), other)
	require.NoError(t, err)
	defer l2.Close()
	require.Equal(t, devices.Auth, devices.KindOf(l2.Ping(t.Context())))
	require.Len(t, s.logins, 1)
}

func TestAUserCertificateSigns(t *testing.T) {
	s := newFake(t, ua.SecurityPolicyURIBasic256Sha256, ua.MessageSecurityModeSignAndEncrypt)
	ep := s.endpoint()
	ep.OPCUA.UserCert, ep.OPCUA.UserKey = identityOf(t, "urn:test:stranger")
	_, l := open(t, Options{}, ep)
	require.NoError(t, l.Ping(t.Context()))
	require.Equal(t, ep.OPCUA.UserCert.Raw, s.logins[0].(*ua.X509IdentityToken).CertificateData)
}

func TestALoginIsNotTriedTwice(t *testing.T) {
	s := newFake(t, ua.SecurityPolicyURIBasic256Sha256, ua.MessageSecurityModeSignAndEncrypt)
	_, l := open(t, Options{}, s.endpoint())
	require.NoError(t, l.Ping(t.Context()))
	s.cutAll()
	s.took()
	s.answer("ActivateSession", faulty(ua.StatusBadIdentityTokenRejected))
	err := l.Ping(t.Context())
	require.Equal(t, devices.Auth, devices.KindOf(err), "%v", err)
	require.Equal(t, 1, s.count("ActivateSession"))
}

func TestEnrolTellsWhatItSees(t *testing.T) {
	s := newFake(t, ua.SecurityPolicyURIBasic256Sha256, ua.MessageSecurityModeSignAndEncrypt)
	d := New(Options{})
	defer d.Close()
	got, err := d.Enrol(t.Context(), s.endpoint())
	require.NoError(t, err)
	require.Equal(t, serverURI, got.ApplicationURI)
	require.Equal(t, "fake", got.Name)
	e := got.Endpoints[0]
	require.Equal(t, "Basic256Sha256", e.Policy)
	require.Equal(t, "SignAndEncrypt", e.Mode)
	require.True(t, e.Usable)
	require.Equal(t, []string{"anonymous", "username", "certificate"}, e.Logins)
	require.Equal(t, &Certificate{SHA1: e.Certificate.SHA1, SHA256: thumb(s.cert), Subject: "CN=test", NotBefore: s.cert.NotBefore,
		NotAfter: s.cert.NotAfter, ApplicationURIs: []string{serverURI}, KeyBits: 2048}, e.Certificate)
	s.answer("GetEndpoints", func(ua.Response) ua.Response { return &ua.GetEndpointsResponse{} })
	_, err = d.Enrol(t.Context(), s.endpoint())
	require.ErrorContains(t, err, "offers no endpoint")
}
