package credentials_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"edgefleet/devices/credentials"
	"edgefleet/devices/inventory"
)

func certificateWithoutURI(t testing.TB, key *rsa.PrivateKey) string {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func certificateOf(t testing.TB, from time.Time) (cert, key string) {
	t.Helper()
	c, k, err := credentials.NewCertificate(credentials.CertificateRequest{ApplicationURI: "urn:test:worker", NotBefore: from, Lifetime: time.Hour})
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})), pkcs8(t, k)
}

func TestCheckSaysWhatEachDeclaredDeviceLacks(t *testing.T) {
	cert, key := application()
	old, oldKey := certificateOf(t, time.Date(2020, 1, 2, 0, 0, 0, 0, time.UTC))
	early, earlyKey := certificateOf(t, time.Date(2120, 1, 2, 0, 0, 0, 0, time.UTC))
	f, dir := folder(t, map[string]string{
		"gateways/username": "edgefleet", "gateways/ssh-privatekey": openSSH(t, ed25519Key(t)),
		"ops/tls.crt": cert, "ops/tls.key": key, "user/username": "operator", "user/password": "hunter2",
		"user-old/tls.crt": cert, "user-old/tls.key": key, "user-old/user.crt": old, "user-old/user.key": oldKey,
		"old/tls.crt": old, "old/tls.key": oldKey, "early/tls.crt": early, "early/tls.key": earlyKey,
	})
	none, secured, host := &inventory.OPCUA{Policy: "None", Mode: "None"}, &inventory.OPCUA{Policy: "Basic256Sha256", Mode: "SignAndEncrypt"}, &inventory.SSH{}
	list := []inventory.Device{
		{ID: "rtu-1"},
		{ID: "gw-1", SSH: host, Credentials: "gateways"},
		{ID: "gw-2", SSH: host, Credentials: "others"},
		{ID: "gw-3", SSH: host},
		{ID: "plc-1", OPCUA: secured, Credentials: "ops"},
		{ID: "plc-2", OPCUA: secured, Credentials: "user"},
		{ID: "plc-3", OPCUA: none, Credentials: "user"},
		{ID: "plc-4", OPCUA: none},
		{ID: "plc-5", OPCUA: secured},
		{ID: "plc-6", OPCUA: secured, Credentials: "old"},
		{ID: "plc-7", OPCUA: secured, Credentials: "early"},
		{ID: "plc-8", OPCUA: secured, Credentials: "user-old"},
	}
	var got []string
	for _, p := range f.Check(list) {
		got = append(got, strings.ReplaceAll(p.String(), dir, "DIR"))
	}
	require.Equal(t, []string{
		"gw-2: the credentials folder DIR/others is not there; make it, or correct the name in the fleet file",
		"gw-3: the declaration names no credentials; add credentials: NAME",
		"plc-2: DIR/user/tls.crt is not there, and the policy Basic256Sha256 needs an application certificate; put an application instance certificate (tls.crt) and its RSA key (tls.key) there, and let the server trust it",
		"plc-5: the declaration names no credentials, and the policy Basic256Sha256 needs an application certificate; add credentials: NAME",
		"plc-6: DIR/old/tls.crt expired on 2020-01-02; make a new one, and let the server trust it",
		"plc-7: DIR/early/tls.crt is not valid before 2120-01-02T00:00:00Z; set the clock, or make a new one",
		"plc-8: DIR/user-old/user.crt expired on 2020-01-02; make a new one, and let the server trust it",
	}, got)
}

func TestAWorkerWithoutCredentialsSaysSo(t *testing.T) {
	var f *credentials.Folder
	_, _, err := f.SSH("gateways")
	require.EqualError(t, err, "the worker has no credentials; start it with --credentials DIR")
	_, err = f.OPCUA("ops")
	require.EqualError(t, err, "the worker has no credentials; start it with --credentials DIR")
	require.Len(t, f.Check([]inventory.Device{{ID: "gw-1", SSH: &inventory.SSH{}, Credentials: "gateways"}, {ID: "rtu-1"}}), 1)
	ages, err := f.Ages()
	require.NoError(t, err)
	require.Empty(t, ages)
}

func TestTheAgeIsThatOfTheOldestKey(t *testing.T) {
	f, dir := folder(t, map[string]string{"b/username": "u", "b/ssh-privatekey": "x", "a/tls.crt": "x", "none/README": "x", "file": "x"})
	old := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	require.NoError(t, os.Chtimes(filepath.Join(dir, "b", "ssh-privatekey"), old, old))
	ages, err := f.Ages()
	require.NoError(t, err)
	require.Len(t, ages, 2)
	require.Equal(t, "a", ages[0].Name)
	require.Equal(t, "b", ages[1].Name)
	require.True(t, ages[1].Since.Equal(old))
}

func TestNewOPCUAMakesAnEntryThatWorksAndReplacesNone(t *testing.T) {
	f, dir := folder(t, nil)
	require.NoError(t, credentials.NewOPCUA(dir, "plant-ops", "urn:plant-7:edgefleet:worker"))
	o, err := f.OPCUA("plant-ops")
	require.NoError(t, err)
	require.Equal(t, "urn:plant-7:edgefleet:worker", o.ApplicationURI())
	require.NoError(t, f.CheckDevice(inventory.Device{OPCUA: &inventory.OPCUA{Policy: "Basic256Sha256"}, Credentials: "plant-ops"}))
	err = credentials.NewOPCUA(dir, "plant-ops", "urn:plant-7:edgefleet:worker")
	require.EqualError(t, err, dir+"/plant-ops/tls.crt is there already, and servers may trust it; make the new one under another name, or remove this one first")
	require.ErrorContains(t, credentials.NewOPCUA(dir, "../x", "urn:a:b"), "want 1 to 63 letters")
	require.ErrorContains(t, credentials.NewOPCUA(dir, "x", "worker"), "want an absolute URI")
	require.ErrorContains(t, credentials.NewOPCUA(filepath.Join(dir, "none"), "x", "urn:a:b"), "is not there; make it first")
	require.NoDirExists(t, filepath.Join(dir, "x"))
}

func TestCertificates(t *testing.T) {
	cert, key, err := credentials.NewCertificate(credentials.CertificateRequest{ApplicationURI: "urn:plant-7:edgefleet:worker", Organization: "Plant 7", Hosts: []string{"worker-1", "10.0.0.9"}})
	require.NoError(t, err)
	require.True(t, key.PublicKey.Equal(cert.PublicKey))
	require.Len(t, cert.URIs, 1)
	require.Equal(t, "urn:plant-7:edgefleet:worker", cert.URIs[0].String())
	require.Equal(t, "edgefleet", cert.Subject.CommonName)
	require.Equal(t, []string{"worker-1"}, cert.DNSNames)
	require.Equal(t, "10.0.0.9", cert.IPAddresses[0].String())
	require.NoError(t, cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature))
	for name, q := range map[string]credentials.CertificateRequest{
		"no application URI":       {},
		"a relative one":           {ApplicationURI: "worker"},
		"a key that is too short":  {ApplicationURI: "urn:x:y", KeyBits: 1024},
		"a key of an unusual size": {ApplicationURI: "urn:x:y", KeyBits: 2049},
	} {
		_, _, err := credentials.NewCertificate(q)
		require.Error(t, err, name)
	}
}
