package credentials_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"golang.org/x/crypto/ssh"

	"edgefleet/devices/credentials"
)

// folder returns credentials with these files, by "name/key".
func folder(t testing.TB, files map[string]string) (*credentials.Folder, string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		put(t, filepath.Join(dir, name), text)
	}
	f, err := credentials.Open(dir)
	require.NoError(t, err)
	return f, dir
}

func put(t testing.TB, file, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
}

func openSSH(t testing.TB, key any) string {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(key, "")
	require.NoError(t, err)
	return string(pem.EncodeToMemory(block))
}

func pkcs8(t testing.TB, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func ed25519Key(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	return key
}

// application is a certificate and its key in the PEM form, made once.
var application = sync.OnceValues(func() (string, string) {
	cert, key, err := credentials.NewCertificate(credentials.CertificateRequest{ApplicationURI: "urn:test:worker"})
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})),
		string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
})

func TestEveryFormAndTypeOfPrivateKeyLogsIn(t *testing.T) {
	ed := ed25519Key(t)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	big, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	ecDER, err := x509.MarshalECPrivateKey(ec)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		text string
		key  crypto.Signer
	}{
		"ed25519 as OpenSSH":          {openSSH(t, ed), ed},
		"ed25519 as PEM":              {pkcs8(t, ed), ed},
		"ECDSA as OpenSSH":            {openSSH(t, ec), ec},
		"ECDSA as PEM":                {pkcs8(t, ec), ec},
		"ECDSA as PEM of its own":     {string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: ecDER})), ec},
		"RSA as OpenSSH":              {openSSH(t, big), big},
		"RSA as PEM":                  {pkcs8(t, big), big},
		"RSA as PEM of its own":       {string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(big)})), big},
		"a file without its last end": {strings.TrimSuffix(openSSH(t, ed), "\n"), ed},
	} {
		t.Run(name, func(t *testing.T) {
			f, _ := folder(t, map[string]string{"gateways/username": "edgefleet\n", "gateways/ssh-privatekey": c.text})
			user, key, err := f.SSH("gateways")
			require.NoError(t, err)
			require.Equal(t, "edgefleet", user)
			require.Equal(t, c.key.Public(), key.Public())
		})
	}
}

func TestAnSSHEntryIsRefusedInWords(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0")
	good := openSSH(t, ed25519Key(t))
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	locked, err := ssh.MarshalPrivateKeyWithPassphrase(ed25519Key(t), "", []byte("hunter2"))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"no entry":               {nil, "the credentials folder DIR/gw is not there; make it, or correct the name in the fleet file"},
		"no user":                {map[string]string{"gw/ssh-privatekey": good}, "DIR/gw/username is not there; write the user's name into it, for example: echo edgefleet > DIR/gw/username"},
		"no key":                 {map[string]string{"gw/username": "u"}, "DIR/gw/ssh-privatekey is not there; make one: ssh-keygen -t ed25519 -N '' -f DIR/gw/ssh-privatekey, and put its .pub into authorized_keys on the devices"},
		"an empty user":          {map[string]string{"gw/username": "\n", "gw/ssh-privatekey": good}, "DIR/gw/username is empty; write the username into it"},
		"a user of two lines":    {map[string]string{"gw/username": "a\nb\n", "gw/ssh-privatekey": good}, "DIR/gw/username is not one line of text in UTF-8; write the username into it, and nothing else"},
		"a user that is no text": {map[string]string{"gw/username": "\xff", "gw/ssh-privatekey": good}, "DIR/gw/username is not one line of text in UTF-8; write the username into it, and nothing else"},
		"a key that is none":     {map[string]string{"gw/username": "u", "gw/ssh-privatekey": "hunter2"}, "DIR/gw/ssh-privatekey holds no private key; want one in the PEM or the OpenSSH form, without a passphrase"},
		"a key that is broken":   {map[string]string{"gw/username": "u", "gw/ssh-privatekey": strings.Replace(good, "AAAA", "AAAB", 1)}, "DIR/gw/ssh-privatekey holds no private key; want one in the PEM or the OpenSSH form, without a passphrase"},
		"a public key": {map[string]string{"gw/username": "u", "gw/ssh-privatekey": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE"},
			"DIR/gw/ssh-privatekey holds no private key; want one in the PEM or the OpenSSH form, without a passphrase"},
		"a weak key": {map[string]string{"gw/username": "u", "gw/ssh-privatekey": openSSH(t, weak)}, "DIR/gw/ssh-privatekey is an RSA key of less than 2048 bits; make a new one"},
		"a locked key": {map[string]string{"gw/username": "u", "gw/ssh-privatekey": string(pem.EncodeToMemory(locked))},
			"DIR/gw/ssh-privatekey has a passphrase, which nobody is there to type; remove it (ssh-keygen -p -N '' -f FILE) and protect the file instead"},
		"a locked key of another form": {map[string]string{"gw/username": "u", "gw/ssh-privatekey": "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n"},
			"DIR/gw/ssh-privatekey has a passphrase, which nobody is there to type; remove it (ssh-keygen -p -N '' -f FILE) and protect the file instead"},
		"more than a key":     {map[string]string{"gw/username": "u", "gw/ssh-privatekey": strings.Repeat("x", 64<<10+1)}, "DIR/gw/ssh-privatekey has more than 65536 bytes; put the secret alone into it"},
		"a folder for a file": {map[string]string{"gw/username/x": "u"}, "DIR/gw/username is not a regular file; put the secret into a file of that name"},
		"a file for an entry": {map[string]string{"gw": "u"}, "DIR/gw is not a folder; make it, or correct the name in the fleet file"},
	} {
		t.Run(name, func(t *testing.T) {
			f, dir := folder(t, c.files)
			_, _, err := f.SSH("gw")
			require.Error(t, err)
			require.Equal(t, c.want, strings.ReplaceAll(err.Error(), dir, "DIR"))
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
}

func TestAFileThatOthersCanReadOrChangeIsRefused(t *testing.T) {
	f, dir := folder(t, map[string]string{"gw/username": "u", "gw/ssh-privatekey": openSSH(t, ed25519Key(t))})
	file := filepath.Join(dir, "gw", "ssh-privatekey")
	for mode, fine := range map[os.FileMode]bool{0o400: true, 0o600: true, 0o440: true, 0o640: true, 0o644: false, 0o604: false, 0o602: false, 0o620: false, 0o660: false} {
		require.NoError(t, os.Chmod(file, mode))
		_, _, err := f.SSH("gw")
		if fine {
			require.NoError(t, err, "%04o", mode)
			continue
		}
		require.EqualError(t, err, fmt.Sprintf("%s has the mode %04o, so that others on this machine can read or change it; chmod 0400 it, or 0440 for a group (defaultMode: 0440 in Kubernetes)", file, mode))
	}
	require.NoError(t, os.Chmod(file, 0o400))
	require.NoError(t, os.Chmod(filepath.Join(dir, "gw"), 0o777))
	_, _, err := f.SSH("gw")
	require.ErrorContains(t, err, "has the mode 0777, so that others on this machine can exchange what is in it; chmod 0750 it")
	require.NoError(t, os.Chmod(filepath.Join(dir, "gw"), 0o777|os.ModeSticky), "as Kubernetes mounts secrets")
	_, _, err = f.SSH("gw")
	require.NoError(t, err)
}

func TestNamesStayInsideTheFolder(t *testing.T) {
	f, _ := folder(t, nil)
	for _, name := range []string{"", "..", "a/b", "../x", "/etc", "..data"} {
		_, _, err := f.SSH(name)
		require.ErrorContains(t, err, "want 1 to 63 letters", name)
		_, err = f.OPCUA(name)
		require.ErrorContains(t, err, "want 1 to 63 letters", name)
	}
}

func TestASecretAsKubernetesMountsItIsFollowedWhenItIsRotated(t *testing.T) {
	f, dir := folder(t, nil)
	entry := filepath.Join(dir, "gw")
	first, second := ed25519Key(t), ed25519Key(t)
	put(t, filepath.Join(entry, "..2026_11_01", "username"), "old\n")
	put(t, filepath.Join(entry, "..2026_11_01", "ssh-privatekey"), openSSH(t, first))
	put(t, filepath.Join(entry, "..2026_11_23", "username"), "new\n")
	put(t, filepath.Join(entry, "..2026_11_23", "ssh-privatekey"), openSSH(t, second))
	require.NoError(t, os.Symlink("..2026_11_01", filepath.Join(entry, "..data")))
	for _, key := range []string{"username", "ssh-privatekey"} {
		require.NoError(t, os.Symlink(filepath.Join("..data", key), filepath.Join(entry, key)))
	}
	user, key, err := f.SSH("gw")
	require.NoError(t, err)
	require.Equal(t, "old", user)
	require.Equal(t, first.Public(), key.Public())
	require.NoError(t, os.Symlink("..2026_11_23", filepath.Join(entry, "..data_tmp")))
	require.NoError(t, os.Rename(filepath.Join(entry, "..data_tmp"), filepath.Join(entry, "..data")))
	user, key, err = f.SSH("gw")
	require.NoError(t, err)
	require.Equal(t, "new", user)
	require.Equal(t, second.Public(), key.Public())
	ages, err := f.Ages()
	require.NoError(t, err)
	require.Len(t, ages, 1)
	require.Equal(t, "gw", ages[0].Name)
}

func TestOPCUAEntries(t *testing.T) {
	cert, key := application()
	all := func(more map[string]string) map[string]string {
		files := map[string]string{"ops/tls.crt": cert, "ops/tls.key": key}
		for name, text := range more {
			files[name] = text
		}
		return files
	}
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"an anonymous application":   {all(nil), "application urn:test:worker, anonymous"},
		"a user by name":             {all(map[string]string{"ops/username": "operator", "ops/password": "hunter2\n"}), "application urn:test:worker, user operator"},
		"a user by certificate":      {all(map[string]string{"ops/user.crt": cert, "ops/user.key": key}), "application urn:test:worker, a user certificate"},
		"a user of another protocol": {all(map[string]string{"ops/user.crt": cert, "ops/user.key": key, "ops/username": "x"}), "application urn:test:worker, a user certificate"},
		"a user alone":               {map[string]string{"ops/username": "operator", "ops/password": "hunter2"}, "no application certificate, user operator"},
		"a chain, our own first":     {all(map[string]string{"ops/tls.crt": "# ours\n" + cert + cert}), "application urn:test:worker, anonymous"},
	} {
		t.Run(name, func(t *testing.T) {
			f, _ := folder(t, c.files)
			o, err := f.OPCUA("ops")
			require.NoError(t, err)
			require.Equal(t, c.want, o.String())
		})
	}
	f, _ := folder(t, all(map[string]string{"ops/username": "operator", "ops/password": "hunter2\r\n"}))
	o, err := f.OPCUA("ops")
	require.NoError(t, err)
	require.Equal(t, "hunter2", o.Password)
	require.True(t, o.ClientKey.PublicKey.Equal(o.ClientCert.PublicKey))
	again, err := f.OPCUA("ops")
	require.NoError(t, err)
	require.Same(t, o.ClientKey, again.ClientKey, "an unchanged key is parsed once")
}

func TestAnOPCUAEntryIsRefusedInWords(t *testing.T) {
	cert, key := application()
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	plainCert := certificateWithoutURI(t, stranger)
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"a certificate without its key": {map[string]string{"ops/tls.crt": cert}, "DIR/ops/tls.key is not there; a certificate and its key go together; put both there, or remove both"},
		"a key without its certificate": {map[string]string{"ops/tls.key": key}, "DIR/ops/tls.crt is not there; a certificate and its key go together; put both there, or remove both"},
		"another key":                   {map[string]string{"ops/tls.crt": cert, "ops/tls.key": pkcs8(t, stranger)}, "DIR/ops/tls.key is not the key of tls.crt; put the two that were made together there"},
		"a key that is not RSA":         {map[string]string{"ops/tls.crt": cert, "ops/tls.key": pkcs8(t, ed25519Key(t))}, "DIR/ops/tls.key is no RSA key, and the policies of OPC UA that are used need one; make a certificate with an RSA key of 2048 bits or more"},
		"a certificate that is none":    {map[string]string{"ops/tls.crt": key, "ops/tls.key": key}, "DIR/ops/tls.crt holds no certificate; want one in the PEM form, our own first"},
		"a certificate without an application URI": {map[string]string{"ops/tls.crt": plainCert, "ops/tls.key": pkcs8(t, stranger)},
			"DIR/ops/tls.crt has no application URI among its alternative names, by which OPC UA servers know an application; make an application instance certificate"},
		"a user without a password": {map[string]string{"ops/username": "operator"}, "DIR/ops/password is not there; a user name and a password go together; write both, or remove both"},
		"a password without a user": {map[string]string{"ops/password": "hunter2"}, "DIR/ops/username is not there; a user name and a password go together; write both, or remove both"},
		"two ways to log in":        {map[string]string{"ops/user.crt": cert, "ops/user.key": key, "ops/password": "hunter2"}, "DIR/ops has a password and a user.crt; a user logs in by one of them, remove the other"},
		"a password of two lines":   {map[string]string{"ops/username": "operator", "ops/password": "hunter2\nhunter3"}, "DIR/ops/password is not one line of text in UTF-8; write the password into it, and nothing else"},
	} {
		t.Run(name, func(t *testing.T) {
			f, dir := folder(t, c.files)
			_, err := f.OPCUA("ops")
			require.Error(t, err)
			require.Equal(t, c.want, strings.ReplaceAll(err.Error(), dir, "DIR"))
			require.NotContains(t, err.Error(), "hunter")
		})
	}
}

func TestNoWayOfPrintingShowsASecret(t *testing.T) {
	o := credentials.OPCUA{User: "operator", Password: "hunter2"}
	asJSON, err := json.Marshal(o)
	require.NoError(t, err)
	asYAML, err := yaml.Marshal(struct{ O *credentials.OPCUA }{&o})
	require.NoError(t, err)
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s", o, o, o, o), fmt.Sprintf("%v %+v %#v %s", &o, &o, &o, &o), string(asJSON), string(asYAML)} {
		require.NotContains(t, text, "hunter2")
	}
}

func TestOpenWantsAFolder(t *testing.T) {
	dir := t.TempDir()
	_, err := credentials.Open(filepath.Join(dir, "none"))
	require.EqualError(t, err, "the credentials folder "+dir+"/none is not there; make it, with one folder per name that the fleet file has under credentials")
	put(t, filepath.Join(dir, "file"), "")
	_, err = credentials.Open(filepath.Join(dir, "file"))
	require.ErrorContains(t, err, "is not a folder")
	require.NoError(t, os.Chmod(dir, 0o777))
	_, err = credentials.Open(dir)
	require.ErrorContains(t, err, "has the mode 0777")
}

func FuzzParsePrivateKey(f *testing.F) {
	f.Add([]byte(openSSH(f, ed25519Key(f))))
	f.Add([]byte(pkcs8(f, ed25519Key(f))))
	f.Add([]byte("-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := credentials.ParsePrivateKey(data)
		if (key == nil) == (err == nil) {
			t.Fatal("either a key or an error")
		}
		if key != nil && key.Public() == nil {
			t.Fatal("a key without its public part")
		}
	})
}
