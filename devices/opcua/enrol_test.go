package opcua

import (
	"strings"
	"testing"

	"github.com/gopcua/opcua/ua"
	"github.com/stretchr/testify/require"

	"edgefleet/devices"
)

var _ devices.Enroller = (*Driver)(nil)

func TestFingerprintsAreThePinsThatTheDriverAccepts(t *testing.T) {
	s := newFake(t, ua.SecurityPolicyURIBasic256Sha256, ua.MessageSecurityModeSignAndEncrypt)
	d := New(Options{})
	defer d.Close()
	for name, sec := range map[string]*devices.OPCUASecurity{
		"nothing is stated":           nil,
		"policy and mode are stated":  {Policy: "Basic256Sha256", Mode: "SignAndEncrypt"},
		"the policy is stated as URI": {Policy: ua.SecurityPolicyURIBasic256Sha256},
		"only the mode is stated":     {Mode: "SignAndEncrypt"},
	} {
		t.Run(name, func(t *testing.T) {
			ep := s.endpoint()
			ep.OPCUA = sec
			got, err := d.Fingerprints(t.Context(), ep)
			require.NoError(t, err)
			require.Equal(t, []string{thumb(s.cert)}, got)
		})
	}
	got, err := d.Fingerprints(t.Context(), s.endpoint())
	require.NoError(t, err)
	ep := s.endpoint()
	ep.OPCUA.ServerThumbprint = strings.Join(append([]string{strings.Repeat("0f", 32)}, got...), " ")
	_, l := open(t, Options{}, ep)
	require.NoError(t, l.Ping(t.Context()))
}

func TestFingerprintsSayWhatTheServerOffersInstead(t *testing.T) {
	s := newFake(t, ua.SecurityPolicyURIBasic256Sha256, ua.MessageSecurityModeSign)
	d := New(Options{})
	defer d.Close()
	ask := func(s *fake, sec *devices.OPCUASecurity) error {
		ep := s.endpoint()
		ep.OPCUA = sec
		got, err := d.Fingerprints(t.Context(), ep)
		require.Nil(t, got)
		return err
	}
	err := ask(s, &devices.OPCUASecurity{Policy: "Aes256_Sha256_RsaPss", Mode: "SignAndEncrypt"})
	require.Equal(t, devices.Auth, devices.KindOf(err))
	require.ErrorContains(t, err, "the server does not offer Aes256_Sha256_RsaPss/SignAndEncrypt with a certificate, but Basic256Sha256/Sign;")
	require.Equal(t, devices.Auth, devices.KindOf(ask(s, &devices.OPCUASecurity{Mode: "SignAndEncrypt"})))
	err = ask(s, &devices.OPCUASecurity{Policy: "None", Mode: "None"})
	require.Equal(t, devices.Unsupported, devices.KindOf(err))
	require.ErrorContains(t, err, "it has no fingerprint")
	err = ask(plain(t), nil)
	require.Equal(t, devices.Unsupported, devices.KindOf(err))
	require.ErrorContains(t, err, "offers nothing that is safe enough, but None/None")
	gone := s.endpoint()
	gone.Address = "127.0.0.1"
	_, err = d.Fingerprints(t.Context(), gone)
	require.Equal(t, devices.Unsupported, devices.KindOf(err))
	s.stop()
	require.Equal(t, devices.Unreachable, devices.KindOf(ask(s, nil)))
}

func TestPinsAreOneThumbprintInAnyFormOrSeveral(t *testing.T) {
	long, short := strings.Repeat("ab", 32), strings.Repeat("cd", 20)
	spaced := strings.TrimSpace(strings.Repeat("AB ", 32))
	for name, c := range map[string]struct {
		text string
		pins int
	}{
		"none":                         {" ", 0},
		"one":                          {long, 1},
		"one with colons":              {strings.ReplaceAll(spaced, " ", ":"), 1},
		"one with dashes":              {strings.ReplaceAll(spaced, " ", "-"), 1},
		"one with blanks":              {spaced, 1},
		"a SHA-1 in groups":            {"cdcdcdcd cdcdcdcd cdcdcdcd cdcdcdcd cdcdcdcd", 1},
		"several":                      {long + " " + strings.ToUpper(short) + "\n" + long, 3},
		"several, the first of colons": {strings.ReplaceAll(spaced, " ", ":") + " " + short, 2},
	} {
		t.Run(name, func(t *testing.T) {
			pins, err := parsePins(c.text)
			require.NoError(t, err)
			require.Len(t, pins, c.pins)
		})
	}
	for _, text := range []string{"ab", long + "ab", long + " ab", long + " xyz", strings.Repeat("g", 64)} {
		_, err := parsePins(text)
		require.ErrorContains(t, err, "want the 40 hexadecimal digits of a SHA-1 or the 64 of a SHA-256", text)
	}
}
